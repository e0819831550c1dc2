"""Alabdulmohsin's M4: a power law that begins at the loss of no training at all."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.dual import Array, Dual
from scalelab.laws.law import Law, Parameter
from scalelab.laws.power import symbol


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Dual) else value


def _solved(p: SimpleNamespace, log_power: Any) -> Any:
    """Log of the L that solves (L - E) / (L_0 - L)^a = exp(log_power).

    With L = E + W s, W = L_0 - E and s = 1 / (1 + exp(-t)), t solves
    a softplus(t) - softplus(-t) = log_power + (a - 1) ln W, whose left side rises.
    """
    span = np.exp(p.log_L_0) - p.E
    right = log_power + (p.a - 1.0) * np.log(span)
    a, wanted = np.maximum(_plain(p.a), 1e-12), _plain(right)
    t = np.where(wanted < 0, wanted, np.minimum(wanted / a, 700.0)) + 0.0 * a
    for _ in range(60):
        here = a * np.logaddexp(0.0, t) - np.logaddexp(0.0, -t)
        slope = (1.0 + a * np.exp(np.minimum(t, 700.0))) / (1.0 + np.exp(np.minimum(t, 700.0)))
        step = np.clip((here - wanted) / slope, -20.0, 20.0)
        t = np.clip(t - step, -700.0, 700.0)
        if not np.nanmax(np.abs(step), initial=0.0) > 1e-13 * 700:
            break
    # One more Newton step carries the derivatives: those of the implicit function, exactly.
    above, below = np.logaddexp(0.0, t), np.logaddexp(0.0, -t)
    share = np.exp(-below)
    slope = (1.0 - share) + a * share
    t_dual = t - (p.a * above - below - right) / slope
    return np.log(p.E + span / (1.0 + np.exp(-t_dual)))


def m4(column: str = "params") -> Law:
    """The law (L - E) / (L_0 - L)^a = A x^-alpha, where x is that column; L_0 is its start."""
    x_name = f"log_{column}"

    def log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        return _solved(p, p.log_A - p.alpha * getattr(x, x_name))

    def starts(x: SimpleNamespace, target: Array) -> Array:
        # Linear in a, ln A and alpha, given the two ends.
        loss, log_x = np.exp(target), getattr(x, x_name)
        found = []
        for low, high in product((0.0, 0.3, 0.6, 0.8, 0.9, 0.97), (1.02, 1.2, 1.6, 2.5, 5.0)):
            floor, top = low * loss.min(), high * loss.max()
            rows = np.column_stack([np.log(top - loss), np.ones_like(loss), -log_x])
            a, log_a, alpha = np.linalg.lstsq(rows, np.log(loss - floor), rcond=None)[0]
            found.append((floor, np.log(top), log_a, alpha, a))
            rows = rows[:, 1:]  # and as a power law, where a would be negative
            log_a, alpha = np.linalg.lstsq(rows, np.log(loss - floor), rcond=None)[0]
            found.append((floor, np.log(top), log_a, alpha, 0.05))
        return np.array(found)

    return Law(
        name="m4",
        equation=f"(L - E) / (L_0 - L)^a = A / {symbol(column)}^alpha",
        inputs=(column,),
        parameters=(
            Parameter("E", "loss that is left at infinity", 0.0, np.inf),
            Parameter("L_0", "loss before any training", 0.0, np.inf, log=True),
            Parameter("A", "scale of the part that falls", 0.0, np.inf, log=True),
            Parameter("alpha", "exponent", 0.005, 5.0, prior=(0.3, 1.0), open=True),
            Parameter("a", "how long the start is felt; 0: a power law", 0.0, 20.0, open=True),
        ),
        log_response=log_loss,
        starts=starts,
        reference="Alabdulmohsin et al. 2022, arXiv 2209.06640, section 4 (M4)",
    )

"""The loss along a run under any learning-rate schedule."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.dual import sums_of_rows
from scalelab.laws.law import Law, Parameter
from scalelab.laws.power import GRID


def _annealed(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    return np.log(p.L_0 + np.exp(p.log_A - p.alpha * x.log_lr_sum) - p.C * x.annealing)


_END = Parameter("L_0", "loss that is left at infinity, nats per token", 0.0, np.inf)
_SCALE = Parameter("A", "scale of what is still to learn", 0.0, np.inf, log=True)
_EXPONENT = Parameter(
    "alpha", "exponent of the sum of rates", 0.005, 3.0, prior=(0.5, 1.0), open=True, grid=GRID
)

ANNEALING = Law(
    name="annealing",
    equation="L = L_0 + A / S_1^alpha - C S_2",
    inputs=("lr_sum", "annealing"),
    raw=("annealing",),
    signed=("annealing",),  # rates that rise again, or a warm-up that is counted, count against it
    parameters=(
        _END,
        _SCALE,
        _EXPONENT,
        Parameter("C", "what a unit of annealing area is worth", 0.0, np.inf),
    ),
    log_response=_annealed,
    linear=("L_0", "A", "C"),
    reference="Tissue et al. 2024, arXiv 2408.11029, equation 1",
)
"""L(s) = L_0 + A S_1^-alpha - C S_2.

S_1: sum of the learning rates so far. S_2: annealing area, the sum over steps i of a momentum
m_i = lambda m_(i-1) + (lr_(i-1) - lr_i); see `fitting.schedules`.
"""


def _multi_power(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    # Lists, (n, m), are padded by drops of zero. The others, (g,), with the row of each, take most
    # of a fit's time; a curve at constant rate has none.
    n = len(x.log_lr_sum)
    lists = (x.lr_drops, x.lr_levels, x.lr_sum_after)
    drops, levels, after = (values.reshape(n, -1) for values in lists)
    rows, places = np.nonzero(drops)
    gained, level = drops[rows, places], levels[rows, places]
    with np.errstate(divide="ignore"):  # a rate that fell to nothing just now
        log_spent = np.log(after[rows, places]) - p.gamma * np.log(level) + p.log_C
    left = gained * np.exp(-p.beta * np.log1p(np.exp(log_spent)))
    fallen = drops.sum(axis=-1) - sums_of_rows(left, rows, n)
    return np.log(p.L_0 + np.exp(p.log_A - p.alpha * x.log_lr_sum) - p.B * fallen)


MULTI_POWER = Law(
    name="multi-power",
    equation="L = L_0 + A / S_1^alpha - B sum_k (lr_(k-1) - lr_k) "
    "[1 - (1 + C lr_k^-gamma S_k)^-beta]",
    inputs=("lr_sum", "lr_drops", "lr_levels", "lr_sum_after"),
    raw=("lr_drops", "lr_levels", "lr_sum_after"),
    parameters=(
        _END,
        _SCALE,
        replace(_EXPONENT, grid=(0.15, 0.3, 0.5, 0.8, 1.2)),  # a start costs thirty times as much
        Parameter("B", "what a unit of fallen rate is worth in the end", 0.0, np.inf),
        Parameter(
            *("C", "how fast a drop takes effect", 1e-6, 1e6), log=True, grid=(-2.0, 0.0, 2.0)
        ),
        Parameter("beta", "how a drop saturates", 0.02, 3.0, open=True, grid=(0.2, 0.5, 1.0)),
        Parameter("gamma", "how the level matters", 0.0, 2.0, open=True, grid=(0.2, 0.6)),
    ),
    log_response=_multi_power,
    linear=("L_0", "A", "B"),
    reference="Luo et al. 2025, arXiv 2503.12811, equations 1 and 2",
)
"""L(t) = L_0 + A S_1(t)^-alpha - B sum_k (lr_(k-1) - lr_k) G(lr_k^-gamma S_k(t)),
G(x) = 1 - (1 + C x)^-beta: every drop of the rate pays back, the more the longer it lasts.

S_k(t): sum of the rates from step k to t. Lists of the drops: see `fitting.schedules`.
"""

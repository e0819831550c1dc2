"""Power laws in one variable: with a floor, without, and with a break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.expressions import SYMBOLS
from scalelab.laws.law import Law, Parameter, Preset
from scalelab.units import FLOP_PER_PF_DAY

# Weak (assumed): nine exponents in ten lie between .04 and 1.
_PRIOR = (0.2, 1.0)
GRID = (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.28, 0.35, 0.45, 0.6, 0.8, 1.1, 1.5, 2.0)
_SCALE = Parameter("A", "scale of the part that falls", 0.0, np.inf, log=True)
_EXPONENT = Parameter("alpha", "exponent", 0.005, 3.0, prior=_PRIOR, open=True, grid=GRID)
_FLOOR = Parameter("E", "loss that is left at infinity, nats per token", 0.0, np.inf)
_SYMBOLS = {
    **{column: letter for letter, column in SYMBOLS.items()},
    "steps_min": "S_min",
    "flops_min": "C_min",
    "position": "T",
    "examples": "n",
}


def _preset(scale: float, exponent: float, what: str, name: str) -> Preset:
    return Preset(
        f"kaplan2020-{name}",
        {"A": scale**exponent, "alpha": exponent},
        f"Kaplan et al. 2020, {what}: (x_c / x)^alpha with x_c {scale:g}, alpha {exponent:g}",
    )


_KAPLAN_2020: Mapping[str, Preset] = {
    "params": _preset(8.8e13, 0.076, "equation 1.1, trained to convergence", "params"),
    "unique_tokens": _preset(5.4e13, 0.095, "equation 1.2, trained to early stopping", "tokens"),
    "flops": _preset(1.6e7 * FLOP_PER_PF_DAY, 0.057, "section 3.3, batch of 2^19 tokens", "flops"),
    "flops_min": _preset(
        3.1e8 * FLOP_PER_PF_DAY, 0.05, "equation 1.3, at the best batch", "flops-min"
    ),
}


def symbol(column: str) -> str:
    """What papers write for a column, or its name."""
    return _SYMBOLS.get(column, column)


def power(column: str = "params") -> Law:
    """The law E + A x^-alpha, where x is that column of the run table."""
    x_name = f"log_{column}"

    def log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        return np.log(p.E + np.exp(p.log_A - p.alpha * getattr(x, x_name)))

    return Law(
        name="power",
        equation=f"L = E + A / {symbol(column)}^alpha",
        inputs=(column,),
        parameters=(_FLOOR, _SCALE, _EXPONENT),
        log_response=log_loss,
        linear=("E", "A"),
        reference="Hestness et al. 2017, arXiv 1712.00409; with a floor as in Henighan et al. "
        "2020, arXiv 2010.14701, equation 1.1",
    )


def power_no_floor(column: str = "params") -> Law:
    """The law A x^-alpha, a straight line on log axes, where x is that column."""
    x_name = f"log_{column}"

    def log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        return p.log_A - p.alpha * getattr(x, x_name)

    return Law(
        name="power-no-floor",
        equation=f"L = A / {symbol(column)}^alpha",
        inputs=(column,),
        parameters=(_SCALE, _EXPONENT),
        log_response=log_loss,
        linear=("A",),
        reference="Kaplan et al. 2020, arXiv 2001.08361, equations 1.1 to 1.3, A = (x_c)^alpha",
        presets=(_KAPLAN_2020[column],) if column in _KAPLAN_2020 else (),
    )


def broken_power(column: str = "params") -> Law:
    """The law E + A x^-c0 (1 + (x/d)^(1/f))^(-c1 f): one break at d, of sharpness f."""
    x_name = f"log_{column}"

    def log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        log_x = getattr(x, x_name)
        bend = np.logaddexp(0.0, (log_x - p.log_d) / p.f)
        return np.log(p.E + np.exp(p.log_A - p.c0 * log_x - p.c1 * p.f * bend))

    def breaks(x: SimpleNamespace) -> Sequence[float]:
        log_x = getattr(x, x_name)
        return tuple(np.quantile(log_x, (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)))

    slopes = (0.02, 0.08, 0.17, 0.35, 0.7)
    return Law(
        name="broken-power",
        equation=f"L = E + A {symbol(column)}^-c0 (1 + ({symbol(column)} / d)^(1/f))^(-c1 f)",
        inputs=(column,),
        parameters=(
            _FLOOR,
            _SCALE,
            Parameter("c0", "exponent before the break", 0.0, 3.0, open=True, grid=slopes),
            Parameter(
                *("c1", "what the exponent gains after it", -1.0, 3.0),
                open=True,
                grid=(-0.1, 0.1, 0.3, 0.7),
            ),
            Parameter("d", "where the break is", 0.0, np.inf, log=True, grid=breaks),
            Parameter("f", "smoothness of the break", 0.02, 5.0, open=True, grid=(0.3, 1.0)),
        ),
        log_response=log_loss,
        linear=("E", "A"),
        reference="Caballero et al. 2022, arXiv 2210.14891, equation 1 with n = 1",
    )

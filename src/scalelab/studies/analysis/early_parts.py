"""The final loss of a trunk from the early part of its curve, alone and with the other sizes' law.

    L(S) = L_N + (S_c / S_min)^alpha_S,   S_min = S / (1 + B_crit(L) / B)

Alone, all three of L_N, S_c and alpha_S are fitted to the early part. With the other sizes' law,
S_c and alpha_S are theirs (fitted without the size that is predicted) and only L_N is the curve's
own: if one law holds for all sizes, that is enough. Source: Kaplan et al. 2020, arXiv 2001.08361,
equation 5.6 and section 1.1 ("universality of training").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import Array, get_law

Way = Literal["alone", "with others"]

LEAST_POINTS = 3
LEAST_ALONE = 5
"""Points of an early part, where one number is fitted to it and where three are."""

CORRELATED = 3.0
"""Neighbouring evaluations of one curve share their luck: so many count as one. (assumed)"""


@dataclass(frozen=True)
class Guess:
    """A final loss predicted. share: of the training that was seen. low, high: of its interval."""

    trunk: str
    params: float
    share: float
    way: Way
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Relative error."""
        return self.predicted / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the interval holds the loss that was measured."""
        return self.low <= self.measured <= self.high


def guesses(
    curve: pl.DataFrame,
    share: float,
    others: Fit | None,
    critical: Mapping[str, float],
    *,
    level: float = 0.9,
    seed: int = 0,
) -> list[Guess]:
    """The final loss of one trunk from the first `share` of its steps, by each way that can.

    curve: one trunk's points with steps_min (`analysis.trunk_curves.at_best`). others:
    ``kaplan-steps`` fitted to the other sizes.
    """
    curve = curve.sort("step")
    last = float(curve["step"][-1])
    early = curve.filter(pl.col("step") <= share * last * (1 + 1e-9))
    if len(early) < LEAST_POINTS:
        return []
    found = []
    own = _alone(early, level, seed)
    draws = {"alone": own, "with others": _with_others(early, others, seed)}
    batch = float(curve["batch_tokens"][-1])
    for way, parameters in draws.items():
        if parameters is None:
            continue
        losses = _final(parameters, last, batch, critical)
        point, drawn = losses[0], losses[1:]
        tail = 0.5 - level / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        found.append(
            Guess(
                trunk=str(curve["trunk"][0]),
                params=float(curve["params"][0]),
                share=share,
                way="alone" if way == "alone" else "with others",
                measured=float(curve["loss"][-1]),
                predicted=float(point),
                low=float(low),
                high=float(high),
            )
        )
    return found


def _alone(early: pl.DataFrame, level: float, seed: int) -> Array | None:
    """L_N, log S_c^alpha_S, alpha_S, the luck of the last point: (1 + k, 4), the estimate first."""
    if len(early) < LEAST_ALONE:
        return None
    try:
        own = fit(
            get_law("power", "steps_min"),
            early,
            estimator="least-squares",
            clusters="run",
            draws=200,
            level=level,
            seed=seed,
        )
    except FitError:
        return None
    values = np.vstack([[own.values[name] for name in own.law.names], own.draws])
    floor, scale, exponent = (values[:, own.law.names.index(n)] for n in ("E", "A", "alpha"))
    luck = np.random.default_rng([seed, 7]).normal(size=len(values)) * own.noise[1]
    luck[0] = 0.0
    with np.errstate(divide="ignore"):
        return np.column_stack([floor, np.log(scale), exponent, luck])


def _with_others(early: pl.DataFrame, others: Fit | None, seed: int) -> Array | None:
    """As `_alone`, S_c and alpha_S from the other sizes' law."""
    if others is None:
        return None
    values = np.vstack([[others.values[name] for name in others.law.names], others.draws])
    scale, exponent = (values[:, others.law.names.index(n)] for n in ("S_c", "alpha_S"))
    log_scale = exponent * np.log(scale)
    # The later half of what was seen: the earlier a point, the more the law's own misfit shows.
    late = early.tail(max(2, len(early) // 2))
    steps, loss = (late[name].to_numpy() for name in ("steps_min", "loss"))
    falling = np.exp(log_scale[:, None] - exponent[:, None] * np.log(steps))
    floor = (loss - falling).mean(axis=1)
    generator = np.random.default_rng([seed, 8])
    noise = others.noise[1]
    blur = noise * loss.mean() * (CORRELATED / len(late)) ** 0.5
    floor[1:] += blur * generator.normal(size=len(floor) - 1)
    luck = generator.normal(size=len(values)) * noise
    luck[0] = 0.0
    return np.column_stack([floor, log_scale, exponent, luck])


def _final(parameters: Array, steps: float, batch: float, critical: Mapping[str, float]) -> Array:
    """Losses after `steps`: S_min depends on the loss, so the two are found together."""
    floor, log_scale, exponent, luck = parameters.T
    log_loss = np.log(np.maximum(floor, 1e-9) + 0.1)
    star, alpha = np.log(critical["B_star"]), critical["alpha_B"]
    for _ in range(60):
        # Halfway each time: B_crit is steep in the loss, and whole steps may swing.
        log_steps = np.log(steps) - np.logaddexp(0.0, star - log_loss / alpha - np.log(batch))
        with np.errstate(over="ignore"):
            loss = floor + np.exp(log_scale - exponent * log_steps)
        log_loss = (log_loss + np.log(np.maximum(loss, 1e-9))) / 2
    return np.asarray(np.exp(log_loss + luck))

"""What a back-test found: how well each candidate predicted the runs that it had not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import Notice
from scalelab.fitting.estimator import weighting
from scalelab.fitting.result import RATIO
from scalelab.laws import Array, Law
from scalelab.units import finite, format_flop

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAR = 0.1
"""Log loss above the best run of no more compute within which a run is near the frontier."""


@dataclass(frozen=True)
class Candidate:
    """A law and how it is fitted.

    weights: how runs are weighed. how: what else decides where the optimum is, as options of `fit`:
    estimator, delta, raw, above, std, falls.
    """

    law: Law
    weights: str | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weighting(self) -> str | None:
        """How runs are weighed, in words."""
        return weighting(self.weights, self.how.get("std")) or None

    def __str__(self) -> str:
        """As people read it."""
        name = self.law.label
        return name + (f" weighted by {self.weighting}" if self.weighting else "")


@dataclass(frozen=True)
class Score:
    """How one candidate predicted. errors: (n,) log of predicted over measured, all cuts compared.

    reach: (n,) how many times the compute of the dearest run fitted. inside: (n,) whether the
    interval held the run, empty where none was asked for. near: (n,) whether the run is within NEAR
    of the best of its compute: what a big run will be. failed: cuts at which it had no answer.
    aicc: Akaike's criterion of the fit to all runs, corrected for few (comparable between laws
    under one weighting; nan where runs share a trunk and so are not independent). left_out: mean
    relative error of each size, from a fit without it.
    """

    candidate: Candidate
    errors: Array
    reach: Array
    inside: Array
    near: NDArray[np.bool_]
    level: float
    cuts: int
    failed: tuple[str, ...] = ()
    aicc: float = float("nan")
    left_out: float = float("nan")

    @property
    def mean_abs_rel_error(self) -> float:
        """Mean of |predicted / measured - 1|."""
        return float(np.abs(np.expm1(self.errors)).mean()) if len(self.errors) else float("nan")

    @property
    def bias(self) -> float:
        """Mean of predicted / measured - 1: above zero, too pessimistic."""
        return float(np.expm1(self.errors).mean()) if len(self.errors) else float("nan")

    @property
    def near_error(self) -> float:
        """Mean of |log predicted / measured| near the frontier, infinite without runs there."""
        return float(np.abs(self.errors[self.near]).mean()) if self.near.any() else float("inf")

    @property
    def growth(self) -> float:
        """Standard deviation of the log error at RATIO times the compute fitted.

        From the runs near the frontier, under an error that grows with the logarithm of the factor.
        nan when no run lies beyond the fit.
        """
        factor = np.log(self.reach) / np.log(RATIO)
        used = self.near & (factor > 0.05)
        if not used.any():
            return float("nan")
        return float(np.sqrt((self.errors[used] ** 2).sum() / (factor[used] ** 2).sum()))

    @property
    def coverage(self) -> float | None:
        """Share of runs inside their interval."""
        return float(self.inside.mean()) if len(self.inside) else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mean_abs_rel_error": finite(self.mean_abs_rel_error),
            "bias": finite(self.bias),
            "coverage": self.coverage,
            "level": self.level,
            "held_out": len(self.errors),
            "cuts": self.cuts,
            "weights": self.candidate.weighting,
            "failed": list(self.failed),
            "aicc": finite(self.aicc),
            "leave_one_out_error": finite(self.left_out),
        }


@dataclass(frozen=True)
class Backtest:
    """Scores by name, best first.

    cuts: compute below which runs were fitted. ratio: how many times a cut runs were predicted to.
    """

    scores: Mapping[str, Score]
    cuts: tuple[float, ...]
    ratio: float = RATIO
    notices: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer of ``scalelab backtest --json``."""
        return {
            "laws": {name: score.to_dict() for name, score in self.scores.items()},
            "cuts": list(self.cuts),
            "ratio": self.ratio,
            "warnings": [notice.to_dict() for notice in self.notices],
        }

    def summary(self) -> str:
        """For a person at a terminal."""
        width = max(len(name) for name in self.scores)
        lines = [
            f"fitted below, predicted up to {self.ratio:g} times above: "
            + ", ".join(format_flop(cut) for cut in self.cuts),
            f"{'law':<{width}}  mean error     bias  in interval  runs  one size out      AICc",
        ]
        for name, score in self.scores.items():
            if not len(score.errors):
                lines.append(f"{name:<{width}}  {score.failed[0] if score.failed else 'no run'}")
                continue
            held = "" if score.coverage is None else f"{score.coverage:.0%} of {score.level:.0%}"
            lines.append(
                f"{name:<{width}}  {score.mean_abs_rel_error:>10.2%} {score.bias:>+8.2%}"
                f"  {held:>11}  {len(score.errors):>4}  {_shown(score.left_out, '.2%'):>12}"
                f"  {_shown(score.aicc, '.1f'):>8}"
            )
        return "\n".join([*lines, *(f"! {notice}" for notice in self.notices)])


def _shown(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"

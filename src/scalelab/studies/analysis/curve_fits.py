"""Laws through the learning curves of a ladder: of all sizes, of each alone, of all but one.

Each over S_min, which supposes a law of the critical batch, and over the steps at the batch
trained, which does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Estimate, Fit, fit
from scalelab.fitting.line import fit_line
from scalelab.laws import get_law
from scalelab.studies.analysis.conversion import (
    Conversion,
    as_trained,
    conversion,
    fit_least_steps,
    under_drawn_laws,
)
from scalelab.studies.analysis.curve_laws import FEWEST_SIZES, NO_FLOOR, WITH_FLOOR, through_trunks
from scalelab.studies.analysis.trunk_curves import mean_over
from scalelab.studies.evidence import Evidence

LAWS = 12
"""Draws of the critical batch's law under which each size is fitted alone again: their standard
deviation is then known to a fifth. (assumed enough)"""


@dataclass(frozen=True)
class Size:
    """A size fitted alone: L = L_N + (S_c / S)^alpha."""

    params: float
    alpha: Estimate
    fit: Fit


@dataclass(frozen=True)
class CurveFits:
    """What the curves give.

    joint, alone, mean, trend: over S_min: one law of all sizes, each size, and of the alpha_S of
    each the mean and how it moves in a decade of N. trained, alone_trained, trend_trained: over the
    steps at the batch trained.
    """

    joint: Fit
    alone: Sequence[Size]
    mean: Estimate | None
    trend: Estimate | None
    trained: Fit
    alone_trained: Sequence[Size]
    trend_trained: Estimate | None
    conversion: Conversion


def fit_curves(points: pl.DataFrame, evidence: Evidence) -> CurveFits | None:
    """points: by `analysis.trunk_curves.at_best`. None where they are too few for a law."""
    joint = fit_least_steps(NO_FLOOR, points, evidence)
    raw = as_trained(points)
    trained = through_trunks(NO_FLOOR, raw, evidence)
    if joint is None or trained is None:
        return None
    alone, alone_trained = each_alone(points, evidence), each_alone(raw, evidence)
    found = conversion(points, evidence)
    of_all, move = mean(alone, evidence), trend(alone, evidence.level)
    if not found.doubt:
        of_all, move = _under_other_laws((of_all, move), points, evidence)
    return CurveFits(
        joint,
        alone,
        of_all,
        move,
        trained,
        alone_trained,
        trend(alone_trained, evidence.level),
        found,
    )


def each_alone(points: pl.DataFrame, evidence: Evidence) -> list[Size]:
    """The sizes whose curve has a law of its own."""
    found = []
    for own in points.partition_by("params", maintain_order=True):
        try:
            one = fit(
                get_law("power", "steps_min"),
                own,
                estimator="least-squares",
                clusters="run",
                draws=100,  # their spread is all that is asked
                level=evidence.level,
                seed=evidence.seed,
            )
        except FitError:
            continue
        alpha = one.parameters["alpha"]
        inside = 0.02 < alpha.value < 2.5  # at a bound nothing was found
        if inside and np.isfinite(alpha.stderr) and alpha.stderr > 0:
            found.append(Size(float(own["params"][0]), alpha, one))
    return found


def trend(alone: Sequence[Size], level: float) -> Estimate | None:
    """How alpha_S moves in a decade of N, None where too few sizes have one."""
    if len(alone) < FEWEST_SIZES:
        return None
    decades = np.log10([one.params for one in alone])
    values = np.array([one.alpha.value for one in alone])
    errors = np.array([one.alpha.stderr for one in alone])
    return fit_line(decades, values, errors, level=level).slope


def mean(alone: Sequence[Size], evidence: Evidence) -> Estimate | None:
    """alpha_S over sizes, each as good as another, None where too few have one."""
    if len(alone) < FEWEST_SIZES:
        return None
    values = np.array([one.alpha.value for one in alone])
    return mean_over(values, evidence.level, evidence.seed)


_Pair = tuple[Estimate | None, Estimate | None]


def _under_other_laws(own: _Pair, points: pl.DataFrame, evidence: Evidence) -> _Pair:
    """A mean and a trend, in whose intervals is how far other draws of B_crit move them."""
    drawn = [
        (mean(sizes, evidence), trend(sizes, evidence.level))
        for moved in under_drawn_laws(points, evidence, LAWS)
        if len(sizes := each_alone(moved, evidence)) >= FEWEST_SIZES
    ]
    if len(drawn) < max(2, LAWS // 2):
        return own
    means, trends = zip(*drawn, strict=True)
    return _widened(own[0], means), _widened(own[1], trends)


def _widened(own: Estimate | None, others: Sequence[Estimate | None]) -> Estimate | None:
    """With the standard deviation of `others` added to its error in quadrature."""
    if own is None:
        return None
    values = [one.value for one in others if one is not None]
    more = NormalDist().inv_cdf(0.5 + own.level / 2) * float(np.std(values, ddof=1))
    below, above = (float(np.hypot(own.value - end, more)) for end in (own.low, own.high))
    return replace(own, low=own.value - below, high=own.value + above)


def leave_one_out(
    points: pl.DataFrame, evidence: Evidence
) -> Mapping[float, tuple[Fit | None, Fit | None]]:
    """For each size, Kaplan's form and that with a floor fitted to all the others."""
    found = {}
    for params in points["params"].unique().sort().to_list():
        others = points.filter(pl.col("params") != params)
        found[params] = (
            through_trunks(NO_FLOOR, others, evidence, draws=120),
            through_trunks(WITH_FLOOR, others, evidence, draws=120),
        )
    return found

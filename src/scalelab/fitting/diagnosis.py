"""What a careful person would say about a fit before trusting it: named notices that teach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scalelab.errors import Notice
from scalelab.fitting.estimator import FEW_CLUSTERS, Optimum
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.objective import Whitening
from scalelab.fitting.observations import HELD_OUT, Observations
from scalelab.laws import Array

_FEW_LEVELS = 4  # three points of a curved law fix its curvature with nothing left to check it
_FLAT = 1e4  # condition number: directions known ten thousand times worse than others (assumed)
_WIDE = 4.0  # high / low of an exponent's interval that says nothing (assumed)
_OUTLIER = 5.0  # robust standard deviations (assumed)
_TOGETHER = 0.99  # correlation of two log inputs, above which they are one input (assumed)
EXTRAPOLATION = 10.0
"""Prediction beyond the data by more than this factor is noted (assumed; published fits that were
checked at larger factors missed by percents)."""


@dataclass(frozen=True)
class Diagnosis:
    """How a fit was found and what to know of it.

    starts, starts_agreeing: of the search. condition_number: largest over smallest singular value
    of the derivatives by the parameters, each scaled to length one. warnings: named notices.
    """

    starts: int
    starts_agreeing: int
    condition_number: float
    warnings: tuple[Notice, ...]


def diagnose(
    observed: Observations, optimum: Optimum, intervals: Intervals, exponents: Mapping[str, Array]
) -> Diagnosis:
    """Check a fit. exponents: for each exponent, the low and the high end of its interval."""
    condition, flat = _condition(observed, optimum)
    notices = (
        *_data(observed, intervals),
        *_search(observed, optimum),
        *_identified(condition, flat, exponents),
        *_outliers(observed, optimum),
    )
    return Diagnosis(optimum.starts, optimum.agreeing, condition, notices)


def _data(observed: Observations, intervals: Intervals) -> Iterator[Notice]:
    # Held-out runs are left out on purpose: they are counted in the summary, not warned about.
    lost = {reason: n for reason, n in observed.left_out.items() if reason != HELD_OUT}
    if lost:
        counts = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        yield Notice("left-out", f"rows not fitted: {counts}.")
    for name, (_, _, levels) in observed.ranges.items():
        if levels < _FEW_LEVELS:
            yield Notice(
                "few-levels",
                f"{name} takes {levels} values; a power law with a floor needs {_FEW_LEVELS} or "
                "more before its exponent means anything. Add runs at other values.",
            )
    flat = [i for i, name in enumerate(observed.law.inputs) if name in observed.ranges]
    for one, two in combinations(flat, 2):
        correlation = np.corrcoef(observed.inputs[one], observed.inputs[two])[0, 1]
        if abs(correlation) > _TOGETHER:
            first, second = observed.law.inputs[one], observed.law.inputs[two]
            # Seen with D = 20 N: N_opt's exponent came out as .983 +- .0003 where it was .5.
            yield Notice(
                "collinear",
                f"{first} and {second} move together (correlation {correlation:.3f} of their "
                "logarithms): the runs cannot tell what each of them does. Exponents, and what "
                "follows from them, mean nothing, whatever their intervals say; predictions hold "
                f"only along the same line. Add runs that vary {second} at one {first}.",
            )
    few = intervals.clusters < FEW_CLUSTERS
    if few and intervals.method == "pairs":
        yield Notice(
            "few-clusters",
            f"{intervals.clusters} clusters by {intervals.by} are too few for a bootstrap that "
            "draws them again: intervals come out too narrow. Use intervals='components'.",
        )
    if few and intervals.method == "components":
        freedom = intervals.clusters - len(observed.law.parameters)
        yield Notice(
            "noise-model",
            f"{intervals.clusters} clusters by {intervals.by}: intervals rest on the model that "
            "runs of one share a normal error"
            + (", and hardly anything checks its size" if freedom <= 0 else "")
            + ". More sizes or seeds make them firmer.",
        )


def _search(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    if optimum.agreeing < optimum.starts / 2:
        yield Notice(
            "starts-disagree",
            f"{optimum.agreeing} of {optimum.starts} starts ended at the best objective; the "
            "others stopped at worse ones. The best is kept, but the runs allow other "
            "explanations: look at the intervals.",
        )
    low, high = observed.law.bounds
    for j, parameter in enumerate(observed.law.parameters):
        for bound, end in ((low[j], parameter.low), (high[j], parameter.high)):
            if optimum.theta[j] == bound:
                yield Notice(
                    "at-bound",
                    f"{parameter.name} is at its bound {end:g}: the runs would have it "
                    f"{'lower' if bound == low[j] else 'higher'} still. A law without "
                    f"{parameter.name} may describe them as well.",
                )


def _identified(
    condition: float, flat: tuple[str, ...], exponents: Mapping[str, Array]
) -> Iterator[Notice]:
    if condition > _FLAT:
        yield Notice(
            "flat-direction",
            f"condition number {condition:.1e}: {', '.join(flat)} can move together and hardly "
            "change the fit. Predictions inside the data hold, these values do not.",
        )
    wide = [name for name, (low, high) in exponents.items() if not high < _WIDE * low]
    if wide:
        shown = ", ".join(f"{n} {exponents[n][0]:.2g} to {exponents[n][1]:.2g}" for n in wide)
        yield Notice(
            "not-identified",
            f"the runs hardly constrain {shown}. Widen the range of the inputs, or add seeds.",
        )


def _condition(observed: Observations, optimum: Optimum) -> tuple[float, tuple[str, ...]]:
    """The condition number, and the parameters that move along the flattest direction."""
    rows = optimum.jacobian
    if optimum.whitened is not None:
        between, within = (np.array([value]) for value in optimum.whitened)
        rows = Whitening.of(between, within, observed.clusters, optimum.spread).apply(rows[None])[0]
    low, high = observed.law.bounds
    free = np.flatnonzero((optimum.theta > low) & (optimum.theta < high))
    length = np.linalg.norm(rows[free], axis=1, keepdims=True)
    if not (length > 0).all():
        return float("inf"), tuple(observed.law.names[j] for j in free[length[:, 0] == 0])
    directions, singular, _ = np.linalg.svd(rows[free] / length, full_matrices=False)
    condition = float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")
    moving = np.abs(directions[:, -1]) > 0.3
    return condition, tuple(observed.law.names[j] for j in free[moving])


def _outliers(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    spread = 1.4826 * np.median(np.abs(optimum.residual))  # of a normal distribution
    far = np.flatnonzero(np.abs(optimum.residual) > max(_OUTLIER * spread, 1e-6))
    if len(far):
        worst = far[np.argsort(-np.abs(optimum.residual[far]))][:5]
        shown = ", ".join(f"{observed.names[i]} {optimum.residual[i]:+.1%}" for i in worst)
        yield Notice(
            "outliers",
            f"{len(far)} runs lie far from the law (log loss, the worst: {shown}). Look at what "
            "they have in common: five such runs in 245 moved an exponent by .05.",
        )

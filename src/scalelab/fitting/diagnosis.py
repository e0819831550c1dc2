"""What a careful person would say about a fit before trusting it: named notices that teach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scalelab.errors import Notice
from scalelab.fitting.estimator import FEW_CLUSTERS, Estimator, Optimum, effective
from scalelab.fitting.influence import influence
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.objective import Whitening
from scalelab.fitting.observations import HELD_OUT, Observations, frontier_excess
from scalelab.laws import Array, Law

_FEW_LEVELS = 4  # three points of a curved law fix its curvature with nothing left to check it
_FEW_LEVELS_STRAIGHT = 3  # a scale and an exponent for each input: a straight line on log axes
_FLAT = 1e4  # condition number: directions known ten thousand times worse than others (assumed)
_SINGULAR = 1e8  # condition number at which draws around one optimum say nothing (assumed)
_MOVES = 100.0  # times worse known for not knowing the others: part of a flat direction (assumed)
_WIDE = 4.0  # high / low of an exponent's interval that says nothing (assumed)
_NOTHING = 0.1  # width of an interval around zero that says that an exponent is none (assumed)
_OUTLIER = 5.0  # robust standard deviations (assumed)
_UNSAID = 2.0  # scatter over that said, root of a reduced chi-square of 4 (assumed)
_BEATEN = 0.02  # log loss above a cheaper run that is more than luck (assumed)
_MANY = 0.1  # share of such runs that is no frontier any more (assumed)
_FELT = 0.3  # root of a run's weight over the heaviest's, below which it is not judged (assumed)
_PATTERN = 8.0  # F of a pattern in the residuals (assumed; chance gives 4 once in 500)
_AGREE = 4  # starts of a user's own law that must share the best end (assumed)
_MOST_RUNS = 20_000  # beyond, single runs decide nothing
_TOGETHER = 0.995  # correlation of two log inputs above which they are one: errors grow tenfold
EXTRAPOLATION = 10.0
"""Prediction beyond the data by more than this factor is noted (assumed; published fits that were
checked at larger factors missed by percents)."""
CURVE_EXTRAPOLATION = 1.5
"""The same along a learning curve: at twice the data intervals that had not been back-tested held
51 to 53% of curves that the law does not quite describe (measured: docs/LOG.md, 2026-11-28)."""


@dataclass(frozen=True)
class Diagnosis:
    """How a fit was found and what to know of it.

    starts, starts_agreeing: of the search. condition_number: largest over smallest singular value
    of the derivatives by the parameters, exponents' freed of what scales absorb, each scaled to
    length one: the same in all units. warnings: named notices. lost: parameters that the runs
    do not tell apart at all, to the last digits of the arithmetic.
    """

    starts: int
    starts_agreeing: int
    condition_number: float
    warnings: tuple[Notice, ...]
    lost: tuple[str, ...] = ()


def diagnose(
    observed: Observations,
    optimum: Optimum,
    estimator: Estimator,
    intervals: Intervals,
    exponents: Mapping[str, Array],
) -> Diagnosis:
    """Check a fit. exponents: for each exponent, the low and the high end of its interval."""
    condition, flat = _condition(observed, optimum)
    notices = (
        *_data(observed, intervals),
        *_ignored(observed),
        *_std(observed, optimum, estimator),
        *_search(observed, optimum),
        *_identified(observed, condition, flat, exponents),
        *_outliers(observed, optimum),
        *_influence(observed, optimum, estimator, exponents),
        *_misfit(observed, optimum),
    )
    lost = flat if condition > _SINGULAR else ()
    return Diagnosis(optimum.starts, optimum.agreeing, condition, notices, lost)


def _data(observed: Observations, intervals: Intervals) -> Iterator[Notice]:
    # Held-out runs are left out on purpose: they are counted in the summary, not warned about.
    lost = {reason: n for reason, n in observed.left_out.items() if reason != HELD_OUT}
    if lost:
        counts = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        yield Notice("left-out", f"rows not fitted: {counts}.")
    p, told = len(observed.law.parameters), effective(observed.weights)
    if told < p + 1:
        yield Notice(
            "few-effective-runs",
            f"the weights leave {told:.1f} of {len(observed.target)} runs in effect, for {p} "
            "parameters: the fit passes through these few, and its intervals say little. Weigh "
            "runs less unequally, or fix parameters.",
        )
    needed = _FEW_LEVELS_STRAIGHT if p <= 2 * len(observed.law.inputs) else _FEW_LEVELS
    for name, (_, _, levels) in observed.ranges.items():
        if levels < needed:
            yield Notice(
                "few-levels",
                f"{name} takes {levels} values; {observed.law.name} needs {needed} or more before "
                "an exponent means anything. Add runs at other values.",
            )
    # An input that is taken as it is, such as the number of a level, stands for no quantity.
    quantities = {name for name in observed.ranges if name not in observed.law.raw}
    flat = [i for i, name in enumerate(observed.law.inputs) if name in quantities]
    for one, two in combinations(flat, 2):
        x, y = observed.inputs[one], observed.inputs[two]
        if min(np.ptp(x), np.ptp(y)) == 0:  # nothing anneals along a constant schedule
            continue
        correlation = np.corrcoef(x, y)[0, 1]
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


def _ignored(observed: Observations) -> Iterator[Notice]:
    law = observed.law
    inputs = " and ".join(law.inputs)
    if observed.ignored:
        shown = " and ".join(
            f"{name} ({low:.3g} to {high:.3g})" for name, (low, high) in observed.ignored.items()
        )
        names = " and ".join(observed.ignored)
        yield Notice(
            "column-ignored",
            f"law {law.name} is over {inputs} alone, and these runs differ in {shown} as well. "
            f"What {names} does counts as noise or, as far as it goes with {inputs}, as what "
            f"{inputs} does. Fit a law of all of them, or the runs of one {names} (--where).",
        )
    if law.response == "loss" and law.inputs in (("flops",), ("flops_min",)):
        if np.corrcoef(observed.inputs[0], observed.target)[0, 1] > 0:
            return  # it rises with compute: no loss, whatever its column is called
        excess = frontier_excess(np.exp(observed.inputs[0]), np.exp(observed.target))
        share = float((excess > _BEATEN).mean())
        if share > _MANY:
            yield Notice(
                "off-frontier",
                f"{share:.0%} of the runs lose more than {_BEATEN:.0%} to a run of no more "
                f"compute: a law over {law.inputs[0]} alone is that of the best run at each "
                "compute, and through all runs it is no law. Fit the best ones, or a law of params "
                "and tokens.",
            )


def _std(observed: Observations, optimum: Optimum, estimator: Estimator) -> Iterator[Notice]:
    if observed.std is None:
        return
    between, within = optimum.noise.estimate
    ratio = float(np.hypot(between, within) / np.exp(np.log(observed.std).mean()))
    if ratio > _UNSAID:
        yield Notice(
            "std-too-small",
            f"the runs scatter {ratio:.2g} times as far about the law as {estimator.std} says "
            f"(reduced chi-square {ratio**2:.2g}): it leaves out what differs from run to run, or "
            "the law does not describe the runs. Intervals come from the scatter, the weights from "
            f"{estimator.std}: give the spread over seeds, or leave it out.",
        )


def _search(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    # The starts of a user's own law lie so far apart that many end in places of no interest.
    enough = optimum.starts / 2
    if observed.law.written is not None:
        enough = min(enough, _AGREE)
    if optimum.agreeing < enough:
        yield Notice(
            "starts-disagree",
            f"{optimum.agreeing} of {optimum.starts} starts ended at the best objective; the "
            "others stopped at worse ones. The best is kept, but the runs allow other "
            "explanations: look at the intervals.",
        )
    if not optimum.converged:
        yield Notice(
            "not-converged",
            "the search ended while the objective still fell: the values are not yet those of its "
            "minimum. Hold a parameter (--fix), or narrow its bounds.",
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
    observed: Observations,
    condition: float,
    flat: tuple[str, ...],
    exponents: Mapping[str, Array],
) -> Iterator[Notice]:
    if condition > _FLAT:
        yield Notice(
            "flat-direction",
            f"condition number {condition:.1e}: {', '.join(flat)} can move together and hardly "
            "change the fit. Predictions inside the data hold, these values do not.",
        )
    # An exponent of either sign may be known, and be nothing.
    signed = {p.name for p in observed.law.parameters if p.low < 0 and not p.bends}
    wide = [n for n, ends in exponents.items() if n not in signed and _is_wide(*ends)]
    if wide:
        shown = ", ".join(f"{n} {exponents[n][0]:.2g} to {exponents[n][1]:.2g}" for n in wide)
        yield Notice(
            "not-identified",
            f"the runs hardly constrain {shown}. Widen the range of the inputs, or add seeds.",
        )


def _is_wide(low: float, high: float) -> bool:
    """Whether an interval says nearly nothing of an exponent; one around zero may say much."""
    if low <= 0 <= high:
        return high - low > _NOTHING
    least, most = sorted((abs(low), abs(high)))
    return not most < _WIDE * least


def _condition(observed: Observations, optimum: Optimum) -> tuple[float, tuple[str, ...]]:
    """The condition number, and the parameters that move along flat directions.

    In other units of N and D an exponent's derivative gains a multiple of its scale's, so what
    scales can absorb is taken out of the exponents' first: units then change nothing.
    """
    rows = optimum.jacobian
    if optimum.whitened is not None:
        between, within = (np.array([value]) for value in optimum.whitened)
        rows = Whitening.of(between, within, observed.clusters, optimum.spread).apply(rows[None])[0]
    low, high = observed.law.bounds
    free = np.flatnonzero((optimum.theta > low) & (optimum.theta < high))
    if not len(free):  # all at their bounds, which another notice says
        return 1.0, ()
    rows = rows[free]
    whole = np.linalg.norm(rows, axis=1, keepdims=True)
    parameters = [observed.law.parameters[j] for j in free]
    scales = np.array([p.log for p in parameters])
    shaped = np.array([p.exponent for p in parameters])
    if scales.any() and shaped.any():  # in other units of the inputs these move with the scales
        basis = np.linalg.svd(rows[scales], full_matrices=False)[2]
        rows = np.where(shaped[:, None], rows - (rows @ basis.T) @ basis, rows)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    lost = length[:, 0] <= 1e-10 * whole[:, 0]
    if lost.any():
        return float("inf"), tuple(observed.law.names[j] for j in free[lost])
    directions, singular, _ = np.linalg.svd(rows / length, full_matrices=False)
    condition = float(singular[0] / singular[-1]) if singular[-1] > 0 else float("inf")
    # How much worse each is known for not knowing the others.
    inflation = np.linalg.norm(directions / np.maximum(singular, 1e-300), axis=1)
    moving = inflation > _MOVES
    return condition, tuple(observed.law.names[j] for j in free[moving])


def _outliers(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    # A run that hardly counts may lie anywhere: distances are those that the fit felt.
    felt = np.sqrt(observed.weights / observed.weights.max())
    size = np.abs(optimum.residual) * felt
    counted = felt > _FELT
    # The fit passes through as many runs as it has parameters: the spread is that of the others.
    passed = min(len(optimum.theta), int(counted.sum()) - 1)
    spread = 1.4826 * np.median(np.sort(size[counted])[passed:])  # of a normal distribution
    far = np.flatnonzero(counted & (size > max(_OUTLIER * spread, 1e-6)))
    if len(far):
        worst = far[np.argsort(-size[far])][:5]
        shown = ", ".join(
            f"{observed.names[i]} {deviation(observed.law, optimum.residual[i])}" for i in worst
        )
        yield Notice(
            "outliers",
            f"{len(far)} run{'s lie' if len(far) > 1 else ' lies'} far from the law ("
            f"{observed.law.response} over the law's, the worst: {shown}). Look at what they have "
            "in common: five such runs in 245 moved an exponent by .05.",
        )


def deviation(law: Law, residual: float) -> str:
    """How far a measured response lies from the law: +1.2%, 21 times, or in its own units."""
    if law.scale == "linear":
        return f"{residual:+.3g}"
    if abs(residual) < np.log(2):
        return f"{np.expm1(residual):+.1%}"
    if residual > 0:
        return f"{np.exp(residual):.3g} times the law"
    return f"1/{np.exp(-residual):.3g} of the law"


def _influence(
    observed: Observations, optimum: Optimum, estimator: Estimator, exponents: Mapping[str, Array]
) -> Iterator[Notice]:
    """Runs without which an exponent would move by more than half its interval."""
    if optimum.whitened is not None or len(observed.target) > _MOST_RUNS:
        return
    moves = dict(zip(observed.law.names, influence(observed, estimator, optimum), strict=True))
    found = []
    for name, (low, high) in exponents.items():
        half = float(high - low) / 2
        if 0 < half < np.inf:
            found += [
                (abs(moves[name][i]) / half, name, i, -moves[name][i])
                for i in np.flatnonzero(np.abs(moves[name]) > half)
            ]
    if found:
        shown = ", ".join(
            f"{name} {move:+.3f} without {observed.names[i]}"
            for _, name, i, move in sorted(found, reverse=True)[:3]
        )
        yield Notice(
            "influential",
            f"single runs decide exponents: {shown}. Repeat these runs, or report both fits.",
        )


def _misfit(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    """Whether residuals still follow the inputs: what a law cannot describe leaves a pattern."""
    flat = [i for i, name in enumerate(observed.law.inputs) if name in observed.ranges]
    columns = [observed.inputs[i] for i in flat if np.ptp(observed.inputs[i]) > 0]
    n = len(observed.target)
    if not columns or n > _MOST_RUNS:
        return
    scaled = [2 * (c - c.min()) / np.ptp(c) - 1 for c in columns]
    shapes = [x**power for x in scaled for power in (2, 3)]
    shapes += [x * y for x, y in combinations(scaled, 2)]
    felt = np.sqrt(observed.weights)
    rows = optimum.jacobian * felt
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    basis = np.linalg.qr(rows.T)[0]
    extra = np.array(shapes) * felt
    extra = extra - (extra @ basis) @ basis.T
    left, singular, found = np.linalg.svd(extra, full_matrices=False)
    del left
    new = found[singular > 1e-6 * max(singular.max(), 1e-300)]
    # Huber's fit ignores what is far off, and so does the test: residuals are cut at 4 spreads.
    residual = optimum.residual * felt
    spread = 1.4826 * np.median(np.abs(residual))
    residual = np.clip(residual, -4 * spread, 4 * spread)
    residual = residual - basis @ (basis.T @ residual)
    freedom = n - basis.shape[1] - len(new)
    if not len(new) or freedom < 4 or not spread > 1e-7:
        return
    explained = float(((new @ residual) ** 2).sum())
    unexplained = max(float((residual**2).sum()) - explained, 1e-300)
    ratio = (explained / len(new)) / (unexplained / freedom)
    share = explained / (explained + unexplained)
    if ratio > _PATTERN and share > 0.5:
        yield Notice(
            "not-described",
            f"{share:.0%} of what is left after the fit follows "
            f"{' and '.join(observed.law.inputs[i] for i in flat)} smoothly: law "
            f"{observed.law.name} does not describe these runs, whatever its intervals say. Try "
            "another law (scalelab backtest), or fit a narrower range.",
        )

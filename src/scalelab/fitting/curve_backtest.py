"""How a law of learning curves errs on a curve, and on a later part, that it has not seen.

Points of one curve agree with each other better than with those of another schedule, so how well a
law fits says little of the next curve. Two kinds of cut show it: every curve is left out in turn,
and all points beyond a value of the progress along training are left out together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import FitError, Notice
from scalelab.fitting.components import estimate_components
from scalelab.fitting.estimator import Estimator, batch
from scalelab.fitting.objective import Prior, Whitening
from scalelab.fitting.result import FALLS, PROGRESS, CurveReach, beyond, fall_of, tells_compute
from scalelab.fitting.solver import minimise
from scalelab.laws import Array, starts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scalelab.fitting.observations import Observations

CUTS = (1.5, 2.0, 3.0)
"""Later parts: points beyond the largest progress over each of these are predicted from the rest.
At 4.5 too little was left to fit most laws (measured: docs/LOG.md, 2026-11-28)."""
OWN_SHARE = 0.5
"""Part of a prediction's own variance that is taken off its squared error: the rest is the law's.
A law that is wrong takes its misfit for noise and expects too much error (measured: docs/LOG.md,
2026-11-28)."""
NEW, GROWTH = 2.0, 3.0
"""Times the error of the cuts that is expected of a curve that was not fitted, and of its growth
beyond the data: few curves show too little, and errors grow faster than the logarithm (measured:
docs/LOG.md, 2026-11-28)."""
FEW_CURVES = 5
"""Below this many curves a notice says so (assumed)."""
_BEYOND = 0.1  # log factor from which a point counts as beyond what was fitted (assumed)
_INSIDE = 0.3  # log factor up to which an error counts as that of a new curve (assumed)
_SPARE = 2  # points beyond the number of parameters that a cut must leave
_LEVELS = 4  # values of the progress that a cut must leave
_MOST_POINTS = 16  # of a curve: neighbours agree, and more points add little (assumed)
_MOST_CURVES = 12  # that are left out in turn
_MOST_STARTS = 12
_RIDGE = 1e-10  # in units of each parameter's information: what is less is unknown


def progress_of(observed: Observations) -> str | None:
    """The input that grows along training, None where the rows are no curves of such a law.

    A law that knows compute is cut by compute, in `backtest`. Else it is the first input that
    varies along most curves and whose name says that it grows along training, or along which the
    response falls. Where no rows share a cluster the name alone decides.
    """
    law = observed.law
    if tells_compute(law):
        return None
    groups = [np.flatnonzero(observed.clusters == g) for g in range(observed.cluster_count)]
    curves = [rows for rows in groups if len(rows) > 1]
    for name, values in zip(law.inputs, observed.inputs, strict=True):
        if name in law.raw:
            continue
        named = name in PROGRESS
        along = [
            np.ptp(values[rows]) > 0
            and (named or np.cov(values[rows], observed.target[rows])[0, 1] < 0)
            for rows in curves
        ]
        if 2 * sum(map(bool, along)) > len(curves) or (named and not curves):
            return name
    return None


def notices(observed: Observations) -> Iterator[Notice]:
    """Warnings of a fit to points of curves that has not been back-tested."""
    rows, curves, by = len(observed.target), observed.cluster_count, observed.by
    name = progress_of(observed)
    if name is None:
        return
    if curves == rows:
        if "lr_sum" in observed.law.inputs:
            yield Notice(
                "curves-as-runs",
                f"{rows} rows of a law along a schedule count as independent runs. Points of one "
                "curve share its noise, and intervals come out too narrow. Say which rows are of "
                "one curve: a column 'curve', or clusters=COLUMN.",
            )
        return
    yield Notice(
        "not-backtested",
        f"{rows} rows are points of {curves} curves (by {by}), and the law was not tested on a "
        f"curve, nor on a larger {name}, that it has not seen. These intervals hold only if the "
        "law is exactly right. scalelab.fitting.checked(model, table) tests it and widens them.",
    )
    if curves < FEW_CURVES:
        yield Notice(
            "few-curves",
            f"{curves} curves (by {by}): intervals of a new curve rest on {curves} examples. Add "
            f"curves of other schedules or lengths, {FEW_CURVES} or more.",
        )


# --- the test -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a fit without them said of points of one curve, (m,) each.

    errors: log of predicted over measured. variance: what the fit itself expects of their square.
    beyond: log factor beyond what was fitted, see `result.beyond`. ratio: of the cut, 0 where a
    curve was left out.
    """

    errors: Array
    variance: Array
    beyond: Array
    ratio: float = 0.0


@dataclass(frozen=True)
class CurveTest:
    """Answers at all cuts. failed: cuts without one, and why. points: see `CurveReach.of`."""

    progress: str
    fall: str
    by: str
    points: tuple[Array, Array]
    answers: tuple[Answer, ...]
    failed: tuple[str, ...]

    def reach(self) -> CurveReach:
        """The error to expect of a new curve, and of points beyond the data."""
        new = _new(self.answers)
        growth = _growth(self.answers, new)
        if growth is None:
            growth = new  # nothing lay beyond: as much again for each e-fold (assumed)
        found = (NEW * float(new**0.5), GROWTH * float(growth**0.5))
        return CurveReach.of(self.progress, self.fall, self.points, *found)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: mean relative errors of the curves left out and of the later parts."""
        left = [a for a in self.answers if not a.ratio]
        later = [(r, [a for a in self.answers if a.ratio == r]) for r in CUTS]
        return {
            "curves": {
                "by": self.by,
                "progress": self.progress,
                "left_out": _shown(left) | {"last_point": _last(left)},
                "later": [{"ratio": r} | _shown(own) for r, own in later if own],
                "failed": list(self.failed),
            }
        }


def curve_backtest(observed: Observations, estimator: Estimator, near: Array) -> CurveTest:
    """Leave out every curve in turn, then the late part of all.

    near: coordinates of the fit to all rows, where the search of every cut begins. Long curves are
    thinned to points at equal steps of the log progress. Raises FitError where no cut can be
    answered.
    """
    name = progress_of(observed)
    if name is None:
        raise FitError(
            f"law {observed.law.name} knows neither compute nor a progress along training, by "
            "which rows could be cut."
        )
    place = observed.law.inputs.index(name)
    kept = part(observed, _thinned(observed, observed.inputs[place]))
    x, curve = kept.inputs[place], kept.clusters
    fall = next((name for name in FALLS if name in kept.law.inputs), "")
    fallen = fall_of(dict(zip(kept.law.inputs, kept.inputs, strict=True)), fall, len(x))
    cuts: list[tuple[str, float, NDArray[np.bool_]]] = []
    count = kept.cluster_count
    if count < len(curve):
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_CURVES)).astype(int))
        cuts += [(f"without a {kept.by}", 0.0, curve != g) for g in chosen]
    cuts += [(f"{name} up to {np.exp(x.max()) / r:.3g}", r, x <= x.max() - np.log(r)) for r in CUTS]
    answers: list[Answer] = []
    failed: list[str] = []
    for place_name, ratio, seen in cuts:
        found = _answers(kept, estimator, near, (x, fallen), seen, ratio)
        if isinstance(found, str):
            failed.append(f"{place_name}: {found}")
        else:
            answers += found
    if not answers:
        raise FitError(
            f"{len(observed.target)} points cannot be cut for a back-test ({failed[0]}). Add "
            "curves, or points early in training."
        )
    return CurveTest(name, fall, kept.by, (x, fallen), tuple(answers), tuple(failed))


def part(observed: Observations, keep: NDArray[np.bool_]) -> Observations:
    """The rows `keep`, their clusters numbered from 0."""
    weights = observed.weights[keep]
    return replace(
        observed,
        names=tuple(name for name, kept in zip(observed.names, keep, strict=True) if kept),
        inputs=tuple(values[keep] for values in observed.inputs),
        target=observed.target[keep],
        weights=weights / weights.mean(),
        clusters=np.unique(observed.clusters[keep], return_inverse=True)[1],
        std=None if observed.std is None else observed.std[keep],
    )


def _thinned(observed: Observations, x: Array) -> NDArray[np.bool_]:
    """Of every curve at most so many points, nearest to equal steps of x from its first to last."""
    keep = np.ones(len(x), dtype=bool)
    for g in range(observed.cluster_count):
        own = np.flatnonzero(observed.clusters == g)
        if len(own) <= _MOST_POINTS:
            continue
        at = np.linspace(x[own].min(), x[own].max(), _MOST_POINTS)
        keep[own] = False
        keep[own[np.abs(x[own] - at[:, None]).argmin(axis=1)]] = True
    return keep


# --- one cut --------------------------------------------------------------------------------------


def _answers(
    observed: Observations,
    estimator: Estimator,
    near: Array,
    points: tuple[Array, Array],
    seen: NDArray[np.bool_],
    ratio: float,
) -> list[Answer] | str:
    """One answer for each curve that has points left out, or why there is none."""
    law, (x, fallen) = observed.law, points
    least, levels = len(law.parameters) + _SPARE, len(np.unique(np.round(x[seen], 2)))
    if seen.sum() < least or levels < _LEVELS:
        return f"{seen.sum()} points at {levels} values are too few for {least - _SPARE} parameters"
    fitted = part(observed, seen)
    if fitted.cluster_count < 2 and estimator.name == "shared-noise":
        estimator = Estimator("least-squares")  # one curve shows no noise between curves
    try:
        theta, noise = _settled(fitted, estimator, near)
    except (FitError, np.linalg.LinAlgError) as error:
        return f"no fit ({error})"
    asked = tuple(values[~seen] for values in observed.inputs)
    with np.errstate(all="ignore"):
        value, jacobian = law.formula(theta[None], asked)
        variance = _variance(fitted, estimator, theta, noise, jacobian[0]) + np.square(noise).sum()
    errors = value[0] - observed.target[~seen]
    known = np.isfinite(errors) & np.isfinite(variance)
    if not known.any():
        return "no finite prediction of the points left out"
    out = beyond(x[~seen], fallen[~seen], x[seen], fallen[seen], float(x[seen].min()))
    curve, order = observed.clusters[~seen], np.argsort(x[~seen], kind="stable")
    found = []
    for g in np.unique(curve[known]):
        own = order[(curve == g)[order] & known[order]]
        found.append(Answer(errors[own], variance[own], out[own], ratio))
    return found


def _settled(
    observed: Observations, estimator: Estimator, near: Array
) -> tuple[Array, tuple[float, float]]:
    """Where a short search from the fit to all rows and a few others ends, and its noise.

    A prediction moves by less than a hundredth of its error from here to the bottom of the valley,
    which takes most of the time of a fit.
    """
    starts = starts_of(observed.law, observed.inputs, observed.target)
    step = -(-len(starts) // _MOST_STARTS)
    theta = np.concatenate([near[None], starts[step // 2 :: step]])
    noise = None
    rounds = [(Estimator("least-squares"), 40, 1e-4), (estimator, 60, 1e-6)]
    if estimator.name == "shared-noise":  # the noise found at one place moves the next
        rounds.append((estimator, 60, 1e-6))
    for how, iterations, tolerance in rounds:
        if how.name == "shared-noise":
            noise = _noise(observed, how, theta[0])
        count = len(theta)
        objective = batch(
            observed,
            how,
            np.broadcast_to(observed.target, (count, len(observed.target))),
            noise=noise and (np.full(count, noise[0]), np.full(count, noise[1])),
        )
        ends = minimise(objective, theta, iterations=iterations, tolerance=tolerance)
        theta = ends.theta[np.argsort(ends.value, kind="stable")[:3]]
    return theta[0], _noise(observed, estimator, theta[0])


def _noise(observed: Observations, estimator: Estimator, theta: Array) -> tuple[float, float]:
    """Standard deviations that curves and that points differ by."""
    value, jacobian = observed.law.formula(theta[None], observed.inputs)
    low, high = observed.law.bounds
    free = (theta > low) & (theta < high)
    spread = observed.error * estimator.spread(observed.relative_size)
    residual = (observed.target - value[0]) / spread
    return estimate_components(residual, jacobian[0][free] / spread, observed.clusters).estimate


def _variance(
    observed: Observations,
    estimator: Estimator,
    theta: Array,
    noise: tuple[float, float],
    asked: Array,
) -> Array:
    """Variance of the fitted log loss at points with derivatives `asked` (p, m), linearised.

    Infinite where it depends on a parameter that no fitted row depends on.
    """
    law = observed.law
    between, within = (np.array([one]) for one in noise)
    whitening = Whitening.of(between, within, observed.clusters, observed.error)
    rows = whitening.apply(law.formula(theta[None], observed.inputs)[1])[0]
    size = np.linalg.norm(rows, axis=1)
    low, high = law.bounds
    # A parameter on its bound is known, unless no row depends on it.
    used = ((theta > low) & (theta < high)) | ~(size > 0)
    unknown = used & ~(size > 0)
    silent = (asked[unknown] != 0).any(axis=0) if unknown.any() else np.zeros(asked.shape[1], bool)
    used &= ~unknown
    size = size[used]
    scaled = rows[used] / size[:, None]
    information = scaled @ scaled.T + _RIDGE * np.eye(len(size))
    if estimator.name == "shared-noise":
        prior = Prior.of(law, 1)
        told = np.zeros(len(theta))
        told[list(prior.columns)] = 1 / (theta[list(prior.columns)] * prior.width) ** 2
        information += np.diag(told[used] / size**2)
    moved = asked[used] / size[:, None]
    found = np.einsum("pm,pm->m", moved, np.linalg.solve(information, moved))
    return np.where(silent, np.inf, found)


# --- what the answers show ------------------------------------------------------------------------


def _new(answers: Sequence[Answer]) -> float:
    """Mean square of the error on curves left out, as far as the fits did not expect it."""
    found = []
    for answer in answers:
        inside = answer.beyond <= _INSIDE
        if not answer.ratio and inside.any():
            left = answer.errors**2 - OWN_SHARE * answer.variance
            found.append(left[inside].mean())
    return max(0.0, float(np.mean(found))) if found else 0.0


def _growth(answers: Sequence[Answer], new: float) -> float | None:
    """By how much that mean square grows in an e-fold beyond the data, squared; None unknown.

    Answers whose own fit knew little count less, the less the more the law is right (weights as of
    random effects: DerSimonian and Laird 1986).
    """
    slopes, expected = [], []
    for answer in answers:
        out = answer.beyond > _BEYOND
        if out.any():
            factor, variance = answer.beyond[out], answer.variance[out]
            left = answer.errors[out] ** 2 - OWN_SHARE * variance - new
            slopes.append(float((left * factor**2).sum() / (factor**4).sum()))
            expected.append(float((variance / factor**2).mean()))
    if not slopes:
        return None
    found = 0.0
    for _ in range(3):
        weights = 1 / np.maximum(np.array(expected) + found, 1e-14)
        found = max(0.0, float(np.average(slopes, weights=weights)))
    return found


def _shown(answers: Sequence[Answer]) -> dict[str, Any]:
    errors = np.concatenate([np.empty(0), *(np.expm1(a.errors) for a in answers)])
    return {
        "curves": len(answers),
        "points": len(errors),
        "mean_abs_rel_error": float(np.abs(errors).mean()) if len(errors) else None,
        "bias": float(errors.mean()) if len(errors) else None,
    }


def _last(answers: Sequence[Answer]) -> float | None:
    """Mean relative error of the last points of curves that were left out."""
    if not answers:
        return None
    return float(np.mean([abs(np.expm1(a.errors[-1])) for a in answers]))

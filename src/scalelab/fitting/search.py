"""The search for the optimum of a user's own law, about which nothing is known beforehand.

A law of the registry has a grid of starts. A formula has none, so its parameters are guessed from
where they stand in it (`laws.guesses`). Many guesses are made, the coefficients are eliminated by
variable projection, and the best guesses of many groups are followed to their ends by least
squares. Rounds with wider guesses follow until several starts share the best end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import FitError, SpecError
from scalelab.fitting.objective import Objective
from scalelab.fitting.observations import Observations, observe
from scalelab.fitting.solver import minimise
from scalelab.laws import Array, Law, Parameter
from scalelab.laws.custom import linear_parameters
from scalelab.laws.guesses import exponents, guess
from scalelab.laws.starts import nowhere, project_values

if TYPE_CHECKING:
    import polars as pl

GUESSES = 2048
"""In the first round; each further round makes twice as many."""
FOLLOWED = 48
"""Of the guesses of a round, those that least squares follows to their ends."""
ROUNDS = 3
ENOUGH = 3
"""Starts of different groups that must share the best end before the search stops."""
_SAME = 1e-4  # relative difference of two objectives that are one end (assumed)
_KEPT = 8  # ends that the fit itself starts from, beside the guesses
_MOST_RUNS = 256  # that guesses are judged by; the fit itself takes all
_GAIN = 1.0  # of twice the log likelihood that a negative coefficient must bring (assumed)


def settle(observed: Observations) -> Observations:
    """The same observations of a law whose search is done: bounds, coordinates and starts.

    Laws of the registry, and laws settled before, are returned as they are.
    """
    law = observed.law
    if law.written is None or law.starts is not None:
        return observed
    law = replace(law, linear=linear_parameters(law))
    few = _fewer(replace(observed, law=law))
    best = _searched(replace(few, law=_described(few, negative=False)))
    free = _described(few, negative=True)
    if free.parameters != best.law.parameters:
        other = _searched(replace(few, law=free))
        if len(few.target) * np.log(best.value / max(other.value, 1e-300)) > _GAIN:
            best = other
    return replace(observed, law=_with_starts(best))


def settled(law: Law, table: pl.DataFrame, clusters: str, weights: str | None) -> Law:
    """A law whose search over the runs of a table is done; unchanged where they cannot be fitted.

    Back-tests begin with it, so that the search is made once and not at every cut. It hands over
    places to start from, never a fitted value.
    """
    try:
        return settle(observe(law, table, clusters, weights)).law
    except (FitError, SpecError):
        return law


def _fewer(observed: Observations) -> Observations:
    """At most `_MOST_RUNS` of the runs, spread evenly over their canonical order."""
    n = len(observed.target)
    if n <= _MOST_RUNS:
        return observed
    rows = np.unique(np.linspace(0, n - 1, _MOST_RUNS).astype(int))
    return replace(
        observed,
        inputs=tuple(column[rows] for column in observed.inputs),
        target=observed.target[rows],
        weights=observed.weights[rows],
        clusters=observed.clusters[rows],
        std=None if observed.std is None else observed.std[rows],
    )


def _data(observed: Observations) -> tuple[dict[str, Array], Array]:
    """The inputs' values by column, and the response."""
    law = observed.law
    columns = {
        name: values if name in law.raw else np.exp(values)
        for name, values in zip(law.inputs, observed.inputs, strict=True)
    }
    return columns, law.off_scale(observed.target)


# --- what each parameter may be -------------------------------------------------------------------


def _described(observed: Observations, *, negative: bool) -> Law:
    """The law with bounds and coordinates for the parameters that the user left open.

    negative: whether floors, and coefficients of terms that bend, may be below zero.
    """
    law = observed.law
    others = [j for j, name in enumerate(law.names) if name not in law.linear]
    points = np.ones((256, len(law.names)))
    points[:, others] = guess(law, *_data(observed), len(points), np.random.default_rng([0, 0]))
    with np.errstate(all="ignore"):
        value, slopes = law.over_values().value_formula(points, observed.inputs)
    usable = np.isfinite(value).all(axis=1) & np.isfinite(slopes).all(axis=(1, 2))
    if not usable.any():
        raise SpecError(nowhere(law.over_values(), observed.inputs, points[:, others]))
    bends = exponents(law)
    parameters = []
    for j, parameter in enumerate(law.parameters):
        name, low = parameter.name, parameter.low
        if not _left_open(parameter) and name not in law.restrictions.bounds:
            parameters.append(parameter)
        elif name in law.linear:
            slope = slopes[usable, j]
            least = 1e-9 * np.abs(slope).max()
            even = bool(np.ptp(slope, axis=0).max() <= least)
            constant = even and bool(np.ptp(slope) <= least)
            floor = constant and law.scale == "log"
            if (floor or not even) and not negative:
                low = max(low, 0.0)
            meaning = "constant term" if constant else "slope" if even else "coefficient"
            parameters.append(
                replace(parameter, low=low, log=not even and low >= 0, meaning=meaning)
            )
        elif parameter.high > 0 and _only_positive(law, points, j, observed):
            parameters.append(replace(parameter, low=max(low, 0.0), log=True, meaning="scale"))
        else:
            meaning = "exponent" if name in bends else "parameter"
            parameters.append(replace(parameter, bends=name in bends, meaning=meaning))
    return replace(law, parameters=tuple(parameters))


def _left_open(parameter: Parameter) -> bool:
    """Whether the user gave a parameter neither bounds, nor starts, nor a coordinate."""
    ends = (parameter.low, parameter.high) == (-np.inf, np.inf)
    return ends and not parameter.log and not parameter.grid and not parameter.meaning


def _only_positive(law: Law, points: Array, j: int, observed: Observations) -> bool:
    """Whether the formula is no number, at some run, wherever a parameter is negative."""
    tried = points.copy()
    tried[:, j] = -np.abs(tried[:, j])
    with np.errstate(all="ignore"):
        value = law.over_values().value_formula(tried, observed.inputs)[0]
    return not np.isfinite(value).all(axis=1).any()


# --- rounds ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What a search found.

    law: with bounds and coordinates. points: values (k, q) of the parameters that are not linear,
    the best first. value: of the best end, a least-squares objective.
    """

    law: Law
    points: Array
    value: float


def _searched(observed: Observations) -> _Found:
    law = observed.law
    others = np.array([name not in law.linear for name in law.names])
    columns, response = _data(observed)
    ends, values, groups = np.empty((0, len(law.names))), np.empty(0), np.empty(0, dtype=int)
    starts = points = np.empty((0, int(others.sum())))
    for number in range(ROUNDS):
        generator = np.random.default_rng([1, number])
        if others.any():
            width, count = 1.0 + 0.5 * number, GUESSES * 2**number
            points = guess(law, columns, response, count, generator, width)
        else:
            points = np.empty((1, 0))
        if len(ends):  # and the neighbourhood of the best so far
            points = np.concatenate([points, _near(law, ends[values.argmin()], others, generator)])
        theta = project_values(law, observed.inputs, observed.target, points)
        rows, group = _chosen(observed, theta, generator)
        end = minimise(_objective(observed, len(rows)), rows, iterations=150, tolerance=1e-8)
        good = np.isfinite(end.value)
        ends = np.concatenate([ends, end.theta[good]])
        values = np.concatenate([values, end.value[good]])
        groups = np.concatenate([groups, group[good] + FOLLOWED * number])
        starts = law.values(rows)[:, others]
        if len(values) and (not others.any() or _agreed(values, groups) >= ENOUGH):
            break
    if not len(values):
        raise SpecError(nowhere(law.over_values(), observed.inputs, points))
    order = np.argsort(values, kind="stable")
    new = [n == 0 or values[i] > values[order[n - 1]] * (1 + _SAME) for n, i in enumerate(order)]
    best = law.values(ends[order[new][:_KEPT]])[:, others]
    return _Found(law, np.concatenate([best, starts]), float(values[order[0]]))


def _agreed(values: Array, groups: NDArray[np.intp]) -> int:
    """How many starts of different groups share the best end."""
    return len(np.unique(groups[values <= values.min() * (1 + _SAME) + 1e-28]))


def _near(
    law: Law, best: Array, others: NDArray[np.bool_], generator: np.random.Generator
) -> Array:
    """Values around a best end, of the parameters that are not linear."""
    count = GUESSES // 4
    scale = 10 ** generator.uniform(-2, 0, size=(count, 1)) * (np.abs(best) + 1e-3)
    moved = best + scale * generator.normal(size=(count, len(best)))
    return law.values(np.clip(moved, *law.bounds))[:, others]


def _chosen(
    observed: Observations, theta: Array, generator: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """The best start of each of `FOLLOWED` groups drawn by chance, and the groups' numbers."""
    value = _objective(observed, len(theta)).evaluate(theta).value
    finite = generator.permutation(np.flatnonzero(np.isfinite(value)))
    groups = [group for group in np.array_split(finite, FOLLOWED) if len(group)]
    rows = np.array([group[value[group].argmin()] for group in groups], dtype=int)
    return theta[rows], np.arange(len(rows))


def _objective(observed: Observations, count: int) -> Objective:
    target = np.broadcast_to(observed.target, (count, len(observed.target)))
    weights = np.broadcast_to(observed.weights, target.shape)
    return Objective(
        observed.law, observed.inputs, target, weights, np.inf, unit=observed.unit(raw=False)
    )


def _with_starts(found: _Found) -> Law:
    """The law that starts from the ends of the search, and from the guesses that led there."""
    law, points = found.law, found.points

    def starts(x: SimpleNamespace, target: Array) -> Array:
        inputs = tuple(getattr(x, n if n in law.raw else f"log_{n}") for n in law.inputs)
        return project_values(law, inputs, target, points)

    return replace(law, starts=starts)

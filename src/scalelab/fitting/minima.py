"""The minimum of a budget's losses over ln N, by a polynomial through the points near it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting.budgets import BudgetOptimum, budget_of
from scalelab.fitting.result import Estimate
from scalelab.laws import Array

if TYPE_CHECKING:
    import polars as pl

POLYNOMIALS = {"parabola": (2, 0.02, 5), "cubic": (3, 0.1, 5)}
"""Degree; how far above the best loss (relative) points are used; at least how many."""
_PRIOR_FREEDOM = 2.0
"""Weight of all budgets' noise in one budget's, in degrees of freedom: few points tell little."""


@dataclass(frozen=True)
class _Vertex:
    """ln N of a polynomial's minimum; its error for noise of one; residual sum of squares."""

    place: float
    unit_error: float
    log_loss: float
    squares: float
    freedom: int


def find_minima(
    name: str, groups: list[pl.DataFrame], level: float
) -> tuple[list[BudgetOptimum], Array]:
    """The optimum at each budget by that polynomial, and the errors of ln N of those that have one.

    Raises FitError when fewer than three budgets have a minimum inside their sweep.
    """
    degree, reach, least = POLYNOMIALS[name]
    vertices: dict[int, _Vertex] = {}
    refused: dict[int, str] = {}
    for i, group in enumerate(groups):
        try:
            vertices[i] = _vertex(group, degree, reach, least)
        except FitError as error:
            refused[i] = str(error)
    if len(vertices) < 3:
        reasons = "; ".join(sorted(set(refused.values())))
        runs = sum(len(group) for group in groups)
        raise FitError(
            f"{len(vertices)} of {len(groups)} budgets have a minimum inside their sweep; three "
            f"are needed. {f'The others: {reasons}. ' if reasons else ''}Runs share a budget when "
            f"their compute differs by less than the tolerance; {runs} runs made {len(groups)}."
        )
    variance = _variances(list(vertices.values()))
    quantile = NormalDist().inv_cdf(0.5 + level / 2)
    errors = {
        i: np.sqrt(v) * vertices[i].unit_error for i, v in zip(vertices, variance, strict=True)
    }
    budgets = []
    for i, group in enumerate(groups):
        flops = budget_of(group)
        if i not in vertices:
            budgets.append(BudgetOptimum(flops, len(group), refused=refused[i]))
            continue
        place, half = vertices[i].place, quantile * errors[i]
        n, low, high = (float(np.exp(place + move)) for move in (0.0, -half, half))
        budgets.append(
            BudgetOptimum(
                flops,
                len(group),
                Estimate(n, low, high, level, n * errors[i]),
                _tokens_at(group, place),
                float(np.exp(vertices[i].log_loss)),
            )
        )
    return budgets, np.array(list(errors.values()))


def _vertex(group: pl.DataFrame, degree: int, reach: float, least: int) -> _Vertex:
    group = group.sort("params")
    x, y = np.log(group["params"].to_numpy()), np.log(group["loss"].to_numpy())
    best = int(y.argmin())
    if len(x) < degree + 1 or len(np.unique(x)) < degree + 1:
        raise FitError(f"fewer than {degree + 1} sizes")
    if x[best] in (x[0], x[-1]):
        side = "smallest" if x[best] == x[0] else "largest"
        raise FitError(f"the best size is the {side} of the sweep, so the minimum is outside it")
    chosen = y - y[best] < np.log1p(reach)
    sizes, number = np.unique(x, return_inverse=True)  # a size may have several runs
    if len(np.unique(x[chosen])) < least:  # the nearest neighbours on both sides
        order = np.argsort(np.abs(np.arange(len(sizes)) - number[best]), kind="stable")[:least]
        chosen = np.isin(number, order)
    middle = x[chosen].mean()
    rows = np.vander(x[chosen] - middle, degree + 1)
    coefficients = np.linalg.lstsq(rows, y[chosen], rcond=None)[0]
    slope = np.polyder(coefficients)
    roots = np.roots(slope)
    roots = roots[np.isreal(roots)].real
    roots = roots[np.polyval(np.polyder(slope), roots) > 0]
    if not len(roots):
        raise FitError("the losses have no minimum")
    root = float(roots[np.abs(roots + middle - x[best]).argmin()])
    if not x[0] < root + middle < x[-1]:
        raise FitError("the minimum is outside the sweep")
    powers = np.arange(degree, -1, -1)
    by_coefficient = np.where(powers > 0, powers * root ** np.maximum(powers - 1, 0.0), 0.0)
    bend = float(np.polyval(np.polyder(slope), root))
    covariance = np.linalg.pinv(rows.T @ rows)
    return _Vertex(
        root + float(middle),
        float(np.sqrt(by_coefficient @ covariance @ by_coefficient)) / bend,
        float(np.polyval(coefficients, root)),
        float(((y[chosen] - rows @ coefficients) ** 2).sum()),
        int(chosen.sum()) - degree - 1,
    )


def _variances(vertices: list[_Vertex]) -> Array:
    """Noise of each budget's log losses: its own residuals, steadied by those of all."""
    squares = np.array([vertex.squares for vertex in vertices])
    freedom = np.array([vertex.freedom for vertex in vertices])
    told = freedom > 0
    if not told.any():
        return np.full(len(vertices), 1e-6)  # a tenth of a percent: points on curves tell nothing
    # The median of a few squares lies below their mean: .6 of it for two or three.
    common = float(np.median(squares[told] / freedom[told])) / 0.6
    return np.asarray((squares + _PRIOR_FREEDOM * common) / (freedom + _PRIOR_FREEDOM))


def _tokens_at(group: pl.DataFrame, log_params: float) -> float:
    group = group.sort("params")
    x, y = np.log(group["params"].to_numpy()), np.log(group["tokens"].to_numpy())
    return float(np.exp(np.interp(log_params, x, y)))

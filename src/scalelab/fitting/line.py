"""A straight line through optima: how a power law's exponent follows from points with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting.result import Estimate
from scalelab.laws import Array

_TAIL = 1.5  # standard deviations beyond which a point pulls no harder (Huber's usual tuning)
_ROUNDS = 8


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x. scatter: of points beyond their own errors, in units of y."""

    slope: Estimate
    intercept: float
    scatter: float

    def at(self, x: Array) -> Array:
        """The line at x."""
        return np.asarray(self.intercept + self.slope.value * x)


def fit_line(
    x: Array, y: Array, error: Array | None = None, *, known: bool = False, level: float = 0.9
) -> Line:
    """The line through points (n,) with standard errors (n,).

    Points scatter about the line by their own errors and by something they do not know of, whose
    size is found by restricted maximum likelihood; those far off are pulled in by Huber's weights,
    so that one bad end of a sweep does not turn the line. known: the errors are all there is and
    their inverse squares are the weights, as published optima ask for. error: None for equal ones.
    The interval of the slope has Student's n - 2 degrees of freedom. Raises FitError for fewer than
    three points or equal x.
    """
    from scipy.stats import t as student

    if len(x) < 3 or np.ptp(x) == 0:
        raise FitError(f"a line needs three points at different places; there are {len(x)}.")
    variance = np.ones_like(x) if error is None else np.asarray(error) ** 2
    plain = known or error is None
    tails = np.ones_like(x)
    for _ in range(1 if plain else _ROUNDS):
        extra = 0.0 if plain else _extra(x, y, variance, tails)
        total = (variance + extra) / tails
        slope, intercept, spread = _weighted(x, y, total)
        off = np.abs(y - intercept - slope * x) / np.sqrt(variance + extra)
        tails = np.minimum(1.0, _TAIL / np.maximum(off, 1e-9))
    freedom = len(x) - 2
    if plain:  # how large errors are is told by the points: only their ratios were given
        spread *= np.sqrt(((y - intercept - slope * x) ** 2 / total).sum() / max(freedom, 1))
    half = float(student.ppf(0.5 + level / 2, max(freedom, 1))) * spread
    return Line(
        Estimate(slope, slope - half, slope + half, level, spread), intercept, float(np.sqrt(extra))
    )


def _weighted(x: Array, y: Array, variance: Array) -> tuple[float, float, float]:
    """Slope, intercept and standard error of the slope under known variances."""
    weight = 1 / variance
    middle = weight @ x / weight.sum()
    spread = weight @ (x - middle) ** 2
    slope = weight @ ((x - middle) * y) / spread
    return float(slope), float(weight @ (y - slope * x) / weight.sum()), float(spread**-0.5)


def _extra(x: Array, y: Array, variance: Array, tails: Array) -> float:
    """The variance beyond the points' own that is most likely, on a grid up to their scatter."""
    rough = float(np.var(y - np.polyval(np.polyfit(x, y, 1), x))) + 1e-12
    best, found = -np.inf, 0.0
    for extra in np.concatenate([[0.0], np.geomspace(1e-4, 4.0, 80) * rough]):
        total = (variance + extra) / tails
        slope, intercept, _ = _weighted(x, y, total)
        weight = 1 / total
        middle = weight @ x / weight.sum()
        information = np.log(weight.sum()) + np.log(weight @ (x - middle) ** 2)
        residual = y - intercept - slope * x
        likelihood = -0.5 * (np.log(total).sum() + information + weight @ residual**2)
        if likelihood > best:
            best, found = likelihood, float(extra)
    return found

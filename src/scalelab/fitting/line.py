"""A straight line through optima: how a power law's exponent follows from points with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting.result import Estimate
from scalelab.laws import Array

_TAIL = 1.5  # standard deviations beyond which a point pulls no harder (Huber's usual tuning)
_CUT = 2.0  # standard deviations beyond which a point tells no more of the scatter (assumed)
_CUT_SHARE = 0.92054  # mean of min(Z^2, _CUT^2) for a standard normal Z
_ROUNDS = 50


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
    size is found by restricted maximum likelihood; those far off are pulled in by Huber's weights
    and tell no more of the scatter, so that one bad end of a sweep does not turn the line. known:
    the errors are all there is and their inverse squares are the weights, as published optima ask
    for. error: None for equal ones. The interval of the slope has Student's n - 2 degrees of
    freedom. Raises FitError for fewer than three points or equal x.
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
        before, tails = tails, np.minimum(1.0, _TAIL / np.maximum(off, 1e-9))
        if np.abs(tails - before).max() < 1e-9:
            break
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
    """The variance beyond the points' own, (Richardson and Welsh 1995, robust REML II).

    The root of sum_i w_i psi(z_i)^2 / E[psi(Z)^2] = sum_i w_i (1 - h_i), where w = 1 / (variance +
    extra), z are residuals in standard deviations, psi cuts them at `_CUT` and h are the leverages:
    the equation of restricted maximum likelihood, in which one point however far off counts as four
    at most. Zero where the points' own errors are enough.
    """
    rough = float(np.var(y - np.polyval(np.polyfit(x, y, 1), x))) + 1e-12

    def surplus(extra: float) -> float:
        weight = 1 / (variance + extra)
        pull = weight * tails
        slope, intercept, _ = _weighted(x, y, 1 / pull)
        away = x - pull @ x / pull.sum()
        leverage = pull * (1 / pull.sum() + away**2 / (pull @ away**2))
        squares = np.minimum(weight * (y - intercept - slope * x) ** 2, _CUT**2)
        return float(weight @ (squares / _CUT_SHARE - (1 - leverage)))

    extras = np.concatenate([[0.0], np.geomspace(1e-4, 4.0, 40) * rough])
    over = [extra for extra in extras if surplus(extra) > 0]
    if not over:
        return 0.0
    low, high = over[-1], 2 * max(over[-1], extras[1])
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return float(low)

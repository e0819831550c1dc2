"""Whether a quantity of N and D depends on one combination of them, N^r / D, alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scalelab.laws import Array

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

RATIOS = np.linspace(0.0, 3.0, 151)
"""Candidates of r; the paper's is .74."""

LEAST_POINTS = 8
"""One curve and r take four parameters."""


@dataclass(frozen=True)
class Collapse:
    """ratio: r of the best collapse. scatter: of ln y about one curve in N^r / D (standard
    deviation). gain: that over the scatter about the better of a curve in N and one in D alone.
    """

    ratio: Estimate
    scatter: Estimate
    gain: Estimate


def collapse(
    log_n: Array, log_d: Array, log_y: Array, drawn_y: Array, level: float, seed: int
) -> Collapse | None:
    """The r for which ln y (n,) lies nearest to one parabola in r ln N - ln D.

    drawn_y: ln y (k, n) under drawn errors that the points share (such as of a common reference).
    Intervals: these, with the points weighed anew in each draw (Bayesian bootstrap). None for too
    few points, sizes or data sets.
    """
    from scalelab.fitting.result import estimate

    few = min(len(np.unique(log_n)), len(np.unique(log_d))) < 3
    if len(log_y) < LEAST_POINTS or few:
        return None
    one = np.ones((1, len(log_y)))
    value = _best(log_n, log_d, log_y[None], one)
    generator = np.random.default_rng([seed, 3])
    weights = generator.dirichlet(np.ones(len(log_y)), len(drawn_y)) * len(log_y)
    draws = _best(log_n, log_d, drawn_y, weights)
    found = [estimate(float(v[0]), d, level) for v, d in zip(value, draws, strict=True)]
    return Collapse(*found)


def _best(log_n: Array, log_d: Array, y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """r, scatter and gain of every draw (k,)."""
    places = RATIOS[:, None] * log_n - log_d
    scatter = np.stack([scatter_about_curve(x, y, weights) for x in places])
    best = scatter.argmin(axis=0)
    least = scatter[best, np.arange(len(y))]
    alone = np.minimum(scatter_about_curve(log_n, y, weights), scatter[0])
    return RATIOS[best], least, least / np.maximum(alone, 1e-12)


def scatter_about_curve(x: Array, y: Array, weights: Array) -> Array:
    """Weighted standard deviation of y (k, n) about its parabola in x (n,), (k,)."""
    spread = float(x.std()) or 1.0
    rows = np.vander((x - x.mean()) / spread, 3)
    left = np.einsum("kn,ni,nj->kij", weights, rows, rows) + 1e-9 * np.eye(3)
    right = np.einsum("kn,ni,kn->ki", weights, rows, y)
    fitted = np.linalg.solve(left, right[..., None])[..., 0] @ rows.T
    total = (weights * (y - fitted) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(total / weights.sum(axis=1)))

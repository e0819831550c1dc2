"""Draws of the parameters: what else the runs could have said, had luck been different.

Every method refits the law to many drawn data sets in one array program; intervals are quantiles
of the draws. The choice was made by measured coverage: benchmarks/ladder_coverage.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalelab.errors import SpecError
from scalelab.fitting.estimator import (
    FEW_CLUSTERS,
    Estimator,
    Optimum,
    batch,
    effective_clusters,
)
from scalelab.fitting.observations import Observations
from scalelab.fitting.solver import minimise
from scalelab.laws import Array

Method = Literal["auto", "pairs", "wild", "components"]

# Webb 2014: six-point weights, which keep the wild bootstrap alive with as few as five clusters.
_WEBB = np.array([-np.sqrt(1.5), -1.0, -np.sqrt(0.5), np.sqrt(0.5), 1.0, np.sqrt(1.5)])
# In units of the objective's value; moves a prediction by under .001 of its error (measured).
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Intervals:
    """How intervals were made: method, column of the clusters, number of clusters and of draws."""

    method: Literal["pairs", "wild", "components"]
    by: str
    clusters: int
    draws: int

    def __str__(self) -> str:
        """One line for people."""
        what = {
            "pairs": f"Bayesian bootstrap of {self.clusters} clusters",
            "wild": f"wild bootstrap (CR3, Webb) of {self.clusters} clusters",
            "components": f"drawn noise between and within {self.clusters} clusters",
        }[self.method]
        return f"{what} by {self.by}, {self.draws} draws"


@dataclass(frozen=True)
class Draws:
    """Draws of the coordinates (k, p), and of between and within (k, 2)."""

    theta: Array
    noise: Array


PER_PARAMETER = 8
"""Clusters for each parameter that a bootstrap of a least-squares fit needs: with four or five it
covered 77 to 82%, drawn noise 87 to 92% (measured: docs/LOG.md)."""


def choose_intervals(
    method: Method, draws: int, observed: Observations, estimator: Estimator, optimum: Optimum
) -> Intervals:
    """The method of that name; ``auto``: pairs, or components where clusters are few.

    Few: less than 20 in effect under the runs' weights, or, where most runs lie inside Huber's
    delta, so that the fit is one of least squares, less than 8 for each parameter.
    """
    if method == "auto":
        enough = FEW_CLUSTERS
        if _share_inside(observed, estimator, optimum) > 0.5:
            enough = max(enough, PER_PARAMETER * len(optimum.theta))
        method = "pairs" if effective_clusters(observed) >= enough else "components"
    if method not in ("pairs", "wild", "components"):
        raise SpecError(f"intervals are {method!r}; expected auto, pairs, wild or components.")
    if draws < 100:
        raise SpecError(f"draws is {draws}; the ends of a 90% interval need at least 100.")
    return Intervals(method, observed.by, observed.cluster_count, draws)


def draw(
    observed: Observations,
    estimator: Estimator,
    optimum: Optimum,
    intervals: Intervals,
    generator: np.random.Generator,
) -> Draws:
    """Refit `intervals.draws` drawn data sets, each from the optimum."""
    count, n = intervals.draws, len(observed.target)
    between, within = optimum.noise.draw(count, generator)
    weights = None
    fitted = observed.target - optimum.residual
    if intervals.method == "pairs":
        chosen = _resample(observed, count, generator)
        weights = chosen[:, observed.clusters]
        target = np.broadcast_to(observed.target, (count, n))
    elif intervals.method == "wild":
        signs = _WEBB[generator.integers(len(_WEBB), size=(count, intervals.clusters))]
        target = fitted + _corrected(observed, optimum) * signs[:, observed.clusters]
    else:
        shared = generator.normal(size=(count, intervals.clusters))[:, observed.clusters]
        noise_drawn = between[:, None] * shared
        noise_drawn += within[:, None] * generator.normal(size=(count, n))
        target = fitted + optimum.spread * noise_drawn
    noise = None
    prior_generator = None
    if optimum.whitened is not None:
        noise = (np.full(count, optimum.whitened[0]), np.full(count, optimum.whitened[1]))
        if intervals.method == "components":
            noise, prior_generator = (between, within), generator
    objective = batch(
        observed,
        estimator,
        target,
        weights=weights,
        noise=noise,
        generator=prior_generator,
    )
    start = np.broadcast_to(optimum.theta, (count, len(optimum.theta)))
    found = minimise(objective, start, iterations=200, tolerance=_TOLERANCE)
    theta = found.theta
    if intervals.method == "pairs":
        moved = optimum.theta + _widening(observed, estimator, optimum) * (theta - optimum.theta)
        theta = np.clip(moved, *observed.law.bounds)
    return Draws(theta, np.stack([between, within], axis=1))


def _widening(observed: Observations, estimator: Estimator, optimum: Optimum) -> float:
    """sqrt(G / (G - p)) for G clusters in effect, p parameters, as far as the fit is least squares.

    Least squares leaves residuals smaller than the noise, and weighing them again draws too little
    (seven parameters of 30 runs: 82% instead of 90). Runs beyond Huber's delta pull by their sign
    alone, whatever their size: there no correction is due (measured: docs/LOG.md).
    """
    clusters = effective_clusters(observed)
    spare = max(clusters - len(optimum.theta), 1.0)
    inside = _share_inside(observed, estimator, optimum)
    return 1.0 + inside * (float(np.sqrt(clusters / spare)) - 1.0)


def _share_inside(observed: Observations, estimator: Estimator, optimum: Optimum) -> float:
    """Share of runs that the fit treats as least squares does."""
    if estimator.name != "huber":
        return 1.0
    objective = batch(observed, estimator, observed.target[None])
    residual, _ = objective.residuals(optimum.theta[None])
    return float((np.abs(residual) <= estimator.delta).mean())


def _resample(observed: Observations, count: int, generator: np.random.Generator) -> Array:
    """Weight of each cluster in each replicate, (k, clusters): the Bayesian bootstrap (Rubin 1981).

    Every cluster keeps some weight, so no replicate loses a level of a predictor; drawing clusters
    with replacement covered 93 to 96% instead of 90 at 30 runs (measured: docs/LOG.md).
    """
    clusters = observed.cluster_count
    return generator.dirichlet(np.ones(clusters), count) * clusters


def _corrected(observed: Observations, optimum: Optimum) -> Array:
    """Residuals freed of the pull of their own cluster on the fit: CR3, (I - H_gg)^-1 r_g.

    H is the hat matrix of the fit under its weights.
    """
    felt = np.sqrt(np.maximum(observed.weights, 1e-200))  # a run that counts nothing stays finite
    rows = optimum.jacobian * felt
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(scale > 0, scale, 1.0)
    hat = np.linalg.pinv(rows) @ rows
    corrected = np.empty_like(optimum.residual)
    for cluster in range(observed.cluster_count):
        own = np.flatnonzero(observed.clusters == cluster)
        # A cluster that alone decides a parameter has leverage 1: the small ridge keeps it finite.
        left = (1 + 1e-3) * np.eye(len(own)) - hat[np.ix_(own, own)]
        corrected[own] = np.linalg.solve(left, (optimum.residual * felt)[own]) / felt[own]
    return corrected

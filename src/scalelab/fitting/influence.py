"""How far each run alone moves the parameters of a fit, and what clusters of runs do to that."""

from __future__ import annotations

import numpy as np

from scalelab.fitting.estimator import Estimator, Optimum, batch
from scalelab.fitting.observations import Observations
from scalelab.laws import Array


def influence(observed: Observations, estimator: Estimator, optimum: Optimum) -> Array:
    """The step (p, n) by which each run moves the coordinates of the optimum.

    One Newton step from the optimum without the run, turned round (Cook 1977, as for generalised
    linear models). A parameter that a bound holds does not move. Not for shared-noise, under which
    no run stands alone.
    """
    target = np.broadcast_to(observed.target, (1, len(observed.target)))
    objective = batch(observed, estimator, target)
    here = objective.evaluate(optimum.theta[None])
    low, high = observed.law.bounds
    free = (optimum.theta > low) & (optimum.theta < high)
    residual, slopes = objective.residuals(optimum.theta[None])
    gradients = (slopes[0] * objective.pull(residual)[0])[free]  # of each run's part
    # Between Gauss-Newton and its majorant: with a small delta hardly a run bends the objective.
    bend = (0.5 * (here.curvature[0] + here.majorant[0]))[np.ix_(free, free)]
    scale = 1 / np.sqrt(np.maximum(np.diag(bend), 1e-300))
    inverse = np.linalg.pinv(bend * scale[:, None] * scale, rcond=1e-10, hermitian=True)
    moves: Array = np.zeros_like(slopes[0])
    moves[free] = scale[:, None] * (inverse @ (scale[:, None] * gradients))
    return moves


def design_effect(observed: Observations, estimator: Estimator, optimum: Optimum) -> Array:
    """Variance of each coordinate (p,) over what it were if every run stood for itself, at least 1.

    Runs of one cluster move a parameter together: the cluster-robust sandwich over the plain one
    (Liang and Zeger 1986), each with its degrees of freedom.
    """
    n, clusters, p = len(observed.target), observed.cluster_count, len(optimum.theta)
    if clusters == n:
        return np.ones(p)
    moves = influence(observed, estimator, optimum)
    together = np.array([np.bincount(observed.clusters, row, clusters) for row in moves])
    alone = (moves**2).sum(axis=1) * n / max(n - p, 1)
    shared = (together**2).sum(axis=1) * clusters / max(clusters - p, 1)
    return np.asarray(np.maximum(1.0, shared / np.maximum(alone, 1e-300)))

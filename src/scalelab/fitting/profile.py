"""Profile likelihood: how far a parameter can move while all others do their best to follow.

An interval from draws around the optimum can miss what lies far off along a flat valley; a profile
walks there. It also tells an end that is not there: where the objective never rises enough, the
interval has no end on that side.
"""

from __future__ import annotations

import numpy as np

from scalelab.fitting.estimator import Estimator, Optimum, batch
from scalelab.fitting.influence import design_effect
from scalelab.fitting.objective import Objective
from scalelab.fitting.observations import Observations
from scalelab.fitting.solver import minimise
from scalelab.laws import Array

# Places on each side, in standard errors of the linearised fit.
_STEPS = np.array([0.5, 1, 1.5, 2, 3, 4, 6, 9, 14, 22, 35, 60, 110, 200, 400, 1000.0])


def profile(
    observed: Observations, estimator: Estimator, optimum: Optimum, level: float
) -> dict[str, tuple[float, float]]:
    """Low and high end of each parameter's value; where none is found the end is that of the law.

    The objective may rise by half t^2 s^2, with Student's t at `level` and the scale s^2 of the
    residuals: for Huber's function mean(psi^2) / mean(psi'), for least squares the variance (the
    robust likelihood-ratio test: Hampel et al. 1986, section 7.2). Where runs of a cluster are not
    independent it may rise as many times more as they widen the parameter's variance (Rotnitzky and
    Jewell 1990), and t has the degrees of freedom of the clusters. Under shared noise residuals are
    whitened: independent, and in units of their own noise. So t has those of the runs, with which
    six trunks of five branches covered 86 to 90% (measured, 100 ladders); with those of the trunks,
    one to spare of five parameters, intervals would be 3.7 times as wide.
    """
    law = observed.law
    low, high = law.bounds
    allowed = _allowed_rise(observed, estimator, optimum, level)
    error = _errors(observed, estimator, optimum)
    found = {}
    for j, parameter in enumerate(law.parameters):
        ends = []
        for side in (-1.0, 1.0):
            bound = high[j] if side > 0 else low[j]
            end = _walk(observed, estimator, optimum, j, side, error[j], bound, allowed[j])
            ends.append(bound if end is None else end)
        values = law.values(
            np.array([[*optimum.theta[:j], e, *optimum.theta[j + 1 :]] for e in ends])
        )
        least, most = float(values[0, j]), float(values[1, j])
        if parameter.open and most >= parameter.high * (1 - 1e-9):
            most = float("inf")
        found[parameter.name] = (least, most)
    return found


def _walk(
    observed: Observations,
    estimator: Estimator,
    optimum: Optimum,
    j: int,
    side: float,
    error: float,
    bound: float,
    allowed: float,
) -> float | None:
    """The coordinate at which the profile has risen by `allowed`; None when it never does."""
    places = optimum.theta[j] + side * error * _STEPS
    inside = side * (bound - places) > 0
    places = np.append(places[inside], bound) if np.isfinite(bound) else places[inside]
    if not len(places):
        return None
    start = np.tile(optimum.theta, (len(places), 1))
    start[:, j] = places
    held = np.zeros(len(optimum.theta), dtype=bool)
    held[j] = True
    objective = _objective(observed, estimator, optimum, len(places))
    ends = minimise(objective, start, tolerance=1e-9, held=held)
    # Again from the neighbour nearer the optimum: a far start may have stopped early.
    again = np.concatenate([optimum.theta[None], ends.theta[:-1]])
    again[:, j] = places
    second = minimise(objective, again, tolerance=1e-9, held=held)
    rise = np.minimum(ends.value, second.value) - optimum.value
    over = np.flatnonzero(rise > allowed)
    if not len(over):
        return None
    k = int(over[0])
    # Nearly a parabola: its root is nearly linear in the place.
    inner = (optimum.theta[j], 0.0) if k == 0 else (places[k - 1], float(rise[k - 1]))
    roots = np.sqrt(np.maximum([inner[1], float(rise[k])], 0.0))
    share = (np.sqrt(allowed) - roots[0]) / max(roots[1] - roots[0], 1e-300)
    return float(inner[0] + np.clip(share, 0.0, 1.0) * (places[k] - inner[0]))


def _objective(
    observed: Observations, estimator: Estimator, optimum: Optimum, count: int
) -> Objective:
    target = np.broadcast_to(observed.target, (count, len(observed.target)))
    noise = None
    if optimum.whitened is not None:
        noise = (np.full(count, optimum.whitened[0]), np.full(count, optimum.whitened[1]))
    return batch(observed, estimator, target, noise=noise)


def _allowed_rise(
    observed: Observations, estimator: Estimator, optimum: Optimum, level: float
) -> Array:
    """How far the objective may rise along each parameter's profile, (p,)."""
    from scipy.stats import t as student

    n, p = len(observed.target), len(optimum.theta)
    freedom = max(1, n - p)
    if optimum.whitened is not None:  # residuals are in units of their own noise
        return np.full(p, float(student.ppf(0.5 + level / 2, freedom)) ** 2 / 2)
    quantile = float(student.ppf(0.5 + level / 2, max(1, observed.cluster_count - p)))
    objective = _objective(observed, estimator, optimum, 1)
    residual, _ = objective.residuals(optimum.theta[None])
    weights, pull = objective.weights_at(residual)[0], objective.pull(residual)[0]
    delta = objective.delta
    size = np.abs(residual[0])
    # The share of runs within delta, mean(psi'), from as wide a band as its density is smooth in:
    # with delta far below the noise hardly any run is inside.
    band = (
        max(delta, 1.06 * 1.4826 * float(np.median(size)) * n**-0.2) if delta < np.inf else np.inf
    )
    share = float((weights * (size <= band)).mean()) * (delta / band if delta < np.inf else 1.0)
    scale = (pull**2).sum() / freedom / max(share, 1e-300)
    return design_effect(observed, estimator, optimum) * float(quantile**2 / 2 * scale) + 1e-300


def _errors(observed: Observations, estimator: Estimator, optimum: Optimum) -> Array:
    """Standard errors of the linearised fit: the unit of the walk's steps."""
    objective = _objective(observed, estimator, optimum, 1)
    here = objective.evaluate(optimum.theta[None])
    curvature = here.majorant[0]
    scale = 1 / np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    inverse = np.linalg.pinv(curvature * scale[:, None] * scale, rcond=1e-12, hermitian=True)
    variance = np.diag(inverse) * scale**2
    allowed = _allowed_rise(observed, estimator, optimum, 0.68)
    error = np.sqrt(np.maximum(variance, 0.0) * 2 * allowed)
    return np.asarray(np.maximum(error, 1e-6 * np.maximum(np.abs(optimum.theta), 1e-6)))

"""The minimum of every fit of a batch: one damped Newton over all of them.

Every start and every bootstrap replicate is a row of one array program; a row leaves the batch
when it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelab.fitting.objective import Evaluation, Objective
from scalelab.laws import Array

_WORTH = 0.1  # share of the promised decrease that lets the next step be bolder (assumed)


@dataclass(frozen=True)
class Solution:
    """Where a batch of fits ended: coordinates (k, p), objective (k,), converged (k,)."""

    theta: Array
    value: Array
    converged: NDArray[np.bool_]


def descend(
    objective: Callable[[int], Objective], starts: Array
) -> tuple[Solution, NDArray[np.intp]]:
    """Follow many starts (k, p) to their ends; how many starts each end stands for.

    objective: the batch of a given size. Far from a law Huber's function pulls with one force
    whatever the distance, and steps are short; least squares leads near it first. Starts that
    least squares brings together go on as one.
    """
    batch = objective(len(starts))
    if np.isinf(batch.delta):
        return minimise(batch, starts, iterations=150, tolerance=1e-8), np.ones(len(starts), int)
    near = minimise(replace(batch, delta=np.inf), starts, iterations=100, tolerance=1e-6).theta
    scale = np.maximum(np.abs(near).mean(axis=0), 1e-300)
    _, first, counts = np.unique(
        np.round(near / scale, 4), axis=0, return_index=True, return_counts=True
    )
    ends = minimise(objective(len(first)), near[first], iterations=150, tolerance=1e-8)
    return ends, counts


def minimise(
    objective: Objective,
    start: Array,
    *,
    iterations: int = 500,
    tolerance: float = 1e-11,
    held: NDArray[np.bool_] | None = None,
) -> Solution:
    """Minimise every fit of the batch from its own start (k, p).

    The step solves (curvature + damping x (majorant + its diagonal)) step = -gradient, with a
    parameter that a bound holds left out. Without damping that is Gauss-Newton on the runs in
    Huber's quadratic zone, which converges fast near the optimum; with much damping it is a short
    step of re-weighted least squares, which always descends. held: (p,) parameters that stay where
    they start. A row has converged when the decrease
    that its model of the objective promises is below `tolerance` of the objective.
    """
    low, high = objective.law.bounds
    k = len(start)
    theta = np.clip(start, low, high)
    state = objective.evaluate(theta)
    damping = np.full(k, 1e-2)
    converged = np.zeros(k, dtype=bool)
    batch, active, calm = objective, np.arange(k), np.zeros(k, dtype=np.intp)
    for _ in range(iterations):
        here = state.take(active)
        step, promised = _step(here, theta[active], damping[active], low, high, held)
        # Nothing to gain even with little damping: done. (Damped, a promise may just be timid.)
        small = promised <= tolerance * here.value + 1e-28
        calm[active] = np.where(small, calm[active] + 1, 0)
        done = (calm[active] >= 2) | (damping[active] > 1e12)
        if done.any():
            converged[active[done]] = True
            keep = np.flatnonzero(~done)
            active, batch = active[keep], batch.take(keep)
            step, promised = step[keep], promised[keep]
            if not len(active):
                break
        trial = np.clip(theta[active] + step, low, high)
        there = batch.evaluate(trial)
        with np.errstate(invalid="ignore"):  # both may be infinite: nothing gained
            gained = state.value[active] - there.value
        better = gained > 0
        rows = active[better]
        theta[rows] = trial[better]
        state.put(rows, there, better)
        # A step that gains hardly anything of what was promised went too far, to the other side of
        # a kink: with less damping the next one would come back, and so on for ever.
        bold = gained > _WORTH * promised
        damping[active] = np.where(
            bold, np.maximum(damping[active] * 0.2, 1e-12), damping[active] * 5
        )
    return Solution(theta, state.value, converged)


def _step(
    here: Evaluation,
    theta: Array,
    damping: Array,
    low: Array,
    high: Array,
    fixed: NDArray[np.bool_] | None,
) -> tuple[Array, Array]:
    """The damped step (k, p) and the decrease (k,) that the quadratic model promises for it."""
    p = theta.shape[1]
    held = ((theta <= low) & (here.gradient > 0)) | ((theta >= high) & (here.gradient < 0))
    if fixed is not None:
        held |= fixed
    diagonal = np.einsum("kii->ki", here.majorant)
    matrix = here.curvature + damping[:, None, None] * here.majorant
    tiny = 1e-14 * diagonal + 1e-300  # each in its own unit: a rate per token is 1e-10
    matrix[:, np.arange(p), np.arange(p)] += damping[:, None] * diagonal + tiny
    free = ~held
    matrix *= free[:, :, None] & free[:, None, :]
    matrix[:, np.arange(p), np.arange(p)] += held
    gradient = np.where(held, 0.0, here.gradient)
    # Scaled to a unit diagonal, the matrix of an ill-posed fit is still solved to full digits.
    root = 1 / np.sqrt(np.einsum("kii->ki", matrix))
    scaled = matrix * root[:, :, None] * root[:, None, :]
    step = -root * np.linalg.solve(scaled, (root * gradient)[:, :, None])[:, :, 0]
    promised = -(gradient * step).sum(axis=1) / 2
    return step, promised

"""What the laws of annealing need to know of a learning-rate schedule, at any step of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import FitError
from scalelab.laws import Array

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

MOMENTUM = 0.999
"""Decay per step of the annealing momentum (Tissue et al. 2024, section 3: .99 to .999)."""

DROPS = 64
"""A longer list of drops is summed into this many, of equal fall: schedules change at every step.
With 64 the multi-power law's loss along a cosine or a straight line down to nothing is within 3e-4
of that of a drop at every step, what the drops pay back within 2e-3 of itself (measured)."""


def schedule_columns(
    lr: Array, steps: NDArray[np.intp], momentum: float = MOMENTUM
) -> pl.DataFrame:
    """The inputs of the laws ``annealing`` and ``multi-power`` at steps of one schedule.

    lr: learning rate of every step from the first, (T,). steps: counted from 1, (n,).

    Returns the columns lr_sum (S_1, the sum of rates so far), annealing (S_2 of Tissue et al.
    2024), lr_drops, lr_levels and lr_sum_after (lists: the falls of the rate so far, the rate after
    each, and the sum of rates from each fall on; Luo et al. 2025). What rises before the first fall
    is warm-up, which is no annealing; a later rise is a negative fall, as in both papers' sums, and
    can take S_2 below zero.
    """
    import polars as pl

    lr = np.asarray(lr, dtype=float)
    if lr.ndim != 1 or not len(lr) or not (np.isfinite(lr) & (lr >= 0)).all() or not lr.max() > 0:
        raise FitError("a schedule is a list of learning rates, one a step, none negative.")
    steps = np.asarray(steps)
    if not steps.size:
        raise FitError("no steps are given at which the schedule is asked for.")
    if steps.min() < 1 or steps.max() > len(lr):
        raise FitError(
            f"steps run from {steps.min()} to {steps.max()}; the schedule has {len(lr)} steps."
        )
    sums = np.cumsum(lr)
    fall = np.concatenate([[0.0], lr[:-1] - lr[1:]])
    fall = np.where(np.maximum.accumulate(fall > 0), fall, 0.0)  # none before the first: warm-up
    columns: dict[str, list[float] | list[list[float]]] = {
        "lr_sum": list(sums[steps - 1]),
        "annealing": list(annealing_area(fall, momentum)[steps - 1]),
    }
    lists = [_drops(lr, fall, sums, step) for step in steps]
    for i, name in enumerate(("lr_drops", "lr_levels", "lr_sum_after")):
        columns[name] = [list(item[i]) for item in lists]
    return pl.DataFrame(columns)


def annealing_area(fall: Array, momentum: float = MOMENTUM) -> Array:
    """S_2 at every step: the sum of m_i, where m_i = momentum m_(i-1) + the fall of step i."""
    from scipy.signal import lfilter

    return np.cumsum(lfilter([1.0], [1.0, -momentum], fall))


def _drops(lr: Array, fall: Array, sums: Array, step: int) -> tuple[Array, Array, Array]:
    """Falls up to a step, the rate after each, and the rates summed from each on to the step."""
    where = np.flatnonzero(fall[:step])
    if not len(where):
        return np.zeros(1), np.zeros(1), np.zeros(1)
    after = sums[step - 1] - sums[where] + lr[where]
    drops, levels = fall[where], np.maximum(lr[where], 1e-6 * lr.max())
    if len(where) <= DROPS:
        return drops, levels, after
    share = np.cumsum(np.abs(drops))
    group = np.minimum((share / share[-1] * DROPS).astype(np.intp), DROPS - 1)
    weight = np.bincount(group, np.abs(drops), DROPS)
    kept = weight > 0
    total = np.bincount(group, drops, DROPS)[kept]
    means = [
        np.bincount(group, np.abs(drops) * values, DROPS)[kept] / weight[kept]
        for values in (levels, after)
    ]
    return np.asarray(total, dtype=float), means[0], means[1]

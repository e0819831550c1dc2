"""A fitted law turned round: the input at which it gives a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import SpecError
from scalelab.laws import Array

if TYPE_CHECKING:
    from scalelab.fitting.result import Estimate, Fit

_FAR = 60.0  # e-folds beyond the runs that are searched: factors of 1e26
_HALVINGS = 60
_CHUNK = 64  # draws at once: the diagonal of a small square is cheap


def invert(fit: Fit, value: float, level: float, inputs: Mapping[str, float]) -> Estimate:
    """See `Fit.invert`."""
    from scalelab.fitting.result import check_level, estimate

    law = fit.law
    inputs = law.by_column(inputs)
    free = [name for name in law.inputs if name not in inputs]
    unknown = [name for name in inputs if name not in law.inputs]
    if len(free) != 1 or unknown or free[0] in law.raw:
        raise SpecError(
            f"law {law.name} takes {' and '.join(law.inputs)}; to invert it, give all but one of "
            f"these (given: {', '.join(inputs) or 'none'})."
        )
    check_level(level)
    if not np.isfinite(value) or (law.scale == "log" and value <= 0):
        kind = "positive, finite" if law.scale == "log" else "finite"
        raise SpecError(f"{law.response} is {value}; a {kind} number is expected.")
    low, high, _ = fit.ranges[free[0]]
    held, _ = law.log_inputs({**inputs, free[0]: (low * high) ** 0.5})
    place = law.inputs.index(free[0])

    def log_response(theta: Array, log_x: Array) -> Array:
        # Every draw at a place of its own: a law is evaluated at all places, and its own is taken.
        columns = [np.broadcast_to(part, log_x.shape) for part in held]
        columns[place] = log_x
        parts = []
        for start in range(0, len(theta), _CHUNK):
            rows = slice(start, start + _CHUNK)
            every = law.log_value(theta[rows], tuple(column[rows] for column in columns))
            parts.append(np.diagonal(every))
        return np.concatenate(parts)

    theta = np.concatenate([fit.theta[None], fit.draw_theta])
    middle = (np.log(low) + np.log(high)) / 2
    far = [np.full(len(theta), middle + move) for move in (-_FAR, _FAR)]
    target = np.full(len(theta), float(law.on_scale(np.array(value))))
    with np.errstate(all="ignore"):
        ends = [log_response(theta, end) for end in far]
        falling = ends[0] > ends[1]

        def solved() -> Array:
            left, right = far
            for _ in range(_HALVINGS):
                half = (left + right) / 2
                too_low = (log_response(theta, half) > target) == falling
                left, right = np.where(too_low, half, left), np.where(too_low, right, half)
            return np.asarray((left + right) / 2)

        log_x = solved()
        if fit.reach is not None:
            # Beyond its runs the law itself may be off, by one error for each draw, as in predict.
            columns = [np.broadcast_to(part, log_x.shape) for part in held]
            columns[place] = log_x
            error = fit.law_error(tuple(columns))
            if error is not None:
                off = np.random.default_rng([fit.seed, 2]).normal(size=len(fit.draw_theta))
                target[1:] -= error[1:] * off
                log_x = solved()
    found = np.exp(log_x)
    lowest, highest = np.minimum(*ends), np.maximum(*ends)
    # Above all that the law gives: any size does; below: none does.
    nothing, everything = (np.inf, 0.0) if falling[0] else (0.0, np.inf)
    found = np.where(target < lowest, nothing, np.where(target > highest, everything, found))
    if not 0 < found[0] < np.inf:
        raise SpecError(
            f"law {law.name} never gives {law.response} = {value:g} there: it runs from "
            f"{law.off_scale(lowest)[0]:.4g} to {law.off_scale(highest)[0]:.4g}."
        )
    return estimate(float(found[0]), found[1:], level)

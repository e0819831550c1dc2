"""What grows along the compute-optimal frontier: size, critical batch, steps, data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from scalelab.laws import Array
from scalelab.studies.analysis.joint import Convention, Joint, slope
from scalelab.studies.analysis.optimum import Optimum

Law = tuple[Array, Array]
"""Log B_star and 1 / alpha_B of the critical batch, (1 + k,) each."""

LEAST_SPAN = 3.0
"""Of compute, over which an exponent is asked for. (as `Joint.reach`)"""

POINTS = 7


@dataclass(frozen=True)
class Growth:
    """Along the frontier at C_min (c,), (1 + k, c) each.

    size, loss: of the optimum. constant: the loss that it has at constant rate, at which the
    critical batch was measured. batch: B_crit there. steps: S_min = E_min / B_crit with E_min =
    C_min over the cost of a token. data: 2 B S_min, which training at the critical batch processes.
    """

    flops: Array
    size: Array
    batch: Array
    steps: Array
    data: Array
    loss: Array
    constant: Array

    @classmethod
    def of(cls, joint: Joint, critical: Law, convention: Convention = "6N") -> Growth | None:
        """As far as the optimum lies among the ladder's sizes; None where it does nowhere."""
        flops = joint.reach(convention)
        if not len(flops):
            return None
        ends = joint.first(1).frontier(flops[[0, -1]], convention).params[0]
        return cls.between(joint, ends, critical, convention)

    @classmethod
    def between(
        cls, joint: Joint, ends: Array, critical: Law, convention: Convention = "6N"
    ) -> Growth:
        """Between two sizes (2,): at the C_min at which sizes between them are optimal by the fit.

        Of each size loss and tokens at its optimum are known in closed form, and with them C and
        C_min = C / (1 + B / B_crit(L)). A draw has them at other C_min than the fit: there its size
        and loss lie on a line between neighbours, or beyond its ends.
        """
        count = min(len(joint.theta), len(critical[0]))
        star, power = (part[:count, None] for part in critical)
        sizes = np.geomspace(ends[0], ends[1], POINTS)
        cost = partial(joint.cost, convention=convention)
        optima = [Optimum(joint.fit, float(size), cost) for size in sizes]
        with np.errstate(all="ignore"):
            loss = np.log(np.stack([one.loss for one in optima], axis=1)[:count])
            tokens = np.log(np.stack([one.data for one in optima], axis=1)[:count])
            relative = np.log(joint.batch_tokens) - star + power * (np.log(joint.constant) + loss)
            least = np.log(cost(sizes)) + tokens - np.logaddexp(0.0, relative)
            log_c = least[0]
            log_n = np.stack([_carried(log_c, row, np.log(sizes)) for row in least])
            log_l = np.stack([_carried(log_c, *rows) for rows in zip(least, loss, strict=True)])
            constant = joint.constant * np.exp(log_l)
            batch = np.exp(star - power * np.log(constant))
            flops, size = np.exp(log_c), np.exp(log_n)
            data = flops / cost(size)
        return cls(flops, size, batch, data / batch, 2 * data, np.exp(log_l), constant)

    def exponents(self) -> dict[str, Array]:
        """Of N, B, S, D and L with C_min, (1 + k,) each."""
        x = np.log(self.flops)
        every = {"N": self.size, "B": self.batch, "S": self.steps, "D": self.data, "L": self.loss}
        with np.errstate(all="ignore"):
            return {name: slope(x, np.log(values)) for name, values in every.items()}


def _carried(at: Array, x: Array, y: Array) -> Array:
    """y at other places than x (n,) rising: on lines between neighbours, the last ones extended."""
    place = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    rise = (y[place + 1] - y[place]) / (x[place + 1] - x[place])
    return np.asarray(y[place] + rise * (at - x[place]))


def within(
    growth: Growth, joint: Joint, critical: Law, losses: tuple[float, float]
) -> Growth | None:
    """The part of a frontier (6N) at losses (low, high) at which the critical batch was measured.

    None where that is less than a factor of LEAST_SPAN in compute.
    """
    fall = -np.log(growth.constant[0])
    log_ends = -np.log(losses[1]), -np.log(losses[0])
    # A measurement that lies beside the frontier's losses gives one of its ends twice.
    log_n = np.interp(log_ends, fall, np.log(growth.size[0]))
    if log_n[1] <= log_n[0]:
        return None
    found = Growth.between(joint, np.exp(log_n), critical)
    return found if found.flops[-1] >= LEAST_SPAN * found.flops[0] else None

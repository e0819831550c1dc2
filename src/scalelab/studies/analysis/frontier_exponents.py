"""Exponents of the loss along the compute frontier and at convergence, by the ladder's joint law.

The paper's L(C) is the least loss that compute C = 6 N D can buy. Runs of a ladder that no cheaper
run beats are not that: at little compute they are all sizes at the least data size. So the frontier
is the joint law's, over the compute at which the optimum is among the ladder's runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scalelab.laws import Array
from scalelab.studies.analysis.critical_batch_law import drawn_law
from scalelab.studies.analysis.growth import Growth
from scalelab.studies.analysis.joint import Convention, Joint, slope, spread
from scalelab.studies.evidence import Evidence

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

DECADES = 1.0
"""Of compute, below which a slope is no exponent to compare: over a decade a quarter of .057 is 3%
of the loss, a few times the luck of a seed, and over less it is that luck. (assumed)"""


FINE, POINTS = 60, 7
"""Places at which compute is looked at for its optimum, and at which the slope is taken."""


@dataclass(frozen=True)
class Along:
    """The frontier over compute.

    flops: (c,), C or C_min as counted. loss: (c,), of the law as fitted.
    exponent: -d ln L / d ln C.
    """

    flops: Array
    loss: Array
    exponent: Estimate

    @property
    def decades(self) -> float:
        """Of compute over which the optimum is among the ladder's runs."""
        return float(np.log10(self.flops[-1] / self.flops[0]))


def along_frontier(joint: Joint, convention: Convention, level: float) -> Along | None:
    """The frontier where the optimum is one of the ladder's sizes on one of its data sizes, or lies
    between; None where it nowhere does.
    """
    flops = _within_data(joint, joint.reach(convention, FINE), convention)
    if not len(flops):
        return None
    return _along(flops, joint.frontier(flops, convention).loss, level)


def _along(flops: Array, loss: Array, level: float) -> Along:
    return Along(flops, loss[0], spread(-slope(np.log(flops), np.log(loss)), level))


def _within_data(joint: Joint, flops: Array, convention: Convention) -> Array:
    """Of compute (c,) the part whose best data size the ladder has; POINTS of it, or none."""
    tokens = joint.first(1).frontier(flops, convention).tokens[0]
    least, most, _ = joint.fit.ranges["tokens"]
    inside = flops[(tokens >= least) & (tokens <= most)]
    return np.geomspace(inside[0], inside[-1], POINTS) if len(inside) > 1 else np.empty(0)


def along_least(joint: Joint, compute: Along, evidence: Evidence) -> Along | None:
    """The frontier of C_min = C / (1 + B / B_crit(L)), equation 5.5, at the same optimal sizes.

    compute: of the frontier of C = 6 N D.
    """
    critical = drawn_law(evidence, len(joint.theta) - 1)
    if critical is None:
        return None
    ends = joint.first(1).frontier(compute.flops[[0, -1]], "6N").params[0]
    found = Growth.between(joint, ends, critical)
    return _along(found.flops, found.loss, evidence.level)


def relative_batch(joint: Joint, loss: Array, evidence: Evidence) -> Array:
    """B / B_crit(L) of the ladder's batch at losses (n,): by so much C lies above C_min."""
    found = evidence.critical_batch
    assert found is not None
    return np.asarray(joint.batch_tokens / found["B_star"] * loss ** (1 / found["alpha_B"]))


def converged_exponent(joint: Joint, level: float) -> Estimate:
    """-d ln L / d ln N over the ladder's sizes, each with data without end."""
    losses = np.log(joint.converged(joint.sizes))
    return spread(-slope(np.log(joint.sizes), losses), level)


def union(first: Estimate, second: Estimate) -> Estimate:
    """Two estimates of one number, of which nobody knows which is right: both intervals, and the
    middle of the two values."""
    return replace(
        first,
        value=(first.value + second.value) / 2,
        low=min(first.low, second.low),
        high=max(first.high, second.high),
        stderr=float("nan"),
    )

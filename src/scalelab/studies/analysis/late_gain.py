"""What the end of a long context brings a Transformer more than a recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting import Estimate
from scalelab.fitting.line import fit_line
from scalelab.laws import Array
from scalelab.studies.analysis.positions import mean_between, noise_of
from scalelab.studies.evidence import Run
from scalelab.studies.long_context import has_positions

MIDDLE = (0.25, 0.5)
END = (0.75, 1.0)
"""Shares of a context of about 1,000 bytes: 256 to 512 (about 400) and the last quarter."""

TAUGHT = 1 / 2
"""Of the context, through which an LSTM must have been differentiated at least for what the end of
the context brings it to say something of LSTMs."""

ALIKE = 1 / 3
"""Of the Transformer's lead, by which longer gradients may change the LSTM's gain: a lead that long
gradients could take away would not be one of the network. (assumed)"""

SAME_SIZE = 0.2
"""Difference of log N up to which two networks are of one size."""

LEAST_PAIRS = 4

Pair = tuple[Run, Run]
"""Transformer and recurrent network of one size, losses by position known."""


def pairs(transformers: Sequence[Run], others: Sequence[Run]) -> list[Pair]:
    """Of each recurrent network the Transformer beside it, smallest first."""
    found = []
    for other in filter(has_positions, others):
        for one in filter(has_positions, transformers):
            near = abs(np.log(one.params / other.params)) < SAME_SIZE
            if near and len(one.positions) == len(other.positions):
                found.append((one, other))
                break
    return found


def gain(positions: Array) -> float:
    """Nats that the loss falls from the middle of the context to its end."""
    return mean_between(positions, *MIDDLE)[0] - mean_between(positions, *END)[0]


def gain_of(run: Run, level: float) -> Estimate:
    """A run's own gain with the noise of the text, which all runs share."""
    error = noise_of(run.positions) / np.sqrt(len(run.positions) / 4) * np.sqrt(2)
    half = NormalDist().inv_cdf(0.5 + level / 2) * float(error)
    value = gain(run.positions)
    return Estimate(value, value - half, value + half, level, float(error))


def lead(found: Sequence[Pair], control: Run | None, level: float) -> tuple[Estimate | None, str]:
    """How much more the Transformer of the largest pair gains than the LSTM; or why none is said.

    control: that LSTM with gradients through half of the context or more, by which it is decided.
    Where the Transformer does not gain itself there is nothing to compare. Two noises, added in
    squares: of the text, on which the two may differ (what stands at a position cancels), and from
    run to run, which is how far the leads of all sizes scatter about a line in log N (Student's t).
    """
    from scipy.stats import t as student

    if not found:
        return None, "no LSTM and Transformer of one size have finished with losses by position"
    one, short = found[-1]
    own = gain_of(one, level)
    if own.low <= 0:
        return None, (
            f"the Transformer itself gains {own.value:+.3f} [{own.low:+.3f}, {own.high:+.3f}] nats "
            "there, the noise of the text included: at this N and these tokens neither network "
            "uses the end of its context"
        )
    taught = short if _taught(short) else control
    if taught is None:
        return None, (
            f"gradients of the LSTMs went through {short.spec.unroll} of {len(short.positions)} "
            "tokens of the context, and no control with longer ones has finished"
        )
    leads = np.array([gain(a.positions) - gain(b.positions) for a, b in found])
    moved = gain(taught.positions) - gain(short.positions)
    if abs(moved) > ALIKE * abs(leads[-1]):
        return None, (
            f"gradients through {taught.spec.unroll} instead of {short.spec.unroll} tokens change "
            f"what the end of the context brings the LSTM by {moved:+.4f} nats, more than a third "
            f"of the Transformer's lead of {leads[-1]:.4f}"
        )
    if len(found) < LEAST_PAIRS:
        return None, f"only {len(found)} sizes have both, so the noise from run to run is not known"
    params = np.log([b.params for _, b in found])
    try:
        line = fit_line(params, leads, level=level)
    except FitError as error:
        return None, str(error)
    freedom = len(found) - 2
    run_noise = float(np.sqrt(((leads - line.at(params)) ** 2).sum() / freedom))
    apart = taught.positions - one.positions
    text_noise = float(np.hypot(mean_between(apart, *MIDDLE)[1], mean_between(apart, *END)[1]))
    half = float(
        np.hypot(
            student.ppf(0.5 + level / 2, freedom) * run_noise,
            NormalDist().inv_cdf(0.5 + level / 2) * text_noise,
        )
    )
    value = gain(one.positions) - gain(taught.positions)
    stderr = float(np.hypot(run_noise, text_noise))
    return Estimate(value, value - half, value + half, level, stderr), ""


def _taught(run: Run) -> bool:
    return run.spec.unroll >= TAUGHT * len(run.positions)

"""Runs on a data set of fixed size, trained until the held-out loss turns.

The recipe is the ladder's trunk (constant rate after warm-up), so that a run on little data and the
trunk of its size differ in the data set alone, and the trunk is the reference for data without end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.studies.design import Bench
from scalelab.studies.evidence import Run
from scalelab.studies.ladder import own_tokens, run_seconds
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import format_count

LEAST_TOKENS = 8_192
"""The smallest data set: 64 windows of 128 tokens, some pages of text. (assumed)"""

POINTS = 48
"""Evaluations along a run, each 10% later than the one before."""

PATIENCE = 5
"""A run goes on 1.6 times as long as it took to its lowest loss. (1.1^5)"""

ROOM = 5.0
"""A run may go on so many times as long as expected before it is ended unturned, and never longer
than the ladder's longest. (measured: with 2.5, 6 of 14 runs on books had not turned)"""


def expected_epochs(params: int, unique: int) -> float:
    """Passes after which a run is expected to have stopped, the patience included.

    Many parameters for few tokens turn early. (measured, books, constant rate; 16k tokens: 13.8k,
    24.6k and 98k parameters stopped after 33, 25 and 25 passes; 65k tokens: 24.6k after 39, 13.8k
    had not turned after 40)
    """
    return float(max(24.0, 30.0 * (unique / params) ** 0.45))


def lattice(most: float) -> list[int]:
    """Sizes of data sets, each twice the one before, so that designs ask for the same ones."""
    found, size = [], LEAST_TOKENS
    while size <= most:
        found.append(size)
        size *= 2
    return found


def trunk_of(bench: Bench, shape: TransformerShape) -> TrainSpec | None:
    """The ladder's trunk of that shape."""
    jobs = () if bench.ladder is None else bench.ladder.jobs
    found = [job.spec for job in jobs if job.spec.kind == "trunk" and job.spec.shape == shape]
    return found[0] if found else None


def subset_job(bench: Bench, design: str, shape: TransformerShape, unique: int) -> Job:
    """The run of a shape on `unique` tokens; expected to stop before its last step.

    design: with whose name the id begins. Two designs that ask for one size and one data set ask
    for the same run, which is trained once.
    """
    trunk = trunk_of(bench, shape)
    expected = expected_epochs(size_of(shape), unique) * unique
    most = ROOM * expected
    if trunk is not None:
        most = min(most, trunk.tokens)
    batch = bench.batch_tokens
    steps = max(4, int(most // batch))
    name = f"{design}-n{format_count(size_of(shape))}-u{format_count(unique)}-s{bench.seed}"
    changes = {
        "schedule": "constant",
        "unique_tokens": unique,
        "patience": PATIENCE,
        "curve_points": POINTS,
        "noise_every": 0,
        "warmup_steps": min(max(10, steps // 4), 100),
    }
    if trunk is not None:
        changes |= {
            "lr": trunk.lr,
            "warmup_steps": min(trunk.warmup_steps, max(10, steps // 4)),
            "curve_tokens": trunk.curve_tokens,
            "eval_tokens": trunk.curve_tokens,
        }
    spec = bench.spec(name, shape, steps * batch, **changes)
    share = min(1.0, expected / own_tokens(spec))
    seconds = run_seconds(spec, bench.speed(shape)) * share
    why = f"{format_count(size_of(shape))} parameters on {format_count(unique)} tokens, again and "
    return Job(spec, seconds, why + "again until the held-out loss turns")


class Lowest(NamedTuple):
    """The lowest held-out loss along a run, nats per token, and the step where it was."""

    loss: float
    step: int


@dataclass(frozen=True)
class Limited:
    """What a run on a data set of fixed size came to.

    unique: tokens of the data set. loss: the lowest along the way, nats per token; step: where.
    turned: whether the loss had turned, or the training was as long as the ladder's; if not, more
    training could have lowered it and the loss is no property of the data set.
    """

    run: Run
    params: int
    unique: int
    loss: float
    step: int
    turned: bool


def limited(runs: Sequence[Run], trunks: Sequence[Run] = ()) -> list[Limited]:
    """The finished runs on data sets of fixed size, by model size, then by data."""
    longest = {run.spec.shape: run.spec.tokens for run in trunks}
    found = []
    for run in runs:
        if not (run.finished and run.spec.unique_tokens):
            continue
        lowest = lowest_of(run)
        if lowest is None:
            continue
        # As long as the trunk is as long as the reference had, so that the two compare.
        whole = run.spec.tokens >= 0.99 * longest.get(run.spec.shape, np.inf)
        steps = run.curve["step"]
        turned = whole or (len(steps) > 2 and lowest.step < steps[-2])
        found.append(
            Limited(
                run,
                run.params,
                run.spec.unique_tokens,
                lowest.loss,
                lowest.step,
                turned,
            )
        )
    return sorted(found, key=lambda one: (one.params, one.unique))


def lowest_of(run: Run) -> Lowest | None:
    """The lowest loss along a run; of a trunk what its size reaches with data to spare."""
    losses = run.curve["loss"].to_numpy()
    if not np.isfinite(losses).any():
        return None
    best = int(np.nanargmin(losses))
    return Lowest(float(losses[best]), int(run.curve["step"][best]))


def references(trunks: Sequence[Run]) -> dict[int, Lowest]:
    """The lowest loss of each finished trunk by N: what stands for data without end."""
    found = {run.params: lowest_of(run) for run in trunks if run.finished}
    return {params: lowest for params, lowest in found.items() if lowest is not None}

"""The ladder: sizes by data sizes, each size one stable trunk, the largest size held out.

Given what was measured (tokens per second of each size, learning rate, batch) and a budget, this
decides how many tokens the sizes are trained on and lists every run with its cost.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scalelab.counting import TransformerShape, flops_per_token
from scalelab.errors import SpecError
from scalelab.execution.execute import Job
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget, format_count

DECAY = 0.25
"""Share of a run's steps in which the rate decays (paper: Haegele et al. 2024 find 10 to 20% of
long runs enough; measured: docs/LOG.md, these short runs want a little more)."""

MIN_STEPS = 150
"""Fewer steps than this at the smallest data size are a transient, not a loss that has a law."""

DATA_SPAN = (4.0, 16.0)
"""Least and greatest ratio of the largest data size to the smallest."""

FEWEST_TOKENS_PER_PARAMETER = 2.7
"""At the smallest data size, where the span allows it. On fewer the largest model was no better
than one of half its size, which no law of N and D describes (measured: docs/LOG.md)."""

START_SECONDS = 0.3
"""What a run costs beside its steps: building the model, writing its result. (measured)"""


@dataclass(frozen=True)
class Rung:
    """A size of the ladder. speed: tokens per second of one process while the others work too.

    lr: peak learning rate.
    """

    shape: TransformerShape
    speed: float
    lr: float


@dataclass(frozen=True)
class LadderSpec:
    """What the ladder holds fixed.

    curve_points: evaluations along the way. others: (name, folder) of texts on which every run is
    evaluated at its end.
    """

    corpus: str
    corpus_tokens: int
    batch_tokens: int
    data_sizes: int
    seed: int
    workers: int
    curve_points: int = 10
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ladder:
    """The runs, trunks included. held_out: ids of every run of the largest size.

    tokens: the data sizes, smallest first. seconds: expected wall time. flops: training compute by
    the exact convention. capped: the corpus, not the budget, decided the data sizes.
    """

    jobs: tuple[Job, ...]
    held_out: frozenset[str]
    tokens: tuple[int, ...]
    seconds: float
    flops: float
    capped: bool

    @property
    def trained_tokens(self) -> int:
        """Tokens processed, each trunk counted once."""
        return sum(own_tokens(job.spec) for job in self.jobs)

    @property
    def separate_tokens(self) -> int:
        """Tokens that as many separate runs would process."""
        return sum(job.spec.tokens for job in self.jobs if job.spec.kind == "run")


def own_tokens(spec: TrainSpec) -> int:
    """Tokens that a run itself processes: a branch begins where its trunk forks."""
    return (spec.last_step - spec.fork_step) * spec.batch_tokens


def build(rungs: Sequence[Rung], steps: int, spec: LadderSpec) -> Ladder:
    """The ladder whose largest data size takes `steps` steps, the others evenly spaced in log D."""
    levels = data_levels(steps, max(size_of(rung.shape) for rung in rungs), spec)
    jobs = [job for rung in rungs for job in _size_jobs(rung, levels, spec)]
    largest = max(size_of(rung.shape) for rung in rungs)
    held_out = frozenset(
        job.spec.run
        for job in jobs
        if job.spec.kind == "run" and size_of(job.spec.shape) == largest
    )
    return Ladder(
        jobs=tuple(jobs),
        held_out=held_out,
        tokens=tuple(level * spec.batch_tokens for level in levels),
        seconds=makespan(jobs, spec.workers),
        flops=sum(flops_per_token(job.spec.shape, "exact") * own_tokens(job.spec) for job in jobs),
        capped=False,
    )


def data_levels(steps: int, largest: int, spec: LadderSpec) -> list[int]:
    """Steps of each data size, smallest first. largest: N of the largest size."""
    least, most = DATA_SPAN
    enough = steps * spec.batch_tokens / (FEWEST_TOKENS_PER_PARAMETER * largest)
    span = min(most, max(least, enough))
    gaps = spec.data_sizes - 1
    return sorted({max(4, round(steps * span ** (-k / gaps))) for k in range(spec.data_sizes)})


def fit_budget(rungs: Sequence[Rung], budget: Budget, spec: LadderSpec) -> Ladder | None:
    """The ladder with the largest data sizes that the budget and one pass of the corpus allow.

    None when even the smallest sensible ladder costs more than the budget.
    """
    least = _least_steps()
    cap = spec.corpus_tokens // spec.batch_tokens
    if cap < least:
        raise SpecError(
            f"the corpus has {format_count(spec.corpus_tokens)} training tokens; a ladder with "
            f"{spec.data_sizes} data sizes and batches of {spec.batch_tokens} tokens needs at "
            f"least {format_count(least * spec.batch_tokens)}. Give more text (--text)."
        )

    def affordable(steps: int) -> bool:
        ladder = build(rungs, steps, spec)
        cost = ladder.seconds if budget.unit == "seconds" else ladder.flops
        return cost <= budget.amount

    if not affordable(least):
        return None
    steps = largest_true(affordable, least, cap)
    ladder = build(rungs, steps, spec)
    return dataclasses.replace(ladder, capped=steps == cap)


def smallest(rungs: Sequence[Rung], spec: LadderSpec) -> Ladder:
    """The ladder with the fewest steps that still have a law."""
    return build(rungs, _least_steps(), spec)


def _least_steps() -> int:
    return round(MIN_STEPS * DATA_SPAN[0])


def largest_true(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest whole number in [low, high] for which `holds`, which is true at low, monotone."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _size_jobs(rung: Rung, levels: Sequence[int], spec: LadderSpec) -> list[Job]:
    name = format_count(size_of(rung.shape))
    batch = spec.batch_tokens
    forks = [steps - max(1, round(DECAY * steps)) for steps in levels]
    longest = levels[-1] * batch
    common = TrainSpec(
        run="",
        shape=rung.shape,
        corpus=spec.corpus,
        batch_tokens=batch,
        steps=levels[-1],
        lr=rung.lr,
        schedule="wsd",
        decay_fraction=DECAY,
        warmup_steps=max(10, levels[0] // 10),
        seed=spec.seed,
        # Evaluation along the way costs about 2% of a step's tokens, forward only.
        curve_tokens=min(131_072, max(4 * rung.shape.context, longest // 200)),
        curve_points=spec.curve_points,
        eval_tokens=min(2_097_152, max(65_536, longest // 16)),
        noise_every=64,
        others=spec.others,
    )
    trunk_name = f"n{name}-s{spec.seed}"
    trunk = dataclasses.replace(
        common,
        run=trunk_name,
        kind="trunk",
        stop_step=forks[-1],
        fork_steps=tuple(forks),
    )
    branches = [
        dataclasses.replace(
            common,
            run=f"n{name}-d{format_count(steps * batch)}-s{spec.seed}",
            steps=steps,
            trunk=trunk_name,
            fork_step=fork,
        )
        for steps, fork in zip(levels, forks, strict=True)
    ]
    return [Job(run, run_seconds(run, rung.speed)) for run in (trunk, *branches)]


def run_seconds(spec: TrainSpec, speed: float) -> float:
    """Expected seconds of one run. An evaluation costs a third of training on its tokens."""
    held_out = spec.curve_tokens * spec.curve_points * own_tokens(spec) / spec.tokens
    if spec.kind == "run":
        held_out += spec.eval_tokens + len(spec.others) * spec.others_tokens
    return START_SECONDS + (own_tokens(spec) + held_out / 3) / speed


def makespan(jobs: Sequence[Job], workers: int) -> float:
    """Wall time of the jobs, longest chain first, a branch after its trunk reached its fork."""
    behind: dict[str, float] = {}
    for job in jobs:
        if job.spec.trunk is not None:
            behind[job.spec.trunk] = max(behind.get(job.spec.trunk, 0.0), job.seconds)
    ready = [
        (-(job.seconds + behind.get(job.spec.run, 0.0)), 0.0, i)
        for i, job in enumerate(jobs)
        if job.spec.trunk is None
    ]
    waiting: list[tuple[float, int]] = []  # (time from which it can start, job)
    heapq.heapify(ready)
    free = [0.0] * workers
    end = 0.0
    while ready or waiting:
        now = heapq.heappop(free)
        if not ready:
            now = max(now, min(waiting)[0])
        for item in [item for item in waiting if item[0] <= now]:
            waiting.remove(item)
            heapq.heappush(ready, (-jobs[item[1]].seconds, item[0], item[1]))
        _, start, index = heapq.heappop(ready)
        job, now = jobs[index], max(now, start)  # a process may be free before a run can start
        finish = now + job.seconds
        heapq.heappush(free, finish)
        end = max(end, finish)
        for other, branch in enumerate(jobs):
            if branch.spec.trunk == job.spec.run:
                share = branch.spec.forks_at / job.spec.last_step
                waiting.append((now + share * job.seconds, other))
    return end

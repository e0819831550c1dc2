"""Train the runs of a study on a pool: longest first, branches as soon as their trunk allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scalelab.execution.pool import Event, Pool
from scalelab.execution.study import register, result
from scalelab.training.records import checkpoints, drop_checkpoints, write_json
from scalelab.training.spec import TrainSpec


@dataclass(frozen=True)
class Job:
    """A run to train. seconds: how long it is expected to take. why: it is trained, in words."""

    spec: TrainSpec
    seconds: float
    why: str = ""


class Observer(Protocol):
    """Whoever shows what is going on."""

    def started(self, job: Job) -> None:
        """A process took the run."""

    def progress(self, job: Job, event: Event) -> None:
        """The run moved on."""

    def ended(self, job: Job, status: str, error: str | None) -> None:
        """The run ended: finished, diverged, failed, crashed."""

    def tick(self) -> None:
        """Some time passed."""


class Silent:
    """An observer that shows nothing."""

    def started(self, job: Job) -> None:
        """Nothing."""

    def progress(self, job: Job, event: Event) -> None:
        """Nothing."""

    def ended(self, job: Job, status: str, error: str | None) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


ATTEMPTS = 2
"""A run whose process died is started again once, from its checkpoint."""


@dataclass
class _Queue:
    study: Path
    pending: list[Job]
    running: dict[Path, Job] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def ready(self, job: Job) -> bool:
        trunk = job.spec.trunk
        if trunk is None:
            return True
        if any(step > 0 for _, step in checkpoints(self.study / job.spec.run / "checkpoint")):
            return True
        forks = checkpoints(self.study / trunk / "checkpoint")
        return any(step == job.spec.forks_at for _, step in forks)

    def next(self) -> Job | None:
        ready = [job for job in self.pending if self.ready(job)]
        return max(ready, key=self._weight, default=None)

    def _weight(self, job: Job) -> float:
        # A trunk weighs what hangs on it: its longest branch can begin only when it is through.
        behind = [other.seconds for other in self.pending if other.spec.trunk == job.spec.run]
        return job.seconds + max(behind, default=0.0)


def execute(study: Path, jobs: Sequence[Job], pool: Pool, observer: Observer) -> dict[str, str]:
    """Train every job that has not ended; what failed, by run, with the reason.

    A diverged trunk makes its branches diverged. On KeyboardInterrupt nothing is lost: leaving the
    pool lets every run write its checkpoint, and the same call goes on from there.
    """
    queue = _Queue(study, [job for job in jobs if result(study, job.spec.run) is None])
    for job in queue.pending:
        register(study, job.spec)
    while queue.pending or queue.running:
        _settle_branches(queue, observer)
        while pool.idle and (ready := queue.next()) is not None:
            queue.pending.remove(ready)
            folder = study / ready.spec.run
            queue.running[folder] = ready
            pool.submit(folder, ready.seconds)
            observer.started(ready)
        if not queue.running:
            break
        for event in pool.events(wait=0.2):
            if event.folder in queue.running:
                trunk = queue.running[event.folder].spec.trunk
                _handle(event, queue, observer)
                if event.kind == "end" and trunk is not None:
                    _drop_used_checkpoints(study, trunk, jobs)
        observer.tick()
    for job in queue.pending:
        queue.failures.setdefault(job.spec.run, _why_not_ready(study, job.spec))
    for trunk in {job.spec.trunk for job in jobs} - {None}:
        _drop_used_checkpoints(study, str(trunk), jobs)
    return queue.failures


def _why_not_ready(study: Path, spec: TrainSpec) -> str:
    trunk = study / str(spec.trunk)
    if result(study, str(spec.trunk)) is None:
        return f"its trunk {spec.trunk} did not get that far"
    return (
        f"its trunk {spec.trunk} has ended and the checkpoint at step {spec.forks_at} is gone. "
        f"Delete {trunk} and run the same command again."
    )


def _handle(event: Event, queue: _Queue, observer: Observer) -> None:
    job = queue.running[event.folder]
    if event.kind == "progress":
        observer.progress(job, event)
        return
    del queue.running[event.folder]
    if event.status == "crashed":
        queue.attempts[job.spec.run] += 1
        if queue.attempts[job.spec.run] < ATTEMPTS:
            queue.pending.append(job)
    if event.status in ("crashed", "failed"):
        queue.failures[job.spec.run] = event.error or event.status
    else:
        queue.failures.pop(job.spec.run, None)
    observer.ended(job, event.status, event.error)


def _settle_branches(queue: _Queue, observer: Observer) -> None:
    for job in list(queue.pending):
        trunk = None if job.spec.trunk is None else result(queue.study, job.spec.trunk)
        if trunk is not None and trunk["status"] == "diverged" and not queue.ready(job):
            queue.pending.remove(job)
            spec = job.spec
            own = {
                "run": spec.run,
                "trunk": spec.trunk,
                "batch_tokens": spec.batch_tokens,
                # Where the trunk diverged, in the branch's steps.
                "steps": trunk["steps"] * spec.fork_step // max(1, spec.forks_at),
                "seconds": 0.0,
            }
            write_json(queue.study / spec.run / "result.json", trunk | own)
            observer.ended(job, "diverged", f"with its trunk at step {trunk['steps']}")


def _drop_used_checkpoints(study: Path, trunk: str, jobs: Sequence[Job]) -> None:
    # As soon as the last branch has ended: those of a large size take gigabytes.
    branches = [job.spec.run for job in jobs if job.spec.trunk == trunk]
    if all(result(study, run) is not None for run in (trunk, *branches)):
        drop_checkpoints(study / trunk / "checkpoint")

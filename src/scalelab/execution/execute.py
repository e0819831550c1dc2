"""Train the runs of a study on a pool: longest first, branches as soon as their trunk allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from scalelab.errors import DamagedRecordError
from scalelab.execution.pool import FORK_LOST, Event, Pool
from scalelab.execution.study import check_records, check_spec, register, result
from scalelab.training.records import checkpoints, drop_checkpoints, note, write_sealed
from scalelab.training.result import Seconds
from scalelab.training.spec import TrainSpec


@dataclass(frozen=True)
class Job:
    """A run to train. seconds: how long it is expected to take. why: it is trained, in words."""

    spec: TrainSpec
    seconds: Seconds
    why: str = ""


class Observer(Protocol):
    """Whoever shows what is going on."""

    def started(self, job: Job) -> None:
        """A process took the run."""

    def progress(self, job: Job, event: Event) -> None:
        """The run moved on."""

    def noted(self, text: str) -> None:
        """Something of a run was damaged; what was done about it."""

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

    def noted(self, text: str) -> None:
        """Nothing."""

    def ended(self, job: Job, status: str, error: str | None) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""


ATTEMPTS = 2
"""A run whose process died is started again once, from its checkpoint; a trunk whose checkpoints
its branches have lost is trained again as often."""

MOST_LOST = 4
"""How often a branch that found its trunk's checkpoint damaged waits for another."""


@dataclass
class _Queue:
    study: Path
    jobs: dict[str, Job]
    pending: list[Job] = field(default_factory=list)
    running: dict[Path, Job] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    revived: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def result(self, run: str) -> dict[str, Any] | None:
        """The result of a run, read once; None while it has not ended, or is not to be trained."""
        if run not in self.ended and run in self.jobs:
            found = result(self.study, self.jobs[run].spec)
            if found is not None:
                self.ended[run] = found
        return self.ended.get(run)

    def waits(self, run: str) -> bool:
        """Whether a run is yet to be trained, or is being trained."""
        return any(job.spec.run == run for job in (*self.pending, *self.running.values()))

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
    queue = _Queue(study, {job.spec.run: job for job in jobs})
    queue.pending = [job for job in jobs if not _has_ended(queue, job.spec, observer)]
    for job in queue.pending:
        register(study, job.spec)
    while queue.pending or queue.running:
        _settle_branches(queue, observer)
        _revive_trunks(queue, observer)
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
                    _drop_used_checkpoints(queue, trunk)
        observer.tick()
    for job in queue.pending:
        queue.failures.setdefault(job.spec.run, _why_not_ready(queue, job.spec))
    for trunk in {job.spec.trunk for job in jobs} - {None}:
        _drop_used_checkpoints(queue, str(trunk))
    return queue.failures


def _has_ended(queue: _Queue, spec: TrainSpec, observer: Observer) -> bool:
    """Whether a run has ended; a damaged result is put aside, so that it is trained again.

    Raises RecordError for records that other numbers than the result are made from.
    """
    if (queue.study / spec.run / "result.json").exists():
        check_spec(queue.study, spec)
    try:
        ended = queue.result(spec.run) is not None
    except DamagedRecordError as error:
        path = queue.study / spec.run / "result.json"
        path.replace(path.with_name("result.json.damaged"))
        seen = str(error).partition(" Delete ")[0]
        text = f"{seen} It was renamed to result.json.damaged, and the run is trained again."
        note(path.parent, text)
        observer.noted(text)
        return False
    if ended:
        check_records(queue.study, spec)
    return ended


def _why_not_ready(queue: _Queue, spec: TrainSpec) -> str:
    trunk = queue.study / str(spec.trunk)
    if not (trunk / "result.json").exists():
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
    if event.kind == "note":
        observer.noted(str(event.error))
        return
    del queue.running[event.folder]
    if event.status == FORK_LOST and queue.lost[job.spec.run] < MOST_LOST:
        queue.lost[job.spec.run] += 1
        queue.pending.append(job)  # its trunk makes the checkpoint again
        return
    if event.status == "crashed":
        queue.attempts[job.spec.run] += 1
        if queue.attempts[job.spec.run] < ATTEMPTS:
            queue.pending.append(job)
    if event.status in ("crashed", "failed", FORK_LOST):
        queue.failures[job.spec.run] = event.error or event.status
    else:
        queue.failures.pop(job.spec.run, None)
    observer.ended(job, event.status, event.error)


def _settle_branches(queue: _Queue, observer: Observer) -> None:
    """Branches that begin where their trunk has diverged have diverged with it."""
    for job in list(queue.pending):
        spec = job.spec
        trunk = None if spec.trunk is None else queue.result(spec.trunk)
        if trunk is None or trunk["status"] != "diverged" or queue.ready(job):
            continue
        if spec.forks_at < trunk["steps"]:
            continue  # its checkpoint was there and is lost
        queue.pending.remove(job)
        own = {
            "run": spec.run,
            "trunk": spec.trunk,
            "batch_tokens": spec.batch_tokens,
            "lr": spec.lr,
            "schedule": spec.schedule,
            "seed": spec.seed,
            # Where the trunk diverged, in the branch's steps.
            "steps": trunk["steps"] * spec.fork_step // max(1, spec.forks_at),
            "seconds": 0.0,
        }
        path = queue.study / spec.run / "result.json"
        write_sealed(path, trunk | own, spec.fingerprint)
        observer.ended(job, "diverged", f"with its trunk at step {trunk['steps']}")


def _revive_trunks(queue: _Queue, observer: Observer) -> None:
    """Train an ended trunk again, as far as it takes, whose checkpoint a branch has lost."""
    for job in list(queue.pending):
        spec = job.spec
        if spec.trunk is None or spec.trunk not in queue.jobs or queue.ready(job):
            continue
        trunk = queue.jobs[spec.trunk]
        if (
            queue.waits(spec.trunk)
            or queue.result(spec.trunk) is None
            or queue.revived[spec.trunk] >= ATTEMPTS
        ):
            continue
        queue.revived[spec.trunk] += 1
        del queue.ended[spec.trunk]
        folder = queue.study / spec.trunk
        (folder / "result.json").unlink()
        text = (
            f"its checkpoint at step {spec.forks_at}, from which {spec.run} begins, is gone: it is "
            "trained again up to there"
        )
        note(folder, text)
        observer.noted(f"{spec.trunk}: {text}")
        register(queue.study, trunk.spec)
        queue.pending.append(trunk)


def _drop_used_checkpoints(queue: _Queue, trunk: str) -> None:
    # As soon as the last branch has ended: those of a large size take gigabytes.
    branches = [run for run, job in queue.jobs.items() if job.spec.trunk == trunk]
    if all(queue.result(run) is not None for run in (trunk, *branches)):
        drop_checkpoints(queue.study / trunk / "checkpoint")

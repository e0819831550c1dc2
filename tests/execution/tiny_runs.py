"""Runs that train in a second, an observer that remembers, and a pool that follows a script."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scalelab.corpus import Corpus
from scalelab.counting import TransformerShape, count_parameters
from scalelab.execution.execute import Job
from scalelab.execution.pool import Event
from scalelab.execution.study import result
from scalelab.training.records import write_json
from scalelab.training.spec import TrainSpec, read_spec


def tiny(corpus: Corpus | None, run: str, **changes: object) -> TrainSpec:
    """Sixty steps of one layer of width 16."""
    spec = TrainSpec(
        run=run,
        shape=TransformerShape(1, 16, 1, 64, 32, 256),
        corpus="" if corpus is None else str(corpus.folder),
        batch_tokens=64,
        steps=60,
        lr=1e-2,
        warmup_steps=5,
        eval_tokens=512,
        curve_tokens=128,
        curve_points=4,
        noise_every=0,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def tree(corpus: Corpus | None, steps: int = 64, **changes: object) -> list[Job]:
    """A trunk and three branches, each of twice the steps of the one before; 64 or more steps."""
    levels = (steps // 4, steps // 2, steps)
    forks = tuple(level * 3 // 4 for level in levels)
    trunk = tiny(
        corpus, "trunk", steps=steps, kind="trunk", stop_step=forks[-1], fork_steps=forks, **changes
    )
    branches = [
        tiny(corpus, f"branch{level}", steps=level, trunk="trunk", fork_step=fork, **changes)
        for level, fork in zip(levels, forks, strict=True)
    ]
    return [Job(spec, float(spec.last_step - spec.fork_step)) for spec in (trunk, *branches)]


def fake_result(study: Path, spec: TrainSpec, **changes: object) -> None:
    """A result such as an older version wrote, without checksum: types and ranges are right."""
    loss = None if spec.kind == "trunk" else 3.4
    values = {
        "run": spec.run,
        "status": "finished",
        "params": count_parameters(spec.shape).non_embedding,
        "tokens": spec.tokens,
        "flops": 1e9,
        "batch_tokens": spec.batch_tokens,
        "steps": spec.last_step,
        "lr": spec.lr,
        "seed": spec.seed,
        "trunk": spec.trunk or spec.run,
        "loss": loss,
    }
    (study / spec.run).mkdir(exist_ok=True)
    write_json(study / spec.run / "result.json", values | changes)


def result_of(study: Path, run: str) -> dict[str, Any] | None:
    """The result of a run that was registered."""
    return result(study, read_spec(study / run / "run.json"))


def fake_checkpoint(study: Path, run: str, step: int) -> None:
    """A file that stands for a checkpoint: whoever schedules looks at its name only."""
    folder = study / run / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"step{step:09d}.{'0' * 32}.pt").write_bytes(b"")


@dataclass
class Memory:
    """An observer that remembers what it was told; `at_tick` is called at every tick."""

    at_tick: Callable[[], None] = lambda: None
    told: list[tuple[str, str]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, int]] = field(default_factory=list)
    at_start: Callable[[Job], None] = lambda _: None
    notes: list[str] = field(default_factory=list)

    def started(self, job: Job) -> None:
        self.told.append((job.spec.run, "started"))
        self.at_start(job)

    def progress(self, job: Job, event: Event) -> None:
        self.steps.append((job.spec.run, event.step))

    def noted(self, text: str) -> None:
        self.notes.append(text)

    def ended(self, job: Job, status: str, error: str | None) -> None:
        self.told.append((job.spec.run, status))
        if error is not None:
            self.errors[job.spec.run] = error

    def tick(self) -> None:
        self.at_tick()

    def order(self, what: str = "started") -> list[str]:
        """The runs of which `what` was told, in that order."""
        return [run for run, said in self.told if said == what]


class ScriptedPool:
    """Stands in for a Pool: hands out one event after another, as `play` writes them.

    play: called with each run submitted; the events it returns are told one a call of `events`.
    """

    def __init__(self, size: int, play: Callable[[Path], list[Event]]) -> None:
        self.size, self.play = size, play
        self.idle = size
        self.submitted: list[str] = []
        self.waiting: deque[Event] = deque()

    def submit(self, folder: Path, _seconds: float = 1.0) -> None:
        assert self.idle > 0
        self.idle -= 1
        self.submitted.append(folder.name)
        self.waiting.extend(self.play(folder))

    def events(self, wait: float) -> Iterator[Event]:
        assert wait > 0
        if self.waiting:
            event = self.waiting.popleft()
            self.idle += event.kind == "end"
            yield event


def alive(pid: int) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

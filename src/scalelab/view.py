"""What a person sees while a study runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.execution.execute import Job
from scalelab.execution.pool import Event
from scalelab.units import format_count, format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

PLAIN_SECONDS = 10.0
"""Seconds between lines about a run in progress when the output is not a terminal."""


@dataclass
class _Running:
    job: Job
    since: float
    event: Event | None = None
    told: float = 0.0


class View:
    """The watcher of a study. A context manager: the live table needs closing."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """console: where to write; it knows whether it is a terminal."""
        self.console = console
        self.clock = clock
        self.began = clock()
        self.title = ""
        self.total = self.done = 0
        self.left_seconds = 0.0
        self.running: dict[str, _Running] = {}
        self.live: Live | None = None

    def __enter__(self) -> View:
        """Begin; on a terminal the table appears."""
        if self.console.is_terminal:
            from rich.live import Live

            self.live = Live(
                self._table(), console=self.console, refresh_per_second=4, transient=True
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; the table goes, the lines stay."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def stage(self, name: str, jobs: int) -> None:
        """A stage of `jobs` runs begins."""
        self.title, self.total, self.done = name, jobs, 0
        self.running.clear()
        self._line(name + (f" ({jobs} runs)" if jobs > 1 else ""))

    def note(self, text: str) -> None:
        """A line of its own."""
        self._line(text)

    def noted(self, text: str) -> None:
        """A record was damaged."""
        self._line(f"note: {text}")

    def encoding(self, what: str, done: int, total: int | None) -> None:
        """The corpus is being prepared: bytes done of a total where that is known."""
        now = self.clock()
        if self.live is not None:
            share = f" of {format_count(total)}" if total else ""
            self.title = f"preparing text: {what} {format_count(done)}{share}"
            self.live.update(self._table())
        elif now - getattr(self, "_encoded", 0.0) > PLAIN_SECONDS:
            self._encoded = now
            self._line(f"preparing text: {what} {format_count(done)}")

    def started(self, job: Job) -> None:
        """A process took the run."""
        self.running[job.spec.run] = _Running(job, self.clock(), told=self.clock())

    def progress(self, job: Job, event: Event) -> None:
        """The run moved on."""
        state = self.running.get(job.spec.run)
        if state is None:
            return
        state.event = event
        if self.live is None and self.clock() - state.told > PLAIN_SECONDS:
            state.told = self.clock()
            self._line(
                f"{job.spec.run} step {event.step}/{job.spec.last_step} loss {event.loss:.3f} "
                f"{format_count(event.speed)} tokens/s {_left(state)} left"
            )

    def ended(self, job: Job, status: str, error: str | None) -> None:
        """The run ended."""
        state = self.running.pop(job.spec.run, None)
        self.done += 1
        self.total = max(self.total, self.done)  # a search may add runs as it goes
        took = "" if state is None else f" in {format_duration(self.clock() - state.since)}"
        why = "" if error is None else f": {error}"
        self._line(f"{job.spec.run} {status}{took} [{self.done}/{self.total}]{why}")

    def tick(self) -> None:
        """Some time passed."""
        if self.live is not None:
            self.live.update(self._table())

    def _line(self, text: str) -> None:
        stamp = format_duration(self.clock() - self.began)
        self.console.print(f"[{stamp:>6}] {text}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(
            title=f"{self.title}  {self.done}/{self.total}  "
            f"{format_duration(self.clock() - self.began)} so far",
            title_justify="left",
            expand=False,
        )
        for name in ("run", "step", "loss", "tokens/s", "left"):
            table.add_column(name, justify="left" if name == "run" else "right")
        for state in self.running.values():
            spec, event = state.job.spec, state.event
            if event is None:
                table.add_row(spec.run, f"{spec.fork_step}/{spec.last_step}", "", "", "")
            else:
                table.add_row(
                    spec.run,
                    f"{event.step}/{spec.last_step}",
                    f"{event.loss:.3f}",
                    format_count(event.speed),
                    _left(state),
                )
        return table


def _left(state: _Running) -> str:
    event, spec = state.event, state.job.spec
    if event is None or not event.speed:
        return "?"
    return format_duration((spec.last_step - event.step) * spec.batch_tokens / event.speed)

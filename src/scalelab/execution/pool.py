"""Local processes, one per core, that train what they are handed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scalelab.errors import ScalelabError, TrainingError

FORK_LOST = "fork-lost"
"""Status of a branch whose trunk's checkpoint is missing or damaged."""

GRACE = 20.0
"""Seconds that a process gets to write its checkpoint after it was asked to stop."""

FIRST = 8
"""Processes started before one has said what it trains on: a GPU needs a single one, and machines
with a GPU have many cores, each of whose processes would take half a gigabyte to import torch."""

ENVIRONMENT = {
    # A training step allocates and frees the same large tensors again and again. glibc hands such
    # blocks back to the system each time, and each step pays for hundreds of page faults
    # (measured: 369 a step at width 16, 2 with these). Other C libraries ignore the names.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}


@dataclass(frozen=True)
class Event:
    """What a worker said of the run in `folder`.

    kind: progress, note (`error` is its text) or end.
    """

    kind: str
    folder: Path
    step: int = 0
    loss: float = float("nan")
    speed: float = 0.0
    status: str = ""
    error: str | None = None


class _Process:
    def __init__(self, threads: int, events: queue.Queue[tuple[_Process, dict[str, Any]]]) -> None:
        self.folder: Path | None = None
        self.errors: list[str] = []
        environment = os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scalelab.execution.worker", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops us in order
        )
        self.readers = (
            threading.Thread(target=self._listen, args=(events,), daemon=True),
            threading.Thread(target=self._keep_errors, daemon=True),
        )
        for reader in self.readers:
            reader.start()

    def _listen(self, events: queue.Queue[tuple[_Process, dict[str, Any]]]) -> None:
        assert self.process.stdout is not None
        # Reading ends with ValueError where the pipe is closed meanwhile.
        with contextlib.suppress(ValueError):
            for line in self.process.stdout:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        events.put((self, event))
        self.process.wait()
        events.put((self, {"event": "gone", "code": self.process.returncode}))

    def _keep_errors(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self.process.stderr:
                self.errors = [*self.errors[-20:], line.rstrip()]

    def send(self, folder: Path, seconds: float) -> None:
        assert self.process.stdin is not None
        self.folder = folder
        # To a process that has just died this fails, and its "gone" event tells of the run.
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps({"folder": str(folder), "seconds": seconds}) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Close the pipes of a process that has ended, once everything that it said is read."""
        for reader in self.readers:
            reader.join(timeout=1.0)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Pool:
    """Worker processes; a context manager that leaves none behind.

    workers: how many on a CPU (default: one per core that this process may use); on a GPU one.
    """

    def __init__(self, workers: int | None = None) -> None:
        """Start nothing yet."""
        self.wanted = workers or available_cores()
        self.threads = max(1, available_cores() // self.wanted)
        self.device, self.device_name, self.torch_version = "cpu", "cpu", ""
        self._events: queue.Queue[tuple[_Process, dict[str, Any]]] = queue.Queue()
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        """Start the processes and wait until they have imported torch."""
        ready = 0
        try:
            self._fill(min(self.wanted, FIRST))
            while ready < len(self._processes):
                process, event = self._events.get()
                if event["event"] == "gone":
                    process.close()
                    raise TrainingError(
                        "a training process did not start: " + "\n".join(process.errors[-5:])
                    )
                ready += 1
                self.device, self.device_name = event["device"], event["name"]
                self.torch_version = event["torch"]
                if self.device == "cuda":
                    spare = [other for other in self._processes if other is not process]
                    self._processes, ready = [process], 1
                    _end(spare)
                else:
                    self._fill(self.wanted)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every process; runs in progress write a checkpoint first."""
        self.stop()

    def _start(self) -> _Process:
        return _Process(self.threads, self._events)

    def _fill(self, count: int) -> None:
        while len(self._processes) < count:
            self._processes.append(self._start())

    @property
    def size(self) -> int:
        """Processes that train at the same time."""
        return len(self._processes)

    @property
    def idle(self) -> int:
        """Processes with nothing to do."""
        return sum(process.folder is None for process in self._processes)

    def submit(self, folder: Path, seconds: float = 1.0) -> None:
        """Hand a run's folder to an idle process. seconds: for a measurement of speed."""
        for process in self._processes:
            if process.folder is None:
                process.send(folder, seconds)
                return
        raise ScalelabError("no idle training process")

    def events(self, wait: float) -> Iterator[Event]:
        """What has happened, waiting up to `wait` seconds for the first. A process that died is
        replaced, and its run reported as ended with status "crashed".
        """
        deadline = time.monotonic() + wait
        while True:
            try:
                process, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            deadline = 0.0
            kind = event["event"]
            if kind == "gone" and process in self._processes:
                yield from self._replace(process, event["code"])
            elif kind == "end":
                if event["status"] == "interrupted":
                    continue  # somebody else told it to end: its "gone" event tells of the run
                process.folder = None
                yield Event(
                    "end", Path(event["folder"]), status=event["status"], error=event["error"]
                )
            elif kind == "note":
                yield Event("note", Path(event["folder"]), error=event["text"])
            elif kind == "progress":
                yield Event(
                    "progress",
                    Path(event["folder"]),
                    step=event["step"],
                    loss=event["loss"],
                    speed=event["speed"],
                )

    def _replace(self, process: _Process, code: int) -> Iterator[Event]:
        process.close()
        self._processes[self._processes.index(process)] = self._start()
        if process.folder is not None:
            reason = {
                -signal.SIGKILL: "was killed (out of memory?)",
                0: "was asked to end by another program (SIGTERM)",
            }.get(code, f"ended with exit code {code}")
            detail = "; ".join(process.errors[-3:])
            yield Event(
                "end",
                process.folder,
                status="crashed",
                error=f"the training process {reason}. {detail}".strip(),
            )

    def stop(self) -> None:
        """Ask every process to write its checkpoint and end; kill what does not."""
        _end(self._processes)
        self._processes = []


def _end(processes: list[_Process]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            process.process.terminate()
            assert process.process.stdin is not None
            process.process.stdin.close()
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.process.kill()
            process.process.wait()
        process.close()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

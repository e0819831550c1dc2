"""The process that trains: one run after another, so that torch is imported once.

It reads one JSON object a line from standard input, ``{"folder": ..., "seconds": ...}``, trains
the run that the folder's run.json describes, and writes events to standard output, one JSON object
a line: ``ready``, ``progress``, ``note``, ``end``. SIGTERM makes it write a checkpoint and end; so
does the death of its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from scalelab.errors import ScalelabError
from scalelab.execution.pool import FORK_LOST
from scalelab.training.loop import ForkLostError, Trainer
from scalelab.training.spec import read_spec
from scalelab.training.speed import measure_speed


class Worker:
    """State of the process: its device, and whether it has been asked to stop."""

    def __init__(self, threads: int) -> None:
        """threads: CPU threads of this process; set here because processes that compete for
        cores with several threads each lose 4 to 30 times.
        """
        torch.set_num_threads(threads)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Why a GPU that is there cannot be used, such as a driver too old for this torch.
        self.doubts = [str(warning.message).partition(". ")[0] for warning in said]
        # On Hopper torch prefers cuDNN's attention, which plans for about a second at each new
        # shape, of which a ladder has hundreds (issue 3704 of modelscope/FunASR), and whose
        # gradient has been NaN (issue 196678 of pytorch). Flash attention comes next.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.parent = os.getppid()
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def should_stop(self) -> bool:
        """Whether to end now: asked to, or the parent is gone."""
        return self.stopping or os.getppid() != self.parent

    def serve(self) -> None:
        """Train what standard input names until it closes."""
        cuda = self.device.type == "cuda"
        name = torch.cuda.get_device_name() if cuda else "; ".join(("cpu", *self.doubts))
        tell(event="ready", device=self.device.type, name=name, torch=torch.__version__)
        for line in sys.stdin:
            job = json.loads(line)
            folder = Path(job["folder"])
            status, error = attempt(partial(self.train, folder, job.get("seconds", 1.0)))
            tell(event="end", folder=str(folder), status=status, error=error)
            if self.should_stop():
                return

    def train(self, folder: Path, seconds: float) -> str:
        """Train (or measure the speed of) the run of a folder; its status."""
        spec = read_spec(folder / "run.json")
        if spec.kind == "speed":
            measure_speed(spec, folder, self.device, seconds)
            return "finished"

        def progress(step: int, loss: float, speed: float) -> None:
            tell(event="progress", folder=str(folder), step=step, loss=loss, speed=speed)

        def say(text: str) -> None:
            tell(event="note", folder=str(folder), text=text)

        return Trainer(spec, folder, self.device, say).train(progress, self.should_stop)


def attempt(train: Callable[[], str]) -> tuple[str, str | None]:
    """Train a run -> its status, and why it failed."""
    try:
        return train(), None
    except ForkLostError as problem:
        return FORK_LOST, str(problem)
    except ScalelabError as problem:
        return "failed", str(problem)
    except torch.AcceleratorError as problem:
        # The GPU takes nothing more from this process: the pool starts another, which goes on from
        # the checkpoint.
        sys.exit(f"AcceleratorError: {str(problem).partition(chr(10))[0]}")
    except (OSError, RuntimeError, MemoryError) as problem:
        return "failed", f"{type(problem).__name__}: {problem}"


def tell(**event: Any) -> None:
    """Write one event to standard output."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Worker(threads=int(sys.argv[1])).serve()

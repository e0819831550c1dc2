"""The process that trains: what it makes of errors."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.errors import TrainingError
from scalelab.execution.worker import Worker


def served(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, Any]]:
    """What a worker says whose training raises that error, asked twice."""
    worker = Worker.__new__(Worker)  # as it is made it would take the signals of the tests
    worker.device, worker.doubts = torch.device("cpu"), ["a driver too old"]

    def fail(_folder: Path, _seconds: float) -> str:
        raise error

    monkeypatch.setattr(worker, "train", fail)
    monkeypatch.setattr(worker, "should_stop", lambda: False)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"folder": "a"}\n{"folder": "b"}\n'))
    worker.serve()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("no such trunk"), "no such trunk"),
        (torch.OutOfMemoryError("CUDA out of memory."), "OutOfMemoryError: CUDA out of memory."),
        (OSError("disk"), "OSError: disk"),
    ],
)
def test_an_error_ends_the_run_and_not_the_process(
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ready, *ends = served(error, monkeypatch, capsys)
    assert (ready["device"], ready["name"]) == ("cpu", "cpu; a driver too old")
    assert [(end["folder"], end["status"], end["error"]) for end in ends] == [
        (folder, "failed", said) for folder in "ab"
    ]


def test_a_lost_gpu_ends_the_process_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every later call would fail: the pool starts another process, which takes the run again."""
    error = torch.AcceleratorError("CUDA error: unspecified launch failure\nFor debugging ...")
    with pytest.raises(SystemExit, match=r"^AcceleratorError: CUDA error: unspecified launch fai"):
        served(error, monkeypatch, capsys)
    assert '"end"' not in capsys.readouterr().out

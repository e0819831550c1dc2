"""One run's folder on disk: what is written there, and how, so that a kill loses nothing.

    run.json       what to train (written before it starts)
    metrics.jsonl  training loss, rate, gradient norm, speed; append-only
    noise.jsonl    estimates behind the gradient noise scale; append-only
    evals.jsonl    held-out loss along the way, and in octaves of the context; append-only
    positions.json final held-out loss at each position of the context (trunks have none)
    checkpoint/    state to resume from and to branch from
    result.json    written last, atomically: its presence means that the run has ended

After a kill a resumed run writes again the lines behind its checkpoint: readers keep the last
line of a step. A line cut in the middle is skipped. Lines before a checkpoint reach the disk before
it does: a power cut leaves no gap that no resumed run would fill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalelab.errors import RecordError
from scalelab.units import finite


def write_json(path: Path, value: Any) -> None:
    """Write aside, sync, rename: the file is there whole or not at all. NaN becomes null."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(finite(value), file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise RecordError(f"cannot write {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file; RecordError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(
            f"{path} is damaged ({error}); delete it and run the same command again."
        ) from error


class JsonLines:
    """An append-only file of one JSON object a line."""

    def __init__(self, path: Path) -> None:
        """Open for appending; a line cut by a kill is closed off first."""
        self.path = path
        cut = False
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                cut = file.read(1) != b"\n"
        self._file = path.open("a", encoding="utf-8")
        if cut:
            self._file.write("\n")

    def append(self, **values: Any) -> None:
        """Write one line and hand it to the operating system."""
        self._file.write(json.dumps(finite(values), allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has every line."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path, *needs: str) -> Iterator[dict[str, Any]]:
    """The lines of a file written by JsonLines, the last of each step, in order of step.

    needs: names without which a line is no record, and is skipped.
    """
    if not path.exists():
        return
    by_step: dict[int, dict[str, Any]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
                if all(name in record for name in needs):
                    by_step[int(record["step"])] = record
            except (ValueError, KeyError, TypeError):
                continue  # cut by a kill; the resumed run wrote it again
    for step in sorted(by_step):
        yield by_step[step]


WRITING = ".writing.part"
"""A checkpoint that is being written, or that a kill has cut off."""


def checkpoints(folder: Path) -> list[tuple[Path, int]]:
    """Checkpoint files in a run's checkpoint folder, with the step of each."""
    return [
        (path, int(path.name.split(".")[0].removeprefix("step")))
        for path in folder.glob("step*.*.pt")
    ]


def drop_checkpoints(folder: Path) -> None:
    """Delete every checkpoint of an ended run."""
    for path in (folder / WRITING, *(path for path, _ in checkpoints(folder))):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

"""One run's folder on disk: what is written there, and how, so that a kill loses nothing.

    run.json       what to train (written before it starts)
    metrics.jsonl  training loss, rate, gradient norm, speed; append-only
    noise.jsonl    estimates behind the gradient noise scale; append-only
    evals.jsonl    held-out loss along the way, and in octaves of the context; append-only
    positions.json final held-out loss at each position of the context (trunks have none)
    checkpoint/    state to resume from and to branch from
    result.json    written last, atomically: its presence means that the run has ended
    notes.txt      what was found damaged, and what was done

What decides numbers carries a checksum over its values and the run that they are of. A record
without one is of an older version: its types and ranges are checked. Lines before a checkpoint
reach the disk before it does, and a resumed run drops the lines behind its checkpoint: it writes
them again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from scalelab import schema
from scalelab.errors import DamagedRecordError, RecordError
from scalelab.schema import Count, MismatchError, NotNegative
from scalelab.units import finite

MOST_BYTES = 256 << 20
"""Of a record that is read at once: a plan of thousands of runs has a hundredth of this."""

MOST_DEPTH = 32
"""Levels of lists and objects in a record; ours have six."""

CHECKSUM = "checksum"
CLOCK = ("seconds", "tokens_per_second")
"""What the clock decides is no part of a checksum: equal results have equal ones."""

AGAIN = "Delete the file and run the same command again."


def write_json(path: Path, value: Any) -> None:
    """Write aside, sync, rename: the file is there whole or not at all. NaN becomes null."""
    write_aside(path, json.dumps(finite(value), indent=1, allow_nan=False) + "\n")


def write_aside(path: Path, text: str) -> None:
    """Write a text so that the file is there whole or as it was."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise RecordError(f"cannot write {path}: {error.strerror or error}") from error


def write_sealed(path: Path, values: Mapping[str, Any], owner: str) -> None:
    """`write_json` with a checksum. owner: what the values are of; readers give the same."""
    write_json(path, sealed(values, owner))


def sealed(values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The values as JSON has them, with their checksum."""
    plain = finite(dict(values))
    return {**plain, CHECKSUM: checksum(plain, owner)}


def checksum(values: Mapping[str, Any], owner: str = "") -> str:
    """The same for the same values in any order and layout, of the same owner."""
    timeless = {name: value for name, value in values.items() if name not in CLOCK}
    text = json.dumps(finite(timeless), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{owner}\n{text}".encode()).hexdigest()[:16]


def read_json(path: Path, then: str = AGAIN) -> Any:
    """The value of a JSON file; DamagedRecordError when it is no JSON, RecordError when unreadable.

    then: what to do about damage.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DamagedRecordError(
                f"{path} has {size:,} bytes; at most {MOST_BYTES:,} are read. {then}"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"cannot read {path}: {error.strerror or error}. Make it a file that can be read, or "
            "delete it."
        ) from error
    except ValueError as error:
        raise DamagedRecordError(f"{path} is damaged: it is not UTF-8 ({error}). {then}") from error
    try:
        return parse(text)
    except ValueError as error:
        raise DamagedRecordError(f"{path} is damaged: {error}. {then}") from error


def read_object(path: Path, then: str = AGAIN) -> dict[str, Any]:
    """`read_json` of a file that holds an object; its checksum is still among the values."""
    values = read_json(path, then)
    if not isinstance(values, dict):
        raise DamagedRecordError(
            f"{path} is damaged: it is {schema.shown(values)}; an object is expected. {then}"
        )
    return values


def unseal(path: Path, values: Mapping[str, Any], owner: str, then: str = AGAIN) -> dict[str, Any]:
    """The values without their checksum; DamagedRecordError where it is not theirs."""
    plain = {name: value for name, value in values.items() if name != CHECKSUM}
    if CHECKSUM in values and values[CHECKSUM] != checksum(plain, owner):
        raise DamagedRecordError(
            f"{path} is damaged: its values do not match its checksum, so they are not those that "
            f"were written. {then}"
        )
    return plain


def has_checksum(path: Path) -> bool:
    """Whether a file was written by a version that adds checksums; False where there is none."""
    return path.exists() and CHECKSUM in read_object(path)


def parse(text: str) -> Any:
    """A JSON value no deeper than MOST_DEPTH, every number finite; ValueError else."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels") from None
    level, depth = [value], 0
    while level := [
        item
        for outer in level
        if isinstance(outer, list | dict)
        for item in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


# --- lines ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricsLine:
    """What training logged: loss is the mean of the steps since the line before."""

    step: Count
    loss: NotNegative | None
    lr: NotNegative | None = None
    grad_norm: NotNegative | None = None
    tokens: Count = 0
    tokens_per_second: NotNegative | None = None


@dataclass(frozen=True)
class EvalLine:
    """A held-out evaluation along the way. octaves: empty where an older version trained."""

    step: Count
    tokens: Count
    loss: NotNegative | None
    octaves: tuple[NotNegative | None, ...] = ()


@dataclass(frozen=True)
class NoiseLine:
    """A measurement behind the gradient noise scale: unbiased estimates, so they may be negative.

    signal: |G|^2. noise: tr(Sigma).
    """

    step: Count
    signal: float | None
    noise: float | None


Line = TypeVar("Line", MetricsLine, EvalLine, NoiseLine)


@dataclass(frozen=True)
class Lines(Generic[Line]):
    """What a file of JsonLines holds.

    lines: the last whole line of each step, in order of step. damaged: what is wrong with others,
    with their numbers; a last line that a kill cut off is not among them.
    """

    lines: tuple[Line, ...]
    damaged: tuple[str, ...]


def read_lines(path: Path, kind: type[Line], owner: str | None = None) -> Lines[Line]:
    """Read a file written by JsonLines; nothing where there is none.

    kind: of its lines. owner: the fingerprint of the run; without one checksums are not compared.
    Raises RecordError for a file that cannot be read.
    """
    by_step: dict[int, Line] = {}
    damaged: list[str] = []
    for number, (text, whole) in enumerate(_texts(path), 1):
        if not text.strip():
            continue
        try:
            line = _line(text, kind, owner)
            by_step[line.step] = line
        except ValueError as error:
            if whole:
                damaged.append(f"{path} line {number} is damaged: {error}")
    return Lines(tuple(by_step[step] for step in sorted(by_step)), tuple(damaged))


def _line(text: str, kind: type[Line], owner: str | None) -> Line:
    values = parse(text)
    if not isinstance(values, dict):
        raise MismatchError(f"it is {schema.shown(values)}; an object is expected")
    plain = {name: value for name, value in values.items() if name != CHECKSUM}
    line = schema.read(kind, plain)
    if owner and CHECKSUM in values and values[CHECKSUM] != checksum(plain, owner):
        raise MismatchError("its values do not match its checksum")
    return line


def _texts(path: Path) -> list[tuple[str, bool]]:
    """The lines of a file, each with whether it was ended."""
    try:
        if not path.exists():
            return []
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise RecordError(f"{path} has {size:,} bytes; at most {MOST_BYTES:,} are read.")
        content = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise RecordError(
            f"cannot read {path}: {error.strerror or error}. Make it a file that can be read, or "
            "delete it."
        ) from error
    *ended, last = content.split("\n")
    return [*((line, True) for line in ended), *([(last, False)] if last else [])]


class JsonLines:
    """An append-only file of one JSON object a line."""

    def __init__(self, path: Path, owner: str = "") -> None:
        """Open for appending. owner: of the checksum of every line; without one there is none."""
        self.path, self.owner = path, owner
        self._file = path.open("a", encoding="utf-8")

    def append(self, **values: Any) -> None:
        """Write one line and hand it to the operating system."""
        line = sealed(values, self.owner) if self.owner else finite(values)
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has every line."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_lines(path: Path, kind: type[Line], owner: str, after: int) -> None:
    """Drop the lines behind step `after` and what is damaged: a run that goes on from that step
    writes them again, and the file is then that of a run that never stopped.
    """
    kept: dict[int, str] = {}
    for text, _ in _texts(path):
        with contextlib.suppress(ValueError):
            step = _line(text, kind, owner).step
            if step <= after:
                kept[step] = text
    content = "".join(f"{kept[step]}\n" for step in sorted(kept))
    if path.exists() and path.read_bytes() != content.encode():
        write_aside(path, content)


def note(folder: Path, text: str) -> None:
    """Add a line to the run's notes."""
    try:
        with (folder / "notes.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise RecordError(
            f"cannot write {folder / 'notes.txt'}: {error.strerror or error}"
        ) from error


def first_gap(lines: Iterable[Line], expected: Iterable[int]) -> int | None:
    """The first expected step that has no line; None when all have."""
    there = {line.step for line in lines}
    return next((step for step in expected if step not in there), None)


WRITING = ".writing.part"
"""A checkpoint that is being written, or that a kill has cut off."""


def checkpoints(folder: Path) -> list[tuple[Path, int]]:
    """Checkpoint files in a run's checkpoint folder, with the step of each."""
    found = []
    for path in folder.glob("step*.*.pt"):
        step = path.name.split(".")[0].removeprefix("step")
        if step.isascii() and step.isdigit() and path.is_file():
            found.append((path, int(step)))
    return found


def drop_checkpoints(folder: Path) -> None:
    """Delete every checkpoint of an ended run."""
    for path in (folder / WRITING, *(path for path, _ in checkpoints(folder))):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

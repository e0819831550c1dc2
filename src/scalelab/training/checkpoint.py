"""Checkpoints that are whole or absent: the hash of the content is part of the file's name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from scalelab.errors import RecordError
from scalelab.training.records import WRITING, checkpoints

Unfit = Callable[[dict[str, Any]], str | None]
"""Why a state cannot be gone on from; None when it can."""

Say = Callable[[str], None]


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: tuple[int, ...]) -> Path:
    """Write the state at `step` aside, sync and rename; then drop steps that `keep` lacks.

    The one before stays beside the newest, to go on from where the newest is damaged; on a full
    disk it makes room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = _write(folder, step, state)
    except (OSError, RuntimeError):  # torch reports a full disk as RuntimeError
        _drop(folder, keep, sorted(at for _, at in checkpoints(folder))[-1:])
        try:
            path = _write(folder, step, state)
        except (OSError, RuntimeError) as error:
            raise RecordError(f"cannot write a checkpoint into {folder}: {error}") from error
    before = [at for _, at in checkpoints(folder) if at < step]
    _drop(folder, keep, [*sorted(before)[-1:], step])
    for other, at in checkpoints(folder):
        if at == step and other != path:
            other.unlink(missing_ok=True)
    return path


def _write(folder: Path, step: int, state: dict[str, Any]) -> Path:
    aside = folder / WRITING  # the same each time, so that what a kill left is written over
    try:
        torch.save(state, aside)
        digest = _digest(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        return aside.replace(folder / f"step{step:09d}.{digest}.pt")
    except (OSError, RuntimeError):
        aside.unlink(missing_ok=True)
        raise


def _drop(folder: Path, keep: tuple[int, ...], also: list[int]) -> None:
    for other, at in checkpoints(folder):
        if at not in keep and at not in also:
            other.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, step: int | None = None, unfit: Unfit = lambda _: None, say: Say = lambda _: None
) -> dict[str, Any] | None:
    """The newest checkpoint that is whole and fits (or the one at `step`); None when there is none.

    unfit: see its type. say: is told, in a sentence, of each file that is not whole or does not
    fit. Such a file is deleted, so that whoever looks at names alone does not count on it.
    """
    return next(usable_checkpoints(folder, step, unfit, say), None)


def usable_checkpoints(
    folder: Path, step: int | None, unfit: Unfit, say: Say
) -> Iterator[dict[str, Any]]:
    """Every checkpoint that is whole and fits, newest first: see `load_checkpoint`."""
    for path, at in sorted(checkpoints(folder), key=lambda item: -item[1]):
        if step is not None and at != step:
            continue
        try:
            state = _read(path)
        except FileNotFoundError:  # its own run has just written a newer one
            continue
        why = state if isinstance(state, str) else unfit(state)
        if why is None and not isinstance(state, str):
            yield state
        else:
            say(f"the checkpoint at step {at} {why}: it was deleted")
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | str:
    """The state of a file, or what is wrong with it."""
    if _digest(path) != path.name.split(".")[1]:
        return "is damaged (its content does not have the hash of its name)"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # unpickling what is no checkpoint may raise anything
        return f"cannot be loaded ({type(error).__name__})"
    return state if isinstance(state, dict) else "holds no state of a run"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]

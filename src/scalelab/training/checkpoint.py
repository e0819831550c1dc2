"""Checkpoints that are whole or absent: the hash of the content is part of the file's name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from scalelab.errors import RecordError
from scalelab.training.records import WRITING, checkpoints


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: tuple[int, ...]) -> Path:
    """Write the state at `step` aside, sync and rename; then drop steps that `keep` lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / WRITING  # the same each time, so that what a kill left is written over
    try:
        torch.save(state, aside)
        digest = _digest(aside)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        path = folder / f"step{step:09d}.{digest}.pt"
        aside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        aside.unlink(missing_ok=True)
        raise RecordError(f"cannot write a checkpoint into {folder}: {error}") from error
    for other, at in checkpoints(folder):
        if other != path and at not in keep:
            other.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, step: int | None = None) -> dict[str, Any] | None:
    """The newest whole checkpoint (or the one at `step`); None when there is none.

    A file whose content does not match the hash in its name is passed over.
    """
    for path, at in sorted(checkpoints(folder), key=lambda item: -item[1]):
        if step is not None and at != step:
            continue
        if _digest(path) == path.name.split(".")[1]:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]

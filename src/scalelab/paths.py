"""Paths as people write them. `Path` itself raises for some that merely lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path


def home_path(path: str) -> Path:
    """``~`` resolved; a ``~name`` without a home stays as it is, and whoever opens it will say."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises RuntimeError


def real_path(path: str) -> Path:
    """Absolute, ``~`` and links resolved; a loop of links stays as it is."""
    return Path(os.path.realpath(home_path(path)))  # Path.resolve raises RuntimeError

"""Fixtures that several parts share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def shared_folder() -> Path | None:
    """The folder of published runs and texts, where this machine has one."""
    named = os.environ.get("SCALELAB_SHARED")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published runs and texts; skips the test where there is none."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("published runs are absent: set SCALELAB_SHARED to their folder")
    return folder

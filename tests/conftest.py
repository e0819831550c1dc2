"""Fixtures that several parts share."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from scalelab.corpus import Corpus, CorpusSpec, prepare

if TYPE_CHECKING:
    import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says something about the machine, not about the code.
# The same examples every time, so that a failure is of the change and not of luck;
# HYPOTHESIS_PROFILE=search looks for others.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


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


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """A CUDA device; skips the test where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents of a language with structure to learn, one file each."""
    folder = tmp_path_factory.mktemp("text")
    words = ["alpha", "beta", "gamma", "delta", "loss", "falls", "slowly", "with", "size"]
    generator = random.Random(0)
    for number in range(40):
        text = " ".join(generator.choice(words) for _ in range(400))
        (folder / f"doc{number:02d}.txt").write_text(f"{number} {text}\n")
    return folder


@pytest.fixture(scope="session")
def corpus(language: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus of that language, as bytes."""
    return prepare(CorpusSpec(paths=(str(language),)), tmp_path_factory.mktemp("cache"))

"""A small run."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalelab.corpus import Corpus
from scalelab.counting import TransformerShape
from scalelab.training.spec import TrainSpec


@pytest.fixture
def spec(corpus: Corpus) -> TrainSpec:
    """Sixty steps of a tiny Transformer."""
    return TrainSpec(
        run="tiny",
        shape=TransformerShape(2, 16, 2, 64, 32, corpus.vocabulary),
        corpus=str(corpus.folder),
        batch_tokens=128,
        steps=60,
        lr=1e-2,
        warmup_steps=5,
        eval_tokens=1024,
        curve_tokens=256,
        curve_points=5,
        noise_every=8,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the run."""
    path = tmp_path / "tiny"
    path.mkdir()
    return path

"""Held-out loss by position, and on other texts of the same tokens only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import RecurrentShape, Shape, TransformerShape
from scalelab.errors import CorpusError
from scalelab.models import build_model
from scalelab.training import evaluate
from scalelab.training.evaluate import Evaluator, octaves, other_text

CPU = torch.device("cpu")
SHAPES = [TransformerShape(1, 8, 1, 16, 12, 30), RecurrentShape("gru", 1, 8, 12, 30)]


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_by_position_is_that_of_the_logits_there(shape: Shape) -> None:
    tokens = np.random.default_rng(0).integers(0, 30, 12 * 40 + 1).astype(np.uint16)
    evaluator = Evaluator(tokens, 12, 10**6, CPU)
    assert evaluator.tokens == 480
    model = build_model(shape).double()
    by_position = evaluator.by_position(model)
    assert by_position.shape == (12,)
    text = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        logits = model.logits(text[:-1].view(40, 12))
        expected = F.cross_entropy(
            logits.transpose(1, 2), text[1:].view(40, 12), reduction="none"
        ).mean(dim=0)
    # Losses are rounded to single precision each.
    np.testing.assert_allclose(by_position, expected.numpy(), rtol=1e-6)
    assert evaluator(model) == by_position.mean()


@pytest.mark.parametrize("context", [1, 2, 7, 8, 12])
def test_octaves_are_means_over_doublings_of_the_position(context: int) -> None:
    places = np.arange(1.0, context + 1)
    expected = [1.0, 2.0, 3.5, np.arange(5, min(context, 8) + 1).mean() if context > 4 else 0.0]
    expected += [np.arange(9, context + 1).mean()] if context > 8 else []
    assert octaves(places) == expected[: 1 + (context - 1).bit_length()]


def test_other_text_is_its_held_out_split(corpus: Corpus) -> None:
    assert np.array_equal(other_text("same", corpus.folder, corpus), corpus.valid.array())


def test_another_vocabulary_is_refused_by_name(
    corpus: Corpus, language: Path, tmp_path: Path
) -> None:
    other = prepare(CorpusSpec(paths=(str(language),), tokenizer="bpe:260"), tmp_path)
    with pytest.raises(CorpusError, match=r"other text words .*bpe.* vocabulary 260.* bytes with"):
        other_text("words", other.folder, corpus)


def test_a_folder_that_is_no_corpus_is_named(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not a prepared corpus"):
        other_text("gone", tmp_path, corpus)


def test_rows_of_a_long_context_are_few_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a pass goes with its tokens, whatever the context."""
    tokens = np.zeros(12 * 40 + 1, dtype=np.uint16)
    evaluator = Evaluator(tokens, 12, 10**6, torch.device("meta"))
    seen: list[int] = []

    def losses(inputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        seen.append(inputs.numel())
        return torch.zeros(inputs.shape, device="meta")

    monkeypatch.setattr(evaluate, "GPU_TOKENS", 100)
    with pytest.raises(NotImplementedError):  # a device without values
        evaluator.by_position(cast(Any, SimpleNamespace(losses=losses)))
    assert seen == [96, 96, 96, 96, 96]

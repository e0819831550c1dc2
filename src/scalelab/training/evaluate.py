"""Held-out loss: the same tokens for every run, so that differences are between models."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scalelab.corpus import Corpus
from scalelab.errors import CorpusError
from scalelab.models import LanguageModel
from scalelab.training.data import TokenArray, Windows, evaluation_windows

ROWS = 16  # sequences of one forward pass on a CPU (measured: larger leaves the cache)
GPU_TOKENS = 32_768  # tokens of one forward pass on a GPU (assumed)


class Evaluator:
    """Mean loss over fixed windows of held-out tokens, each seen from its beginning alone."""

    def __init__(self, tokens: TokenArray, context: int, limit: int, device: torch.device) -> None:
        """limit: tokens to use at most, spread evenly over the split."""
        self.windows = Windows(tokens, context)
        self.indices: NDArray[np.int64] = evaluation_windows(tokens, context, limit)
        self.device = device

    @property
    def tokens(self) -> int:
        """Tokens that an evaluation predicts."""
        return len(self.indices) * self.windows.context

    @torch.no_grad()
    def by_position(self, model: LanguageModel) -> NDArray[np.float64]:
        """Mean loss at each position of the context (T,), nats per token; their mean is the loss.

        At position t the model has seen t + 1 tokens of the window (Kaplan et al. 2020, figure 20).
        """
        context = self.windows.context
        rows = ROWS if self.device.type == "cpu" else max(1, GPU_TOKENS // context)
        total = torch.zeros(context, dtype=torch.float64, device=self.device)
        for start in range(0, len(self.indices), rows):
            inputs, targets = self.windows.gather(self.indices[start : start + rows])
            losses = model.losses(inputs.to(self.device), targets.to(self.device))
            total += losses.double().sum(dim=0)
        means: NDArray[np.float64] = (total / len(self.indices)).cpu().numpy()
        return means

    def __call__(self, model: LanguageModel) -> float:
        """Mean loss in nats per token."""
        return float(self.by_position(model).mean())


def other_text(name: str, folder: Path, corpus: Corpus) -> TokenArray:
    """The held-out tokens of another prepared corpus, cut as the training text `corpus` is.

    Raises CorpusError where the other has another tokenizer: its losses would mean nothing.
    """
    other = Corpus.load(folder)
    if (other.tokenizer, other.vocabulary) != (corpus.tokenizer, corpus.vocabulary):
        raise CorpusError(
            f"the other text {name} ({folder}) has tokenizer {other.tokenizer} with vocabulary "
            f"{other.vocabulary}; the training text has {corpus.tokenizer} with "
            f"{corpus.vocabulary}. Prepare {name} with the tokenizer of the training text."
        )
    return other.valid.array()


def octaves(positions: NDArray[np.float64]) -> list[float]:
    """Mean loss over the positions 1, 2, 3 to 4, 5 to 8, ... of the context, from that at each."""
    doublings = (len(positions) - 1).bit_length()
    ends = [0, *(2**k for k in range(doublings)), len(positions)]
    return [float(positions[low:high].mean()) for low, high in pairwise(ends)]

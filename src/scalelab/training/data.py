"""Which tokens a step sees: a pure function of (seed, step), so that a resumed run sees the same.

The training split is cut into windows of `context` tokens. Each epoch is a permutation of the
windows drawn from (seed, epoch); step s takes the next `sequences` windows of it. Every model size
sees the same tokens in the same order, which takes the order of the data out of comparisons. A run
on less data sees a fixed subset of the windows, again and again.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scalelab.errors import CorpusError

TokenArray = NDArray[np.unsignedinteger]

SUBSET_SEED = 0
"""The same for every run of every study: subsets differ in size alone."""


class Windows:
    """The windows of a token array: (context + 1) tokens each, inputs and shifted targets."""

    def __init__(self, tokens: TokenArray, context: int) -> None:
        """tokens: the whole split, one-dimensional, usually memory-mapped."""
        self.tokens = np.asarray(tokens)  # as a plain array: indexing a memmap costs twice
        self.context = context
        self.count = (len(tokens) - 1) // context
        if self.count < 1:
            raise CorpusError(
                f"the split has {len(tokens)} tokens; one sequence needs {context + 1}. "
                "Give more text or a shorter context."
            )
        self._offsets = np.arange(context + 1)

    def gather(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Windows by index -> inputs and targets, each (len(indices), context) int64."""
        rows = self.tokens[indices[:, None] * self.context + self._offsets]
        block = torch.from_numpy(rows.astype(np.int64))
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()


class Batches:
    """Training batches in a seeded order, without replacement inside an epoch."""

    def __init__(
        self,
        tokens: TokenArray,
        context: int,
        sequences: int,
        seed: int,
        unique_tokens: int = 0,
    ) -> None:
        """sequences: windows per optimizer step. unique_tokens: see `subset`."""
        self.windows = Windows(tokens, context)
        self.chosen = subset(self.windows, unique_tokens)
        self.count = self.windows.count if self.chosen is None else len(self.chosen)
        self.unique_tokens = self.count * context
        self.sequences = sequences
        self.seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: inputs and targets, each (sequences, context) int64."""
        first = step * self.sequences
        places = np.arange(first, first + self.sequences)
        epochs, inside = np.divmod(places, self.count)
        parts = [
            self._permutation(epoch)[inside[epochs == epoch]]
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
        indices = np.concatenate(parts)
        return self.windows.gather(indices if self.chosen is None else self.chosen[indices])

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._order = generator.permutation(self.count)
            self._epoch = epoch
        return self._order


def subset(windows: Windows, unique_tokens: int) -> NDArray[np.int64] | None:
    """Indices of the windows of a data set of `unique_tokens` tokens, in the order of the text.

    Windows drawn from the whole text, the same ones for every seed; a smaller data set lies inside
    a larger one of the same context. Rounded down to whole windows; None for 0: all of them. Raises
    CorpusError where the text has fewer tokens than are asked for, or they make no window.
    """
    if not unique_tokens:
        return None
    there = len(windows.tokens)
    if not windows.context <= unique_tokens <= there:
        raise CorpusError(
            f"a data set of {unique_tokens} tokens is asked for; the training split has {there}, "
            f"one sequence {windows.context}. Ask for {windows.context} to {there} tokens, or give "
            "more text."
        )
    wanted = min(unique_tokens // windows.context, windows.count)
    order = np.random.Generator(np.random.PCG64(SUBSET_SEED)).permutation(windows.count)
    return np.sort(order[:wanted])


def evaluation_windows(tokens: TokenArray, context: int, limit: int) -> NDArray[np.int64]:
    """Indices of the held-out windows used for evaluation: spread evenly, the same for all runs.

    limit: tokens to use at most.
    """
    count = (len(tokens) - 1) // context
    wanted = max(1, min(count, limit // context))
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))

"""Which tokens a step sees: a pure function of (seed, step), so that a resumed run sees the same.

For a Transformer the training split is cut into windows of `context` tokens. Each epoch is a
permutation of the windows drawn from (seed, epoch); step s takes the next `sequences` windows of
it. Every model size sees the same tokens in the same order, which takes the order of the data out
of comparisons.

For a recurrent network it is read as parallel streams: its state goes on from batch to batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scalelab.errors import CorpusError

TokenArray = NDArray[np.unsignedinteger]

_SUBSET_SEED = 20_200_123  # of which windows a smaller data set is made of: the same for all runs


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
        self, tokens: TokenArray, context: int, sequences: int, seed: int, unique_tokens: int = 0
    ) -> None:
        """sequences: windows per optimizer step. unique_tokens: see `subset` (0: all)."""
        self.windows = Windows(tokens, context)
        self.subset = subset(self.windows.count, context, unique_tokens)
        self.sequences = sequences
        self.seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: inputs and targets, each (sequences, context) int64."""
        first = step * self.sequences
        places = np.arange(first, first + self.sequences)
        epochs, inside = np.divmod(places, len(self.subset))
        parts = [
            self._permutation(epoch)[inside[epochs == epoch]]
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
        return self.windows.gather(np.concatenate(parts))

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._order = generator.permutation(self.subset)
            self._epoch = epoch
        return self._order


def subset(windows: int, context: int, unique_tokens: int) -> NDArray[np.int64]:
    """Indices of the windows that make a data set of about `unique_tokens` tokens (0: all).

    The same for every run, and a smaller one lies inside a larger one, so that curves of different
    data-set sizes differ in size alone. Raises CorpusError for more than there is, or less than one
    window.
    """
    if unique_tokens == 0:
        return np.arange(windows)
    wanted = round(unique_tokens / context)
    if not 1 <= wanted <= windows:
        raise CorpusError(
            f"a data set of {unique_tokens} tokens is asked for; the training split has "
            f"{windows} sequences of {context} tokens, of which it takes at least one and no more "
            "than all."
        )
    generator = np.random.Generator(np.random.PCG64(_SUBSET_SEED))
    return generator.permutation(windows)[:wanted]


class Streams:
    """Batches for truncated back-propagation: each row goes on where it stopped the step before.

    Row r of R reads from r / R of the text on, all from an offset drawn from the seed; after one
    pass a row goes on into the next row's part, so that every row sees every token.
    """

    def __init__(
        self, tokens: TokenArray, unroll: int, rows: int, seed: int, unique_tokens: int = 0
    ) -> None:
        """unroll: tokens of a row in one step. unique_tokens: so much of the beginning (0: all).

        Raises CorpusError for more than there is, or less than a row.
        """
        wanted = unique_tokens or len(tokens) - 1
        if not unroll <= wanted < len(tokens):
            raise CorpusError(
                f"a data set of {wanted} tokens is asked for; the training split has {len(tokens)} "
                f"tokens, and one sequence needs {unroll + 1}."
            )
        self.tokens = np.asarray(tokens)
        self.count = wanted
        self.unroll, self.rows = unroll, rows
        shift = int(np.random.Generator(np.random.PCG64([seed, rows])).integers(wanted))
        self._first = np.arange(rows) * (wanted // rows) + shift
        self._offsets = np.arange(unroll)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: inputs and targets, each (rows, unroll) int64."""
        places = (self._first[:, None] + step * self.unroll + self._offsets) % self.count
        inputs, targets = self.tokens[places], self.tokens[places + 1]
        return (
            torch.from_numpy(inputs.astype(np.int64)),
            torch.from_numpy(targets.astype(np.int64)),
        )


def evaluation_windows(tokens: TokenArray, context: int, limit: int) -> NDArray[np.int64]:
    """Indices of the held-out windows used for evaluation: spread evenly, the same for all runs.

    limit: tokens to use at most.
    """
    count = (len(tokens) - 1) // context
    wanted = max(1, min(count, limit // context))
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))

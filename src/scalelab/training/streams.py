"""Which tokens a step of a recurrent network sees: rows that read on where they stopped.

Row r of a batch is a stream that begins at r / rows of the text, plus an offset from the seed, and
goes on by `unroll` tokens a step, around the end to the beginning. So the state that a step leaves
belongs to the tokens that come next (truncated back-propagation through time). The batch of a step
is a pure function of (seed, step).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scalelab.training.data import TokenArray, Windows, subset

OFFSET = 1
"""With the seed, what the offset is drawn from."""


class Streams:
    """Training batches of contiguous text, one stream a row."""

    def __init__(
        self,
        tokens: TokenArray,
        context: int,
        rows: int,
        unroll: int,
        seed: int,
        unique_tokens: int = 0,
    ) -> None:
        """rows: streams. unroll: tokens of each per step. unique_tokens: see `data.subset`; the
        windows of a subset are read one after another in the order of the text.
        """
        self.windows = Windows(tokens, context)
        self.chosen = subset(self.windows, unique_tokens)
        windows = self.windows.count if self.chosen is None else len(self.chosen)
        self.unique_tokens = windows * context
        offset = np.random.Generator(np.random.PCG64([seed, OFFSET])).integers(self.unique_tokens)
        self._starts = offset + np.arange(rows) * self.unique_tokens // rows
        self._along = np.arange(unroll)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: inputs and targets, each (rows, unroll) int64."""
        along = step * len(self._along) + self._along
        places = (self._starts[:, None] + along) % self.unique_tokens
        if self.chosen is not None:
            window, inside = np.divmod(places, self.windows.context)
            places = self.chosen[window] * self.windows.context + inside
        inputs, targets = (self.windows.tokens[places + by].astype(np.int64) for by in (0, 1))
        return torch.from_numpy(inputs), torch.from_numpy(targets)

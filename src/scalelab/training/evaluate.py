"""Held-out loss: the same tokens for every run, so that differences are between models."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scalelab.models import Model
from scalelab.training.data import TokenArray, Windows, evaluation_windows

ROWS = 16  # sequences of one forward pass on a CPU (measured: larger leaves the cache)


class Evaluator:
    """Mean loss over fixed windows of held-out tokens."""

    def __init__(self, tokens: TokenArray, context: int, limit: int, device: torch.device) -> None:
        """limit: tokens to use at most, spread evenly over the split."""
        self.windows = Windows(tokens, context)
        self.indices: NDArray[np.int64] = evaluation_windows(tokens, context, limit)
        self.device = device

    @property
    def tokens(self) -> int:
        """Tokens that an evaluation predicts."""
        return len(self.indices) * self.windows.context

    def __call__(self, model: Model) -> float:
        """Mean loss in nats per token."""
        return float(self.by_position(model).mean())

    @torch.no_grad()
    def by_position(self, model: Model) -> NDArray[np.float64]:
        """Mean loss at each position of the context, nats per token: (context,)."""
        rows = ROWS if self.device.type == "cpu" else ROWS * 16
        total = torch.zeros(self.windows.context, dtype=torch.float64, device=self.device)
        for start in range(0, len(self.indices), rows):
            chosen = self.indices[start : start + rows]
            inputs, targets = self.windows.gather(chosen)
            losses = model.losses(inputs.to(self.device), targets.to(self.device))
            total += losses.sum(dim=0, dtype=torch.float64)
        found: NDArray[np.float64] = (total / len(self.indices)).cpu().numpy()
        return found

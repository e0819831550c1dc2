"""Early stopping: the model at its lowest held-out loss, and when to wait no longer.

The decision is a function of the evaluations so far and is kept in the checkpoint, so that a run
that was killed and resumed stops where one that never was does.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor


class EarlyStopping:
    """Remembers the best evaluation along the way and the parameters that it was of."""

    def __init__(self, patience: int) -> None:
        """patience: evaluations without a new lowest loss after which a run ends."""
        self.patience = patience
        self.loss, self.step, self.waited = math.inf, 0, 0
        self.parameters: tuple[Tensor, ...] = ()

    def see(self, step: int, loss: float, parameters: tuple[Tensor, ...]) -> None:
        """Take an evaluation; a loss that is not a number is no improvement."""
        if loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            self.parameters = tuple(part.detach().clone() for part in parameters)
        else:
            self.waited += 1

    @property
    def over(self) -> bool:
        """Whether to wait no longer."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {
            "loss": self.loss,
            "step": self.step,
            "waited": self.waited,
            "parameters": list(self.parameters),
        }

    def load(self, state: dict[str, Any], like: tuple[Tensor, ...]) -> None:
        """The inverse of `state`. like: tensors on the device of the run."""
        self.loss, self.step, self.waited = state["loss"], state["step"], state["waited"]
        stored = state["parameters"]
        self.parameters = tuple(
            part.to(at.device) for part, at in zip(stored, like[: len(stored)], strict=True)
        )

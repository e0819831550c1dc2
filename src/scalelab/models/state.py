"""What a network carries from one stretch of text to the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""Tensors (layers, rows, width); empty for a network that carries nothing."""


def take_rows(state: State, first: int, last: int) -> State:
    """The state of rows first to last - 1."""
    return tuple(part[:, first:last].contiguous() for part in state)


def join_rows(states: Sequence[State]) -> State:
    """The states of consecutive groups of rows as one."""
    return tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))

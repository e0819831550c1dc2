"""Batches are a pure function of (seed, step) and show each window once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalelab.errors import CorpusError
from scalelab.training.data import Batches, Windows, evaluation_windows

TOKENS = np.arange(1000, dtype=np.uint16)


def test_targets_are_the_next_tokens() -> None:
    inputs, targets = Batches(TOKENS, 8, 4, seed=0)(0)
    assert inputs.shape == targets.shape == (4, 8)
    assert torch.equal(targets, inputs + 1)
    assert (inputs[:, 0] % 8 == 0).all()


def test_any_order_of_asking_gives_the_same_batches() -> None:
    one, two = Batches(TOKENS, 8, 5, seed=3), Batches(TOKENS, 8, 5, seed=3)
    forward = [one(step)[0] for step in range(60)]
    for step in reversed(range(60)):
        assert torch.equal(two(step)[0], forward[step])


def test_an_epoch_shows_each_window_once_and_the_next_in_another_order() -> None:
    batches = Batches(TOKENS, 8, 4, seed=1)
    assert batches.windows.count == 124
    epochs = [
        [int(first) for step in range(e * 31, e * 31 + 31) for first in batches(step)[0][:, 0]]
        for e in range(2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(0, 992, 8))
    assert epochs[0] != epochs[1]


def test_other_seeds_give_other_orders() -> None:
    assert not torch.equal(Batches(TOKENS, 8, 8, 0)(0)[0], Batches(TOKENS, 8, 8, 1)(0)[0])


def test_too_little_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="8 tokens; one sequence needs 9"):
        Windows(TOKENS[:8], 8)


def test_evaluation_spreads_over_the_split() -> None:
    chosen = evaluation_windows(TOKENS, 8, limit=80)
    assert len(chosen) == 10
    assert chosen[0] == 0
    assert chosen[-1] == 123
    assert len(evaluation_windows(TOKENS, 8, limit=10**9)) == 124

"""Batches are a pure function of (seed, step) and show each window once an epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from scalelab.errors import CorpusError
from scalelab.training.data import Batches, Windows, evaluation_windows, subset

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


def test_a_subset_holds_every_smaller_one_and_is_the_same_for_every_seed() -> None:
    windows = Windows(TOKENS, 8)
    sizes = [subset(windows, tokens) for tokens in (8, 100, 400, 992)]
    assert [len(part) for part in sizes] == [1, 12, 50, 124]
    for small, large in itertools.pairwise(sizes):
        assert set(small) < set(large)
    assert subset(windows, 0) is None
    spread = np.diff(sizes[2])
    assert spread.min() >= 1, "in the order of the text"
    assert sizes[2].max() - sizes[2].min() > 90, "drawn from the whole text"


@pytest.mark.parametrize("asked", [7, 1001, 10**9])
def test_a_subset_that_the_text_cannot_give_is_refused_with_the_numbers(asked: int) -> None:
    with pytest.raises(
        CorpusError, match=f"data set of {asked} tokens .* Ask for 8 to 1000 tokens"
    ):
        Batches(TOKENS, 8, 4, seed=0, unique_tokens=asked)


def test_epochs_permute_inside_the_subset() -> None:
    batches = Batches(TOKENS, 8, 4, seed=1, unique_tokens=96)
    assert batches.unique_tokens == 96
    chosen = subset(batches.windows, 96)
    epochs = [
        [int(first) for step in range(e * 3, e * 3 + 3) for first in batches(step)[0][:, 0]]
        for e in range(4)
    ]
    assert all(sorted(epoch) == (chosen * 8).tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    inputs, targets = batches(2)
    assert torch.equal(targets, inputs + 1)


def test_a_data_set_smaller_than_a_batch_is_seen_more_than_once_in_it() -> None:
    inputs, _ = Batches(TOKENS, 8, 6, seed=1, unique_tokens=16)(0)
    counts = np.unique(inputs[:, 0].numpy(), return_counts=True)[1]
    assert counts.tolist() == [3, 3]

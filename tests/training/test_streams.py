"""Streams read on where they stopped, as a pure function of (seed, step)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalelab.errors import CorpusError
from scalelab.training.data import Windows, subset
from scalelab.training.streams import Streams

TOKENS = np.arange(1001, dtype=np.uint16)


def test_each_row_reads_on_where_it_stopped() -> None:
    streams = Streams(TOKENS, 8, rows=4, unroll=5, seed=0)
    steps = [streams(step) for step in range(7)]
    for inputs, targets in steps:
        assert inputs.shape == targets.shape == (4, 5)
        assert torch.equal(targets, inputs + 1)
    read = torch.cat([inputs for inputs, _ in steps], dim=1)
    assert torch.equal((read[:, 1:] - read[:, :-1]) % 1000, torch.ones(4, 34, dtype=torch.int64))


def test_rows_begin_evenly_spread_and_the_seed_moves_them_all() -> None:
    first = Streams(TOKENS, 8, rows=4, unroll=5, seed=0)(0)[0][:, 0]
    other = Streams(TOKENS, 8, rows=4, unroll=5, seed=1)(0)[0][:, 0]
    for starts in (first, other):
        assert ((starts - starts[0]) % 1000).tolist() == [0, 250, 500, 750]
    assert not torch.equal(first, other)


def test_any_order_of_asking_gives_the_same_batches() -> None:
    one, two = (Streams(TOKENS, 8, 3, 7, seed=2) for _ in range(2))
    forward = [one(step)[0] for step in range(50)]
    for step in reversed(range(50)):
        assert torch.equal(two(step)[0], forward[step])


def test_one_pass_shows_every_token_once() -> None:
    streams = Streams(TOKENS, 8, rows=4, unroll=25, seed=3)
    seen = torch.cat([streams(step)[0].flatten() for step in range(10)])
    assert sorted(seen.tolist()) == list(range(1000))


def test_a_subset_is_read_window_by_window_in_the_order_of_the_text() -> None:
    streams = Streams(TOKENS, 8, rows=1, unroll=8, seed=0, unique_tokens=88)
    assert streams.unique_tokens == 88
    read = torch.cat([streams(step)[0].flatten() for step in range(22)])
    chosen = subset(Windows(TOKENS, 8), 88)
    expected = (chosen[:, None] * 8 + np.arange(8)).flatten()
    start = expected.tolist().index(int(read[0]))
    twice = np.concatenate([expected, expected, expected])[start : start + 176]
    assert read.tolist() == twice.tolist(), "around the end to the beginning"
    assert all(torch.equal(t, i + 1) for i, t in (streams(step) for step in range(11)))


def test_too_large_a_data_set_is_refused() -> None:
    with pytest.raises(CorpusError, match="Ask for 8 to 1001 tokens"):
        Streams(TOKENS, 8, 1, 8, 0, unique_tokens=1002)

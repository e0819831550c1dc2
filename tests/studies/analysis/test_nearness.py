"""Distance between texts: against counting by hand, and ordered as texts are mixed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from scalelab.studies.analysis.nearness import BLOCKS, ORDER, Ngrams, distance, sample


def by_hand(train: list[int], text: list[int], vocabulary: int) -> float:
    """Witten-Bell interpolation, one token at a time."""
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for order in range(ORDER):
        for i in range(order, len(train)):
            after[tuple(train[i - order : i])][train[i]] += 1

    def probability(token: int, history: tuple[int, ...]) -> float:
        lower = probability(token, history[1:]) if history else 1 / vocabulary
        seen = after.get(history)
        if not seen:
            return lower
        return (seen[token] + len(seen) * lower) / (seen.total() + len(seen))

    logs = [
        math.log(probability(text[i], tuple(text[i - ORDER + 1 : i])))
        for i in range(ORDER - 1, len(text))
    ]
    return -sum(logs) / len(logs)


def chain(generator: np.random.Generator, length: int, shift: int) -> np.ndarray:
    """A text in which each token is the last one plus `shift`, or one more, modulo 20."""
    return (np.cumsum(shift + generator.integers(0, 2, length)) % 20).astype(np.uint16)


@pytest.mark.parametrize("vocabulary", [5, 256, 70_000])
def test_cross_entropy_is_that_of_counting_by_hand(vocabulary: int) -> None:
    generator = np.random.default_rng(0)
    high = min(vocabulary, 30)
    train, text = (generator.integers(0, high, n).astype(np.uint32) for n in (400, 150))
    model = Ngrams(train, vocabulary)
    expected = by_hand(train.tolist(), text.tolist(), vocabulary)
    assert model.cross_entropy(text) == pytest.approx(expected, rel=1e-12)


def test_a_text_of_the_same_source_is_near_and_a_mixture_lies_between() -> None:
    generator = np.random.default_rng(1)

    def corpus(share: float) -> SimpleNamespace:
        parts = [chain(generator, 40, 3 if generator.random() < share else 11) for _ in range(1500)]
        tokens = np.concatenate(parts)
        split = SimpleNamespace(array=lambda: tokens)
        return SimpleNamespace(train=split, valid=split, vocabulary=20)

    home = corpus(0.0)
    home.valid = corpus(0.0).valid
    found = [distance(home, corpus(share)) for share in (0.0, 0.3, 0.6, 1.0)]  # type: ignore[arg-type]
    assert abs(found[0]) < 0.02
    assert found == sorted(found)
    assert found[3] > 1.0
    assert distance(home, home) == 0  # type: ignore[arg-type]


def test_a_sample_is_spread_over_the_text_and_always_the_same() -> None:
    tokens = np.arange(100_000, dtype=np.uint32)
    found = sample(tokens, 3200)
    assert len(found) == 3200
    assert found[0] == 0
    assert found[-1] == 99_999
    assert len(np.unique(np.diff(found))) <= 3
    assert (np.diff(found) > 1).sum() == BLOCKS - 1
    assert np.array_equal(found, sample(tokens, 3200))
    assert len(sample(tokens[:50], 3200)) == 50

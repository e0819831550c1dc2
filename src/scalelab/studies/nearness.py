"""How far a text is from the training text, without any network: by a small n-gram model.

    p_k(w | h) = (c(h w) + T(h) p_{k-1}(w | h')) / (c(h) + T(h))

interpolated over orders k = 1..ORDER (Witten and Bell 1991), h the k - 1 tokens before w, h' one
fewer, c counts in the training text and T(h) how many different tokens follow h there. The distance
of a text is its cross-entropy under that model less that of the training text's own held-out part:
nats per token that the text is harder for who knows only the training text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalelab.corpus import Corpus

ORDER = 5
TRAINED_ON = 2_000_000
ASKED_OF = 200_000
"""Tokens of the training text that are counted, and of a text that are predicted. (assumed: the
order of eight texts was the same from a tenth of them)"""

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class NGrams:
    """The counts of a text. tokens: one-dimensional. vocabulary: tokens are below it."""

    tokens: NDArray[np.int64]
    vocabulary: int

    @property
    def order(self) -> int:
        """The longest n-gram that fits a 64-bit number, at most ORDER."""
        bits = max(1, (self.vocabulary - 1).bit_length())
        return max(1, min(ORDER, 62 // bits))

    @cached_property
    def counts(self) -> list[tuple[Keys, Keys]]:
        """For n = 1..order: the n-grams as sorted numbers, and how often each occurs."""
        found = []
        for n in range(1, self.order + 1):
            keys, count = np.unique(_keys(self.tokens, n, self.vocabulary), return_counts=True)
            found.append((keys, count.astype(np.int64)))
        return found

    def cross_entropy(self, tokens: NDArray[np.int64]) -> float:
        """Nats per token of another text under this one's model."""
        n = len(tokens) - self.order + 1
        if n < 1:
            return float("nan")
        last = self.order - 1
        probability = np.full(n, 1 / self.vocabulary)
        for k in range(1, self.order + 1):
            grams = _keys(tokens[last - k + 1 :], k, self.vocabulary)[:n]
            history, (keys, count) = grams // self.vocabulary, self.counts[k - 1]
            seen = _look_up(grams, keys, count)
            # Histories are runs of the sorted n-grams that differ in their last token alone.
            starts = np.flatnonzero(np.diff(keys // self.vocabulary, prepend=-1))
            followers = np.diff(np.append(starts, len(keys)))
            totals = np.add.reduceat(count, starts)
            heads = keys[starts] // self.vocabulary
            total = _look_up(history, heads, totals)
            kinds = _look_up(history, heads, followers)
            whole = total + kinds
            known = whole > 0
            probability[known] = (seen + kinds * probability)[known] / whole[known]
        return float(-np.log(probability).mean())


def distances(corpus: Corpus, others: Mapping[str, Corpus]) -> dict[str, float]:
    """Distance of each corpus' held-out text from the training text, nats per token."""
    model = NGrams(_sample(corpus.train.array(), TRAINED_ON), corpus.vocabulary)
    own = model.cross_entropy(_sample(corpus.valid.array(), ASKED_OF))
    return {
        name: model.cross_entropy(_sample(other.valid.array(), ASKED_OF)) - own
        for name, other in others.items()
    }


def _sample(tokens: NDArray[np.unsignedinteger], most: int) -> NDArray[np.int64]:
    """At most `most` tokens in 64 pieces spread over the whole."""
    if len(tokens) <= most:
        return np.asarray(tokens).astype(np.int64)
    piece = most // 64
    starts = np.linspace(0, len(tokens) - piece, 64).astype(np.int64)
    return np.concatenate([np.asarray(tokens[s : s + piece]) for s in starts]).astype(np.int64)


def _keys(tokens: NDArray[np.int64], n: int, vocabulary: int) -> Keys:
    """Every n-gram as one number."""
    count = len(tokens) - n + 1
    keys = np.zeros(max(count, 0), dtype=np.int64)
    for i in range(n):
        keys = keys * vocabulary + tokens[i : i + count]
    return keys


def _look_up(wanted: Keys, keys: Keys, values: NDArray[np.int64]) -> NDArray[np.int64]:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)

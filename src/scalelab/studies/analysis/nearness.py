"""How near a text is to the training text, from its tokens alone, before any network is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scalelab.corpus import Corpus
from scalelab.laws import Array

ORDER = 4
TRAINING_TOKENS = 1_500_000
HELD_OUT_TOKENS = 300_000
"""Samples of the two texts: about three seconds for a pair. (measured)"""

BLOCKS = 32
"""Pieces of a sample, spread evenly over the split, so that it is not one document."""

_BASE = np.uint64(6364136223846793005)  # odd; of a polynomial hash modulo 2^64 (Knuth)

Codes = NDArray[np.uint64]


def distance(corpus: Corpus, other: Corpus) -> float:
    """Nats per token that an n-gram model of the training text loses more on the other text.

    Its cross-entropy on held-out text of `other` less that on held-out text of `corpus`; both
    corpora have one tokenizer. 0 for the training distribution itself, deterministic.
    """
    return distances(corpus, {"": other})[""]


def distances(corpus: Corpus, others: Mapping[str, Corpus]) -> dict[str, float]:
    """`distance` of each of several corpora, the training text counted once."""
    model = Ngrams(sample(corpus.train.array(), TRAINING_TOKENS), corpus.vocabulary)
    own, *theirs = (
        model.cross_entropy(sample(one.valid.array(), HELD_OUT_TOKENS))
        for one in (corpus, *others.values())
    )
    return {name: value - own for name, value in zip(others, theirs, strict=True)}


def sample(tokens: NDArray[np.unsignedinteger], limit: int) -> NDArray[np.unsignedinteger]:
    """At most `limit` tokens in blocks spread evenly."""
    if len(tokens) <= limit:
        return np.asarray(tokens)
    length = limit // BLOCKS
    starts = np.linspace(0, len(tokens) - length, BLOCKS).astype(int)
    return np.concatenate([tokens[start : start + length] for start in starts])


class Ngrams:
    """An interpolated n-gram model of orders 1 to ORDER.

    p_k(t | h) = (c(h t) + T(h) p_(k-1)(t | h')) / (c(h) + T(h)), where c counts in the training
    text, T(h) is the number of different tokens seen after h, h' is h without its first token, and
    p_0 is uniform (Witten and Bell 1991): nothing is tuned.
    """

    def __init__(self, train: NDArray[np.unsignedinteger], vocabulary: int) -> None:
        """train: tokens (n,), more than ORDER of them."""
        self.vocabulary = vocabulary
        self.orders = [_Counts(train, order) for order in range(1, ORDER + 1)]

    def cross_entropy(self, text: NDArray[np.unsignedinteger]) -> float:
        """Mean of -ln p over the tokens of a text, nats per token, the first ORDER - 1 aside."""
        probability = np.full(len(text) - ORDER + 1, 1 / self.vocabulary)
        for order, counts in enumerate(self.orders, start=1):
            # Each position is predicted from the same number of tokens before it, or fewer.
            part = text[ORDER - order :]
            probability = counts.refine(probability, _codes(part, order), _histories(part, order))
        return float(-np.log(probability).mean())


class _Counts:
    """Counts of one order, looked up by hash."""

    def __init__(self, train: NDArray[np.unsignedinteger], order: int) -> None:
        codes, histories = _codes(train, order), _histories(train, order)
        self.grams, first, self.count = np.unique(codes, return_index=True, return_counts=True)
        self.histories, of = np.unique(histories[first], return_inverse=True)
        self.kinds: Array = np.bincount(of).astype(np.float64)
        self.total: Array = np.bincount(of, weights=self.count).astype(np.float64)

    def refine(self, lower: Array, codes: Codes, histories: Codes) -> Array:
        """Probabilities of this order from those of one order less, (m,) each."""
        count = _look_up(self.grams, self.count.astype(float), codes)
        total = _look_up(self.histories, self.total, histories)
        kinds = _look_up(self.histories, self.kinds, histories)
        # A history never seen says nothing: the lower order stands.
        return np.where(total > 0, (count + kinds * lower) / np.maximum(total + kinds, 1), lower)


def _codes(tokens: NDArray[np.unsignedinteger], length: int) -> Codes:
    """A hash of every run of `length` tokens, (n - length + 1,)."""
    n = len(tokens) - length + 1
    codes = np.zeros(n, dtype=np.uint64)
    for i in range(length):
        codes = codes * _BASE + (tokens[i : i + n].astype(np.uint64) + np.uint64(1))
    return codes


def _histories(tokens: NDArray[np.unsignedinteger], order: int) -> Codes:
    """The hash of what stands before the last token of each run of `order` tokens."""
    return _codes(tokens[:-1], order - 1) if order > 1 else np.zeros(len(tokens), dtype=np.uint64)


def _look_up(keys: Codes, values: Array, wanted: Codes) -> Array:
    """The values of sorted keys, zero where there is none."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0.0)

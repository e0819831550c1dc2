<<<<<<< HEAD
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

=======
"""How near a text is to the training text, from its tokens alone, before any network is trained."""

from __future__ import annotations

>>>>>>> desA
import numpy as np
from numpy.typing import NDArray

from scalelab.corpus import Corpus
<<<<<<< HEAD

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
=======
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
    train = sample(corpus.train.array(), TRAINING_TOKENS)
    own, theirs = (sample(one.valid.array(), HELD_OUT_TOKENS) for one in (corpus, other))
    model = Ngrams(train, corpus.vocabulary)
    return model.cross_entropy(theirs) - model.cross_entropy(own)


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
>>>>>>> desA

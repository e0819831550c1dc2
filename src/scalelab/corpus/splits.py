"""Which documents are held out: copies removed first, then whole documents by their content.

A document's place is drawn from (its text, the seed), not from its position, so that a document
more or less leaves the others where they are. Validation takes the documents with the lowest
draws and test those with the highest, until each has its share of the bytes.

A split that the text comes with stays as it is; only the missing ones are taken, from the training
text. Where a few documents are so large that whole ones cannot serve, the large ones are cut at
blank lines into contiguous blocks and blocks are held out; that is said by a notice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelab.corpus.pieces import SPLITS, Split
from scalelab.corpus.spec import CorpusSpec
from scalelab.corpus.spool import UNSPLIT, Documents, Spool, text_key
from scalelab.errors import CorpusError, Notice
from scalelab.units import format_count

TRAIN, VALID, TEST = range(len(SPLITS))

HELD_OUT_BYTES = 256 * 1024
"""Held-out text that a small corpus aims at: sampling it moves a loss by under 0.01 nats.
(assumed)"""
MOST_HELD_OUT = 0.10
"""Share of the bytes that each held-out split may take to get there. (assumed)"""
LARGEST_SHARE = 0.5
"""Of a held-out split that one document may be, so that at least two are in it. (assumed)"""
BLOCKS = 8
"""Blocks that a held-out split has where documents are cut: enough to sample the text from
beginning to end, few so that few of them border on training text. (assumed)"""
LARGEST_BLOCK = 16 << 20
LEAST_BYTES = 10_000
"""A corpus below this cannot be split into parts that mean anything. (assumed)"""


@dataclass(frozen=True)
class Duplicates:
    """What `without_duplicates` removed. leaked: those whose copy is in another, held-out split."""

    documents: int
    bytes: int
    leaked: int


def without_duplicates(documents: Documents) -> tuple[Documents, Duplicates]:
    """One of each text: the copy in test before the one in validation before those for training.

    Held-out copies win, so that nothing of them is trained on.
    """
    priority = np.array([2, 1, 0, 3])[documents.split]
    high, low = documents.key[:, 0], documents.key[:, 1]
    order = np.lexsort((documents.offset, priority, low, high))
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    dropped = order[same]
    first = order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))][same]
    winner = documents.split[first]
    leaked = np.isin(winner, (VALID, TEST)) & (winner != documents.split[dropped])
    keep = np.ones(len(order), dtype=np.bool_)
    keep[dropped] = False
    return documents.take(keep), Duplicates(
        len(dropped), int(documents.length[dropped].sum()), int(leaked.sum())
    )


def split_documents(
    documents: Documents, spool: Spool, spec: CorpusSpec
) -> tuple[Documents, tuple[Notice, ...]]:
    """Every document in train, valid or test; large ones cut into blocks where that is needed.

    Raises CorpusError when there is too little text to split.
    """
    fractions = {VALID: spec.valid_fraction, TEST: spec.test_fraction}
    missing = [split for split in fractions if not np.any(documents.split == split)]
    pool = (documents.split == TRAIN) | (documents.split == UNSPLIT)
    total = int(documents.length[pool].sum())
    if total < LEAST_BYTES:
        raise CorpusError(
            f"the text for training is {total:,} bytes in {int(pool.sum()):,} documents after "
            f"removing copies; at least {LEAST_BYTES:,} bytes are needed. Give more text."
        )
    documents = replace(documents, split=np.where(pool, TRAIN, documents.split).astype(np.int8))
    if not missing:
        return documents, ()
    targets = {split: _target(total, fractions[split]) for split in missing}
    split = _by_document(documents, targets, spec.seed)
    if split is not None:
        return replace(documents, split=split), ()
    size = int(min(LARGEST_BLOCK, min(targets.values()) // BLOCKS))
    large = (documents.split == TRAIN) & (documents.length > size)
    blocks = _in_blocks(documents, large, size, spool)
    split = _by_document(blocks, targets, spec.seed)
    if split is None:
        raise CorpusError(
            f"the text for training, {total:,} bytes, cannot be cut into train, valid and test. "
            "Give more text, or give held-out text in files named valid and test."
        )
    held_out = int(np.isin(split, missing).sum())
    names: list[Split] = [SPLITS[place] for place in missing]
    return replace(blocks, split=split), (
        Notice(
            "split-inside-documents",
            f"{int(large.sum())} of {len(documents)} documents are so large that whole ones "
            f"cannot be held out. They were cut into blocks of about {format_count(size)} bytes "
            f"and {held_out} blocks make up {' and '.join(names)}. A held-out block has "
            "training text of its own document on both sides: losses on it are somewhat lower "
            "than on new documents. Give more documents, separate them by lines <|doc|>, or give "
            "files named valid and test.",
        ),
    )


def _target(total: int, fraction: float) -> float:
    return max(fraction * total, min(HELD_OUT_BYTES, MOST_HELD_OUT * total))


def _by_document(
    documents: Documents, targets: dict[int, float], seed: int
) -> NDArray[np.int8] | None:
    """The split of every row, or None where whole rows cannot reach the targets, or could do so
    only with rows that make up less than half of the text, which would not stand for it.
    """
    pool = documents.split == TRAIN
    largest = LARGEST_SHARE * min(targets.values())
    eligible = np.flatnonzero(pool & (documents.length <= largest))
    if 2 * documents.length[eligible].sum() < documents.length[pool].sum():
        return None
    order = eligible[np.argsort(draws(documents.key[eligible], seed), kind="stable")]
    split = documents.split.copy()
    for place, target in targets.items():
        row = order if place == VALID else order[::-1]
        before = np.cumsum(documents.length[row]) - documents.length[row]
        chosen = row[before < target]
        if documents.length[chosen].sum() < target or np.any(split[chosen] != TRAIN):
            return None
        split[chosen] = place
    return split


def draws(key: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """A uniform 64-bit number for each key and seed (the finisher of SplitMix64)."""
    mixed: NDArray[np.uint64] = key[:, 0] ^ np.uint64(seed * 0x9E3779B97F4A7C15 % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _in_blocks(
    documents: Documents, large: NDArray[np.bool_], size: int, spool: Spool
) -> Documents:
    """The documents with the large ones cut into rows of at most `size` bytes."""
    parts = []
    done = 0
    for place in np.flatnonzero(large):
        parts.append(documents.take(np.arange(done, place)))
        keys, lengths = [], []
        for text in spool.blocks(int(documents.offset[place]), int(documents.length[place]), size):
            keys.append(text_key(text))
            lengths.append(len(text))
        length = np.array(lengths, dtype=np.int64)
        parts.append(
            Documents(
                np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2),
                documents.offset[place] + np.cumsum(length) - length,
                length,
                np.full(len(length), documents.split[place], dtype=np.int8),
                np.arange(len(length)) > 0,
            )
        )
        done = int(place) + 1
    parts.append(documents.take(np.arange(done, len(documents))))
    return Documents(
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.split for part in parts]),
        np.concatenate([part.continues for part in parts]),
    )

"""Copies removed first, then a split by document that stays where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from text_samples import text

from scalelab.corpus.pieces import Piece, Split, Tally
from scalelab.corpus.spec import CorpusSpec
from scalelab.corpus.splits import TEST, TRAIN, VALID, split_documents, without_duplicates
from scalelab.corpus.spool import Documents, Spool
from scalelab.errors import CorpusError


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def add(spool: Spool, content: str, split: Split | None = None) -> None:
    spool.add(Piece(content.encode(), True, "test"), split, Tally())


def texts(spool: Spool, documents: Documents, split: int) -> list[str]:
    part = documents.take(documents.split == split)
    return [
        spool.read(int(offset), int(length)).decode()
        for offset, length in zip(part.offset, part.length, strict=True)
    ]


def test_pieces_make_one_document_without_outer_line_feeds(spool: Spool) -> None:
    for part, ends in ((b"\n\na\n", False), (b"\nb\n\n", False), (b"", True), (b"\n", True)):
        spool.add(Piece(part, ends, "x"), None, Tally())
    documents = spool.documents()
    assert len(documents) == 1
    assert spool.read(0, int(documents.length[0])) == b"a\n\nb"


def test_held_out_copies_win(spool: Spool) -> None:
    add(spool, "in all three", "train")
    add(spool, "twice in train", "train")
    add(spool, "in valid too", "train")
    add(spool, "in all three", "valid")
    add(spool, "in valid too\n", "valid")
    add(spool, "twice in train", None)
    add(spool, "in all three", "test")
    documents, removed = without_duplicates(spool.documents())
    assert texts(spool, documents, TRAIN) == ["twice in train"]
    assert texts(spool, documents, VALID) == ["in valid too"]
    assert texts(spool, documents, TEST) == ["in all three"]
    assert (removed.documents, removed.leaked) == (4, 3)


def splits_of(spool: Spool, documents: Documents) -> dict[str, int]:
    return {text: split for split in range(3) for text in texts(spool, documents, split)}


def test_another_document_does_not_reshuffle(spool: Spool, tmp_path: Path) -> None:
    for number in range(200):
        add(spool, text(number))
    first, notices = split_documents(spool.documents(), spool, CorpusSpec())
    before = splits_of(spool, first)
    assert not notices
    assert set(before.values()) == {TRAIN, VALID, TEST}
    other = Spool(tmp_path / "other")
    for number in (777, *reversed(range(200))):
        add(other, text(number))
    second, _ = split_documents(other.documents(), other, CorpusSpec())
    after = splits_of(other, second)
    other.close()
    moved = [number for number, split in before.items() if after[number] != split]
    assert len(moved) <= 2


def test_seed_chooses_others(spool: Spool) -> None:
    for number in range(200):
        add(spool, text(number))
    chosen = [
        frozenset(texts(spool, split_documents(spool.documents(), spool, spec)[0], VALID))
        for spec in (CorpusSpec(), CorpusSpec(), CorpusSpec(seed=1))
    ]
    assert chosen[0] == chosen[1]
    assert len(chosen[0] & chosen[2]) < len(chosen[0]) / 2


def test_share_of_bytes(spool: Spool) -> None:
    for number in range(3000):
        add(spool, text(number, 10 + number % 50))
    documents = spool.documents()
    # as if every document were a hundred times as long, so that the share decides
    documents = replace(documents, length=documents.length * 100)
    split, _ = split_documents(documents, spool, CorpusSpec(test_fraction=0.02))
    share = [split.length[split.split == place].sum() / split.length.sum() for place in range(3)]
    assert share[VALID] == pytest.approx(0.04, abs=0.001)
    assert share[TEST] == pytest.approx(0.02, abs=0.001)


def test_only_the_missing_split_is_taken_from_training_text(spool: Spool) -> None:
    for number in range(100):
        add(spool, text(number), "train")
    add(spool, text(1000), "valid")
    documents, _ = split_documents(spool.documents(), spool, CorpusSpec())
    assert texts(spool, documents, VALID) == [text(1000).strip()]
    assert len(texts(spool, documents, TEST)) >= 2
    assert sum(documents.split == TRAIN) + sum(documents.split == TEST) == 100


def test_unsplit_text_beside_given_splits_is_for_training(spool: Spool) -> None:
    for number in range(9):
        add(spool, text(number, 2000), (None, "valid", "test")[number % 3])
    documents, notices = split_documents(spool.documents(), spool, CorpusSpec())
    assert [int(sum(documents.split == split)) for split in range(3)] == [3, 3, 3]
    assert not notices


def test_one_large_document_is_cut_into_blocks_and_said_so(spool: Spool) -> None:
    whole = text(0, 100_000)
    add(spool, whole)
    documents, notices = split_documents(spool.documents(), spool, CorpusSpec())
    assert [notice.code for notice in notices] == ["split-inside-documents"]
    raw = whole.strip().encode()
    assert documents.offset[0] == 0
    assert np.array_equal(documents.offset[1:], np.cumsum(documents.length)[:-1])
    assert documents.length.sum() == len(raw)
    held_out = documents.length[documents.split == VALID].sum()
    assert 0.1 * len(raw) <= held_out < 0.12 * len(raw)
    assert sum(documents.split == VALID) >= 8
    begins = {bytes(raw[offset - 2 : offset]) for offset in documents.offset[1:]}
    assert begins == {b"\n\n"}


def test_a_few_small_documents_do_not_stand_for_a_huge_one(spool: Spool) -> None:
    add(spool, text(0, 50_000))
    for number in range(1, 80):
        add(spool, text(number, 100))
    _, notices = split_documents(spool.documents(), spool, CorpusSpec())
    assert [notice.code for notice in notices] == ["split-inside-documents"]
    assert "1 of 80 documents" in notices[0].message


def test_too_little_text(spool: Spool) -> None:
    add(spool, "small")
    with pytest.raises(CorpusError, match=r"5 bytes in 1 documents .* at least 10,000"):
        split_documents(spool.documents(), spool, CorpusSpec())

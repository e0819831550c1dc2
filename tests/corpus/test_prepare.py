"""The whole way from files to a corpus."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from text_samples import text, write_documents, write_joined

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.corpus import prepare as prepare_function
from scalelab.corpus.shards import HEADER_BYTES, ShardWriter
from scalelab.errors import CorpusError

prepare_module = sys.modules[prepare_function.__module__]


def spec_of(*paths: Path, **fields: object) -> CorpusSpec:
    return CorpusSpec(paths=tuple(map(str, paths)), **fields)  # type: ignore[arg-type]


@pytest.fixture
def books(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "books", range(60))


def documents_of(corpus: Corpus) -> list[set[str]]:
    """The documents of each split, decoded from the tokens by splitting at byte 0."""
    return [
        set(shards.array().tobytes().decode().removesuffix("\0").split("\0"))
        for shards in corpus.shards
    ]


def test_every_document_is_in_one_split(books: Path, tmp_path: Path) -> None:
    corpus = prepare(spec_of(books), tmp_path / "cache")
    splits = documents_of(corpus)
    assert sum(map(len, splits)) == len(set.union(*splits)) == 60
    assert set.union(*splits) == {text(number).strip() for number in range(60)}
    assert [len(split) for split in splits] == [shards.documents for shards in corpus.shards]
    assert corpus.vocabulary == 256
    assert corpus.bytes_per_token == 1
    assert corpus.boundary == 0
    assert corpus.train.array().dtype == np.uint8
    corpus.verify()


def test_layout_of_files_does_not_matter(books: Path, tmp_path: Path) -> None:
    joined = write_joined(tmp_path / "joined" / "all.txt.gz", range(60))
    first = prepare(spec_of(books), tmp_path / "cache")
    second = prepare(spec_of(joined), tmp_path / "cache")
    assert first.fingerprint == second.fingerprint
    assert first.folder != second.folder


def test_given_splits_and_copies(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    write_documents(folder / "train", range(40))
    write_joined(folder / "valid.txt.gz", range(35, 45))
    write_joined(folder / "test.txt.gz", range(44, 50))
    corpus = prepare(spec_of(folder), tmp_path / "cache")
    train, valid, test = documents_of(corpus)
    assert train == {text(number).strip() for number in range(35)}
    assert valid == {text(number).strip() for number in range(35, 44)}
    assert test == {text(number).strip() for number in range(44, 50)}
    assert corpus.duplicates == 6
    (leak,) = (notice for notice in corpus.notices if notice.code == "held-out-copies")
    assert leak.message.startswith("6 documents")


def test_second_time_opens_what_is_there(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(spec_of(books), tmp_path / "cache")
    monkeypatch.setattr(prepare_module, "_make", lambda *_: pytest.fail("made again"))
    assert prepare(spec_of(books), tmp_path / "cache") == first
    assert Corpus.load(first.folder) == first


def test_changed_text_or_spec_is_prepared_again(books: Path, tmp_path: Path) -> None:
    first = prepare(spec_of(books), tmp_path / "cache")
    seeded = prepare(spec_of(books, seed=1), tmp_path / "cache")
    write_documents(books, range(60, 61))
    more = prepare(spec_of(books), tmp_path / "cache")
    assert len({corpus.folder for corpus in (first, seeded, more)}) == 3
    assert more.train.bytes > first.train.bytes


def test_bpe(books: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    corpus = prepare(spec_of(books, tokenizer="bpe:320"), tmp_path / "cache")
    again = prepare(spec_of(books, tokenizer="bpe:320"), tmp_path / "other")
    assert corpus.fingerprint == again.fingerprint
    assert corpus.train.array().dtype == np.uint16
    assert corpus.vocabulary <= 320
    assert corpus.bytes_per_token > 2
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    tokens = corpus.valid.array()
    ends = np.flatnonzero(tokens == corpus.boundary)
    assert len(ends) == corpus.valid.documents
    decoded = [tokenizer.decode(part.tolist()) for part in np.split(tokens, ends + 1)[:-1]]
    by_bytes = prepare(spec_of(books), tmp_path / "cache")
    assert set(decoded) == documents_of(by_bytes)[1]


def test_own_tokenizer_file_gives_the_same_tokens(books: Path, tmp_path: Path) -> None:
    trained = prepare(spec_of(books, tokenizer="bpe:300"), tmp_path / "cache")
    file = trained.folder / "tokenizer.json"
    given = prepare(spec_of(books, tokenizer=str(file)), tmp_path / "cache")
    assert np.array_equal(given.train.array(), trained.train.array())
    assert given.tokenizer.split("@")[1] == trained.tokenizer.split("@")[1]


def test_a_huge_document_is_split_inside_and_blocks_join_up(tmp_path: Path) -> None:
    path = tmp_path / "shakespeare.txt"
    path.write_text(text(0, 100_000), encoding="utf-8")
    corpus = prepare(spec_of(path), tmp_path / "cache")
    assert [notice.code for notice in corpus.notices] == [
        "split-inside-documents",
        "small-held-out",
    ]
    pieces = [piece for split in documents_of(corpus) for piece in split]
    whole = text(0, 100_000).strip()
    assert all(piece in whole for piece in pieces), "only neighbours are joined"
    assert sum(map(len, pieces)) == len(whole)


def test_limit_is_of_training_text(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    write_documents(folder / "train", range(60))
    write_joined(folder / "valid.txt.gz", range(60, 64))
    write_joined(folder / "test.txt.gz", range(64, 68))
    corpus = prepare(spec_of(folder, limit_bytes=30_000), tmp_path / "cache")
    assert 29_000 < corpus.train.bytes <= 30_000
    assert (corpus.valid.documents, corpus.test.documents) == (4, 4)


def test_odd_bytes_are_mended_and_counted(books: Path, tmp_path: Path) -> None:
    (books / "latin.txt").write_bytes(text(100).encode() + "schön".encode("latin-1"))
    (books / "nul.txt").write_bytes(text(101).encode() + b"\0")
    (books / "picture.txt").write_bytes(bytes(range(256)) * 40)
    (books / "windows.txt").write_bytes(text(3).replace("\n", "\r\n").encode())
    corpus = prepare(spec_of(books), tmp_path / "cache")
    notices = {notice.code: notice.message for notice in corpus.notices}
    assert notices["not-utf-8"].startswith("2 documents")
    assert notices["not-text"].startswith("1 files")
    assert "picture.txt" in notices["not-text"]
    assert corpus.duplicates == 1, "line ends do not make another document"
    assert prepare(spec_of(books), tmp_path / "cache").notices == corpus.notices


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no text in a.txt"),
        (b"\n \n"[:1], "there is no text in a.txt"),
        (b"\xff\xfe\x00" * 100, "there is no text in a.txt. 1 files were passed over"),
        (b"too little", "at least 10,000 bytes are needed"),
    ],
)
def test_text_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        prepare(spec_of(tmp_path / "a.txt"), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").iterdir()), "nothing half-made is left"


@pytest.mark.parametrize("damage", ["truncate", "record", "missing", "mixed"])
def test_damaged_corpus_is_made_again(books: Path, tmp_path: Path, damage: str) -> None:
    first = prepare(spec_of(books), tmp_path / "cache")
    tokens = first.folder / "train.tokens"
    if damage == "truncate":
        tokens.write_bytes(tokens.read_bytes()[:-5])
    elif damage == "record":
        (first.folder / "corpus.json").write_text("{")
    elif damage == "missing":
        tokens.unlink()
    else:
        tokens.write_bytes((first.folder / "valid.tokens").read_bytes())
    with pytest.raises(CorpusError):
        Corpus.load(first.folder)
    assert prepare(spec_of(books), tmp_path / "cache") == first
    assert len(list((tmp_path / "cache" / "corpora").iterdir())) == 1


def test_disk_full(books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ShardWriter, "write", full)
    with pytest.raises(CorpusError, match=r"No space left on device. Make room"):
        prepare(spec_of(books), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").iterdir())


def test_cache_that_is_a_file(books: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("x")
    with pytest.raises(CorpusError, match="cannot write the prepared corpus"):
        prepare(spec_of(books), tmp_path / "cache")


def test_leftovers_of_a_crash_are_removed_when_old(books: Path, tmp_path: Path) -> None:
    old, young = (tmp_path / "cache" / "corpora" / f".books-1.{age}" for age in ("old", "young"))
    for left in (old, young):
        left.mkdir(parents=True)
        (left / "text").write_text("x")
    for path in (old / "text", old):
        os.utime(path, (1e9, 1e9))
    prepare(spec_of(books), tmp_path / "cache")
    assert not old.exists()
    assert young.exists()


def _prepare_in_process(arguments: tuple[CorpusSpec, Path]) -> str:
    return prepare(*arguments).fingerprint


def test_two_processes_at_once(books: Path, tmp_path: Path) -> None:
    job = (spec_of(books), tmp_path / "cache")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_prepare_in_process, [job] * 4, chunksize=1)
    assert len(set(found)) == 1
    assert len(list((tmp_path / "cache" / "corpora").iterdir())) == 1


def test_the_one_that_ends_second_takes_the_first(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = prepare_module._make

    def slowly(*arguments: object) -> None:
        make(*arguments)
        monkeypatch.setattr(prepare_module, "_make", make)
        prepare(spec_of(books), tmp_path / "cache")

    monkeypatch.setattr(prepare_module, "_make", slowly)
    corpus = prepare(spec_of(books), tmp_path / "cache")
    assert [corpus.folder] == list((tmp_path / "cache" / "corpora").iterdir())


def test_progress_is_told(books: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    corpus = prepare(
        spec_of(books, tokenizer="bpe:300"), tmp_path / "cache", lambda *told_: told.append(told_)
    )
    assert list(dict.fromkeys(what for what, _, _ in told)) == [
        "reading text",
        "training the tokenizer",
        "encoding",
    ]
    total = sum(shards.bytes for shards in corpus.shards)
    assert told[-1] == ("encoding", total, total)


def test_tokens_that_a_disk_has_changed_are_made_again(
    books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = prepare(spec_of(books), tmp_path / "cache")
    whole = corpus.train.path.read_bytes()
    corpus.train.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = prepare(spec_of(books), tmp_path / "cache")
    assert again.train.path.read_bytes() == whole
    corpus.train.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(prepare_module, "READ_AGAIN", 100)  # a corpus too large to read again
    assert prepare(spec_of(books), tmp_path / "cache").train.path.read_bytes() != whole


def test_interrupted_leaves_nothing(books: Path, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(spec_of(books), tmp_path / "cache", interrupt)
    assert not list((tmp_path / "cache" / "corpora").iterdir())


def test_memory_stays_below_the_text(tmp_path: Path) -> None:
    """80 MB in one document, no line longer than a piece: the traced peak is a few pieces."""
    import tracemalloc

    path = tmp_path / "large.txt"
    block = text(0, 20_000).encode()
    with path.open("wb") as file:
        for number in range(80_000_000 // len(block)):
            file.write(b"%d\n" % number + block)
    tracemalloc.start()
    corpus = prepare(spec_of(path), tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corpus.train.bytes > 70e6
    assert peak < 25e6
    path.unlink()


def test_embedded_default(tmp_path: Path) -> None:
    corpus = prepare(CorpusSpec(), tmp_path / "cache")
    assert corpus.name.startswith("Python 3.")
    assert corpus.train.bytes > 4e6
    assert min(corpus.valid.bytes, corpus.test.bytes) > 250_000
    assert "split-inside-documents" not in [notice.code for notice in corpus.notices]


def test_torch_is_not_imported(tmp_path: Path) -> None:
    write_documents(tmp_path / "books", range(20))
    code = (
        "import sys; from pathlib import Path; from scalelab.corpus import *\n"
        f"prepare(CorpusSpec(paths=({str(tmp_path / 'books')!r},)), Path({str(tmp_path)!r}))\n"
        "assert not {'torch', 'polars', 'tokenizers'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_header_can_be_read_by_a_person(books: Path, tmp_path: Path) -> None:
    corpus = prepare(spec_of(books), tmp_path / "cache")
    head = corpus.train.path.read_bytes()[:HEADER_BYTES].decode()
    assert head.startswith('{"magic": "scalelab-tokens", "version": 1, "tokenizer": "bytes"')
    assert head.endswith(" \n")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["drama_shakespeare", "novels_eltec_de", "dialogue"])
def test_shared_texts(shared: Path, tmp_path: Path, name: str) -> None:
    corpus = prepare(spec_of(shared / "text" / name), tmp_path / "cache")
    train, valid, test = documents_of(corpus)
    assert not train & valid
    assert not train & test
    codes = [notice.code for notice in corpus.notices]
    assert ("split-inside-documents" in codes) == (name == "drama_shakespeare")

"""Documents out of files of every kind, and what is said of bad ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.corpus import reading
from scalelab.corpus.listing import list_files
from scalelab.corpus.pieces import Tally
from scalelab.corpus.reading import looks_binary, read
from scalelab.corpus.spec import CorpusSpec
from scalelab.errors import CorpusError

zstandard = pytest.importorskip("zstandard")


def documents(path: Path, tally: Tally | None = None, **fields: str) -> list[str]:
    """Whole documents of one file."""
    tally = tally or Tally()
    (file,) = list_files((str(path),), tally)
    found, parts = [], []
    for piece in read(file, CorpusSpec(paths=(str(path),), **fields), tally):  # type: ignore[arg-type]
        parts.append(piece.text)
        if piece.ends:
            found.append(b"".join(parts).decode(errors="replace"))
            parts = []
    assert not parts, "the last document was not ended"
    return found


TEXT = "one\n\nfirst\n<|doc|>\ntwo é\n<|doc|>  \r\nthree <|doc|> inside\n"
PARTS = ["one\n\nfirst\n", "two é\n", "three <|doc|> inside\n"]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".txt", bytes),
        (".txt.gz", gzip.compress),
        (".txt.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_separated_text(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"all{suffix}"
    path.write_bytes(pack(TEXT.encode()))
    assert documents(path) == PARTS


def test_own_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n====\nb\n<|doc|>\nc\n")
    assert documents(path, separator="====") == ["a\n", "b\n<|doc|>\nc\n"]


@given(
    st.lists(st.sampled_from(["a", "é", "\n", "\n<|doc|>\n", "<|doc|>", "long" * 9]), max_size=40),
    st.integers(1, 60),
)
def test_pieces_of_any_size_give_the_same_documents(parts: list[str], size: int) -> None:
    """The oracle splits the whole text at once; lines longer than a piece are not separators."""
    import io

    from scalelab.corpus.reading import _plain, separator_pattern

    text = "".join(parts).encode()
    pattern = separator_pattern(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", max(size, 1 + max(map(len, text.split(b"\n")), default=1)))
        pieces = list(_plain(io.BytesIO(text), pattern, "x", Tally()))
    joined = b"".join(piece.text + b"\xff" * piece.ends for piece in pieces)
    assert joined == b"\xff".join(pattern.split(text)) + b"\xff"


def test_long_line_is_streamed_in_whole_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    content = "é" * (reading.PIECE + 1)
    path.write_text(content, encoding="utf-8")
    assert documents(path) == [content]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    rows = [{"text": "one"}, {"text": "two\nlines"}, {"text": None}, {"text": " "}]
    path.write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))
    tally = Tally()
    assert documents(path, tally) == ["one", "two\nlines"]
    assert tally.counts == {"no-text-record": 2}


def test_parquet_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 1000)
    path = tmp_path / "a.parquet"
    texts = [f"row {number}" for number in range(500)]
    pl.DataFrame({"id": range(500), "content": texts}).write_parquet(path, row_group_size=64)
    assert documents(path, text_field="content") == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt.gz", gzip.compress(b"x" * 9999)[:-20], "a.txt.gz cannot be read to its end"),
        ("a.txt.gz", b"not gzip", "a.txt.gz cannot be read to its end"),
        ("a.txt.zst", zstandard.compress(b"xyz" * 9999)[:-3], "ends inside a compressed frame"),
        ("a.txt.zst", b"not zstandard", "not valid Zstandard"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl line 2 is not JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl line 1 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is list"),
        ("a.jsonl", b'{"body": "a", "id": 1}\n', "no field 'text'; it has: body, id"),
        ("a.jsonl", b'{"text": 5}\n', "holds int; text is expected"),
        ("a.parquet", b"PAR1 but not really", "not readable Parquet"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        documents(tmp_path / name)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_parquet_without_the_column(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1], "body": ["x"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"no column 'text'.*id \(Int64\), body \(String\)"):
        documents(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="no column 'id' of text"):
        documents(tmp_path / "a.parquet", text_field="id")


def test_several_zstandard_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress(b"one ") + zstandard.compress(b"two"))
    assert documents(path) == ["one two"]


def test_binary_is_counted_latin1_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 20)
    tally = Tally()
    assert documents(path, tally) == []
    assert tally.counts == {"not-text": 1}
    prose = "Der Mann ging über die Brücke und sagte: schön ist es hier an dem Fluss. "
    assert not looks_binary((prose * 30).encode("latin-1"))
    assert looks_binary(prose.encode("utf-16"))
    assert looks_binary("これはテキストです。".encode("shift-jis"))


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    assert documents(tmp_path / "a.txt") == ["hello"]

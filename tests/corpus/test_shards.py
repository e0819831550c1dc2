"""Token files: round trip, and damage that is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.corpus.shards import HEADER_BYTES, Shards, ShardWriter
from scalelab.errors import CorpusError


def write(path: Path, tokens: list[int], dtype: str = "<u2") -> Shards:
    writer = ShardWriter(path, np.dtype(dtype))
    half = len(tokens) // 2
    writer.write(np.array(tokens[:half], dtype=np.int64))
    writer.write(np.array(tokens[half:], dtype=np.int64))
    return writer.finish("bytes", 256, boundaries=1, documents=1, size=len(tokens))


@given(tokens=st.lists(st.integers(0, 65_535), min_size=1), where=st.integers(0, 50))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[int], where: int
) -> None:
    path = tmp_path_factory.mktemp("shards") / "a.tokens"
    written = write(path, tokens)
    shards = Shards.open(path)
    assert shards == written
    assert shards.array().tolist() == tokens
    assert shards.tokens == len(tokens)
    start = min(where, len(tokens))
    assert shards.read(start, len(tokens) - start).tolist() == tokens[start:]
    shards.verify()


def test_view_is_read_only_and_reading_is_bounded(tmp_path: Path) -> None:
    shards = write(tmp_path / "a.tokens", [1, 2, 3])
    with pytest.raises(ValueError, match="read-only"):
        shards.array()[0] = 5
    for start, length in ((0, 4), (3, 1), (-1, 1)):
        with pytest.raises(CorpusError, match="has 3 tokens"):
            shards.read(start, length)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "its header says"),
        (lambda raw: raw + b"x", "its header says"),
        (lambda raw: raw[:100], "does not begin with the header"),
        (lambda _: b"", "does not begin with the header"),
        (lambda raw: b"x" + raw[1:], "does not begin with the header"),
        (lambda raw: raw.replace(b"scalelab-tokens", b"something-else!"), "does not begin"),
        (lambda raw: raw.replace(b'"<u2"', b'"<f8"'), "does not begin with the header"),
        (lambda raw: raw.replace(b'"version": 1', b'"version": 9'), "has format 9"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "a.tokens"
    write(path, list(range(100)))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CorpusError, match=message) as caught:
        Shards.open(path)
    assert "a.tokens" in str(caught.value)


def test_changed_tokens_are_found_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    write(path, list(range(100)))
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES + 7] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorpusError, match="are not those that were written"):
        Shards.open(path).verify()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read the tokens"):
        Shards.open(tmp_path / "none.tokens")

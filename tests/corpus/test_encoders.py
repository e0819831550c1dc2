"""Bytes and tokenizers: what goes in comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_samples import text

from scalelab.corpus.encoders import BytesEncoder, FileEncoder, dtype_for, load_tokenizer, train_bpe
from scalelab.errors import CorpusError

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def bpe() -> FileEncoder:
    return train_bpe(400, [text(number).encode() for number in range(20)])


@given(st.text(max_size=100))
def test_bytes_are_tokens(content: str) -> None:
    (tokens,) = BytesEncoder().encode([content.encode()])
    assert tokens.tobytes().decode() == content


@given(content=st.text(max_size=100))
def test_bpe_round_trip_of_any_text(bpe: FileEncoder, content: str) -> None:
    (tokens,) = bpe.encode([content.encode()])
    assert bpe._tokenizer.decode(tokens.tolist(), skip_special_tokens=False) == content
    assert bpe.boundary not in tokens


def test_bpe_is_the_same_each_time_and_compresses(bpe: FileEncoder) -> None:
    again = train_bpe(400, [text(number).encode() for number in range(20)])
    other = train_bpe(400, [text(number).encode() for number in range(21)])
    assert again.name == bpe.name
    assert other.name != bpe.name
    assert bpe.name.startswith("bpe:400@")
    raw = text(99).encode()
    assert len(bpe.encode([raw])[0]) < len(raw) / 2


def test_separator_inside_a_text_is_text(bpe: FileEncoder) -> None:
    (tokens,) = bpe.encode([b"a <|doc|> b"])
    assert bpe.boundary not in tokens


def test_saved_tokenizer_is_the_same(bpe: FileEncoder, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.vocabulary == bpe.vocabulary
    assert np.array_equal(loaded.encode([b"the loss"])[0], bpe.encode([b"the loss"])[0])


def test_truncation_and_special_tokens_of_a_file_are_set_aside(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "</s>": 1, "loss": 7}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", 1)]
    )
    path = tmp_path / "words.json"
    tokenizer.save(str(path))
    encoder = load_tokenizer(path)
    assert encoder.encode([b"loss what loss loss"])[0].tolist() == [7, 0, 7, 7]
    assert (encoder.vocabulary, encoder.boundary, encoder.unknown) == (8, 1, 0)


@pytest.mark.parametrize("content", ["", "{}", "not json", json.dumps({"model": {"type": "no"}})])
def test_bad_tokenizer_files(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(CorpusError, match="is not a tokenizer"):
        load_tokenizer(path)


def test_missing_tokenizer_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read the tokenizer .*nope"):
        load_tokenizer(tmp_path / "nope")


def test_smallest_type() -> None:
    sizes = {n: dtype_for(n).itemsize for n in (256, 257, 65_536, 65_537)}
    assert sizes == {256: 1, 257: 2, 65_536: 2, 65_537: 4}

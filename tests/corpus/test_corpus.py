"""What a corpus says of itself, and what is refused in a spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_samples import write_documents

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.errors import CorpusError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    books = write_documents(folder / "books", range(60))
    return prepare(CorpusSpec(paths=(str(books),)), folder)


def test_require(corpus: Corpus) -> None:
    tokens = corpus.train.tokens
    assert corpus.require(tokens) is None
    notice = corpus.require(3 * tokens)
    assert notice is not None
    assert notice.code == "repeated-text"
    assert "read 3.0 times" in notice.message
    with pytest.raises(CorpusError, match="at most 4 passes"):
        corpus.require(5 * tokens)
    assert corpus.require(5 * tokens, epochs=10) is not None


def test_facts(corpus: Corpus) -> None:
    facts = corpus.facts()
    assert facts["text"] == "books"
    assert facts["tokenizer"] == "bytes, vocabulary 256"
    assert facts["bytes per token"] == "1"
    assert facts["duplicates removed"] == "0 documents, 0 bytes"
    counts = [int(part.split()[1]) for part in facts["documents"].split(", ")]
    assert sum(counts) == 60


def test_load_refuses_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not a prepared corpus"):
        Corpus.load(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"paths": ("a",), "hf": "b"}, "a corpus is one of them"),
        ({"paths": ("",)}, "one of the paths is empty"),
        ({"hf": ""}, "name of the hub data set is empty"),
        ({"separator": " "}, "separator is blank"),
        ({"limit_bytes": 0}, "limit_bytes is 0"),
        ({"valid_fraction": 0.5}, "valid_fraction is 0.5"),
        ({"test_fraction": 0}, "test_fraction is 0"),
        ({"tokenizer": "bpe:many"}, "expected bpe:SIZE"),
        ({"tokenizer": "bpe:100"}, "from 258"),
    ],
)
def test_specs_that_cannot_be_meant(fields: dict[str, object], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        CorpusSpec(**fields)  # type: ignore[arg-type]

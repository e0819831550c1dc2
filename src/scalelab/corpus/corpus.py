"""A prepared corpus: three files of tokens and a record, in one folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalelab import schema
from scalelab.corpus.pieces import SPLITS, shown
from scalelab.corpus.shards import Shards
from scalelab.errors import CorpusError, Notice
from scalelab.schema import Count, Whole
from scalelab.units import format_count

RECORD = "corpus.json"
GOOD_EPOCHS = 4
"""Passes over the same text that are nearly as good as new text. (paper: Muennighoff et al. 2023,
section 6)"""


@dataclass(frozen=True)
class _Record:
    """What corpus.json holds; see `Corpus`."""

    name: str
    tokenizer: str
    vocabulary: Whole
    boundary: Count | None
    duplicates: Count
    duplicate_bytes: Count
    notices: tuple[Notice, ...]
    fingerprint: str


@dataclass(frozen=True)
class Corpus:
    """Text as tokens on disk.

    folder: where it is. name: of the text, for people. tokenizer: its name, equal only for equal
    tokenizers. vocabulary: number of different tokens. boundary: the token after each document, or
    None. bytes_per_token: of UTF-8 text on the validation split, boundaries aside. fingerprint: a
    hash of all tokens and the tokenizer. duplicates, duplicate_bytes: copies of documents removed.
    notices: what a reader of any result on it should know. train, valid, test: the tokens.
    """

    folder: Path
    name: str
    tokenizer: str
    vocabulary: int
    boundary: int | None
    duplicates: int
    duplicate_bytes: int
    notices: tuple[Notice, ...]
    train: Shards
    valid: Shards
    test: Shards

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Open a prepared corpus: headers and lengths are checked, tokens are not read.

        Raises CorpusError for a folder that is no corpus, or damaged.
        """
        path = folder / RECORD
        try:
            record = schema.read(_Record, json.loads(path.read_text(encoding="utf-8")))
            shards = [Shards.open(folder / f"{split}.tokens") for split in SPLITS]
            corpus = cls(
                folder=folder,
                name=record.name,
                tokenizer=record.tokenizer,
                vocabulary=record.vocabulary,
                boundary=record.boundary,
                duplicates=record.duplicates,
                duplicate_bytes=record.duplicate_bytes,
                notices=record.notices,
                train=shards[0],
                valid=shards[1],
                test=shards[2],
            )
        except OSError as error:
            raise CorpusError(
                f"{shown(folder)} is not a prepared corpus: cannot read {RECORD}: {error.strerror}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{shown(path)} is damaged ({error}). Delete the folder {shown(folder)} and "
                "prepare the text again."
            ) from error
        if record.fingerprint != corpus.fingerprint:
            raise CorpusError(
                f"the files in {shown(folder)} do not belong together. Delete the folder and "
                "prepare the text again."
            )
        return corpus

    @property
    def shards(self) -> tuple[Shards, Shards, Shards]:
        """Train, valid, test."""
        return self.train, self.valid, self.test

    @property
    def fingerprint(self) -> str:
        """Hash of the tokens and the tokenizer: equal for equal corpora wherever they lie."""
        parts = [shards.header.sha256 for shards in self.shards]
        return hashlib.sha256(
            "|".join([self.tokenizer, str(self.vocabulary), *parts]).encode()
        ).hexdigest()

    @property
    def bytes_per_token(self) -> float:
        """Bytes of UTF-8 text per token on the validation split: 1 for bytes.

        Bits per byte = loss in nats per token / (ln 2 x bytes per token).
        """
        header = self.valid.header
        return header.bytes / max(1, header.tokens - header.boundaries)

    def save(self) -> None:
        """Write the record; the tokens are there already."""
        record: dict[str, Any] = {
            "name": self.name,
            "tokenizer": self.tokenizer,
            "vocabulary": self.vocabulary,
            "boundary": self.boundary,
            "duplicates": self.duplicates,
            "duplicate_bytes": self.duplicate_bytes,
            "notices": [vars(notice) for notice in self.notices],
            "fingerprint": self.fingerprint,
        }
        (self.folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")

    def verify(self) -> None:
        """Read every token and compare with the hashes; CorpusError when one differs."""
        for shards in self.shards:
            shards.verify()

    def require(self, train_tokens: int, *, epochs: float = GOOD_EPOCHS) -> Notice | None:
        """Whether training on `train_tokens` tokens makes sense here.

        Returns None when one pass has them, a notice when up to `epochs` passes do. Raises
        CorpusError beyond that: a law fitted to repeated text is not one of new text.
        """
        passes = train_tokens / max(1, self.train.tokens)
        if passes <= 1:
            return None
        seen = (
            f"{format_count(train_tokens)} training tokens are asked for; {self.name} has "
            f"{format_count(self.train.tokens)}, so they are read {passes:.1f} times"
        )
        if passes > epochs:
            raise CorpusError(
                f"{seen}; at most {epochs:g} passes are allowed. Give more text or train on less."
            )
        return Notice(
            "repeated-text",
            f"{seen}. Up to {GOOD_EPOCHS} passes cost little (Muennighoff et al. 2023), but the "
            "data term of a fit is then not that of new text.",
        )

    def facts(self) -> dict[str, str]:
        """What a report says of the corpus: names and values, in order."""

        def each(field: str) -> str:
            values = (format_count(getattr(shards, field)) for shards in self.shards)
            return ", ".join(f"{name} {n}" for name, n in zip(SPLITS, values, strict=True))

        return {
            "text": self.name,
            "documents": each("documents"),
            "bytes": each("bytes"),
            "tokens": each("tokens"),
            "duplicates removed": f"{format_count(self.duplicates)} documents, "
            f"{format_count(self.duplicate_bytes)} bytes",
            "tokenizer": f"{self.tokenizer}, vocabulary {self.vocabulary:,}",
            "bytes per token": f"{self.bytes_per_token:.3g}",
            "fingerprint": self.fingerprint[:12],
        }

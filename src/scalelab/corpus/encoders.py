"""From text to token numbers: bytes, or a tokenizer of the `tokenizers` library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from scalelab.corpus.pieces import shown
from scalelab.errors import CorpusError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tokens = NDArray[np.unsignedinteger]

BOUNDARY = "<|doc|>"
BOUNDARIES = (BOUNDARY, "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]", "<s>")
"""Tokens that may stand between documents, the first that a tokenizer has is taken."""


class Encoder(Protocol):
    """What turns text into tokens.

    name: says which token means what, equal only for equal tokenizers. boundary: the token after
    each document, None where the tokenizer has none. unknown: the token of text that it cannot
    express, None where it can express all.
    """

    name: str
    vocabulary: int
    boundary: int | None
    unknown: int | None

    def encode(self, texts: list[bytes]) -> list[Tokens]:
        """The tokens of each text (valid UTF-8)."""

    def save(self, folder: Path) -> None:
        """Write what is needed to decode."""


class BytesEncoder:
    """Each byte of UTF-8 is a token. Byte 0, which no text holds, ends a document."""

    name = "bytes"
    vocabulary = 256
    boundary: int | None = 0
    unknown: int | None = None

    def encode(self, texts: list[bytes]) -> list[Tokens]:
        """The bytes themselves."""
        return [np.frombuffer(text, dtype=np.uint8) for text in texts]

    def save(self, folder: Path) -> None:
        """Nothing to write."""


class FileEncoder:
    """A tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        """name: for people; a part of the hash of its definition is added."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        digest = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
        self.name = f"{name}@{digest[:8]}"
        # Numbers may have gaps; the table of embeddings must reach the highest.
        self.vocabulary = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        found = (tokenizer.token_to_id(token) for token in BOUNDARIES)
        self.boundary = next((number for number in found if number is not None), None)
        unknown = getattr(tokenizer.model, "unk_token", None)
        self.unknown = tokenizer.token_to_id(unknown) if unknown else None
        # "<|doc|>" inside a text is seven characters, not the end of the document.
        tokenizer.encode_special_tokens = True
        self._dtype = dtype_for(self.vocabulary)

    def encode(self, texts: list[bytes]) -> list[Tokens]:
        """The tokens of each text, in parallel over texts, without special tokens."""
        encoded = self._tokenizer.encode_batch_fast(
            [text.decode() for text in texts], add_special_tokens=False
        )
        return [np.array(text.ids, dtype=self._dtype) for text in encoded]

    def save(self, folder: Path) -> None:
        """Write tokenizer.json."""
        (folder / "tokenizer.json").write_text(self._tokenizer.to_str(), encoding="utf-8")


def dtype_for(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """The smallest little-endian unsigned type that holds every token."""
    return np.dtype("<u1" if vocabulary <= 1 << 8 else "<u2" if vocabulary <= 1 << 16 else "<u4")


def load_tokenizer(path: Path) -> FileEncoder:
    """The tokenizer of a tokenizer.json; CorpusError when it is not there or is none."""
    _need_tokenizers(f"the tokenizer {shown(path)}")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        vocabulary = tokenizer.get_vocab_size()
    except OSError as error:
        raise CorpusError(
            f"cannot read the tokenizer {shown(path)}: {error.strerror}. Expected is bytes, "
            "bpe:SIZE, or the path of a tokenizer.json."
        ) from error
    except Exception as error:  # the library raises bare Exception for what it cannot parse
        raise CorpusError(
            f"{shown(path)} is not a tokenizer.json of the tokenizers library: {error}"
        ) from error
    if not vocabulary:
        raise CorpusError(f"the tokenizer {shown(path)} has an empty vocabulary.")
    return FileEncoder(tokenizer, "/".join(path.resolve().parts[-2:]))


def train_bpe(size: int, texts: Iterable[bytes]) -> FileEncoder:
    """Byte-level byte-pair encoding (Radford et al. 2019, section 2.2) with `size` tokens.

    It can express every text. texts: of the training split only. A text with too few pairs to
    merge gives fewer tokens than asked for.
    """
    _need_tokenizers(f"the tokenizer bpe:{size}")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[BOUNDARY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    decoded: Iterator[str] = (text.decode() for text in texts)
    tokenizer.train_from_iterator(decoded, trainer)
    return FileEncoder(tokenizer, f"bpe:{size}")


def _need_tokenizers(wanted: str) -> None:
    try:
        import tokenizers  # noqa: F401
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"{wanted} needs the package tokenizers: pip install 'scalelab[train]', or use bytes."
        ) from error

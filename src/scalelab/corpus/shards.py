"""Tokens of a split on disk: one file, a header of 1,024 bytes, then little-endian numbers.

The header is a line of JSON padded with spaces: it can be read with `head -c 1024`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalelab import schema
from scalelab.corpus.encoders import Tokens
from scalelab.corpus.pieces import PIECE, shown
from scalelab.errors import CorpusError
from scalelab.schema import Count

MAGIC = "scalelab-tokens"
VERSION = 1
HEADER_BYTES = 1024


@dataclass(frozen=True)
class Header:
    """What a shard says of itself.

    tokens: how many. boundaries: how many of them stand between documents. bytes: of the text.
    documents: how many, or blocks of documents. sha256: of the tokens as stored.
    """

    tokenizer: str
    vocabulary: Count
    dtype: Literal["<u1", "<u2", "<u4"]
    tokens: Count
    boundaries: Count
    documents: Count
    bytes: Count
    sha256: str


@dataclass(frozen=True)
class Shards:
    """The tokens of a split, memory-mapped when asked for."""

    path: Path
    header: Header

    @classmethod
    def open(cls, path: Path) -> Shards:
        """Read the header and compare it with the length of the file.

        Raises CorpusError for a file that is missing, of another kind, truncated or too long.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(HEADER_BYTES)
                length = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise CorpusError(f"cannot read the tokens {shown(path)}: {error.strerror}.") from error
        header = _parse(raw, path)
        expected = HEADER_BYTES + header.tokens * np.dtype(header.dtype).itemsize
        if length != expected:
            raise CorpusError(
                f"{shown(path)} is {length:,} bytes; its header says {expected:,}. It is damaged: "
                f"delete the folder {shown(path.parent)} and prepare the text again."
            )
        return cls(path, header)

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.header.tokens

    @property
    def documents(self) -> int:
        """Number of documents (of blocks, where documents were cut)."""
        return self.header.documents

    @property
    def bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return self.header.bytes

    def array(self) -> Tokens:
        """All tokens, (tokens,) uint8, uint16 or uint32: a read-only view of the file."""
        return np.memmap(
            self.path, self.header.dtype, "r", offset=HEADER_BYTES, shape=(self.tokens,)
        )

    def read(self, start: int, length: int) -> Tokens:
        """Tokens start to start + length, copied; CorpusError when they are not all there."""
        if min(start, length) < 0 or start + length > self.tokens:
            raise CorpusError(
                f"{shown(self.path)} has {self.tokens:,} tokens; {length:,} from {start:,} were "
                "asked for."
            )
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES + start * np.dtype(self.header.dtype).itemsize)
            return np.fromfile(file, self.header.dtype, length)

    def verify(self) -> None:
        """Read it all; CorpusError when the content is not what was written."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES)
            while chunk := file.read(PIECE):
                digest.update(chunk)
        if digest.hexdigest() != self.header.sha256:
            raise CorpusError(
                f"the tokens in {shown(self.path)} are not those that were written. Delete the "
                f"folder {shown(self.path.parent)} and prepare the text again."
            )


class ShardWriter:
    """Writes a shard: tokens as they come, the header at the end."""

    def __init__(self, path: Path, dtype: np.dtype[np.unsignedinteger]) -> None:
        """path: a file to make, in a folder that is not yet in use."""
        self._path, self._dtype = path, dtype
        self._file = path.open("wb")
        self._file.write(b" " * HEADER_BYTES)
        self._digest = hashlib.sha256()
        self.tokens = 0

    def write(self, tokens: NDArray[Any]) -> None:
        """Append tokens."""
        content = tokens.astype(self._dtype, copy=False).tobytes()
        self._file.write(content)
        self._digest.update(content)
        self.tokens += len(tokens)

    def finish(
        self, tokenizer: str, vocabulary: int, *, boundaries: int, documents: int, size: int
    ) -> Shards:
        """Write the header and sync. size: bytes of the text."""
        dtypes: dict[int, Literal["<u1", "<u2", "<u4"]] = {1: "<u1", 2: "<u2", 4: "<u4"}
        header = Header(
            tokenizer,
            vocabulary,
            dtypes[self._dtype.itemsize],
            self.tokens,
            boundaries,
            documents,
            size,
            self._digest.hexdigest(),
        )
        line = json.dumps({"magic": MAGIC, "version": VERSION, **asdict(header)}).encode()
        if len(line) >= HEADER_BYTES:
            raise CorpusError(f"the name of the tokenizer, {tokenizer!r}, is too long.")
        self._file.seek(0)
        self._file.write(line.ljust(HEADER_BYTES - 1) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return Shards(self._path, header)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()


def _parse(raw: bytes, path: Path) -> Header:
    try:
        fields = json.loads(raw)
        if fields.pop("magic") != MAGIC:
            raise ValueError("another kind of file")
        if (version := fields.pop("version")) != VERSION:
            raise CorpusError(
                f"{shown(path)} has format {version}, this scalelab reads {VERSION}. Delete the "
                f"folder {shown(path.parent)} and prepare the text again."
            )
        header = schema.read(Header, fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(
            f"{shown(path)} does not begin with the header of a token file. It is damaged: delete "
            f"the folder {shown(path.parent)} and prepare the text again."
        ) from error
    return header

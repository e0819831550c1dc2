"""All documents in one file on disk, with an index of 33 bytes a document in memory.

A source is read once (it may be a download, or compressed); removing duplicates, splitting,
training a tokenizer and encoding then work from here, and none of them holds the text.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalelab.corpus.pieces import PIECE, SPLITS, Piece, Split, Tally, clean, cut

UNSPLIT = len(SPLITS)
"""Code of a document that no split was given for; the others are places in SPLITS."""


@dataclass(frozen=True)
class Documents:
    """The index, one row a document: arrays of equal length, in the order of the text.

    key: (n, 2) uint64, a hash of the text. offset, length: int64, bytes in the spool.
    split: int8, place in SPLITS or UNSPLIT. continues: bool, whether the row before is the text
    right before this one in the same document (only where documents were cut into blocks).
    """

    key: NDArray[np.uint64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    split: NDArray[np.int8]
    continues: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.length)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Documents:
        """Those rows, by mask or index."""
        return Documents(
            self.key[rows],
            self.offset[rows],
            self.length[rows],
            self.split[rows],
            self.continues[rows],
        )


def text_key(text: bytes) -> bytes:
    """The 16-byte hash by which texts are compared."""
    return hashlib.blake2b(text, digest_size=16).digest()


class Spool:
    """The file of documents: written by `add`, then indexed by `documents` and read back."""

    def __init__(self, path: Path) -> None:
        """path: a file to make; the caller removes it."""
        self._file = path.open("w+b")
        self.bytes = 0
        self._keys = bytearray()
        self._offsets, self._lengths, self._splits = array("q"), array("q"), array("b")
        self._start()

    def _start(self) -> None:
        self._begin, self._hash = self.bytes, hashlib.blake2b(digest_size=16)
        self._held, self._mended = b"", False

    def add(self, piece: Piece, split: Split | None, tally: Tally) -> None:
        """Append a piece; documents that are empty but for line feeds leave nothing.

        Line feeds around a document are dropped: a copy is a copy however its file ends.
        """
        text, mended = clean(piece.text)
        if self.bytes == self._begin:
            text = text.lstrip(b"\n")
        text = self._held + text
        kept = text.rstrip(b"\n")
        self._held = text[len(kept) :]
        self._file.write(kept)
        self._hash.update(kept)
        self.bytes += len(kept)
        if mended and not self._mended:
            self._mended = True
            tally.add("not-utf-8", piece.source)
        if piece.ends:
            if self.bytes > self._begin:
                self._keys += self._hash.digest()
                self._offsets.append(self._begin)
                self._lengths.append(self.bytes - self._begin)
                self._splits.append(UNSPLIT if split is None else SPLITS.index(split))
            self._start()

    def documents(self) -> Documents:
        """The index of what was added."""
        return Documents(
            np.frombuffer(bytes(self._keys), dtype="<u8").reshape(-1, 2),
            np.array(self._offsets, dtype=np.int64),
            np.array(self._lengths, dtype=np.int64),
            np.array(self._splits, dtype=np.int8),
            np.zeros(len(self._lengths), dtype=np.bool_),
        )

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the spool."""
        self._file.seek(offset)
        return self._file.read(length)

    def blocks(self, offset: int, length: int, size: int) -> Iterator[bytes]:
        """A text cut at blank lines, else lines, into parts of half of `size` to `size` bytes."""
        end = offset + length
        while offset < end:
            text = self.read(offset, min(size, end - offset))
            if offset + len(text) < end:
                text = text[: cut(text)]
            yield text
            offset += len(text)

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """A text as it is, a piece at a time."""
        for start in range(offset, offset + length, PIECE):
            yield self.read(start, min(PIECE, offset + length - start))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

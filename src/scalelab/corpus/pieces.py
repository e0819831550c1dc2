"""Text on its way in: pieces of documents, where to cut them, and what was passed over.

A document may be larger than memory, so that it travels as pieces of bounded size.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from scalelab.errors import Notice
from scalelab.units import format_count

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

PIECE = 1 << 20
"""Bytes read at a time: bounds the memory that one document takes. (assumed)"""


class Piece(NamedTuple):
    """A part of a document. ends: the document ends with it. source: file or record, to name."""

    text: bytes
    ends: bool
    source: str


def clean(text: bytes) -> tuple[bytes, bool]:
    """Valid UTF-8 without NUL and with line feeds only, and whether characters were replaced.

    NUL is taken out because byte 0 is the boundary between documents for byte tokens.
    """
    mended = False
    try:
        text.decode()
    except UnicodeDecodeError:
        text, mended = text.decode(errors="replace").encode(), True
    if b"\0" in text:
        text, mended = text.replace(b"\0", "\N{REPLACEMENT CHARACTER}".encode()), True
    return text.replace(b"\r\n", b"\n"), mended


def cut(text: bytes) -> int:
    """Where to end a block at or before the end of `text`, which goes on after it.

    After the last blank line of its second half, else the last line, else the last character.
    """
    for mark in (b"\n\n", b"\n"):
        place = text.rfind(mark, len(text) // 2)
        if place >= 0:
            return place + len(mark)
    return whole_characters(text)


def whole_characters(text: bytes) -> int:
    """Length of the longest beginning of `text` that does not end inside a UTF-8 character."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:  # the first byte of a character that needs 2, 3 or 4
            needs = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(text) - back if back < needs else len(text)
    return len(text)


def shown(path: Path | str) -> str:
    """A path that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="replace")


_MEANING = {
    "not-text": "{count} files were passed over: their content is binary, or text in another "
    "encoding than UTF-8 (first: {first}). Convert them to UTF-8 if they should be read.",
    "unknown-suffix": "{count} files were passed over: {first} and the like are not known as "
    "text. A file that is named itself, not by its folder, is read whatever its suffix.",
    "not-utf-8": "{count} documents held bytes that are not UTF-8 text; each became U+FFFD "
    "(first: {first}). Convert them if that is much of the text.",
    "no-text-record": "{count} records held no text and were passed over (first: {first}).",
}


@dataclass
class Tally:
    """What was passed over or mended while reading, counted, with the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, example: str) -> None:
        """Count one; `code` is one of those that `notices` can explain."""
        self.counts[code] += 1
        self.first.setdefault(code, example)

    def notices(self) -> tuple[Notice, ...]:
        """One named warning for each kind that was seen."""
        return tuple(
            Notice(code, text.format(count=format_count(self.counts[code]), first=self.first[code]))
            for code, text in _MEANING.items()
            if self.counts[code]
        )

"""Documents out of files: plain text, JSON lines or Parquet, as they are or compressed."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scalelab.corpus.listing import TextFile
from scalelab.corpus.pieces import PIECE, Piece, Tally, shown, whole_characters
from scalelab.corpus.spec import CorpusSpec
from scalelab.errors import CorpusError

BINARY_SHARE = 0.05
"""A file with more NULs and undecodable bytes than this in its first piece is not text. Latin-1
prose has 1 to 3 per cent of them, UTF-16 and compressed data above 30. (assumed)"""
DEFAULT_SEPARATORS = ("<|doc|>", "<|endoftext|>")
BATCH_BYTES = 64 << 20
"""Text of a Parquet file held at a time, about. (assumed)"""


def read(file: TextFile, spec: CorpusSpec, tally: Tally) -> Iterator[Piece]:
    """The documents of one file, streamed in pieces.

    Raises CorpusError naming the file (and line) when it cannot be read to its end.
    """
    source = shown(file.path)
    try:
        if file.kind == ".parquet":
            yield from _parquet(file.path, spec.text_field, source, tally)
            return
        with open_bytes(file.path, file.packed) as stream:
            if file.kind in (".jsonl", ".ndjson"):
                yield from _json_lines(stream, spec.text_field, source, tally)
            else:
                yield from _plain(stream, separator_pattern(spec.separator), source, tally)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(
            f"{source} cannot be read to its end: {error}. Replace it by a whole copy, or take it "
            "out of the paths."
        ) from error


def open_bytes(path: Path, packed: str) -> IO[bytes]:
    """The content of a file, decompressed as it is read. packed: ``.gz``, ``.zst`` or empty."""
    if packed == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"), PIECE)
    if packed == ".zst":
        return io.BufferedReader(_Zstandard(path), PIECE)
    return path.open("rb")


class _Zstandard(io.RawIOBase):
    """A .zst file of any number of frames; one that ends inside a frame is an EOFError, which
    the package's own reader passes over in silence.
    """

    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ModuleNotFoundError as error:
            raise CorpusError(
                f"{shown(path)} is compressed with Zstandard: pip install 'scalelab[train]' to "
                "read it."
            ) from error
        # Archives made with --long need windows up to 2 GiB.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._error = zstandard.ZstdError
        self._file = path.open("rb")
        self._frame: Any = None
        self._packed = b""
        self._text = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._text:
            if not self._packed:
                self._packed = self._file.read(1 << 16)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the file ends inside a compressed frame")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                self._text = memoryview(self._frame.decompress(self._packed))
            except self._error as error:
                raise OSError(f"not valid Zstandard: {error}") from error
            self._packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        super().close()


def separator_pattern(separator: str | None) -> re.Pattern[bytes]:
    """Matches a whole line that separates documents."""
    names = DEFAULT_SEPARATORS if separator is None else (separator,)
    lines = b"|".join(re.escape(name.strip().encode()) for name in names)
    return re.compile(rb"^(?:" + lines + rb")[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


def _plain(
    stream: IO[bytes], pattern: re.Pattern[bytes], source: str, tally: Tally
) -> Iterator[Piece]:
    rest = stream.read(PIECE)
    if looks_binary(rest):
        tally.add("not-text", source)
        return
    rest = rest.removeprefix(b"\xef\xbb\xbf")
    while True:
        more = stream.read(PIECE)
        text, rest = rest, more
        if more:  # a separator line must not be torn apart
            place = text.rfind(b"\n") + 1
            if not place and len(text) < PIECE:
                rest = text + more
                continue
            place = place or whole_characters(text)
            text, rest = text[:place], text[place:] + more
        *ended, last = pattern.split(text)
        for part in ended:
            yield Piece(part, True, source)
        yield Piece(last, not more, source)
        if not more:
            return


def looks_binary(head: bytes) -> bool:
    """Whether the beginning of a file is not UTF-8 text, a few stray bytes allowed."""
    head = head[: whole_characters(head)]
    odd = head.count(b"\0")
    try:
        head.decode()
    except UnicodeDecodeError:
        odd += head.decode(errors="replace").count("\N{REPLACEMENT CHARACTER}")
    return odd > BINARY_SHARE * len(head)


def _json_lines(stream: IO[bytes], field: str, source: str, tally: Tally) -> Iterator[Piece]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        where = f"{source} line {number}"
        try:
            record = json.loads(line.decode("utf-8-sig", errors="replace"))
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{where} is not JSON: {error}. A .jsonl file holds one JSON object a line."
            ) from error
        yield from piece_of(record, field, where, tally)


def piece_of(record: object, field: str, where: str, tally: Tally) -> Iterator[Piece]:
    """The text of a record, or nothing when it is null or blank (counted).

    Raises CorpusError naming the fields seen when there is no such field or it is not text.
    """
    if not isinstance(record, dict):
        raise CorpusError(f"{where} is {type(record).__name__}; an object with fields is expected.")
    if field not in record:
        raise CorpusError(
            f"{where} has no field {field!r}; it has: {', '.join(map(str, record)) or 'none'}. "
            "Name the field that holds the text with --text-field."
        )
    text = record[field]
    if text is not None and not isinstance(text, str):
        raise CorpusError(
            f"{where}: the field {field!r} holds {type(text).__name__}; text is expected. Name "
            f"another with --text-field; there are: {', '.join(map(str, record))}."
        )
    if text is None or not text.strip():
        tally.add("no-text-record", where)
    else:
        yield Piece(text.encode(errors="surrogatepass"), True, where)


def _parquet(path: Path, field: str, source: str, tally: Tally) -> Iterator[Piece]:
    import polars as pl

    try:
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
        if schema.get(field) not in (pl.String, pl.Categorical, pl.Enum):
            seen = ", ".join(f"{name} ({kind})" for name, kind in schema.items())
            raise CorpusError(
                f"{source} has no column {field!r} of text; it has: {seen}. Name the column that "
                "holds the text with --text-field."
            )
        column = frame.select(pl.col(field).cast(pl.String))
        rows = frame.select(pl.len()).collect().item()
        # Text takes about three times its compressed size; a slice decodes its row group.
        at_once = max(1, int(rows * BATCH_BYTES / (3 * path.stat().st_size + 1)))
        for start in range(0, rows, at_once):
            texts = column.slice(start, at_once).collect().to_series()
            for number, text in enumerate(texts, start=start):
                yield from piece_of({field: text}, field, f"{source} row {number}", tally)
    except pl.exceptions.PolarsError as error:
        raise CorpusError(f"{source} is not readable Parquet: {error}.") from error

"""Bytes on disk to text: compression by its magic number, encoding by its byte order mark."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path, PurePosixPath

from scalelab.errors import TableError

DELIMITED = (".csv", ".tsv", ".tab", ".txt", ".dat")
JSON_LINES = (".jsonl", ".ndjson")
BINARY = (".parquet", ".feather", ".arrow")
TEXT = (".md", ".markdown", ".org", ".rst", ".tex", ".log", ".out")
"""Texts that may hold a table or a run's log; in a folder they are no tables of their own."""
SUFFIXES = (*DELIMITED, ".json", *JSON_LINES, *BINARY)
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
MOST_BYTES = 1 << 29
"""That a packed file is unpacked to: a small one may hold more than the memory (assumed)."""
_PIECE = 1 << 10  # bytes of .zst unpacked at once: each four may stand for 128 KiB
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
_SAVE_AS = {
    ".xlsx": "Save the sheet as CSV (UTF-8).",
    ".xls": "Save the sheet as CSV (UTF-8).",
    ".ods": "Save the sheet as CSV (UTF-8).",
    ".zip": "Unpack it.",
    ".tar": "Unpack it.",
    ".pkl": "Write the frame with to_csv or to_parquet.",
    ".npz": "Write the arrays as the columns of a CSV.",
    ".html": "Copy the table into a spreadsheet and save it as CSV (UTF-8).",
    ".htm": "Copy the table into a spreadsheet and save it as CSV (UTF-8).",
    ".docx": "Copy the table into a spreadsheet and save it as CSV (UTF-8).",
    ".pdf": "Copy the table into a spreadsheet, compare it with the page, save it as CSV (UTF-8).",
    ".ipynb": "Write the frame with to_csv or to_parquet.",
}


def table_suffix(path: Path) -> str:
    """The suffix that says what the file holds: ``.csv`` of ``runs.csv.gz``; empty if none does."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in (*SUFFIXES, *TEXT) else ""


def run_of(name: str) -> str:
    """The run that a file is of: ``run7`` of ``run7.json.gz`` and of ``run7/result.json``."""
    first = PurePosixPath(name).parts[0] if name else name
    while (path := PurePosixPath(first)).suffix.lower() in (*SUFFIXES, *TEXT, *COMPRESSED):
        first = path.stem
    return first


def read_bytes(path: Path) -> tuple[str, bytes]:
    """The suffix that tells the format, and the content, unpacked where it is compressed.

    Raises TableError when the suffix tells nothing, or the file cannot be read or unpacked.
    """
    suffix = table_suffix(path)
    if not suffix and not path.is_dir() and path.suffix.lower() not in COMPRESSED:
        seen = path.suffix.lower()
        advice = f" {_SAVE_AS[seen]}" if seen in _SAVE_AS else ""
        raise TableError(
            f"{path}: a table of runs is one of {', '.join(SUFFIXES)} (or one of these with "
            f"{', '.join(COMPRESSED)}); seen {seen or 'no suffix'}.{advice}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}).") from error
    found = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")
    said = path.suffix.lower()
    if said in COMPRESSED and data and found != said:
        raise TableError(f"{path.name}: not a {said} file. Was it unpacked, and kept its name?")
    if not suffix:
        raise TableError(f"{path}: the name does not say what is packed; name it like runs.csv.gz.")
    return suffix, _unpacked(path.name, data, found) if found else data


def _unpacked(name: str, data: bytes, kind: str) -> bytes:
    try:
        match kind:
            case ".gz":
                return _bounded(name, gzip.GzipFile(fileobj=io.BytesIO(data)))
            case ".bz2":
                return _bounded(name, bz2.BZ2File(io.BytesIO(data)))
            case ".xz":
                return _bounded(name, lzma.LZMAFile(io.BytesIO(data)))
            case _:
                return _zstd(name, data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise TableError(f"{name}: cannot be unpacked ({error}). Is the file whole?") from error


def _bounded(name: str, stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile) -> bytes:
    """All of a stream that unpacks, unless it is more than a table can be."""
    found = stream.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise _too_large(name)
    return found


def _too_large(name: str) -> TableError:
    return TableError(
        f"{name}: it unpacks to more than {MOST_BYTES >> 20} MiB, too much for a table of runs. "
        "Unpack it, and leave out columns or points."
    )


def _zstd(name: str, data: bytes) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise TableError(
            f"{name}: .zst needs zstandard: pip install 'scalelab[train]', or unpack the file."
        ) from None
    found, size, place = [], 0, 0
    frame = None
    try:
        while place < len(data):  # one frame after another, each to its end, by small pieces
            if frame is None:
                frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            piece = data[place : place + _PIECE]
            found.append(frame.decompress(piece))
            size += len(found[-1])
            if size > MOST_BYTES:
                raise _too_large(name)
            place += len(piece)
            if frame.eof:
                place -= len(frame.unused_data)
                frame = None
    except zstandard.ZstdError as error:
        raise ValueError(error) from error
    if frame is not None:
        raise EOFError("it ends inside a compressed frame")
    return b"".join(found)


def decoded(name: str, data: bytes) -> str:
    """Text of UTF-8, or of UTF-16 as spreadsheets export it.

    Raises TableError where it is neither, or is a page or a pointer saved in a table's place.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data[1:2] == b"\0" and data[3:4] == b"\0":
        encoding = "utf-16-le"
    elif data[:1] == b"\0" and data[2:3] == b"\0":
        encoding = "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{name}: byte {error.start} is not {encoding.removesuffix('-sig').upper()} "
            f"(line {line}). Save the table as UTF-8."
        ) from error
    start = text[:200].lstrip().lower()
    if start.startswith(("<!doctype", "<html", "<?xml")):
        raise TableError(f"{name} is a web page, not a table; download the file itself.")
    if start.startswith("version https://git-lfs"):
        raise TableError(f"{name} is a Git LFS pointer, not the file; `git lfs pull` brings it.")
    if not text.strip():
        raise TableError(f"{name} is empty; a header and one row per run are expected.")
    # The oldest of line ends, as some spreadsheets still write it.
    return text if "\n" in text else text.replace("\r", "\n")

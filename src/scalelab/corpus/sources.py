"""Where text comes from: given paths, the hub, or the Python installation itself."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from scalelab.corpus.listing import TextFile, is_about, list_files
from scalelab.corpus.pieces import SPLITS, Piece, Split, Tally, shown
from scalelab.corpus.reading import read
from scalelab.corpus.spec import CorpusSpec
from scalelab.errors import CorpusError
from scalelab.paths import real_path

LEAST_EMBEDDED = 2_000_000
"""Bytes; a Python installation with less source text than this was stripped. (assumed)"""
NOT_LANGUAGE = frozenset(
    (
        *("test", "tests", "idle_test"),  # they repeat the library
        *("encodings",),  # tables of characters
        *("site-packages", "dist-packages", "lib-dynload", "__pycache__"),  # not the library
    )
)
TABLES = frozenset(("entities.py", "stringprep.py"))
"""Modules that are tables of characters. `_sysconfigdata*`, tables of this build, go too."""


@dataclass(frozen=True)
class Stream:
    """Documents of one split as given; split is None where the text does not come split."""

    split: Split | None
    pieces: Callable[[], Iterator[Piece]]


@dataclass(frozen=True)
class Source:
    """Text to be read.

    name: for people. key: changes when the text may have changed. streams: opens it. bytes: size
    on disk, uncompressed, where that is known. tally: what was passed over, filled while reading.
    """

    name: str
    key: str
    streams: Callable[[], Iterator[Stream]]
    bytes: int | None = None
    tally: Tally = field(default_factory=Tally)


def open_source(spec: CorpusSpec) -> Source:
    """The source that a spec names, not yet read; CorpusError when it is not there."""
    if spec.hf is not None:
        from scalelab.corpus.hub import hub_source

        return hub_source(spec)
    tally = Tally()
    if spec.paths:
        files = list_files(spec.paths, tally)
        name = _name_of(spec.paths)
    else:
        files = embedded_files()
        name = f"Python {platform.python_version()} standard library"
    if not files:
        passed_over = "".join(f" {notice.message}" for notice in tally.notices())
        raise CorpusError(
            f"no file of text under {', '.join(spec.paths)}; read are .txt, .md, .py and other "
            f"text, .jsonl and .parquet, also as .gz and .zst.{passed_over}"
        )
    digest = hashlib.sha256()
    total = 0
    for file in files:
        try:
            status = file.path.stat()
        except OSError as error:
            raise CorpusError(f"{shown(file.path)} cannot be read: {error.strerror}.") from error
        total += status.st_size
        digest.update(os.fsencode(file.path.resolve()))
        digest.update(f"|{status.st_size}|{status.st_mtime_ns}|{file.split}\n".encode())
    packed = any(file.packed or file.kind == ".parquet" for file in files)
    return Source(
        name,
        digest.hexdigest(),
        partial(_file_streams, files, spec, tally),
        None if packed else total,
        tally,
    )


def _name_of(paths: tuple[str, ...]) -> str:
    names = [shown(real_path(path).name) for path in paths[:3]]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(names) + more


def _file_streams(files: list[TextFile], spec: CorpusSpec, tally: Tally) -> Iterator[Stream]:
    for split in (*SPLITS, None):
        chosen = [file for file in files if file.split == split]
        if chosen:
            yield Stream(split, partial(_pieces, chosen, spec, tally))


def _pieces(files: list[TextFile], spec: CorpusSpec, tally: Tally) -> Iterator[Piece]:
    return chain.from_iterable(
        _topics(file.path) if _is_topics(file.path, spec) else read(file, spec, tally)
        for file in files
    )


def embedded_files() -> list[TextFile]:
    """Source and documentation text of the standard library that runs this, sorted by path.

    Raises CorpusError when the installation does not hold it.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = []
    total = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - NOT_LANGUAGE)
        for name in sorted(names):
            path = Path(folder, name)
            if (
                path.suffix in (".py", ".txt", ".rst")
                and name not in TABLES
                and not name.startswith("_sysconfigdata")
                and not is_about(name)
                and path.is_file()
            ):
                files.append(TextFile(path, None, path.suffix, ""))
                total += path.stat().st_size
    if total < LEAST_EMBEDDED:
        raise CorpusError(
            f"this Python keeps only {total:,} bytes of source text in {root}; its standard "
            "library was stripped or zipped. Give text of your own: --text PATH ..."
        )
    return files


def _is_topics(path: Path, spec: CorpusSpec) -> bool:
    return not spec.paths and path.parts[-2:] == ("pydoc_data", "topics.py")


def _topics(path: Path) -> Iterator[Piece]:
    """The language reference that `help()` shows: prose, kept by CPython as strings of a dict."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for name, text in ast.literal_eval(node.value).items():
                yield Piece(str(text).encode(), True, f"{shown(path)} topic {name}")

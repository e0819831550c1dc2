"""Which files under the given paths hold text, and which split their names give them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scalelab.corpus.pieces import Split, Tally, shown
from scalelab.errors import CorpusError
from scalelab.paths import home_path

_KNOWN = (
    ".txt .text .md .markdown .rst .adoc .org .tex .bib .srt .vtt .html .htm .xml .xhtml "
    ".py .pyi .c .h .cc .cpp .cxx .hpp .cu .cs .java .js .mjs .ts .jsx .tsx .go .rs .rb .php .pl "
    ".pm .lua .r .jl .scala .kt .swift .hs .ml .mli .ex .exs .erl .clj .el .lisp .scm .f90 .f .sh "
    ".bash .zsh .sql .v .sv .vhd .zig .nim .dart .css"
)
TEXT_SUFFIXES = frozenset(_KNOWN.split())
RECORD_SUFFIXES = frozenset((".jsonl", ".ndjson", ".parquet"))
PACKED_SUFFIXES = frozenset((".gz", ".zst"))

_ABOUT = ("README", "LICENSE", "LICENCE", "SOURCE")
_SPLIT_NAMES: dict[str, Split] = {
    "training": "train",
    "train": "train",
    "validation": "valid",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


@dataclass(frozen=True)
class TextFile:
    """A file to read. split: where its name says it belongs. kind: its suffix when unpacked.

    packed: ``.gz``, ``.zst`` or empty.
    """

    path: Path
    split: Split | None
    kind: str
    packed: str


def list_files(paths: tuple[str, ...], tally: Tally) -> list[TextFile]:
    """Every file of text under the paths, in the order given, folders sorted by name.

    Hidden files and folders and those about the text (README*, LICENSE*, SOURCE*) are left out;
    files of unknown suffix are counted in `tally`. A file given itself is taken as it is.

    Raises CorpusError for a path that is not there or cannot be listed.
    """
    found: dict[Path, TextFile] = {}
    for given in paths:
        root = home_path(given)
        try:
            mode = root.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CorpusError(
                f"there is no file or folder {shown(given)} (looked from {Path.cwd()}). Check the "
                "name."
            ) from error
        except OSError as error:
            raise CorpusError(f"{shown(given)} cannot be read: {error.strerror}.") from error
        if stat.S_ISDIR(mode):
            listed = _of_folder(root, tally)
        elif stat.S_ISREG(mode):
            listed = iter((_text_file(root, split_of_name(root.name)),))
        else:
            raise CorpusError(f"{given} is neither a file nor a folder; text is read from those.")
        for file in listed:
            found.setdefault(file.path.resolve(), file)
    return _sensible_splits(list(found.values()))


def split_of_name(name: str) -> Split | None:
    """The split that a name stands for: train, valid, validation, val, dev or test, alone or
    followed by anything but a letter (``train-00001.txt``, ``test.md``; not ``trainer.py``).
    """
    lower = name.lower()
    for beginning, split in _SPLIT_NAMES.items():
        rest = lower.removeprefix(beginning)
        if rest != lower and not rest[:1].isalpha():
            return split
    return None


def _of_folder(root: Path, tally: Tally) -> Iterator[TextFile]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"the folder {error.filename} cannot be listed: {error.strerror}.")

    own = _SPLIT_NAMES.get(root.resolve().name.lower())
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(folder).relative_to(root).parts
        named = (_SPLIT_NAMES.get(part.lower()) for part in inside)
        of_folder = own or next((split for split in named if split), None)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or is_about(name) or not path.is_file():
                continue
            file = _text_file(path, of_folder or split_of_name(name))
            if file.kind in TEXT_SUFFIXES | RECORD_SUFFIXES | {""}:
                yield file
            else:
                tally.add("unknown-suffix", shown(path))


def is_about(name: str) -> bool:
    """Whether a file is about the text: README*, LICENSE*, SOURCE*, or readme.* in small letters.

    ``sources.py`` and ``license_plates.txt`` are text.
    """
    return name.startswith(_ABOUT) or name.upper().split(".")[0] in _ABOUT


def _text_file(path: Path, split: Split | None) -> TextFile:
    suffix = path.suffix.lower()
    if suffix in PACKED_SUFFIXES:
        return TextFile(path, split, Path(path.stem).suffix.lower(), suffix)
    return TextFile(path, split, suffix, "")


def _sensible_splits(files: list[TextFile]) -> list[TextFile]:
    """Names that put all the text into one held-out split are a coincidence, not a split."""
    splits = {file.split for file in files}
    if splits in ({"valid"}, {"test"}):
        return [TextFile(file.path, None, file.kind, file.packed) for file in files]
    return files

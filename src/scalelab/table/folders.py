"""A folder of many small files, one a run, as one table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table.files import SUFFIXES, TEXT, run_of, table_suffix
from scalelab.table.headers import names
from scalelab.table.raw import FILE, ROW, Raw
from scalelab.table.schema import RUN_COLUMNS, STEPS, normalized

if TYPE_CHECKING:
    import polars as pl

_STUDY = ("study.json", "plan.json")


def files_of(path: Path) -> list[Path]:
    """The files that a path stands for: itself, those of a pattern, those of a folder.

    Of a folder: ``runs.csv`` of a scalelab study; else its files of one format; else the file of
    one name in each of its folders. Raises TableError when there is none, or several sorts.
    """
    if path.is_dir():
        return _of_folder(path)
    if any(sign in str(path) for sign in "*?[") and not path.exists():
        base = Path(path.anchor or ".")
        found = sorted(base.glob(str(path.relative_to(path.anchor) if path.anchor else path)))
        if not found:
            raise TableError(f"{path}: no file has a name of that pattern.")
        return found
    return [path]


def _of_folder(folder: Path) -> list[Path]:
    if (folder / "runs.csv").exists():
        return [folder / "runs.csv"]
    if any((folder / name).exists() for name in _STUDY):
        raise TableError(
            f"{folder} is a folder without runs.csv: a scalelab study that has not finished. "
            "`scalelab run` with its settings goes on with it."
        )
    inside = _tables(folder.iterdir())
    if inside:
        kinds = sorted({table_suffix(file) for file in inside})
        if len(kinds) > 1:
            raise TableError(
                f"{folder} is a folder without runs.csv, with files of {', '.join(kinds)}; give a "
                f"file, or a pattern in quotes: '{folder}/*{kinds[0]}'."
            )
        return inside
    below = _tables(folder.glob("*/*"))
    titles = sorted({_pattern(file.name) for file in below})
    if len(titles) == 1:
        return below
    if titles:
        raise TableError(
            f"{folder} is a folder without runs.csv, and its folders hold {', '.join(titles[:6])}; "
            f"give a pattern in quotes: '{folder}/*/{titles[0]}'."
        )
    raise TableError(
        f"{folder} is a folder without runs.csv; give a table of runs, a folder of such files, or "
        "the folder of a scalelab study that has finished."
    )


def _tables(files: Iterable[Path]) -> list[Path]:
    """The tables of a folder; texts such as logs where there is no other."""
    found = [file for file in sorted(files) if file.is_file() and not file.name.startswith(".")]
    tables = [file for file in found if table_suffix(file) in SUFFIXES]
    return tables or [file for file in found if table_suffix(file) in TEXT]


def _pattern(name: str) -> str:
    """A file's name, with a star for a time or number in it: ``results_*.json``."""
    return re.sub(r"[0-9][0-9T:._+-]{7,}", "*", Path(name).stem) + Path(name).suffix


def names_of(files: Sequence[Path]) -> dict[str, Path]:
    """The files by the shortest names that tell them apart: ``run7/result.json``."""
    for depth in range(1, max(len(file.parts) for file in files) + 1):
        named = {"/".join(file.parts[-depth:]): file for file in files}
        if len(named) == len(files):
            break
    return named


def joined(name: str, parts: Sequence[Raw]) -> Raw:
    """Tables below each other, every row under its own file's name.

    Where no column names the run and each file is one (a row, or the points of its training), the
    file's name does, or its folder's where all files have one name.
    """
    import polars as pl

    if len(parts) == 1:
        return parts[0]
    broken = {place: why for part in parts for place, why in part.broken.items()}
    notices = _told_once([notice for part in parts for notice in part.notices])
    frames = [part.frame for part in parts]
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError:  # one file's numbers are another's words
        frame = pl.concat([_as_text(one) for one in frames], how="diagonal_relaxed")
    ids = next(column for column in RUN_COLUMNS if column.name == "run")
    known = any(names(title, ids) for title in frame.columns)
    points = any(normalized(title) in STEPS for title in frame.columns)
    if not known and (points or all(one.height == 1 for one in frames)):
        runs = {file: run_of(file) for file in frame[FILE].cast(pl.String).unique()}
        frame = frame.with_columns(pl.col(FILE).cast(pl.String).replace(runs).alias("run"))
    return Raw(name, frame, broken, notices)


def _told_once(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Of what was decided alike for many files, the first."""
    alike: dict[tuple[str, str], list[Notice]] = {}
    for notice in notices:
        column = notice.message.partition(":")[0] if notice.message.startswith("column") else ""
        alike.setdefault((notice.code, column), []).append(notice)
    return tuple(
        Notice(code, f"{same[0].message} The same holds for {len(same) - 1} more files.")
        if len(same) > 1
        else same[0]
        for (code, _), same in alike.items()
    )


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    # Lists as JSON, from which they are read again.
    items = pl.element().cast(pl.String).fill_null("null")
    frame = frame.with_columns(
        pl.format("[{}]", pl.col(name).list.eval(items).list.join(", ")).alias(name)
        for name, kind in frame.schema.items()
        if kind.is_nested()
    )
    return frame.with_columns(pl.exclude(ROW, FILE).cast(pl.String, strict=False))

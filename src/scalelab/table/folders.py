"""A folder of many small files, one a run, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.table.files import table_suffix
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
    inside = [file for file in sorted(folder.iterdir()) if _is_table(file)]
    if inside:
        kinds = sorted({table_suffix(file) for file in inside})
        if len(kinds) > 1:
            raise TableError(
                f"{folder} is a folder without runs.csv, with files of {', '.join(kinds)}; give a "
                f"file, or a pattern in quotes: '{folder}/*{kinds[0]}'."
            )
        return inside
    below = [file for file in sorted(folder.glob("*/*")) if _is_table(file)]
    titles = sorted({file.name for file in below})
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


def _is_table(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and bool(table_suffix(file))


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
    notices = tuple(notice for part in parts for notice in part.notices)
    frames = [part.frame for part in parts]
    try:
        frame = pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError:  # one file's numbers are another's words
        frame = pl.concat([_as_text(one) for one in frames], how="diagonal_relaxed")
    ids = next(column for column in RUN_COLUMNS if column.name == "run")
    known = any(names(title, ids) for title in frame.columns)
    points = any(normalized(title) in STEPS for title in frame.columns)
    if not known and (points or all(one.height == 1 for one in frames)):
        frame = frame.with_columns(_stem(frame[FILE]).alias("run"))
    return Raw(name, frame, broken, notices)


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


def _stem(files: pl.Series) -> pl.Series:
    """``run7`` of ``run7.json`` and of ``run7/result.json``."""
    import polars as pl

    return (
        files.cast(pl.String).str.extract(r"^([^/]*?)(?:\.[a-z0-9]+)*(?:/.*)?$", 1).cast(pl.String)
    )

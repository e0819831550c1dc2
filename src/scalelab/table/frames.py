"""Frames of pandas and its kin: an index with a name is a column, one of row numbers is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scalelab.errors import Notice, TableError
from scalelab.table import headers
from scalelab.table.schema import RUN_COLUMNS, is_known

if TYPE_CHECKING:
    import polars as pl

_LARGE = 100_000  # above, integers without a name may be sizes and not row numbers (assumed)


def is_indexed(source: object) -> bool:
    """Whether an object is a frame or series of pandas, or has their interface."""
    return hasattr(source, "index") and (_is_series(source) or hasattr(source, "columns"))


def _is_series(source: object) -> bool:
    return hasattr(source, "to_frame") and not hasattr(source, "columns")


def from_indexed(source: Any, name: str) -> tuple[pl.DataFrame, tuple[Notice, ...]]:
    """The columns of a pandas frame or series, its index among them where that holds something.

    Column names of several levels are joined by a point. Raises TableError where an index without a
    name is not a count of rows, or a name stands twice. Nothing here needs pyarrow.
    """
    import polars as pl

    if _is_series(source):
        source = _as_frame(source, name)
    titles = [_title(label) for label in source.columns]
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise TableError(f"{name}: two columns are named {twice[0]!r}. Rename one.")
    labels = zip(titles, source.columns, strict=True)
    columns = {title: _plain(source[label].tolist()) for title, label in labels}
    levels, notices = _levels(source.index, name, columns)
    if clash := [level for level in levels if level in columns and levels[level] != columns[level]]:
        raise TableError(
            f"{name}: {clash[0]!r} is a column and a level of the index, and they differ. Rename "
            f"one: frame.rename_axis(index={{{clash[0]!r}: 'other'}})."
        )
    cells = {**levels, **columns}
    frame = pl.DataFrame({title: _series(title, values) for title, values in cells.items()})
    return frame, notices


def _as_frame(series: Any, name: str) -> Any:
    """A series as a frame of one column; one without a name does not say what it holds."""
    labels = series.index.tolist()
    if any(isinstance(label, str) and is_known(label) for label in labels):
        raise TableError(
            f"{name}: the series is one run, with {_shown(labels)} as its cells. Give a row per "
            "run: series.to_frame().T."
        )
    if series.name is None:
        shown = ", ".join(str(label) for label in labels[:4])
        raise TableError(
            f"{name}: the series has no name (its index is {shown}, ...). Give it that of its "
            "column: series.rename('loss'). Where it is one run, give series.to_frame().T."
        )
    return series.to_frame()


def _title(label: Any) -> str:
    parts = label if isinstance(label, tuple) else (label,)
    return ".".join(str(part) for part in parts if str(part) != "")


def _levels(
    index: Any, name: str, columns: dict[str, list[Any]]
) -> tuple[dict[str, list[Any]], tuple[Notice, ...]]:
    """The levels of an index that are columns."""
    names = list(index.names)
    values = [_plain(index.get_level_values(at).tolist()) for at in range(len(names))]
    if len(names) == 1 and names[0] is None:
        return _nameless(values[0], name, columns)
    found: dict[str, list[Any]] = {}
    for title, cells in zip(names, values, strict=True):
        if title is None:
            raise TableError(
                f"{name}: a level of the index has no name; it holds {_shown(cells)}. Name the "
                f"levels: frame.rename_axis({[str(one or 'NAME') for one in names]})."
            )
        found[_title(title)] = cells
    message = f"the index ({', '.join(found)}) was read as columns."
    return found, (Notice("index-as-columns", message),)


def _nameless(
    cells: list[Any], name: str, columns: dict[str, list[Any]]
) -> tuple[dict[str, list[Any]], tuple[Notice, ...]]:
    """An index without a name: row numbers are left out, ids of runs are kept."""
    if cells == list(range(len(cells))):
        return {}, ()
    whole = all(isinstance(cell, int) and not isinstance(cell, bool) for cell in cells)
    if whole and 0 <= min(cells) <= max(cells) <= _LARGE:
        message = (
            f"the frame's index has no name and holds the integers {_shown(cells)}: they were "
            "taken for row numbers and left out. frame.reset_index(names='NAME') keeps them."
        )
        return {}, (Notice("index-dropped", message),)
    words = all(isinstance(cell, str) for cell in cells) and len(set(cells)) == len(cells)
    if words and not any(_is_id(title) for title in columns):
        message = f"the frame's index ({_shown(cells)}) was taken for the runs' ids."
        return {"run": cells}, (Notice("index-as-run", message),)
    if words:
        message = f"the frame's index ({_shown(cells)}) has no name and was left out."
        return {}, (Notice("index-dropped", message),)
    raise TableError(
        f"{name}: the frame's index has no name and holds {_shown(cells)}. Is it a column? Then "
        "say which: frame.reset_index(names='params'); else frame.reset_index(drop=True)."
    )


def _is_id(title: str) -> bool:
    return headers.names(title, next(column for column in RUN_COLUMNS if column.name == "run"))


def _shown(cells: Sequence[Any]) -> str:
    return ", ".join(str(cell) for cell in cells[:3]) + (", ..." if len(cells) > 3 else "")


def _plain(cells: list[Any]) -> list[Any]:
    """Cells with None where pandas has a value of its own for what is missing."""
    return [None if type(cell).__name__ in ("NAType", "NaTType") else cell for cell in cells]


def _series(title: str, cells: list[Any]) -> pl.Series:
    """A column; cells of several kinds, or of kinds that polars does not know, as text."""
    import polars as pl

    kinds = {type(cell) for cell in cells if cell is not None and not _is_nan(cell)}
    if not kinds <= {int, float, bool}:  # among words, pandas has NaN for what is missing
        cells = [None if _is_nan(cell) else cell for cell in cells]
    if kinds <= {int, float, bool} or len(kinds) == 1:
        series = pl.Series(title, cells, strict=False)
        if series.dtype != pl.Object:
            return series
    texts = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(title, texts, dtype=pl.String)


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)

"""Whatever a file or frame holds, as columns of five kinds that all later code can take.

Text, Int64, Float64, Boolean and lists of Float64. Anything else becomes one of these or is left
out and told, so that no odd type of a library meets arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table.cells import NULLS
from scalelab.table.documents import DEEPEST
from scalelab.table.raw import FILE, ROW, check_width, distinct

if TYPE_CHECKING:
    import polars as pl

LONGEST_CELL = 1_000_000
"""Bytes of text; longer cells hold a file, not a setting (assumed)."""


def settled(name: str, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Notice]]:
    """The frame with columns of the five kinds, and what was left out.

    Objects in cells are columns: ``config`` of ``{"n_params": 1}`` is ``config.n_params``. Cells of
    text that say that there is no value are empty. Raises TableError where it is too large.
    """
    import polars as pl

    hidden = [frame[title] for title in (ROW, FILE) if title in frame.columns]
    columns: list[pl.Series] = []
    dropped: dict[str, str] = {}
    for cells in _flattened(name, frame.drop(ROW, FILE, strict=False)):
        found = _settled(cells)
        if isinstance(found, str):
            dropped[cells.name] = found
        else:
            _check_length(name, found)
            columns.append(found)
    titles = distinct([cells.name for cells in columns])
    columns = [cells.alias(title) for cells, title in zip(columns, titles, strict=True)]
    notices = []
    if dropped:
        shown = ", ".join(f"{title} ({kind})" for title, kind in list(dropped.items())[:8])
        more = f" and {len(dropped) - 8} more" if len(dropped) > 8 else ""
        message = f"columns of {name} that are no text or numbers were left out: {shown}{more}."
        notices.append(Notice("columns-left-out", message))
    return pl.DataFrame([*columns, *hidden]), notices


def _flattened(name: str, frame: pl.DataFrame) -> Iterator[pl.Series]:
    import polars as pl

    count = 0
    waiting = [(cells, 0) for cells in reversed(frame.get_columns())]
    while waiting:
        cells, depth = waiting.pop()
        if isinstance(cells.dtype, pl.Struct):
            if depth >= DEEPEST:
                raise TableError(
                    f"{name}: column {cells.name[:60]!r} has objects in objects, too "
                    f"deep for a table of runs ({DEEPEST} levels are read)."
                )
            parts = cells.struct.unnest().get_columns()
            inside = [(part.alias(f"{cells.name}.{part.name}"), depth + 1) for part in parts]
            waiting += reversed(inside)
        else:
            count += 1
            yield cells
        check_width(name, count + len(waiting))


def _settled(cells: pl.Series) -> pl.Series | str:
    """The column in its kind, or the kind in words of one that has none."""
    import polars as pl

    kind = cells.dtype
    if kind == pl.Null:
        return cells.cast(pl.String)
    if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
        text = cells.cast(pl.String)
        empty = text.str.strip_chars().is_in(list(NULLS))
        return pl.select(pl.when(~empty).then(text).alias(cells.name)).to_series()
    if kind == pl.Boolean:
        return cells
    if kind.is_integer():
        whole = cells.cast(pl.Int64, strict=False)
        # Beyond 64 bits a whole number is a float, as in every other format.
        return whole if whole.null_count() == cells.null_count() else cells.cast(pl.Float64)
    if kind.is_numeric():
        return cells.cast(pl.Float64, strict=False)
    if isinstance(kind, pl.Date | pl.Datetime | pl.Time):
        return cells.cast(pl.String)
    if isinstance(kind, pl.List | pl.Array):
        return _list(cells)
    names = {pl.Duration: "durations", pl.Binary: "bytes", pl.Object: "objects"}
    return next((words for one, words in names.items() if kind == one), str(kind).lower())


def _list(cells: pl.Series) -> pl.Series | str:
    import polars as pl

    inner = cells.dtype.inner  # type: ignore[attr-defined]
    if isinstance(cells.dtype, pl.Array):
        if len(cells.dtype.shape) > 1:
            return "lists of lists"
        cells = cells.arr.to_list()
    if inner == pl.Null or inner.is_numeric() or inner == pl.Boolean:
        return cells.cast(pl.List(pl.Float64), strict=False)
    if inner == pl.String:
        return cells.list.join(", ", ignore_nulls=True)
    return "lists of lists" if inner.is_nested() and inner != pl.Struct else "lists of objects"


def _check_length(name: str, cells: pl.Series) -> None:
    import polars as pl

    if cells.dtype != pl.String:
        return
    lengths = cells.str.len_bytes()
    longest = lengths.max()
    if isinstance(longest, int) and longest > LONGEST_CELL:
        row = lengths.arg_max()
        raise TableError(
            f"{name} row {1 + (row or 0)}, column {cells.name[:60]}: a cell of {longest:,} bytes; "
            f"at most {LONGEST_CELL:,} are read. A table of runs holds a number or a word a cell."
        )

"""Columns that are not of the schema: numbers where their cells are numbers, whatever the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.errors import Notice
from scalelab.table.cells import numbers
from scalelab.table.raw import place
from scalelab.table.schema import Column

if TYPE_CHECKING:
    import polars as pl

_ANY = Column("", "float", "", "a number of the user's own", count=True)
_DIGITS = r"^\s*[-+]?[0-9.]|^\s*(?i:[-+]?inf|nan)"
_LIST = r"^\s*\[(?:[-+0-9.eE,\s]|null)*\]\s*$"
_GROUPED = r"[0-9., '\u00a0\u202f\u2009\u2019_]+"
_LOOKS_LIKE = rf"^\s*[-+]?{_GROUPED}(?i:e[-+]?[0-9]+)?\s*(?i:[kmbgt])?\s*$"


@dataclass(frozen=True)
class Own:
    """One column of the source by its own name.

    cells: as the table shows them: Float64 or lists of Float64 where every filled cell is one,
    Boolean where every filled cell is true or false, else text. values: what a law takes, None
    where most cells are no numbers. bad: filled cells that are no number, where there are values.
    seen: the cells as they came.
    """

    cells: pl.Series
    values: pl.Series | None
    bad: pl.Series
    seen: pl.Series


def read_own(cells: pl.Series, *, commas: bool = False) -> Own:
    """Type a column by its cells alone, so that every file format gives the same column.

    commas: whether commas are the decimal marks of this table. Numbers are Float64, and NaN is an
    empty cell, as pandas writes one. A column of empty cells is one of numbers: none is a word.
    """
    import polars as pl

    none = cells.is_null() & False
    if cells.dtype == pl.Boolean:
        return Own(cells, cells.cast(pl.Float64), none, cells)
    if cells.dtype.is_nested():
        return Own(cells, cells, none, cells)
    if cells.dtype != pl.String:
        found = cells.cast(pl.Float64, strict=False).fill_nan(None)
        return Own(found, found, none, cells)
    filled = cells.drop_nulls()
    if filled.str.to_lowercase().is_in(["true", "false"]).all() and len(filled):
        flags = cells.str.to_lowercase() == "true"
        return Own(flags, flags.cast(pl.Float64), none, cells)
    if filled.str.contains(_LIST).all() and len(filled):
        lists = _lists(cells)
        return Own(cells, None, none, cells) if lists is None else Own(lists, lists, none, cells)
    if 2 * int(filled.str.contains(_DIGITS).sum()) < len(filled):
        return Own(cells, None, none, cells)
    found, bad = numbers(cells, _ANY, commas=commas)
    found = found.fill_nan(None)
    if 2 * int(bad.sum()) >= max(1, len(filled)):
        return Own(cells, None, none, cells)
    return Own(cells if bad.any() else found, found, bad, cells)


def _lists(cells: pl.Series) -> pl.Series | None:
    """Texts such as ``[0.1, 0.2]``, as pandas writes lists, or None where one is no JSON."""
    import polars as pl

    try:
        rows = [None if text is None else json.loads(text) for text in cells]
        return pl.Series(cells.name, rows, dtype=pl.List(pl.Float64), strict=False)
    except (ValueError, pl.exceptions.PolarsError):
        return None


def evidence(cells: pl.Series) -> Iterator[tuple[pl.Series, Column]]:
    """A column of text that is nothing but numbers, which may show what its commas mean."""
    import polars as pl

    if cells.dtype != pl.String:
        return
    filled = cells.drop_nulls()
    if len(filled) and filled.str.contains(_LOOKS_LIKE).all():
        yield cells, _ANY


def left_as_text(name: str, own: Own, frame: pl.DataFrame) -> Iterator[Notice]:
    """A notice where a column is numbers but for a few cells. frame: says where its rows stand."""
    if not own.bad.any():
        return
    first = own.bad.arg_true()[0]
    file, row = place(frame, int(first))
    filled = len(own.seen) - own.seen.null_count()
    yield Notice(
        "own-column-not-numbers",
        f"column {name} was left as text: {int(own.bad.sum())} of its {filled} filled cells are "
        f"no numbers, the first {str(own.seen[first])[:40]!r} in {file} row {row}.",
    )

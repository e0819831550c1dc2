"""What a file or frame holds before anything is taken for anything: cells, and where they stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError

if TYPE_CHECKING:
    import polars as pl

ROW, FILE = "\0row", "\0file"
"""Hidden columns: the row's number in its file, from 1 below the header, and the file's name."""


@dataclass(frozen=True)
class Raw:
    """Cells as they came.

    name: of the whole, for messages. frame: the cells; ROW and, of several files, FILE travel in
    it, so that selecting rows never changes what a message calls them. broken: row number (or file
    and row) -> what is wrong with the whole row. notices: what reading skipped or decided.
    """

    name: str
    frame: pl.DataFrame
    broken: Mapping[tuple[str, int], str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


MOST_COLUMNS = 5000
"""More are no table of runs but one lying on its side, or an attack (assumed)."""


def check_width(name: str, columns: int) -> None:
    """Raise TableError where there are more columns than a table of runs has."""
    if columns > MOST_COLUMNS:
        raise TableError(
            f"{name} has more than {MOST_COLUMNS} columns; a table of runs has one row a run and "
            "a column for each setting. Does it lie on its side, or hold curves in columns?"
        )


def numbered(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its rows' numbers and its file's name."""
    import polars as pl

    frame = frame.rename(dict(zip(frame.columns, distinct(frame.columns), strict=True)))
    rows = pl.int_range(1, frame.height + 1, dtype=pl.Int64, eager=True).alias(ROW)
    return frame.with_columns(rows, pl.lit(name, dtype=pl.Categorical).alias(FILE))


def distinct(titles: Sequence[str]) -> list[str]:
    """Titles of which no two agree, and none is that of a hidden column."""
    found: dict[str, None] = {}
    for number, title in enumerate(titles, start=1):
        plain = title.replace("\0", "\ufffd")
        if plain in found:
            plain = f"{plain} ({number})"
        while plain in found:
            plain += "'"
        found[plain] = None
    return list(found)


def place(frame: pl.DataFrame, index: int) -> tuple[str, int]:
    """File and row number of the row that now stands at `index`."""
    return str(frame[FILE][index]), int(frame[ROW][index])

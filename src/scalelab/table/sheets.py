"""What frames and spreadsheets leave in a file: an index, a row of units, merged cells."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table import headers
from scalelab.table.raw import FILE, ROW, Raw
from scalelab.table.schema import RUN_COLUMNS

if TYPE_CHECKING:
    import polars as pl

_COLUMNS = {column.name: column for column in RUN_COLUMNS}
_INDEX = re.compile(
    r"|column \(1\)|Unnamed: 0(\.[0-9])?|Unnamed: 0_level_[0-9]|__index_level_0__|_index"
)
_MOST = 100_000  # the largest number of a row; above, integers may be a size (assumed)
_UNIT = re.compile(
    r"[(\[]?\s*(?:in\s+)?(?:(?:[kmbgt]|bn|thousands?|millions?|billions?|trillions?)?\s*"
    r"(?:params?|parameters?|tokens?)?|(?:[kmgtpez]|[1-9]e[0-9]+\s*)?flops?|pf-?days?"
    r"|nats?(?:\s*(?:/|per)\s*tok(?:en)?)?|bits?(?:\s*(?:/|per)\s*(?:tok(?:en)?|byte))?"
    r"|x?\s*(?:1e|10\^)[0-9]{1,2}|%|steps?|seconds?|hours?|s|h|ms|#|count|unitless)\s*[)\]]?",
    re.IGNORECASE,
)
_NAMES = 100  # names of columns that may stand below each other (assumed)
_BLANKS = 2  # filled cells that a merged column has at least


def tidied(raw: Raw) -> Raw:
    """The table without an index of row numbers, units in the header, merged cells filled."""
    _refuse_sideways(raw)
    for step in (_without_index, _without_index, _units_row, _merged_cells):
        if raw.frame.height:
            raw = step(raw)
    return raw


def _refuse_sideways(raw: Raw) -> None:
    """Raise TableError where the names of columns stand below each other and runs side by side."""
    import polars as pl

    titles = _titles(raw.frame)
    tall = raw.frame.height > _NAMES
    if tall or len(titles) < 2 or raw.frame[titles[0]].dtype != pl.String:
        return
    first = raw.frame[titles[0]].drop_nulls().to_list()
    loss = _COLUMNS["loss"]
    sizes = [_COLUMNS[name] for name in ("params", "tokens", "flops")]
    below = any(headers.names(word, loss) for word in first) and any(
        headers.names(word, size) for word in first for size in sizes
    )
    if below and not any(headers.names(title, loss) for title in titles):
        raise TableError(
            f"{raw.name} lies on its side: {', '.join(first[:4])} stand below each other in column "
            f"{titles[0]!r}, and a row per run is expected. In pandas: "
            f"frame.set_index({titles[0]!r}).T; in a spreadsheet: paste special, transpose."
        )


def _titles(frame: pl.DataFrame) -> list[str]:
    return [title for title in frame.columns if title not in (ROW, FILE)]


def _without_index(raw: Raw) -> Raw:
    """Row numbers of pandas and R are no column; words that name each row are its run's id."""
    import polars as pl

    titles = _titles(raw.frame)
    if len(titles) < 2 or not _INDEX.fullmatch(titles[0].strip()):
        return raw
    first = raw.frame[titles[0]]
    nameless = titles[0] in ("", "column (1)")
    seen = "the first column, without a name," if nameless else f"the first column ({titles[0]!r})"
    if first.null_count() or first.dtype.is_nested():
        return raw
    whole = first.cast(pl.Int64, strict=False)
    if not whole.null_count() and 0 <= int(whole.min()) <= int(whole.max()) <= _MOST:  # type: ignore[arg-type]
        shown = ", ".join(str(cell) for cell in whole.head(3))
        message = (
            f"{seen} holds the integers {shown}, ...: they were taken for row numbers and left "
            "out. Give the column a name where they mean something."
        )
        frame = raw.frame.drop(titles[0])
        return replace(raw, frame=frame, notices=(*raw.notices, Notice("index-dropped", message)))
    words = first.cast(pl.Float64, strict=False).null_count() == len(first)
    known = any(headers.names(title, _COLUMNS["run"]) for title in titles[1:])
    if words and not known and not first.is_duplicated().any():
        message = f"{seen} holds a different word in each row and was taken for the run's id."
        frame = raw.frame.rename({titles[0]: "run"})
        return replace(raw, frame=frame, notices=(*raw.notices, Notice("index-as-run", message)))
    return raw


def _units_row(raw: Raw) -> Raw:
    """Units that stand in a row below the header go into the header."""
    import polars as pl

    titles = _titles(raw.frame)
    if raw.frame.height < 2 or any(raw.frame[title].dtype != pl.String for title in titles):
        return raw
    first, second = ({t: str(raw.frame[t][at] or "").strip() for t in titles} for at in (0, 1))
    units = {title: cell for title, cell in first.items() if cell}
    if not units or not all(map(_UNIT.fullmatch, units.values())):
        return raw
    if any(second[title] and _UNIT.fullmatch(second[title]) for title in units):
        return raw  # words that are cells, such as a column of s and m
    new = {title: f"{title} ({cell.strip('()[] ')})" for title, cell in units.items()}
    shown = ", ".join(new.values())
    message = f"the row below the header holds units and was read with it: {shown}."
    frame = raw.frame.slice(1).rename(new)
    return replace(raw, frame=frame, notices=(*raw.notices, Notice("units-row", message)))


def _merged_cells(raw: Raw) -> Raw:
    """Empty cells below a value at the left, as merged cells are exported, get that value.

    Only where the column begins with a value, each value stands once with empty cells below it, and
    a column to the right is filled: then each empty cell has one reading.
    """
    import polars as pl

    frame = raw.frame
    filled: list[str] = []
    for title in _titles(frame):
        cells = frame[title]
        if cells.null_count() == 0 and not filled:
            break
        if not _is_merged(cells):
            break
        filled.append(title)
    rest = [title for title in _titles(frame) if title not in filled]
    complete = rest and any(frame[title].null_count() == 0 for title in rest)
    if not filled or not complete:
        return raw
    count = sum(frame[title].null_count() for title in filled)
    message = (
        f"column {', '.join(filled)}: {count} empty cells below a value, as merged cells are "
        "exported, were filled with the value above them."
    )
    frame = frame.with_columns(pl.col(filled).forward_fill())
    return replace(raw, frame=frame, notices=(*raw.notices, Notice("merged-cells", message)))


def _is_merged(cells: pl.Series) -> bool:
    """Whether every value of a column has empty cells below it, and stands once."""
    values = cells.drop_nulls()
    if cells.dtype.is_nested() or len(values) < _BLANKS or cells[0] is None:
        return False
    empty = cells.is_null().to_list()
    blocks = all(
        at + 1 < len(empty) and empty[at + 1] for at, blank in enumerate(empty) if not blank
    )
    return blocks and not values.is_duplicated().any()

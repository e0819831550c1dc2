"""Text to numbers, as people and spreadsheets write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scalelab.errors import ScalelabError
from scalelab.table.schema import Column
from scalelab.units import parse_count, parse_flop

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

NULLS = (
    *("", "NA", "N/A", "n/a", "na", "#N/A", "<NA>", "null", "NULL", "Null", "None", "none", "nil"),
    *("-", "--", "\u2013", "\u2014", "missing"),
)
"""Cells that say that there is no value."""
_UNIT_WORDS = {
    "parameters": re.compile(r"\s*(params?|parameters?)$", re.IGNORECASE),
    "tokens": re.compile(r"\s*(tok|toks|tokens?)$", re.IGNORECASE),
    "nats/token": re.compile(r"\s*nats?(\s*(/|per)\s*token)?$", re.IGNORECASE),
}
_TIMES_TEN = re.compile(
    r"([0-9.]+)\s*[x\u00d7*\u00b7]\s*10\s*(?:\^|\*\*)\s*([+-]?[0-9]+)", re.IGNORECASE
)
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:[ '\u00a0\u202f\u2009\u2019][0-9]{3})+")
# A comma that can only be a decimal mark, and a point that can, each at the end of a number.
_COMMA = (
    r"^\s*[-+]?(?:0|[0-9]{4,}|[0-9]{1,3}(?:\.[0-9]{3})+),[0-9]+"
    r"|^\s*[-+]?[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})(?:[^0-9,.]|$)"
)
_COMMA_OF_LOSS = r"^\s*[0-9]{1,2},[0-9]+\s*$"
_POINT = (
    r"^\s*[-+]?(?:0|[0-9]{4,}|[0-9]{1,3}(?:,[0-9]{3})+|)\.[0-9]+"
    r"|^\s*[-+]?[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})(?:[^0-9,.]|$)"
    r"|[0-9],[0-9]{3},[0-9]{3}"
)


def decimal_commas(columns: Iterable[tuple[pl.Series, Column]]) -> bool:
    """Whether the numbers of a table have decimal commas, every one of them.

    True where some cell's comma can only be a decimal mark and no cell's point can: ``2,95`` and
    ``0,010B`` are such; ``1,234`` could be either, and is one in a column of losses.
    """
    import polars as pl

    found = False
    for cells, column in columns:
        if cells.dtype != pl.String:
            continue
        if cells.str.contains(_POINT).any():
            return False
        pattern = f"{_COMMA}|{_COMMA_OF_LOSS}" if column.unit == "nats/token" else _COMMA
        found = found or bool(cells.str.contains(pattern).any())
    return found


def numbers(
    cells: pl.Series, column: Column, *, commas: bool = False, plain: bool = False
) -> tuple[pl.Series, pl.Series]:
    """Cells as Float64, and which of them say something that is no number.

    commas: whether commas are the decimal marks of this table. plain: cells with a unit of their
    own are refused, where the header has said one already.
    """
    import polars as pl

    if cells.dtype.is_nested():
        return pl.Series(cells.name, [None] * len(cells), pl.Float64), cells.is_not_null()
    if cells.dtype != pl.String:
        found = cells.cast(pl.Float64, strict=False)
        return found, cells.is_not_null() & found.is_null()
    text = cells.str.strip_chars()
    text = pl.select(pl.when(~text.is_in(NULLS)).then(text)).to_series()
    found = text.cast(pl.Float64, strict=False)
    if commas:  # 1.234 is a thousand and more here
        dotted = text.str.contains(r"\.").fill_null(value=False)
        found = pl.select(pl.when(~dotted).then(found)).to_series()
    odd = text.filter(found.is_null() & text.is_not_null()).unique().to_list()
    if odd:
        parsed = {word: _parsed(word, column, commas=commas, plain=plain) for word in odd}
        read = {word: value for word, value in parsed.items() if value is not None}
        found = found.fill_null(text.replace_strict(read, default=None, return_dtype=pl.Float64))
    return found, text.is_not_null() & found.is_null()


def _parsed(word: str, column: Column, *, commas: bool, plain: bool) -> float | None:
    """The number of one cell that is none to a machine, or None."""
    text = word
    if not plain and column.unit in _UNIT_WORDS:
        text = _UNIT_WORDS[column.unit].sub("", text)
    if match := _GROUPED.match(text):
        text = re.sub(r"[ '\u00a0\u202f\u2009\u2019]", "", match[0]) + text[match.end() :]
    if commas:
        if re.search(r"\.", re.sub(r"^[-+]?[1-9][0-9]{0,2}(\.[0-9]{3})+(?![0-9])", "", text)):
            return None
        text = text.replace(".", "").replace(",", ".")
    if match := _TIMES_TEN.fullmatch(text):
        text = f"{match[1]}e{match[2]}"
    try:
        return float(text.replace("_", "x"))
    except ValueError:
        pass
    if not (column.count or column.dtype == "int"):
        return None
    if plain and text[-1:].isalpha():
        return None
    for parse in (parse_count, parse_flop) if column.unit == "FLOP" else (parse_count,):
        try:
            return parse(text)
        except (ScalelabError, ValueError):
            continue
    return None

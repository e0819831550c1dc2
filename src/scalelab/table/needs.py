"""What a table must have for the law that is to be fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.expressions import SYMBOLS, Expression
from scalelab.table import missing
from scalelab.table.checks import Fault, Typed, describe
from scalelab.table.derive import THREE, sources
from scalelab.table.raw import FILE, ROW
from scalelab.table.schema import run_column

if TYPE_CHECKING:
    import polars as pl

Needs = Sequence[str] | Callable[[Sequence[str]], Sequence[str]] | None
"""Columns that must be there, or what chooses them among the columns of numbers that are there;
None for a loss and one of N, D and C."""


def columns_of_numbers(typed: Typed, mapping: Mapping[str, Expression]) -> list[str]:
    """What a law may be over: the schema's columns, those that follow from them, the user's own.

    A column that was taken for one of the schema goes by its own title too, as people know it.
    """
    schema = [name for name in mapping if _is_number(name)]
    derived = [name for name in THREE if name not in schema and sources(name, schema)]
    own = {typed.titles.get(title, title): one for title, one in typed.own.items()}
    titles = [
        name
        for name, one in own.items()
        if one.values is not None
        and name not in SYMBOLS
        and name not in (*schema, *derived)
        # A title of the schema that is another column there is no longer this one.
        and (name in typed.titles.values() or run_column(name) is None)
    ]
    return [*schema, *derived, *titles]


def _is_number(name: str) -> bool:
    column = run_column(name)
    return column is not None and column.dtype in ("int", "float")


def resolved(needs: Needs, available: Sequence[str]) -> tuple[str, ...] | None:
    """The columns needed, or None where nothing in particular is."""
    if needs is None:
        return None
    if isinstance(needs, str):
        raise TypeError(f"needs is a sequence of columns, not {needs!r}")
    return tuple(dict.fromkeys(needs(available) if callable(needs) else needs))


def require(
    cells: pl.DataFrame,
    file: str,
    mapping: Mapping[str, Expression],
    typed: Typed,
    needed: Sequence[str] | None,
) -> None:
    """Raise TableError where a needed column is not there, or is one of words."""
    table = cells.drop(ROW, FILE)
    if needed is None:
        if "loss" not in mapping:
            missing.refuse(table, file, "loss")
        if not any(name in mapping for name in THREE):
            missing.refuse(table, file, "params", any_of=THREE)
        return
    titles = {name: title for title, name in typed.titles.items()}
    for name in needed:
        if sources(name, mapping):
            continue
        title = titles.get(name, name)
        own = None if run_column(name) and name not in titles else typed.own.get(title)
        if own is None:
            missing.refuse(table, file, name)
        if own.values is None:
            words = own.seen.is_not_null()
            reason = "expected numbers: the law is over this column"
            raise TableError(describe(cells, [Fault(title, words, own.seen, reason)]))


def with_needed(
    typed: Typed, mapping: Mapping[str, Expression], needed: Sequence[str] | None
) -> tuple[pl.DataFrame, list[Fault], dict[str, str], list[Notice]]:
    """The frame with the needed columns of the user's own as numbers, and what is wrong with it.

    Returns frame, faults, name in the frame -> the source's column of those that are to be checked,
    and notices. Cells of columns that are not needed and cannot be read are empty, and told.
    """
    frame, faults, notices = typed.frame, [], []
    checked: dict[str, str] = {}
    titles = {name: title for title, name in typed.titles.items()}
    for name in needed or ():
        for source in sources(name, mapping):
            checked[source] = mapping[source].text
        if name in mapping or sources(name, mapping):
            continue
        title = titles.get(name, name)
        own = typed.own[title]
        assert own.values is not None  # by `require`
        frame = frame.with_columns(own.values.alias(name))
        checked[name] = title
        faults.append(Fault(title, own.bad, own.seen, "expected a number"))
    for name, bad in typed.faults.items():
        if needed is None or name in (*checked, "run", "status"):
            faults += bad
        else:
            notices += [_unread(name, fault) for fault in bad]
    return frame, faults, checked, notices


def _unread(name: str, fault: Fault) -> Notice:
    first = fault.seen[int(fault.mask.arg_true()[0])]
    return Notice(
        "cells-not-read",
        f"{int(fault.mask.sum())} cells of column {fault.column} were left empty, as {name} is not "
        f"needed: the first is {str(first)[:40]!r}, {fault.reason}.",
    )

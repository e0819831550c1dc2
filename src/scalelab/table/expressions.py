"""What a user says a column is: a name, or a little arithmetic that brings it to our unit."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.errors import TableError

if TYPE_CHECKING:
    import polars as pl

    Cells = Callable[[str], pl.Series]

_FUNCTION = re.compile(r"(ln|log10|log2|exp)\((.+)\)|(10|2)\^(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Expression:
    """A column of the source, as it is or turned.

    text: as it was written, and as the mapping shows it. column: the first column in it, to which
    faults belong. value: its cells from those of columns by name, or None where it is the column.
    """

    text: str
    column: str
    value: Callable[[Cells], pl.Series] | None = None


def parse(text: str, columns: Collection[str], file: str) -> Expression:
    """Read ``COLUMN``, ``COLUMN*1e9``, ``ln(COLUMN)``, ``10^COLUMN`` and products of such.

    Powers come before products: ``10^COLUMN*2`` is twice ``10^COLUMN``.
    A column of that very name comes first, so names with signs in them stay names. Raises
    TableError when it names no column.
    """
    if text in columns:
        return Expression(text, text)
    found = _term(text.strip(), columns)
    if found is not None and not isinstance(found, float):
        return Expression(text, found.column, found.value)
    column, star, factor = text.rpartition("*")
    if star and column in columns:
        raise TableError(f"{file}: {text!r}: {factor!r} is not a number.")
    raise TableError(f"{file} has no column {text!r}; it has {listed(columns)}.")


def _term(text: str, columns: Collection[str]) -> Expression | float | None:
    if text in columns:
        return Expression(text, text, lambda cells: cells(text))
    if re.fullmatch(r"[0-9.]+(e[-+]?[0-9]+)?", text, re.IGNORECASE):
        return float(text) if text.count(".") < 2 and text != "." else None
    # Signs inside brackets part no term from a term, so they need no count of brackets.
    for sign in reversed(list(re.finditer(r"[*/]", text))):
        left = _term(text[: sign.start()].strip(), columns)
        right = _term(text[sign.end() :].strip(), columns)
        if left is not None and right is not None:
            return _product(left, right, divide=sign[0] == "/")
    if match := _FUNCTION.fullmatch(text):
        inside = _term((match[2] or match[4]).strip(), columns)
        if isinstance(inside, Expression):
            return _applied((match[1] or match[3]).lower(), inside)
    return None


def _applied(function: str, inside: Expression) -> Expression:
    value = inside.value
    assert value is not None

    def turned(cells: Cells) -> pl.Series:
        found = value(cells)
        match function:
            case "ln":
                return found.log()
            case "log10":
                return found.log10()
            case "log2":
                return found.log(2)
            case "exp":
                return found.exp()
            case base:
                return (found * math.log(float(base))).exp()

    return Expression(inside.text, inside.column, turned)


def _product(
    left: Expression | float, right: Expression | float, *, divide: bool
) -> Expression | float | None:
    if isinstance(left, float) and isinstance(right, float):
        return (left / right if right else None) if divide else left * right
    first = left if isinstance(left, Expression) else right
    assert isinstance(first, Expression)

    def value(cells: Cells) -> pl.Series:
        a, b = (one if isinstance(one, float) else _cells(one, cells) for one in (left, right))
        found: pl.Series = a / b if divide else a * b  # type: ignore[assignment]
        return found

    return Expression(first.text, first.column, value)


def _cells(one: Expression, cells: Cells) -> pl.Series:
    assert one.value is not None
    return one.value(cells)


def option(name: str, text: str) -> str:
    """``--column params='Model Size'``: how to say on a command line that `text` is `name`."""
    return f"--column {name}={shlex.quote(text)}"


def listed(names: Collection[str], limit: int = 20) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(list(names)[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"

"""What a user says a column is: a column of the table, or an expression of its columns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from scalelab import expressions
from scalelab.errors import SpecError, TableError
from scalelab.expressions import Expression
from scalelab.table.schema import run_column


def parse(name: str, text: str, titles: Collection[str], file: str) -> Expression:
    """The expression that `name` of the schema is, over columns of the table.

    A number alone is every run's value, such as ``tokens=2e10``; a loss is none. A column of words
    (an id, a status) is one column as it is. Raises TableError where the text is not understood or
    a column of it does not exist.
    """
    try:
        found = expressions.parse(text, titles)
    except SpecError as error:
        if not re.search(r"[-+*/^()`]", text):
            raise TableError(f"{file} has no column {text!r}; it has {listed(titles)}.") from None
        raise TableError(f"{file}: {name}: {error} The columns are {listed(titles)}.") from None
    if absent := [one for one in found.names if one not in titles]:
        inside = "" if found.is_name else f" (in {text!r})"
        raise TableError(f"{file} has no column {absent[0]!r}{inside}; it has {listed(titles)}.")
    if found.is_name:
        return expressions.named(found.names[0])
    column = run_column(name)
    if column is not None and column.dtype in ("str", "bool"):
        raise TableError(
            f"{file}: {name} holds no numbers and is one column as it is, not {text!r}; "
            f"the columns are {listed(titles)}."
        )
    if not found.names and column is not None and column.unit == "nats/token":
        raise TableError(
            f"{file}: {name}={text} is one number for all runs, and losses differ. Name a column: "
            f"{listed(titles)}."
        )
    return found


def option(name: str, text: str) -> str:
    """``--column params='Model Size'``: how to say on a command line that `text` is `name`."""
    return f"--column {name}={shlex.quote(text)}"


def inner(text: str) -> str:
    """A column or expression as part of a larger expression."""
    return f"({text})" if re.search(r"[-+*/^]", text) else text


def listed(names: Collection[str], limit: int = 20) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(list(names)[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"

"""The shape of every run of a table, from its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalelab.counting.architectures import NOT_COUNTED, find
from scalelab.counting.described import (
    Assumed,
    Described,
    MissingFieldError,
    describe,
    is_modern,
)
from scalelab.counting.fields import (
    DIMENSIONS,
    Said,
    architecture_name,
    field_of,
    read_fields,
    understood,
)
from scalelab.counting.parameters import GATES
from scalelab.counting.shape import Countable, RecurrentShape
from scalelab.errors import SpecError, TableError
from scalelab.table import headers
from scalelab.table.schema import normalized

if TYPE_CHECKING:
    import polars as pl

_RECURRENT = ("n_layer", "d_model", "context", "vocabulary")
"""What a row of family lstm or gru must have."""


class UncountableError(TableError):
    """A table that has no such count, because it lacks a column; none of it is wrong."""


@dataclass(frozen=True)
class Shapes:
    """The shapes of a table's rows.

    each: in the order of the rows. assumed: rules that some row was completed by. styles: titles of
    the architectures whose rules these are. read: field -> the column that it was taken from,
    beside the six dimensions.
    """

    each: tuple[Countable, ...]
    assumed: tuple[Assumed, ...]
    styles: tuple[str, ...]
    read: Mapping[str, str]

    @property
    def experts(self) -> str:
        """``2 of 8``, as the first mixture of experts has it; empty where there is none."""
        for shape in self.each:
            if experts := getattr(shape, "experts", None):
                return f"{experts.active} of {experts.count}"
        return ""


def table_shapes(frame: pl.DataFrame) -> Shapes:
    """The shapes of a frame in the run table's schema, beside which any column may stand.

    Raises UncountableError where a column is missing, and TableError, with the column, where a
    shape is contradictory or of a kind that is not counted.
    """
    columns = _columns(frame)
    families: list[Any] = [None] * frame.height
    if "family" in frame.columns:
        families = frame["family"].to_list()
    rows = frame.select(list(columns)).rows() if columns else [()] * frame.height
    names = frame["run"].to_list() if "run" in frame.columns else range(1, frame.height + 1)
    keys = [repr((family, row)) for family, row in zip(families, rows, strict=True)]
    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    needed = _RECURRENT if all(map(_is_recurrent, families)) else DIMENSIONS
    made: dict[str, RecurrentShape | Described] = {}
    said: dict[str, dict[str, Said]] = {}
    with _named(needed) as at:
        for key, i in first.items():
            at.run = names[i]
            if _is_recurrent(families[i]):
                made[key] = _recurrent(families[i], dict(zip(columns, rows[i], strict=True)))
            else:
                said[key] = _said(families[i], columns, rows[i])
        modern = any(map(is_modern, said.values()))
        for key, one in said.items():
            at.run = names[first[key]]
            made[key] = describe(one, modern=modern)
    described = [one for one in made.values() if isinstance(one, Described)]
    found = [made[key] for key in keys]
    return Shapes(
        tuple(one.shape if isinstance(one, Described) else one for one in found),
        tuple(dict.fromkeys(rule for one in described for rule in one.assumed)),
        tuple(dict.fromkeys(one.style for one in described)),
        {field: title for title, name in columns.items() if (field := _extra(name))},
    )


@dataclass
class _Place:
    """The run that is being read."""

    run: object = None


@contextmanager
def _named(needed: Sequence[str]) -> Iterator[_Place]:
    """Errors of a shape as errors of the table, with the run. needed: columns of its kind."""
    at = _Place()
    try:
        yield at
    except MissingFieldError as error:
        raise UncountableError(
            "to count N or C, a table needs parameters by part, or shapes: "
            f"{', '.join(needed)}; {', '.join(error.names)} is missing."
        ) from error
    except SpecError as error:
        raise TableError(f"a shape of the table cannot be built: {error} (run {at.run})") from error


def _columns(frame: pl.DataFrame) -> dict[str, str]:
    """Columns that say something about a shape, and by which of their names."""
    found = {}
    for title in frame.columns:
        # The schema has settled which columns are the dimensions.
        names = [title] if title in DIMENSIONS else sorted(headers.forms(title))
        for name in map(normalized, names):
            if understood(name) and (field_of(name) not in DIMENSIONS or title in DIMENSIONS):
                found[title] = name
                break
    return found


def _extra(name: str) -> str | None:
    field = field_of(name)
    return None if field in DIMENSIONS else field


def _is_recurrent(family: object) -> bool:
    return isinstance(family, str) and family.lower() in GATES


def _recurrent(family: str, values: Mapping[str, Any]) -> RecurrentShape:
    if missing := [name for name in _RECURRENT if values.get(name) is None]:
        raise MissingFieldError(missing)
    cell: Any = family.lower()
    return RecurrentShape(cell, **{name: values[name] for name in _RECURRENT})


def _said(family: str | None, columns: Mapping[str, str], row: Sequence[Any]) -> dict[str, Said]:
    titles = zip(columns.items(), row, strict=True)
    said = read_fields((name, title, value) for (title, name), value in titles)
    if family is not None and "model_type" not in said:
        # A family may have any name; one that is an architecture's is taken for it.
        name = architecture_name(family)
        if name in NOT_COUNTED or find(name):
            said |= read_fields([("modeltype", "family", family)])
    return said

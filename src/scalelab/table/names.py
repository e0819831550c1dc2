"""Which column of somebody's table is which column of the schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.expressions import Expression, named
from scalelab.table import headers
from scalelab.table.costs import cost_of
from scalelab.table.expressions import listed, option, parse
from scalelab.table.raw import FILE, ROW
from scalelab.table.schema import (
    DATA_SETS,
    RUN_COLUMNS,
    STEPS,
    WEAK_IDS,
    Column,
    names_of,
    normalized,
    run_column,
)

if TYPE_CHECKING:
    import polars as pl

_SHORTEST = 3  # letters of a name that may be a misspelt column (assumed)
_CLOSE = 0.85  # ratio of difflib; num_expert and num_experts have .95 (assumed)


def match_columns(
    frame: pl.DataFrame,
    file: str,
    chosen: Mapping[str, str] | None = None,
) -> dict[str, Expression]:
    """What of `frame` each name of the schema is.

    chosen: schema name -> column, or an expression of columns (see `scalelab.expressions`): what
    the user says, which overrides recognition.

    Raises TableError when two columns with different values could be the same thing, or when a
    chosen column does not exist.
    """
    titles = [title for title in frame.columns if title not in (ROW, FILE)]
    mapping: dict[str, Expression] = {}
    for name, source in (chosen or {}).items():
        if run_column(name) is None:
            raise TableError(f"{name!r} is not a column of the run table: {_schema_names()}.")
        mapping[name] = parse(name, source, titles, file)
    taken = [one.text for one in mapping.values() if one.is_name]
    if twice := [text for text in taken if taken.count(text) > 1]:
        raise TableError(f"{file}: column {twice[0]!r} is given for two things; give it for one.")
    free = [t for t in titles if t not in taken]
    again = _repeats(frame, free)
    for column in RUN_COLUMNS:
        if column.name in mapping:
            continue
        candidates = _candidates(frame, free, column, data_sets=not again)
        if candidates and column.name == "run":
            if (picked := _id(frame, candidates)) is not None:
                mapping["run"] = named(picked)
        elif candidates:
            picked = only(frame, file, column, candidates)
            mapping[column.name] = named(picked)
        elif scaled := _in_units(frame, file, free, column):
            mapping[column.name] = scaled
    for title in free:
        other = run_column(f"loss.{title[5:]}") if title.startswith(("loss.", "loss/")) else None
        if other and fits(frame[title], other):
            mapping[f"loss.{title[5:]}"] = named(title)
    return mapping


def _repeats(frame: pl.DataFrame, titles: list[str]) -> bool:
    """Whether a table tells epochs, and not one alone everywhere."""
    import polars as pl

    column = next(column for column in RUN_COLUMNS if column.name == "epochs")
    found = _candidates(frame, titles, column)
    return bool(found) and bool(
        (frame[found[0]].cast(pl.Float64, strict=False) != 1).fill_null(value=False).any()
    )


def _candidates(
    frame: pl.DataFrame, titles: list[str], column: Column, *, data_sets: bool = True
) -> list[str]:
    found = [t for t in titles if headers.names(t, column) and not t.startswith("loss.")]
    sets = {normalized(name) for name in DATA_SETS}
    if not data_sets and column.name == "tokens":
        found = [title for title in found if sets.isdisjoint(headers.forms(title))]
    if not data_sets and column.name == "unique_tokens" and not found:
        found = [title for title in titles if not sets.isdisjoint(headers.forms(title))]
    if column.unit == "FLOP":
        found = [title for title in found if cost_of(title) is None]
    # A column of words is not N, whatever its name (param_count = "kaplan").
    return [title for title in found if fits(frame[title], column)]


def fits(cells: pl.Series, column: Column) -> bool:
    """Whether cells can be those of a column: not empty, nor words where numbers belong."""
    import polars as pl

    filled = cells.drop_nulls()
    if filled.is_empty() or cells.dtype.is_nested():
        return False
    if column.dtype in ("str", "bool") or cells.dtype.is_numeric():
        return True
    if cells.dtype != pl.String:
        return False
    digits = filled.str.contains(r"^\s*[-+]?[0-9.]|^\s*(?i:[-+]?inf|nan)").sum()
    return 2 * digits > len(filled)


def only(
    frame: pl.DataFrame,
    file: str,
    column: Column,
    candidates: list[str],
    *,
    choose: bool = True,
) -> str:
    """The candidate that is the column, the schema's own name first.

    choose: whether the user can say which one it is. Raises TableError when the values differ, and
    no name says more than the others. Whoever writes the schema's own name means it, but for a
    loss: in a log with val_loss, loss is mostly that of training.
    """
    first = candidates[0]
    if column.name in candidates:
        first = column.name
        apart = [name for name in candidates if column.name == "loss" and _held_out(name)]
        candidates = [*apart, first]
    if all(frame[first].equals(frame[name], check_dtypes=False) for name in candidates):
        return first
    way = "Rename those that are not."
    if choose:
        way = (
            f"Say which: {option(column.name, candidates[0])}, or "
            f"columns={{{column.name!r}: {candidates[0]!r}}} in Python."
        )
    raise TableError(
        f"{file}: {listed(candidates)} could each be {column.name} ({column.meaning}) and differ. "
        + way
    )


def _held_out(title: str) -> bool:
    """Whether a name of a loss says that it is one on text held out."""
    return any(re.search("val|test|held|dev", form) for form in headers.forms(title))


def _id(frame: pl.DataFrame, candidates: list[str]) -> str | None:
    """The first column that can be an id: what a log calls name may be that of a group."""
    order = next(column for column in RUN_COLUMNS if column.name == "run")
    ranks = {normalized(name): rank for rank, name in enumerate((order.name, *order.aliases))}
    candidates = sorted(
        candidates, key=lambda title: min(ranks.get(form, 99) for form in headers.forms(title))
    )
    unique = [title for title in candidates if not frame[title].is_duplicated().any()]
    if unique:
        return unique[0]
    weak = {normalized(name) for name in WEAK_IDS}
    points = any(normalized(title) in STEPS for title in frame.columns)
    strong = [t for t in candidates if points or not headers.forms(t) & weak]
    return strong[0] if strong else None


def _in_units(
    frame: pl.DataFrame, file: str, titles: list[str], column: Column
) -> Expression | None:
    """A column whose title says another unit, such as ``Params_B`` or ``tokens (millions)``."""
    if not column.count:
        return None
    found = []
    for title in titles:
        by = headers.factor(title, column)
        if by is not None and fits(frame[title], column) and cost_of(title) is None:
            found.append((title, by))
    if not found:
        return None
    only(frame, file, column, [title for title, _ in found])
    title, by = found[0]
    return parse(column.name, f"{title}*{by:g}", [title], file)


def _schema_names() -> str:
    return ", ".join(column.name for column in RUN_COLUMNS) + ", loss.NAME"


def near(name: str, columns: Collection[str]) -> str | None:
    """The column that `name` is nearly, or None: who writes it may mean the column.

    Nearly is: equal but for case and punctuation (``Batch_Size``), another name of the same thing
    in the schema (``n_params`` of ``params``), or a letter or two away (``num_expert``). A name
    that is a column is no near one. Names of one or two letters are never near: laws call their
    parameters so.
    """
    if name in columns:
        return None
    plain = normalized(name)
    if len(plain) < _SHORTEST:
        return None
    by_form = {form: title for title in reversed(list(columns)) for form in headers.forms(title)}
    if plain in by_form:
        return by_form[plain]
    for column in RUN_COLUMNS:
        if plain in names_of(column):
            same = [title for title in columns if headers.names(title, column)]
            if same:
                return same[0]
    # Names that differ in their digits are meant to differ: beta and beta2.
    digits = re.sub(r"[^0-9]", "", plain)
    alike = [form for form in by_form if re.sub(r"[^0-9]", "", form) == digits]
    close = difflib.get_close_matches(plain, alike, n=1, cutoff=_CLOSE)
    return by_form[close[0]] if close else None

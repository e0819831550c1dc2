"""Which column of somebody's table is which column of the schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.expressions import Expression, named
from scalelab.table import headers
from scalelab.table.expressions import listed, option, parse
from scalelab.table.raw import FILE, ROW
from scalelab.table.schema import (
    DATA_SETS,
    RUN_COLUMNS,
    STEPS,
    WEAK_IDS,
    Column,
    normalized,
    run_column,
)

if TYPE_CHECKING:
    import polars as pl

_OTHER_UNITS = {
    "perplexity": (("perplexity", "ppl"), "ln({})", ""),
    "bits per byte": (
        ("bpb", "bits/byte", "bits per byte", "bits_per_byte", "bitsperbyte"),
        "{}*0.693147*BYTES",
        ", where BYTES is the mean length of a token or the column that has it",
    ),
    "bits per token": (
        ("bits", "bits/token", "bits per token", "bits_per_token", "bitspertoken"),
        "{}*0.693147",
        "",
    ),
    "a logarithm": (("log_loss", "logloss", "loss_log", "ln_loss"), "exp({})", ""),
}
_LIKE = {
    "loss": ("loss", "xent", "entropy", "nll"),
    "params": ("param", "token", "flop", "compute", "size"),
}


def match_columns(
    frame: pl.DataFrame,
    file: str,
    chosen: Mapping[str, str] | None = None,
    *,
    need_loss: bool = True,
) -> dict[str, Expression]:
    """What of `frame` each name of the schema is.

    chosen: schema name -> column, or an expression of columns (see `scalelab.expressions`): what
    the user says, which overrides recognition. need_loss: whether a table without a loss is
    refused.

    Raises TableError when two columns with different values could be the same thing, when a
    chosen column does not exist, or when there is no loss or none of N, D and C.
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
        if title.startswith(("loss.", "loss/")) and len(title) > 5:
            mapping[f"loss.{title[5:]}"] = named(title)
    _require(frame, titles, file, mapping, need_loss=need_loss)
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
    # A column of words is not N, whatever its name (param_count = "kaplan").
    return [title for title in found if fits(frame[title], column)]


def fits(cells: pl.Series, column: Column) -> bool:
    """Whether cells can be those of a column: not empty, nor words where numbers belong."""
    import polars as pl

    filled = cells.drop_nulls()
    if filled.is_empty():
        return False
    if column.dtype == "str":
        return not cells.dtype.is_nested() and cells.dtype != pl.Object
    if column.dtype == "bool" or cells.dtype.is_numeric():
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
        if by is not None and fits(frame[title], column):
            found.append((title, by))
    if not found:
        return None
    only(frame, file, column, [title for title, _ in found])
    title, by = found[0]
    return parse(column.name, f"{title}*{by:g}", [title], file)


def _require(
    frame: pl.DataFrame,
    titles: list[str],
    file: str,
    mapping: Mapping[str, Expression],
    *,
    need_loss: bool,
) -> None:
    if "loss" not in mapping and need_loss:
        others = [words for words, _, _ in _OTHER_UNITS.values()]
        plain = [t for t in _like(frame, titles, "loss") if not any(_says(t, w) for w in others)]
        for title in () if plain else titles:
            for unit, (words, formula, where) in _OTHER_UNITS.items():
                if _says(title, words) and frame[title].null_count() < frame.height:
                    raise TableError(
                        f"{file}: {title!r} is {unit}; the loss in nats per token is expected. "
                        f"Add a column loss = {formula.format(title)}, or say "
                        f"{option('loss', formula.format(title))}{where}."
                    )
        _missing(frame, titles, file, "loss", "held-out loss in nats per token", "val_loss")
    if not {"params", "tokens", "flops"} & mapping.keys():
        _missing(frame, titles, file, "params", "N, D or C (params, tokens, flops)", "n_params")


def _says(title: str, words: tuple[str, ...]) -> bool:
    """Whether a title is one of `words`, or has it as a word beside loss, val, ..."""
    plain = title.lower().strip()
    return any(
        normalized(word) in headers.forms(title)
        or re.search(rf"(?:^|[^a-z]){re.escape(word)}(?:[^a-z]|$)", plain)
        for word in words
        if word != "bits" or "loss" in plain or plain in ("bits", "val_bits")
    )


def _missing(
    frame: pl.DataFrame, titles: list[str], file: str, name: str, what: str, example: str
) -> None:
    import polars as pl

    shown = [f"{t} (empty)" if frame[t].null_count() == frame.height else t for t in titles]
    wanted = {"loss": ("loss",), "params": ("params", "tokens", "flops")}[name]
    unfit = [
        title
        for title in titles
        for column in RUN_COLUMNS
        if column.name in wanted and headers.names(title, column)
    ]
    hint = ""
    for title in unfit:
        cells = frame[title].drop_nulls()
        if len(cells):
            kind = f"{str(cells[0])[:40]!r}" if cells.dtype == pl.String else "lists or objects"
            hint = f" Column {title!r} holds {kind}, not one number a run."
    logs = [t for t in titles if re.match(r"log(10)?[ _(]", t.lower()) and name == "params"]
    if logs:
        hint = f" {logs[0]!r} may be a logarithm: {option('params', f'10^{logs[0]}')}."
    if (like := _like(frame, titles, name)) and not hint:
        of = " (of training, not held out)" if "train" in like[0].lower() else ""
        hint = f" Is it {like[0]!r}{of}? Then say {option(name, like[0])}."
    raise TableError(
        f"{file}: no column for {what}; it has {listed(shown)}.{hint} "
        f"Say which one it is: --column {name}=NAME, or rename it to {example}."
    )


def _like(frame: pl.DataFrame, titles: list[str], name: str) -> list[str]:
    """Columns of numbers whose titles sound like what is missing, held-out losses first."""
    column = next(column for column in RUN_COLUMNS if column.name == name)
    found = [t for t in titles if any(word in t.lower() for word in _LIKE[name])]
    return sorted((t for t in found if fits(frame[t], column)), key=lambda t: "train" in t.lower())


def _schema_names() -> str:
    return ", ".join(column.name for column in RUN_COLUMNS) + ", loss.NAME"


def near(name: str, columns: object) -> str | None:
    """Replaced by the merge."""
    import difflib

    assert isinstance(columns, list)
    found = difflib.get_close_matches(name, columns, 1, 0.85) if len(name) > 2 else []
    return found[0] if found and found[0] != name else None

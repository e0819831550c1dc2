"""What is said where a column that is needed is not there: what the table has, what it may be."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NoReturn

from scalelab.errors import TableError
from scalelab.table import headers
from scalelab.table.costs import compute_of, cost_of
from scalelab.table.expressions import listed, option
from scalelab.table.names import fits, near
from scalelab.table.schema import RUN_COLUMNS, Column, normalized, run_column

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
    "tokens": ("token", "data"),
    "flops": ("flop", "compute"),
}
_EXAMPLES = {"loss": "val_loss", "params": "n_params"}
_FOLLOWS = {
    "params": "from tokens and flops",
    "tokens": "from params and flops, steps and batch_tokens, or unique_tokens and epochs",
    "flops": "from params and tokens",
}


def is_of_loss(title: str) -> bool:
    """Whether a title names a loss, in our unit or in another."""
    loss = run_column("loss")
    assert loss is not None
    return (
        headers.names(title, loss)
        or any(word in title.lower() for word in _LIKE["loss"])
        or any(_says(title, words) for words, _, _ in _OTHER_UNITS.values())
    )


def refuse(frame: pl.DataFrame, file: str, name: str, *, any_of: Collection[str] = ()) -> NoReturn:
    """Raise the TableError that a column which is needed is missing.

    frame: the source's columns. name: of the schema, or one of the user's own. any_of: of which
    one would do.
    """
    column = run_column(name)
    if column is None:
        _no_column(frame, file, name)
    if name == "loss":
        _refuse_units(frame, file)
    wanted = tuple(any_of) or (name,)
    titles = frame.columns
    hint = _unfit(frame, wanted)
    logs = [t for t in titles if re.match(r"log(10)?[ _(]", t.lower()) and name == "params"]
    if logs:
        hint = f" {logs[0]!r} may be a logarithm: {option('params', f'10^{logs[0]}')}."
    costs = [t for t in titles if "flops" in wanted and cost_of(t)]
    if costs and not hint:
        hint = f" {costs[0]!r} is the cost of a {cost_of(costs[0])} by its name. "
        hint += compute_of(costs[0], titles, {})
    elif (like := _like(frame, column)) and not hint:
        of = " (of training, not held out)" if "train" in like[0].lower() else ""
        hint = f" Is it {like[0]!r}{of}? Then say {option(name, like[0])}."
    if not any_of and name in _FOLLOWS:
        hint += f" It also follows {_FOLLOWS[name]}."
    example = _EXAMPLES.get(name, name)
    raise TableError(
        f"{file}: no column for {_what(column, any_of)}; it has {_shown(frame)}.{hint} "
        f"Say which one it is: --column {name}=NAME, or rename it to {example}."
    )


def _what(column: Column, any_of: Collection[str]) -> str:
    if any_of:
        letters = {"params": "N", "tokens": "D", "flops": "C"}
        *first, last = (letters[name] for name in any_of)
        return f"{', '.join(first)} or {last} ({', '.join(any_of)})"
    if column.name == "loss":
        return "held-out loss in nats per token"
    return f"{column.name} ({column.meaning})" if column.meaning else column.name


def _shown(frame: pl.DataFrame) -> str:
    return listed(
        [t if frame[t].null_count() < frame.height else f"{t} (empty)" for t in frame.columns]
    )


def _no_column(frame: pl.DataFrame, file: str, name: str) -> NoReturn:
    close = near(name, frame.columns)
    hint = f" Is it {close!r}?" if close else ""
    raise TableError(
        f"{file}: no column {name!r}; it has {_shown(frame)}.{hint} "
        "Write the name as the table has it, or rename the column."
    )


def _refuse_units(frame: pl.DataFrame, file: str) -> None:
    titles = frame.columns
    loss = run_column("loss")
    assert loss is not None
    others = [words for words, _, _ in _OTHER_UNITS.values()]
    if any(not any(_says(t, w) for w in others) for t in _like(frame, loss)):
        return
    for title in titles:
        for unit, (words, formula, where) in _OTHER_UNITS.items():
            if _says(title, words) and frame[title].null_count() < frame.height:
                raise TableError(
                    f"{file}: {title!r} is {unit}; the loss in nats per token is expected. "
                    f"Add a column loss = {formula.format(title)}, or say "
                    f"{option('loss', formula.format(title))}{where}."
                )


def _says(title: str, words: Iterable[str]) -> bool:
    """Whether a title is one of `words`, or has it as a word beside loss, val, ..."""
    plain = title.lower().strip()
    return any(
        normalized(word) in headers.forms(title)
        or re.search(rf"(?:^|[^a-z]){re.escape(word)}(?:[^a-z]|$)", plain)
        for word in words
        if word != "bits" or "loss" in plain or plain in ("bits", "val_bits")
    )


def _unfit(frame: pl.DataFrame, wanted: Collection[str]) -> str:
    """A column that has the name and no numbers."""
    import polars as pl

    hint = ""
    columns = [column for column in RUN_COLUMNS if column.name in wanted]
    for title in frame.columns:
        cells = frame[title].drop_nulls()
        if len(cells) and any(headers.names(title, column) for column in columns):
            kind = f"{str(cells[0])[:40]!r}" if cells.dtype == pl.String else "lists or objects"
            hint = f" Column {title!r} holds {kind}, not one number a run."
    return hint


def _like(frame: pl.DataFrame, column: Column) -> list[str]:
    """Columns of numbers whose titles sound like what is missing, held-out losses first."""
    words = _LIKE.get(column.name)
    if words is None:
        close = near(column.name, frame.columns)
        return [close] if close else []
    found = [t for t in frame.columns if any(word in t.lower() for word in words)]
    found = [t for t in found if cost_of(t) is None]
    return sorted((t for t in found if fits(frame[t], column)), key=lambda t: "train" in t.lower())

"""Wide tables: a column for each budget, its cells the losses, as a grid of runs is printed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scalelab.errors import Notice, ScalelabError, TableError
from scalelab.table import headers
from scalelab.table.cells import numbers
from scalelab.table.expressions import listed
from scalelab.table.marks import plain as as_read
from scalelab.table.raw import FILE, ROW, Raw
from scalelab.table.schema import RUN_COLUMNS, STEPS, normalized
from scalelab.units import parse_count, parse_flop

if TYPE_CHECKING:
    pass

_COLUMNS = {column.name: column for column in RUN_COLUMNS}
_SIZES = ("params", "tokens", "flops")
_SYMBOLS = {"params": "N", "tokens": "D", "flops": "C"}
_WORDS = {
    "flops": re.compile(r"\b(?:flops?|compute|budget|c)\b"),
    "tokens": re.compile(r"\b(?:tokens?|toks?|d)\b"),
    "params": re.compile(r"\b(?:params?|parameters?|n)\b"),
}
_AMOUNT = re.compile(
    r"([0-9]+(?:[.,_][0-9]+)*(?:e[-+]?[0-9]+)?)\s*"
    r"([kmbgt]?)(?![a-z])|[0-9.]+\s*[kmgtpez]flops?|[0-9.]+\s*pf-?days?",
    re.IGNORECASE,
)
_AROUND = re.compile(r"\b(?:val|valid|validation|eval|test|final)?[ _]?loss\b|[@_=:()\[\]]|\bat\b")
_SEED = re.compile(r"(?:loss|val_loss)?[ _]?(?:seed|run|rep|trial)?[ _#]*[0-9]{1,4}", re.IGNORECASE)
_LEAST = 1e5  # no size or budget of a run lies below (assumed); a seed or a rate does
_LOSSES = (0.1, 15.0)
_TOKENS_PER_PARAM = (0.05, 1e5)  # what makes a reading of a header possible (assumed)


@dataclass(frozen=True)
class _Header:
    """A title that holds an amount. kind: params, tokens or flops, empty where it does not say."""

    title: str
    amount: float
    kind: str


def melted(raw: Raw) -> Raw:
    """A row for each run of a table with a column for each budget; other tables as they are.

    That is done where a column names N or D (or C), two or more headers are amounts, one reading of
    them gives runs that can be, and all their cells look like losses; it is told in a notice.
    Raises TableError, with the call that turns the table, where it is wide and that is not so.
    """
    frame = raw.frame
    titles = [title for title in frame.columns if title not in (ROW, FILE)]
    amounts = [one for title in titles if (one := _amount(title))]
    _refuse_seeds(raw, titles)
    others = [title for title in titles if title not in {one.title for one in amounts}]
    if len(amounts) < 2 or any(headers.names(title, _COLUMNS["loss"]) for title in others):
        return raw
    cells = {one.title: numbers(frame[one.title], _COLUMNS["loss"]) for one in amounts}
    if any(bad.any() for _, bad in cells.values()):
        return raw
    losses = [loss for found, _ in cells.values() for loss in found.drop_nulls().to_list()]
    if not losses:
        return raw
    shown = [one.title for one in amounts]
    example = listed(shown, 4)
    if not all(_LOSSES[0] < loss < _LOSSES[1] for loss in losses):
        raise TableError(
            f"{raw.name} is a wide table: the headers {example} are amounts. Its cells run from "
            f"{min(losses):.4g} to {max(losses):.4g} and do not look like losses. "
            f"{_call(shown, others, 'flops', 'VALUE')}"
        )
    labels = {name: title for title in others for name in _label(title)}
    kind = _kind(raw, amounts, labels)
    if kind is None:
        known = f"column {next(iter(labels.values()))} is {next(iter(labels))}" if labels else (
            f"none of its other columns ({listed(others) or 'none'}) is N, D or C"
        )  # fmt: skip
        raise TableError(
            f"{raw.name} is a wide table: the headers {example} are amounts and the cells look "
            f"like losses, but whether the headers are N, D or C is not clear ({known}). "
            f"{_call(shown, others, '/'.join(n for n in _SIZES if n not in labels), 'loss')}"
        )
    return _long(raw, amounts, others, labels, kind)


def _refuse_seeds(raw: Raw, titles: list[str]) -> None:
    """Raise TableError where the losses of several seeds stand side by side."""
    seeds = [title for title in titles if _SEED.fullmatch(title.strip())]
    others = [title for title in titles if title not in seeds]
    known = any(headers.names(title, _COLUMNS["loss"]) for title in others)
    if len(seeds) < 2 or known or not any(map(_label, others)):
        return
    cells = [numbers(raw.frame[title], _COLUMNS["loss"])[0].drop_nulls() for title in seeds]
    if all(((one > _LOSSES[0]) & (one < _LOSSES[1])).all() for one in cells):
        raise TableError(
            f"{raw.name} is a wide table: the cells below {listed(seeds, 4)} look like losses. "
            f"{_call(seeds, others, 'seed', 'loss')}"
        )


def _amount(title: str) -> _Header | None:
    """The amount in a header such as ``1e18``, ``3e18 FLOP``, ``C=1e18``, ``loss @ 1B tokens``."""
    plain = _AROUND.sub(" ", as_read(title).lower().replace("loss_", "loss "))
    plain = re.sub(r"\s*[x\u00d7*\u00b7]\s*10\s*\^\s*", "e", plain)
    plain = re.sub(r"(?<![0-9.])10\s*\^\s*", "1e", plain)
    match = _AMOUNT.search(plain)
    if match is None:
        return None
    rest = plain[: match.start()] + " " + plain[match.end() :]
    kind = "flops" if re.search(r"flop|pf", match[0]) else ""
    try:
        amount = parse_flop(match[0]) if kind else parse_count(match[0])
    except (ScalelabError, ValueError):
        return None
    kinds = [name for name, words in _WORDS.items() if words.search(rest)]
    left = rest
    for words in _WORDS.values():
        left = words.sub(" ", left)
    if left.strip(" -,.'\"") or len(kinds) > 1 or amount < _LEAST:
        return None
    return _Header(title, amount, kind or (kinds[0] if kinds else ""))


def _label(title: str) -> list[str]:
    """What a column of labels is: params, tokens or flops; of a corner ``N \\ C`` the first."""
    first = re.split(r"\s*(?:\\|/| vs\.? |\||\u2193|\u2192)\s*", title.strip())[0]
    for form in dict.fromkeys((title, first)):
        found = [
            name
            for name in _SIZES
            if headers.names(form, _COLUMNS[name]) or headers.factor(form, _COLUMNS[name])
        ]
        if found:
            return found
    return ["flops"] if normalized(title) in ("budget", "isoflop", "isoflops") else []


def _kind(raw: Raw, amounts: list[_Header], labels: dict[str, str]) -> str | None:
    """What the headers are: what they say, else the one reading that gives possible runs."""
    said = {one.kind for one in amounts} - {""}
    if len(labels) != 1 or len(said) > 1:
        return None
    (label, title), values = next(iter(labels.items())), list[float]()
    column = _COLUMNS[label]
    found, bad = numbers(raw.frame[title], column)
    by = headers.factor(title, column) or 1.0
    values = [value * by for value in found.drop_nulls().to_list()]
    if bad.any() or not values or min(values) <= 0:
        return None
    corner = re.split(r"\s*(?:\\|/| vs\.? |\||\u2193|\u2192)\s*", title.strip().lower())
    if not said and len(corner) == 2:
        said = {name for name, words in _WORDS.items() if words.search(corner[1])}
    readings = said or set(_SIZES)
    possible = [
        kind
        for kind in _SIZES
        if kind in readings - {label}
        and all(_can_be(label, value, kind, one.amount) for value in values for one in amounts)
    ]
    return possible[0] if len(possible) == 1 else None


def _can_be(label: str, value: float, kind: str, amount: float) -> bool:
    """Whether a run with these two of N, D and C (6 N D) can be."""
    known = {label: value, kind: amount}
    params = known.get("params") or known["flops"] / 6 / known["tokens"]
    tokens = known.get("tokens") or known["flops"] / 6 / params
    low, high = _TOKENS_PER_PARAM
    return params >= _LEAST / 100 and tokens >= _LEAST and low <= tokens / params <= high


def _long(
    raw: Raw, amounts: list[_Header], others: list[str], labels: dict[str, str], kind: str
) -> Raw:
    import polars as pl

    label, title = next(iter(labels.items()))
    keep = [name for name in others if name not in (kind, "loss", "run")]
    names = (
        pl.col("run").cast(pl.String) if "run" in others else "row-" + pl.col(ROW).cast(pl.String)
    )
    parts = [
        raw.frame.select(
            *keep,
            pl.lit(one.amount).alias(kind),
            pl.col(one.title).alias("loss"),
            (names + pl.lit(f" {one.title}")).alias("run"),
            ROW,
            FILE,
        )
        for one in amounts
    ]
    frame = pl.concat(parts, how="vertical_relaxed")
    filled = frame.filter(pl.col("loss").is_not_null())
    corner = title if _is_title(title, label) else label
    filled = filled.rename({title: corner})
    empty = frame.height - filled.height
    message = (
        f"{raw.name} is a wide table and was read as rows: the headers "
        f"{listed([one.title for one in amounts], 6)} as {_SYMBOLS[kind]} ({kind}), the cells as "
        f"losses, column {title} as {_SYMBOLS[label]}; {filled.height} runs"
        + (f", {empty} empty cells left out." if empty else ".")
    )
    return replace(raw, frame=filled, notices=(*raw.notices, Notice("wide-table", message)))


def _is_title(title: str, label: str) -> bool:
    column = _COLUMNS[label]
    return headers.names(title, column) or bool(headers.factor(title, column))


def _call(titles: list[str], others: list[str], kind: str, value: str) -> str:
    return (
        f"Turn it into a row per run: frame.unpivot(index={others!r}, on={titles!r}, "
        f"variable_name={kind!r}, value_name={value!r}) in polars, frame.melt(id_vars={others!r}, "
        f"var_name={kind!r}, value_name={value!r}) in pandas."
    )


def refuse_wide_curves(raw: Raw) -> None:
    """Raise TableError where each column but the step is a loss, of other runs or kinds."""
    titles = [title for title in raw.frame.columns if title not in (ROW, FILE)]
    steps = [title for title in titles if normalized(title) in STEPS]
    if len(steps) != 1 or titles[0] != steps[0] or len(titles) < 3:
        return
    others = titles[1:]
    known = {normalized(n) for column in RUN_COLUMNS for n in (column.name, *column.aliases)}
    if any(
        normalized(title) in known or headers.names(title, _COLUMNS["loss"]) for title in others
    ):
        return
    for title in others:
        found, bad = numbers(raw.frame[title], _COLUMNS["loss"])
        found = found.drop_nulls()
        low, high = found.min(), found.max()
        if bad.any() or not isinstance(low, float) or not isinstance(high, float):
            return
        if not (_LOSSES[0] < low and high < _LOSSES[1]):
            return
    raise TableError(
        f"{raw.name} is a wide table of curves: a column for each of {listed(others, 6)} against "
        f"{steps[0]}. A row for each point of a run is expected: frame.unpivot(index={steps!r}, "
        f"variable_name='run', value_name='loss') in polars, frame.melt(id_vars={steps!r}, "
        "var_name='run', value_name='loss') in pandas."
    )

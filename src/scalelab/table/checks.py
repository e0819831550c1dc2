"""Cells to typed values, and what is wrong with them, by row and column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.errors import ScalelabError, TableError
from scalelab.table.schema import STATUSES, Column, run_column
from scalelab.units import parse_count

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 5
_STATUS_WORDS = {
    "finished": ("finished", "completed", "complete", "done", "ok", "success"),
    "diverged": ("diverged", "nan", "exploded"),
    "running": ("running", "pending", "queued", "started"),
    "failed": ("failed", "crashed", "killed", "error", "preempted", "cancelled", "canceled"),
}
REQUIRED = ("params", "tokens", "flops", "loss")
"""What a finished run must have, of what the table has at all."""
# Smallest and largest that a real run can have (assumed, generous): below, the unit is another.
_LEAST_PARAMS, _LEAST_TOKENS, _LEAST_FLOPS = 1000.0, 2000.0, 1e7
_TOKENS_PER_PARAM = (1e-4, 1e5)
_FLOPS_PER_PARAM_TOKEN = (0.5, 1e5)
_LARGEST_LOSS = 15.0  # ln of a vocabulary of three million


@dataclass(frozen=True)
class Fault:
    """Rows (a boolean mask) of one column that are wrong for one reason.

    unit: whether the column is in another unit, which no dropping of rows mends.
    """

    column: str
    mask: pl.Series
    seen: pl.Series
    reason: str
    unit: bool = False


def typed_frame(raw: pl.DataFrame, mapping: Mapping[str, str]) -> tuple[pl.DataFrame, list[Fault]]:
    """The schema's columns with their types, the other columns after them as they came.

    A cell that cannot be read becomes null, and a fault.
    """
    import polars as pl

    series, faults = [], []
    for name, source in mapping.items():
        column = run_column(name)
        if column is None:  # match_columns lets no such name through
            raise TableError(f"{name!r} is not a column of the run table.")
        cells, bad, expected = _cast(raw[source], column)
        series.append(cells.alias(name))
        if bad.any():
            faults.append(Fault(source, bad, raw[source], expected))
    used = set(mapping.values())
    for name in raw.columns:
        if name not in used:
            series.append(raw[name].alias(f"source.{name}" if name in mapping else name))
    return pl.DataFrame(series), faults


def _cast(cells: pl.Series, column: Column) -> tuple[pl.Series, pl.Series, str]:
    import polars as pl

    if column.name == "status":
        words = {word: status for status, group in _STATUS_WORDS.items() for word in group}
        text = cells.cast(pl.String).str.strip_chars().str.to_lowercase()
        done = text.replace_strict(words, default=None, return_dtype=pl.String)
        return done, text.is_not_null() & done.is_null(), f"expected one of {', '.join(STATUSES)}"
    if column.dtype == "str":
        return cells.cast(pl.String), cells.is_null() & False, ""
    if column.dtype == "bool":
        text = cells.cast(pl.String).str.to_lowercase()
        table = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        flags = text.replace_strict(table, default=None, return_dtype=pl.Boolean)
        return flags, text.is_not_null() & flags.is_null(), "expected true or false"
    if cells.dtype == pl.String:
        stripped = cells.str.strip_chars()
        numbers = stripped.cast(pl.Float64, strict=False)
        if column.count:
            numbers = numbers.fill_null(_counts(stripped.filter(numbers.is_null()), stripped))
    else:
        numbers = cells.cast(pl.Float64, strict=False)
    bad = cells.is_not_null() & numbers.is_null()
    expected = "expected a number" + (" such as 124M or 2e9" if column.count else "")
    if column.dtype == "int":
        whole = numbers.round().cast(pl.Int64, strict=False)
        bad = bad | (whole.cast(pl.Float64) != numbers).fill_null(False)
        return whole, bad, "expected a whole number"
    return numbers, bad, expected


def _counts(unread: pl.Series, cells: pl.Series) -> pl.Series:
    """Cells such as ``124M`` as numbers; null where they are not counts either."""
    import polars as pl

    values: dict[str, float] = {}
    for text in unread.drop_nulls().unique().to_list():
        try:
            values[text] = parse_count(text)
        except ScalelabError:
            continue
    return cells.replace_strict(values, default=None, return_dtype=pl.Float64)


def check(frame: pl.DataFrame, mapping: Mapping[str, str]) -> list[Fault]:
    """Missing, not finite, not positive, duplicated or impossible cells of a typed frame.

    Only finished rows must have N, D, C and a loss: a diverged run has none to give.
    """
    return [fault for fault in _faults(frame, mapping) if fault.mask.any()]


def _faults(frame: pl.DataFrame, mapping: Mapping[str, str]) -> Iterator[Fault]:
    finished = (frame["status"] == "finished").fill_null(False)
    for name in frame.columns:
        column = run_column(name)
        if column is None or name not in mapping:
            continue
        cells, source = frame[name], mapping[name]
        if name in REQUIRED:
            yield Fault(source, finished & cells.is_null(), cells, "the cell is empty")
        if column.dtype == "float":
            infinite = cells.is_nan() | cells.is_infinite()
            bad = infinite.fill_null(False) & finished
            yield Fault(source, bad, cells, "not a finite number")
        if column.positive:
            low = (cells <= 0).fill_null(False) & finished
            hint = " Is the column an accuracy?" if name == "loss" else ""
            yield Fault(source, low, cells, f"{column.meaning} is positive.{hint}")
    if "run" in mapping:
        runs = frame["run"]
        yield Fault(mapping["run"], runs.is_null(), runs, "a run without an id")
        again = runs.is_not_null() & ~runs.is_first_distinct()
        yield Fault(
            mapping["run"], again, runs, "the id was used in an earlier row; ids are unique"
        )
    yield from _implausible(frame, mapping, finished)


def _implausible(
    frame: pl.DataFrame, mapping: Mapping[str, str], finished: pl.Series
) -> Iterator[Fault]:
    """Values that no run can have in the expected unit, so the unit must be another."""

    def fault(name: str, mask: pl.Series, reason: str) -> Fault:
        bad = mask.fill_null(False) & finished
        return Fault(mapping[name], bad, frame[name], reason, unit=True)

    known = {name: frame[name] for name in REQUIRED if name in mapping}
    params, tokens, flops = (known.get(name) for name in ("params", "tokens", "flops"))
    if params is not None:
        yield fault("params", _below(params, _LEAST_PARAMS), "too few. Is N in millions?")
    if tokens is not None:
        yield fault("tokens", _below(tokens, _LEAST_TOKENS), "too few. Is D in billions?")
    if flops is not None:
        yield fault("flops", _below(flops, _LEAST_FLOPS), "too few FLOP. Is C in PF-days?")
    if params is not None and tokens is not None:
        ratio = tokens / params
        low, high = _TOKENS_PER_PARAM
        plausible = (params >= _LEAST_PARAMS) & (tokens >= _LEAST_TOKENS)
        reason = "tokens per parameter out of the possible. Are N and D in the same unit, 1?"
        yield fault("tokens", plausible & ((ratio < low) | (ratio > high)), reason)
        if flops is not None:
            ratio = flops / (params * tokens)
            low, high = _FLOPS_PER_PARAM_TOKEN
            odd = plausible & (flops >= _LEAST_FLOPS) & ((ratio < low) | (ratio > high))
            yield fault("flops", odd, "C is about 6 N D, far from this. In which unit is it?")
    if (loss := known.get("loss")) is not None:
        high_loss = (loss > _LARGEST_LOSS) & loss.is_finite()
        yield fault("loss", high_loss, "too high for nats per token. Is it a perplexity?")
        if "vocabulary" in mapping:
            uniform = frame["vocabulary"].cast(loss.dtype).log()
            worse = (loss > 1.05 * uniform) & (loss <= _LARGEST_LOSS)
            yield fault("loss", worse, "worse than guessing, ln(vocabulary). Is it in bits?")


def check_units(frame: pl.DataFrame, mapping: Mapping[str, str]) -> list[Fault]:
    """Cells of N, D, C and loss, given or derived, that no run can have in the expected unit."""
    finished = (frame["status"] == "finished").fill_null(False)
    return [fault for fault in _implausible(frame, mapping, finished) if fault.mask.any()]


def _below(cells: pl.Series, least: float) -> pl.Series:
    return (cells > 0) & (cells < least)


def bad_rows(faults: list[Fault]) -> pl.Series:
    """One mask of all rows with a fault."""
    mask = faults[0].mask
    for fault in faults[1:]:
        mask = mask | fault.mask
    return mask


def describe(file: str, faults: list[Fault]) -> str:
    """The first few faults, one per line, each with file, row (from 1, header apart), column."""
    lines: dict[tuple[int, str], str] = {}
    for fault in faults:
        for row in fault.mask.arg_true().head(_SHOWN).to_list():
            value = fault.seen[row]
            shown = "" if value is None else f" is {_shown(value)}"
            place = f"{file} row {row + 1}, column {fault.column}{shown}"
            # The first reason is the plainest: a cell that is not a number is not also empty.
            lines.setdefault((row, fault.column), f"{place}: {fault.reason}")
    count = int(bad_rows(faults).sum())
    more = "" if count <= _SHOWN else f"\n... {count} bad rows in all"
    first = sorted(lines.items(), key=lambda line: line[0][0])[:_SHOWN]
    return "\n".join(text for _, text in first) + more


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, str) else str(value)

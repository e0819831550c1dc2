"""Cells to typed values, and what is wrong with them, by row and column."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.expressions import Expression
from scalelab.table.cells import numbers
from scalelab.table.expressions import inner, option
from scalelab.table.missing import is_of_loss
from scalelab.table.own import Own, read_own
from scalelab.table.raw import FILE, ROW, place
from scalelab.table.schema import STATUSES, Column, run_column

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 5
_STATUS_WORDS = {
    "finished": ("finished", "completed", "complete", "done", "ok", "success", "succeeded"),
    "diverged": ("diverged", "nan", "exploded"),
    "running": ("running", "pending", "queued", "started", "scheduled"),
    "failed": (
        *("failed", "fail", "crashed", "killed", "error", "preempted", "preempting", "cancelled"),
        *("canceled", "aborted", "interrupted", "timeout", "out_of_memory", "oom", "node_fail"),
    ),
}
COLUMN_SHARE = 0.25
"""Share of rows wrong in one way that makes it a fault of the column (assumed)."""
REQUIRED = ("params", "tokens", "flops", "loss")
"""What a finished run must have, of what the table has at all."""
# Smallest and largest that a real run can have (assumed, generous): below, the unit is another.
_LEAST_PARAMS, _LEAST_TOKENS, _LEAST_FLOPS = 1000.0, 2000.0, 1e7
_TOKENS_PER_PARAM = (1e-4, 1e5)
_FLOPS_PER_PARAM_TOKEN = (0.5, 1e5)
LARGEST_LOSS = 15.0  # ln of a vocabulary of three million


@dataclass(frozen=True)
class Fault:
    """Rows (a boolean mask) of one column that are wrong for one reason.

    column: empty where the whole row is wrong, whose cells then say nothing. unit: what would mend
    a column in another unit, which no dropping of rows does.
    """

    column: str
    mask: pl.Series
    seen: pl.Series
    reason: str
    unit: str = ""


@dataclass(frozen=True)
class Typed:
    """The cells of a table as values.

    frame: the schema's columns with their types, the user's own after them. faults: schema name ->
    the cells that cannot be read, which are null. own: column of the source -> how it reads by
    itself, also where it was taken for a column of the schema. titles: column of the source -> its
    name in the frame, for those that are the user's own.
    """

    frame: pl.DataFrame
    faults: Mapping[str, Sequence[Fault]]
    own: Mapping[str, Own]
    titles: Mapping[str, str]


def typed(raw: pl.DataFrame, mapping: Mapping[str, Expression], *, commas: bool = False) -> Typed:
    """Every column as values. commas: whether the table's decimal marks are commas."""
    import polars as pl

    series: list[pl.Series] = []
    faults: dict[str, list[Fault]] = {}
    for name, source in mapping.items():
        column = run_column(name)
        if column is None:  # match_columns lets no such name through
            raise TableError(f"{name!r} is not a column of the run table.")
        if lists := [title for title in source.names if raw[title].dtype.is_nested()]:
            raise TableError(
                f"column {lists[0]!r} holds lists; one value a run is expected for {name}."
            )
        cast = _cast if source.is_name else _computed
        cells, bad = cast(raw, source, column, commas=commas)
        series.append(cells.alias(name))
        faults[name] = [fault for fault in bad if fault.mask.any()]
    used = {source.names[0] for source in mapping.values() if source.is_name}
    own: dict[str, Own] = {}
    titles: dict[str, str] = {}
    for title in raw.columns:
        if title in (ROW, FILE):
            series.append(raw[title])
            continue
        own[title] = read_own(raw[title], commas=commas)
        if title not in used:
            # A name of the schema is that of its column alone: code relies on its type.
            name = f"source.{title}" if run_column(title) else title
            while name in titles.values() or (name != title and name in raw.columns):
                name = f"source.{name}"
            titles[title] = name
            series.append(own[title].cells.alias(name))
    return Typed(pl.DataFrame(series), faults, own, titles)


def _cast(
    raw: pl.DataFrame, source: Expression, column: Column, *, commas: bool
) -> tuple[pl.Series, list[Fault]]:
    """The cells of one column."""
    import polars as pl

    (title,) = source.names
    cells = raw[title]
    if column.dtype == "str":
        if column.name != "status":
            return cells.cast(pl.String), []
        words = {word: status for status, group in _STATUS_WORDS.items() for word in group}
        text = cells.cast(pl.String).str.strip_chars().str.to_lowercase()
        done = text.replace_strict(words, default=None, return_dtype=pl.String)
        bad = text.is_not_null() & done.is_null()
        return done, [Fault(title, bad, cells, f"expected one of {', '.join(STATUSES)}")]
    if column.dtype == "bool":
        text = cells.cast(pl.String).str.strip_chars().str.to_lowercase()
        table = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        flags = text.replace_strict(table, default=None, return_dtype=pl.Boolean)
        bad = text.is_not_null() & flags.is_null()
        return flags, [Fault(title, bad, cells, "expected true or false")]
    found, bad = numbers(cells, column, commas=commas)
    expected = "expected a number" + (" such as 124M or 2e9" if column.count else "")
    whole, fraction = _whole(found, column)
    expected = "expected a whole number" if column.dtype == "int" else expected
    return whole, [Fault(title, bad | fraction, cells, expected)]


def _computed(
    raw: pl.DataFrame, source: Expression, column: Column, *, commas: bool
) -> tuple[pl.Series, list[Fault]]:
    """The value of an expression at each row; a cell that is no number is a fault of its column."""
    import polars as pl

    scaled = bool(source.constants)  # a number in it may be that of the cells' unit
    expected = "expected a number" + (", its unit being told already" if scaled else "")
    scope, faults = {}, []
    for title in source.names:
        scope[title], bad = numbers(raw[title], column, commas=commas, plain=scaled)
        faults.append(Fault(title, bad, raw[title], expected))
    value = source.evaluate(scope)
    if not source.names:
        value = pl.Series([float(value)] * raw.height, dtype=pl.Float64)
    whole, fraction = _whole(value, column)
    return whole, [*faults, Fault(source.text, fraction, value, "expected a whole number")]


def _whole(found: pl.Series, column: Column) -> tuple[pl.Series, pl.Series]:
    """Numbers as integers where the column has such, and which of them are none."""
    import polars as pl

    if column.dtype != "int":
        return found, found.is_null() & False
    whole = found.round().cast(pl.Int64, strict=False)
    fraction = (whole.cast(pl.Float64) != found).fill_null(False)
    if column.name == "steps" and fraction.any():  # steps to a loss lie between two evaluations
        return found, found.is_null() & False
    return whole, fraction


def traced(
    faults: list[Fault], mapping: Mapping[str, Expression], raw: pl.DataFrame
) -> list[Fault]:
    """Faults of expressions as those of the cells in them that are empty or not finite."""
    computed = {one.text: (name, one) for name, one in mapping.items() if not one.is_name}
    found = []
    for fault in faults:
        name, source = computed.get(fault.column, ("", None))
        column = run_column(name)
        if source is None or column is None:
            found.append(fault)
            continue
        for title in source.names:
            values, _ = numbers(raw[title], column)
            here = fault.mask & ~values.is_finite().fill_null(value=False)
            found.append(replace(fault, column=title, mask=here, seen=raw[title]))
            fault = replace(fault, mask=fault.mask & ~here)
        found.append(fault)
    return found


def unread(
    faults: Mapping[str, Sequence[Fault]],
    rows: int,
    needed: Collection[str] | None = None,
    chosen: Collection[str] = (),
) -> list[str]:
    """Columns that no law needs and whose cells are mostly no numbers: better left as they came.

    needed: None where that is what every law of N, D and C needs. chosen: what the user named.
    """
    kept = (*chosen, *((*REQUIRED, "unique_tokens") if needed is None else needed))
    return [
        name
        for name, found in faults.items()
        if name not in (*kept, "run", "status")
        and any(int(fault.mask.sum()) > COLUMN_SHARE * rows for fault in found)
    ]


def check(
    frame: pl.DataFrame, mapping: Mapping[str, str], needed: Collection[str] | None = None
) -> list[Fault]:
    """Missing, not finite, not positive, duplicated or impossible cells of a typed frame.

    mapping: name in the frame -> the source's column. needed: the columns whose cells are checked,
    the user's own among them; None for N, D, C and the loss where the table has them, which must be
    filled, and the schema's other columns, which must be possible. Only finished rows are checked:
    a diverged run has no loss to give.
    """
    return [fault for fault in _faults(frame, mapping, needed) if fault.mask.any()]


def _faults(
    frame: pl.DataFrame, mapping: Mapping[str, str], needed: Collection[str] | None
) -> Iterator[Fault]:
    finished = (frame["status"] == "finished").fill_null(False)
    filled = REQUIRED if needed is None else needed
    for name in frame.columns:
        if name not in (mapping if needed is None else needed):
            continue
        column = run_column(name) or Column(name, "float", "", "")
        cells, source = frame[name], mapping.get(name, name)
        if name in filled:
            yield Fault(source, finished & cells.is_null(), cells, "the cell is empty")
        if cells.dtype.is_nested():
            continue
        if column.dtype == "float":
            infinite = cells.is_nan() | cells.is_infinite()
            bad = infinite.fill_null(False) & finished
            yield Fault(source, bad, cells, "not a finite number")
        if column.positive:
            low = (cells <= 0).fill_null(False) & finished
            hint = " Is the column an accuracy?" if name == "loss" else ""
            yield Fault(source, low, cells, f"{name} must be positive.{hint}")
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
    """Values that no run can have in the expected unit, so the unit must be another.

    A loss whose column is not called one is the user's own response and has a unit of its own.
    """

    def fault(name: str, mask: pl.Series, reason: str, mend: str) -> Fault:
        bad = mask.fill_null(False) & finished
        return Fault(mapping[name], bad, frame[name], reason, option(name, mend))

    known = {name: frame[name] for name in REQUIRED if name in mapping}
    params, tokens, flops = (known.get(name) for name in ("params", "tokens", "flops"))
    if params is not None:
        reason = "too few. Is N in millions, in billions, or its logarithm?"
        mend = _mend(params, mapping["params"])
        yield fault("params", _below(params, _LEAST_PARAMS), reason, mend)
    if tokens is not None:
        reason = "too few. Is D in billions, in millions, or its logarithm?"
        mend = _mend(tokens, mapping["tokens"])
        yield fault("tokens", _below(tokens, _LEAST_TOKENS), reason, mend)
    if flops is not None:
        reason = "too few FLOP. Is C in PF-days, in EFLOP, or its logarithm?"
        mend = _mend(flops, mapping["flops"], "8.64e19")
        yield fault("flops", _below(flops, _LEAST_FLOPS), reason, mend)
    if params is not None and tokens is not None:
        ratio = (tokens / params).fill_nan(None)
        low, high = _TOKENS_PER_PARAM
        plausible = (params >= _LEAST_PARAMS) & (tokens >= _LEAST_TOKENS)
        reason = "tokens per parameter out of the possible. Are N and D in the same unit, 1?"
        few = float(ratio.drop_nans().quantile(0.5) or 0.0) < 1
        mend = f"{inner(mapping['tokens'])}*1e{6 if few else -6}"
        if plausible.fill_null(value=True).all():  # else one of the two is at fault by itself
            yield fault("tokens", (ratio < low) | (ratio > high), reason, mend)
        if flops is not None:
            ratio = flops / (params * tokens)
            low, high = _FLOPS_PER_PARAM_TOKEN
            odd = plausible & (flops >= _LEAST_FLOPS) & ((ratio < low) | (ratio > high))
            reason = "C is about 6 N D, far from this. In which unit is it?"
            yield fault("flops", odd, reason, f"{inner(mapping['flops'])}*FACTOR")
    loss = known.get("loss")
    if loss is not None and is_of_loss(mapping["loss"]):
        high_loss = (loss > LARGEST_LOSS) & loss.is_finite()
        mend = f"ln({mapping['loss']})"
        yield fault("loss", high_loss, "too high for nats per token. Is it a perplexity?", mend)
        if "vocabulary" in mapping:
            uniform = frame["vocabulary"].cast(loss.dtype).log()
            worse = (loss > 1.05 * uniform) & (loss <= LARGEST_LOSS)
            reason = "worse than guessing, ln(vocabulary). Is it in bits?"
            yield fault("loss", worse, reason, f"{inner(mapping['loss'])}*0.693147")


def _mend(cells: pl.Series, source: str, large: str = "1e9") -> str:
    """How the column is brought to units of one: by what its cells are nearest to."""
    import polars as pl

    source = inner(source)

    found = cells.filter((cells > 0).fill_null(value=False)).drop_nans()
    if found.is_empty():
        return f"{source}*{large}"
    low, middle, high = (float(found.quantile(at) or 0.0) for at in (0.0, 0.5, 1.0))
    whole = found.cast(pl.Float64).round().eq(found).all()
    if low > 3.5 and high < 27 and not whole:
        return f"10^{source}"
    return f"{source}*{'1e6' if middle >= 30 and large == '1e9' else large}"


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


def describe(raw: pl.DataFrame, faults: list[Fault]) -> str:
    """The first few faults, one per line, each with file, row (from 1, header apart), column.

    raw: the frame that the masks belong to, which says where each row stood.
    """
    lines: dict[tuple[int, str], str] = {}
    whole = [fault for fault in faults if not fault.column]
    apart = {row for fault in whole for row in fault.mask.arg_true().to_list()}
    for fault in (*whole, *(fault for fault in faults if fault.column)):
        rows = fault.mask.arg_true()
        for row in rows.head(_SHOWN + len(apart)).to_list():
            if fault.column and row in apart:
                continue
            file, number = place(raw, row)
            value = fault.seen[row]
            shown = "" if value is None or not fault.column else f" is {_shown(value)}"
            column = f", column {fault.column}" if fault.column else ""
            # The first reason is the plainest: a cell that is not a number is not also empty.
            lines.setdefault(
                (row, fault.column), f"{file} row {number}{column}{shown}: {fault.reason}"
            )
    count = int(bad_rows(faults).sum())
    more = "" if count <= _SHOWN else f"\n... {count} bad rows in all"
    first = sorted(lines.items(), key=lambda line: line[0][0])[:_SHOWN]
    return "\n".join(text for _, text in first) + more


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:60]}...")
    return str(value)

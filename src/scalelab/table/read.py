"""Anybody's table of runs to the run table, saying what was taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table.checks import (
    REQUIRED,
    Fault,
    bad_rows,
    check,
    check_units,
    describe,
    typed_frame,
)
from scalelab.table.doubts import doubts
from scalelab.table.names import in_units, match_columns
from scalelab.table.schema import CURVE_COLUMNS, RUN_COLUMNS, normalized
from scalelab.table.sources import load

if TYPE_CHECKING:
    import polars as pl

_COLUMN = 0.25  # share of rows in an impossible unit that makes it a fault of the column (assumed)

COMPUTE_CONVENTIONS = {"6ND": 6.0}
"""Training FLOP per parameter and token, by conventions that need nothing but N and D."""


@dataclass(frozen=True)
class RunTable:
    """A checked table of runs.

    frame: polars frame in the order of the schema, then the columns that came beside it.
    mapping: schema name -> the source's column that was taken for it.
    notices: what was derived, dropped or looks doubtful.
    source: the file's name, for messages.
    counted: params or flops -> how it was counted, where that is known.
    """

    frame: pl.DataFrame
    mapping: Mapping[str, str]
    notices: tuple[Notice, ...]
    source: str
    counted: Mapping[str, str] = field(default_factory=dict)

    @property
    def conventions(self) -> dict[str, str]:
        """How N and C were counted, as a fit records it."""
        found = {}
        for name in ("params", "flops"):
            source = self.mapping.get(name)
            given = f"column {source}" if source else None
            if rule := self.counted.get(name, given):
                found[name] = rule
        return found

    @property
    def finished(self) -> pl.DataFrame:
        """The rows that may be fitted."""
        return self.frame.filter(self.frame["status"] == "finished")

    def summary(self) -> str:
        """Plain lines: how many runs, which column was taken for which, and the notices."""
        renamed = [f"{name} <- {src}" for name, src in self.mapping.items() if name != src]
        lines = [f"{self.source}: {self.frame.height} runs, {self.finished.height} finished"]
        if renamed:
            lines.append("columns: " + ", ".join(renamed))
        return "\n".join([*lines, *(str(notice) for notice in self.notices)])


def read_runs(
    source: object,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    convention: str = "6ND",
    drop_bad: bool = False,
    need_loss: bool = True,
) -> RunTable:
    """Read, map, check and complete a table of runs.

    source: a path (CSV, TSV, JSON, JSONL, Parquet), a polars or pandas frame, anything with the
        Arrow interface, a mapping of columns or a list of rows.
    columns: schema name -> the source's column, where the names do not say it; ``COLUMN*1e9``
        multiplies it, where it is in another unit.
    where: column of the source -> value: only these rows are read.
    convention: how the third of N, D and C follows from the other two (6ND: C = 6 N D).
    drop_bad: leave bad rows out and count them, instead of raising.
    need_loss: whether a table without a loss is refused (one of optima has none).

    Raises TableError naming file, row (counted from 1 after the header) and column when a cell is
    missing, not finite, not positive, in an impossible unit, or an id is used twice; when a column
    is ambiguous or missing; when no row is left.
    """
    import polars as pl

    if convention not in COMPUTE_CONVENTIONS:
        known = ", ".join(COMPUTE_CONVENTIONS)
        raise TableError(f"compute convention {convention!r} is not known; there is {known}.")
    file, raw = load(source)
    if where:
        raw = _selected(raw, file, where)
    asked = dict(columns or {})
    for name, (column, factor) in in_units(raw).items():
        asked.setdefault(name, f"{column}*{factor:g}")
    raw, columns = _multiplied(raw, file, asked)
    mapping = match_columns(raw, file, columns, need_loss=need_loss)
    frame, faults = typed_frame(raw, mapping)
    notices: list[Notice] = []
    frame = _named(frame)
    faults += check(frame, mapping)
    if faults:
        frame = _without(frame, faults, file, drop_bad=drop_bad)
        dropped = int(bad_rows(faults).sum())
        notices.append(Notice("rows-dropped", f"{dropped} bad rows:\n{describe(file, faults)}"))
    # What is not finite now belongs to runs that did not finish: they have no such number.
    floats = [
        column for column, kind in frame.schema.items() if column in mapping and kind.is_float()
    ]
    finite = pl.col(floats)
    frame = frame.with_columns(pl.when(finite.is_finite()).then(finite))
    frame, derived = _completed(frame, convention)
    given = {name: mapping.get(name, f"{name} (derived)") for name in REQUIRED if name in frame}
    if wrong := check_units(frame, given):
        raise TableError(describe(file, wrong) + "\nGive N, D and C in units of one.")
    counted: dict[str, str] = {
        name: f"derived, {convention}"
        for name in ("params", "flops")
        if name in frame.columns and name not in mapping
    }
    return RunTable(_ordered(frame), mapping, (*notices, *derived, *doubts(frame)), file, counted)


def _multiplied(
    raw: pl.DataFrame, file: str, columns: Mapping[str, str]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """The frame with columns such as ``Params_B*1e9`` made, and the names of the columns made."""
    import polars as pl

    chosen = dict(columns)
    for name, source in columns.items():
        column, star, factor = source.rpartition("*")
        if not star or source in raw.columns or column not in raw.columns:
            continue
        try:
            by = float(factor)
        except ValueError:
            raise TableError(f"{file}: {source!r}: {factor!r} is not a number.") from None
        cells = raw[column].cast(pl.Float64, strict=False)
        raw = raw.with_columns((cells * by).alias(source))
        chosen[name] = source
    twice = [source for source in chosen.values() if list(chosen.values()).count(source) > 1]
    if twice:
        raise TableError(f"{file}: column {twice[0]!r} is given for two things; give it for one.")
    return raw, chosen


def _selected(raw: pl.DataFrame, file: str, where: Mapping[str, str]) -> pl.DataFrame:
    """The rows whose columns have the values asked for: as text, or as equal numbers."""
    import polars as pl

    for name, value in where.items():
        if name not in raw.columns:
            raise TableError(
                f"{file} has no column {name!r} to select rows by; it has {', '.join(raw.columns)}."
            )
        cells = raw[name].cast(pl.String).str.strip_chars()
        same = cells == value
        with suppress(ValueError):
            same = same | (cells.cast(pl.Float64, strict=False) == float(value))
        kept = raw.filter(same.fill_null(False))
        if kept.is_empty():
            seen = cells.drop_nulls().unique().sort().to_list()
            shown = ", ".join(seen[:8]) + (", ..." if len(seen) > 8 else "")
            raise TableError(f"{file}: no row has {name} = {value}; there are {shown}.")
        raw = kept
    return raw


def _without(
    frame: pl.DataFrame, faults: list[Fault], file: str, *, drop_bad: bool
) -> pl.DataFrame:
    units = [fault for fault in faults if fault.unit]
    if units and int(bad_rows(units).sum()) > max(1, _COLUMN * frame.height):
        raise TableError(
            describe(file, units) + "\nA column in another unit is not mended by leaving rows out: "
            "--column NAME='COLUMN*1e9' multiplies it."
        )
    if not drop_bad:
        raise TableError(
            describe(file, faults) + "\nMend them, or leave bad rows out with --drop-bad "
            "(drop_bad=True in Python)."
        )
    kept = frame.filter(~bad_rows(faults))
    if kept.is_empty():
        raise TableError(f"every row of {file} is bad:\n{describe(file, faults)}")
    return kept


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows without an id or a status get one: their number, and finished."""
    import polars as pl

    if "run" not in frame.columns:
        rows = pl.int_range(1, frame.height + 1, eager=True).cast(pl.String)
        frame = frame.with_columns(("row-" + rows).alias("run"))
    if "status" not in frame.columns:
        return frame.with_columns(pl.lit("finished").alias("status"))
    return frame.with_columns(pl.col("status").fill_null("finished"))


def _completed(frame: pl.DataFrame, convention: str) -> tuple[pl.DataFrame, list[Notice]]:
    """The third of N, D and C from the other two."""
    import polars as pl

    notices = []
    known = set(frame.columns)
    if "tokens" not in known and {"steps", "batch_tokens"} <= known:
        tokens = pl.col("steps").cast(pl.Float64) * pl.col("batch_tokens")
        frame = frame.with_columns(tokens.alias("tokens"))
        notices.append(Notice("derived-column", "tokens was derived as steps x batch_tokens."))
    factor = COMPUTE_CONVENTIONS[convention]
    n, d, c = pl.col("params"), pl.col("tokens"), pl.col("flops")
    formulas = {
        "params": (c / (factor * d), f"N = C / ({factor:g} D)"),
        "tokens": (c / (factor * n), f"D = C / ({factor:g} N)"),
        "flops": (factor * n * d, f"C = {factor:g} N D"),
    }
    absent = [name for name in formulas if name not in frame.columns]
    if len(absent) != 1:
        return frame, notices
    formula, shown = formulas[absent[0]]
    message = f"{absent[0]} was not given and was derived as {shown}, convention {convention}."
    frame = frame.with_columns(formula.alias(absent[0]))
    return frame, [*notices, Notice("derived-column", message)]


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    names = [column.name for column in RUN_COLUMNS if column.name in frame.columns]
    losses = [name for name in frame.columns if name.startswith("loss.")]
    first = [*names, *losses]
    return frame.select([*first, *(name for name in frame.columns if name not in first)])


def read_curves(source: object, runs: pl.DataFrame | None = None) -> pl.DataFrame:
    """Read learning curves: run, step, tokens, flops, loss and whatever else the source has.

    source: as `read_runs` takes it. runs: a run table, from which the size of each run (or trunk)
    is taken where the curves do not hold params. Raises TableError when run or loss is missing.
    """
    import polars as pl

    file, raw = load(source)
    wanted = (*CURVE_COLUMNS, *(c for c in RUN_COLUMNS if c.name == "params"))
    known_as = {column.name: column.aliases for column in RUN_COLUMNS}
    mapping: dict[str, str] = {}
    for column in wanted:
        aliases = (*column.aliases, *known_as.get(column.name, ()))
        names = {normalized(name) for name in (column.name, *aliases)}
        found = [name for name in raw.columns if normalized(name) in names]
        if found:
            mapping[column.name] = column.name if column.name in found else found[0]
    missing = [name for name in ("run", "loss") if name not in mapping]
    if missing:
        raise TableError(
            f"{file}: curves need the columns run and loss; it has {', '.join(raw.columns)}."
        )
    frame = raw.rename({source: name for name, source in mapping.items()})
    numbers = [c.name for c in wanted if c.name in mapping and c.dtype != "str"]
    frame = frame.with_columns(pl.col(numbers).cast(pl.Float64, strict=False))
    if "params" in mapping or runs is None:
        return frame
    keys = [name for name in ("run", "trunk") if name in runs.columns]
    sizes = pl.concat([runs.select(pl.col(key).alias("run"), "params") for key in keys])
    return frame.join(sizes.drop_nulls().unique("run"), on="run", how="left")

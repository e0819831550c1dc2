"""Anybody's table of runs to the run table, saying what was taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.expressions import Expression
from scalelab.table import costs
from scalelab.table.cells import decimal_commas
from scalelab.table.checks import (
    COLUMN_SHARE,
    REQUIRED,
    Fault,
    bad_rows,
    check,
    check_units,
    describe,
    traced,
    typed,
    unread,
)
from scalelab.table.derive import COMPUTE_CONVENTIONS, completed
from scalelab.table.doubts import doubts
from scalelab.table.expressions import listed
from scalelab.table.names import match_columns
from scalelab.table.needs import Needs, columns_of_numbers, require, resolved, with_needed
from scalelab.table.own import evidence, left_as_text
from scalelab.table.progress import last_rows
from scalelab.table.raw import FILE, ROW
from scalelab.table.schema import RUN_COLUMNS, run_column
from scalelab.table.sources import load
from scalelab.table.summaries import summaries

if TYPE_CHECKING:
    import polars as pl


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
    last: bool = False,
    needs: Needs = None,
    ignore: Sequence[str] = (),
) -> RunTable:
    """Read, map, check and complete a table of runs.

    source: a path (CSV, TSV, JSON, JSONL, Parquet, compressed or not), a folder or a pattern of
        such files, a polars or pandas frame, anything with the Arrow interface, a mapping of
        columns or a list of rows.
    columns: schema name -> the source's column, where the names do not say it, or an expression of
        its columns: ``COLUMN*1e9``, ``ln(COLUMN)``, ``TOTAL - EMBEDDING`` (see
        `scalelab.expressions`); a number is that of every run.
    where: column of the source -> value: only these rows are read.
    convention: how the third of N, D and C follows from the other two (6ND: C = 6 N D).
    drop_bad: leave bad rows out and count them, instead of raising.
    last: of rows that share a run's id, points along its training, take the last with a loss.
    needs: the columns that must be there, of the schema or the source's own; only their cells must
        be filled and possible. A function gets the names of all columns of numbers, and returns
        those. None stands for the loss and at least one of N, D and C.
    ignore: columns of the source that are left out before anything is taken for anything.

    Raises TableError naming file, row (counted from 1 after the header) and column when a cell is
    missing, not finite, not positive, in an impossible unit, or an id is used twice, when a row is
    no run (a mean, too many cells); when a column is ambiguous or missing; when no row is left.
    """
    if convention not in COMPUTE_CONVENTIONS:
        known = ", ".join(COMPUTE_CONVENTIONS)
        raise TableError(f"compute convention {convention!r} is not known; there is {known}.")
    raw = load(source)
    file, cells = raw.name, raw.frame
    if where:
        cells = _selected(cells, file, where)
    cells = _without_columns(cells, file, ignore)
    mapping = match_columns(cells, file, columns)
    notices = list(raw.notices)
    commas = _commas(cells, mapping, notices)
    found = typed(cells, mapping, commas=commas)
    needed = resolved(needs, columns_of_numbers(found, mapping))
    if odd := unread(found.faults, cells.height, needed, columns or ()):
        notices += [_not_read(name, mapping.pop(name)) for name in odd]
        found = typed(cells, mapping, commas=commas)
    require(cells, file, mapping, found, needed)
    taken = {name: one.text for name, one in mapping.items()}
    frame, faults, checked, told = with_needed(found, mapping, needed)
    notices += [*told, *costs.told(found.own, mapping)]
    for title, name in found.titles.items():
        if name not in checked:
            notices += left_as_text(title, found.own[title], cells)
    frame = _named(frame, cells)
    keep = last_rows(frame, file, taken.get("run"), last=last)
    if not keep.all():
        notices.append(
            Notice("last-rows", f"{int((~keep).sum())} earlier points of runs left out.")
        )
        frame, cells = frame.filter(keep), cells.filter(keep)
        faults = [replace(f, mask=f.mask.filter(keep), seen=f.seen.filter(keep)) for f in faults]
    faults = [*_broken(cells, raw.broken), *summaries(cells, frame, taken.get("run")), *faults]
    found_wrong = check(frame, taken | checked, None if needed is None else tuple(checked))
    faults += traced(found_wrong, mapping, cells)
    faults = [fault for fault in faults if fault.mask.any()]
    if faults:
        frame, cells, dropped = _without(frame, cells, faults, file, drop_bad=drop_bad)
        notices.append(dropped)
    if "status" in mapping:
        notices += _unsaid(cells, mapping["status"].names[0])
    frame = _finite(frame, taken)
    frame, derived = completed(frame, convention)
    given = {name: taken.get(name, f"{name} (derived)") for name in REQUIRED if name in frame}
    if wrong := check_units(frame, given):
        raise TableError(describe(cells, wrong) + "\nGive N, D and C in units of one.")
    counted: dict[str, str] = {
        name: f"derived, {convention}"
        for name in ("params", "flops")
        if name in frame.columns and name not in mapping
    }
    frame = _ordered(frame.drop(ROW, FILE))
    return RunTable(frame, taken, (*notices, *derived, *doubts(frame, taken)), file, counted)


def _without_columns(cells: pl.DataFrame, file: str, ignore: Sequence[str]) -> pl.DataFrame:
    titles = [title for title in cells.columns if title not in (ROW, FILE)]
    for name in ignore:
        if name not in titles:
            raise TableError(f"{file} has no column {name!r} to ignore; it has {listed(titles)}.")
    return cells.drop(set(ignore))


def _commas(cells: pl.DataFrame, mapping: Mapping[str, Expression], notices: list[Notice]) -> bool:
    """Whether commas are decimal marks, by all columns of numbers; told where they are."""
    columns = [(cells[t], run_column(name)) for name, one in mapping.items() for t in one.names]
    ours = [(one, column) for one, column in columns if column and column.dtype in ("int", "float")]
    used = {title for one in mapping.values() for title in one.names}
    others = (title for title in cells.columns if title not in (*used, ROW, FILE))
    if not decimal_commas([*ours, *(pair for title in others for pair in evidence(cells[title]))]):
        return False
    message = "the numbers have decimal commas, so points between three digits group thousands."
    notices.append(Notice("decimal-commas", message))
    return True


def _not_read(name: str, source: Expression) -> Notice:
    message = (
        f"column {source.text} was not taken for {name}: most of its cells are no numbers. It is "
        f"kept as {f'source.{name}' if source.text == name else source.text}."
    )
    return Notice("column-not-read", message)


def _broken(cells: pl.DataFrame, broken: Mapping[tuple[str, int], str]) -> list[Fault]:
    """Rows that the file itself does not give whole, one fault for each reason."""
    import polars as pl

    if not broken:
        return []
    reasons = [broken.get((str(file), row)) for file, row in cells.select(FILE, ROW).iter_rows()]
    series = pl.Series(reasons, dtype=pl.String)
    return [
        Fault("", (series == reason).fill_null(value=False), series, reason)
        for reason in dict.fromkeys(broken.values())
    ]


def _selected(cells: pl.DataFrame, file: str, where: Mapping[str, str]) -> pl.DataFrame:
    """The rows whose columns have the values asked for: as text, or as equal numbers."""
    import polars as pl

    for name, value in where.items():
        if name not in cells.columns:
            shown = ", ".join(title for title in cells.columns if title not in (ROW, FILE))
            raise TableError(f"{file} has no column {name!r} to select rows by; it has {shown}.")
        if cells[name].dtype.is_nested():
            raise TableError(f"{file}: column {name!r} holds lists, which select no rows.")
        text = cells[name].cast(pl.String, strict=False).str.strip_chars()
        same = text == value
        with suppress(ValueError):
            same = same | (text.cast(pl.Float64, strict=False) == float(value))
        kept = cells.filter(same.fill_null(False))
        if kept.is_empty():
            seen = text.drop_nulls().unique().sort().to_list()
            shown = ", ".join(seen[:8]) + (", ..." if len(seen) > 8 else "")
            raise TableError(f"{file}: no row has {name} = {value}; there are {shown}.")
        cells = kept
    return cells


def _without(
    frame: pl.DataFrame, cells: pl.DataFrame, faults: list[Fault], file: str, *, drop_bad: bool
) -> tuple[pl.DataFrame, pl.DataFrame, Notice]:
    """The rows without a fault, typed and as they came, where the user lets the others go."""
    units = [fault for fault in faults if fault.unit]
    if units and int(bad_rows(units).sum()) > max(1, COLUMN_SHARE * frame.height):
        mends = " ".join(dict.fromkeys(fault.unit for fault in units))
        raise TableError(
            describe(cells, units)
            + "\nA column in another unit is not mended by leaving rows out; "
            f"an expression brings it to ours, such as {mends}"
        )
    if not drop_bad:
        raise TableError(
            describe(cells, faults) + "\nMend them, or leave bad rows out with --drop-bad "
            "(drop_bad=True in Python)."
        )
    bad = bad_rows(faults)
    if bad.all():
        raise TableError(f"every row of {file} is bad:\n{describe(cells, faults)}")
    notice = Notice("rows-dropped", f"{int(bad.sum())} bad rows:\n{describe(cells, faults)}")
    return frame.filter(~bad), cells.filter(~bad), notice


def _finite(frame: pl.DataFrame, taken: Mapping[str, str]) -> pl.DataFrame:
    """What is not finite now belongs to runs that did not finish: they have no such number."""
    import polars as pl

    floats = pl.col(
        [name for name, kind in frame.schema.items() if name in taken and kind.is_float()]
    )
    return frame.with_columns(pl.when(floats.is_finite()).then(floats))


def _named(frame: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Rows without an id or a status get one: their number, and finished."""
    import polars as pl

    if "run" not in frame.columns:
        rows = cells[ROW].cast(pl.String)
        if cells[FILE].n_unique() > 1:  # rows of several files may have one number
            rows = pl.int_range(1, frame.height + 1, eager=True).cast(pl.String)
        frame = frame.with_columns(("row-" + rows).alias("run"))
    if "status" not in frame.columns:
        return frame.with_columns(pl.lit("finished").alias("status"))
    return frame.with_columns(pl.col("status").fill_null("finished"))


def _unsaid(cells: pl.DataFrame, column: str) -> list[Notice]:
    """Rows whose status is an empty cell, which may be that of a run still going."""
    if not (empty := cells[column].null_count()):
        return []
    return [
        Notice(
            "empty-status",
            f"{empty} rows have an empty {column} and are taken for finished; write running or "
            "failed where they are not.",
        )
    ]


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    names = [column.name for column in RUN_COLUMNS if column.name in frame.columns]
    losses = [name for name in frame.columns if name.startswith("loss.")]
    first = [*names, *losses]
    return frame.select([*first, *(name for name in frame.columns if name not in first)])

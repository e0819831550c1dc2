"""Rows along one run's training, where one row a run is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.table.cells import numbers
from scalelab.table.schema import CURVE_COLUMNS, STEPS, normalized

if TYPE_CHECKING:
    import polars as pl

_STEP = next(column for column in CURVE_COLUMNS if column.name == "step")
_MOST = 0.5  # share of the runs given more than once whose rows differ in progress (assumed)


def last_rows(frame: pl.DataFrame, file: str, column: str | None, *, last: bool) -> pl.Series:
    """A mask of the rows to keep: all, or of each run the one furthest in training.

    frame: typed, with the ids in `run`. column: the source's column of ids, None where it has none.
    last: whether the user asked for the last rows.

    Of rows without a loss (training steps between evaluations) none is last; one whose loss is NaN
    may be. Raises TableError where rows are points along training and `last` was not asked for,
    and where it was and no column says which rows belong together.
    """
    import polars as pl

    everything = pl.Series([True] * frame.height, dtype=pl.Boolean)
    if column is None:
        if last:
            raise TableError(
                f"{file}: the last row of each run was asked for, and no column says which rows "
                "are of one run. --column run=NAME names it."
            )
        return everything
    again = frame["run"].is_duplicated() & frame["run"].is_not_null()
    along = _along(frame.filter(again)) if again.any() else None
    if along is None:
        return everything
    if not last:
        runs = frame.filter(again)["run"].n_unique()
        raise TableError(
            f"{file}: {int(again.sum())} rows are of {runs} runs (column {column}) and differ in "
            f"{along}: points along training, and one row a run is expected. --last (last=True in "
            "Python) takes the last one of each that has a loss."
        )
    keep = pl.col("loss").is_not_null() if "loss" in frame.columns else pl.lit(value=True)
    rows = frame.with_row_index("\0index").filter(keep | ~again)
    rows = rows.with_columns(_progress(rows, along).alias("\0along"))
    final = rows.sort("\0along", nulls_last=False, maintain_order=True).group_by("run").tail(1)
    return pl.select(
        pl.int_range(frame.height, dtype=pl.UInt32).is_in(final["\0index"].implode())
    ).to_series()


def _along(rows: pl.DataFrame) -> str | None:
    """The column in which the rows of most runs differ from each other: steps, tokens or FLOP."""
    import polars as pl

    steps = [name for name in rows.columns if normalized(name) in STEPS]
    for name in (*(c for c in ("tokens", "flops", "steps") if c in rows.columns), *steps):
        cells = rows.select("run", _progress(rows, name).alias(name))
        each = cells.group_by("run").agg((pl.col(name).n_unique() == pl.len()).alias("differ"))
        if float(each["differ"].cast(pl.Float64).mean() or 0.0) > _MOST:  # type: ignore[arg-type]
            return name
    return None


def _progress(rows: pl.DataFrame, name: str) -> pl.Series:
    """A column as numbers: steps are no column of the schema, and text out of a CSV file."""
    return numbers(rows[name], _STEP)[0]

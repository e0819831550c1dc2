"""Rows that sum up the others: the mean or total that a spreadsheet ends with is no run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalelab.table.checks import REQUIRED, Fault

if TYPE_CHECKING:
    import polars as pl

_WORDS = (
    *("mean", "average", "avg", "avg.", "std", "std.", "stdev", "stddev", "sd", "sem", "stderr"),
    *("standard deviation", "standard error", "median", "min", "minimum", "max", "maximum"),
    *("sum", "total", "grand total", "overall", "count", "25%", "50%", "75%"),
)
_REASON = "a summary of other rows, not a run"
_NEAR = 1e-4  # relative: a mean printed in five digits (assumed)
_LEAST = 4  # rows of which one can be the mean of the others


def summaries(raw: pl.DataFrame, frame: pl.DataFrame, ids: str | None) -> list[Fault]:
    """The last rows of a table that are named like a statistic, or are the mean of all above.

    raw: as it came; frame: typed; ids: the source's column of ids. A name counts in the column of
    ids, or in one whose other values are all different, so that a setting called mean is none.
    """
    import polars as pl

    faults = []
    for name in raw.columns:
        if raw[name].dtype != pl.String:
            continue
        named = raw[name].str.strip_chars().str.to_lowercase().is_in(_WORDS).fill_null(value=False)
        if not named.any() or named.all():
            continue
        others = raw[name].filter(~named).drop_nulls()
        first = named.arg_true()[0]
        assert isinstance(first, int)
        if (name == ids or not others.is_duplicated().any()) and named[first:].all():
            faults.append(Fault(name, named, raw[name], _REASON))
    if not faults and (mean := _mean(frame)) is not None:
        faults.append(mean)
    return faults


def _mean(frame: pl.DataFrame) -> Fault | None:
    """The last row, where it is the mean of those above in every column that varies."""
    import polars as pl

    names = [name for name in REQUIRED if name in frame.columns]
    if frame.height < _LEAST or "loss" not in names:
        return None
    above, last = frame.head(frame.height - 1).select(names), frame.tail(1)
    varying = [name for name in names if above[name].n_unique() > 1]
    means = {name: above[name].mean() for name in names}
    for name in names:
        mean, value = means[name], last[name].item()
        if not isinstance(mean, float) or value is None or not abs(value - mean) <= _NEAR * mean:
            return None
    if len(varying) < 2 or "loss" not in varying:
        return None
    mask = pl.Series([False] * (frame.height - 1) + [True])
    return Fault("", mask, frame["loss"], "the mean of the rows above, not a run")

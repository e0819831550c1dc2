"""The rows of a run table that a law is fitted to, and a record of what was left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import FitError
from scalelab.laws import Array, Law

if TYPE_CHECKING:
    import polars as pl

HELD_OUT = "held out"
"""The reason for which a run that checks a fit is left out of it."""

_ROW = "\0row"  # of the table, counted from 1: no column that a user names is in its way


@dataclass(frozen=True)
class Observations:
    """What a fit sees, in the law's own units and centred.

    law: what is fitted. names: run ids, (n,). inputs: log inputs minus their means. target: log
    loss minus its mean. clusters: (n,) number of each run's cluster. by: the column that defines
    clusters. input_shift, loss_shift: the means taken off, which make the fit independent of units.
    left_out: reason -> how many rows. ranges: input -> lowest, highest, number of levels.
    fingerprint: SHA-256 of the rows fitted, in any order.
    """

    law: Law
    names: tuple[str, ...]
    inputs: tuple[Array, ...]
    target: Array
    clusters: NDArray[np.intp]
    by: str
    input_shift: tuple[float, ...]
    loss_shift: float
    left_out: Mapping[str, int]
    ranges: Mapping[str, tuple[float, float, int]]
    fingerprint: str

    @property
    def cluster_count(self) -> int:
        """How many clusters there are."""
        return int(self.clusters.max()) + 1

    @property
    def relative_size(self) -> Array:
        """N of each run over the largest, (n,); ones where the law does not know N."""
        if "params" not in self.law.inputs:
            return np.ones(len(self.target))
        log_n = self.inputs[self.law.inputs.index("params")]
        return np.asarray(np.exp(log_n - log_n.max()))

    def outward(self, theta: Array) -> Array:
        """Coordinates (k, p) in the units of the table, from those of the centred data."""
        return self.law.change_units(theta, self.input_shift, self.loss_shift)


def observe(law: Law, table: pl.DataFrame, clusters: str = "auto") -> Observations:
    """Select and check the rows of `table` that `law` is fitted to.

    Only rows with status finished (where there is such a column) that are not held out count.
    clusters: the column whose equal values are not independent; ``run`` for none; ``auto`` for
    ``trunk`` where the table has it. Raises FitError for a missing column, a value that cannot be,
    a run id used twice, or too few runs.
    """
    import polars as pl

    missing = [name for name in (*law.inputs, "loss") if name not in table.columns]
    if missing:
        raise FitError(
            f"law {law.name} needs the columns {', '.join((*law.inputs, 'loss'))}; the table has "
            f"{', '.join(table.columns) or 'none'}. Rename or add {', '.join(missing)}."
        )
    ids = (
        pl.col("run").cast(pl.String)
        if "run" in table.columns
        else pl.lit("row ") + pl.col(_ROW).cast(pl.String)
    )
    table = table.with_row_index(_ROW, offset=1).with_columns(ids.alias("run"))
    kept, left_out = select(table)
    _check(law, kept, left_out)
    # In a canonical order, so that a shuffled table gives the same fit to the last bit.
    kept = kept.sort([*law.inputs, "loss", "run"])
    inputs = tuple(np.log(kept[name].cast(pl.Float64).to_numpy()) for name in law.inputs)
    target = np.log(kept["loss"].cast(pl.Float64).to_numpy())
    by, groups = _clusters(kept, clusters)
    input_shift = tuple(float(values.mean()) for values in inputs)
    return Observations(
        law=law,
        names=tuple(kept["run"]),
        inputs=tuple(v - shift for v, shift in zip(inputs, input_shift, strict=True)),
        target=target - target.mean(),
        clusters=groups,
        by=by,
        input_shift=input_shift,
        loss_shift=float(target.mean()),
        left_out=left_out,
        ranges={
            name: (float(kept[name].min()), float(kept[name].max()), kept[name].n_unique())  # type: ignore[arg-type]
            for name in law.inputs
        },
        fingerprint=_fingerprint(law, kept, groups),
    )


def select(table: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The finished rows that are not held out; and reason -> how many rows were left out."""
    import polars as pl

    left_out: dict[str, int] = {}
    if "status" in table.columns:
        for status, count in table["status"].value_counts().sort("status").iter_rows():
            if status != "finished":
                left_out[str(status or "no status")] = count
        table = table.filter(pl.col("status").eq_missing("finished"))
    if "held_out" in table.columns:
        held = table["held_out"].cast(pl.Boolean).fill_null(False)
        if held.any():
            left_out[HELD_OUT] = int(held.sum())
        table = table.filter(~held)
    return table, left_out


def _check(law: Law, kept: pl.DataFrame, left_out: Mapping[str, int]) -> None:
    import polars as pl

    for name in (*law.inputs, "loss"):
        if not kept[name].dtype.is_numeric() and len(kept):
            raise FitError(f"column {name} is {kept[name].dtype}; a law is fitted to numbers.")
        values = kept[name].cast(pl.Float64)
        bad = kept.filter(values.is_null() | ~(values.is_finite() & (values > 0)))
        if len(bad):
            raise FitError(
                f"row {bad[_ROW][0]} (run {bad['run'][0]}): {name} is {bad[name][0]}; a "
                f"finished run needs a positive, finite {name}. Correct it, or give the run "
                "another status, and it is left out and counted."
            )
    twice = kept.filter(kept["run"].is_duplicated())
    if len(twice):
        raise FitError(f"run {twice['run'][0]} stands in {len(twice)} rows; ids must differ.")
    least = len(law.parameters) + 1
    if len(kept) < least:
        why = "".join(f", {count} left out as {reason}" for reason, count in left_out.items())
        raise FitError(
            f"law {law.name} has {least - 1} parameters and needs {least} finished runs or more; "
            f"the table has {len(kept)}{why}. Add runs, or fit a law with fewer parameters."
        )
    for name in law.inputs:
        if kept[name].n_unique() == 1:
            raise FitError(
                f"every run has {name} = {kept[name][0]:g}; law {law.name} needs {name} to vary. "
                "Add runs at other values, or fit a law without it."
            )


def _clusters(kept: pl.DataFrame, clusters: str) -> tuple[str, NDArray[np.intp]]:
    """The column that defines clusters, and the number of each run's."""
    import polars as pl

    by = clusters
    if clusters == "auto":
        usable = "trunk" in kept.columns and kept["trunk"].drop_nulls().n_unique() > 1
        by = "trunk" if usable else "run"
    if by not in kept.columns:
        raise FitError(
            f"there is no column {by!r} to cluster by; the table has "
            f"{', '.join(name for name in kept.columns if name != _ROW)}."
        )
    # A run without a value of its own is alone.
    alone = pl.lit("\0") + pl.col("run")
    labels = kept.select(pl.coalesce(pl.col(by).cast(pl.String), alone)).to_series().to_list()
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(numbers) < 2:
        raise FitError(
            f"all {len(labels)} runs have the same {by}; intervals need at least two clusters. "
            "Cluster by another column, or by run."
        )
    return by, np.array([numbers[label] for label in labels])


def _fingerprint(law: Law, kept: pl.DataFrame, groups: NDArray[np.intp]) -> str:
    columns = [kept[name].to_list() for name in (*law.inputs, "loss")]
    rows = [
        " ".join([*(float(value).hex() for value in row[:-1]), str(row[-1])])
        for row in zip(*columns, groups.tolist(), strict=True)
    ]
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()

"""The rows of a run table that a law is fitted to, and a record of what was left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import FitError
from scalelab.fitting.weighing import Weighing
from scalelab.laws import Array, Law
from scalelab.table.names import near
from scalelab.table.schema import run_column

if TYPE_CHECKING:
    import polars as pl

HELD_OUT = "held out"
"""The reason for which a run that checks a fit is left out of it."""

_COMPUTE = frozenset({"flops", "flops_min"})
_TOLD_BY = {
    "params": _COMPUTE | {"params", "n_layer", "d_model", "d_ff"},
    "tokens": _COMPUTE | {"tokens", "unique_tokens", "examples", "steps", "steps_min", "lr_sum"},
}
"""Inputs from which a law can know the size of a model, and how long it was trained."""
_USUAL_PARAMETERS = frozenset(
    [
        *"ABEFKLabcdefgkpq",
        *("E0", "L0", "Linf", "L_inf", "alpha", "beta", "gamma", "delta", "epsilon", "zeta"),
        *("eta", "theta", "kappa", "lambda", "mu", "nu", "rho", "sigma", "tau"),
    ]
)
"""Names that laws give to their parameters."""
_VARIES = 1.1  # highest over lowest of an input that a law may not ignore (assumed)
_ALIKE = 0.005  # relative difference of two values of an input that tell nothing apart (assumed)
_ROW = "\0row"  # of the table, counted from 1: no column that a user names is in its way


@dataclass(frozen=True)
class Observations:
    """What a fit sees.

    law: what is fitted. names: run ids, (n,). inputs: as `Law.formula` takes them. target: log of
    the response. weights: (n,), mean 1, of residuals of the logarithm. clusters: (n,) number of
    each run's cluster. by: the column that defines clusters. left_out: reason -> how many rows.
    ranges: input -> lowest, highest, number of levels. fingerprint: SHA-256 of the rows fitted, in
    any order. rows: their columns. std: (n,), the standard deviation of the logarithm that each run
    is said to have, None where nothing is said. ignored: N or D, where it varies and the law has no
    input that tells of it -> lowest, highest.
    """

    law: Law
    names: tuple[str, ...]
    inputs: tuple[Array, ...]
    target: Array
    weights: Array
    clusters: NDArray[np.intp]
    by: str
    left_out: Mapping[str, int]
    ranges: Mapping[str, tuple[float, float, int]]
    fingerprint: str
    rows: Mapping[str, list[Any]]
    std: Array | None = None
    ignored: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def error(self) -> Array:
        """The noise of each run relative to the others', (n,), of geometric mean 1."""
        return np.ones(len(self.target)) if self.std is None else _relative(self.std)

    def unit(self, raw: bool) -> Array | None:
        """What residuals of the logarithm, or of the response itself, are divided by, (n,).

        Their standard deviations up to a factor, so that the squares of the inverse, by which least
        squares weighs runs, have mean 1; None where no standard deviations are given.
        """
        if self.law.scale == "linear":
            # In units of its own scatter, so that Huber's delta means the same for any response.
            spread = np.full(len(self.target), float(np.std(self.target)))
            return spread if self.std is None else np.asarray(spread * self.error)
        if self.std is None:
            return None
        # The standard deviation of the response is that of its logarithm times the response.
        found = _relative(self.std * np.exp(self.target) if raw else self.std)
        return np.asarray(found * np.sqrt((found**-2).mean()))

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


def observe(
    law: Law,
    table: pl.DataFrame,
    clusters: str = "auto",
    weights: str | None = None,
    std: str | None = None,
) -> Observations:
    """Select and check the rows of `table` that `law` is fitted to.

    Only rows with status finished (where there is such a column) that are not held out count.
    clusters: the column whose equal values are not independent; ``run`` for none; ``auto`` for
    ``trunk`` or ``curve`` where the table has one. weights, std: see `scalelab.fitting.fit`.
    Raises FitError for a missing column, a value that cannot be, a run id used twice, or too few
    runs.
    """
    import polars as pl

    ask_about_names(law, table)
    wanted = (*law.inputs, law.response)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise FitError(
            f"law {law.name} needs the columns {', '.join(wanted)}; the table has "
            f"{', '.join(table.columns) or 'none'}. Rename or add {', '.join(missing)}."
        )
    ids = (
        pl.col("run").cast(pl.String)
        if "run" in table.columns
        else pl.lit("row ") + pl.col(_ROW).cast(pl.String)
    )
    table = table.with_row_index(_ROW, offset=1).with_columns(ids.alias("run"))
    kept, left_out = select(table)
    law = _suited(law, kept)
    _check(law, kept, left_out)
    # In a canonical order, so that a shuffled table gives the same fit to the last bit.
    flat = [name for name in wanted if not kept[name].dtype.is_nested()]
    kept = kept.sort([*flat, "run"])
    inputs = tuple(_values(kept[name], name in law.raw) for name in law.inputs)
    by, groups = _clusters(kept, clusters)
    weight, said = _weights(law, kept, weights, std)
    return Observations(
        law=law,
        names=tuple(kept["run"]),
        inputs=inputs,
        target=law.on_scale(kept[law.response].cast(pl.Float64).to_numpy()),
        weights=weight,
        clusters=groups,
        by=by,
        left_out=left_out,
        ranges={
            name: (float(kept[name].min()), float(kept[name].max()), _levels(kept[name]))  # type: ignore[arg-type]
            for name in law.inputs
            if name in flat
        },
        fingerprint=_fingerprint(law, kept, groups),
        rows={name: kept[name].to_list() for name in ("run", *law.inputs, law.response)},
        std=said,
        ignored=_ignored(law, kept),
    )


def ask_about_names(law: Law, table: pl.DataFrame) -> None:
    """Refuse a formula in which a name could be a column and a parameter.

    Raises FitError for a parameter that is a column of the table or nearly one, and for a column
    of the user's own whose name usually is a parameter's; unless the user said which one it is.
    """
    if law.written is None or law.written.tree is None:
        return
    said, text = law.written.said, law.text
    for name in law.names:
        if name in said:
            continue
        if name in table.columns:
            numbers = table[name].dtype.is_numeric()
            cells = "" if numbers else f" Its cells are {table[name].dtype}, not numbers."
            raise FitError(
                f"formula {text!r}: {name} is a column of the table, and was taken for a "
                f"parameter.{cells} Say which one is meant: --input {name} or --parameter {name} "
                f"(in Python: inputs=[{name!r}] or parameters=[{name!r}])."
            )
        if name == "L" and law.response != "loss" and "loss" in table.columns:
            raise FitError(
                f"formula {text!r}: L could be the loss or a parameter. Write loss if it is the "
                "column, or say --parameter L (in Python: parameters=['L'])."
            )
        if (column := near(name, table.columns)) is not None:
            raise FitError(
                f"formula {text!r}: {name} is no column, so it is a parameter; the table has a "
                f"column {column!r}. Write {column} if it is meant, or say --parameter {name} "
                f"(in Python: parameters=[{name!r}])."
            )
    for name, column in law.written.columns.items():
        if name in _USUAL_PARAMETERS and name not in said and run_column(column) is None:
            raise FitError(
                f"formula {text!r}: {name} is a column of the table and a usual name of a "
                f"parameter. Say which one is meant: --input {name} or --parameter {name} "
                f"(in Python: inputs=[{name!r}] or parameters=[{name!r}])."
            )


def _suited(law: Law, kept: pl.DataFrame) -> Law:
    """A user's own law takes columns of its table that are zero or negative as they are.

    A response of such values is fitted by differences, for it has no logarithm.
    """
    if law.written is None:
        return law
    low = {name for name in (*law.inputs, law.response) if _has_no_logarithm(kept, name)}
    signed = tuple(name for name in law.inputs if name in low and name not in law.raw)
    return replace(
        law,
        raw=(*law.raw, *signed),
        signed=(*law.signed, *signed),
        scale="linear" if law.response in low else law.scale,
    )


def _has_no_logarithm(kept: pl.DataFrame, name: str) -> bool:
    """Whether a column that the schema does not hold to be positive has values up to zero."""
    column = run_column(name)
    if (column is not None and column.positive) or not kept[name].dtype.is_numeric():
        return False
    return bool((kept[name] <= 0).any())


def _proportional(kept: pl.DataFrame, one: str, two: str) -> bool:
    if not (kept[one].dtype.is_numeric() and kept[two].dtype.is_numeric()):
        return False
    ratio = (kept[one] / kept[two]).drop_nulls().to_numpy()
    return bool(len(ratio)) and bool(np.ptp(ratio) <= 1e-9 * np.abs(ratio).max())


def _ignored(law: Law, kept: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """N and D, as far as they vary and none of the law's inputs tells of them."""
    found = {}
    for name, told in _TOLD_BY.items():
        if law.response != "loss" or told & set(law.inputs) or name not in kept.columns:
            continue
        if any(_proportional(kept, name, one) for one in law.inputs):
            continue  # the same column by its own title
        values = kept[name].cast(float, strict=False).drop_nulls().drop_nans().to_numpy()
        if len(values) and values.max() > _VARIES * values.min():
            found[name] = (float(values.min()), float(values.max()))
    return found


def _levels(column: pl.Series) -> int:
    """How many values there are, those within half a percent of the lowest of them being one.

    Not of their neighbour, or a fine grid would be one value however far it reaches.
    """
    levels, lowest = 0, 0.0
    for value in np.unique(column.cast(float).to_numpy()).tolist():
        if not levels or value > lowest + _ALIKE * abs(lowest):
            levels, lowest = levels + 1, value
    return levels


def _values(column: pl.Series, raw: bool) -> Array:
    """A column as a law takes it; lists padded with zeros to one length."""
    import polars as pl

    if column.dtype.is_nested():
        rows = column.to_list()
        padded = np.zeros((len(rows), max(1, max(map(len, rows)))))
        for i, row in enumerate(rows):
            padded[i, : len(row)] = row
        return padded
    values = column.cast(pl.Float64).to_numpy()
    return np.array(values) if raw else np.log(values)


def _weights(
    law: Law, kept: pl.DataFrame, weights: str | None, std: str | None
) -> tuple[Array, Array | None]:
    """Of each run: its weight, mean 1, and the standard deviation of its logarithm, where given."""
    if std is not None:
        if weights is not None:
            raise FitError("both weights and std are given; a run's weight comes from one of them.")
        # The error of a logarithm is the relative error.
        said = _positive(kept, std) / _positive(kept, law.response)
        error = _relative(said)
        return error**-2 / (error**-2).mean(), said
    if weights is None:
        return np.ones(len(kept)), None
    logs = _log_weights(law, kept, weights)
    found = np.exp(logs - logs.max())
    return found / found.mean(), None


def _relative(std: Array) -> Array:
    return np.asarray(std / np.exp(np.log(std).mean()))


def _log_weights(law: Law, kept: pl.DataFrame, weights: str) -> Array:
    """Log weights by an expression of columns, (n,)."""
    weighing = Weighing.of(weights, [name for name in kept.columns if name != _ROW])
    values = {name: _numbers(kept, name) for name in weighing.columns.values()}
    excess = np.zeros(len(kept))
    if weighing.needs_frontier:
        excess = frontier_excess(_positive(kept, "flops"), _positive(kept, law.response))
    logs, plain = weighing.logs(values, excess)
    bad = np.flatnonzero(~np.isfinite(logs))
    if len(bad):
        row = int(bad[0])
        parts = [f"{name} {values[name][row]:g}" for name in values if name != weights]
        shown = f" (with {', '.join(parts)})" if parts else ""
        raise FitError(
            f"row {kept[_ROW][row]} (run {kept['run'][row]}): {weights} is {plain[row]}{shown}; a "
            "weight is made of positive, finite numbers."
        )
    return logs


def frontier_excess(flops: Array, loss: Array) -> Array:
    """Log loss of each run above the best of all that took no more compute, (n,)."""
    order = np.lexsort((loss, flops))
    log_loss = np.log(loss)
    best = np.minimum.accumulate(log_loss[order])
    # Runs of equal compute share the best of them all.
    last = np.searchsorted(flops[order], flops[order] * (1 + 1e-9), side="right") - 1
    excess = np.empty(len(flops))
    excess[order] = log_loss[order] - best[last]
    return excess


def _positive(kept: pl.DataFrame, column: str) -> Array:
    if column not in kept.columns:
        raise FitError(
            f"there is no column {column!r} to weigh runs by; the table has "
            f"{', '.join(name for name in kept.columns if name != _ROW)}."
        )
    values = _numbers(kept, column)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise FitError(
            f"row {kept[_ROW][int(bad[0])]} (run {kept['run'][int(bad[0])]}): {column} is "
            f"{values[bad[0]]}; a weight is made of positive, finite numbers."
        )
    return values


def _numbers(kept: pl.DataFrame, column: str) -> Array:
    """A column's numbers; nan where a cell has none."""
    import polars as pl

    if kept[column].dtype.is_nested():
        return np.full(len(kept), np.nan)
    return kept[column].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


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

    for name in (*law.inputs, law.response):
        if kept[name].dtype.is_nested() and name in law.raw:
            _check_lists(kept, name)
            continue
        if not kept[name].dtype.is_numeric() and len(kept):
            raise FitError(f"column {name} is {kept[name].dtype}; a law is fitted to numbers.")
        values = kept[name].cast(pl.Float64)
        possible = values >= 0 if name in law.raw else values > 0
        if name in law.signed or (name == law.response and law.scale == "linear"):
            possible = values.is_not_null()
        bad = kept.filter(values.is_null() | ~(values.is_finite() & possible))
        if len(bad):
            raise FitError(
                f"row {bad[_ROW][0]} (run {bad['run'][0]}): {name} is {bad[name][0]}; a "
                f"finished run needs a positive, finite {name}. Correct it, or give the run "
                "another status, and it is left out and counted."
            )
    twice = kept.filter(kept["run"].is_duplicated())
    if len(twice):
        raise FitError(
            f"run {twice['run'][0]} stands in {len(twice)} rows; ids must differ. "
            "Name the column of several points along one run 'curve'."
        )
    least = len(law.parameters) + 1
    if len(kept) < least:
        why = "".join(f", {count} left out as {reason}" for reason, count in left_out.items())
        raise FitError(
            f"law {law.name} has {least - 1} parameters and needs {least} finished runs or more; "
            f"the table has {len(kept)}{why}. Add runs, or fit a law with fewer parameters."
        )
    if kept[law.response].n_unique() == 1:
        raise FitError(
            f"every run has {law.response} = {kept[law.response][0]:g}; there is nothing to fit."
        )
    for name in law.inputs:
        own = name not in law.raw or law.written is not None
        if own and kept[name].n_unique() == 1:
            raise FitError(
                f"every run has {name} = {kept[name][0]:g}; law {law.name} needs {name} to vary. "
                "Add runs at other values, or fit a law without it."
            )


def _check_lists(kept: pl.DataFrame, name: str) -> None:
    for row, run, items in kept.select(_ROW, "run", name).iter_rows():
        if items is None or not all(item is not None and np.isfinite(item) for item in items):
            raise FitError(
                f"row {row} (run {run}): {name} is {items}; a finished run needs a list of finite "
                "numbers there. Correct it, or give the run another status, and it is left out "
                "and counted."
            )


def _clusters(kept: pl.DataFrame, clusters: str) -> tuple[str, NDArray[np.intp]]:
    """The column that defines clusters, and the number of each run's."""
    import polars as pl

    by = clusters
    if clusters == "auto":
        usable = (c for c in ("trunk", "curve") if c in kept.columns)
        by = next((c for c in usable if kept[c].drop_nulls().n_unique() > 1), "run")
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
    columns = [kept[name].to_list() for name in (*law.inputs, law.response)]
    rows = [
        " ".join([*map(_exactly, row[:-1]), str(row[-1])])
        for row in zip(*columns, groups.tolist(), strict=True)
    ]
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _exactly(value: float | list[float]) -> str:
    return ",".join(map(_exactly, value)) if isinstance(value, list) else float(value).hex()

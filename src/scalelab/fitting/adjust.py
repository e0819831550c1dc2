"""Runs as they would have been at the best batch; and the best of a sweep.

    S_min = S / (1 + B_crit(L) / B)        steps at a batch far above the critical one
    C_min = C / (1 + B / B_crit(L))        compute at a batch far below it

Source: Kaplan et al. 2020, arXiv 2001.08361, equations 5.4 and 5.5. B_crit = B_star / L^(1/alpha_B)
is that of the user's own text and tokenizer: Kaplan's constants belong to his.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting.budgets import positive
from scalelab.fitting.observations import select
from scalelab.laws import get_law

if TYPE_CHECKING:
    import polars as pl


def at_best_batch(table: pl.DataFrame, critical_batch: Mapping[str, float]) -> pl.DataFrame:
    """The table with columns critical_batch, steps_min and flops_min.

    critical_batch: B_star (tokens) and alpha_B of the law ``critical-batch``. table: loss and
    batch_tokens; steps (or tokens, from which they follow) gives steps_min, flops gives flops_min.
    Raises FitError for a column that is missing or not positive.
    """
    import polars as pl

    missing = [name for name in ("loss", "batch_tokens") if name not in table.columns]
    if missing:
        raise FitError(
            f"to adjust for the batch a table needs {' and '.join(missing)}; it has "
            f"{', '.join(table.columns)}."
        )
    loss, batch = (table[name].cast(pl.Float64).to_numpy() for name in ("loss", "batch_tokens"))
    if not ((loss > 0) & (batch > 0)).all():
        raise FitError("loss and batch_tokens must be positive numbers in every row.")
    critical = get_law("critical-batch").loss(critical_batch, loss=loss)
    table = table.with_columns(pl.Series("critical_batch", critical))
    if "steps" not in table.columns and "tokens" in table.columns:
        table = table.with_columns((table["tokens"] / table["batch_tokens"]).alias("steps"))
    if "steps" in table.columns:
        table = table.with_columns((pl.col("steps") / (1 + critical / batch)).alias("steps_min"))
    if "flops" in table.columns:
        table = table.with_columns((pl.col("flops") / (1 + batch / critical)).alias("flops_min"))
    return table


def sweep_optima(
    table: pl.DataFrame, column: str = "lr", by: Sequence[str] = ("params", "tokens")
) -> pl.DataFrame:
    """The best value of a hyper-parameter in each sweep: a table for ``optimal-lr`` and the like.

    Runs with equal values of `by` are one sweep. In each, a parabola in ln(column) through the
    lowest loss and its neighbours on both sides gives the optimum; sweeps whose lowest loss is at
    an end, or of fewer than three values, are left out. Replicates of a value count by their mean.
    Only runs that finished and are not held out count.

    Returns by, column, loss (at the optimum) and runs (of the sweep). Raises FitError when no sweep
    has an optimum inside, and where the column or a loss is no positive number.
    """
    import polars as pl

    needed = (*by, column, "loss")
    if missing := [name for name in needed if name not in table.columns]:
        raise FitError(f"a sweep needs the columns {', '.join(needed)}; {missing[0]} is missing.")
    table, _ = select(table)
    for name in (column, "loss"):
        positive(table, name)
    found = []
    for keys, group in table.group_by(list(by), maintain_order=True):
        means = group.group_by(column).agg(pl.col("loss").mean()).sort(column)
        x, y = np.log(means[column].to_numpy()), means["loss"].to_numpy()
        best = int(y.argmin())
        if not 0 < best < len(x) - 1:
            continue
        near = slice(best - 1, best + 2)
        bend, slope, height = np.polyfit(x[near] - x[best], y[near], 2)
        move = -slope / (2 * bend)
        optimum = float(np.exp(x[best] + move))
        loss = float(height + slope * move + bend * move**2)
        found.append((*keys, optimum, loss, len(group)))
    if not found:
        raise FitError(
            f"no sweep of {column} has its lowest loss inside: extend the sweeps on the side where "
            "they end lowest."
        )
    return pl.DataFrame(found, schema=[*by, column, "loss", "runs"], orient="row")

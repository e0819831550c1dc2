"""Runs as they would have been at the best batch.

    S_min = S / (1 + B_crit(L) / B)        steps at a batch far above the critical one
    C_min = C / (1 + B / B_crit(L))        compute at a batch far below it

Source: Kaplan et al. 2020, arXiv 2001.08361, equations 5.4 and 5.5. B_crit = B_star / L^(1/alpha_B)
is that of the user's own text and tokenizer: Kaplan's constants belong to his.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scalelab.errors import FitError
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

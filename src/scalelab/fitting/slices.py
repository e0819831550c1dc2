"""Laws in one variable through a ladder: L(N) at one D, L(D) at one N, L(C) along the frontier.

They are slices of one-epoch runs, not Kaplan's L(N) and L(D), whose runs are trained to convergence
or to early stopping. Each says in its conventions which runs it was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scalelab.errors import FitError
from scalelab.fitting.engine import fit
from scalelab.fitting.observations import select
from scalelab.fitting.result import Fit
from scalelab.laws import get_law
from scalelab.units import format_count

if TYPE_CHECKING:
    import polars as pl

FLOOR_NEEDS = 5
"""Levels below which a floor is not fitted: its three parameters would meet hardly any check."""


def slice_params(runs: pl.DataFrame) -> Fit:
    """L(N) over the fitted runs with the most tokens; raises FitError when they are too few."""
    fitted = _fitted(runs, "tokens")
    most = fitted["tokens"].max()
    where = f"at D = {format_count(most)} tokens, one epoch"  # type: ignore[arg-type]
    return _one_variable(fitted.filter(fitted["tokens"] == most), "params", where)


def slice_tokens(runs: pl.DataFrame) -> Fit:
    """L(D) over the fitted runs of the largest size; raises FitError when they are too few.

    Branches of one trunk: what they share moves all of them alike, so each counts for itself.
    """
    fitted = _fitted(runs, "params")
    largest = fitted["params"].max()
    where = f"at N = {format_count(largest)}, one epoch"  # type: ignore[arg-type]
    return _one_variable(fitted.filter(fitted["params"] == largest), "tokens", where)


def slice_frontier(runs: pl.DataFrame) -> Fit:
    """L(C) over the runs that no cheaper run beats; raises FitError when they are too few."""
    fitted = _fitted(runs, "flops").sort("flops", "loss")
    best = fitted.filter(fitted["loss"] <= fitted["loss"].cum_min())
    return _one_variable(best, "flops", f"along the frontier, {len(best)} runs that none beats")


SLICES: dict[str, Callable[[pl.DataFrame], Fit]] = {
    "L(N)": slice_params,
    "L(D)": slice_tokens,
    "L(C)": slice_frontier,
}


def _one_variable(runs: pl.DataFrame, column: str, where: str) -> Fit:
    levels = runs[column].n_unique() if len(runs) else 0
    law = get_law("power" if levels >= FLOOR_NEEDS else "power-no-floor", column)
    return fit(law, runs, clusters="run", conventions={column: where})


def _fitted(runs: pl.DataFrame, column: str) -> pl.DataFrame:
    if "loss" not in runs.columns:
        raise FitError("no run has finished, so there is nothing to fit.")
    if column not in runs.columns:
        raise FitError(
            f"the slice is chosen by {column}; the table has {', '.join(runs.columns)}. "
            f"Rename or add {column}."
        )
    fitted, _ = select(runs)
    if fitted.is_empty():
        raise FitError("no run that may be fitted has finished.")
    return fitted

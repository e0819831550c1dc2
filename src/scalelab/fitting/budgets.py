"""Runs grouped by compute, and what is found at each budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import FitError
from scalelab.fitting.result import Estimate
from scalelab.laws import Array

if TYPE_CHECKING:
    import polars as pl

TOLERANCE = 0.05
_SAME = 1e-12  # of logarithms: rounding


@dataclass(frozen=True)
class BudgetOptimum:
    """The best size at one budget. refused: why it has none, empty where it has one."""

    flops: float
    points: int
    params: Estimate | None = None
    tokens: float | None = None
    loss: float | None = None
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "flops": self.flops,
            "N_opt": None if self.params is None else self.params.value,
            "N_opt_interval": None if self.params is None else self.params.to_dict(),
            "D_opt": self.tokens,
            "loss": self.loss,
            "points": self.points,
            "refused": self.refused or None,
        }


def group_budgets(table: pl.DataFrame, tolerance: float = TOLERANCE) -> list[pl.DataFrame]:
    """Runs of one budget each, cheapest first; raises FitError when no two share one.

    Neighbours differ by `tolerance` or less, and the dearest of a budget costs at most
    (1 + tolerance)^2 times the cheapest: both are that near to its middle.
    """
    if not tolerance >= 0:
        raise FitError(f"tolerance is {tolerance}; it is a relative difference such as .05.")
    if table.is_empty():
        raise FitError("the table has no run that may be used; an isoFLOP sweep needs several.")
    ordered = table.sort("flops", "params")
    logs = np.log(ordered["flops"].to_numpy())
    number = _numbers(logs, np.log1p(tolerance) + _SAME)
    groups = [ordered.filter(number == i) for i in range(number[-1] + 1)]
    if max(len(group) for group in groups) < 2:
        raise FitError(
            f"no two of {len(ordered)} runs have equal compute within {tolerance:.0%}: these are "
            "not isoFLOP sweeps. Raise the tolerance, or fit a law to the whole surface."
        )
    return groups


def _numbers(logs: Array, reach: float) -> NDArray[np.intp]:
    """Of each run its budget's number, from 0; logs: of compute, ascending."""
    numbers = np.zeros(len(logs), dtype=np.intp)
    lowest = logs[0]
    for i in range(1, len(logs)):
        begins = logs[i] - logs[i - 1] > reach or logs[i] - lowest > 2 * reach
        numbers[i] = numbers[i - 1] + begins
        lowest = logs[i] if begins else lowest
    return numbers


def cut_through(groups: Sequence[pl.DataFrame], tolerance: float = TOLERANCE) -> int:
    """How many budgets are parted from the one below only by the width that one may have."""
    ends = [(float(group["flops"].min()), float(group["flops"].max())) for group in groups]  # type: ignore[arg-type]
    reach = np.log1p(tolerance) + _SAME
    return sum(np.log(low / high) <= reach for (_, high), (low, _) in pairwise(ends))


def budget_of(group: pl.DataFrame) -> float:
    """The compute that runs of one budget stand for: their geometric mean."""
    return float(np.exp(np.log(group["flops"].to_numpy()).mean()))


def positive(table: pl.DataFrame, name: str) -> Array:
    """A column as numbers above zero, (n,); raises FitError where it is missing or has others."""
    import polars as pl

    if name not in table.columns:
        raise FitError(f"there is no column {name!r}; the table has {', '.join(table.columns)}.")
    values = table[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise FitError(
            f"{name} has values that are not positive numbers, in {bad.sum()} of {len(bad)} runs."
        )
    return np.asarray(values)

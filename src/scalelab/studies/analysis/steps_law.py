"""L(N, S_min) of Kaplan et al. 2020 from the ladder's trunks: held-out loss at constant rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from scalelab.laws import Array
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.trunk_curves import trunk_points
from scalelab.studies.evidence import Run


def least_steps(
    steps: Array, loss: Array, batch_tokens: Array | float, critical: Mapping[str, float] | None
) -> Array:
    """S_min = S / (1 + B_crit(L) / B) (equation 5.4); S itself where no B_crit was measured."""
    if critical is None:
        return steps
    batch = critical["B_star"] / loss ** (1 / critical["alpha_B"])
    return steps / (1 + batch / batch_tokens)


def fit_steps_law(
    trunks: Sequence[Run], critical: Mapping[str, float] | None, level: float, seed: int
) -> Attempt:
    """The law kaplan-steps through the curves of all finished trunks; clustered by trunk."""
    points = trunk_points([run for run in trunks if run.finished])
    steps, loss, batch = (points[name].to_numpy() for name in ("steps", "loss", "batch_tokens"))
    least = pl.Series("steps_min", least_steps(steps, loss, batch, critical), dtype=pl.Float64)
    return attempt("kaplan-steps", points.with_columns(least), level=level, seed=seed)

"""L(N, S_min) of Kaplan et al. 2020 from the ladder's trunks: held-out loss at constant rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from scalelab.laws import Array
from scalelab.studies.attempt import Attempt, attempt
from scalelab.studies.evidence import Run

AFTER_WARMUP = 3
"""A curve follows the law from so many times the warm-up on. (assumed: by then the rate has been
constant for two thirds of the steps)"""


def least_steps(
    steps: Array, loss: Array, batch_tokens: int, critical: Mapping[str, float] | None
) -> Array:
    """S_min = S / (1 + B_crit(L) / B) (equation 5.4); S itself where no B_crit was measured."""
    if critical is None:
        return steps
    batch = critical["B_star"] / loss ** (1 / critical["alpha_B"])
    return steps / (1 + batch / batch_tokens)


def curve_points(trunks: Sequence[Run], critical: Mapping[str, float] | None) -> pl.DataFrame:
    """One row for each evaluation of a trunk after its warm-up: params, steps_min, loss, trunk."""
    frames = []
    for run in trunks:
        if run.result is None or run.result["status"] != "finished":
            continue
        late = run.curve.filter(
            (pl.col("step") >= AFTER_WARMUP * run.spec.warmup_steps) & pl.col("loss").is_finite()
        )
        steps = late["step"].cast(pl.Float64).to_numpy()
        least = least_steps(steps, late["loss"].to_numpy(), run.spec.batch_tokens, critical)
        frames.append(
            late.select(
                pl.format("{}@{}", pl.lit(run.spec.run), "step").alias("run"),
                pl.lit(float(run.params)).alias("params"),
                pl.Series("steps_min", least, dtype=pl.Float64),
                "loss",
                pl.lit(run.spec.run).alias("trunk"),
            )
        )
    return pl.concat(frames) if frames else pl.DataFrame()


def fit_steps_law(
    trunks: Sequence[Run], critical: Mapping[str, float] | None, level: float, seed: int
) -> Attempt:
    """The law kaplan-steps through all trunks' curves; intervals clustered by trunk."""
    return attempt("kaplan-steps", curve_points(trunks, critical), level=level, seed=seed)

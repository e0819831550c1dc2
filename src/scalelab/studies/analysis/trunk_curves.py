"""The learning curves of a ladder's trunks, at the batch that was trained and at the best one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from scalelab.counting import flops_per_token
from scalelab.fitting import Estimate, at_best_batch
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.analysis.critical_batch_law import measured
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.ladder import MIN_STEPS

SETTLED = 1.5
"""A curve counts from so many warm-ups on. (assumed: a ladder's warm-up is a tenth of its shortest
run, so that what the slow start cost is made up for soon after)"""

SCHEMA = {
    "run": pl.String,
    "trunk": pl.String,
    "params": pl.Float64,
    "step": pl.Float64,
    "steps": pl.Float64,
    "tokens": pl.Float64,
    "flops": pl.Float64,
    "flops_6n": pl.Float64,
    "batch_tokens": pl.Float64,
    "loss": pl.Float64,
}


def critical_batch(evidence: Evidence) -> Mapping[str, float] | None:
    """B_star and alpha_B of the study, None where nothing measured them."""
    return evidence.critical_batch or measured(evidence)


def trunk_points(runs: Iterable[Run], least_steps: int = MIN_STEPS) -> pl.DataFrame:
    """Evaluations of trunks after their warm-up, by SCHEMA, smallest size first.

    ``run`` is unique for each row, ``trunk`` is the trunk's id: rows of one are not independent.
    flops: of every matrix product as executed; flops_6n: 6 N D, as the paper counts.
    """
    rows: list[dict[str, object]] = []
    for run in sorted(runs, key=lambda run: run.params):
        spec = run.spec
        first = max(SETTLED * spec.warmup_steps, least_steps)
        kept = run.curve.filter(
            (pl.col("step") >= first) & pl.col("loss").is_finite() & (pl.col("loss") > 0)
        ).sort("step")
        per_token = flops_per_token(spec.shape)
        for step, loss in kept.select("step", "loss").iter_rows():
            tokens = float(step * spec.batch_tokens)
            rows.append(
                {
                    "run": f"{spec.run}@{step}",
                    "trunk": spec.run,
                    "params": float(run.params),
                    "step": float(step),
                    "steps": float(step),
                    "tokens": tokens,
                    "flops": per_token * tokens,
                    "flops_6n": 6.0 * run.params * tokens,
                    "batch_tokens": float(spec.batch_tokens),
                    "loss": loss,
                }
            )
    return pl.DataFrame(rows, schema=SCHEMA)


def at_best(points: pl.DataFrame, critical: Mapping[str, float]) -> pl.DataFrame:
    """With critical_batch, steps_min, flops_min and flops_6n_min (equations 5.4 and 5.5)."""
    found = at_best_batch(points, critical)
    relative = 1 + pl.col("batch_tokens") / pl.col("critical_batch")
    return found.with_columns((pl.col("flops_6n") / relative).alias("flops_6n_min"))


def mean_over(values: Array, level: float, seed: int) -> Estimate:
    """The mean over sizes or runs (n,), with the bootstrap of them (2,000 draws)."""
    generator = np.random.default_rng([seed, 5])
    picks = generator.integers(len(values), size=(2000, len(values)))
    return estimate(float(values.mean()), values[picks].mean(axis=1), level)

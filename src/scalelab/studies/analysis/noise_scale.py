"""The gradient noise scale along a run at constant learning rate, beside the loss of the moment.

    B_noise = tr(Sigma) / |G|^2

Single samples of both parts are noisy and their ratio is biased, so each is averaged over a bin of
steps before the division. Source: McCandlish et al. 2018, arXiv 1812.06162, section 2.2 and
appendix A.1. It is read at constant rate: when the rate changes it jumps.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import polars as pl

from scalelab.studies.evidence import Run

PER_BIN = 12
"""Samples that a bin holds at least: four parts of a small batch tell |G|^2 to about 60% each, so
that twelve tell it to 20%. (assumed)"""

MOST_BINS = 8

ROUGHEST = 0.5
"""Bins whose noise scale is known worse than this (relative standard error) say nothing."""

SETTLED = 2.0
"""Steps are looked at from so many warm-ups on. (assumed)"""

SCHEMA = {
    "run": pl.String,
    "trunk": pl.String,
    "params": pl.Float64,
    "step": pl.Float64,
    "loss": pl.Float64,
    "critical_batch": pl.Float64,
    "error": pl.Float64,
}


def noise_points(runs: Iterable[Run]) -> pl.DataFrame:
    """One row for each bin of each run, by SCHEMA: loss, B_noise in tokens, its standard error.

    runs: at constant rate after their warm-up, such as a ladder's trunks. A run without samples or
    without a curve gives no rows. ``run`` is unique for each row, ``trunk`` is the run's id.
    """
    rows = [row for run in runs for row in _bins(run)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _bins(run: Run) -> list[tuple[object, ...]]:
    spec = run.spec
    constant = spec.kind == "trunk" or spec.schedule == "constant"
    last = spec.last_step if constant else spec.decay_start
    samples = run.noise.filter(pl.col("step").is_between(SETTLED * spec.warmup_steps, last))
    count = min(MOST_BINS, len(samples) // PER_BIN)
    curve = run.curve.filter((pl.col("step") > 0) & pl.col("loss").is_finite()).sort("step")
    if count < 1 or len(curve) < 2:
        return []
    log_step, log_loss = (np.log(curve[name].to_numpy()) for name in ("step", "loss"))
    rows: list[tuple[object, ...]] = []
    # Bins of equal ratio of steps would leave the early ones empty: samples come at equal steps.
    step, signal, noise = (samples[name].to_numpy() for name in ("step", "signal", "noise"))
    edges = _edges(step.astype(float), count)
    for i, (start, end) in enumerate(pairwise(edges)):
        s, n = signal[start:end], noise[start:end]
        if s.mean() <= 0 or n.mean() <= 0:
            continue
        scale = float(n.mean() / s.mean())
        # The error of a ratio of means (delta method), of its logarithm.
        relative = float(np.std(n / n.mean() - s / s.mean(), ddof=1) / np.sqrt(len(s)))
        if relative > ROUGHEST:
            continue
        middle = float(np.log(step[start:end]).mean())
        loss = float(np.exp(np.interp(middle, log_step, log_loss)))
        row = (float(run.params), float(np.exp(middle)), loss, scale, scale * relative)
        rows.append((f"{spec.run}-{i}", spec.run, *row))
    return rows


def _edges(step: np.ndarray[tuple[int], np.dtype[np.float64]], count: int) -> list[int]:
    """Ends of bins, evenly spaced in log steps as far as each then holds enough samples."""
    total = len(step)
    ends = [0]
    targets = np.exp(np.linspace(np.log(step[0]), np.log(step[-1]), count + 1))[1:-1]
    for target in targets:
        end = max(int(np.searchsorted(step, target)), ends[-1] + PER_BIN)
        if total - end < PER_BIN:
            break
        ends.append(end)
    return [*ends, total]

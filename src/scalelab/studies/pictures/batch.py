"""What the three ways of measuring the critical batch gave, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.fitting import Estimate, Fit
from scalelab.laws import Array
from scalelab.studies.analysis.batch_branches import TOLERANCE, Checkpoint
from scalelab.studies.analysis.batch_sweep import Sweep
from scalelab.studies.analysis.critical_batch_law import PAPER_ALPHA, local_batch, log_batch
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.units import format_count


@dataclass(frozen=True)
class Ways:
    """What each way of measuring gave; None or empty where it did not.

    points: of the noise scale, by `analysis.noise_scale.SCHEMA`. noise, branches: the law
    ``critical-batch`` through it and through the checkpoints. sweep: to fixed losses.
    """

    points: pl.DataFrame
    noise: Fit | None
    sweep: Sweep | None
    checkpoints: Sequence[Checkpoint]
    branches: Fit | None

    @property
    def direct(self) -> Fit | None:
        """The law of the sweep."""
        return None if self.sweep is None else self.sweep.joint


def losses_of(found: Fit) -> Array:
    """Five losses over the range that was fitted."""
    low, high, _ = found.ranges["loss"]
    return np.geomspace(low, high, 5)


def pictures(ways: Ways) -> list[Picture]:
    """The law by all ways (figure 10), the trade-off of the sweep (figure 18), the branches."""
    found = []
    if len(ways.points) or ways.sweep is not None:
        found.append(_law_picture(ways))
    if ways.sweep is not None:
        found.append(_trade_off_picture(ways.sweep))
    if ways.checkpoints:
        found.append(_branch_picture(ways.checkpoints))
    return found


def _law_picture(ways: Ways) -> Picture:
    series = [
        Series(
            own["loss"].to_list(),
            own["critical_batch"].to_list(),
            "point",
            level=float(own["params"][0]),
            low=(own["critical_batch"] - own["error"]).to_list(),
            high=(own["critical_batch"] + own["error"]).to_list(),
            tips=[f"noise scale, N = {format_count(own['params'][0])}"] * len(own),
        )
        for own in ways.points.partition_by("params", maintain_order=True)
    ]
    if ways.sweep is not None:
        levels = [(loss, fitted.derived["B_crit"]) for _, loss, fitted in ways.sweep.levels]
        series.append(_bars(levels, "sweep to fixed losses", "point"))
    direct = [(one.loss, one.critical) for one in ways.checkpoints]
    if direct:
        series.append(_bars(direct, "branches from checkpoints", "hollow"))
    for found, label in (
        (ways.direct, "sweep to fixed losses"),
        (ways.noise, "law of the noise scale"),
        (ways.branches, "branches from checkpoints"),
    ):
        if found is not None:
            series.append(_line(found, label))
    local = None
    if ways.sweep is not None and ways.direct is not None:
        local = local_batch(ways.direct, ways.sweep.crossings)
    if local is not None:
        losses, (value, _) = local
        known = np.isfinite(value)
        found_at, batches = losses[known].tolist(), np.exp(value[known]).tolist()
        series.append(Series(found_at, batches, "dashed", "sweep, from one loss to the next"))
    anchor = ways.direct or ways.noise
    if anchor is not None:
        losses = losses_of(anchor)
        middle = losses[len(losses) // 2]
        height = float(np.exp(log_batch(anchor, np.array([middle]))[0][0]))
        slope = height * (middle / losses) ** (1 / PAPER_ALPHA)
        series.append(Series(losses.tolist(), slope.tolist(), "dashed", "paper's slope"))
    return Picture(
        "critical-batch",
        "Critical batch against loss",
        "Gradient noise scale along trunks at constant rate (coloured by size), the critical batch "
        "of a sweep to fixed losses, and that of branch runs from checkpoints.",
        Axis("Held-out loss, nats per token", kind="loss"),
        Axis("Critical batch, tokens", kind="count"),
        series,
        paper="figure 10",
    )


def _bars(found: Sequence[tuple[float, Estimate]], label: str, mark: str) -> Series:
    return Series(
        [loss for loss, _ in found],
        [one.value for _, one in found],
        "hollow" if mark == "hollow" else "point",
        label,
        low=[max(one.low, one.value / 100) for _, one in found],
        high=[min(one.high, one.value * 100) for _, one in found],
    )


def _line(found: Fit, label: str) -> Series:
    low, high, _ = found.ranges["loss"]
    losses = np.geomspace(low, high, 30)
    value, draws = log_batch(found, losses)
    tail = 0.5 - found.level / 2
    ends = np.exp(np.nanquantile(draws, [tail, 1 - tail], axis=0))
    return Series(
        *(losses.tolist(), np.exp(value).tolist(), "line", label),
        low=ends[0].tolist(),
        high=ends[1].tolist(),
    )


def _trade_off_picture(sweep: Sweep) -> Picture:
    series = []
    groups = sweep.crossings.partition_by("level", maintain_order=True)
    for group, (params, loss, fitted) in zip(groups, sweep.levels, strict=True):
        steps, tokens = group["steps"].to_numpy(), group["tokens"].to_numpy()
        tips = [
            f"N = {format_count(params)}, {loss:.3f} nats, batch {format_count(batch)}"
            for batch in group["batch_tokens"]
        ]
        series.append(Series(steps.tolist(), tokens.tolist(), "point", level=loss, tips=tips))
        batches = group["batch_tokens"].to_numpy()
        batch = np.geomspace(batches.min(), batches.max(), 40)
        least, data = fitted.values["S_min"], fitted.values["E_min"]
        needed = least + data / batch
        series.append(Series(needed.tolist(), (needed * batch).tolist(), "line", level=loss))
    return Picture(
        "batch-trade-off",
        "Steps and tokens that each batch needs to fixed losses",
        "Every point is a batch at the best of its learning rates; lines are "
        "(S/S_min - 1)(E/E_min - 1) = 1, one a loss.",
        Axis("Steps", kind="count"),
        Axis("Tokens processed", kind="count"),
        series,
        paper="figure 18",
        level_title="Loss, nats per token",
    )


def _branch_picture(checkpoints: Sequence[Checkpoint]) -> Picture:
    series = []
    for one in checkpoints:
        batches = [float(batch) for batch in one.batches]
        excess = [loss / one.after - 1 for loss in one.losses]
        tips = [f"batch {format_count(batch)}" for batch in batches]
        label = f"from {format_count(one.tokens)} tokens"
        series.append(Series(batches, excess, "point", label, tips=tips))
        series.append(Series(batches, excess, "line", label))
    ends = [min(series[0].x), max(series[0].x)]
    series.append(Series(ends, [TOLERANCE, TOLERANCE], "dashed", f"tolerance {TOLERANCE:.0%}"))
    return Picture(
        "batch-branches",
        "Loss after the same tokens from one checkpoint, by batch",
        "Excess over the loss of the smallest batch; the learning rate goes with the square root "
        "of the batch (Merrill et al. 2025).",
        Axis("Batch, tokens", kind="count"),
        Axis("Excess loss", log=False, kind="percent"),
        series,
    )

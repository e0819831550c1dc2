"""Pictures of efficiency: loss against tokens and compute, sizes at fixed compute, off-optimal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Run
from scalelab.studies.joint import Joint
from scalelab.studies.trunk_curves import trunk_points
from scalelab.units import format_count

LOSS = Axis("Held-out loss, nats per token", kind="loss")
SIZE = Axis("Parameters, non-embedding", kind="count")


def pictures(
    trunks: Sequence[Run],
    branches: Sequence[Run],
    joint: Joint | None,
    flops: Array,
) -> list[Picture]:
    """Figure 2 (both sides), figure 11 and figure 12, as far as there are runs for them."""
    points = trunk_points(trunks, least_steps=0)
    found = []
    if len(points):
        found.append(_against_tokens(points))
        found.append(_against_compute(points, joint, flops))
        fixed = _fixed_compute(points)
        if fixed.series:
            found.append(fixed)
    if joint is not None and len(flops):
        found.append(_off_optimal(branches, joint, flops))
    return found


def _against_tokens(points: pl.DataFrame) -> Picture:
    series = [
        Series(
            own["tokens"].to_list(), own["loss"].to_list(), "line", level=float(own["params"][0])
        )
        for own in points.partition_by("params", maintain_order=True)
    ]
    return Picture(
        "sample-efficiency",
        "Loss against tokens, by size",
        "Larger models need fewer tokens to reach the same loss. Trunks at constant rate.",
        Axis("Tokens processed", kind="count"),
        LOSS,
        series,
        paper="figure 2 left",
    )


def _against_compute(points: pl.DataFrame, joint: Joint | None, flops: Array) -> Picture:
    series = [
        Series(own["flops"].to_list(), own["loss"].to_list(), "line", level=float(own["params"][0]))
        for own in points.partition_by("params", maintain_order=True)
    ]
    if joint is not None and len(flops):
        grid = np.geomspace(flops[0], flops[-1], 25)
        losses = joint.frontier(grid).loss
        kept = np.isfinite(losses[0])
        series.append(
            Series(grid[kept].tolist(), losses[0][kept].tolist(), "dashed", "frontier, decayed")
        )
    return Picture(
        "compute-efficiency",
        "Loss against compute, by size",
        "The best size grows with the compute. Trunks at constant rate; the frontier is the joint "
        "law's at the end of a decay, which lies lower.",
        Axis("Training compute, FLOP", kind="power"),
        LOSS,
        series,
        paper="figure 2 right",
    )


def _fixed_compute(points: pl.DataFrame) -> Picture:
    """Loss against size where every size has spent the same: interpolated along the trunks."""
    curves = [
        (float(own["params"][0]), np.log(own["flops"].to_numpy()), np.log(own["loss"].to_numpy()))
        for own in points.partition_by("params", maintain_order=True)
    ]
    low = min(float(x[0]) for _, x, _ in curves)
    high = max(float(x[-1]) for _, x, _ in curves)
    series = []
    for log_c in np.linspace(low, high, 9)[1:-1]:
        at = [
            (n, float(np.exp(np.interp(log_c, x, y))))
            for n, x, y in curves
            if x[0] <= log_c <= x[-1] and len(x) > 1
        ]
        if len(at) >= 3:
            sizes, losses = [n for n, _ in at], [loss for _, loss in at]
            compute = float(np.exp(log_c))
            series.append(Series(sizes, losses, "point", level=compute))
            series.append(Series(sizes, losses, "line", level=compute))
    return Picture(
        "fixed-compute",
        "Loss against size at fixed compute",
        "Each compute has a best size; sizes too big for their compute have seen too little. Along "
        "the trunks, at constant rate.",
        SIZE,
        LOSS,
        series,
        paper="figure 11",
        level_title="Compute, FLOP",
    )


def _off_optimal(branches: Sequence[Run], joint: Joint, flops: Array) -> Picture:
    factors = np.geomspace(0.1, 10, 41)
    most = flops[-1:]
    at = joint.frontier(most)
    extra = []
    for factor in factors:
        params = factor * at.params
        tokens = joint.tokens_to(params, at.loss)
        extra.append((joint.cost(params, "exact") * tokens / most)[:, 0])
    values = np.array(extra)  # (f, 1 + k)
    low, high = np.nanquantile(np.where(np.isfinite(values), values, 1e9)[:, 1:], [0.05, 0.95], 1)
    kept = np.isfinite(values[:, 0]) & (values[:, 0] < 10)
    series = [
        Series(
            factors[kept].tolist(),
            values[kept, 0].tolist(),
            "line",
            f"joint law at {most[0]:.1g} FLOP",
            low=np.minimum(low[kept], 10).tolist(),
            high=np.minimum(high[kept], 10).tolist(),
        ),
        *_measured(branches, joint),
        Series([0.6, 2.2], [1.2, 1.2], "dashed", "paper: at most 20% more"),
    ]
    return Picture(
        "off-optimal-size",
        "Compute to a loss, by how far the size is from the optimal one",
        "Every point is a run: its compute over what the frontier needs to its loss.",
        Axis("Size over the optimal size", kind="plain"),
        Axis("Compute over the least", kind="plain"),
        series,
        paper="figure 12",
    )


def _measured(branches: Sequence[Run], joint: Joint) -> list[Series]:
    """Runs beside the frontier: size over N_opt and compute over C_opt, both at the run's loss."""
    if not branches:
        return []
    compute = np.array([run.flops for run in branches])
    grid = np.geomspace(compute.min() / 30, compute.max() * 3, 120)
    at = joint.frontier(grid)
    kept = np.isfinite(at.loss[0])
    if kept.sum() < 2:
        return []
    log_c, log_n = np.log(grid[kept]), np.log(at.params[0][kept])
    fall = -np.log(at.loss[0][kept])
    series = []
    for params in sorted({run.params for run in branches}):
        own = [run for run in branches if run.params == params]
        place = np.array([-np.log(run.loss) for run in own])
        known = (place >= fall[0]) & (place <= fall[-1])
        best_c = np.exp(np.interp(place, fall, log_c))
        best_n = np.exp(np.interp(place, fall, log_n))
        spent = np.array([run.flops for run in own]) / best_c
        shown = known & (spent < 10)
        series.append(
            Series(
                (params / best_n)[shown].tolist(),
                spent[shown].tolist(),
                "point",
                level=float(params),
                tips=[
                    f"D = {format_count(run.tokens)}"
                    for run, s in zip(own, shown, strict=True)
                    if s
                ],
            )
        )
    return [one for one in series if len(one.x)]

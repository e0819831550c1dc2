"""Pictures of efficiency: loss against tokens and compute, equal budgets, off the optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.analysis.joint import Joint
from scalelab.studies.analysis.joint_forms import FORMS, MAIN
from scalelab.studies.analysis.optimum import Optimum
from scalelab.studies.analysis.sample_efficiency import Reached
from scalelab.studies.analysis.trunk_curves import trunk_points
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.pictures.size import size_pictures
from scalelab.units import format_count

LOSS = Axis("Held-out loss, nats per token", kind="loss")
SIZE = Axis("Parameters, non-embedding", kind="count")
MOST = 10.0
"""Beyond so many times the least, what other sizes cost is not drawn."""


def pictures(
    evidence: Evidence, found: Reached | None, joint: Joint | None, optima: Mapping[str, Optimum]
) -> list[Picture]:
    """Figures 2, 11 and 12 (both sides), and 19, as far as there are runs for them.

    optima: by form of the law, counted as 6 N D; empty where the optimum is not among the sizes.
    """
    trunks = [run for run in evidence.trunks if run.result is not None]
    points = trunk_points(trunks, least_steps=0)
    made = []
    if len(points):
        made.append(_against_tokens(points))
        made.append(_against_compute(points, joint))
        made += [_fixed(points, "flops"), _fixed(points, "steps")]
    if joint is not None and optima:
        made.append(_off_optimal(evidence.branches, joint, optima, evidence.level))
        made.append(_steps_of_others(optima, evidence.level))
    if found is not None:
        made += size_pictures(found, evidence)
    return [picture for picture in made if picture.series]


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
        paper="figure 2, left",
    )


def _against_compute(points: pl.DataFrame, joint: Joint | None) -> Picture:
    series = [
        Series(own["flops"].to_list(), own["loss"].to_list(), "line", level=float(own["params"][0]))
        for own in points.partition_by("params", maintain_order=True)
    ]
    flops = np.empty(0) if joint is None else joint.reach()
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
        paper="figure 2, right",
    )


def _fixed(points: pl.DataFrame, column: Literal["flops", "steps"]) -> Picture:
    """Loss against size where all have spent the same: interpolated along the trunks."""
    curves = [
        (float(own["params"][0]), np.log(own[column].to_numpy()), np.log(own["loss"].to_numpy()))
        for own in points.partition_by("params", maintain_order=True)
    ]
    low = min(float(x[0]) for _, x, _ in curves)
    high = max(float(x[-1]) for _, x, _ in curves)
    series = []
    for place in np.linspace(low, high, 9)[1:-1]:
        at = [
            (n, float(np.exp(np.interp(place, x, y))))
            for n, x, y in curves
            if x[0] <= place <= x[-1] and len(x) > 1
        ]
        if len(at) >= 3:
            sizes, losses = [n for n, _ in at], [loss for _, loss in at]
            spent = float(np.exp(place))
            series.append(Series(sizes, losses, "point", level=spent))
            series.append(Series(sizes, losses, "line", level=spent))
    if column == "flops":
        return Picture(
            "fixed-compute",
            "Loss against size at fixed compute",
            "Each compute has a best size; sizes too big for their compute have seen too little. "
            "Along the trunks, at constant rate.",
            SIZE,
            LOSS,
            series,
            paper="figure 11, left",
            level_title="Compute, FLOP",
        )
    return Picture(
        "fixed-steps",
        "Loss against size at fixed steps",
        "After equally many steps of one batch a larger size has the lower loss. Along the trunks, "
        "at constant rate.",
        SIZE,
        LOSS,
        series,
        paper="figure 11, right",
        level_title="Steps",
    )


def _off_optimal(
    branches: Sequence[Run], joint: Joint, optima: Mapping[str, Optimum], level: float
) -> Picture:
    factors = np.geomspace(0.1, 10, 41)
    series = []
    for form, optimum in optima.items():
        values = np.array([optimum.compute(factor) for factor in factors])  # (f, 1 + k)
        kept = np.isfinite(values[:, 0]) & (values[:, 0] < MOST)
        series.append(_over(factors[kept], values[kept], FORMS[form], form == MAIN, level))
    series += _measured(branches, joint)
    series.append(Series([0.6, 2.2], [1.2, 1.2], "dashed", "paper: at most 20% more"))
    size = next(iter(optima.values())).size
    return Picture(
        "off-optimal-size",
        "Compute to a loss, by how far the size is from the optimal one",
        f"Lines: the compute (6 N D) to the loss of which N = {format_count(size)} is the optimal "
        "size, by each form of the law. Points: runs, their compute over what the joint law's "
        "frontier needs to their loss.",
        Axis("Size over the optimal size", kind="plain"),
        Axis("Compute over the least", kind="plain"),
        series,
        paper="figure 12, left",
    )


def _steps_of_others(optima: Mapping[str, Optimum], level: float) -> Picture:
    factors = np.geomspace(0.3, 10, 41)
    series = []
    for form, optimum in optima.items():
        values = np.array([optimum.steps(factor) for factor in factors])
        kept = np.isfinite(values[:, 0]) & (values[:, 0] < MOST)
        series.append(_over(factors[kept], values[kept], FORMS[form], form == MAIN, level))
    series.append(Series([2.2], [0.55], "hollow", "paper: 45% fewer at 2.2"))
    return Picture(
        "off-optimal-steps",
        "Steps to a loss, by how far the size is from the optimal one",
        "Sizes beyond the optimal one reach its loss in fewer steps, smaller ones in more; of a "
        "batch far above the critical one as of the batch trained, by each form of the law.",
        Axis("Size over the optimal size", kind="plain"),
        Axis("Steps over those of the optimal size", kind="plain"),
        series,
        paper="figure 12, right",
    )


def _over(x: Array, values: Array, label: str, banded: bool, level: float) -> Series:
    """A line (f, 1 + k) of which the first column is the fit; a band where asked for."""
    if not banded:
        return Series(x.tolist(), values[:, 0].tolist(), "line", label)
    tail = 0.5 - level / 2
    drawn = np.where(np.isfinite(values[:, 1:]), values[:, 1:], MOST)
    low, high = np.minimum(np.quantile(drawn, [tail, 1 - tail], axis=1), MOST)
    return Series(
        *(x.tolist(), values[:, 0].tolist(), "line", label), low=low.tolist(), high=high.tolist()
    )


def _measured(branches: Sequence[Run], joint: Joint) -> list[Series]:
    """Runs beside the frontier: size over N_opt and compute over C_opt, both at the run's loss."""
    if not branches:
        return []
    compute = np.array([6.0 * run.params * run.tokens for run in branches])
    grid = np.geomspace(compute.min() / 30, compute.max() * 3, 120)
    at = joint.frontier(grid, "6N")
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
        spent = np.array([6.0 * run.params * run.tokens for run in own]) / best_c
        shown = known & (spent < MOST)
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

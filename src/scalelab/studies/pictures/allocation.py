"""Pictures of allocation: shares of growth, the frontier in C and in C_min, N and S with C_min."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.analysis.growth import Growth
from scalelab.studies.analysis.joint import Joint
from scalelab.studies.analysis.joint_forms import FORMS, MAIN
from scalelab.studies.conclusion import Axis, Picture, Series

COMPUTE = Axis("C_min = C / (1 + B / B_crit), FLOP (6N)", kind="power")


def pictures(
    grown: Mapping[str, Growth],
    joint: Joint,
    adjusted: pl.DataFrame,
    losses: tuple[float, float] | None,
) -> list[Picture]:
    """Figures 3, 13 and 14 (both sides).

    grown: by form of the law, the main one among them. losses: at which the critical batch was
    measured.
    """
    main = grown[MAIN]
    return [
        _shares(main, losses),
        _frontier(main, joint, adjusted),
        _size(grown, adjusted),
        _steps(main, losses),
    ]


def _remark(growth: Growth, losses: tuple[float, float] | None) -> str:
    """Where the batch is a measurement."""
    if losses is None:
        return ""
    found = growth.flops[(losses[0] <= growth.constant[0]) & (growth.constant[0] <= losses[1])]
    if len(found) == len(growth.flops):
        return ""
    if not len(found):
        return " The critical batch was measured at none of these losses: it is extrapolated."
    return (
        f" The critical batch was measured at losses that the frontier has from {found[0]:.2g} to "
        f"{found[-1]:.2g} FLOP; elsewhere it is extrapolated."
    )


def _band(x: Array, values: Array, label: str) -> Series:
    draws = np.where(np.isfinite(values[1:]), values[1:], np.nan)
    low, high = np.nanquantile(draws, [0.05, 0.95], axis=0)
    return Series(
        *(x.tolist(), values[0].tolist(), "line", label), low=low.tolist(), high=high.tolist()
    )


def _power(x: Array, y: Array, exponent: float, label: str) -> Series:
    """A line of a given slope through the middle of another."""
    middle = len(x) // 2
    return Series(
        *(x.tolist(), (y[middle] * (x / x[middle]) ** exponent).tolist(), "dashed", label)
    )


def _shares(growth: Growth, losses: tuple[float, float] | None) -> Picture:
    series = [
        _band(growth.flops / growth.flops[0], values / values[:, :1], label)
        for values, label in (
            (growth.size, "model size"),
            (growth.batch, "batch"),
            (growth.steps, "serial steps"),
        )
    ]
    return Picture(
        "allocation",
        "What grows when compute grows",
        "Factors over the least compute at which the optimum lies among the ladder's sizes; their "
        "product is the compute." + _remark(growth, losses),
        Axis("C_min over the least", kind="plain"),
        Axis("Growth", kind="plain"),
        series,
        paper="figure 3",
    )


def _frontier(growth: Growth, joint: Joint, adjusted: pl.DataFrame) -> Picture:
    series = [
        Series(
            *(own["flops_6n_min"].to_list(), own["loss"].to_list(), "line"),
            level=float(own["params"][0]),
        )
        for own in adjusted.partition_by("params", maintain_order=True)
        if len(own)
    ]
    series.append(_band(growth.flops, growth.loss, "frontier in C_min"))
    naive = joint.reach("6N")
    if len(naive):
        series.append(
            Series(
                naive.tolist(),
                joint.frontier(naive, "6N").loss[0].tolist(),
                "dashed",
                "frontier in C, at the batch trained",
            )
        )
    return Picture(
        "compute-frontier-adjusted",
        "Loss against compute, adjusted to the best batch",
        "Trunks (at constant rate, by size) at the compute that they would have needed far below "
        "the critical batch; frontiers are the joint law's, at the end of a decay.",
        COMPUTE,
        Axis("Held-out loss, nats per token", kind="loss"),
        series,
        paper="figure 13",
    )


def _size(grown: Mapping[str, Growth], adjusted: pl.DataFrame) -> Picture:
    growth = grown[MAIN]
    series = [_band(one.flops, one.size, FORMS[name]) for name, one in grown.items()]
    touched = _touching(adjusted)
    if touched:
        x, y = zip(*touched, strict=True)
        series.append(Series(list(x), list(y), "point", "envelope of the trunks"))
    series.append(_power(growth.flops, growth.size[0], 0.73, "paper: .73"))
    series.append(_power(growth.flops, growth.size[0], 0.5, "Chinchilla: .5"))
    return Picture(
        "optimal-size",
        "Optimal size against compute",
        "By each form of the law, and by the trunk that is lowest at each compute.",
        COMPUTE,
        Axis("Optimal size, parameters", kind="count"),
        series,
        paper="figure 14, left",
    )


def _touching(adjusted: pl.DataFrame) -> list[tuple[float, float]]:
    """C_min and N of each trunk in the middle of where its curve is the lowest of all."""
    curves = [
        tuple(np.log(own[name].to_numpy()) for name in ("flops_6n_min", "loss", "params"))
        for own in adjusted.partition_by("params", maintain_order=True)
        if len(own) > 1
    ]
    if len(curves) < 3:
        return []
    grid = np.linspace(min(c[0][0] for c in curves), max(c[0][-1] for c in curves), 200)
    losses = np.array([np.interp(grid, x, y, np.inf, np.inf) for x, y, _ in curves])
    best = losses.argmin(axis=0)
    return [
        (float(np.exp(grid[best == i].mean())), float(np.exp(curves[i][2][0])))
        for i in range(len(curves))
        if (best == i).any()
    ]


def _steps(growth: Growth, losses: tuple[float, float] | None) -> Picture:
    return Picture(
        "optimal-steps",
        "Serial steps and batch against compute",
        "S_min at the optimum, and the critical batch at its loss." + _remark(growth, losses),
        COMPUTE,
        Axis("Steps; tokens of a batch", kind="count"),
        [
            _band(growth.flops, growth.steps, "S_min, steps"),
            _power(growth.flops, growth.steps[0], 0.03, "paper: .03"),
            _band(growth.flops, growth.batch, "B_crit, tokens"),
            _power(growth.flops, growth.batch[0], 0.24, "paper: .24"),
        ],
        paper="figure 14, right",
    )

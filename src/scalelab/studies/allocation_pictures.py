"""Pictures of allocation: shares of growth, the frontier in C and in C_min, N and S with C_min."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.joint import Joint

COMPUTE = Axis("C_min = C / (1 + B / B_crit), FLOP (6N)", kind="power")


class Growth(Protocol):
    """What grows along the frontier, (1 + k, c) each over flops (c,)."""

    @property
    def flops(self) -> Array:
        """C_min."""

    @property
    def size(self) -> Array:
        """N_opt."""

    @property
    def batch(self) -> Array:
        """B_crit at the loss."""

    @property
    def steps(self) -> Array:
        """S_min."""

    @property
    def loss(self) -> Array:
        """The lowest loss."""


def pictures(
    growth: Growth, curves: Growth | None, joint: Joint, adjusted: pl.DataFrame
) -> list[Picture]:
    """Figures 3, 13 and 14 (both sides), by the joint law and by the trunks' curves."""
    return [
        _shares(growth),
        _frontier(growth, joint, adjusted),
        _size(growth, curves, adjusted),
        _steps(growth),
    ]


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


def _shares(growth: Growth) -> Picture:
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
        "product is the compute.",
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


def _size(growth: Growth, curves: Growth | None, adjusted: pl.DataFrame) -> Picture:
    series = [_band(growth.flops, growth.size, "joint law of decayed runs")]
    if curves is not None:
        series.append(_band(curves.flops, curves.size, "law of the trunks' curves"))
    touched = _touching(adjusted)
    if touched:
        x, y = zip(*touched, strict=True)
        series.append(Series(list(x), list(y), "point", "envelope of the trunks"))
    series.append(_power(growth.flops, growth.size[0], 0.73, "paper: .73"))
    series.append(_power(growth.flops, growth.size[0], 0.5, "Chinchilla: .5"))
    return Picture(
        "optimal-size",
        "Optimal size against compute",
        "By the joint law, by the law of the curves, by the trunk that is lowest at each compute.",
        COMPUTE,
        Axis("Optimal size, parameters", kind="count"),
        series,
        paper="figure 14 left",
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


def _steps(growth: Growth) -> Picture:
    return Picture(
        "optimal-steps",
        "Serial steps and batch against compute",
        "S_min at the optimum, and the critical batch at its loss.",
        COMPUTE,
        Axis("Steps; tokens of a batch", kind="count"),
        [
            _band(growth.flops, growth.steps, "S_min, steps"),
            _power(growth.flops, growth.steps[0], 0.03, "paper: .03"),
            _band(growth.flops, growth.batch, "B_crit, tokens"),
            _power(growth.flops, growth.batch[0], 0.24, "paper: .24"),
        ],
        paper="figure 14 right",
    )

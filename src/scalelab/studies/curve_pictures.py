"""Pictures of learning curves: one law for all sizes, each size alone, ends from early parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.fitting import Estimate, Fit
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.early_parts import Guess
from scalelab.units import format_count


def curves_picture(joint: Fit, points: pl.DataFrame) -> Picture:
    """Loss against S_min by size, with one law (figure 4 right)."""
    series = []
    for own in points.partition_by("params", maintain_order=True):
        params = float(own["params"][0])
        steps = own["steps_min"].to_numpy()
        series.append(Series(steps.tolist(), own["loss"].to_list(), "point", level=params))
        grid = np.geomspace(steps.min(), steps.max(), 40)
        fitted = joint.law.loss(joint.values, params=params, steps_min=grid)
        series.append(Series(grid.tolist(), fitted.tolist(), "line", level=params))
    return Picture(
        "learning-curves",
        "Learning curves of all sizes and one law",
        "Held-out loss along the trunks, at constant rate after warm-up, against the steps that a "
        "batch far above the critical one would have needed; lines are L(N, S_min) with four "
        "numbers for all.",
        Axis("S_min, steps", kind="count"),
        Axis("Held-out loss, nats per token", kind="loss"),
        series,
        paper="figure 4",
    )


def exponents_picture(alone: Sequence[tuple[float, Estimate]]) -> Picture:
    """alpha_S of each size alone: (N, its exponent)."""
    sizes = [params for params, _ in alone]
    series = [
        Series(
            *(sizes, [alpha.value for _, alpha in alone], "point", "each size alone"),
            low=[alpha.low for _, alpha in alone],
            high=[min(alpha.high, 3.0) for _, alpha in alone],
        )
    ]
    if sizes:
        series.append(Series([sizes[0], sizes[-1]], [0.76, 0.76], "dashed", "paper"))
    return Picture(
        "learning-curve-exponents",
        "Exponent of the learning curve, fitted to each size alone",
        "One law for all sizes asks for a level line.",
        Axis("Parameters, non-embedding", kind="count"),
        Axis("alpha_S", log=False),
        series,
    )


def early_picture(early: Sequence[Guess]) -> Picture:
    """Final losses predicted from early parts against those measured."""
    series = []
    for share in sorted({guess.share for guess in early}):
        own = [g for g in early if g.share == share and g.way == "with others"]
        series.append(
            Series(
                [g.measured for g in own],
                [g.predicted for g in own],
                "point",
                f"from the first {share:.0%}",
                low=[g.low for g in own],
                high=[g.high for g in own],
                tips=[f"N = {format_count(g.params)}" for g in own],
            )
        )
    measured = [g.measured for g in early] or [1.0]
    ends = [min(measured), max(measured)]
    series.append(Series(ends, ends, "dashed", "as measured"))
    return Picture(
        "early-parts",
        "Final loss predicted from the early part of a curve",
        "The falling part is that of the other sizes' law, only the level is the curve's own.",
        Axis("Final loss measured, nats per token", kind="loss"),
        Axis("Final loss predicted", kind="loss"),
        series,
    )

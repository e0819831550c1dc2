"""Pictures of learning curves: one law for all sizes, each size alone, ends from early parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.fitting import Fit
from scalelab.studies.analysis.curve_fits import Size
from scalelab.studies.analysis.early_parts import Guess
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.units import format_count


def curves_picture(joint: Fit, points: pl.DataFrame, doubt: str) -> Picture:
    """Loss against S_min by size, with one law (figure 4, right). doubt: of S_min, or nothing."""
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
        "numbers for all." + _remark(doubt),
        Axis("S_min, steps", kind="count"),
        Axis("Held-out loss, nats per token", kind="loss"),
        series,
        paper="figure 4, right",
    )


def _remark(doubt: str) -> str:
    return f" But {doubt}." if doubt else ""


def exponents_picture(least: Sequence[Size], trained: Sequence[Size], doubt: str) -> Picture:
    """alpha_S of each size alone: over S_min, and over the steps at the batch trained."""
    series = [
        Series(
            [one.params for one in sizes],
            [one.alpha.value for one in sizes],
            "hollow" if sizes is trained else "point",
            "over steps at the batch trained" if sizes is trained else "over S_min",
            low=[one.alpha.low for one in sizes],
            high=[min(one.alpha.high, 3.0) for one in sizes],
        )
        for sizes in (least, trained)
        if sizes
    ]
    sizes = [one.params for one in (*least, *trained)]
    if sizes:
        ends = [min(sizes), max(sizes)]
        series.append(Series(ends, [0.76, 0.76], "dashed", "paper, over S_min"))
    return Picture(
        "learning-curve-exponents",
        "Exponent of the learning curve, fitted to each size alone",
        "One law for all sizes asks for a level line over S_min. Over the steps at one batch the "
        "exponent is smaller: the critical batch grows as the loss falls, and each step counts for "
        "less." + _remark(doubt),
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

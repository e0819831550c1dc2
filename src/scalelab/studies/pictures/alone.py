"""The pictures of the three laws of one factor: figure 1 of Kaplan et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.studies.analysis.extent import Extent
from scalelab.studies.analysis.frontier_exponents import Along
from scalelab.studies.analysis.joint import Joint
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.subsets import Limited
from scalelab.units import format_count

NAME = "parameters-data-compute"
LOSS = Axis("Held-out loss (nats per token)", kind="loss")


def size_picture(runs: pl.DataFrame, laws: Sequence[Series], joint: Joint | None) -> Picture:
    """Runs at the largest data size (run table) with the laws through them."""
    series = [Series(runs["params"].to_list(), runs["loss"].to_list(), "point", "runs"), *laws]
    if joint is not None:
        n = np.geomspace(joint.sizes[0], joint.sizes[-1], 40)
        y = joint.converged(n)[0]
        series.append(Series(n.tolist(), y.tolist(), "dashed", "joint law, at convergence"))
    return Picture(
        f"{NAME}-size",
        "Loss against parameters",
        "Runs at the ladder's largest data size: a slice, where the paper's are trained to "
        "convergence; what the ladder's joint law says of that is dashed.",
        Axis("Parameters, non-embedding", kind="count"),
        LOSS,
        series,
        "figure 1, right",
    )


def data_picture(cells: Sequence[Limited], law: Extent | None, bare: Sequence[Series]) -> Picture:
    """Lowest losses on data sets of one size of model, with equation 1.5 at that size."""
    series = []
    for turned, mark, label in ((True, "point", "runs"), (False, "hollow", "not turned")):
        kept = [one for one in cells if one.turned is turned]
        if kept:
            x, y = [float(one.unique) for one in kept], [one.loss for one in kept]
            series.append(Series(x, y, mark, label))  # type: ignore[arg-type]
    if law is not None:
        d = np.geomspace(cells[0].unique, 8 * cells[-1].unique, 60)
        y = law.loss(cells[0].params, d).tolist()
        series.append(Series(d.tolist(), y, "line", "equation 1.5"))
    return Picture(
        f"{NAME}-data",
        "Loss against the size of the data set",
        f"{format_count(cells[0].params)} parameters, trained until the held-out loss turned; "
        "hollow: it had not turned yet, and is not fitted. The bent line is equation 1.5 with what "
        "the size reaches on data to spare: alpha_D is the slope of its straight part.",
        Axis("Data set (tokens)", kind="count"),
        LOSS,
        [*series, *bare],
        "figure 1, middle",
    )


def compute_picture(runs: pl.DataFrame, frontier: Along | None) -> Picture:
    """Every run of the ladder (run table) over 6 N D, and the frontier of the joint law."""
    runs = runs.with_columns((6.0 * pl.col("params") * pl.col("tokens")).alias("flops_6n"))
    series = _by_size(runs, "flops_6n")
    if frontier is not None:
        x, y = frontier.flops.tolist(), frontier.loss.tolist()
        series.append(Series(x, y, "line", "optimal size, by the joint law"))
    return Picture(
        f"{NAME}-compute",
        "Loss against compute",
        "Every run of the ladder at its batch, where the paper's figure moves compute to the best "
        "batch. The line is the optimum, where that is among the ladder's sizes and data.",
        Axis("Compute, 6 N D (FLOP)", kind="power"),
        LOSS,
        series,
        "figure 1, left",
    )


def bottleneck_picture(runs: pl.DataFrame) -> Picture:
    """Every run of the ladder (run table) over tokens."""
    return Picture(
        f"{NAME}-bottleneck",
        "Loss against tokens of one pass, by size",
        "Small models stop gaining from data, and little data hides what size would bring: what "
        "the comparisons of bottlenecks are measured on. No figure of the paper, whose figure 4 "
        "is of data sets used again and again: see the design overfitting.",
        Axis("Tokens, one pass", kind="count"),
        LOSS,
        _by_size(runs, "tokens", joined=True),
    )


def _by_size(runs: pl.DataFrame, column: str, *, joined: bool = False) -> list[Series]:
    found = []
    for params in runs["params"].unique().sort():
        own = runs.filter(pl.col("params") == params).sort(column)
        x, y = own[column].to_list(), own["loss"].to_list()
        found.append(Series(x, y, "point", level=float(params)))
        if joined:
            found.append(Series(x, y, "line", level=float(params)))
    return found

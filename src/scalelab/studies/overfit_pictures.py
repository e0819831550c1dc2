"""The pictures of over-fitting: figures 9 and 16 of Kaplan et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalelab.studies.attempt import Attempt
from scalelab.studies.collapse import Collapse
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.overfit_grid import Grid, Stop
from scalelab.units import format_count, format_number

NAME = "overfitting"
PAPER_RATIO = 0.74
"""alpha_N / alpha_D. (paper: section 4.2)"""


def pictures(
    grid: Grid, law: Attempt, one_curve: Collapse | None, stops: Sequence[Stop]
) -> list[Picture]:
    """Those that the runs allow; law: Kaplan's L(N, D) through the grid."""
    if not grid.cells:
        return []
    found = [_surface(grid, law)]
    if grid.known:
        found.append(_extent(grid, law, one_curve))
    if stops:
        found.append(_stopping(stops))
    found.append(_curves(grid))
    return found


def _surface(grid: Grid, law: Attempt) -> Picture:
    series = []
    for n in sorted({one.params for one in grid.cells}):
        cells = [one for one in grid.cells if one.params == n]
        for turned, mark in ((True, "point"), (False, "hollow")):
            kept = [one for one in cells if one.turned is turned]
            if kept:
                x, y = [float(one.unique) for one in kept], [one.loss for one in kept]
                series.append(Series(x, y, mark, level=float(n)))  # type: ignore[arg-type]
        if law.fit is not None:
            d = np.geomspace(cells[0].unique, 2 * cells[-1].unique, 40)
            fitted = law.fit.predict(params=float(n), tokens=d).value
            series.append(Series(d.tolist(), fitted.tolist(), "line", level=float(n)))
    return Picture(
        f"{NAME}-surface",
        "Loss against the size of the data set, by size",
        "Trained until the held-out loss turned; lines: L(N, D) of equation 1.5. Hollow: it had "
        "not turned.",
        Axis("Data set (tokens)", kind="count"),
        Axis("Lowest held-out loss (nats per token)", kind="loss"),
        series,
        "figure 9, left",
    )


def _extent(grid: Grid, law: Attempt, one_curve: Collapse | None) -> Picture:
    ratio = law.fit.values["alpha_N"] / law.fit.values["alpha_D"] if law.fit else PAPER_RATIO
    if law.fit is None and one_curve is not None:
        ratio = one_curve.ratio.value
    n, d, loss, least = grid.columns()
    extent, place = loss / least - 1, n**ratio / d
    series = []
    for size in np.unique(n):
        own = (n == size) & (extent > 0)  # a logarithm shows nothing else
        if own.any():
            series.append(
                Series(place[own].tolist(), extent[own].tolist(), "point", level=float(size))
            )
    if law.fit is not None:
        p = law.fit.values
        x = np.geomspace(place.min(), place.max(), 60)
        y = (1 + p["D_c"] * p["N_c"] ** -ratio * x) ** p["alpha_D"] - 1
        series.append(Series(x.tolist(), y.tolist(), "dashed", "equation 4.4, fitted"))
    return Picture(
        f"{NAME}-extent",
        "The extent of over-fitting",
        "L(N, D) over the loss of the same size on data that does not run out, less one.",
        Axis(f"N^{format_number(ratio, 3)} / D", kind="power"),
        Axis("L(N, D) / L(N, inf) - 1"),
        series,
        "figure 9, right",
    )


def _stopping(stops: Sequence[Stop]) -> Picture:
    series = []
    for unique in sorted({one.cell.unique for one in stops}):
        own = [one for one in stops if one.cell.unique == unique]
        series.append(
            Series(
                [one.bound for one in own],
                [one.stop for one in own],
                "point",
                level=float(unique),
                tips=[format_count(one.cell.params) + " parameters" for one in own],
            )
        )
    ends = [min(one.bound for one in stops), max(one.bound for one in stops)]
    series.append(Series(ends, ends, "dashed", "the bound"))
    return Picture(
        f"{NAME}-early-stopping",
        "Where training was stopped",
        "The step of the lowest held-out loss against the least that equation 5.7 allows.",
        Axis("S_c / [L(N, D) - L(N, inf)]^(1/alpha_S)", kind="count"),
        Axis("Step of the lowest loss (S_min)", kind="count"),
        series,
        "figure 16, left",
        level_title="Data set (tokens)",
    )


def _curves(grid: Grid) -> Picture:
    largest = max(one.params for one in grid.cells)
    series = [
        Series(
            one.run.curve["step"].to_list(),
            one.run.curve["loss"].to_list(),
            "line",
            level=float(one.unique),
        )
        for one in grid.cells
        if one.params == largest
    ]
    return Picture(
        f"{NAME}-curves",
        f"Held-out loss of {format_count(largest)} parameters on data sets of several sizes",
        "It falls, then turns while the training loss goes on falling.",
        Axis("Step", kind="count"),
        Axis("Held-out loss (nats per token)", kind="loss"),
        series,
        "figure 16, right",
        level_title="Data set (tokens)",
    )

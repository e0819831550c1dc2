"""The pictures of over-fitting: figures 4, 9 and 16 of Kaplan et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalelab.studies.analysis.attempt import Attempt
from scalelab.studies.analysis.extent import Extent
from scalelab.studies.analysis.overfit_grid import NO_LIMIT, Grid, Stop
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.subsets import Limited
from scalelab.units import format_count, format_number

NAME = "overfitting"
PAPER_RATIO = 0.74
"""alpha_N / alpha_D. (paper: section 4.2)"""

LOSS = Axis("Lowest held-out loss (nats per token)", kind="loss")
EARLY = (
    "Data sets of fixed size, each trained until the held-out loss turned; lines: L(N, D) of "
    "equation 1.5. Hollow: it had not turned, and is not fitted."
)


def pictures(
    grid: Grid, law: Attempt, extent: Extent | None, stops: Sequence[Stop]
) -> list[Picture]:
    """Those that the runs allow; law: Kaplan's L(N, D) through the grid."""
    if not grid.cells:
        return []
    found = [_by_data(grid, law), _by_size(grid, law)]
    if grid.known:
        found.append(_extent(grid, extent))
    if stops:
        found.append(_stopping(stops))
    found.append(_curves(grid))
    return found


def _points(cells: Sequence[Limited], x: Sequence[float], level: float) -> list[Series]:
    """The losses of a row of the grid, hollow where the held-out loss had not turned."""
    found = []
    for turned, mark in ((True, "point"), (False, "hollow")):
        kept = [i for i, one in enumerate(cells) if one.turned is turned]
        if kept:
            at, losses = [x[i] for i in kept], [cells[i].loss for i in kept]
            found.append(Series(at, losses, mark, level=level))  # type: ignore[arg-type]
    return found


def _by_data(grid: Grid, law: Attempt) -> Picture:
    series = []
    for n in sorted({one.params for one in grid.cells}):
        cells = [one for one in grid.cells if one.params == n]
        series += _points(cells, [float(one.unique) for one in cells], float(n))
        if law.fit is not None:
            d = np.geomspace(cells[0].unique, 2 * cells[-1].unique, 40)
            fitted = law.fit.predict(params=float(n), tokens=d).value
            series.append(Series(d.tolist(), fitted.tolist(), "line", level=float(n)))
    return Picture(
        f"{NAME}-by-data",
        "Loss against the size of the data set, by size",
        EARLY,
        Axis("Data set (tokens)", kind="count"),
        LOSS,
        series,
        "figure 4, left",
    )


def _by_size(grid: Grid, law: Attempt) -> Picture:
    sizes = sorted({one.params for one in grid.cells})
    n = np.geomspace(sizes[0], sizes[-1], 40) if len(sizes) > 1 else np.array(sizes, dtype=float)
    series = []
    for d in sorted({one.unique for one in grid.cells}):
        cells = [one for one in grid.cells if one.unique == d]
        series += _points(cells, [float(one.params) for one in cells], float(d))
        if law.fit is not None:
            fitted = law.fit.predict(params=n, tokens=float(d)).value
            series.append(Series(n.tolist(), fitted.tolist(), "line", level=float(d)))
    spare = [size for size in sizes if size in grid.least]
    if spare:
        x, y = [float(size) for size in spare], [grid.least[size] for size in spare]
        series.append(Series(x, y, "point", "data to spare (the ladder's trunks)"))
        if law.fit is not None:
            fitted = law.fit.predict(params=n, tokens=NO_LIMIT).value
            series.append(Series(n.tolist(), fitted.tolist(), "dashed", "equation 1.5, D infinite"))
    return Picture(
        f"{NAME}-by-size",
        "Loss against parameters, by data set",
        EARLY,
        Axis("Parameters, non-embedding", kind="count"),
        LOSS,
        series,
        "figure 9, left",
        level_title="Data set (tokens)",
    )


def _extent(grid: Grid, extent: Extent | None) -> Picture:
    ratio = PAPER_RATIO if extent is None else float(extent.ratio[0])
    n, d, loss, least = grid.columns()
    place = n**ratio / d
    series = []
    for size in np.unique(n):
        # As it was fitted: the reference is one run, with the luck of its seed.
        under = least if extent is None else np.full(len(n), extent.least[int(size)])
        own = n == size
        above = (loss / under - 1)[own]
        series.append(Series(place[own].tolist(), above.tolist(), "point", level=float(size)))
    if extent is not None:
        x = np.geomspace(place.min(), place.max(), 60)
        y = extent.over_reference(x) - 1
        series.append(Series(x.tolist(), y.tolist(), "dashed", "equation 4.3, fitted"))
    what = "r as fitted" if extent is not None else "r as in the paper"
    return Picture(
        f"{NAME}-extent",
        "The extent of over-fitting",
        "L(N, D) over the loss of the same size on data that does not run out, less one; "
        f"{what}. All cells are fitted, those below zero too.",
        Axis(f"N^{format_number(ratio, 3)} / D", kind="power"),
        Axis("L(N, D) / L(N, inf) - 1", log=False),
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
    series = []
    for one in grid.cells:
        if one.params != largest:
            continue
        level = float(one.unique)
        held_out, training = one.run.curve, one.run.training
        x, y = held_out["step"].to_list(), held_out["loss"].to_list()
        series.append(Series(x, y, "line", level=level))
        # What lies before the first evaluation would only stretch the axes.
        training = training.filter(training["step"] >= min(x))
        if not training.is_empty():
            x, y = training["step"].to_list(), training["loss"].to_list()
            series.append(Series(x, y, "dashed", level=level))
    return Picture(
        f"{NAME}-curves",
        f"Learning curves of {format_count(largest)} parameters on data sets of several sizes",
        "Held-out loss (lines) falls, then turns while the training loss (dashed) goes on falling.",
        Axis("Step", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        "figure 16, right",
        level_title="Data set (tokens)",
    )

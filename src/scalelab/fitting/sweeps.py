"""The best value of a hyper-parameter at each size and amount of data.

Like is compared with like: runs of equal N and D that differ in another setting are sweeps of their
own, and of these sweeps the best counts, for a law is that of the best run at each N and D. Seeds
are replicates and count by their mean.

Of one swept column a parabola in its logarithm goes through the lowest loss and its neighbours; of
several a quadratic surface in their logarithms goes through the runs near the lowest. An optimum is
inside its sweep, and its loss is that of the lowest run or slightly less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import FitError, Notice
from scalelab.fitting.budgets import positive
from scalelab.fitting.observations import select
from scalelab.laws import Array
from scalelab.table.varied import AT, Varied, cells, exact, together, varied

if TYPE_CHECKING:
    import polars as pl

_NEAR = 0.05
"""Log loss above the lowest up to which runs count for a surface (assumed)."""
_DEEP = 0.005
"""How far below the lowest run a vertex may lie, relative to its loss, for each column (assumed).
Between values a factor of two apart it lies .2% below at most; next to a run that diverged a
parabola goes far below anything that was measured."""
_END = "lowest at an end"
_FEW = "of fewer than three values"
_FLAT = "flat"
_SHOWN = 3
_CELL, _SWEEP, _POINT, _OTHER, _ROW = "\0cell", "\0sweep", "\0point", "\0other", "\0number"
_ALIKE = (_CELL, _SWEEP, _POINT, _OTHER)  # runs with equal values of all these are replicates


@dataclass(frozen=True)
class Sweeps:
    """What sweeps found.

    optima: one row for each N and D: the lowest run of its best sweep, with the optimum's values of
    the swept columns, its loss, and runs, how many this sweep has. notices: what was kept apart,
    averaged or left out.
    """

    optima: pl.DataFrame
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class _Optimum:
    """The best of one sweep. values: of the swept columns. row: of its lowest run. runs: how many.

    refused: why it has no optimum inside. measured: whether the values are those of the lowest run.
    """

    loss: float
    values: tuple[float, ...]
    row: int
    runs: int
    refused: str = ""
    measured: bool = False


def sweep_optima(
    table: pl.DataFrame, column: str | Sequence[str] = "lr", by: Sequence[str] | None = None
) -> pl.DataFrame:
    """`Sweeps.optima` of `sweeps`: a table for ``optimal-lr`` and the like."""
    return sweeps(table, [column] if isinstance(column, str) else column, by).optima


def sweeps(
    table: pl.DataFrame, columns: Sequence[str] = ("lr",), by: Sequence[str] | None = None
) -> Sweeps:
    """The best value of hyper-parameters in each sweep.

    columns: what is swept, together where they are several. by: runs with equal values of these,
    within half a percent, are compared; params and tokens (or what of params, tokens and flops the
    table has) by default. Only runs that finished and are not held out count.

    Where runs of equal `by` differ in other settings (`scalelab.table.varied`), each setting has
    its own sweep, and the sweep of the lowest loss counts. N and D are left out where that sweep
    has its lowest loss at an end, or fewer than three values of a column.

    Raises FitError when no sweep has an optimum inside, and where a column or a loss is no positive
    number.
    """
    import polars as pl

    by = by or [name for name in AT[:2] if name in table.columns] or AT[2:]
    needed = (*by, *columns, "loss")
    if missing := [name for name in needed if name not in table.columns]:
        raise FitError(f"a sweep needs the columns {', '.join(needed)}; {missing[0]} is missing.")
    runs, _ = select(table)
    runs = runs.with_columns(pl.Series(name, positive(runs, name)) for name in (*columns, "loss"))
    differ = varied(runs, columns, by)
    groups = runs.with_columns(
        cells(runs, by).alias(_CELL),
        together([exact(runs[name]) for name in differ.settings], len(runs)).alias(_SWEEP),
        together([exact(runs[name]) for name in columns], len(runs)).alias(_POINT),
        together([exact(runs[name]) for name in differ.mixed], len(runs)).alias(_OTHER),
    ).with_row_index(_ROW)
    noise = _noise(groups)
    every = [
        [_optimum(sweep, columns) for sweep in cell.partition_by(_SWEEP, maintain_order=True)]
        for cell in groups.partition_by(_CELL, maintain_order=True)
    ]
    best = [_best(one, noise) for one in every]
    found = [one for one in best if not one.refused]
    left = [one for one in best if one.refused]
    account = _Account(groups, columns, by, differ, found, left)
    if not found:
        raise FitError(account.none())
    rows = np.array([one.row for one in found])
    values = np.array([one.values for one in found]).T
    optima = runs[rows].with_columns(
        *(pl.Series(name, of) for name, of in zip(columns, values, strict=True)),
        pl.Series("loss", [one.loss for one in found]),
        pl.Series("runs", [one.runs for one in found]),
    )
    first = [*by, *columns, "loss", "runs"]
    return Sweeps(optima.select(*first, pl.exclude(first)), account.notices(sum(map(len, every))))


def _best(every: Sequence[_Optimum], noise: float) -> _Optimum:
    """The best of the sweeps at one N and D: one inside, unless another has a lower run.

    noise: the factor by which losses may differ for no reason.
    """
    lowest = min(every, key=lambda one: one.loss)
    inside = min((one for one in every if not one.refused), key=lambda o: o.loss, default=lowest)
    return inside if inside.loss <= lowest.loss * noise else lowest


def _noise(groups: pl.DataFrame) -> float:
    """The factor that replicates differ by, of one standard deviation; 1 without replicates."""
    import polars as pl

    of = groups.select(*_ALIKE, pl.col("loss").log())
    of = of.with_columns(pl.col("loss") - pl.col("loss").mean().over(_ALIKE))
    freedom = len(of) - of.select(_ALIKE).n_unique()
    return float(np.exp(np.sqrt((of["loss"].to_numpy() ** 2).sum() / max(1, freedom))))


def _optimum(sweep: pl.DataFrame, columns: Sequence[str]) -> _Optimum:
    """The optimum of runs that are alike but for the swept columns."""
    import polars as pl

    means = sweep.group_by(_POINT, _OTHER).agg(pl.col(*columns).first(), pl.col("loss").mean())
    # Of other settings that are not sweeps of their own, the best counts, as it does of sweeps.
    means = means.sort("loss", _OTHER).unique(_POINT, keep="first").sort(*columns)
    x, y = np.log(means.select(columns).to_numpy()), means["loss"].to_numpy()
    best = int(y.argmin())
    lowest = sweep.join(means[[best]], on=[_POINT, _OTHER], how="semi").sort("loss", _ROW)[_ROW][0]
    refused = _refused(x, y, best)
    vertex = None
    if not refused:
        vertex = _parabola(x[:, 0], y, best) if len(columns) == 1 else _surface(x, y, best)
    loss, at = vertex or (float(y[best]), x[best])
    return _Optimum(loss, tuple(np.exp(at)), lowest, len(sweep), refused, vertex is None)


def _refused(x: Array, y: Array, best: int) -> str:
    """Why points (n, c) with losses (n,) have no optimum inside; empty where they have one."""
    if any(len(np.unique(column)) < 3 for column in x.T):
        return _FEW
    if np.ptp(y) == 0:
        return _FLAT
    if ((x[best] == x.min(axis=0)) | (x[best] == x.max(axis=0))).any():
        return _END
    return ""


def _parabola(x: Array, y: Array, best: int) -> tuple[float, Array] | None:
    """Loss and place of the vertex through the lowest point and its neighbours.

    None where it lies so far below them that a neighbour is no measure of the bend there.
    """
    near = slice(best - 1, best + 2)
    bend, slope, height = np.polyfit(x[near] - x[best], y[near], 2)
    if not bend > 0:  # three equal losses
        return None
    move = float(np.clip(-slope / (2 * bend), x[best - 1] - x[best], x[best + 1] - x[best]))
    loss = float(height + slope * move + bend * move**2)
    return (loss, np.array([x[best] + move])) if loss >= y[best] * (1 - _DEEP) else None


def _surface(x: Array, y: Array, best: int) -> tuple[float, Array] | None:
    """Loss and place of the lowest point of a quadratic surface through the runs near the lowest.

    None where it has no lowest point among them, or one far from what was measured.
    """
    near = y <= y[best] * np.exp(_NEAR)
    points, losses = x[near] - x[best], y[near]
    pairs = list(combinations_with_replacement(range(x.shape[1]), 2))
    terms = np.column_stack(
        [np.ones(len(points)), points, *(points[:, i] * points[:, j] for i, j in pairs)]
    )
    if np.linalg.matrix_rank(terms / np.abs(terms).max(axis=0).clip(1e-300)) < terms.shape[1]:
        return None
    found, *_ = np.linalg.lstsq(terms, losses, rcond=None)
    count = x.shape[1]
    bends = np.zeros((count, count))
    for (i, j), value in zip(pairs, found[1 + count :], strict=True):
        bends[i, j] += value
        bends[j, i] += value
    if not np.linalg.eigvalsh(bends).min() > 0:
        return None
    move = -np.linalg.solve(bends, found[1 : 1 + count])
    if ((move < points.min(axis=0)) | (move > points.max(axis=0))).any():
        return None
    loss = float(found[0] + found[1 : 1 + count] @ move / 2)
    freedom = len(losses) - terms.shape[1]
    noise = np.sqrt(((losses - terms @ found) ** 2).sum() / freedom) if freedom else 0.0
    deepest = y[best] * (1 - count * _DEEP) - noise
    return (loss, x[best] + move) if deepest <= loss <= y[best] + noise else None


@dataclass(frozen=True)
class _Account:
    """The notices and the error of sweeps.

    groups: the runs. found, left: the best sweep of each N and D, with an optimum and without.
    """

    groups: pl.DataFrame
    columns: Sequence[str]
    by: Sequence[str]
    differ: Varied
    found: Sequence[_Optimum]
    left: Sequence[_Optimum]

    @property
    def swept(self) -> str:
        return " and ".join(self.columns)

    @property
    def at(self) -> str:
        return f"({', '.join(self.by)})"

    @property
    def count(self) -> int:
        return len(self.found) + len(self.left)

    def none(self) -> str:
        """That no sweep has an optimum."""
        apart = ", ".join(self.differ.settings)
        kept = f" Runs of other {apart} were kept apart." if apart else ""
        return (
            f"no sweep of {self.swept} has its lowest loss inside: extend the sweeps on the side "
            f"where they end lowest. {self.reasons()}{kept}"
        )

    def reasons(self) -> str:
        """Of each reason, how many sweeps were left out for it."""
        counts = Counter(one.refused for one in self.left)
        return " ".join(f"{count} of {self.count} are {why}." for why, count in counts.items())

    def notices(self, sweeps: int) -> tuple[Notice, ...]:
        """What was kept apart, averaged, taken as measured or left out. sweeps: their number."""
        notices = (
            Notice("sweeps-apart", self.apart(sweeps)),
            Notice("sweeps-averaged", self.averaged()),
            Notice("sweeps-mixed", self.mixed()),
            Notice("sweeps-measured", self.measured()),
            Notice("sweeps-left-out", self.omitted()),
        )
        return tuple(notice for notice in notices if notice.message)

    def apart(self, sweeps: int) -> str:
        if not (names := self.differ.settings):
            return ""
        apart = ", ".join(names)
        several = "differ" if len(names) > 1 else "differs"
        return (
            f"{apart} {several} too among runs of equal {self.at}. Runs of one {apart} are one "
            f"sweep of {self.swept}: {sweeps} sweeps at {self.count} {self.at}, and the best of "
            "each is fitted." + self.at_ends()
        )

    def at_ends(self) -> str:
        """At how many optima a setting is the lowest or highest of those tried there."""
        import polars as pl

        ends = []
        for name in self.differ.settings:
            if not self.groups[name].dtype.is_numeric():
                continue
            low, high = (
                self.groups.select(of(name).over(_CELL)).to_series() for of in (pl.min, pl.max)
            )
            value, rows = self.groups[name], [one.row for one in self.found]
            count = sum(low[i] < high[i] and value[i] in (low[i], high[i]) for i in rows)
            if count:
                ends.append(
                    f" At {count} of {len(rows)} the best {name} is at an end of those tried."
                )
        return "".join(ends) + (" A better one may lie beyond." if ends else "")

    def averaged(self) -> str:
        runs, settings = len(self.groups), self.groups.select(_ALIKE).n_unique()
        if runs == settings:
            return ""
        named = f" of {', '.join(self.differ.replicates)}" if self.differ.replicates else ""
        return f"{runs} runs are {settings} settings: replicates{named} count by their mean."

    def mixed(self) -> str:
        if not (names := self.differ.mixed):
            return ""
        several = "differ" if len(names) > 1 else "differs"
        return (
            f"{', '.join(names)} {several} inside sweeps of {self.swept}, with too few runs of one "
            f"value for sweeps of their own. Of runs of one {self.swept} the best counts, and runs "
            "are compared that are not alike. --where COLUMN=VALUE takes runs of one value."
        )

    def measured(self) -> str:
        if not (count := sum(one.measured for one in self.found)):
            return ""
        return (
            f"at {count} of {self.count} {self.at} the best run itself is taken. Losses beside it "
            f"rise too steeply or unevenly for a parabola. Add runs at values of {self.swept} near "
            "it to place the optimum."
        )

    def omitted(self) -> str:
        if not self.left:
            return ""
        some = "; ".join(
            ", ".join(f"{name} {self.groups[name][one.row]:.4g}" for name in self.by)
            for one in self.left[:_SHOWN]
        )
        more = "; ..." if len(self.left) > _SHOWN else ""
        return (
            f"{len(self.left)} of {self.count} sweeps of {self.swept} left out: {self.reasons()} "
            f"They are those of {some}{more}. Extend them on the side where they end lowest."
        )

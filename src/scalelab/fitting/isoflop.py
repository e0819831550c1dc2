"""The best size for a budget, from sweeps of sizes at equal compute (isoFLOP profiles).

At each budget the loss against ln N has a minimum; how N_opt grows with C is a power law. Source of
the design: Hoffmann et al. 2022, approach 2. How the minimum is found changes the exponent: the
best point alone is coarse, a parabola leans where a sweep is off-centre. All methods stand side by
side; the default is the cubic (benchmarks/isoflop_methods.py has its error beside the others').
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalelab.errors import FitError, Notice
from scalelab.fitting.budgets import TOLERANCE, cut_through, group_budgets, positive
from scalelab.fitting.growth import MethodResult, by_polynomial, by_surface, envelope
from scalelab.fitting.minima import POLYNOMIALS
from scalelab.fitting.observations import select
from scalelab.fitting.result import check_level
from scalelab.units import format_count, format_flop

if TYPE_CHECKING:
    import polars as pl

DEFAULT = "cubic"
_COLUMNS = ("params", "tokens", "flops", "loss")


@dataclass(frozen=True)
class IsoFlop:
    """All methods' answers. method: whose numbers stand first."""

    method: str
    methods: Mapping[str, MethodResult]
    missing: Mapping[str, str]
    conventions: Mapping[str, str]
    notices: tuple[Notice, ...]

    @property
    def default(self) -> MethodResult:
        """The answer of the method chosen."""
        return self.methods[self.method]

    def to_dict(self) -> dict[str, Any]:
        """The answer of ``scalelab isoflop --json``."""
        return {
            **self.default.to_dict(),
            "method": self.method,
            "methods": {name: result.to_dict() for name, result in self.methods.items()},
            "missing": dict(self.missing),
            "conventions": dict(self.conventions),
            "warnings": [notice.to_dict() for notice in self.notices],
        }

    def summary(self) -> str:
        """For a person at a terminal."""
        lines = [f"{'C':>32}{'points':>8}  {'N_opt':<28}{'D_opt':>9}{'D/N':>8}{'loss':>9}"]
        for one in self.default.budgets:
            head = f"{format_flop(one.flops):>32}{one.points:>8}  "
            if one.params is None or one.tokens is None or one.loss is None:
                lines.append(head + one.refused)
                continue
            n, low, high = (
                format_count(value) for value in (one.params.value, one.params.low, one.params.high)
            )
            lines.append(
                f"{head}{f'{n} [{low}, {high}]':<28}{format_count(one.tokens):>9}"
                f"{one.tokens / one.params.value:>8.1f}{one.loss:>9.4f}"
            )
        lines += ["", f"{'method':<12}{'N_opt ~ C^a':<28}{'D_opt ~ C^b':<28}"]
        for name, result in self.methods.items():
            mark = " (default)" if name == self.method else ""
            lines.append(
                f"{name:<12}{result.N_opt_exponent!s:<27} {result.D_opt_exponent!s:<27} {mark}"
            )
        lines += [f"{name:<12}{why}" for name, why in self.missing.items()]
        return "\n".join([*lines, *(f"! {notice}" for notice in self.notices)])


def isoflop(
    table: pl.DataFrame,
    *,
    method: str = DEFAULT,
    tolerance: float = TOLERANCE,
    curves: pl.DataFrame | None = None,
    level: float = 0.9,
    conventions: Mapping[str, str] | None = None,
    seed: int = 0,
) -> IsoFlop:
    """The best size at each budget, by every method, and how it grows with compute.

    table: runs with params, tokens, flops and loss, of which those that finished and are not held
    out count. tolerance: how far (relative) compute may be from the neighbour's, and from the
    middle of a budget. method: parabola, cubic, surface (Chinchilla's law through all runs), or
    envelope, which needs curves: a table with run, params, tokens, flops and loss along training
    (Hoffmann et al. 2022, approach 1), where a curve whose run or trunk the table names counts as
    its runs do. level: of the intervals.

    A budget whose lowest loss is at the smallest or the largest size has its minimum outside the
    sweep and is refused. Raises FitError when fewer than three budgets are left or for an unknown
    method.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise FitError(
            f"isoflop needs the columns {', '.join(_COLUMNS)}; {', '.join(missing)} is missing."
        )
    known = (*POLYNOMIALS, "surface", *(("envelope",) if curves is not None else ()))
    if method not in known:
        raise FitError(f"method is {method!r}; expected {', '.join(known)}.")
    check_level(level)
    runs, _ = select(table)
    for name in _COLUMNS:
        positive(runs, name)
    groups = group_budgets(runs, tolerance)
    notices: list[Notice] = []
    if curves is not None and "run" in curves.columns:
        curves, notices = _counted(curves, table, runs)
    found: dict[str, MethodResult] = {}
    why: dict[str, str] = {}
    for name in known:
        try:
            if name == "surface":
                found[name] = by_surface(runs, groups, level, seed)
            elif name == "envelope":
                assert curves is not None
                found[name] = envelope(curves, level=level)
            else:
                found[name] = by_polynomial(name, groups, level)
        except FitError as error:
            why[name] = str(error)
    if method not in found:
        raise FitError(why[method])
    notices += _notices(found[method], groups, tolerance)
    return IsoFlop(method, found, why, dict(conventions or {}), tuple(notices))


def _counted(
    curves: pl.DataFrame, table: pl.DataFrame, runs: pl.DataFrame
) -> tuple[pl.DataFrame, list[Notice]]:
    """The curves of runs that count, or of all where the table names none of them."""
    import polars as pl

    notices = []
    names = curves["run"].cast(pl.String)
    if names.is_in(_ids(table)).any():
        own = names.is_in(_ids(runs))
        if left := names.filter(~own).n_unique():
            notices.append(
                Notice(
                    "curves-left-out",
                    f"{left} of {names.n_unique()} learning curves are of runs that do not count: "
                    "held out, unfinished or not in the table.",
                )
            )
        curves = curves.filter(own)
    if "loss" in curves.columns:
        loss = curves.select(pl.col("run").cast(pl.String), pl.col("loss").cast(pl.Float64))
        wild = loss.filter(~(pl.col("loss").is_finite() & (pl.col("loss") > 0)))
        if len(wild):
            notices.append(
                Notice(
                    "points-left-out",
                    f"{len(wild)} points of {wild['run'].n_unique()} learning curves have a loss "
                    "that is no positive, finite number; the envelope is without them.",
                )
            )
    return curves, notices


def _ids(table: pl.DataFrame) -> list[str]:
    """Of runs, and of the trunks that they branch off: curves may go by either."""
    import polars as pl

    named = [name for name in ("run", "trunk") if name in table.columns]
    return [one for name in named for one in table[name].cast(pl.String).drop_nulls().unique()]


def _notices(result: MethodResult, groups: list[pl.DataFrame], tolerance: float) -> list[Notice]:
    notices = []
    refused = [one for one in result.budgets if one.refused]
    if refused:
        shown = "; ".join(f"{format_flop(one.flops)}: {one.refused}" for one in refused[:4])
        notices.append(
            Notice(
                "budget-refused",
                f"{len(refused)} of {len(groups)} budgets give no optimum ({shown}). Add sizes "
                "beyond that end.",
            )
        )
    if cut := cut_through(groups, tolerance):
        notices.append(
            Notice(
                "no-gaps",
                f"{cut} of {len(groups)} budgets begin within {tolerance:.0%} of the one below: "
                "compute runs on without a gap, so these are cuts through scattered runs and no "
                "sweeps. Believe the surface, or give a tolerance that fits your sweeps.",
            )
        )
    alone = sum(len(group) == 1 for group in groups)
    if alone:
        notices.append(
            Notice("single-runs", f"{alone} budgets have one run; is the tolerance too small?")
        )
    return notices

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

import numpy as np

from scalelab.errors import FitError, Notice, SpecError
from scalelab.fitting.engine import fit
from scalelab.fitting.line import Line, fit_line
from scalelab.fitting.result import Estimate
from scalelab.laws import Array

if TYPE_CHECKING:
    import polars as pl

DEFAULT = "cubic"
_POLYNOMIALS = {"parabola": (2, 0.02, 5), "cubic": (3, 0.1, 5)}
"""Degree; how far above the best loss (relative) points are used; at least how many."""
_PRIOR_FREEDOM = 2.0
"""Weight of all budgets' noise in one budget's, in degrees of freedom: few points tell little."""
TOLERANCE = 0.05


@dataclass(frozen=True)
class Optimum:
    """The best size at one budget. refused: why it has none, empty where it has one."""

    flops: float
    points: int
    params: Estimate | None = None
    tokens: float | None = None
    loss: float | None = None
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "flops": self.flops,
            "N_opt": None if self.params is None else self.params.value,
            "N_opt_interval": None if self.params is None else self.params.to_dict(),
            "D_opt": self.tokens,
            "loss": self.loss,
            "points": self.points,
            "refused": self.refused or None,
        }


@dataclass(frozen=True)
class MethodResult:
    """One method's optima, and the power laws N_opt = G C^a and D_opt = G' C^b through them."""

    name: str
    budgets: tuple[Optimum, ...]
    N_opt_exponent: Estimate
    D_opt_exponent: Estimate
    N_coefficient: float
    D_coefficient: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "budgets": [optimum.to_dict() for optimum in self.budgets],
            "N_opt_exponent": self.N_opt_exponent.to_dict(),
            "D_opt_exponent": self.D_opt_exponent.to_dict(),
            "N_coefficient": self.N_coefficient,
            "D_coefficient": self.D_coefficient,
        }

    def allocation(self, flops: float) -> tuple[float, float]:
        """N_opt and D_opt at a budget."""
        return (
            self.N_coefficient * flops**self.N_opt_exponent.value,
            self.D_coefficient * flops**self.D_opt_exponent.value,
        )


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
            "warnings": [{"code": n.code, "message": n.message} for n in self.notices],
        }

    def summary(self) -> str:
        """For a person at a terminal."""
        from scalelab.units import format_count, format_flop

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

    table: finished runs with params, tokens, flops and loss; runs whose compute differs by less
    than `tolerance` (relative) from their neighbour's share a budget. method: parabola, cubic,
    surface (Chinchilla's law through all runs), or envelope, which needs curves: a table with run,
    params, tokens, flops and loss along training (Hoffmann et al. 2022, approach 1). level: of the
    intervals.

    A budget whose lowest loss is at the smallest or the largest size has its minimum outside the
    sweep and is refused. Raises FitError when fewer than three budgets are left or for an unknown
    method.
    """
    needed = ["params", "tokens", "flops", "loss"]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise FitError(
            f"isoflop needs the columns {', '.join(needed)}; {', '.join(missing)} is missing."
        )
    known = (*_POLYNOMIALS, "surface", *(("envelope",) if curves is not None else ()))
    if method not in known:
        raise FitError(f"method is {method!r}; expected {', '.join(known)}.")
    _check_level(level)
    groups = group_budgets(table, tolerance)
    found: dict[str, MethodResult] = {}
    why: dict[str, str] = {}
    for name in known:
        try:
            if name == "surface":
                found[name] = _surface(table, groups, level, seed)
            elif name == "envelope":
                assert curves is not None
                found[name] = envelope(curves, level=level)
            else:
                found[name] = _by_polynomial(name, groups, level)
        except FitError as error:
            why[name] = str(error)
    if method not in found:
        raise FitError(why[method])
    return IsoFlop(method, found, why, dict(conventions or {}), _notices(found[method], groups))


def group_budgets(table: pl.DataFrame, tolerance: float = TOLERANCE) -> list[pl.DataFrame]:
    """Runs of one budget each, cheapest first; raises FitError when no two share one."""
    if not tolerance >= 0:
        raise FitError(f"tolerance is {tolerance}; it is a relative difference such as .05.")
    ordered = table.sort("flops", "params")
    logs = np.log(ordered["flops"].to_numpy())
    starts = np.concatenate([[True], np.diff(logs) > np.log1p(tolerance) + 1e-12])
    number = np.cumsum(starts) - 1
    groups = [ordered.filter(number == i) for i in range(number[-1] + 1)]
    if max(len(group) for group in groups) < 2:
        raise FitError(
            f"no two of {len(ordered)} runs have equal compute within {tolerance:.0%}: these are "
            "not isoFLOP sweeps. Raise the tolerance, or fit a law to the whole surface."
        )
    return groups


# --- the minimum of each budget -------------------------------------------------------------------


@dataclass(frozen=True)
class _Vertex:
    """ln N of a polynomial's minimum; its error for noise of one; residual sum of squares."""

    place: float
    unit_error: float
    log_loss: float
    squares: float
    freedom: int


def _by_polynomial(name: str, groups: list[pl.DataFrame], level: float) -> MethodResult:
    from statistics import NormalDist

    degree, reach, least = _POLYNOMIALS[name]
    vertices: dict[int, _Vertex] = {}
    refused: dict[int, str] = {}
    for i, group in enumerate(groups):
        try:
            vertices[i] = _vertex(group, degree, reach, least)
        except FitError as error:
            refused[i] = str(error)
    if len(vertices) < 3:
        reasons = "; ".join(sorted(set(refused.values())))
        runs = sum(len(group) for group in groups)
        raise FitError(
            f"{len(vertices)} of {len(groups)} budgets have a minimum inside their sweep; three "
            f"are needed. {f'The others: {reasons}. ' if reasons else ''}Runs share a budget when "
            f"their compute differs by less than the tolerance; {runs} runs made {len(groups)}."
        )
    variance = _variances(list(vertices.values()))
    quantile = NormalDist().inv_cdf(0.5 + level / 2)
    errors = {
        i: np.sqrt(v) * vertices[i].unit_error for i, v in zip(vertices, variance, strict=True)
    }
    budgets = []
    for i, group in enumerate(groups):
        flops = float(np.exp(np.log(group["flops"].to_numpy()).mean()))
        if i not in vertices:
            budgets.append(Optimum(flops, len(group), refused=refused[i]))
            continue
        place, half = vertices[i].place, quantile * errors[i]
        n, low, high = (float(np.exp(place + move)) for move in (0.0, -half, half))
        budgets.append(
            Optimum(
                flops,
                len(group),
                Estimate(n, low, high, level, n * errors[i]),
                _tokens_at(group, place),
                float(np.exp(vertices[i].log_loss)),
            )
        )
    return _lines(name, budgets, np.array(list(errors.values())), level)


def _vertex(group: pl.DataFrame, degree: int, reach: float, least: int) -> _Vertex:
    group = group.sort("params")
    x, y = np.log(group["params"].to_numpy()), np.log(group["loss"].to_numpy())
    best = int(y.argmin())
    if len(x) < degree + 1 or len(np.unique(x)) < degree + 1:
        raise FitError(f"fewer than {degree + 1} sizes")
    if x[best] in (x[0], x[-1]):
        side = "smallest" if x[best] == x[0] else "largest"
        raise FitError(f"the best size is the {side} of the sweep, so the minimum is outside it")
    chosen = y - y[best] < np.log1p(reach)
    sizes, number = np.unique(x, return_inverse=True)  # a size may have several runs
    if len(np.unique(x[chosen])) < least:  # the nearest neighbours on both sides
        order = np.argsort(np.abs(np.arange(len(sizes)) - number[best]), kind="stable")[:least]
        chosen = np.isin(number, order)
    middle = x[chosen].mean()
    rows = np.vander(x[chosen] - middle, degree + 1)
    coefficients = np.linalg.lstsq(rows, y[chosen], rcond=None)[0]
    slope = np.polyder(coefficients)
    roots = np.roots(slope)
    roots = roots[np.isreal(roots)].real
    roots = roots[np.polyval(np.polyder(slope), roots) > 0]
    if not len(roots):
        raise FitError("the losses have no minimum")
    root = float(roots[np.abs(roots + middle - x[best]).argmin()])
    if not x[0] < root + middle < x[-1]:
        raise FitError("the minimum is outside the sweep")
    powers = np.arange(degree, -1, -1)
    by_coefficient = np.where(powers > 0, powers * root ** np.maximum(powers - 1, 0.0), 0.0)
    bend = float(np.polyval(np.polyder(slope), root))
    covariance = np.linalg.pinv(rows.T @ rows)
    return _Vertex(
        root + float(middle),
        float(np.sqrt(by_coefficient @ covariance @ by_coefficient)) / bend,
        float(np.polyval(coefficients, root)),
        float(((y[chosen] - rows @ coefficients) ** 2).sum()),
        int(chosen.sum()) - degree - 1,
    )


def _variances(vertices: list[_Vertex]) -> Array:
    """Noise of each budget's log losses: its own residuals, steadied by those of all."""
    squares = np.array([vertex.squares for vertex in vertices])
    freedom = np.array([vertex.freedom for vertex in vertices])
    told = freedom > 0
    if not told.any():
        return np.full(len(vertices), 1e-6)  # a tenth of a percent: points on curves tell nothing
    # The median of a few squares lies below their mean: .6 of it for two or three.
    common = float(np.median(squares[told] / freedom[told])) / 0.6
    return np.asarray((squares + _PRIOR_FREEDOM * common) / (freedom + _PRIOR_FREEDOM))


def _tokens_at(group: pl.DataFrame, log_params: float) -> float:
    group = group.sort("params")
    x, y = np.log(group["params"].to_numpy()), np.log(group["tokens"].to_numpy())
    return float(np.exp(np.interp(log_params, x, y)))


def _lines(name: str, budgets: list[Optimum], errors: Array, level: float) -> MethodResult:
    kept = [one for one in budgets if one.params is not None and one.tokens is not None]
    log_c = np.log([one.flops for one in kept])
    log_n = np.log([one.params.value for one in kept if one.params is not None])
    log_d = np.log([one.tokens for one in kept if one.tokens is not None])
    size, data = (fit_line(log_c, values, errors, level=level) for values in (log_n, log_d))
    return _result(name, budgets, size, data)


def _result(name: str, budgets: list[Optimum], size: Line, data: Line) -> MethodResult:
    return MethodResult(
        name,
        tuple(budgets),
        size.slope,
        data.slope,
        float(np.exp(size.intercept)),
        float(np.exp(data.intercept)),
    )


# --- other methods --------------------------------------------------------------------------------


def _surface(
    table: pl.DataFrame, groups: list[pl.DataFrame], level: float, seed: int
) -> MethodResult:
    """The optimum of Chinchilla's law through all runs, under C = k N D with the table's own k."""
    surface = fit("chinchilla", table, level=level, seed=seed, draws=400)
    k = float(
        np.exp(np.log((table["flops"] / table["params"] / table["tokens"]).to_numpy()).mean())
    )

    def optimum(values: Array, flops: Array) -> Array:
        _, a, b, alpha, beta = (values[..., j, None] for j in range(5))
        with np.errstate(all="ignore"):
            log_g = (np.log(alpha * a) - np.log(beta * b)) / (alpha + beta)
        return np.asarray(log_g + beta / (alpha + beta) * np.log(flops / k))

    flops = np.array([np.exp(np.log(group["flops"].to_numpy()).mean()) for group in groups])
    point = np.array([surface.values[name] for name in surface.law.names])
    log_n = optimum(point, flops)
    draws = optimum(surface.draws, flops)
    tail = 0.5 - level / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    n, d = np.exp(log_n), flops / k / np.exp(log_n)
    loss = surface.law.loss(surface.values, params=n, tokens=d)
    budgets = [
        Optimum(
            float(c),
            len(group),
            Estimate(float(n[i]), float(np.exp(low[i])), float(np.exp(high[i])), level),
            float(d[i]),
            float(loss[i]),
        )
        for i, (c, group) in enumerate(zip(flops, groups, strict=True))
    ]
    a = surface.derived["N_opt_exponent"]
    b = surface.derived["D_opt_exponent"]
    size = float(np.exp(log_n[0] - a.value * np.log(flops[0])))
    data = float(np.exp(np.log(d[0]) - b.value * np.log(flops[0])))
    return MethodResult("surface", tuple(budgets), a, b, size, data)


_ENVELOPE_POINTS = 200


def envelope(curves: pl.DataFrame, *, level: float = 0.9) -> MethodResult:
    """The run with the lowest loss at each compute, along all learning curves (approach 1).

    curves: run, params, tokens, flops, loss. Each run that touches the envelope between the
    smallest and the largest size counts once. Raises FitError when fewer than three do.
    """
    needed = ("run", "params", "tokens", "flops", "loss")
    missing = [name for name in needed if name not in curves.columns]
    if missing:
        raise FitError(f"curves need the columns {', '.join(needed)}; {missing[0]} is missing.")
    runs = []
    for group in curves.drop_nulls(list(needed)).sort("flops").partition_by("run"):
        if len(group) >= 2:
            columns = (np.log(group[n].to_numpy()) for n in ("flops", "loss", "tokens", "params"))
            runs.append(tuple(columns))
    if len({float(run[3][0]) for run in runs}) < 3:
        raise FitError("the curves are of fewer than three sizes; an envelope needs more.")
    low = min(run[0][0] for run in runs)
    high = max(run[0][-1] for run in runs)
    at = np.linspace(low, high, _ENVELOPE_POINTS)
    losses = np.array([np.interp(at, run[0], run[1], np.inf, np.inf) for run in runs])
    best = losses.argmin(axis=0)
    log_n = np.array([runs[b][3][0] for b in best])
    log_d = np.array([np.interp(c, runs[b][0], runs[b][2]) for b, c in zip(best, at, strict=True)])
    # Where the smallest or the largest size is best, the envelope is the end of the ladder.
    inside = (log_n > min(run[3][0] for run in runs)) & (log_n < max(run[3][0] for run in runs))
    if inside.sum() < 3:
        raise FitError("only the smallest and the largest size touch the envelope.")
    # Points of one run are not independent: each run on the envelope counts once, at its middle.
    budgets, places = [], []
    for b in dict.fromkeys(best[inside].tolist()):
        own = inside & (best == b)
        c = float(at[own].mean())
        places.append(c)
        n = float(np.exp(log_n[own][0]))
        budgets.append(
            Optimum(
                float(np.exp(c)),
                int(own.sum()),
                Estimate(n, n, n, level, 0.0),
                float(np.exp(log_d[own].mean())),
                float(np.exp(losses[b][own].mean())),
            )
        )
    if len(budgets) < 3:
        raise FitError(f"{len(budgets)} sizes between the ends touch the envelope; three needed.")
    size = fit_line(
        np.array(places), np.log([b.params.value for b in budgets if b.params]), level=level
    )
    data = fit_line(np.array(places), np.log([b.tokens for b in budgets if b.tokens]), level=level)
    return _result("envelope", budgets, size, data)


def optima(table: pl.DataFrame, *, std: str | None = None, level: float = 0.9) -> MethodResult:
    """The power laws through optima that are known already: one row a budget.

    table: flops, params, tokens, optionally loss. std: column with the standard error of ln N_opt;
    rows weigh as 1/std^2. Raises FitError for fewer than three budgets, and for a column that is
    missing or has anything but positive numbers.
    """
    _check_level(level)
    log_c, log_n, log_d = (np.log(_positive(table, n)) for n in ("flops", "params", "tokens"))
    budgets_given = len(np.unique(np.round(log_c, 6)))
    if budgets_given < len(log_c):
        raise FitError(
            f"{len(log_c)} rows have {budgets_given} values of compute; known optima are one row a "
            "budget. Select one kind of rows, or have the optima found: leave out --optima."
        )
    error = None if std is None else _positive(table, std)
    size, data = (
        fit_line(log_c, values, error, known=True, level=level) for values in (log_n, log_d)
    )
    losses = table["loss"].to_list() if "loss" in table.columns else [None] * len(table)
    budgets = [
        Optimum(float(np.exp(c)), 1, Estimate(n, n, n, level), d, loss)
        for c, n, d, loss in zip(
            log_c, np.exp(log_n).tolist(), np.exp(log_d).tolist(), losses, strict=True
        )
    ]
    return _result("optima", budgets, size, data)


def _positive(table: pl.DataFrame, name: str) -> Array:
    import polars as pl

    if name not in table.columns:
        raise FitError(f"there is no column {name!r}; the table has {', '.join(table.columns)}.")
    values = table[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    if not (np.isfinite(values) & (values > 0)).all():
        raise FitError(f"{name} has values that are not positive numbers.")
    return np.asarray(values)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; it is a probability such as .9.")


def _notices(result: MethodResult, groups: list[pl.DataFrame]) -> tuple[Notice, ...]:
    notices = []
    refused = [one for one in result.budgets if one.refused]
    if refused:
        from scalelab.units import format_flop

        shown = "; ".join(f"{format_flop(one.flops)}: {one.refused}" for one in refused[:4])
        notices.append(
            Notice(
                "budget-refused",
                f"{len(refused)} of {len(groups)} budgets give no optimum ({shown}). Add sizes "
                "beyond that end.",
            )
        )
    alone = sum(len(group) == 1 for group in groups)
    if alone:
        notices.append(
            Notice("single-runs", f"{alone} budgets have one run; is the tolerance too small?")
        )
    return tuple(notices)

"""How the best size and its data grow with compute: N_opt ~ C^a and D_opt ~ C^b, by each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import FitError
from scalelab.fitting.budgets import BudgetOptimum, budget_of, positive
from scalelab.fitting.engine import fit
from scalelab.fitting.line import fit_line
from scalelab.fitting.minima import find_minima
from scalelab.fitting.result import Estimate, check_level
from scalelab.laws import Array

if TYPE_CHECKING:
    import polars as pl

_ENVELOPE_POINTS = 200


@dataclass(frozen=True)
class MethodResult:
    """One method's optima, and the power laws N_opt = G C^a and D_opt = G' C^b through them."""

    name: str
    budgets: tuple[BudgetOptimum, ...]
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


def _through(
    name: str,
    budgets: Sequence[BudgetOptimum],
    errors: Array | None,
    level: float,
    *,
    known: bool = False,
) -> MethodResult:
    """The power laws through optima; errors, known: of ln N, see `fit_line`."""
    found = [b for b in budgets if b.params is not None and b.tokens is not None]
    log_c = np.log([b.flops for b in found])
    log_n = np.log([b.params.value for b in found if b.params is not None])
    log_d = np.log([b.tokens for b in found if b.tokens is not None])
    size, data = (
        fit_line(log_c, values, errors, known=known, level=level) for values in (log_n, log_d)
    )
    return MethodResult(
        name,
        tuple(budgets),
        size.slope,
        data.slope,
        float(np.exp(size.intercept)),
        float(np.exp(data.intercept)),
    )


def by_polynomial(name: str, groups: list[pl.DataFrame], level: float) -> MethodResult:
    """Lines through the minima of a polynomial at every budget: approach 2 of Hoffmann et al."""
    budgets, errors = find_minima(name, groups, level)
    return _through(name, budgets, errors, level)


def by_surface(
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

    flops = np.array([budget_of(group) for group in groups])
    point = np.array([surface.values[name] for name in surface.law.names])
    log_n = optimum(point, flops)
    draws = optimum(surface.draws, flops)
    tail = 0.5 - level / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    n, d = np.exp(log_n), flops / k / np.exp(log_n)
    loss = surface.law.loss(surface.values, params=n, tokens=d)
    budgets = [
        BudgetOptimum(
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


def envelope(curves: pl.DataFrame, *, level: float = 0.9) -> MethodResult:
    """The run with the lowest loss at each compute, along all learning curves (approach 1).

    curves: run, params, tokens, flops, loss; points that have not all of these as positive, finite
    numbers do not count. Each run that touches the envelope between the smallest and the largest
    size counts once. Raises FitError when fewer than three do.
    """
    import polars as pl

    needed = ("run", "params", "tokens", "flops", "loss")
    missing = [name for name in needed if name not in curves.columns]
    if missing:
        raise FitError(f"curves need the columns {', '.join(needed)}; {missing[0]} is missing.")
    runs = []
    # NaN would be the lowest of all, and before the first step there is no logarithm of compute.
    values = pl.col(needed[1:])
    whole = pl.col("run").is_not_null() & pl.all_horizontal(values.is_finite() & (values > 0))
    for group in curves.filter(whole).sort("flops").partition_by("run"):
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
    budgets = []
    for b in dict.fromkeys(best[inside].tolist()):
        own = inside & (best == b)
        n = float(np.exp(log_n[own][0]))
        budgets.append(
            BudgetOptimum(
                float(np.exp(at[own].mean())),
                int(own.sum()),
                Estimate(n, n, n, level, 0.0),
                float(np.exp(log_d[own].mean())),
                float(np.exp(losses[b][own].mean())),
            )
        )
    if len(budgets) < 3:
        raise FitError(f"{len(budgets)} sizes between the ends touch the envelope; three needed.")
    return _through("envelope", budgets, None, level)


def optima(table: pl.DataFrame, *, std: str | None = None, level: float = 0.9) -> MethodResult:
    """The power laws through optima that are known already: one row a budget.

    table: flops, params, tokens, optionally loss. std: column with the standard error of ln N_opt;
    rows weigh as 1/std^2. Raises FitError for fewer than three budgets, and for a column that is
    missing or has anything but positive numbers.
    """
    check_level(level)
    flops, params, tokens = (positive(table, name) for name in ("flops", "params", "tokens"))
    given = len(np.unique(np.round(np.log(flops), 6)))
    if given < len(flops):
        raise FitError(
            f"{len(flops)} rows have {given} values of compute; known optima are one row a "
            "budget. Select one kind of rows, or have the optima found: leave out --optima."
        )
    error = None if std is None else positive(table, std)
    losses = table["loss"].to_list() if "loss" in table.columns else [None] * len(table)
    budgets = [
        BudgetOptimum(c, 1, Estimate(n, n, n, level), d, loss)
        for c, n, d, loss in zip(
            flops.tolist(), params.tolist(), tokens.tolist(), losses, strict=True
        )
    ]
    return _through("optima", budgets, error, level, known=True)

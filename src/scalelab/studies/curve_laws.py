"""Laws of size and steps, fitted to trunks' curves, and the optimal sizes that follow from them.

L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S          (equation 5.6 of the paper)
L(N, S_min) = E + A / N^alpha + B / S_min^beta                   (the same with a floor)
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import Array, Law, custom_law, get_law
from scalelab.studies.evidence import Evidence
from scalelab.studies.joint import BEYOND, GRID, Frontier, lowest

NO_FLOOR = get_law("kaplan-steps")
WITH_FLOOR: Law = custom_law(
    "E + A / N^alpha + B / steps_min^beta",
    inputs=("params", "steps_min"),
    name="steps-with-floor",
)
FEWEST_SIZES = 4
DRAWS = 400


def fit_steps(law: Law, points: pl.DataFrame, evidence: Evidence, draws: int = DRAWS) -> Fit | None:
    """A law of params and steps_min through trunks' curves, None where there are too few.

    points: by `scalelab.studies.trunk_curves.at_best`. A curve strays from its law slowly, all its
    points together: the wild bootstrap turns whole trunks round, whatever the correlation within
    them.
    """
    if points["params"].n_unique() < FEWEST_SIZES or "steps_min" not in points.columns:
        return None
    try:
        return fit(
            law,
            points,
            estimator="least-squares",
            clusters="trunk",
            intervals="wild",
            draws=draws,
            level=evidence.level,
            seed=evidence.seed,
        )
    except FitError:
        return None


def values_of(found: Fit, name: str) -> Array:
    """A parameter at the fit and at its draws, (1 + k,)."""
    return np.concatenate([[found.values[name]], found.draws[:, found.law.names.index(name)]])


def steps_frontier(
    found: Fit, sizes: Array, flops: Array, critical: tuple[Array, Array]
) -> Frontier:
    """The size of the lowest loss at each C_min (c,), counted as 6 N D.

    found: a fit of WITH_FLOOR. critical: log B_star and 1 / alpha_B, (1 + k,). Of each size and
    C_min the loss solves L = E + A / N^alpha + B / S_min^beta with S_min = C_min / (6 N B_crit(L)).
    """
    count = min(len(found.draws), len(critical[0]) - 1) + 1
    e, a, alpha, b, beta = (
        values_of(found, name)[:count, None] for name in ("E", "A", "alpha", "B", "beta")
    )
    star, power = (part[:count, None] for part in critical)
    log_n = np.linspace(np.log(sizes[0] / BEYOND), np.log(sizes[-1] * BEYOND), GRID)
    floor = e + a * np.exp(-alpha * log_n)
    with np.errstate(divide="ignore"):
        log_b = np.log(b)
    shape = (count, len(flops))
    params, tokens, loss = (np.full(shape, np.nan) for _ in range(3))
    for j, c in enumerate(flops):
        per_step = np.log(c / 6) - log_n - star  # log S_min less what the loss adds
        low, high = np.log(np.maximum(floor, 1e-9)), np.full_like(floor, np.log(50.0))
        for _ in range(40):
            middle = (low + high) / 2
            with np.errstate(over="ignore"):
                wanted = floor + np.exp(log_b - beta * (per_step + power * middle))
            above = np.exp(middle) < wanted  # more steps are had at a higher loss: rises in L
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        at, height = lowest(log_n, np.exp((low + high) / 2))
        params[:, j], loss[:, j] = np.exp(at), height
        tokens[:, j] = c / 6 / params[:, j]
    return Frontier(flops, params, tokens, loss)

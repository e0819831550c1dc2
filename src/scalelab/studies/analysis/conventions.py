"""The exponent of N_opt from one set of runs under each way to count parameters and compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scalelab.counting import TransformerShape, flops_per_token
from scalelab.counting.recount import recount
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.table import RunTable

if TYPE_CHECKING:
    from scalelab.fitting import Estimate, Fit

PARAMS = ("matrices", "with-output", "total")
FLOPS = ("6N", "kaplan", "exact")
"""6N: six times N as it is counted."""

BUDGETS = 7
SIZES = 241
REACH = 6.0
"""Widths beyond those of the ladder, as a factor, up to which an optimum is looked for: further out
the law is a guess."""

DRAWS = 400
SMALL, LARGE = 0.2, 0.9
"""Quantiles of the runs' compute between which the exponent is taken."""


@dataclass(frozen=True)
class Growth:
    """N_opt ~ C^a under one way to count.

    draws: of a (k,), NaN where a draw has no optimum near the runs. Equal seeds draw equal noise,
    so that two ways to count one set of runs can be compared draw by draw.
    """

    exponent: Estimate
    draws: Array


def count(runs: pl.DataFrame, params: str) -> pl.DataFrame:
    """Runs with N counted anew; `params`: one of PARAMS."""
    return runs if runs.is_empty() else recount(RunTable(runs, {}, (), "runs"), params).frame


def fit_counted(
    runs: pl.DataFrame, params: str, level: float, seed: int, law: str = "coupled"
) -> Attempt:
    """The joint law of N, counted so, and D."""
    options = {"level": level, "seed": seed, "draws": DRAWS}
    return attempt(law, count(runs, params), **options)


def growth(
    fitted: Attempt,
    runs: pl.DataFrame,
    shapes: Sequence[TransformerShape],
    params: str,
    flops: str,
    told: str = "",
) -> Growth | None:
    """How the best N grows with C, both counted so, where runs of these shapes are the family.

    params: how the law counts N. flops: how C is counted. told: how the N_opt that is told, and the
    N in 6N, is counted; as the law's unless given, and if given nothing but counting has changed.

    The loss at equal C is minimised over the width, on which N and the FLOP per token depend, over
    budgets among the runs' own; the exponent is the slope of ln N_opt on ln C. None where the law
    was not fitted, or has no optimum near the runs.
    """
    if fitted.fit is None:
        return None
    width, sizes = _sizes(runs, params)
    size = _by_width(width, sizes)
    told_size = _by_width(*_sizes(runs, told)) if told else size
    known = {
        shape.d_model: flops_per_token(shape, "exact" if flops == "6N" else flops)
        for shape in shapes
    }
    per_token = (
        6.0 * told_size
        if flops == "6N"
        else _by_width(width, np.array([known[int(one)] for one in width]))
    )
    d = np.geomspace(width[0] / REACH, width[-1] * REACH, SIZES)
    n, cost, told_n = _at(size, d), _at(per_token, d), _at(told_size, d)
    spent = _at(per_token, runs["d_model"].cast(float).to_numpy()) * runs["tokens"].to_numpy()
    low, high = np.quantile(spent, [SMALL, LARGE])
    budgets = np.geomspace(low, high, BUDGETS)
    point = _exponent(fitted.fit, fitted.fit.theta[None], n, told_n, cost, budgets)
    draws = _exponent(fitted.fit, fitted.fit.draw_theta, n, told_n, cost, budgets)
    if np.isnan(point[0]):
        return None
    return Growth(unbounded(float(point[0]), draws, fitted.fit.level), draws)


def unbounded(value: float, draws: Array, level: float) -> Estimate:
    """A value with the interval of its draws, of which those that are NaN lie beyond both ends."""
    gone = np.isnan(draws)
    either = np.where(np.arange(len(draws)) % 2, np.inf, -np.inf)
    return estimate(value, np.where(gone, either, draws), level)


def _sizes(runs: pl.DataFrame, params: str) -> tuple[Array, Array]:
    """Widths and N, counted so, of the family's sizes."""
    counted = count(runs, params).group_by("d_model").agg(pl.col("params").first()).sort("d_model")
    return counted["d_model"].cast(float).to_numpy(), counted["params"].cast(float).to_numpy()


def _by_width(width: Array, values: Array) -> Array:
    """Coefficients of width^2 and width: every count of one family is such a sum."""
    rows = np.stack([width**2, width], axis=1)
    found = np.linalg.lstsq(rows / values[:, None], np.ones(len(values)), rcond=None)[0]
    return np.asarray(found, dtype=np.float64)


def _at(coefficients: Array, width: Array) -> Array:
    return np.asarray(coefficients[0] * width**2 + coefficients[1] * width)


def _exponent(fit: Fit, theta: Array, n: Array, told: Array, cost: Array, budgets: Array) -> Array:
    """Slope of ln N_opt on ln C for each theta (k, p); NaN where an optimum lies at an end.

    n, told: N as the law counts it and as it is told, (d,), of the widths looked at.
    """
    log_c = np.log(budgets)
    best = np.empty((len(theta), len(budgets)))
    for i, budget in enumerate(budgets):
        loss = fit.law.log_value(theta, (np.log(n), np.log(budget / cost)))
        place = np.nanargmin(loss, axis=1)
        inside = (place > 0) & (place < len(n) - 1)
        place = np.clip(place, 1, len(n) - 2)
        rows = np.arange(len(theta))
        left, middle, right = (loss[rows, place + move] for move in (-1, 0, 1))
        bend = left - 2 * middle + right
        # The vertex of the parabola through three neighbours, in steps of the grid.
        with np.errstate(all="ignore"):
            move = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
        step = np.gradient(np.log(told))[place]
        best[:, i] = np.where(inside, np.log(told)[place] + np.nan_to_num(move) * step, np.nan)
    centred = log_c - log_c.mean()
    return np.asarray(best @ centred / (centred @ centred))

"""The joint law of a ladder and what follows from it: optimal sizes and their losses.

    L(N, D) = E + [(A / N^alpha)^(1 / gamma) + (B / D^beta)^(1 / gamma)]^gamma

is the form in which a study predicts (`scalelab.laws.coupled`); it contains Kaplan's and
Chinchilla's, which has gamma = 1 and is fitted too, to doubt the form. Everything is asked for at
the fit and at its draws at once, so that intervals follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from scalelab.counting import flops_per_token
from scalelab.errors import FitError
from scalelab.fitting import Estimate, Fit, fit
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.analysis.curve_laws import FEWEST_SIZES
from scalelab.studies.conclude import NOISE_FALLS
from scalelab.studies.evidence import Evidence, Run, table

Convention = Literal["exact", "6N"]

DRAWS = 300
GRID = 160
BEYOND = 30.0
"""How far past the ladder's sizes an optimum is looked for."""


@dataclass(frozen=True)
class Frontier:
    """Optimal sizes at some compute: (1 + k, c) each, the fit's own first.

    flops: (c,), what is held fixed. params, tokens, loss: of the optimum at the ladder's batch; NaN
    where it lies beyond the sizes looked at.
    """

    flops: Array
    params: Array
    tokens: Array
    loss: Array


@dataclass(frozen=True)
class Joint:
    """A joint law with the costs of its ladder.

    fit: of the law ``coupled`` or ``chinchilla``. sizes, per_token: N and training FLOP per token
    of the ladder's sizes. batch_tokens: at which it was trained. constant: the loss at constant
    rate over the law's; B_crit is asked there, for it was measured there: a decay lowers the loss,
    and nothing says that it raises the critical batch.
    """

    fit: Fit
    sizes: Array
    per_token: Array
    batch_tokens: float
    constant: float = 1.0

    @cached_property
    def theta(self) -> Array:
        """Values of the law's parameters: (1 + k, p), the fit's own first."""
        names = self.fit.law.names
        own = np.array([self.fit.values[name] for name in names])
        return np.vstack([own, self.fit.draws])

    def _values(self) -> list[Array]:
        """E, A, B, alpha, beta and gamma, (1 + k, 1) each."""
        names = self.fit.law.names
        order = [names.index(name) for name in ("E", "A", "B", "alpha", "beta")]
        gamma = (
            self.theta[:, names.index("gamma"), None]
            if "gamma" in names
            else np.ones((len(self.theta), 1))
        )
        return [*(self.theta[:, j, None] for j in order), gamma]

    def first(self, count: int) -> Joint:
        """The same with fewer draws: `count` values of everything."""
        return replace(self, fit=replace(self.fit, draw_theta=self.fit.draw_theta[: count - 1]))

    def cost(self, params: Array, convention: Convention) -> Array:
        """Training FLOP per token at sizes between, and a little beyond, the ladder's."""
        if convention == "6N":
            return 6.0 * params
        x, y = np.log(self.sizes), np.log(self.per_token)
        found = np.interp(np.log(params), x, y)
        # Beyond the ends on the slope of the last two sizes.
        for end, inner in ((0, 1), (-1, -2)):
            slope = (y[end] - y[inner]) / (x[end] - x[inner])
            out = np.log(params) < x[0] if end == 0 else np.log(params) > x[-1]
            found = np.where(out, y[end] + slope * (np.log(params) - x[end]), found)
        return np.asarray(np.exp(found))

    def loss(self, params: Array, tokens: Array) -> Array:
        """Losses, (1 + k, n). params, tokens: (n,) or (1 + k, n)."""
        e, a, b, alpha, beta, gamma = self._values()
        with np.errstate(all="ignore"):
            size = (np.log(a) - alpha * np.log(params)) / gamma
            data = (np.log(b) - beta * np.log(tokens)) / gamma
            return np.asarray(e + np.exp(gamma * np.logaddexp(size, data)))

    def converged(self, params: Array) -> Array:
        """Losses without end of data, (1 + k, n)."""
        e, a, _, alpha, _, _ = self._values()
        return np.asarray(e + a * params**-alpha)

    def frontier(self, flops: Array, convention: Convention = "exact") -> Frontier:
        """The size of the lowest loss at each compute (c,), at the ladder's batch."""
        log_n = np.linspace(np.log(self.sizes[0] / BEYOND), np.log(self.sizes[-1] * BEYOND), GRID)
        params = np.exp(log_n)
        cost = self.cost(params, convention)
        shape = (len(self.theta), len(flops))
        found = {name: np.full(shape, np.nan) for name in ("params", "tokens", "loss")}
        for j, c in enumerate(flops):
            at, found["loss"][:, j] = lowest(log_n, self.loss(params, c / cost))
            found["params"][:, j] = np.exp(at)
            found["tokens"][:, j] = np.exp(np.interp(at, log_n, np.log(c / cost)))
        return Frontier(flops, found["params"], found["tokens"], found["loss"])

    def reach(self, convention: Convention = "exact", points: int = 7) -> Array:
        """Compute at which the optimum lies among the ladder's sizes, evenly in the log; (c,).

        Empty where that is less than a factor of 3 or nowhere.
        """
        ends = self.sizes[[0, -1]]
        tokens = np.array([self.fit.ranges["tokens"][0], self.fit.ranges["tokens"][1]])
        low, high = (float(x) for x in self.cost(ends, convention) * tokens)
        wide = np.geomspace(low, high, 60)
        best = self.first(1).frontier(wide, convention).params[0]
        inside = wide[(best >= ends[0]) & (best <= ends[1])]
        if len(inside) < 2 or inside[-1] < 3 * inside[0]:
            return np.empty(0)
        return np.geomspace(inside[0], inside[-1], points)


def joint_of(
    evidence: Evidence, form: Literal["coupled", "chinchilla"] = "coupled", constant: float = 1.0
) -> Joint | None:
    """The joint law of the ladder's decayed runs, None where they are too few."""
    runs = evidence.branches
    if len({run.params for run in runs}) < FEWEST_SIZES:
        return None
    try:
        found = fit(
            form,
            table(runs),
            falls=NOISE_FALLS,
            draws=DRAWS,
            level=evidence.level,
            seed=evidence.seed,
        )
    except FitError:
        return None
    return of_ladder(found, runs, constant)


def of_ladder(found: Fit, runs: Sequence[Run], constant: float = 1.0) -> Joint:
    """A law of size and tokens with what the sizes of its runs cost."""
    shapes = {run.params: run.spec.shape for run in runs}
    sizes = sorted(shapes)
    return Joint(
        found,
        np.array(sizes, dtype=float),
        np.array([flops_per_token(shapes[size]) for size in sizes]),
        float(np.median([run.spec.batch_tokens for run in runs])),
        constant,
    )


def lowest(x: Array, y: Array) -> tuple[Array, Array]:
    """Where rows (k, n) over an even grid x (n,) are lowest, and how low: (k,) each.

    NaN where that is at an end. A parabola goes through the lowest point and its neighbours.
    """
    best = y.argmin(axis=1)
    inside = (best > 0) & (best < len(x) - 1) & np.isfinite(y).all(axis=1)
    rows = np.flatnonzero(inside)
    at = best[rows]
    before, here, after = (y[rows, at + k] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    move = np.where(bend > 0, (before - after) / np.where(bend > 0, 2 * bend, 1.0), 0.0)
    place, height = np.full(len(y), np.nan), np.full(len(y), np.nan)
    place[rows] = x[at] + move * (x[1] - x[0])
    height[rows] = here - (before - after) * move / 4
    return place, height


def spread(values: Array, level: float) -> Estimate:
    """Of a fit and its draws (1 + k,): the first with the interval of the others.

    Draws without an answer count at both ends: as often as not the number may be anything.
    """
    draws = values[1:]
    lost = ~np.isfinite(draws) & ~np.isposinf(draws)
    if lost.mean() > (1 - level) / 2:
        return Estimate(float(values[0]), float("-inf"), float("inf"), level)
    return estimate(float(values[0]), draws, level)


def slope(log_x: Array, log_y: Array) -> Array:
    """Slopes of rows (1 + k, c) over x (c,), NaN where a row is not whole."""
    x = log_x - log_x.mean()
    return np.asarray((log_y * x).sum(axis=-1) / (x**2).sum())

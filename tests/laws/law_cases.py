"""Every law with planted parameters, its equation written again by hand, and runs that obey it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import brentq

from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import Array, Law, get_law

Values = Mapping[str, float]


# --- tables -------------------------------------------------------------------------------------


def grid() -> pl.DataFrame:
    """A full grid of N and D, three decades each; every epoch count of 1 to 64 at every size."""
    sizes, data = np.geomspace(1e5, 1e8, 6), np.geomspace(1e7, 1e10, 5)
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(6), np.arange(5), indexing="ij"))
    N, D = sizes[i], data[j]
    epochs = np.array([1.0, 2.0, 4.0, 16.0, 64.0])[(i + j) % 5]
    return pl.DataFrame(
        {
            "trunk": [f"trunk{n}" for n in i],
            "params": N,
            "tokens": D,
            "unique_tokens": D / epochs,
            "steps_min": D / 1e4,
        }
    )


def line() -> pl.DataFrame:
    """Thirty runs, each at its own size, for laws in one variable."""
    N, D = np.geomspace(1e5, 1e8, 30), np.geomspace(1e7, 1e10, 30)
    return pl.DataFrame(
        {
            "trunk": [f"trunk{i // 5}" for i in range(30)],
            "params": N,
            "tokens": D,
            "flops": 6 * N * D,
            "position": np.arange(1.0, 31.0),
        }
    )


def losses() -> pl.DataFrame:
    """Thirty losses of training, from 3.2 to 12 nats, as far apart as those of a grid of runs."""
    return pl.DataFrame(
        {
            "trunk": [f"trunk{i // 5}" for i in range(30)],
            "loss": 3.0 + 9.0 * np.geomspace(0.02, 1.0, 30),
        }
    )


SCHEDULES = ("constant", "cosine", "warm-up-stable-decay", "step")


def schedule(kind: str, steps: int) -> Array:
    """Learning rate of every step, after a warm-up of 100."""
    step = np.arange(steps)
    warm = 1e-3 * np.minimum(1, (step + 1) / 100)
    return np.asarray(
        warm
        * {
            "constant": np.ones(steps),
            "cosine": 0.1 + 0.45 * (1 + np.cos(np.pi * step / steps)),
            "warm-up-stable-decay": 1 - 0.9 * np.clip(step / steps - 0.8, 0, 0.2) / 0.2,
            "step": np.where(step < steps / 2, 1, 0.3),
        }[kind]
    )


def curves() -> pl.DataFrame:
    """Ten points each of four schedules, after the warm-up."""
    at = np.unique(np.geomspace(200, 2000, 10).astype(int))
    return pl.concat(
        schedule_columns(schedule(kind, 2000), at).with_columns(trunk=pl.lit(kind))
        for kind in SCHEDULES
    )


# --- cases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A law, the column that it was made of, planted values, an independent equation, and inputs.

    noise: of runs so clean that theory's linear standard errors hold for its parameters.
    """

    name: str
    column: str | None
    planted: Values
    by_hand: Callable[..., Array]
    table: Callable[[], pl.DataFrame]
    noise: float = 0.003

    @property
    def law(self) -> Law:
        return get_law(self.name, self.column)

    @property
    def theta(self) -> Array:
        """Coordinates of the planted values."""
        return self.law.coordinates(np.array([self.planted[name] for name in self.law.names]))

    def inputs(self, table: pl.DataFrame) -> list[Array]:
        """Columns of a table, lists padded with zeros."""
        return [padded(table[name]) for name in self.law.inputs]

    def asked(self, count: int = 4) -> dict[str, Array]:
        """Inputs of some of its runs, to ask for."""
        rows = np.linspace(0, len(self.table()) - 1, count).astype(int)
        inputs = self.inputs(self.table())
        return {name: a[rows] for name, a in zip(self.law.inputs, inputs, strict=True)}

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.name}-{self.column}"


def padded(column: pl.Series) -> Array:
    if not column.dtype.is_nested():
        return column.to_numpy()
    rows = column.to_list()
    width = max(len(row) for row in rows)
    return np.array([[*row, *([0.0] * (width - len(row)))] for row in rows])


def runs(case: Case, *, noise: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """The case's runs with the response of the equation written by hand."""
    table = case.table()
    luck = noise * np.random.default_rng(seed).normal(size=len(table))
    response = case.by_hand(case.planted, *case.inputs(table)) * np.exp(luck)
    return table.with_columns(
        pl.Series("run", [f"run{i}" for i in range(len(table))]),
        pl.Series(case.law.response, response),
    )


# --- equations ----------------------------------------------------------------------------------


def _chinchilla(v: Values, N: Array, D: Array) -> Array:
    return v["E"] + v["A"] / N ** v["alpha"] + v["B"] / D ** v["beta"]


def _chinchilla_tied(v: Values, N: Array, D: Array) -> Array:
    return v["E"] + v["A"] / N ** v["alpha"] + v["B"] / D ** v["alpha"]


def _overtraining(v: Values, N: Array, D: Array) -> Array:
    M, C = D / N, 6 * N * D
    return v["E"] + (v["a"] * M ** v["eta"] + v["b"] * M ** -v["eta"]) * C ** -v["eta"]


def _kaplan(v: Values, N: Array, D: Array) -> Array:
    return ((v["N_c"] / N) ** (v["alpha_N"] / v["alpha_D"]) + v["D_c"] / D) ** v["alpha_D"]


def _kaplan_steps(v: Values, N: Array, S: Array) -> Array:
    return (v["N_c"] / N) ** v["alpha_N"] + (v["S_c"] / S) ** v["alpha_S"]


def _coupled(v: Values, N: Array, D: Array) -> Array:
    size, data = v["A"] / N ** v["alpha"], v["B"] / D ** v["beta"]
    return v["E"] + (size ** (1 / v["gamma"]) + data ** (1 / v["gamma"])) ** v["gamma"]


def _repeated(v: Values, N: Array, D: Array, U: Array) -> Array:
    alpha, beta = v["alpha"], v["beta"]
    U = np.minimum(U, D)
    # Hoffmann et al. 2022, equation 4: N = G (C/6)^(beta / (alpha+beta)), D = 1/G (C/6)^(...).
    G = (alpha * v["A"] / (beta * v["B"])) ** (1 / (alpha + beta))
    compute = (U * G) ** ((alpha + beta) / alpha)  # C / 6 at which D_opt is U
    U_N = np.minimum(N, G * compute ** (beta / (alpha + beta)))
    worth_of_n = U_N + U_N * v["R_N"] * (1 - np.exp(-(N / U_N - 1) / v["R_N"]))
    worth_of_d = U + U * v["R_D"] * (1 - np.exp(-(D / U - 1) / v["R_D"]))
    return v["E"] + v["A"] / worth_of_n**alpha + v["B"] / worth_of_d**beta


def _power(v: Values, x: Array) -> Array:
    return v["E"] + v["A"] / x ** v["alpha"]


def _power_no_floor(v: Values, x: Array) -> Array:
    return v["A"] / x ** v["alpha"]


def _broken(v: Values, x: Array) -> Array:
    return v["E"] + v["A"] * x ** -v["c0"] * (1 + (x / v["d"]) ** (1 / v["f"])) ** (
        -v["c1"] * v["f"]
    )


def _m4(v: Values, x: Array) -> Array:
    """Root by root: (L - E) / (L_0 - L)^a falls from infinity to 0 between L_0 and E."""

    def one(x: float) -> float:
        share = brentq(  # of the way from E to L_0, as its log odds
            lambda t: (
                (1 - v["a"]) * np.log(v["L_0"] - v["E"])
                - np.log1p(np.exp(-t))
                + v["a"] * np.log1p(np.exp(t))
                - np.log(v["A"])
                + v["alpha"] * np.log(x)
            ),
            *(-500, 500),
            xtol=1e-13,
        )
        return float(v["E"] + (v["L_0"] - v["E"]) / (1 + np.exp(-share)))

    return np.array([one(float(each)) for each in np.ravel(x)]).reshape(np.shape(x))


def _offset(v: Values, L: Array) -> Array:
    return L + v["K"]


def _affine(v: Values, L: Array) -> Array:
    return v["K"] + v["k"] * L


def _transfer(v: Values, L: Array) -> Array:
    return v["E_2"] + v["k"] * (L - v["E_1"]) ** v["kappa"]


def _annealing(v: Values, S_1: Array, S_2: Array) -> Array:
    return v["L_0"] + v["A"] * S_1 ** -v["alpha"] - v["C"] * S_2


def _multi_power(v: Values, S_1: Array, drops: Array, levels: Array, sums: Array) -> Array:
    """Drop by drop; a drop of zero is padding."""
    found = v["L_0"] + v["A"] * S_1 ** -v["alpha"]
    for i in range(len(S_1)):
        for drop, level, after in zip(drops[i], levels[i], sums[i], strict=True):
            if drop:
                x = level ** -v["gamma"] * after
                found[i] -= v["B"] * drop * (1 - (1 + v["C"] * x) ** -v["beta"])
    return found


def _optimal_lr(v: Values, N: Array, D: Array) -> Array:
    return v["c"] * N ** v["a"] * D ** v["b"]


def _optimal_batch(v: Values, D: Array) -> Array:
    return v["c"] * D ** v["b"]


def _critical_batch(v: Values, L: Array) -> Array:
    return v["B_star"] / L ** (1 / v["alpha_B"])


_HOFFMANN = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}

CASES = (
    Case("chinchilla", None, _HOFFMANN, _chinchilla, grid),
    Case(
        "chinchilla-tied",
        None,
        {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35},
        _chinchilla_tied,
        grid,
    ),
    Case(
        "overtraining", None, {"E": 1.51, "a": 141.0, "b": 190.0, "eta": 0.121}, _overtraining, grid
    ),
    Case(
        "kaplan",
        None,
        {"alpha_N": 0.076, "N_c": 6.4e13, "alpha_D": 0.103, "D_c": 1.8e13},
        _kaplan,
        grid,
    ),
    Case(
        "kaplan-steps",
        None,
        {"alpha_N": 0.077, "N_c": 6.5e13, "alpha_S": 0.76, "S_c": 2.1e3},
        _kaplan_steps,
        grid,
    ),
    Case(
        "coupled",
        None,
        {"E": 1.5, "A": 300.0, "B": 900.0, "alpha": 0.34, "beta": 0.30, "gamma": 0.6},
        _coupled,
        grid,
    ),
    Case(
        "repeated-data",
        None,
        {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.36}
        | {"R_D": 15.0, "R_N": 5.3},
        _repeated,
        grid,
        # At .003 the standard error of ln R_N is .2: what is linear in theory is not there.
        noise=0.0003,
    ),
    Case("power", "params", {"E": 1.5, "A": 100.0, "alpha": 0.3}, _power, line),
    Case("power", "tokens", {"E": 1.7, "A": 1500.0, "alpha": 0.35}, _power, line),
    Case("power", "flops", {"E": 1.6, "A": 900.0, "alpha": 0.18}, _power, line),
    Case("power", "position", {"E": 2.4, "A": 4.0, "alpha": 0.5}, _power, line),
    Case("power-no-floor", "params", {"A": 11.4, "alpha": 0.076}, _power_no_floor, line),
    Case("power-no-floor", "tokens", {"A": 20.2, "alpha": 0.095}, _power_no_floor, line),
    Case("power-no-floor", "flops", {"A": 26.0, "alpha": 0.05}, _power_no_floor, line),
    Case("power-no-floor", "position", {"A": 6.0, "alpha": 0.2}, _power_no_floor, line),
    *(
        Case(
            "broken-power",
            column,
            {"E": 1.2, "A": scale, "c0": 0.15, "c1": 0.3, "d": middle, "f": 0.4},
            _broken,
            line,
            # Six parameters of one curve: at .003 the floor may be anything.
            noise=0.0001,
        )
        for column, scale, middle in (
            ("params", 20.0, 3e6),
            ("tokens", 40.0, 3e8),
            ("flops", 300.0, 1e15),
            ("position", 6.0, 6.0),
        )
    ),
    *(
        Case(
            "m4",
            column,
            {"E": 1.2, "L_0": 6.0, "A": scale, "alpha": 0.3, "a": 0.8},
            _m4,
            line,
            # The loss before training is far above every run: at .003 only predictions hold.
            noise=1e-5,
        )
        for column, scale in (
            ("params", 30.0),
            ("tokens", 100.0),
            ("flops", 9e3),
            ("position", 2.0),
        )
    ),
    Case("transfer-offset", "loss.other", {"K": 0.7}, _offset, losses),
    Case("transfer-offset", "loss.code", {"K": -0.9}, _offset, losses),
    Case("transfer-affine", "loss.other", {"K": -0.3, "k": 1.3}, _affine, losses),
    Case(
        "transfer",
        "loss.other",
        {"E_1": 2.5, "E_2": 1.6, "k": 1.1, "kappa": 0.8},
        _transfer,
        losses,
        # Two floors that hide each other: at .003 only predictions hold.
        noise=0.0003,
    ),
    Case("annealing", None, {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "C": 0.3}, _annealing, curves),
    Case(
        "multi-power",
        None,
        {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "B": 400.0, "C": 2.0, "beta": 0.5, "gamma": 0.5},
        _multi_power,
        curves,
        noise=0.0001,
    ),
    Case("optimal-lr", None, {"c": 1.79, "a": -0.713, "b": 0.307}, _optimal_lr, grid),
    Case("optimal-batch", None, {"c": 0.58, "b": 0.571}, _optimal_batch, line),
    Case("critical-batch", None, {"B_star": 2.1e8, "alpha_B": 0.21}, _critical_batch, losses),
)

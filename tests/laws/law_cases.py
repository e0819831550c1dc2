"""Every law with planted parameters, its equation written again by hand, and runs that obey it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.laws import Array, Law, get_law

Values = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A law, the column of one in one variable, planted values, and an independent equation."""

    name: str
    column: str | None
    planted: Values
    by_hand: Callable[..., Array]

    @property
    def law(self) -> Law:
        return get_law(self.name, self.column)

    @property
    def theta(self) -> Array:
        """Coordinates of the planted values."""
        return self.law.coordinates(np.array([self.planted[name] for name in self.law.names]))

    def inputs(self, table: pl.DataFrame) -> list[Array]:
        return [table[name].to_numpy() for name in self.law.inputs]

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.name}-{self.column}"


def _chinchilla(v: Values, N: Array, D: Array) -> Array:
    return v["E"] + v["A"] / N ** v["alpha"] + v["B"] / D ** v["beta"]


def _kaplan(v: Values, N: Array, D: Array) -> Array:
    return ((v["N_c"] / N) ** (v["alpha_N"] / v["alpha_D"]) + v["D_c"] / D) ** v["alpha_D"]


def _coupled(v: Values, N: Array, D: Array) -> Array:
    size, data = v["A"] / N ** v["alpha"], v["B"] / D ** v["beta"]
    return v["E"] + (size ** (1 / v["gamma"]) + data ** (1 / v["gamma"])) ** v["gamma"]


def _power(v: Values, x: Array) -> Array:
    return v["E"] + v["A"] / x ** v["alpha"]


def _power_no_floor(v: Values, x: Array) -> Array:
    return v["A"] / x ** v["alpha"]


CASES = (
    Case(
        "chinchilla",
        None,
        {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        _chinchilla,
    ),
    Case(
        "kaplan",
        None,
        {"alpha_N": 0.076, "N_c": 6.4e13, "alpha_D": 0.103, "D_c": 1.8e13},
        _kaplan,
    ),
    Case(
        "coupled",
        None,
        {"E": 1.5, "A": 300.0, "B": 900.0, "alpha": 0.34, "beta": 0.30, "gamma": 0.6},
        _coupled,
    ),
    Case("power", "params", {"E": 1.5, "A": 100.0, "alpha": 0.3}, _power),
    Case("power", "tokens", {"E": 1.7, "A": 1500.0, "alpha": 0.35}, _power),
    Case("power", "flops", {"E": 1.6, "A": 900.0, "alpha": 0.18}, _power),
    Case("power-no-floor", "params", {"A": 11.4, "alpha": 0.076}, _power_no_floor),
    Case("power-no-floor", "tokens", {"A": 20.2, "alpha": 0.095}, _power_no_floor),
    Case("power-no-floor", "flops", {"A": 26.0, "alpha": 0.05}, _power_no_floor),
)


def runs(
    case: Case, *, noise: float = 0.0, seed: int = 0, sizes: int = 6, data: int = 5
) -> pl.DataFrame:
    """A full grid of N and D, three decades each, with losses of the equation written by hand."""
    grid = np.meshgrid(np.geomspace(1e5, 1e8, sizes), np.geomspace(1e7, 1e10, data), indexing="ij")
    N, D = (axis.ravel() for axis in grid)
    table = pl.DataFrame(
        {
            "run": [f"run{i}" for i in range(len(N))],
            "trunk": [f"trunk{n:.0f}" for n in N],
            "params": N,
            "tokens": D,
            "flops": 6 * N * D,
        }
    )
    luck = noise * np.random.default_rng(seed).normal(size=len(N))
    return table.with_columns(
        loss=pl.Series(case.by_hand(case.planted, *case.inputs(table)) * np.exp(luck))
    )

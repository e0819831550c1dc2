"""Ladders of simulated runs: a few sizes, each one trunk with a branch for every data size."""

from __future__ import annotations

import numpy as np
import polars as pl

from scalelab.laws import Array

TRUTH = {"E": 1.05, "A": 5.4, "B": 27.0, "alpha": 0.25, "beta": 0.35}
"""Of the order of a byte-level ladder of models under a million parameters."""


def chinchilla(N: Array, D: Array, truth: dict[str, float] = TRUTH) -> Array:
    return truth["E"] + truth["A"] / N ** truth["alpha"] + truth["B"] / D ** truth["beta"]


def ladder(
    seed: int = 0,
    *,
    sizes: int = 7,
    data: int = 3,
    between: float = 0.0,
    within: float = 0.002,
    sizes_from: float = 6e3,
    sizes_to: float = 3e5,
    data_from: float = 1.2e6,
    data_to: float = 1.2e7,
) -> pl.DataFrame:
    """Finished runs of the truth, with noise in log loss shared by a trunk and added by a run."""
    generator = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(sizes_from, sizes_to, sizes), data)
    D = np.tile(np.geomspace(data_from, data_to, data), sizes)
    luck = np.repeat(between * generator.normal(size=sizes), data)
    luck = luck + within * generator.normal(size=sizes * data)
    return pl.DataFrame(
        {
            "run": [f"n{i // data}-d{i % data}" for i in range(sizes * data)],
            "status": ["finished"] * (sizes * data),
            "trunk": [f"n{i // data}" for i in range(sizes * data)],
            "held_out": [False] * (sizes * data),
            "params": N,
            "tokens": D,
            "flops": 6 * N * D,
            "loss": chinchilla(N, D) * np.exp(luck),
        }
    )


def alone(table: pl.DataFrame) -> pl.DataFrame:
    """The same runs, none of which shares a trunk."""
    return table.drop("trunk")

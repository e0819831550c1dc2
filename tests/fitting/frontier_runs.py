"""Planted runs over enough compute to be back-tested, which can break the law off its frontier."""

from __future__ import annotations

import numpy as np
import polars as pl

from scalelab.laws import Array

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BIG = np.array([3e9, 1e10, 3e10])
"""Sizes beyond the runs, each to be trained on 20 tokens per parameter."""


def chinchilla(N: Array, D: Array) -> Array:
    return TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]


def runs(
    seed: int = 0, *, noise: float = 0.001, far: float = 0.0, below: float = np.inf
) -> pl.DataFrame:
    """Eight sizes, each trained on 2 to 2,000 tokens per parameter.

    far: how much runs suffer that have far from 30 tokens per parameter. below: the compute limit.
    """
    generator = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(1e6, 1e9, 8), 8)
    ratio = np.tile(np.geomspace(2, 2000, 8), 8)
    D = N * ratio
    strayed = np.maximum(0, np.abs(np.log(ratio / 30)) - 1.2)
    loss = chinchilla(N, D) * np.exp(noise * generator.normal(size=64) + far * strayed**2)
    table = {"run": [f"r{i}" for i in range(64)], "params": N, "tokens": D, "flops": 6 * N * D}
    return pl.DataFrame({**table, "loss": loss}).filter(pl.col("flops") < below)

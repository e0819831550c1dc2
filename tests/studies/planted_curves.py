"""Ladders whose trunks obey L(N, S_min), with noise along the curves that remembers itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from planted import BATCH, Law, ladder, noise_of

from scalelab.studies.evidence import Evidence, Run

CRITICAL = {"B_star": 40_000.0, "alpha_B": 0.21}


def steps_law(
    alpha_n: float = 0.077,
    alpha_s: float = 0.76,
    *,
    n_c: float = 2e7,
    s_c: float = 150.0,
    batch: int = BATCH,
    exponent_of: Callable[[float], float] | None = None,
) -> Law:
    """L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S as a function of N and tokens, by bisection.

    S_min = S / (1 + B_crit(L) / batch) with CRITICAL. exponent_of: alpha_S of each N, else one.
    """

    def loss(n: float, d: float) -> float:
        alpha = alpha_s if exponent_of is None else exponent_of(n)
        floor = (n_c / n) ** alpha_n
        low, high = floor, floor + 20.0
        for _ in range(60):
            middle = (low + high) / 2
            b_crit = CRITICAL["B_star"] / middle ** (1 / CRITICAL["alpha_B"])
            steps_min = d / batch / (1 + b_crit / batch)
            if floor + (s_c / steps_min) ** alpha > middle:
                low = middle
            else:
                high = middle
        return high

    return loss


def trunks(law: Law, *, noise: float = 0.001, seed: int = 0, **more: Any) -> list[Run]:
    """A ladder with curves of 24 points; noise of a point is .7 that of the one before it."""
    generator = np.random.default_rng([seed, 1])
    found = []
    for run in ladder(law, constant=1.0, seed=seed, **more):
        luck, now = [], 0.0
        for _ in range(len(run.curve)):
            now = 0.7 * now + (1 - 0.49) ** 0.5 * noise * generator.standard_normal()
            luck.append(now)
        curve = run.curve.with_columns(pl.col("loss") * pl.Series(np.exp(luck)))
        found.append(replace(run, curve=curve))
    return found


def with_noise_scale(
    runs: list[Run], law: Callable[[float], float] | None = None, seed: int = 0
) -> list[Run]:
    """The same, their trunks with samples of a noise scale that is a law of their loss: CRITICAL.

    So the critical batch is measured at the losses of the ladder, and S_min with it.
    """
    batch = law or (lambda loss: CRITICAL["B_star"] / loss ** (1 / CRITICAL["alpha_B"]))
    found = []
    for number, run in enumerate(runs):
        steps = np.log(run.curve["step"].to_numpy().astype(float))
        losses = np.log(run.curve["loss"].to_numpy())

        def scale(step: int, steps: Any = steps, losses: Any = losses) -> float:
            return batch(float(np.exp(np.interp(np.log(step), steps, losses))))

        kept = run.spec.kind == "trunk"
        found.append(
            replace(run, noise=noise_of(run.spec, scale, seed=seed + number)) if kept else run
        )
    return found


def evidence(runs: list[Run], **more: Any) -> Evidence:
    """What a design without runs of its own sees."""
    given: dict[str, Any] = {"critical_batch": CRITICAL} | more
    return Evidence(own=(), ladder=runs, everything=runs, **given)

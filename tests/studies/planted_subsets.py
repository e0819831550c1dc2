"""Runs on data sets of fixed size under a planted law, their held-out loss turning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from planted import Law, curve_of, finished

from scalelab.studies.evidence import Run
from scalelab.training.spec import TrainSpec


def turning(
    specs: Sequence[TrainSpec],
    law: Law,
    *,
    noise: float = 0.002,
    seed: int = 0,
    turn: Callable[[TrainSpec], float] = lambda spec: spec.last_step / 3,
    stop: bool = True,
) -> list[Run]:
    """Runs whose loss is law(N, unique_tokens) where it is lowest, at step `turn`, and higher
    before and after; they end at 1.6 times that step, or (not stop) before it."""
    generator = np.random.default_rng(seed)
    runs = []
    for spec in specs:
        run = finished(spec, 1.0)
        least = law(run.params, spec.unique_tokens) * np.exp(noise * generator.standard_normal())
        at = max(1, round(turn(spec)))
        place = at * spec.batch_tokens

        def loss(tokens: float, least: float = least, place: float = place) -> float:
            return float(least * (1 + 0.1 * np.log(tokens / place) ** 2))

        last = round(1.6 * at) if stop else max(1, at // 2)
        steps = sorted({*np.geomspace(max(1, at / 50), last, 40).round().astype(int).tolist()})
        steps = sorted({*steps, at} if stop else steps)
        curve = curve_of(replace(spec, stop_step=last), loss, points=3).clear()
        rows = {
            "step": steps,
            "tokens": [s * spec.batch_tokens for s in steps],
            "flops": [float(s) for s in steps],
            "loss": [loss(s * spec.batch_tokens) for s in steps],
            "lr": [spec.lr] * len(steps),
        }
        curve = type(curve)(rows, schema=curve.schema)
        runs.append(finished(spec, min(rows["loss"]), curve, tokens=last * spec.batch_tokens))
    return runs

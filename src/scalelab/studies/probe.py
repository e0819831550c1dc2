"""Short runs that decide what a ladder must know: speed, batch, learning rate.

At small scale the habits of large models fail: the best rate of a model of width 32 is a hundred
times that of a large one, and a batch of 4,096 tokens is already too large. So each is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.counting import TransformerShape
from scalelab.errors import TrainingError
from scalelab.execution.execute import Job, Observer, execute
from scalelab.execution.pool import Pool
from scalelab.execution.study import result
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec

LR_AT_WIDTH_64 = 4e-3
"""Where the search for the learning rate starts, times 64 / d_model. (measured: docs/LOG.md)"""

NOISE_PER_BATCH = 4.0
"""The batch is the noise scale over this, so that few steps are lost to averaging what needs no
averaging; at B = B_noise / 4 a run needs 25% more tokens than at B -> 0 by McCandlish et al. 2018,
equation 2.11, and is short of steps at twice that. (measured: docs/LOG.md)"""


def first_guess(shape: TransformerShape) -> float:
    """The learning rate that the probe begins with: inverse in the width (Yang et al. 2022)."""
    return LR_AT_WIDTH_64 * 64 / shape.d_model


def _name(shape: TransformerShape, batch_tokens: int) -> str:
    # Depth and heads follow from the largest width that is looked at: one width has several.
    return f"w{shape.d_model}-l{shape.n_layer}-h{shape.n_head}-b{batch_tokens}"


def measure_speeds(
    study: Path,
    shapes: Sequence[TransformerShape],
    corpus: str,
    batch_tokens: int,
    seconds: float,
    pool: Pool,
    observer: Observer,
) -> dict[int, float]:
    """Tokens per second of one process by width, all processes busy."""
    jobs = [
        Job(
            TrainSpec(
                run=f"speed-{_name(shape, batch_tokens)}",
                shape=shape,
                corpus=corpus,
                batch_tokens=batch_tokens,
                steps=1_000_000,
                lr=1e-3,
                noise_every=0,
                kind="speed",
            ),
            seconds,
        )
        for shape in shapes
    ]
    run_all(study, jobs, pool, observer)
    return {job.spec.shape.d_model: outcome(study, job.spec)["tokens_per_second"] for job in jobs}


def measure_noise_scale(
    study: Path,
    shape: TransformerShape,
    corpus: str,
    batch_tokens: int,
    tokens: int,
    speed: float,
    pool: Pool,
    observer: Observer,
) -> float | None:
    """The gradient noise scale in tokens, over the second half of a short run at constant rate."""
    spec = TrainSpec(
        run=f"noise-{_name(shape, batch_tokens)}",
        shape=shape,
        corpus=corpus,
        batch_tokens=batch_tokens,
        steps=max(100, tokens // batch_tokens),
        lr=first_guess(shape) / 2,
        schedule="constant",
        noise_every=4,
        noise_parts=8,
        curve_points=0,
        eval_tokens=8 * shape.context,
    )
    run_all(study, [Job(spec, tokens / speed)], pool, observer)
    value: float | None = outcome(study, spec)["noise_scale"]
    return value


def choose_batch(noise: float | None, shape: TransformerShape, least: int, most: int) -> int:
    """The power of two times the context nearest below noise / NOISE_PER_BATCH, within bounds.

    least, most: tokens. An unmeasurable noise scale (None) gives the least.
    """
    batch = least
    while batch * 2 <= most and noise is not None and batch * 2 <= noise / NOISE_PER_BATCH * 1.5:
        batch *= 2
    return max(batch, shape.context)


def probe_learning_rates(
    study: Path,
    shapes: Sequence[TransformerShape],
    corpus: str,
    batch_tokens: int,
    tokens: int,
    speeds: Mapping[int, float],
    seed: int,
    pool: Pool,
    observer: Observer,
) -> dict[int, list[tuple[float, float | None]]]:
    """Final losses of short runs at rates that bracket the best, by width: [(lr, loss), ...].

    The search begins at the first guess of each; see `bracket`.
    """
    specs = [_short(shape, corpus, batch_tokens, tokens, seed) for shape in shapes]
    found = bracket(study, specs, [speeds[s.d_model] for s in shapes], pool, observer)
    return {shape.d_model: tried for shape, tried in zip(shapes, found, strict=True)}


def bracket(
    study: Path,
    specs: Sequence[TrainSpec],
    speeds: Sequence[float],
    pool: Pool,
    observer: Observer,
) -> list[list[tuple[float, float | None]]]:
    """Final losses of each short run at rates that bracket its best: [(lr, loss), ...] each.

    specs: their `lr` is where the search begins, their id the beginning of the probes' ids. Rates
    are powers of two times that; the search goes on while the best is at an end, for at most four
    more. A diverged run has loss None. speeds: tokens per second of each.
    """
    tried: list[dict[int, float | None]] = [{} for _ in specs]
    wanted = [[-1, 0, 1] for _ in specs]
    for _round in range(5):
        probes = [
            [_at_power(spec, power) for power in powers]
            for spec, powers in zip(specs, wanted, strict=True)
        ]
        jobs = [
            Job(probe, probe.tokens / speed)
            for each, speed in zip(probes, speeds, strict=True)
            for probe in each
        ]
        run_all(study, jobs, pool, observer)
        for i, each in enumerate(probes):
            for power, probe in zip(wanted[i], each, strict=True):
                ended = outcome(study, probe)
                finished = ended["status"] == "finished"
                tried[i][power] = ended["loss"] if finished else None
            wanted[i] = _next_powers(tried[i])
        if not any(wanted):
            break
    return [
        [(spec.lr * 2.0**power, loss) for power, loss in sorted(each.items())]
        for spec, each in zip(specs, tried, strict=True)
    ]


def _at_power(spec: TrainSpec, power: int) -> TrainSpec:
    return replace(spec, run=f"{spec.run}-p{power:+d}", lr=spec.lr * 2.0**power)


def _next_powers(tried: Mapping[int, float | None]) -> list[int]:
    done = {power: loss for power, loss in tried.items() if loss is not None}
    if not done:
        return [min(tried) - 2, min(tried) - 1]
    best = min(done, key=lambda power: done[power])
    if best == min(tried):
        return [best - 1]
    if best == max(tried):
        return [best + 1]
    return []


def _short(
    shape: TransformerShape, corpus: str, batch_tokens: int, tokens: int, seed: int
) -> TrainSpec:
    steps = max(40, tokens // batch_tokens)
    return TrainSpec(
        run=f"lr-{_name(shape, batch_tokens)}-t{steps * batch_tokens}",
        shape=shape,
        corpus=corpus,
        batch_tokens=batch_tokens,
        steps=steps,
        lr=first_guess(shape),
        warmup_steps=max(10, steps // 10),
        noise_every=0,
        curve_points=0,
        eval_tokens=32_768,
        seed=seed,
    )


def best_rate(tried: Sequence[tuple[float, float | None]]) -> float:
    """The rate at the least loss: of a parabola in log lr through the best and its neighbours."""
    points = [(math.log(lr), loss) for lr, loss in tried if loss is not None]
    if not points:
        raise TrainingError(
            "every probe of the learning rate diverged; is the text anything but noise?"
        )
    best = min(range(len(points)), key=lambda i: points[i][1])
    if 0 < best < len(points) - 1:
        x, y = zip(*points[best - 1 : best + 2], strict=True)
        curvature, slope, _ = np.polyfit(np.array(x) - x[1], y, 2)
        if curvature > 0:
            return math.exp(
                x[1] + float(np.clip(-slope / (2 * curvature), x[0] - x[1], x[2] - x[1]))
            )
    return math.exp(points[best][0])


def rate_law(best: Mapping[int, tuple[TransformerShape, float]]) -> tuple[float, float]:
    """lr = exp(intercept) N^slope, by least squares in logs through the best rates probed."""
    sizes = np.log([size_of(shape) for shape, _ in best.values()])
    rates = np.log([rate for _, rate in best.values()])
    slope, intercept = np.polyfit(sizes, rates, 1)
    return float(intercept), float(slope)


def run_all(study: Path, jobs: Sequence[Job], pool: Pool, observer: Observer) -> None:
    """Train measurements; TrainingError names one that failed."""
    failures = execute(study, jobs, pool, observer)
    if failures:
        run, reason = next(iter(failures.items()))
        raise TrainingError(f"the measurement {run} failed: {reason}")


def outcome(study: Path, spec: TrainSpec) -> dict[str, Any]:
    """The result of a measurement."""
    values = result(study, spec)
    if values is None:
        raise TrainingError(
            f"the measurement {spec.run} left no result; run the same command again."
        )
    return values

"""Benches whose machine is planted: its speed and its best learning rates are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from planted import BATCH, finished
from planted import FAMILY as ANY_DEPTH

from scalelab.counting import Shape, flops_per_token
from scalelab.studies.design import Bench
from scalelab.studies.evidence import Run
from scalelab.studies.ladder import LadderSpec, Rung, build
from scalelab.studies.sizes import Family, rungs, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget

FAMILY = Family(context=128, vocabulary=256).up_to(224)
SIZES = rungs(224, FAMILY, 8, 320.0)
RATE = 4.0  # best rate of every shape, over its N^-.5
COST = 1.3e-10  # seconds of one process for a parameter and a token, about that of a CPU core


class PlantedGauge:
    """Time as the parameters plus a part that does not depend on them; the best rate is known."""

    def __init__(self) -> None:
        self.asked: list[TrainSpec] = []

    def speed(self, shape: Shape, _batch_tokens: int, _unroll: int) -> float:
        return 1 / (COST * (size_of(cast(Any, shape)) + 2e4 * shape.n_layer))

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        self.asked += specs
        return [RATE / size_of(cast(Any, spec.shape)) ** 0.5 for spec in specs]


def replicates(noise: float, count: int = 12) -> list[Run]:
    """Runs that differ in their seed, with that standard deviation of log loss, all but exactly."""
    one = bench()
    generator = np.random.default_rng(3)
    luck = generator.standard_normal(count)
    luck *= noise / luck.std(ddof=1)
    return [
        finished(one.spec(f"replicate-{seed}", SIZES[2], 1e6, seed=seed), float(2 * np.exp(move)))
        for seed, move in enumerate(luck)
    ]


def with_positions(
    run: Run, law: Callable[[Any], Any], text: Any, noise: float = 0.0, seed: int = 0
) -> Run:
    """The run with losses by position T = 1, 2, ...: law(T) + text + noise, text shared by runs."""
    place = np.arange(1, run.spec.shape.context + 1, dtype=float)
    own = noise * np.random.default_rng([seed, run.params]).standard_normal(len(place))
    return replace(run, positions=law(place) + text + own)


def bench(
    amount: float = 240.0, unit: Any = "seconds", tokens: int = 10**8, bytes_per_token: float = 1.0
) -> Bench:
    """Two processes, a ladder of eight sizes that was measured but is not part of the study."""
    gauge = PlantedGauge()
    corpus = SimpleNamespace(
        folder="corpus", train=SimpleNamespace(tokens=tokens), bytes_per_token=bytes_per_token
    )
    return Bench(
        corpus=cast(Any, corpus),
        family=FAMILY,
        sizes=SIZES,
        rates=[RATE / size_of(shape) ** 0.5 for shape in SIZES],
        speeds=[gauge.speed(shape, 0, 0) for shape in SIZES],
        ladder=None,
        batch_tokens=512,
        allowance=Budget(unit, amount),
        workers=2,
        seed=5,
        gauge=gauge,
    )


def speed_of(shape: Shape) -> float:
    """Tokens per second: 20 GFLOP/s, a fixed cost per token besides."""
    return 1 / (flops_per_token(shape) / 2e10 + 2e-6)


class LadderGauge:
    """A machine that is as fast as `speed_of` says; the best rate is .1 / d_model."""

    def speed(self, shape: Shape, batch_tokens: int, unroll: int) -> float:  # noqa: ARG002
        return speed_of(shape)

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        return [0.1 / spec.shape.d_model for spec in specs]


def planted_bench(
    amount: float,
    unit: Any = "seconds",
    *,
    corpus_tokens: int = 100_000_000,
    steps: int = 9600,
    sizes: int = 8,
) -> Bench:
    """A bench with the ladder of `planted.ladder` and an allowance."""
    family = ANY_DEPTH.up_to(224)
    shapes: Sequence[Any] = rungs(224, family, sizes, 320.0)
    rates = [0.3 * size_of(shape) ** -0.4 for shape in shapes]
    speeds = [speed_of(shape) for shape in shapes]
    spec = LadderSpec("corpus", corpus_tokens, BATCH, 4, 0, 2)
    each = zip(shapes, speeds, rates, strict=True)
    return Bench(
        corpus=SimpleNamespace(  # type: ignore[arg-type]
            folder=Path("corpus"), train=SimpleNamespace(tokens=corpus_tokens)
        ),
        family=family,
        sizes=shapes,
        rates=rates,
        speeds=speeds,
        ladder=build([Rung(*one) for one in each], steps, spec),
        batch_tokens=BATCH,
        allowance=Budget(unit, amount),
        workers=2,
        seed=0,
        gauge=LadderGauge(),
    )

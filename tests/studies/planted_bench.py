"""A bench as a study of a known machine would have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from planted import BATCH, FAMILY

from scalelab.counting import Shape, flops_per_token
from scalelab.studies.design import Bench
from scalelab.studies.ladder import LadderSpec, Rung, build
from scalelab.studies.sizes import rungs, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget


def speed_of(shape: Shape) -> float:
    """Tokens per second: 20 GFLOP/s, a fixed cost per token besides."""
    return 1 / (flops_per_token(shape) / 2e10 + 2e-6)


class PlantedGauge:
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
    family = FAMILY.up_to(224)
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
        gauge=PlantedGauge(),
    )

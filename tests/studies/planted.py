"""Planted studies: runs as a lab would leave them, with a known truth and known noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from scalelab.counting import Shape, count_parameters, flops_per_token
from scalelab.studies.evidence import CURVE_SCHEMA, NOISE_SCHEMA, Run
from scalelab.studies.ladder import LadderSpec, Rung, build
from scalelab.studies.sizes import Family, rungs
from scalelab.training.milestones import log_spaced
from scalelab.training.spec import TrainSpec

Law = Callable[[float, float], float]
"""(N, D) -> loss in nats per token."""

FAMILY = Family(context=128, vocabulary=256)
BATCH = 1024


def kaplan(
    alpha_n: float = 0.076,
    alpha_d: float = 0.103,
    n_c: float = 2e6,
    d_c: float = 3e6,
) -> Law:
    """L(N, D) of Kaplan et al. 2020 with scales that suit byte tokens."""
    return lambda n, d: float(((n_c / n) ** (alpha_n / alpha_d) + d_c / d) ** alpha_d)


def chinchilla(
    e: float = 0.8, a: float = 6.0, b: float = 60.0, alpha: float = 0.22, beta: float = 0.33
) -> Law:
    """E + A / N^alpha + B / D^beta."""
    return lambda n, d: e + a / n**alpha + b / d**beta


def finished(spec: TrainSpec, loss: float, curve: pl.DataFrame | None = None, **more: Any) -> Run:
    """A run that has ended with that loss. more: columns of its result, such as loss.NAME."""
    count = count_parameters(spec.shape)
    result = {
        "run": spec.run,
        "status": "finished",
        "params": count.non_embedding,
        **{f"params_{part}": number for part, number in count.to_dict().items()},
        "n_layer": spec.shape.n_layer,
        "d_model": spec.shape.d_model,
        "context": spec.shape.context,
        "vocabulary": spec.shape.vocabulary,
        "tokens": spec.tokens,
        "unique_tokens": spec.unique_tokens or spec.tokens,
        "flops": flops_per_token(spec.shape) * spec.tokens,
        "batch_tokens": spec.batch_tokens,
        "steps": spec.last_step,
        "lr": spec.lr,
        "schedule": spec.schedule,
        "seed": spec.seed,
        "trunk": spec.trunk or spec.run,
        "loss": None if spec.kind == "trunk" else loss,
        "bytes_per_token": 1.0,
        "tokenizer": "bytes",
    } | more
    return Run(spec, result, pl.DataFrame(schema=CURVE_SCHEMA) if curve is None else curve)


def curve_of(spec: TrainSpec, loss: Callable[[float], float], points: int = 24) -> pl.DataFrame:
    """Evaluations along a run: loss is a function of tokens."""
    steps = log_spaced(spec.last_step, points)
    tokens = [step * spec.batch_tokens for step in steps]
    return pl.DataFrame(
        {
            "step": steps,
            "tokens": tokens,
            "flops": [flops_per_token(spec.shape) * t for t in tokens],
            "loss": [loss(float(t)) for t in tokens],
            "lr": [spec.lr] * len(steps),
        },
        schema=CURVE_SCHEMA,
    )


def noise_of(spec: TrainSpec, critical: Callable[[int], float], seed: int = 0) -> pl.DataFrame:
    """Samples of |G|^2 and tr(Sigma) whose ratio is `critical` (tokens) of the step, 20% noise."""
    generator = np.random.default_rng(seed)
    steps = list(range(64, spec.last_step + 1, 64))
    signal = np.exp(0.2 * generator.standard_normal(len(steps)))
    noise = [critical(step) * np.exp(0.2 * generator.standard_normal()) for step in steps]
    return pl.DataFrame({"step": steps, "signal": signal, "noise": noise}, schema=NOISE_SCHEMA)


def ladder(
    law: Law,
    *,
    constant: float = 1.04,
    noise: float = 0.002,
    shared: float = 0.002,
    seed: int = 0,
    largest: int = 224,
    sizes: int = 8,
    data_sizes: int = 4,
    steps: int = 9600,
    span: float = 320.0,
    more: Callable[[Shape, float], dict[str, Any]] | None = None,
) -> list[Run]:
    """Trunks and branches of a ladder under a law, as `Evidence.ladder` holds them.

    law: of final losses. constant: the loss at constant rate over the decayed one of equal D.
    noise, shared: standard deviations of log loss of each run, and shared by a trunk's runs.
    more: (shape, loss) -> further columns of a result.
    """
    generator = np.random.default_rng(seed)
    shapes: Sequence[Any] = rungs(largest, FAMILY.up_to(largest), sizes, span)
    spec = LadderSpec("corpus", 100_000_000, BATCH, data_sizes, 0, 2)
    jobs = build([Rung(shape, 1e5, 1e-3) for shape in shapes], steps, spec).jobs
    luck = {shape: float(np.exp(shared * generator.standard_normal())) for shape in shapes}
    runs = []
    for job in jobs:
        shape = job.spec.shape
        n = count_parameters(shape).non_embedding

        def at(d: float, n: int = n, factor: float = luck[shape]) -> float:
            return law(n, d) * factor

        loss = at(job.spec.tokens) * float(np.exp(noise * generator.standard_normal()))
        curve = curve_of(job.spec, lambda d, at=at: constant * at(d))  # type: ignore[misc]
        runs.append(finished(job.spec, loss, curve, **(more(shape, loss) if more else {})))
    return runs

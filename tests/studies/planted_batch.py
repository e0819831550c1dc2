"""A bench to plan on, and runs of several batches that obey equation 5.1, with known noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
from planted import BATCH, FAMILY, finished, kaplan, ladder, noise_of

from scalelab.counting import flops_per_token
from scalelab.studies.batch_plan import plan
from scalelab.studies.design import Bench
from scalelab.studies.evidence import CURVE_SCHEMA, Run
from scalelab.studies.ladder import LadderSpec, Rung, build
from scalelab.studies.sizes import rungs
from scalelab.training.milestones import log_spaced
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget

Critical = Callable[[float], float]
"""Loss -> critical batch, tokens."""


class FixedGauge:
    """Speeds that fall as models grow; small batches are slower; rates are as given."""

    def speed(self, shape: Any, batch_tokens: int, _unroll: int) -> float:
        return 3.3e10 / flops_per_token(shape) * min(1.0, (batch_tokens / BATCH) ** 0.5)

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        return [spec.lr for spec in specs]


def bench(
    minutes: float = 5.0, *, sizes: int = 8, corpus_tokens: int = 10**9, unit: str = "seconds"
) -> Bench:
    """Two processes, a ladder of sizes up to width 224, an allowance in minutes (or 1e13 FLOP)."""
    shapes = rungs(224, FAMILY.up_to(224), sizes, 320.0)
    gauge = FixedGauge()
    speeds = [gauge.speed(shape, BATCH, 0) for shape in shapes]
    steps = [Rung(shape, speed, 4e-3) for shape, speed in zip(shapes, speeds, strict=True)]
    corpus = SimpleNamespace(folder="corpus", train=SimpleNamespace(tokens=corpus_tokens))
    return Bench(
        corpus=cast(Any, corpus),
        family=FAMILY,
        sizes=shapes,
        rates=[4e-3] * len(shapes),
        speeds=speeds,
        ladder=build(steps, 2000, LadderSpec("corpus", corpus_tokens, BATCH, 4, 0, 2)),
        batch_tokens=BATCH,
        allowance=Budget(cast(Any, unit), minutes * (60.0 if unit == "seconds" else 1e13)),
        workers=2,
        seed=0,
        gauge=gauge,
    )


def critical(b_star: float, alpha_b: float) -> Critical:
    """B_crit(L) = B_star / L^(1/alpha_B)."""
    return lambda loss: b_star / loss ** (1 / alpha_b)


def losses_by_batch(
    steps: Sequence[float], batch: float, start: tuple[float, float], law: Critical
) -> list[float]:
    """Losses after steps of a batch: dL/dE_min = dL/dE (1 + B / B_crit(L)), by small steps.

    The learning curve of a batch far below the critical one is L = 1.2 + 20 / E_min^.24. One token
    at batch B is worth 1 / (1 + B / B_crit(L)) of one there: equation 5.1 made local.
    start: (tokens processed, E_min) before the first step.
    """
    tokens, least = start
    ends = np.asarray(steps, dtype=float) * batch
    found = []
    for end in ends:
        ratio = max(end, 1.0) / max(tokens, 1.0)
        count = 2 + int(60 * np.log(max(ratio, 1.0)))
        pieces = np.geomspace(max(tokens, 1.0), max(end, 1.0), count) if end > tokens else []
        for before, after in pairwise(pieces):
            loss = curve(least)
            least += (after - before) / (1 + batch / law(loss))
        tokens = max(tokens, end)
        found.append(curve(least))
    return found


def curve(least: float) -> float:
    """The learning curve of a small batch: tokens -> loss."""
    return 1.2 + 20 / max(least, 200.0) ** 0.24


def losses_to_fixed(steps: Sequence[float], batch: float, law: Critical) -> list[float]:
    """Losses after steps of a batch from the start, by equation 5.1 as the paper has it.

    The tokens to a loss are E_min(L) (1 + B / B_crit(L)), all the way from the first step.
    """
    grid = np.linspace(12.0, 1.25, 4000)
    tokens = np.array([(20 / (x - 1.2)) ** (1 / 0.24) * (1 + batch / law(x)) for x in grid])
    return [float(x) for x in np.interp(np.array(steps) * batch, tokens, grid)]


def batch_runs(
    law: Critical,
    *,
    minutes: float = 5.0,
    noise: float = 0.001,
    luck: float = 0.002,
    seed: int = 0,
    local: bool = False,
) -> list[Run]:
    """What the design critical-batch asks for on `bench`, as if trained under equation 5.1.

    noise: of every evaluation, luck: of a whole run (standard deviations of log loss). The second
    rate is the best one; the others lose a tenth of their steps. local: the law is that of the
    moment, for the sweep too; branches always obey it.
    """
    generator = np.random.default_rng(seed)
    runs: list[Run] = []
    trunk_least: dict[tuple[str, int], float] = {}
    for job in plan(bench(minutes)).jobs:
        spec = job.spec
        steps = [s for s in log_spaced(spec.last_step, spec.curve_points) if s > spec.fork_step]
        start = (0.0, 0.0)
        if spec.trunk is not None:
            forked = spec.fork_step * spec.batch_tokens
            start = (float(forked), trunk_least[spec.trunk, forked])
        slow = 1.0 if spec.run.endswith("r1") or "sweep" not in spec.run else 0.9
        at = [step * slow for step in steps]
        if local or "sweep" not in spec.run:
            losses = losses_by_batch(at, spec.batch_tokens, start, law)
        else:
            losses = losses_to_fixed(at, spec.batch_tokens, law)
        for fork in spec.fork_steps:
            loss = losses_by_batch([fork], spec.batch_tokens, (0.0, 0.0), law)[0]
            trunk_least[spec.run, fork * spec.batch_tokens] = (20 / (loss - 1.2)) ** (1 / 0.24)
        own = float(np.exp(luck * generator.standard_normal()))
        measured = [
            loss * own * float(np.exp(noise * generator.standard_normal())) for loss in losses
        ]
        tokens = [step * spec.batch_tokens for step in steps]
        table = pl.DataFrame(
            {
                "step": steps,
                "tokens": tokens,
                "flops": [flops_per_token(spec.shape) * t for t in tokens],
                "loss": measured,
                "lr": [spec.lr] * len(steps),
            },
            schema=CURVE_SCHEMA,
        )
        if spec.trunk is not None:
            before = next(run.curve for run in runs if run.spec.run == spec.trunk)
            table = pl.concat([before.filter(pl.col("tokens") <= start[0]), table])
        runs.append(finished(spec, measured[-1], table))
    return runs


def noisy_ladder(
    batch: Critical, *, size_exponent: float = 0.0, factor: float = 1.0, seed: int = 0, **more: Any
) -> list[Run]:
    """A ladder under Kaplan's law (or `law`); its noise scale is batch(loss) N^exponent."""
    found = []
    for number, run in enumerate(ladder(more.pop("law", kaplan()), seed=seed, **more)):
        steps = np.log(run.curve["step"].to_numpy().astype(float))
        losses = np.log(run.curve["loss"].to_numpy())

        def scale(step: int, run: Run = run, steps: Any = steps, losses: Any = losses) -> float:
            loss = float(np.exp(np.interp(np.log(step), steps, losses)))
            return factor * batch(loss) * (run.params / 1e5) ** size_exponent

        found.append(replace(run, noise=noise_of(run.spec, scale, seed=seed + number)))
    return found

"""Porian et al.'s walk from Kaplan's exponent of N_opt to Chinchilla's, each step a switch.

Source: Porian et al. 2024, "Resolving discrepancies in compute-optimal scaling of language models"
(arXiv 2406.19146), figure 1: .835 with the recipe of Kaplan et al. 2020, .706 with the output
layer's FLOP counted, .602 with a warm-up short enough for small models, .571 with a cosine to the
right length, .497 with a tuned optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.studies.analysis.conventions import Growth, fit_counted, growth
from scalelab.studies.design import Bench
from scalelab.studies.evidence import Run, table
from scalelab.studies.sizes import size_of
from scalelab.units import format_count

if TYPE_CHECKING:
    from scalelab.training.spec import TrainSpec

SIZES = 7
"""The law of N alone has three parameters. The small sizes cost next to nothing."""

LEVELS = 4
"""Data sizes, each half of the next."""

TOKENS_PER_PARAMETER = 30.0
"""Of the largest size at its largest data size: the frontier, about 10 for bytes (measured:
docs/LOG.md), lies inside, and an eighth of it is still some hundred steps."""

LEFT_OUT = 3
"""The ladder's largest sizes, which the walk could not train on enough tokens."""

LONG_WARMUP = 0.25
"""Of the longest run, for all: at the smallest data size the warm-up has then not even ended."""
SHORT_WARMUP = 0.02

LEAST_SHARE = 0.9 / 2 ** (LEVELS - 1)
"""Of the longest run from which on a curve is read as if it ended there."""


@dataclass(frozen=True)
class Step:
    """A step of the walk: what it mends, the exponent in the paper, and how C and N are counted."""

    name: str
    title: str
    paper: float
    params: str
    flops: str


STEPS = (
    Step("kaplan", "Kaplan's recipe", 0.835, "matrices", "6N"),
    Step("output-layer", "output layer counted", 0.706, "with-output", "6N"),
    Step("warm-up", "short warm-up", 0.602, "with-output", "6N"),
    Step("cosine", "cosine of the right length", 0.571, "with-output", "6N"),
    Step("tuned", "rate tuned to the size", 0.497, "with-output", "6N"),
)


def walk_jobs(bench: Bench, design: str) -> list[Job]:
    """Every run of the walk; steps share runs where the switch changes nothing.

    Cosines, at one learning rate for all sizes until the last step: that of the largest size. The
    first two steps and the third read curves along one run a size as if it had ended there.
    """
    shapes = walk_shapes(bench)
    longest = TOKENS_PER_PARAMETER * size_of(shapes[-1])
    longest = min(longest, float(bench.corpus.train.tokens))
    rate = bench.rate(shapes[-1])
    found: list[Job] = []
    for shape in shapes:
        name = f"{design}-walk-n{format_count(size_of(shape))}"
        found.append(_job(bench, f"{name}-long-warmup", shape, longest, rate, LONG_WARMUP))
        for k in range(LEVELS):
            tokens = longest / 2**k
            short = f"{name}-d{format_count(tokens)}"
            found.append(_job(bench, short, shape, tokens, rate, SHORT_WARMUP))
            if shape != shapes[-1]:
                own = bench.rate(shape)
                found.append(_job(bench, f"{short}-tuned", shape, tokens, own, SHORT_WARMUP))
    return found


def walk_shapes(bench: Bench) -> list[TransformerShape]:
    """Sizes evenly spread over the ladder's lower part: small enough for many tokens each."""
    top = bench.sizes[max(0, len(bench.sizes) - 1 - LEFT_OUT)]
    wanted = np.geomspace(size_of(bench.sizes[0]), size_of(top), SIZES)
    return sorted({bench.shape(size) for size in wanted}, key=size_of)


def _job(
    bench: Bench, run: str, shape: TransformerShape, tokens: float, lr: float, warmup: float
) -> Job:
    spec = bench.spec(run, shape, tokens, schedule="cosine", lr=lr, noise_every=0, curve_points=24)
    spec = replace(spec, warmup_steps=max(4, round(warmup * spec.steps)))
    return bench.job(spec, "Porian's walk from Kaplan's to Chinchilla's exponent")


def is_walk(spec: TrainSpec) -> bool:
    """Whether a run is one of the walk's: no other of its design decays as a cosine."""
    return spec.schedule == "cosine"


def walk(runs: Sequence[Run], level: float, seed: int) -> dict[str, Growth]:
    """The exponent at each step that the finished runs allow, in order."""
    done = [run for run in runs if is_walk(run.spec) and run.finished]
    long = [run for run in done if run.spec.warmup_steps > 0.5 * LONG_WARMUP * run.spec.steps]
    if not long:
        return {}
    rate, most = long[0].spec.lr, max(run.spec.steps for run in long)
    largest = max(run.params for run in done)
    short = [run for run in done if run not in long]
    common = [run for run in short if run.spec.lr == rate]
    tuned = [run for run in short if run.spec.lr != rate or run.params == largest]
    sets = {
        "kaplan": _along(long),
        "output-layer": _along(long),
        "warm-up": _along([run for run in common if run.spec.steps == most]),
        "cosine": table(common),
        "tuned": table(tuned),
    }
    found = {}
    for step in STEPS:
        frame = sets[step.name]
        shapes = [run.spec.shape for run in done if isinstance(run.spec.shape, TransformerShape)]
        # Chinchilla's form: seven sizes do not tell how size and data hide each other.
        fitted = fit_counted(frame, step.params, level, seed, "chinchilla")
        one = growth(fitted, frame, shapes, step.params, step.flops)
        if one is not None:
            found[step.name] = one
    return found


def _along(runs: Sequence[Run]) -> pl.DataFrame:
    """Rows of a run table for each late evaluation of the runs, as if they had ended there."""
    frames = []
    for run in runs:
        whole = table([run])
        late = run.curve.filter(
            (pl.col("tokens") >= LEAST_SHARE * run.spec.tokens) & pl.col("loss").is_finite()
        )
        rest = whole.drop("run", "tokens", "loss", "trunk")
        frames.append(
            late.select(
                pl.format("{}@{}", pl.lit(run.spec.run), "step").alias("run"),
                "tokens",
                "loss",
                pl.lit(run.spec.run).alias("trunk"),
            ).join(rest, how="cross")
        )
    return pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()

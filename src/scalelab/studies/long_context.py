"""Runs with a long context, at several sizes: Transformers, and recurrent networks beside them.

The designs `recurrent` and `context` look at the same Transformers: whichever is planned first
makes them, and the other asks for the very same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalelab.counting import RecurrentShape, Shape, TransformerShape
from scalelab.counting.shape import Cell
from scalelab.execution.execute import Job
from scalelab.studies.design import Bench
from scalelab.studies.evidence import Run
from scalelab.studies.sizes import rungs, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget, format_count

TEXT = 1000.0
"""Bytes of text in a context. A recurrent network stops improving after about 100 BPE tokens,
400 bytes (Kaplan et al. 2020, figure 7)."""

SIZES = 5
SPAN = 32.0
"""One and a half decades of N."""

TOP_WIDTHS = (448, 320, 224, 160, 128, 96, 80, 64, 48)
"""Of the largest Transformer, two layers; the dearest that the allowance pays for is taken."""

TOKENS_PER_PARAMETER = (8.0, 40.0)
"""Of the largest size: what it gets at least, and at most."""

LEAST_TOKENS = 1e6

WINDOWS = (384, 2048)
"""Contexts that the final evaluation reads, at least and at most; between them a quarter of the
training tokens. The loss at one position is the mean over these."""

SEQUENCES = 2
"""Of a Transformer's batch: with more a run of these lengths has too few steps. (assumed)"""

UNROLL_SHARE = 8
"""A recurrent network is differentiated through the context over this: 128 bytes, rows enough to be
fast. Whether it would learn to use more of the context from longer gradients is not assumed: the
largest LSTM is trained once more with `CONTROL_SHARES`."""

CONTROL_SHARES = (1, 2)
"""Gradients of that control go through the context over the first of these that is paid for: 1,024
bytes as in Kaplan et al. 2020, section 3.2.1 ("the same dataset and context length"), or 512."""

GAUGED = (0, 2, 3)
"""Sizes whose rate is bracketed; a power law through them gives all, because single rates scatter
by a factor of 1.5 (docs/LOG.md). The largest would cost as much as the others together."""

GAUGE_STEPS = 1600
"""Fewer steps than this make the bracketing runs longer, up to twice: a recurrent network needs
some hundred steps to begin to learn. (measured: at 48 steps all rates are alike)"""

GAUGE_SHARE = 0.3
"""Of the allowance, for bracketing: 3 to 4 runs of an eighth or more of three of five sizes."""

RECURRENT_RATE = 2.5
"""Where the search for a recurrent network's rate begins, over a Transformer's of the same N.
(measured, 600k bytes of books: best .064 or more at 24k parameters, .013 at 223k)"""

LAYERS = 2
RUN = "long"


def context_of(bytes_per_token: float) -> int:
    """Tokens of about `TEXT` bytes, a power of two."""
    return int(2 ** max(5, round(math.log2(TEXT / bytes_per_token))))


def transformers(bench: Bench, top: int) -> list[TransformerShape]:
    """Sizes evenly spaced in log N up to a width, with the long context."""
    context = context_of(bench.corpus.bytes_per_token)
    family = replace(bench.family, n_layer=LAYERS, context=context)
    return list(rungs(top, family, SIZES, SPAN))


def twin(shape: TransformerShape, cell: Cell) -> RecurrentShape:
    """The recurrent network of the N nearest to a Transformer's: 8 or 6 d_model^2 for a layer."""
    per_layer = {"lstm": 8, "gru": 6}[cell]
    width = max(2, round(math.sqrt(size_of(shape) / (LAYERS * per_layer))))
    return RecurrentShape(cell, LAYERS, width, shape.context, shape.vocabulary, shape.tied)


def job(bench: Bench, shape: Shape, tokens: float, lr: float = 0.0) -> Job:
    """One run. lr: 0 for a first guess."""
    batch = SEQUENCES * shape.context
    windows = min(WINDOWS[1], max(WINDOWS[0], round(tokens / 4 / shape.context)))
    cell = shape.cell if isinstance(shape, RecurrentShape) else "transformer"
    spec = bench.spec(
        f"{RUN}-{cell}-w{shape.d_model}",
        shape,
        tokens,
        batch_tokens=batch,
        unroll=shape.context // UNROLL_SHARE if isinstance(shape, RecurrentShape) else 0,
        lr=lr or _guess(bench, shape),
        eval_tokens=windows * shape.context,
        curve_tokens=16 * shape.context,
        noise_every=0,
    )
    words = "Transformer" if cell == "transformer" else cell.upper()
    return bench.job(
        spec, f"{words} of {format_count(size_of(shape))} with a context of {shape.context}"
    )


def control(bench: Bench, short: Job, share: int) -> Job:
    """The same run with gradients through the context over `share`: same tokens, same rate."""
    unroll = short.spec.shape.context // share
    spec = replace(short.spec, run=f"{short.spec.run}-u{unroll}", unroll=unroll)
    return bench.job(
        spec, f"control: the same LSTM with gradients through {unroll} tokens of the context"
    )


def is_control(spec: TrainSpec) -> bool:
    """Whether a run has longer gradients than the recurrent networks of the ladder."""
    return spec.unroll > spec.shape.context // UNROLL_SHARE


def _guess(bench: Bench, shape: Shape) -> float:
    """A Transformer's by the ladder's law; a recurrent network wants several times as much."""
    return bench.rate(shape) * (RECURRENT_RATE if isinstance(shape, RecurrentShape) else 1.0)


def tuned(bench: Bench, shapes: Sequence[Shape], tokens: float) -> list[Job]:
    """Runs of one family at their best rates: a power law in N through those of `GAUGED` sizes."""
    gauged = [shapes[i] for i in GAUGED if i < len(shapes)]
    steps = job(bench, shapes[0], tokens).spec.steps
    longer = min(2.0, max(1.0, GAUGE_STEPS / steps))
    found = bench.gauge.rates([job(bench, shape, longer * tokens).spec for shape in gauged])
    sizes = np.log([size_of(shape) for shape in gauged])
    law = np.polyfit(sizes, np.log(found), 1) if len(gauged) > 1 else [0.0, math.log(found[0])]
    rates = np.exp(np.polyval(law, np.log([size_of(shape) for shape in shapes])))
    return [job(bench, s, tokens, float(rate)) for s, rate in zip(shapes, rates, strict=True)]


def spender_of(bench: Bench) -> Bench:
    """The bench with what is left of its allowance when rates have been bracketed."""
    left = bench.allowance.amount * (1 - GAUGE_SHARE)
    return replace(bench, allowance=Budget(bench.allowance.unit, left))


def largest_ladder(
    bench: Bench, cells: Sequence[Cell], *, controlled: bool = False
) -> tuple[list[TransformerShape], int] | None:
    """The Transformers and the tokens that the allowance pays for, recurrent twins included.

    cells: of the networks trained beside each. controlled: with the shortest control of the largest
    of the first cell. None where even the smallest ladder is too dear.
    """
    spender = spender_of(bench)
    for top in TOP_WIDTHS:
        shapes = transformers(bench, top)
        least, most = (size_of(shapes[-1]) * ratio for ratio in TOKENS_PER_PARAMETER)
        least = max(least, LEAST_TOKENS)
        if least > bench.corpus.train.tokens or _out_of_reach(spender, shapes, least):
            continue

        def make(tokens: int, shapes: Sequence[TransformerShape] = shapes) -> list[Job]:
            all_shapes: list[Shape] = [*shapes, *(twin(s, cell) for cell in cells for s in shapes)]
            jobs = [job(bench, shape, tokens) for shape in all_shapes]
            if controlled:
                last = job(bench, twin(shapes[-1], cells[0]), tokens)
                jobs.append(control(bench, last, CONTROL_SHARES[-1]))
            return jobs

        jobs = spender.largest(make, least, max(least, most))
        if jobs is not None:
            return shapes, jobs[0].spec.tokens
    return None


def _out_of_reach(bench: Bench, shapes: Sequence[TransformerShape], tokens: float) -> bool:
    """Whether it is too dear even at the ladder's speeds, which a long context falls short of."""
    if bench.allowance.unit != "seconds":
        return False
    sizes = np.log([size_of(shape) for shape in bench.sizes])
    own = np.log([size_of(shape) for shape in shapes])
    seconds = tokens * np.exp(np.interp(own, sizes, -np.log(bench.speeds)))
    return bool(seconds.sum() / bench.workers > bench.allowance.amount)


def planned(bench: Bench) -> list[Job]:
    """Long Transformers that another design has planned, smallest first."""
    found = [job for job in bench.planned if is_long(job.spec, "transformer")]
    return sorted(found, key=lambda job: size_of(job.spec.shape))


def is_long(spec: TrainSpec, cell: str) -> bool:
    """Whether a run is one of these: cell is lstm, gru or transformer."""
    own = spec.shape.cell if isinstance(spec.shape, RecurrentShape) else "transformer"
    return spec.run.startswith(f"{RUN}-{own}") and own == cell


def ended(runs: Sequence[Run], cell: str, *, controls: bool = False) -> list[Run]:
    """The finished runs of one family, smallest first; or their controls."""
    found = [
        run
        for run in runs
        if run.finished and is_long(run.spec, cell) and is_control(run.spec) == controls
    ]
    return sorted((run for run in found if np.isfinite(run.loss)), key=lambda run: run.params)


def has_positions(run: Run) -> bool:
    """Whether its loss at every position is known."""
    return len(run.positions) >= 32 and bool(np.isfinite(run.positions).all())

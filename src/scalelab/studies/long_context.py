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
from scalelab.studies.sizes import rungs, shape_of_width, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget, format_count

TEXT = 1000.0
"""Bytes of text in a context. A recurrent network stops improving after about 100 BPE tokens,
400 bytes (Kaplan et al. 2020, figure 7)."""

SIZES = 4
SPAN = 12.0
"""A decade of N: smaller sizes cost as much as larger ones, because of attention over the long
context, and learn less in the steps that are left. (measured: docs/LOG.md)"""

NARROWEST = 16
"""Least width, below which the span ends. (measured: 1.64M bytes of books in 800 steps left width
12 at 2.45 nats, width 16 at 2.02, twice that at 1.84)"""

TOP_WIDTHS = (448, 320, 224, 160, 128, 96, 80, 64, 48)
"""Of the largest Transformer, two layers; the dearest that the allowance pays for is taken."""

TOKENS_PER_PARAMETER = (20.0, 160.0)
"""Of the largest size: what it gets at least, and at most. With 10 no size came to use more than
the last 20 bytes of its context, 55.3k parameters not with 66 either. (measured: docs/LOG.md)"""

LEAST_TOKENS = 1e6

WINDOWS = (384, 2048)
"""Contexts that the final evaluation reads, at least and at most; between them a quarter of the
training tokens. The loss at one position is the mean over these."""

UNROLL_SHARE = 8
"""A recurrent network is differentiated through the context over this: 128 bytes, rows enough to be
fast. Whether it would learn to use more of the context from longer gradients is not assumed: the
largest LSTM is trained once more with `CONTROL_SHARES`."""

CONTROL_SHARES = (1, 2)
"""Gradients of that control go through the context over the first of these that is paid for: 1,024
bytes as in Kaplan et al. 2020, section 3.2.1 ("the same dataset and context length"), or 512."""

GAUGED = (0, 1, 2)
"""Sizes whose rate is bracketed. The largest would cost as much as the others together."""

RATE_SLOPE = -0.5
"""Of the best rate in N: inverse in the width, as along the ladder. The median over the bracketed
sizes sets the height. (measured: a slope through three sizes whose short runs had hardly begun to
learn went from .23 at 6k parameters to .0013 at 56k; docs/LOG.md)"""

GAUGE_STEPS = {"transformer": 1600, "recurrent": 3200}
"""Fewer steps than these make the bracketing runs, an eighth as long, longer, up to four times: a
recurrent network needs some hundred steps to begin to learn. (measured: after 48 steps all rates
are alike, after 200 most still are)"""

GAUGE_SHARE = 0.3
"""Of the allowance, for bracketing: 3 to 4 runs of an eighth or more of three of four sizes."""

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
    widest, narrowest = (size_of(shape_of_width(width, family)) for width in (top, NARROWEST))
    return list(rungs(top, family, SIZES, min(SPAN, widest / narrowest)))


def twin(shape: TransformerShape, cell: Cell) -> RecurrentShape:
    """The recurrent network of the N nearest to a Transformer's: 8 or 6 d_model^2 for a layer."""
    per_layer = {"lstm": 8, "gru": 6}[cell]
    width = max(2, round(math.sqrt(size_of(shape) / (LAYERS * per_layer))))
    return RecurrentShape(cell, LAYERS, width, shape.context, shape.vocabulary, shape.tied)


def job(bench: Bench, shape: Shape, tokens: float, lr: float = 0.0) -> Job:
    """One run. lr: 0 for a first guess."""
    # The ladder's batch, as far as whole contexts allow. (measured: a batch twice as large ends .03
    # nats higher at equal tokens; docs/LOG.md)
    batch = max(1, round(bench.batch_tokens / shape.context)) * shape.context
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
    """Runs of one family at their best rates: those of `GAUGED` sizes set the height of a law."""
    gauged = [shapes[i] for i in GAUGED if i < len(shapes)]
    kind = "recurrent" if isinstance(shapes[0], RecurrentShape) else "transformer"
    steps = job(bench, shapes[0], tokens).spec.steps
    longer = min(4.0, max(1.0, GAUGE_STEPS[kind] / steps))
    found = bench.gauge.rates([job(bench, shape, longer * tokens).spec for shape in gauged])
    height = np.median(np.log(found) - RATE_SLOPE * np.log([size_of(shape) for shape in gauged]))
    rates = np.exp(height + RATE_SLOPE * np.log([size_of(shape) for shape in shapes]))
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
        least, most = _tokens(shapes)
        if least > bench.corpus.train.tokens or _seconds(bench, shapes, least) > _limit(spender):
            continue

        def make(tokens: int, shapes: Sequence[TransformerShape] = shapes) -> list[Job]:
            jobs = _jobs(bench, shapes, cells, tokens)
            if controlled:
                last = job(bench, twin(shapes[-1], cells[0]), tokens)
                jobs.append(control(bench, last, CONTROL_SHARES[-1]))
            return jobs

        jobs = spender.largest(make, least, most)
        if jobs is not None:
            return shapes, jobs[0].spec.tokens
    return None


def what_would(bench: Bench, cells: Sequence[Cell]) -> str:
    """What the smallest ladder needs, where the allowance or the text is too small for it.

    cells: as in `largest_ladder`.
    """
    shapes = transformers(bench, TOP_WIDTHS[-1])
    tokens, _ = _tokens(shapes)
    kinds = " and ".join(["Transformers", *(f"{cell.upper()}s" for cell in cells)])
    ladder = (
        f"the smallest ladder of {kinds} with a long context, "
        f"{format_count(size_of(shapes[0]))} to {format_count(size_of(shapes[-1]))} parameters on "
        f"{format_count(tokens)} tokens each"
    )
    if tokens > (there := bench.corpus.train.tokens):
        return f"{ladder}: the text has {format_count(there)}"
    needs, bound = _seconds(bench, shapes, tokens), "more than "
    if needs <= _limit(spender_of(bench)):  # the speeds are known, or not needed
        needs, bound = bench.cost(_jobs(bench, shapes, cells, round(tokens))), ""
    allowed = Budget(bench.allowance.unit, needs / (1 - GAUGE_SHARE))
    times = math.ceil(10 * allowed.amount / max(bench.allowance.amount, 1e-9)) / 10
    return (
        f"{ladder}, costs {bound}{allowed}, the search for rates included, and this design has "
        f"{bench.allowance}: a larger budget ({bound}{times:.3g} times as much) or fewer designs "
        "pay for it"
    )


def _tokens(shapes: Sequence[TransformerShape]) -> tuple[float, float]:
    """What each network of a ladder is trained on, at least and at most."""
    least, most = (size_of(shapes[-1]) * ratio for ratio in TOKENS_PER_PARAMETER)
    return max(least, LEAST_TOKENS), max(most, LEAST_TOKENS)


def _jobs(
    bench: Bench, shapes: Sequence[TransformerShape], cells: Sequence[Cell], tokens: int
) -> list[Job]:
    """Runs of the Transformers and their recurrent twins, at guessed rates."""
    every: list[Shape] = [*shapes, *(twin(shape, cell) for cell in cells for shape in shapes)]
    return [job(bench, shape, tokens) for shape in every]


def _seconds(bench: Bench, shapes: Sequence[TransformerShape], tokens: float) -> float:
    """Wall seconds at the ladder's speeds, which a long context falls short of."""
    sizes = np.log([size_of(shape) for shape in bench.sizes])
    own = np.log([size_of(shape) for shape in shapes])
    return (
        float((tokens * np.exp(np.interp(own, sizes, -np.log(bench.speeds)))).sum()) / bench.workers
    )


def _limit(spender: Bench) -> float:
    """Wall seconds above which not to look closer; a budget in FLOP needs no speeds."""
    return spender.allowance.amount if spender.allowance.unit == "seconds" else math.inf


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

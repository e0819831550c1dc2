"""What a study decides before it trains: sizes, batch, rates, data sizes, each with why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np

from scalelab import schema
from scalelab.corpus import Corpus
from scalelab.counting import TransformerShape, flops_per_token
from scalelab.errors import Notice, SpecError, TrainingError
from scalelab.execution.execute import Observer
from scalelab.execution.pool import Pool
from scalelab.execution.study import specs
from scalelab.schema import Count, Positive, Whole, Within
from scalelab.studies import probe
from scalelab.studies.ladder import (
    DATA_SPAN,
    DECAY,
    MIN_STEPS,
    Ladder,
    LadderSpec,
    Rung,
    build,
    fit_budget,
    smallest,
)
from scalelab.studies.result import Choice
from scalelab.studies.settings import MOST_DATA_SIZES, MOST_SEED, MOST_WORKERS, RunSettings
from scalelab.studies.sizes import WIDTHS, Family, rungs, shape_of_width, size_of
from scalelab.training.spec import Steps
from scalelab.units import Budget, format_count

TWO_DECADES = 100.0
"""Ratio of the largest size to the smallest that is aimed at."""

LEAST_SIZES = 5
"""A law with a floor and an exponent needs four sizes to be checked, and one to be held out."""

TOKENS_PER_PARAMETER = 8.0
"""The largest size gets at least this many tokens a parameter at its largest data size; with fewer
it would be far from the compute frontier, which ran along about 10 for byte tokens (measured:
docs/LOG.md; paper: Hoffmann et al. 2022, about 20 for BPE tokens)."""

SPARE = 0.12
SPARE_SECONDS = 600.0
"""Share of the time that a plan of so many seconds or fewer leaves free: machines are not equally
fast for minutes. It evens out: a longer plan leaves less, by the cube root. (measured: hours that
left an eighth ended with it unused, docs/LOG.md)"""

PROBES = 0.19
"""What measuring costs before the ladder begins, over the ladder. (measured)"""

CLOSING_SECONDS = 15.0
"""Fits and report at the end. (measured)"""

PROBE_SHARE = 8
"""The probe of the learning rate trains on the largest data size divided by this."""

PROBED_SIZES = 4
"""Sizes whose learning rate is probed, the held-out one not among them. The best rates of single
sizes scatter by a factor of 1.5, which costs up to .01 nats: the law through four halves it.
(measured: docs/LOG.md)"""

SCAN_WIDTHS = ((16, 64), (256,), (1024,), (2048,), (4096,))
"""Where the speed of the machine is measured first, until a size is out of reach."""

TOO_WIDE = "too-wide"
"""Code of the notice that sizes end where one could not be trained."""

OVER_BUDGET, NARROW, CORPUS_IS_THE_LIMIT = "over-budget", "narrow-ladder", "corpus-is-the-limit"
OF_THE_LADDER = (OVER_BUDGET, NARROW, CORPUS_IS_THE_LIMIT)
"""Codes of the notices that say something only where a ladder is trained."""

DATA_SIZES = "data sizes"
"""Name of the choice that describes the runs of a ladder and nothing else."""


class Watcher(Observer, Protocol):
    """Who is told of stages."""

    def stage(self, name: str, jobs: int) -> None:
        """A stage begins."""


@dataclass(frozen=True)
class Aim:
    """What the ladder is for.

    share: of the budget that it may fill. span: ratio of its largest size to its smallest that is
    aimed at. curve_points: evaluations along each of its runs. trained: or only the yardstick of
    designs with runs of their own, which take batch and rates from its sizes.
    """

    share: float = 1.0
    span: float = TWO_DECADES
    curve_points: int = 10
    trained: bool = True


LADDER_ALONE = Aim()

MOST_WIDTH = 2**16
"""Of a plan that is read: sixteen times the widest that is chosen."""


@dataclass(frozen=True)
class Decisions:
    """Everything that was decided; with the corpus it determines every run of the ladder.

    widths, speeds, rates: of each size, smallest first. steps: of the largest data size.
    curve_points: evaluations along each run.
    """

    widths: tuple[Annotated[int, Within(4, MOST_WIDTH)], ...]
    speeds: tuple[Positive, ...]
    rates: tuple[Positive, ...]
    family: Family
    steps: Steps
    batch_tokens: Whole
    data_sizes: Annotated[int, Within(1, MOST_DATA_SIZES)]
    corpus_tokens: Whole
    seed: Annotated[int, Within(0, MOST_SEED)]
    workers: Annotated[int, Within(1, MOST_WORKERS)]
    choices: tuple[Choice, ...]
    notices: tuple[Notice, ...]
    curve_points: Count = 10

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as plan.json holds them."""
        return asdict(self)

    def without_ladder(self) -> Decisions:
        """Without what concerns the training of a ladder, for a study that trains none."""
        return replace(
            self,
            choices=tuple(c for c in self.choices if c.name != DATA_SIZES),
            notices=tuple(n for n in self.notices if n.code not in OF_THE_LADDER),
        )

    @classmethod
    def from_dict(cls, values: Any) -> Decisions:
        """The inverse of `to_dict`; raises `schema.MismatchError`."""
        return schema.read(cls, values)


def rungs_of(decisions: Decisions) -> list[Rung]:
    """The sizes that were decided, smallest first."""
    return [
        Rung(shape_of_width(width, decisions.family), speed, rate)
        for width, speed, rate in zip(
            decisions.widths, decisions.speeds, decisions.rates, strict=True
        )
    ]


def ladder_of(
    decisions: Decisions, corpus: str, others: tuple[tuple[str, str], ...] = ()
) -> Ladder:
    """The ladder that the decisions describe. others: texts on which its runs are evaluated too."""
    spec = LadderSpec(
        corpus=corpus,
        corpus_tokens=decisions.corpus_tokens,
        batch_tokens=decisions.batch_tokens,
        data_sizes=decisions.data_sizes,
        seed=decisions.seed,
        workers=decisions.workers,
        curve_points=decisions.curve_points,
        others=others,
    )
    return build(rungs_of(decisions), decisions.steps, spec)


def decide(
    folder: Path,
    corpus: Corpus,
    budget: Budget,
    settings: RunSettings,
    pool: Pool,
    watcher: Watcher,
    elapsed: Callable[[], float],
    aim: Aim = LADDER_ALONE,
) -> Decisions:
    """Measure speed, noise scale and learning rates, and size the ladder to its share of the rest.

    folder: where the probes are kept. elapsed: seconds since the study began. Before anything is
    probed it raises SpecError when the budget is too small for any ladder, and says what would do.
    """
    first = sketch(folder, corpus, budget, settings, pool, watcher, aim)
    shapes = [shape_of_width(w, first.family) for w in first.widths]
    speeds = dict(zip(first.widths, first.speeds, strict=True))
    middle = shapes[len(shapes) // 2]
    watcher.stage("measuring the gradient noise scale", 1)
    noise = probe.measure_noise_scale(
        folder,
        middle,
        str(corpus.folder),
        first.batch_tokens,
        tokens=first.steps * first.batch_tokens // PROBE_SHARE,
        speed=speeds[middle.d_model],
        pool=pool,
        observer=watcher,
    )
    most = _largest_batch(corpus, settings)
    batch = probe.choose_batch(noise, middle, least=min(4 * settings.context, most), most=most)
    if batch != first.batch_tokens:
        # Sizes are chosen again, at the speed of that batch: a step of a small model takes a GPU
        # the same time at any batch, so that its tokens per second go with the batch.
        first = sketch(folder, corpus, budget, settings, pool, watcher, aim, batch)
        shapes = [shape_of_width(w, first.family) for w in first.widths]
        speeds = dict(zip(first.widths, first.speeds, strict=True))
    places = np.linspace(0, len(shapes) - 2, PROBED_SIZES).round().astype(int)
    probed = [shapes[place] for place in dict.fromkeys(places.tolist())]
    probe_tokens = first.steps * first.batch_tokens // PROBE_SHARE
    watcher.stage("probing the learning rate", 3 * len(probed))
    tried = probe.probe_learning_rates(
        folder,
        probed,
        str(corpus.folder),
        batch,
        probe_tokens,
        speeds,
        settings.seed,
        pool,
        watcher,
    )
    best = {shape.d_model: (shape, probe.best_rate(tried[shape.d_model])) for shape in probed}
    intercept, slope = probe.rate_law(best)
    rates = {
        shape.d_model: math.exp(intercept + slope * math.log(size_of(shape))) for shape in shapes
    }
    left = remaining(budget, folder, elapsed())
    left = Budget(left.unit, left.amount * aim.share)
    spec = _ladder_spec(corpus, batch, settings, pool, aim)
    sizes = [Rung(shape, speeds[shape.d_model], rates[shape.d_model]) for shape in shapes]
    # The machine may have been slower since: better a little over the budget than nothing for it.
    ladder = fit_budget(sizes, left, spec) or smallest(sizes, spec)
    choices = (
        *_size_choices(sizes, ladder, pool),
        Choice(
            "batch",
            f"{batch:,} tokens",
            f"the gradient noise scale at N = {format_count(size_of(middle))} is "
            + (f"{format_count(noise)} tokens" if noise else "lost in its own noise")
            + f"; the batch is the power of two near that over {probe.NOISE_PER_BATCH:g}",
            "measured",
        ),
        Choice(
            "learning rate",
            f"{sizes[0].lr:.3g} to {sizes[-1].lr:.3g}",
            "bracketed by short runs of "
            + ", ".join(
                f"N = {format_count(size_of(shape))} (best {rate:.3g})"
                for shape, rate in best.values()
            )
            + f"; between and beyond them lr ~ N^{slope:.2f}",
            "measured",
        ),
        *_fixed_choices(corpus, first.family),
    )
    cost = ladder.seconds if left.unit == "seconds" else ladder.flops
    notices = [notice for notice in first.notices if notice.code == TOO_WIDE]
    if cost > left.amount:
        notices.append(
            Notice(
                OVER_BUDGET,
                "measuring took so long that even the smallest ladder of these sizes goes beyond "
                "the budget. Give a larger --budget, or keep the machine free.",
            )
        )
    return _decisions(sizes, ladder, spec, first.family, choices, notices)


def sketch(
    folder: Path,
    corpus: Corpus,
    budget: Budget,
    settings: RunSettings,
    pool: Pool,
    watcher: Watcher,
    aim: Aim = LADDER_ALONE,
    batch: int | None = None,
) -> Decisions:
    """Measure only the speed of each size; batch and rates are assumed: what a dry run says.

    batch: tokens of a step, where that is known.
    """
    family = Family(
        settings.context,
        corpus.vocabulary,
        settings.positions,
        settings.norm,
        settings.activation,
        not settings.untied,
    )
    if batch is None:
        batch = max(family.context, min(8 * family.context, _largest_batch(corpus, settings)))
    watcher.stage(
        f"measuring how fast this machine is at batches of {batch:,} tokens", len(SCAN_WIDTHS) + 1
    )
    scan: dict[int, float] = {}
    widest: float = math.inf
    notices: list[Notice] = []
    for widths in SCAN_WIDTHS:
        scanned = [shape_of_width(width, family.up_to(width)) for width in widths]
        try:
            scan |= probe.measure_speeds(
                folder, scanned, str(corpus.folder), batch, 0.5, pool, watcher
            )
        except TrainingError as error:  # too large for the memory, unless it was the very first
            if not scan:
                raise
            widest = max(scan)
            notices.append(
                Notice(TOO_WIDE, f"sizes end at width {widest}, because at {widths[-1]} {error}")
            )
            break
        if _out_of_reach(scan[widths[-1]], size_of(scanned[-1]), budget):
            break
    # Probes of the ladder's rates cost about a fifth of the ladder itself. (measured)
    left = filled(budget) - PROBES * aim.share
    available = Budget(budget.unit, budget.amount * left * aim.share)
    spec = _ladder_spec(corpus, batch, settings, pool, aim)
    shapes = _choose_sizes(scan, available, spec, family, settings.sizes, aim, widest)
    family = family.up_to(shapes[-1].d_model)
    watcher.stage("measuring the speed of each size", len(shapes))
    speeds = probe.measure_speeds(folder, shapes, str(corpus.folder), batch, 1.0, pool, watcher)
    sizes = [Rung(s, speeds[s.d_model], probe.first_guess(s)) for s in shapes]
    # Speeds of a noisy machine differ between two measurements: at worst the smallest ladder.
    ladder = fit_budget(sizes, available, spec) or smallest(sizes, spec)
    choices = (
        *_size_choices(sizes, ladder, pool),
        Choice("batch", f"{batch:,} tokens", "a run measures the noise scale first", "assumed"),
        Choice(
            "learning rate",
            f"{sizes[0].lr:.3g} to {sizes[-1].lr:.3g}",
            "inverse in the width; a run brackets the optimum first",
            "assumed",
        ),
        *_fixed_choices(corpus, family),
    )
    return _decisions(sizes, ladder, spec, family, choices, notices)


def _choose_sizes(
    scan: Mapping[int, float],
    budget: Budget,
    spec: LadderSpec,
    family: Family,
    count: int,
    aim: Aim,
    widest: float,
) -> Sequence[TransformerShape]:
    """The largest ladder of sizes whose top still gets TOKENS_PER_PARAMETER within the budget.

    scan: tokens per second at a few widths; between them the time per token and layer is taken to
    be linear in the FLOP per token and layer: a small layer costs a GPU, which waits for the next
    call, a time of its own. widest: the largest width that may be chosen. Where no ladder of two
    decades reaches those tokens, the one that comes nearest; where none is affordable, fewer
    decades; where not even one of those is, the cheapest, unless it is to be trained.
    """
    scanned = [(shape_of_width(w, family.up_to(w)), speed) for w, speed in scan.items()]
    flops = [flops_per_token(shape) / shape.n_layer for shape, _ in scanned]
    seconds = [1 / speed / shape.n_layer for shape, speed in scanned]

    def speed_of(shape: TransformerShape) -> float:
        per_layer = _interpolate(flops_per_token(shape) / shape.n_layer, flops, seconds)
        return 1 / (per_layer * shape.n_layer)

    affordable: list[tuple[float, float, Sequence[TransformerShape]]] = []
    cheapest: tuple[float, Sequence[TransformerShape]] = math.inf, ()
    for width in reversed([width for width in WIDTHS if width <= widest]):
        shapes = rungs(width, family.up_to(width), count, aim.span)
        if len(shapes) < LEAST_SIZES:
            continue
        sizes = [Rung(shape, speed_of(shape), 1.0) for shape in shapes]
        ladder = fit_budget(sizes, budget, spec)
        if ladder is None:
            least = smallest(sizes, spec)
            cost = least.seconds if budget.unit == "seconds" else least.flops
            cheapest = min(cheapest, (cost, shapes), key=lambda entry: entry[0])
            continue
        ratio = ladder.tokens[-1] / size_of(shapes[-1])
        span = size_of(shapes[-1]) / size_of(shapes[0])
        if ratio >= TOKENS_PER_PARAMETER:
            if span >= TWO_DECADES or not affordable:
                return shapes
            break
        affordable.append((ratio, span, shapes))
    wide = [entry for entry in affordable if entry[1] >= TWO_DECADES]
    if not affordable and cheapest[1] and not aim.trained:
        return cheapest[1]
    if not affordable:
        raise SpecError(
            f"the budget leaves {budget} for training; the smallest ladder needs "
            f"{Budget(budget.unit, cheapest[0])} on this machine. Give a larger --budget."
        )
    return max(wide or affordable, key=lambda entry: entry[0])[2]


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Piecewise linear through the points, continued with the last slope, never falling."""
    if x > xs[-1] and len(xs) > 1:
        slope = max(0.0, (ys[-1] - ys[-2]) / (xs[-1] - xs[-2]))
        return ys[-1] + slope * (x - xs[-1])
    return float(np.interp(x, xs, np.maximum.accumulate(ys)))


def _out_of_reach(speed: float, size: int, budget: Budget) -> bool:
    """Whether training a size on TOKENS_PER_PARAMETER would alone take more than the budget."""
    tokens = TOKENS_PER_PARAMETER * size
    cost = tokens / speed if budget.unit == "seconds" else 6.0 * size * tokens
    return cost > budget.amount


def filled(budget: Budget) -> float:
    """Share of the budget that a plan may fill."""
    if budget.unit != "seconds":
        return 1.0
    return 1 - SPARE * math.cbrt(SPARE_SECONDS / max(budget.amount, SPARE_SECONDS))


def remaining(budget: Budget, folder: Path, elapsed: float) -> Budget:
    """What the plan may fill. folder: of the probes, whose compute is spent already."""
    if budget.unit == "seconds":
        left = (budget.amount - elapsed - CLOSING_SECONDS) * filled(budget)
        return Budget("seconds", max(1.0, left))
    spent = sum(
        flops_per_token(spec.shape) * spec.tokens for spec in specs(folder) if spec.kind != "speed"
    )
    return Budget("flop", max(1.0, budget.amount - spent))


def _ladder_spec(
    corpus: Corpus, batch: int, settings: RunSettings, pool: Pool, aim: Aim
) -> LadderSpec:
    return LadderSpec(
        corpus=str(corpus.folder),
        corpus_tokens=corpus.train.tokens,
        batch_tokens=batch,
        data_sizes=settings.data_sizes,
        seed=settings.seed,
        workers=pool.size,
        curve_points=aim.curve_points,
    )


def _largest_batch(corpus: Corpus, settings: RunSettings) -> int:
    """The largest batch that still makes the smallest data size MIN_STEPS steps of this corpus."""
    most = int(corpus.train.tokens / (MIN_STEPS * DATA_SPAN[0]))
    return max(settings.context, most // settings.context * settings.context)


def _size_choices(sizes: Sequence[Rung], ladder: Ladder, pool: Pool) -> tuple[Choice, ...]:
    speeds = ", ".join(
        f"{format_count(size_of(rung.shape))} at {format_count(rung.speed)}/s" for rung in sizes
    )
    least, most = size_of(sizes[0].shape), size_of(sizes[-1].shape)
    return (
        Choice(
            "sizes",
            f"{len(sizes)} from {format_count(least)} to {format_count(most)} parameters",
            f"a span of {most / least:.0f}; the largest gets {ladder.tokens[-1] / most:.1f} tokens "
            f"a parameter, where {TOKENS_PER_PARAMETER:g} or more are aimed at, at the measured "
            f"speeds ({pool.size} process(es), tokens a second each: {speeds})",
            "measured",
        ),
        Choice(
            DATA_SIZES,
            ", ".join(format_count(tokens) for tokens in ladder.tokens) + " tokens",
            "all of the corpus, once" if ladder.capped else "what the budget leaves",
            "measured",
        ),
    )


def _fixed_choices(corpus: Corpus, family: Family) -> tuple[Choice, ...]:
    return (
        Choice(
            "schedule",
            f"warm-up, stable, decay over the last {DECAY:.0%}",
            "short decays branch off one stable trunk, so that a size gives several data sizes",
            "paper",
        ),
        Choice(
            "model",
            f"{family}; {corpus.tokenizer} tokens",
            "sizes differ in width alone, which keeps them on one curve; what the defaults were "
            "compared with stands in docs/LOG.md",
            "measured",
        ),
    )


def _decisions(
    sizes: Sequence[Rung],
    ladder: Ladder,
    spec: LadderSpec,
    family: Family,
    choices: tuple[Choice, ...],
    found: Sequence[Notice],
) -> Decisions:
    notices = list(found)
    span = size_of(sizes[-1].shape) / size_of(sizes[0].shape)
    if span < TWO_DECADES:
        notices.append(
            Notice(
                NARROW,
                f"the sizes span a factor of {span:.0f}, less than two decades, which is what "
                "this budget pays for; exponents in N will be uncertain. Give a larger --budget.",
            )
        )
    if ladder.capped:
        notices.append(
            Notice(
                CORPUS_IS_THE_LIMIT,
                f"one pass of the corpus has {format_count(spec.corpus_tokens)} tokens: the "
                "largest data size is that, and the budget is not used up. Give more text.",
            )
        )
    return Decisions(
        widths=tuple(rung.shape.d_model for rung in sizes),
        speeds=tuple(rung.speed for rung in sizes),
        rates=tuple(rung.lr for rung in sizes),
        family=family,
        steps=ladder.tokens[-1] // spec.batch_tokens,
        batch_tokens=spec.batch_tokens,
        data_sizes=spec.data_sizes,
        corpus_tokens=spec.corpus_tokens,
        seed=spec.seed,
        workers=spec.workers,
        choices=choices,
        notices=tuple(notices),
        curve_points=spec.curve_points,
    )

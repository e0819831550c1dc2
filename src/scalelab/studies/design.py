"""A design: what is varied, what is held, how it is sized, what it concludes.

A design is one file in `scalelab.studies.designs`: a `Design` with two functions. `plan` looks at a
`Bench` (what was measured and what may be spent) and lists runs; `conclude` looks at the `Evidence`
(those runs and the ladder's, as they lie on disk) and says what they show. Neither trains, reads
files or draws. docs/designs.md shows how to write one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from scalelab.corpus import Corpus
from scalelab.counting import Shape, TransformerShape, flops_per_token
from scalelab.errors import Notice, SpecError
from scalelab.execution.execute import Job
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.evidence import Evidence
from scalelab.studies.ladder import DECAY, Ladder, largest_true, own_tokens, run_seconds
from scalelab.studies.sizes import Family, shape_of_width, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget


class Gauge(Protocol):
    """Measures what a plan must know of shapes that the ladder has not."""

    def speed(self, shape: Shape, batch_tokens: int, unroll: int) -> float:
        """Tokens per second of one process, the others busy too."""

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        """The best learning rate of each run, found by shorter ones that bracket it."""


@dataclass(frozen=True)
class Bench:
    """What a design may know and use while it plans.

    corpus: the text. family: what the ladder's sizes share. sizes: the ladder's shapes, smallest
    first, with their learning rates and speeds (tokens per second of one process).
    ladder: its runs, None where no design of the study looks at it. batch_tokens: of the ladder.
    allowance: what the design may spend: wall seconds of all processes together, or FLOP.
    others: (name, folder) of texts for transfer. seed: of the study. gauge: measures more.
    planned: runs of the study that are planned already, by designs before this one: a design that
    can use them asks for the very same and pays nothing.
    """

    corpus: Corpus
    family: Family
    sizes: Sequence[TransformerShape]
    rates: Sequence[float]
    speeds: Sequence[float]
    ladder: Ladder | None
    batch_tokens: int
    allowance: Budget
    workers: int
    seed: int
    gauge: Gauge
    others: tuple[tuple[str, str], ...] = ()
    eval_tokens: int = 131_072
    planned: Sequence[Job] = ()

    def shape(self, params: float) -> TransformerShape:
        """The ladder's family at the width whose N is nearest to `params` (in log)."""
        from scalelab.studies.sizes import WIDTHS

        shapes = [shape_of_width(width, self.family) for width in WIDTHS]
        return min(shapes, key=lambda shape: abs(math.log(size_of(shape) / params)))

    def rate(self, shape: Shape) -> float:
        """The learning rate of the ladder's law lr ~ N^slope at the size of a shape."""
        sizes = np.log([size_of(shape) for shape in self.sizes])
        slope, intercept = np.polyfit(sizes, np.log(self.rates), 1)
        return float(math.exp(intercept + slope * math.log(size_of(shape))))

    def speed(self, shape: Shape, batch_tokens: int = 0, unroll: int = 0) -> float:
        """Tokens per second of one process: the ladder's where it has the shape, else measured."""
        batch = batch_tokens or self.batch_tokens
        for known, speed in zip(self.sizes, self.speeds, strict=True):
            if known == shape and batch == self.batch_tokens:
                return speed
        return self.gauge.speed(shape, batch, unroll)

    def spec(self, run: str, shape: Shape, tokens: float, **changes: Any) -> TrainSpec:
        """A run as the ladder would make it: one pass, warm-up, stable, decay; then `changes`.

        run: its id, unique in the study: begin it with the design's name. tokens: D, rounded to
        whole batches. changes: fields of `TrainSpec`, such as lr, batch_tokens, schedule, seed.
        """
        known = [field.name for field in fields(TrainSpec)]
        if unknown := [name for name in changes if name not in known]:
            raise SpecError(
                f"run {run}: there is no field {unknown[0]!r} of TrainSpec to change; there are "
                f"{', '.join(known)}."
            )
        batch = int(changes.get("batch_tokens", self.batch_tokens))
        steps = max(4, round(tokens / batch))
        values: dict[str, Any] = {
            "run": run,
            "shape": shape,
            "corpus": str(self.corpus.folder),
            "batch_tokens": batch,
            "steps": steps,
            "lr": 0.0,
            "decay_fraction": DECAY,
            "warmup_steps": max(10, steps // 20),
            "seed": self.seed,
            "curve_tokens": min(131_072, max(4 * shape.context, steps * batch // 200)),
            "curve_points": 10,
            "eval_tokens": self.eval_tokens,
            "noise_every": 64,
        } | changes
        values["lr"] = values["lr"] or self.rate(shape)
        return TrainSpec(**values)

    def job(self, spec: TrainSpec, why: str) -> Job:
        """A run with its expected time. why: what it is for, shown by the dry run."""
        speed = self.speed(spec.shape, spec.batch_tokens, spec.unroll)
        return Job(spec, run_seconds(spec, speed), why)

    def cost(self, jobs: Sequence[Job]) -> float:
        """What runs cost, in the unit of the allowance."""
        if self.allowance.unit == "seconds":
            return sum(job.seconds for job in jobs) / self.workers
        return sum(flops_per_token(job.spec.shape) * own_tokens(job.spec) for job in jobs)

    def largest(
        self, make: Callable[[int], Sequence[Job]], least: float, most: float
    ) -> Sequence[Job] | None:
        """The runs that `make` lists for the largest number of tokens that the allowance pays for.

        make: tokens -> jobs, dearer for more. least, most: tokens between which to choose; one pass
        of the corpus is never exceeded. None where even the least is too dear.
        """
        batch = self.batch_tokens
        most = min(most, self.corpus.train.tokens)
        low, high = max(1, round(least / batch)), max(1, int(most // batch))
        if high < low or self.cost(make(low * batch)) > self.allowance.amount:
            return None
        steps = largest_true(
            lambda n: self.cost(make(n * batch)) <= self.allowance.amount, low, high
        )
        return make(steps * batch)


@dataclass(frozen=True)
class Plan:
    """Runs that a design asks for. left_out: what its budget does not show, and what would."""

    jobs: Sequence[Job] = ()
    left_out: Sequence[str] = ()
    notices: Sequence[Notice] = ()


@dataclass(frozen=True)
class Design:
    """One finding of the paper as an experiment.

    name: as the command line writes it. title: for people. paper: figures and sections.
    varies, holds, concludes: in words, for the guide and the report.
    ladder: whether it looks at the base ladder's runs. weight: its share of the budget relative to
    those of other designs and the ladder's (`scalelab.studies.divide.LADDER_WEIGHT`); 0 where it
    trains nothing of its own. others: whether it needs other texts.
    """

    name: str
    title: str
    paper: str
    varies: str
    holds: str
    concludes: str
    weight: float
    plan: Callable[[Bench], Plan]
    conclude: Callable[[Evidence], Conclusion]
    ladder: bool = True
    others: bool = False


def nothing(bench: Bench) -> Plan:  # noqa: ARG001 - the signature of a design's plan
    """The plan of a design that only looks at the ladder."""
    return Plan()


def same_run(spec: TrainSpec) -> str:
    """Equal for runs that differ in their id alone: they are trained once."""
    text = repr(replace(spec, run=""))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

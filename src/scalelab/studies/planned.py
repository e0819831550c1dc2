"""A study before it is trained: the ladder, the designs' runs, and what they will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scalelab.corpus import Corpus
from scalelab.counting import flops_per_token
from scalelab.errors import RecordError
from scalelab.execution.execute import Job
from scalelab.execution.pool import Pool
from scalelab.studies.conclude import planned_run, why
from scalelab.studies.decide import (
    LADDER_ALONE,
    Decisions,
    decide,
    ladder_of,
    remaining,
    rungs_of,
    sketch,
)
from scalelab.studies.decide import Watcher as StageWatcher
from scalelab.studies.design import Bench, Design, Gauge
from scalelab.studies.designs import DESIGNS, get_designs
from scalelab.studies.divide import StudyPlan, aim_of, divided
from scalelab.studies.gauge import DryGauge, MeasuredGauge
from scalelab.studies.ladder import Ladder, makespan, own_tokens
from scalelab.studies.record import Record, recall, write_plan
from scalelab.studies.result import PlannedRun
from scalelab.studies.settings import RunSettings
from scalelab.units import Budget, format_count, format_duration, format_flop, parse_budget

Others = tuple[tuple[str, Corpus], ...]


class Watcher(StageWatcher, Protocol):
    """An observer that is also told of stages and of what was decided."""

    def note(self, text: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True)
class Planned:
    """A study before it is trained.

    ladder: None where none of its designs looks at one. designs: asked for now or before, in the
    paper's order. others: other texts by name, on which the ladder is evaluated too.
    """

    decisions: Decisions
    ladder: Ladder | None
    plan: StudyPlan
    designs: tuple[Design, ...]
    others: Mapping[str, Corpus]

    @property
    def jobs(self) -> list[Job]:
        """Every run, the ladder's first."""
        ladder = [] if self.ladder is None else list(self.ladder.jobs)
        return [*ladder, *self.plan.jobs.values()]

    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run with its cost and why, the ladder's first."""
        ladder = () if self.ladder is None else self.ladder.jobs
        held = frozenset[str]() if self.ladder is None else self.ladder.held_out
        asked: dict[str, list[str]] = {}
        for design, runs in self.plan.runs.items():
            for run in runs:
                asked.setdefault(run, []).append(design)
        return (
            *(planned_run(job, why(job.spec.run, held, job.spec.kind)) for job in ladder),
            *(
                planned_run(job, f"{', '.join(asked[run])}: {job.why}")
                for run, job in self.plan.jobs.items()
            ),
        )

    @property
    def cost(self) -> tuple[float, float]:
        """Expected wall seconds, and training FLOP by the exact convention."""
        seconds = makespan(self.jobs, self.decisions.workers)
        flops = sum(flops_per_token(j.spec.shape) * own_tokens(j.spec) for j in self.jobs)
        return seconds, flops


def make_plan(
    settings: RunSettings,
    study: Path,
    corpus: Corpus,
    other_texts: Callable[[Sequence[Design]], Others],
    pool: Pool,
    watcher: Watcher,
    elapsed: Callable[[], float],
    *,
    dry: bool,
) -> Planned:
    """The plan of a study: what stands in plan.json, and what is asked for beyond it.

    study: its folder, or one for probes alone. other_texts: prepares the texts that designs are
    evaluated on too. dry: only speeds are measured, batch and rates are assumed, nothing is kept.
    """
    budget = parse_budget(settings.budget)
    probes = study / "probes"
    asked = get_designs(settings.design)
    record = None if dry else recall(study)
    if record is None:
        if not dry:
            _check_new(study)
        others = other_texts(asked)
        watcher.note(f"measuring on {pool.size} x {pool.device_name}")
        aim = aim_of(asked) if asked else LADDER_ALONE
        if dry:
            decisions = sketch(probes, corpus, budget, settings, pool, watcher, aim)
        else:
            decisions = decide(probes, corpus, budget, settings, pool, watcher, elapsed, aim)
        texts = tuple((name, str(other.folder)) for name, other in others)
        record = Record(decisions, StudyPlan(), texts, corpus.fingerprint)
        if not dry:
            write_plan(study, record)
    _check_text(study, record, corpus)
    decisions = record.decisions
    before = tuple(name for name in record.plan.runs if name in DESIGNS)
    designs = get_designs((*settings.design, *before))
    ladder = None
    if not designs or any(design.ladder for design in designs):
        ladder = ladder_of(decisions, str(corpus.folder), record.others)
    plan = record.plan
    if any(design.name not in plan.runs for design in designs):
        gauge = (DryGauge if dry else MeasuredGauge)(probes, str(corpus.folder), pool, watcher)
        bench = bench_of(decisions, ladder, corpus, record.others, pool.size, gauge)
        recorded = list(plan.jobs.values())

        def left() -> Budget:
            whole = remaining(budget, probes, elapsed())
            cost = bench.cost(recorded)
            if ladder is not None:
                cost += ladder.seconds if whole.unit == "seconds" else ladder.flops
            return Budget(whole.unit, max(0.0, whole.amount - cost))

        bench = replace(bench, allowance=left())

        def begin(name: str) -> None:
            watcher.stage(f"planning {name}", 0)

        plan = divided(plan, designs, bench, left, budget, begin)
        if not dry:
            write_plan(study, replace(record, plan=plan))
    corpora = {name: Corpus.load(Path(folder)) for name, folder in record.others}
    return Planned(decisions, ladder, plan, designs, corpora)


def _check_new(study: Path) -> None:
    """Refuse to plan a study again whose runs were trained by a plan that is gone."""
    trained = sorted(path.parent.name for path in study.glob("*/run.json"))
    if trained:
        raise RecordError(
            f"{study} holds the run {trained[0]}, but not the plan.json that it was trained by. "
            f"Put the file back, choose another --out, or delete {study}."
        )


def _check_text(study: Path, record: Record, corpus: Corpus) -> None:
    """Refuse to go on with another text than the plan is for."""
    same = record.corpus in ("", corpus.fingerprint)
    if not same or record.decisions.corpus_tokens != corpus.train.tokens:
        raise RecordError(
            f"the plan in {study} is for a text of {record.decisions.corpus_tokens:,} training "
            f"tokens; {corpus.name} has changed since then, or is another text, and has "
            f"{corpus.train.tokens:,}. Put back the text, choose another --out, or delete {study}."
        )


def bench_of(
    decisions: Decisions,
    ladder: Ladder | None,
    corpus: Corpus,
    others: tuple[tuple[str, str], ...],
    workers: int,
    gauge: Gauge,
) -> Bench:
    """What designs plan with; the allowance is set for each."""
    rungs = rungs_of(decisions)
    return Bench(
        corpus=corpus,
        family=decisions.family,
        sizes=[rung.shape for rung in rungs],
        rates=[rung.lr for rung in rungs],
        speeds=[rung.speed for rung in rungs],
        ladder=ladder,
        batch_tokens=decisions.batch_tokens,
        allowance=Budget("seconds", 0.0),
        workers=workers,
        seed=decisions.seed,
        gauge=gauge,
        others=others,
    )


def describe(planned: Planned) -> list[str]:
    """The plan as lines: every choice with its reason, then sizes, tokens, cost."""
    decisions, ladder = planned.decisions, planned.ladder
    if ladder is None:
        decisions = decisions.without_ladder()
    lines = [f"{c.name}: {c.value} - {c.reason} ({c.source})" for c in decisions.choices]
    lines += [f"note: {notice}" for notice in decisions.notices]
    if ladder is not None:
        runs = sum(job.spec.kind == "run" for job in ladder.jobs)
        lines.append(
            f"ladder: {runs} runs, {format_count(ladder.trained_tokens)} tokens "
            f"({format_count(ladder.separate_tokens)} as separate runs), "
            f"{format_flop(ladder.flops)}, about {format_duration(ladder.seconds)}"
        )
    designs = {design.name: design for design in planned.designs}
    for name, runs_of in planned.plan.runs.items():
        own = [planned.plan.jobs[run] for run in runs_of if run in planned.plan.jobs]
        busy = sum(job.seconds for job in own) / decisions.workers
        words = []
        if own:
            words.append(f"{len(own)} runs beside the ladder, about {format_duration(busy)}")
        if name in designs and designs[name].ladder:
            words.append("the ladder's runs")
        lines.append(f"{name}: {' and '.join(words) or 'nothing that this budget pays for'}")
        lines += [f"left out of {name}: {why}" for why in planned.plan.left_out.get(name, ())]
    seconds, flops = planned.cost
    lines.append(
        f"plan: {len(planned.jobs)} runs, {format_flop(flops)}, about {format_duration(seconds)}"
    )
    return lines

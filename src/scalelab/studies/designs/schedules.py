"""Schedules: does it matter how the learning rate falls, as long as it falls to zero?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.laws import Array
from scalelab.studies.analysis.variants import (
    RATES,
    Tuned,
    excess,
    noise_estimate,
    not_bracketed,
    over_best,
    percent,
    spread_of,
    tune,
)
from scalelab.studies.conclusion import (
    Axis,
    Check,
    Conclusion,
    Finding,
    Number,
    Picture,
    Series,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.sizes import size_of
from scalelab.training.schedules import lr_factor
from scalelab.training.spec import TrainSpec
from scalelab.units import format_count

SIZES = ((1.6e6, 2), (4e5, 2), (1e5, 2), (5e4, 2), (2.5e4, 2), (2.5e4, 1), (1.2e4, 1))
"""N and seeds at each rate, the best first: the noise level decides here more than the size."""

TOKENS_PER_PARAMETER = (20.0, 40.0)
LEAST_STEPS = 400
"""So that a decay over a tenth of the steps is forty of them."""

MARGIN = 0.02
"""Kaplan et al. 2020, appendix D.6 and figure 22: schedules differ by about .05 nats of 3 or more,
which they take for noise from run to run. Those runs do not decay to zero, "since we find that this
tends to give a fixed improvement close to the end of training"; the text asks for "a final decay to
near-vanishing learning rate", as all other runs of theirs have: that is what is compared here, and
what it costs to stop above zero is the second comparison."""

SPREAD = Check.at_most(
    "spread of schedules that decay",
    MARGIN,
    "appendix D.6, figure 22",
    f"schedules that warm up and decay to zero end within {MARGIN:.0%} of each other",
    "runs this short are far from convergence, so how long the rate stays high or low weighs more",
)
CONSTANT = Check.at_least(
    "cost of not decaying",
    0.0,
    "appendix D.6",
    "a rate that stays constant ends higher than rates that decay",
    "a run far from convergence loses little by a rate that does not decay",
)


@dataclass(frozen=True)
class Kind:
    """A schedule. changes: of a spec of so many steps. decays: to zero at the end.

    guess: its best rate, over that which makes its rates sum to those of the ladder's schedule.
    """

    name: str
    changes: Callable[[int], dict[str, Any]]
    decays: bool = True
    guess: float = 1.0


def _kind(
    name: str, schedule: str, *, decay: float = 0.25, warmup: float = 0.05, **more: Any
) -> Kind:
    def changes(steps: int) -> dict[str, Any]:
        return {
            "schedule": schedule,
            "decay_fraction": decay,
            "warmup_steps": max(2, round(warmup * steps)),
            "steps": steps,
            "stop_step": None,
        }

    return Kind(name, changes, **more)


def _cut(steps: int) -> dict[str, Any]:
    long = _kind("", "cosine").changes(steps)
    return long | {"steps": 2 * steps, "stop_step": steps}


KINDS = (
    _kind("stable, then decay over 25%", "wsd"),
    _kind("stable, then decay over 10%", "wsd", decay=0.1),
    _kind("stable, then decay over 50%", "wsd", decay=0.5),
    _kind("linear", "linear"),
    _kind("cosine", "cosine"),
    _kind("warm-up of 1%", "wsd", warmup=0.01),
    _kind("warm-up of 25%", "wsd", warmup=0.25),
    Kind("cosine of twice the length, cut", _cut, decays=False),
    _kind("constant", "constant", decays=False, guess=0.5),
)
"""The first is the ladder's, whose learning rate was measured."""


def plan(bench: Bench) -> Plan:
    """The best of SIZES that the allowance pays for, every schedule at every rate."""
    for params, seeds in SIZES:
        shape = bench.shape(params)
        least, most = (size_of(shape) * ratio for ratio in TOKENS_PER_PARAMETER)
        least = max(least, LEAST_STEPS * bench.batch_tokens)
        if least > bench.corpus.train.tokens:
            continue
        jobs = bench.largest(partial(_jobs, bench, shape, seeds), least, most)
        if jobs is not None:
            return Plan(jobs, left_out=() if seeds > 1 else (ONE_SEED,))
    return Plan(
        left_out=(
            f"schedules: {len(KINDS)} of them at {len(RATES)} rates each cost more than "
            f"{bench.allowance} at the smallest size; a larger budget compares them",
        )
    )


ONE_SEED = "a second seed of every run, which narrows the spread of schedules; a larger budget pays"


def _jobs(bench: Bench, shape: TransformerShape, seeds: int, tokens: int) -> list[Job]:
    """Every schedule at rates whose sums over the steps are the same for all, each with own seeds.

    Kaplan et al. 2020 compare schedules by that sum (figure 22).
    """
    steps = round(tokens / bench.batch_tokens)
    rate = bench.rate(shape)
    jobs = []
    for k, kind in enumerate(KINDS):
        for i, factor in enumerate(RATES):
            lr = rate * factor * kind.guess * _mean_factor(0) / _mean_factor(k)
            for j in range(seeds):
                spec = bench.spec(
                    f"schedules-k{k}-r{i}-s{j}",
                    shape,
                    tokens,
                    **kind.changes(steps),
                    lr=lr,
                    seed=bench.seed + i * seeds + j,
                )
                jobs.append(bench.job(spec, f"schedule {kind.name}, rate {factor:g} of its guess"))
    return jobs


@cache
def _mean_factor(kind: int) -> float:
    """The learning rate over its peak, averaged over the steps: hardly depends on how many."""
    steps = 1000
    shape = TransformerShape(1, 2, 1, 1, 1, 1)
    spec = TrainSpec("", shape, "", 1, lr=1.0, **KINDS[kind].changes(steps))
    return _area(spec) / steps


def _area(spec: TrainSpec) -> float:
    """The learning rate summed over the steps."""
    return spec.lr * sum(lr_factor(step, spec) for step in range(spec.last_step))


def kind_of(spec: TrainSpec) -> Kind | None:
    """Which schedule a run has."""
    for kind in KINDS:
        wanted = kind.changes(spec.last_step)
        if all(getattr(spec, name) == value for name, value in wanted.items()):
            return kind
    return None


def conclude(evidence: Evidence) -> Conclusion:
    """How far schedules that decay lie apart, and what not decaying costs."""
    groups: dict[str, list[Run]] = {}
    for run in evidence.own:
        if (kind := kind_of(run.spec)) is not None:
            groups.setdefault(kind.name, []).append(run)
    tuned = tune(groups, evidence.noise_level, evidence.seed)
    named = {kind.name: kind for kind in KINDS}
    decaying = [] if tuned is None else [name for name in tuned.names if named[name].decays]
    if tuned is None or len(decaying) < 3:
        why = "too few runs have finished" if groups else "there are no runs"
        return Conclusion(
            DESIGN.name,
            DESIGN.title,
            f"{phrase()} whether the schedule matters: {why}.",
            [Finding(SPREAD, None, why), Finding(CONSTANT, None, why)],
        )
    level = evidence.level
    between = spread_of(tuned, decaying, level)
    findings = [Finding(SPREAD, between)]
    numbers = {
        "spread": Number(between, "", "highest over lowest loss of schedules that decay, minus 1"),
        "noise": Number(
            noise_estimate(tuned, level), "", "standard deviation of log loss from run to run"
        ),
    }
    for name in tuned.names:
        numbers[_identifier(name)] = Number(
            excess(tuned, name, [other for other in decaying if other != name], level),
            "",
            f"loss of {name} over the mean of {'the others' if name in decaying else 'those'} "
            "that decay, minus 1",
        )
    constant = numbers.get("constant")
    if constant is None:
        findings.append(Finding(CONSTANT, None, "no run at constant rate has finished"))
    else:
        findings.append(Finding(CONSTANT, constant.estimate))
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(findings, tuned, decaying, evidence.own[0]),
        findings,
        numbers,
        [*_rates_and_sums(groups), _compared(tuned, level)],
        not_bracketed(tuned, str),
    )


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).replace("__", "_").strip("_")


def _statement(
    findings: Sequence[Finding], tuned: Tuned[str], decaying: Sequence[str], run: Run
) -> str:
    between, constant = (finding.estimate for finding in findings)
    cost = (
        f"a constant rate ends {percent(constant)} above them"
        if constant is not None
        else "no run at constant rate finished"
    )
    apart = "" if between is None else percent(between)
    return (
        f"{phrase(findings)}: {len(decaying)} schedules that decay to zero, each at its best rate, "
        f"end {apart} apart at N = {format_count(run.params)} (the paper: about .05 nats of 3, "
        f"among runs that do not reach zero; taken as at most {MARGIN:.0%}), and {cost}; runs "
        f"scatter by {tuned.noise:.1%}.{because(findings)}"
    )


def _rates_and_sums(groups: dict[str, list[Run]]) -> list[Picture]:
    """Figure 22: the schedules, and the loss against the sum of the learning rate."""
    lines, points = [], []
    for name, runs in groups.items():
        spec = runs[0].spec
        shown = np.unique(np.linspace(0, spec.last_step - 1, 60).round().astype(int))
        lines.append(
            Series(
                [float((step + 1) / spec.last_step) for step in shown],
                [lr_factor(int(step), spec) for step in shown],
                "line",
                name,
            )
        )
        done = [run for run in runs if run.finished and np.isfinite(run.loss)]
        if done:
            points.append(
                Series([_area(run.spec) for run in done], [run.loss for run in done], "point", name)
            )
    return [
        Picture(
            "schedules-rates",
            "The schedules",
            "Learning rate over its peak along the run; in the paper's figure none ends at zero.",
            Axis("Share of the steps", log=False),
            Axis("Learning rate over its peak", log=False),
            lines,
            paper="figure 22, left",
        ),
        Picture(
            "schedules-sums",
            "Loss against the learning rate summed over the steps",
            "Every run: three rates of each schedule, other seeds at each.",
            Axis("Learning rate summed over the steps"),
            Axis("Loss (nats per token)", log=False, kind="loss"),
            points,
            paper="figure 22, right",
        ),
    ]


def _compared(tuned: Tuned[str], level: float) -> Picture:
    """Every schedule at its best rate."""
    value, low, high = over_best(tuned, tuned.names, level)
    places: Array = np.arange(len(value), dtype=float)
    return Picture(
        "schedules-compared",
        "Schedules, each at its best rate",
        "Above the best of them; bars: what noise from run to run would move.",
        Axis("", log=False),
        Axis("Loss increase", log=False, kind="percent"),
        [Series(places.tolist(), value, "point", "", low=low, high=high, tips=list(tuned.names))],
        steps=tuned.names,
    )


DESIGN = Design(
    name="schedules",
    title="The schedule matters little if the rate decays",
    paper="figure 22, appendix D.6",
    varies="how the learning rate warms up and falls",
    holds="size, tokens, batch; the peak rate is tuned for every schedule",
    concludes="how far schedules that decay end apart, and what it costs not to decay",
    weight=0.5,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

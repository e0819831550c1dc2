"""Embedding parameters: what N without them explains, and what counting does to the exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.fitting import Estimate
from scalelab.laws import get_law
from scalelab.studies.analysis.attempt import attempt
from scalelab.studies.analysis.conventions import (
    FLOPS,
    PARAMS,
    Growth,
    count,
    fit_counted,
    growth,
    unbounded,
)
from scalelab.studies.analysis.depths import figure_six, one_layer, scatter_ratio
from scalelab.studies.analysis.porian import STEPS, is_walk, walk, walk_jobs
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, Run, table
from scalelab.studies.pictures.embedding import NAME, WORDS, pictures
from scalelab.studies.sizes import WIDTHS, shape_of_width, size_of
from scalelab.units import Budget, format_count

DEPTHS = (1, 2, 3, 6)
"""As in the paper's figure 6, where one-layer models fall off."""

WIDTHS_EACH = 4
SPAN = 24.0
"""N of each depth: from a size to this many times it, so that the embedding's share changes."""

COUNTING = {
    "output_layer_step": "a of N and C without embeddings less a with the output layer, each from "
    "a law of its own",
    "output_layer_step_by_counting_alone": "the same by the law without embeddings for both: only "
    "N and C are counted anew",
}

SCATTER = Check.at_least(
    "scatter_by_total_over_without",
    1.0,
    "figure 6",
    "models of several depths lie on one curve in N without embeddings, and not in N with them",
    "a small vocabulary makes embeddings a small part of N, and depth itself moves the loss of "
    "models this narrow",
)
WALK = Check.at_least(
    "whole_walk",
    0.0,
    "Porian et al. 2024, figure 1: .835 to .497",
    "counting, warm-up, schedule and rate together lower the exponent of N_opt",
    "a smaller vocabulary than theirs, so that counting takes off less",
)
WALK_END = Check.about(
    "walk_end",
    0.5,
    0.1,
    "Hoffmann et al. 2022; Porian et al. 2024: .497",
    "after the walk N_opt ~ C^.5",
    "seven sizes and four lengths of small models",
)
"""The margin is that between the last three steps of the walk (.602, .571, .497)."""


# --- plan -----------------------------------------------------------------------------------------


def plan(bench: Bench) -> Plan:
    """Depths by widths at one data size, and Porian's walk where the budget pays for it too."""
    walked = walk_jobs(bench, NAME)
    cost = bench.cost(walked)
    beside = _depths(bench, bench.allowance.amount - cost)
    if beside:
        return Plan([*beside, *walked])
    jobs = _depths(bench, bench.allowance.amount)
    needed = Budget(bench.allowance.unit, cost + bench.cost(_smallest(bench)))
    left_out = [
        f"Porian's walk from Kaplan's to Chinchilla's exponent needs {needed} of this design's "
        f"budget, which is {bench.allowance}; its first step, counting, needs no runs."
    ]
    if not jobs:
        left_out.append("figure 6: its smallest runs cost more than this design's budget.")
    return Plan(jobs, left_out)


def _depths(bench: Bench, amount: float) -> list[Job]:
    """The largest sizes, then the most tokens, that `amount` pays for; the ladder's data sizes, so
    that the ladder's runs are one of the depths."""
    levels = _data_sizes(bench)
    first = levels[2]
    sizes = [size_of(shape) for shape in bench.sizes]
    for top in reversed([size for size in sizes if size >= SPAN * sizes[0]] or sizes[-1:]):
        known: list[Job] = []
        for level in levels:
            jobs = _level(bench, top, level)
            if bench.cost(jobs) > amount:
                break
            known = jobs
        # A size is worth its place once it gets as many tokens as the ladder's first data size.
        if known and known[0].spec.tokens >= 0.9 * first:
            return known
    for level in (levels[1], levels[0]):
        jobs = _level(bench, SPAN * sizes[0], level)
        if bench.cost(jobs) <= amount:
            return jobs
    return []


def _data_sizes(bench: Bench) -> list[float]:
    """Those of the ladder, and two below them for a small budget."""
    tokens = bench.ladder.tokens if bench.ladder else (1_000_000, 4_000_000)
    return [tokens[0] / 4, tokens[0] / 2, *tokens]


def _smallest(bench: Bench) -> list[Job]:
    return _level(bench, SPAN * size_of(bench.sizes[0]), _data_sizes(bench)[0])


def _level(bench: Bench, top: float, tokens: float) -> list[Job]:
    found: list[Job] = []
    for depth in DEPTHS:
        in_ladder = bench.ladder is not None and tokens in bench.ladder.tokens
        if depth == bench.family.n_layer and in_ladder:
            continue  # the ladder's own runs are of this depth and this data size
        family = replace(bench.family, n_layer=depth)
        shapes = [shape_of_width(width, family) for width in WIDTHS]
        wanted = np.geomspace(top / SPAN, top, WIDTHS_EACH)
        chosen = {
            min(shapes, key=lambda s, n=n: abs(np.log(size_of(s) / n)))  # type: ignore[misc]
            for n in wanted
        }
        for shape in sorted(chosen, key=size_of):
            run = f"{NAME}-l{depth}-n{format_count(size_of(shape))}-d{format_count(tokens)}"
            layers = "one layer" if depth == 1 else f"{depth} layers"
            spec = bench.spec(run, shape, tokens, noise_every=0)
            found.append(bench.job(spec, f"{layers}: N with and without embeddings"))
    return found


# --- conclusion -----------------------------------------------------------------------------------


def conclude(evidence: Evidence) -> Conclusion:
    """Scatter about one curve by each count, exponents by each count, and the walk if it ran."""
    deep = figure_six(evidence)
    ladder_runs = table(evidence.branches)
    shapes = [
        run.spec.shape for run in evidence.branches if isinstance(run.spec.shape, TransformerShape)
    ]
    grown, alone = _grown(ladder_runs, shapes, evidence)
    counting = _counting(grown, alone, evidence)
    steps = walk(evidence.own, evidence.level, evidence.seed)
    ratio, why_not = scatter_ratio(deep, evidence)
    findings = [Finding(SCATTER, None if why_not else ratio, why_not)]
    if any(is_walk(run.spec) for run in evidence.own):
        why = "a step of the walk has too few runs, or no optimum among them"
        last = steps.get("tuned")
        findings += [
            Finding(WALK, _difference(steps.get("kaplan"), last, evidence), why),
            Finding(WALK_END, None if last is None else last.exponent, why),
        ]
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, deep, counting, grown, steps),
        findings,
        _numbers(findings, deep, ratio, counting, grown, steps, ladder_runs, evidence),
        pictures(deep, grown, steps),
        evidence.notices,
        evidence.left_out,
    )


def _grown(
    runs: pl.DataFrame, shapes: Sequence[TransformerShape], evidence: Evidence
) -> tuple[dict[tuple[str, str], Growth], Growth | None]:
    """The exponent of N_opt from the ladder by every way to count N and C; and with the output
    layer counted, but by the law without it."""
    found, alone = {}, None
    for params in PARAMS:
        fitted = fit_counted(runs, params, evidence.level, evidence.seed)
        for flops in FLOPS:
            one = growth(fitted, runs, shapes, params, flops)
            if one is not None:
                found[params, flops] = one
        if params == "matrices":
            alone = growth(fitted, runs, shapes, params, "6N", told="with-output")
    return found, alone


def _difference(first: Growth | None, last: Growth | None, evidence: Evidence) -> Estimate | None:
    """Of two exponents, draw by draw: the noise drawn was the same where the runs are."""
    if first is None or last is None:
        return None
    value = first.exponent.value - last.exponent.value
    return unbounded(value, first.draws - last.draws, evidence.level)


def _counting(
    grown: Mapping[tuple[str, str], Growth], alone: Growth | None, evidence: Evidence
) -> dict[str, Estimate]:
    """What counting the output layer takes off the exponent of N_opt: as fitted, and alone.

    No comparison with Porian et al.: V d more for a model of width d makes ln N span less whatever
    the losses are, so that the exponent has to fall, by an amount that V sets.
    """
    bare, with_output = (grown.get((how, "6N")) for how in ("matrices", "with-output"))
    wanted = zip(COUNTING, (with_output, alone), strict=True)
    steps = {name: _difference(bare, last, evidence) for name, last in wanted}
    return {name: step for name, step in steps.items() if step is not None}


# --- words, numbers, pictures ---------------------------------------------------------------------


def _numbers(
    findings: Sequence[Finding],
    deep: Sequence[Run],
    ratio: Estimate | None,
    counting: Mapping[str, Estimate],
    grown: Mapping[tuple[str, str], Growth],
    steps: Mapping[str, Growth],
    runs: pl.DataFrame,
    evidence: Evidence,
) -> dict[str, Number]:
    numbers = {
        finding.check.name: Number(finding.estimate, "", finding.check.claim)
        for finding in findings
        if finding.estimate is not None
    }
    if ratio is not None:  # a number also where it decides nothing
        meaning = "scatter of ln L about one curve in N with embeddings over that without"
        numbers[SCATTER.name] = Number(ratio, "", meaning)
    for name, one in counting.items():
        numbers[name] = Number(one, "", COUNTING[name])
    flat = one_layer(deep, evidence)
    if flat is not None:
        meaning = "share of the loss by which one-layer models lie above deeper ones of equal N"
        numbers["one_layer_excess"] = Number(flat, "", meaning)
    most = runs if runs.is_empty() else runs.filter(pl.col("tokens") == runs["tokens"].max())
    for params in PARAMS:
        law = attempt(
            get_law("power-no-floor", "params"),
            count(most, params),
            estimator="least-squares",
            clusters="run",
            level=evidence.level,
            seed=evidence.seed,
        )
        alpha = law.parameter("alpha")
        if alpha is not None:
            meaning = f"exponent of L(N) at the largest data size, N {WORDS[params]}"
            numbers[f"alpha_N {params}"] = Number(alpha, "", meaning)
    for (params, flops), grew in grown.items():
        meaning = f"a in N_opt ~ C^a, N {WORDS[params]}, C {WORDS[flops]}"
        numbers[f"N_opt {params} {flops}"] = Number(grew.exponent, "", meaning)
    for step in STEPS:
        if step.name in steps:
            meaning = f"a in N_opt ~ C^a on the walk: {step.title} (Porian et al.: {step.paper})"
            numbers[f"walk {step.name}"] = Number(steps[step.name].exponent, "", meaning)
    return numbers


def _statement(
    findings: Sequence[Finding],
    deep: Sequence[Run],
    counting: Mapping[str, Estimate],
    grown: Mapping[tuple[str, str], Growth],
    steps: Mapping[str, Growth],
) -> str:
    parts = []
    if findings[0].estimate is not None:
        rows = deep[0].spec.shape.vocabulary
        parts.append(
            f"models of several depths scatter {findings[0].estimate} times as far about one curve "
            f"in N with embeddings as without (paper: several times), at an embedding of {rows} "
            "rows, the paper's 50,257"
        )
    told = [
        f"{one.exponent} ({WORDS[how[0]]}, {WORDS[how[1]]})"
        for how in (("matrices", "6N"), ("with-output", "6N"), ("total", "6N"))
        if (one := grown.get(how)) is not None
    ]
    if told:
        parts.append(f"one ladder gives N_opt ~ C^a with a = {', '.join(told)}")
    if len(counting) == len(COUNTING):
        parts.append(
            f"counting the output layer lowers a by {counting['output_layer_step']}, where counting"
            f" alone makes it {counting['output_layer_step_by_counting_alone']} (Porian et al. .13)"
        )
    if "kaplan" in steps and "tuned" in steps:
        parts.append(
            f"the whole walk goes from {steps['kaplan'].exponent} to {steps['tuned'].exponent} "
            "(Porian et al. .835 to .497)"
        )
    missing = [
        f"{finding.check.spoken} ({finding.why})"
        for finding in findings
        if finding.estimate is None
    ]
    text = f"{phrase(findings)}: " + ("; ".join(parts) or "nothing could be measured")
    text += f"; not measured: {'; '.join(missing)}." if missing else "."
    return text + because(findings)


DESIGN = Design(
    name=NAME,
    title="Embedding parameters, and what counting does",
    paper="figure 6, section 3.2; Porian et al. 2024",
    varies="depth at equal N; how N and compute are counted; in a large budget warm-up, schedule "
    "and learning rate, one after the other",
    holds="data size, recipe, text",
    concludes="whether N without embeddings orders the losses, and exponents by each way to count",
    weight=0.5,
    plan=plan,
    conclude=conclude,
)

"""Loss per token of the context: a power law in the position, and what larger models gain there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Estimate
from scalelab.fitting.line import fit_line
from scalelab.laws import get_law
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.context_parts import (
    DRAWS,
    EARLY,
    LEAST_SIZES,
    Part,
    beside,
    beside_words,
    bytes_between,
    parts_of,
    short_over_long,
    size_law,
)
from scalelab.studies.analysis.positions import STOPPED, Binned, binned, stops_improving
from scalelab.studies.conclusion import Check, Conclusion, Finding, Number, because, phrase
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.long_context import (
    ended,
    has_positions,
    largest_ladder,
    planned,
    tuned,
    what_would,
)
from scalelab.studies.pictures.context import pictures_of
from scalelab.units import format_count

EXPONENT = Check(
    "exponent of the position at the largest N",
    0.55,
    0.3,
    0.8,
    "appendix D.5, figure 20",
    "the loss falls with the position T as E + A T^-alpha, alpha .47 to .62",
    "the paper's exponents rise with N, and a small model trained on few tokens soon stops to gain "
    "from more context, which the law takes for a higher floor and a larger exponent",
)
"""The region is that of the paper's six models, .47 to .62, and about as much again on either side:
its exponents rise with N, and models here are smaller."""

GROWS = Check.at_least(
    "exponent in N late in the context less early",
    0.0,
    "appendix D.5, figure 21",
    "the loss falls faster with N late in the context than at its first tokens",
    "models begin with short-range information (figure 20), and these are small and trained on few "
    "tokens",
)

STARTS = (2.0, 4.0, 8.0)
"""Bytes from which on the law in the position is fitted: half a token of the paper, one, two. Floor
and exponent trade against each other, so where the law begins moves both by more than noise does;
the interval is the union of all three, the value that of the middle one."""

LATE = 0.5
"""Share of the context from which on it is late."""


def plan(bench: Bench) -> Plan:
    """The Transformers with a long context: those planned already, else what is paid for."""
    if there := planned(bench):
        return Plan(there)
    found = largest_ladder(bench, ())
    if found is None:
        return Plan(left_out=(what_would(bench, ()),))
    return Plan(tuned(bench, *found))


def conclude(evidence: Evidence) -> Conclusion:
    """A power law in the position for each size; exponents in N early and late."""
    runs = [run for run in ended(evidence.own, "transformer") if has_positions(run)]
    if runs:
        runs = [run for run in runs if len(run.positions) == len(runs[-1].positions)]
    fits = [_position_law(binned(run.positions), STARTS[1], evidence) for run in runs]
    alphas = [_exponent(run, fit, evidence) for run, fit in zip(runs, fits, strict=True)]
    why = fits[-1].why if fits else "no run with losses by position has finished"
    grows, why_not = _grows(runs, evidence)
    findings = [
        Finding(EXPONENT, alphas[-1] if alphas else None, why),
        Finding(GROWS, grows, why_not),
    ]
    parts = [
        (part, size_law(runs, part.part, evidence).parameter("alpha"))
        for part in parts_of(runs, evidence)
    ]
    exponents = [(part, alpha) for part, alpha in parts if alpha is not None]
    numbers = _position_numbers(runs, fits, alphas)
    if grows is not None:
        numbers["alpha_N_late_less_early"] = Number(
            grows, "", "exponent of L(N) in the last half of the context less that at its beginning"
        )
    for part, alpha in exponents:
        numbers[f"alpha_N_{part.name}"] = Number(
            alpha, "", f"exponent of L(N), no floor, at positions {part.words} of the context"
        )
    short = beside(runs, evidence)
    if (found := short_over_long(short, evidence)) is not None:
        numbers["short_context_early"] = Number(
            found,
            "",
            f"loss early in the context with one of {short[0][0].spec.shape.context} tokens, "
            f"{beside_words(short)}, over that with the long one, minus 1: the mean over sizes",
        )
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(findings, runs, exponents, evidence),
        findings,
        numbers,
        pictures_of(runs, fits, short, evidence),
    )


def _position_numbers(
    runs: Sequence[Run], fits: Sequence[Attempt], alphas: Sequence[Estimate | None]
) -> dict[str, Number]:
    """The exponent of each size, with the floor that it trades against."""
    numbers = {}
    for run, fit, alpha in zip(runs, fits, alphas, strict=True):
        if alpha is None or fit.fit is None:
            continue
        names = fit.fit.law.names
        draws = (fit.fit.draws[:, names.index(name)] for name in ("E", "alpha"))
        # Of ranks: where the law is a step, exponents are drawn without end.
        apart = np.corrcoef([one.argsort().argsort() for one in draws])[0, 1]
        numbers[f"alpha_T_n{run.params}"] = Number(
            alpha,
            "",
            f"exponent of the position at N = {format_count(run.params)}, over all starts of the "
            f"law; floor E = {fit.fit.parameters['E']}, rank correlation with it {apart:.2f}",
        )
    return numbers


def _position_law(found: Binned, start: float, evidence: Evidence) -> Attempt:
    """E + A T^-alpha through the bins of one size, which count as 1 / error^2. start: in bytes."""
    inside = found.first >= start / evidence.bytes_per_token
    frame = pl.DataFrame(
        {
            "run": [f"bin {i}" for i in np.flatnonzero(inside)],
            "position": found.position[inside],
            "loss": found.loss[inside],
            "std": found.error[inside],
        }
    )
    return attempt(
        get_law("power", "position"),
        frame,
        std="std",
        clusters="run",
        draws=DRAWS,
        level=evidence.level,
        seed=evidence.seed,
    )


def _exponent(run: Run, middle: Attempt, evidence: Evidence) -> Estimate | None:
    """The exponent of the middle start with the union of the intervals of all."""
    if (value := middle.parameter("alpha")) is None:
        return None
    bins = binned(run.positions)
    fits = [_position_law(bins, start, evidence) for start in (STARTS[0], STARTS[2])]
    found = [value, *(alpha for fit in fits if (alpha := fit.parameter("alpha")) is not None)]
    low, high = min(one.low for one in found), max(one.high for one in found)
    return Estimate(value.value, low, high, evidence.level, value.stderr)


def _grows(runs: Sequence[Run], evidence: Evidence) -> tuple[Estimate | None, str]:
    """alpha_N late less alpha_N early: the slope of log(L early / L late) against log N.

    All sizes are evaluated on the same text, and a run's luck moves all its positions alike: both
    leave the ratio alone.
    """
    if len(runs) < LEAST_SIZES:
        return None, f"{len(runs)} sizes have finished with losses by position"
    ratio = []
    for run in runs:
        early = run.positions[bytes_between(EARLY, evidence)].mean()
        late = run.positions[int(LATE * len(run.positions)) :].mean()
        ratio.append(np.log(early / late))
    params = np.log([run.params for run in runs])
    try:
        return fit_line(params, np.array(ratio), level=evidence.level).slope, ""
    except FitError as error:
        return None, str(error)


def _statement(
    findings: Sequence[Finding],
    runs: Sequence[Run],
    exponents: Sequence[tuple[Part, Estimate]],
    evidence: Evidence,
) -> str:
    words = []
    alpha, grows = (finding.estimate for finding in findings)
    if alpha is None:
        words.append(f"no power law in the position was found ({findings[0].why})")
    else:
        found = binned(runs[-1].positions)
        stops = stops_improving(found, STOPPED, evidence.level, evidence.seed)
        words.append(
            f"at N = {format_count(runs[-1].params)} the loss falls with the position as "
            f"E + A T^-alpha, alpha {alpha.value:.2f} [{alpha.low:.2f}, {alpha.high:.2f}] over "
            f"laws that begin at {', '.join(f'{start:g}' for start in STARTS)} bytes, because "
            "floor and exponent trade against each other (the paper: .47 to .62), and it is within "
            f"{STOPPED:.0%} of its least from position {stops} on"
        )
    if grows is None:
        words.append(f"exponents in N early and late are not known ({findings[1].why})")
    else:
        each = [f"{one.value:.3f} at positions {part.words}" for part, one in exponents]
        words.append(
            f"the exponent of L(N) is {grows} larger in the last half of the context than at its "
            f"beginning (the paper: larger): {', '.join(each)}"
        )
    return f"{phrase(findings)}: {'; '.join(words)}.{because(findings)}"


DESIGN = Design(
    name="context",
    title="Loss per token of the context",
    paper="figures 20 and 21, appendix D.5",
    varies="N; the position in the context",
    holds="text, tokens, batch, context",
    concludes="the power law in the position, and whether larger models gain more late in it",
    weight=0.4,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

"""L(N), L(D), L(C): a power law in each factor alone, as long as the other two do not run short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.frontier_exponents import (
    DECADES,
    Along,
    along_frontier,
    along_least,
    converged_exponent,
    relative_batch,
    union,
)
from scalelab.studies.analysis.joint import Joint, joint_of
from scalelab.studies.analysis.log_linear import LOCAL, exponent_of_data, exponent_of_size
from scalelab.studies.analysis.one_factor import ShortData, Slice, at_most_tokens
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    Picture,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, table
from scalelab.studies.pictures.alone import (
    NAME,
    bottleneck_picture,
    compute_picture,
    data_picture,
    size_picture,
)
from scalelab.studies.sizes import size_of
from scalelab.studies.subsets import lattice, limited, subset_job
from scalelab.units import bits_per_byte

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

MARGIN = 0.25
"""Of each exponent. The paper's own values of one exponent differ by a tenth (.095 and .103; .050,
.052, .054, .057), and a quarter more or less is 4 or 6.5% less loss instead of 5% for twice the
parameters: no plan would change by less. (assumed)"""

LEVELS = 6
"""Data sets, each twice the one before: a decade and a half."""

LEAST_LEVELS = 4
"""With fewer a power law meets no check."""

LIMITS = 1.5
"""Tokens a parameter up to which a data set, not the size, limits the loss. (measured: 98.3k
parameters, books: .9 tokens a parameter cost as much as the size did)"""

SAME_BATCH = 0.2
"""B / B_crit up to which C_min, within a fifth of C, is no second measurement. (assumed)"""

SIZE = Check.about(
    "alpha_N",
    0.076,
    MARGIN * 0.076,
    "equation 1.1",
    "L ~ N^-.076",
    "models far smaller than the paper's, the largest of them far from convergence",
)
DATA = Check.about(
    "alpha_D",
    0.095,
    MARGIN * 0.095,
    "equation 1.2",
    "L ~ D^-.095",
    "one small size, not converged, on data sets of kilobytes without dropout (the paper 10%)",
)
COMPUTE = Check.about(
    "alpha_C",
    0.057,
    MARGIN * 0.057,
    "section 3.3",
    "L ~ C^-.057, fixed batch",
    "far less compute than in the paper, the least of it a thousand steps or so",
)
COMPUTE_MIN = Check.about(
    "alpha_C_min",
    0.050,
    MARGIN * 0.050,
    "equation 1.3",
    "L ~ C_min^-.050",
    "far less compute than in the paper, and a critical batch measured at few losses",
)
SHORT_DATA = Check.at_most(
    "size_where_data_is_short",
    1.0,
    "section 1.1, figure 4",
    "size helps less where data is short",
    "the least data are few steps, of which warm-up and rate decide as much as size does",
)
SHORT_SIZE = Check.at_most(
    "data_where_size_is_short",
    1.0,
    "section 1.1, figure 4",
    "data helps less where the model is small",
    "a grid of little more than half a decade of data",
)


def plan(bench: Bench) -> Plan:
    """The largest ladder size that can be trained on LEVELS data sets, and as many as are paid for.

    Only data sets that limit that size, and never more than a third of the ladder's longest run,
    which could not use it up.
    """
    longest = bench.ladder.tokens[-1] if bench.ladder else bench.corpus.train.tokens
    most = min(longest, bench.corpus.train.tokens) / 3
    cheapest = float("inf")
    for least in range(LEVELS, LEAST_LEVELS - 1, -1):
        for shape in reversed(bench.sizes):
            sets = lattice(min(most, LIMITS * size_of(shape)))
            if len(sets) < least:
                continue
            jobs = [subset_job(bench, NAME, shape, unique) for unique in sets[:least]]
            cheapest = bench.cost(jobs)
            if cheapest > bench.allowance.amount:
                continue
            for unique in sets[least:]:
                more = subset_job(bench, NAME, shape, unique)
                if bench.cost([*jobs, more]) > bench.allowance.amount:
                    break
                jobs.append(more)
            return Plan(jobs, () if least == LEVELS else (_few(least),))
    if cheapest == float("inf"):
        return Plan((), ("L(D): the text is too short for four data sets that a model uses up.",))
    needs = cheapest / bench.allowance.amount
    return Plan((), (f"L(D): its smallest runs cost {needs:.1f} times this design's budget.",))


def _few(levels: int) -> str:
    return f"L(D) has {levels} data sets; {LEVELS}, a decade and a half, need a larger budget."


def conclude(evidence: Evidence) -> Conclusion:
    """Exponents of N, D and C with and without a floor, and local exponents where one is short."""
    runs, level = table(evidence.branches), evidence.level
    joint = joint_of(evidence)
    size = Slice("params", at_most_tokens(runs), evidence)
    short = ShortData(limited(evidence.own, evidence.trunks), evidence)
    compute = None if joint is None else along_frontier(joint, "6N", level)
    least = along_least(joint, compute, evidence) if joint and compute else None
    local = attempt(LOCAL, runs, level=level, seed=evidence.seed)
    findings = [
        _size_finding(size, joint, level),
        short.finding(DATA),
        _along_finding(COMPUTE, joint, compute),
        _least_finding(joint, compute, least, evidence),
        *_bottlenecks(local, runs, level),
    ]
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, size, short, compute, evidence),
        findings,
        _numbers(findings, size, short, joint, compute, least, evidence),
        _pictures(size, short, joint, compute, runs),
        evidence.notices,
        evidence.left_out,
    )


# --- the exponents --------------------------------------------------------------------------------


def _size_finding(size: Slice, joint: Joint | None, level: float) -> Finding:
    """The paper's laws have no floor, so neither has what is compared with them.

    The slice leaves the largest sizes short of data, and the joint law at convergence is a guess
    beyond the ladder's data: the exponent lies somewhere in the two.
    """
    bare = size.bare.parameter("alpha")
    if bare is None:
        return size.bare.finding(SIZE, None)
    if joint is None:
        why = "the ladder's runs give no joint law, and so nothing at convergence"
        return Finding(SIZE, None, why)
    return Finding(SIZE, union(bare, converged_exponent(joint, level)))


def _along_finding(check: Check, joint: Joint | None, found: Along | None) -> Finding:
    if joint is None:
        return Finding(check, None, "the ladder's runs give no joint law of size and data")
    if found is None or found.decades < DECADES:
        far = "no" if found is None else f"{found.decades:.2g}"
        why = f"the optimum is among the ladder's sizes and data over {far} decades of compute"
        return Finding(check, None, why)
    return Finding(check, found.exponent)


def _least_finding(
    joint: Joint | None, compute: Along | None, least: Along | None, evidence: Evidence
) -> Finding:
    """None at a batch so small that C_min is C: that would count one measurement twice."""
    if evidence.critical_batch is None:
        return Finding(COMPUTE_MIN, None, "no critical batch was measured, so C_min is not known")
    if joint is not None and compute is not None:
        most = float(relative_batch(joint, compute.loss, evidence).max())
        if most < SAME_BATCH:
            why = f"the same runs: C_min is C to within {most:.0%}, not a second test"
            return Finding(COMPUTE_MIN, None, why)
    return _along_finding(COMPUTE_MIN, joint, least)


def _bottlenecks(local: Attempt, runs: pl.DataFrame, level: float) -> list[Finding]:
    """The local exponent where the other factor is shortest over that where it is not short."""
    if local.fit is None:
        return [local.finding(check, None) for check in (SHORT_DATA, SHORT_SIZE)]
    few, many = float(runs["tokens"].min()), float(runs["tokens"].max())  # type: ignore[arg-type]
    small, large = float(runs["params"].min()), float(runs["params"].max())  # type: ignore[arg-type]
    n, d = (small * large) ** 0.5, (few * many) ** 0.5
    size = local.of(lambda p: exponent_of_size(p, n, few) / exponent_of_size(p, n, many), level)
    data = local.of(lambda p: exponent_of_data(p, small, d) / exponent_of_data(p, large, d), level)
    return [local.finding(SHORT_DATA, size), local.finding(SHORT_SIZE, data)]


# --- words, numbers, pictures ---------------------------------------------------------------------


def _numbers(
    findings: Sequence[Finding],
    size: Slice,
    short: ShortData,
    joint: Joint | None,
    compute: Along | None,
    least: Along | None,
    evidence: Evidence,
) -> dict[str, Number]:
    level = evidence.level
    numbers = size.numbers("of size, at the ladder's largest data size: not at convergence")
    numbers |= short.bare.numbers("of the data set, trained until the held-out loss turned")
    wanted: list[tuple[str, Estimate | None, str, str]] = []
    if short.law is not None:
        words = "in L_inf (1 + D_0 / D)^alpha_D, equation 1.5 at one size"
        wanted += [
            (
                "alpha_D_at_one_size",
                short.law.exponent_of_data,
                "",
                f"exponent of the data set {words}",
            ),
            ("data_as_dear_as_the_size", short.equal, "tokens", f"D_0 {words}"),
        ]
    if joint is not None:
        exact = along_frontier(joint, "exact", level)
        wanted.append(
            (
                "alpha_N_converged",
                converged_exponent(joint, level),
                "",
                "exponent of size without end of data, by the ladder's joint law",
            )
        )
        for name, along, words in (
            ("alpha_C", compute, "C = 6 N D"),
            ("alpha_C_exact", exact, "C, every product counted"),
            ("alpha_C_min", least, "C_min = C / (1 + B / B_crit), C = 6 N D"),
        ):
            if along is not None:
                over = f"{along.decades:.2g} decades where the optimum is among the ladder's runs"
                wanted.append((name, along.exponent, "", f"exponent of {words}, over {over}"))
    numbers |= {
        name: Number(one, unit, meaning) for name, one, unit, meaning in wanted if one is not None
    }
    for finding in findings[4:]:
        if finding.estimate is not None:
            meaning = f"{finding.check.claim}: local exponent there over that where it is not short"
            numbers[finding.check.name] = Number(finding.estimate, "", meaning)
    return numbers


def _statement(
    findings: Sequence[Finding],
    size: Slice,
    short: ShortData,
    compute: Along | None,
    evidence: Evidence,
) -> str:
    how = {
        SIZE: "from the slice at the largest data size to the joint law at convergence",
        DATA: f"from a bare power law to equation 1.5, data sets of {short.range}, no dropout"
        if short.fitted
        else "",
        COMPUTE: f"{compute.decades:.2g} decades of 6 N D" if compute else "",
    }
    parts = [
        f"{finding.check.name} is {finding.estimate} (paper {finding.check.paper:g}, "
        f"{finding.verdict}{'; ' * bool(how.get(finding.check))}{how.get(finding.check, '')})"
        for finding in findings[:4]
        if finding.estimate is not None
    ]
    missing = [
        f"{finding.check.spoken} ({finding.why})"
        for finding in findings
        if finding.estimate is None
    ]
    text = f"{phrase(findings)}: " + ("; ".join(parts) or "nothing could be fitted")
    if missing:
        text += f"; not measured: {'; '.join(missing)}"
    floor = size.floor.parameter("E")
    if floor is not None and floor.value > 0:
        bits = bits_per_byte(floor.value, evidence.bytes_per_token)
        text += (
            f". A floor of {bits:.2f} bits per byte (the entropy of the text, if the fit is right) "
            "would make exponents without one, as the paper's are, smaller"
        )
    return text + "." + because(findings)


def _pictures(
    size: Slice,
    short: ShortData,
    joint: Joint | None,
    compute: Along | None,
    runs: pl.DataFrame,
) -> list[Picture]:
    found = []
    if not size.runs.is_empty():
        found.append(size_picture(size.runs, size.series(), joint))
    if short.cells:
        found.append(data_picture(short.cells, short.law, short.bare.series()[:1]))
    if not runs.is_empty():
        found += [compute_picture(runs, compute), bottleneck_picture(runs)]
    return found


DESIGN = Design(
    name=NAME,
    title="Parameters, data and compute, each alone",
    paper="figure 1, sections 1.2 and 3",
    varies="size at the ladder's largest data size and without end of data; the size of the data "
    "set at one size; compute along the frontier",
    holds="the recipe, the text, the shape's family; batch and rates as the ladder has them",
    concludes="exponents of L(N), L(D) and L(C), and whether one factor alone is a bottleneck",
    weight=1.0,
    plan=plan,
    conclude=conclude,
)

"""L(N), L(D), L(C): a power law in each factor alone, as long as the other two do not run short."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from scalelab.studies.attempt import Attempt, attempt, line_through
from scalelab.studies.conclusion import (
    Axis,
    Check,
    Conclusion,
    Finding,
    Number,
    Picture,
    Series,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, table
from scalelab.studies.log_linear import LOCAL, exponent_of_data, exponent_of_size
from scalelab.studies.overfit_grid import NO_LIMIT
from scalelab.studies.sizes import size_of
from scalelab.studies.subsets import Limited, lattice, limited, subset_job, unlimited
from scalelab.units import bits_per_byte, format_count

NAME = "parameters-data-compute"

MARGIN = 0.25
"""Of each exponent. The paper's own values of one exponent differ by a tenth (.095 and .103; .050,
.052, .054, .057), and a quarter more or less is 4 or 6.5% less loss instead of 5% for twice the
parameters: no plan would change by less. (assumed)"""

LEVELS = 6
"""Data sets, each twice the one before: a decade and a half."""

LEAST_LEVELS = 4
"""With fewer a power law meets no check."""

LIMITS = 4.0
"""Tokens a parameter up to which a data set limits the loss. (measured: 24.6k parameters, books:
with 2.7 tokens a parameter the loss was 7% above that on data to spare, with 11 about 3%)"""

LIMITED = "L_inf * (1 + D_0 / U)^alpha"
"""Equation 1.5 at one size: L_inf is what the size reaches with data to spare, and alpha the
exponent of L(D) where data alone is short. A bare power law through sets of D_0 tokens and more
would find half of it."""

SIZE = Check.about("alpha_N", 0.076, MARGIN * 0.076, "equation 1.1", "L ~ N^-.076")
DATA = Check.about("alpha_D", 0.095, MARGIN * 0.095, "equation 1.2", "L ~ D^-.095")
COMPUTE = Check.about("alpha_C", 0.057, MARGIN * 0.057, "section 3.3", "L ~ C^-.057, fixed batch")
COMPUTE_MIN = Check.about("alpha_C_min", 0.050, MARGIN * 0.050, "equation 1.3", "L ~ C_min^-.050")
SHORT_DATA = Check.at_most(
    "size_where_data_is_short",
    1.0,
    "figure 4, section 3",
    "size helps less where data is short",
)
SHORT_SIZE = Check.at_most(
    "data_where_size_is_short",
    1.0,
    "figure 4, section 3",
    "data helps less where the model is small",
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
    runs = table(evidence.branches)
    size = _Slice("params", _most(runs, "tokens"), evidence)
    data_runs = limited(evidence.own, evidence.trunks)
    data = _Slice("unique_tokens", _table([one for one in data_runs if one.turned]), evidence)
    short = _limited_law(data_runs, evidence)
    compute = _Slice("flops", _frontier(runs, "flops"), evidence)
    adjusted = _with_least_compute(runs, evidence)
    least = _Slice("flops_min", _frontier(adjusted, "flops_min"), evidence)
    local = attempt(LOCAL, runs, level=evidence.level, seed=evidence.seed)
    findings = [
        size.finding(SIZE),
        short.finding(DATA, short.parameter("alpha")),
        compute.finding(COMPUTE),
        least.finding(COMPUTE_MIN)
        if evidence.critical_batch
        else Finding(COMPUTE_MIN, None, "no critical batch was measured, so C_min is not known"),
        *_bottlenecks(local, runs, evidence.level),
    ]
    numbers: dict[str, Number] = {}
    for part, what in (
        (size, "of size, at the ladder's largest data size: a slice, not at convergence"),
        (data, "of the data set, trained until the held-out loss turned"),
        (compute, "of compute as spent, along the runs that no cheaper one beats"),
        (least, "of compute at a batch far below the critical one"),
    ):
        numbers |= part.numbers(what)
    alpha_data = short.parameter("alpha")
    if alpha_data is not None:
        numbers["alpha_D"] = Number(alpha_data, "", f"exponent of the data set in L = {LIMITED}")
    for finding in findings[4:]:
        if finding.estimate is not None:
            meaning = f"{finding.check.claim}: local exponent there over that where it is not short"
            numbers[finding.check.name] = Number(finding.estimate, "", meaning)
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, size, evidence),
        findings,
        numbers,
        _pictures(size, data, short, compute, runs, data_runs),
        evidence.notices,
        evidence.left_out,
    )


class _Slice:
    """A law in one variable through runs: with and without a floor."""

    def __init__(self, column: str, runs: pl.DataFrame, evidence: Evidence) -> None:
        from scalelab.laws import get_law

        # Each run counts for itself: with one run a size there is nothing that they share.
        options = {
            "estimator": "least-squares",
            "clusters": "run",
            "level": evidence.level,
            "seed": evidence.seed,
        }
        self.column, self.runs = column, runs
        self.bare = attempt(get_law("power-no-floor", column), runs, **options)
        self.floor = attempt(get_law("power", column), runs, **options)

    def finding(self, check: Check) -> Finding:
        """The paper's laws have no floor, so neither has what is compared with them."""
        return self.bare.finding(check, self.bare.parameter("alpha"))

    def numbers(self, what: str) -> dict[str, Number]:
        """Exponents with and without a floor, and the floor."""
        key = f"alpha_{self.column}"
        wanted = (
            (key, self.bare, "alpha", "", f"exponent {what}, without a floor"),
            (f"{key}_above_floor", self.floor, "alpha", "", f"exponent {what}, above a floor"),
            (f"floor_{self.column}", self.floor, "E", "nats/token", f"the floor {what}"),
        )
        found = {}
        for name, one, parameter, unit, meaning in wanted:
            estimate = one.parameter(parameter)
            if estimate is not None:
                found[name] = Number(estimate, unit, meaning)
        return found

    def series(self) -> list[Series]:
        """The law as a line, with and without its floor."""
        found = []
        for label, one, mark in (
            ("power law", self.bare, "line"),
            ("with a floor", self.floor, "dashed"),
        ):
            if one.fit is not None:
                low, high, _ = one.fit.ranges[self.column]
                x, y = line_through(one, self.column, low, high)
                found.append(Series(x.tolist(), y.tolist(), mark, label))  # type: ignore[arg-type]
        return found


def _most(runs: pl.DataFrame, column: str) -> pl.DataFrame:
    return runs if runs.is_empty() else runs.filter(pl.col(column) == runs[column].max())


def _frontier(runs: pl.DataFrame, column: str) -> pl.DataFrame:
    """Runs that none of no more compute beats."""
    if runs.is_empty():
        return runs
    ordered = runs.sort(column, "loss")
    return ordered.filter(ordered["loss"] <= ordered["loss"].cum_min())


def _with_least_compute(runs: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    """Runs with C_min = C / (1 + B / B_crit(L)) (equation 5.5); none without a B_crit."""
    found = evidence.critical_batch
    if found is None or runs.is_empty():
        return pl.DataFrame()
    critical = found["B_star"] / pl.col("loss") ** (1 / found["alpha_B"])
    return runs.with_columns(
        (pl.col("flops") / (1 + pl.col("batch_tokens") / critical)).alias("flops_min")
    )


def _table(runs: Sequence[Limited]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "run": [one.run.spec.run for one in runs],
            "unique_tokens": [float(one.unique) for one in runs],
            "loss": [one.loss for one in runs],
        }
    )


def _limited_law(found: Sequence[Limited], evidence: Evidence) -> Attempt:
    """Equation 1.5 through the data sets of one size and its trunk, which has data to spare."""
    from scalelab.laws import Parameter, custom_law

    turned = [one for one in found if one.turned]
    if not turned:
        return Attempt(None, "no run on a data set of fixed size had turned")
    spare = [
        loss
        for trunk in evidence.trunks
        if trunk.finished and trunk.params == turned[0].params
        if (loss := unlimited(trunk)) is not None
    ]
    if not spare:
        return Attempt(None, "the ladder's trunk of that size, the reference, is missing")
    reference = pl.DataFrame({"run": ["unlimited"], "unique_tokens": [NO_LIMIT], "loss": spare[:1]})
    scale = Parameter("D_0", "tokens that cost as much as the size does", 1.0, 1e13, log=True)
    return attempt(
        custom_law(LIMITED, [scale], name="limited"),
        pl.concat([_table(turned), reference]),
        estimator="least-squares",
        clusters="run",
        level=evidence.level,
        seed=evidence.seed,
    )


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


def _statement(findings: Sequence[Finding], size: _Slice, evidence: Evidence) -> str:
    parts = [
        f"{finding.check.name} is {finding.estimate} (paper {finding.check.paper:g}, "
        f"{finding.verdict})"
        for finding in findings[:4]
        if finding.estimate is not None
    ]
    missing = [finding.check.name for finding in findings if finding.estimate is None]
    text = f"{phrase(findings)}: " + ("; ".join(parts) or "nothing could be fitted")
    if missing:
        text += f"; not measured: {', '.join(missing)}"
    floor = size.floor.parameter("E")
    text += (
        ". The paper's L(N) is at convergence and its tokens are BPE of WebText2; this one is a "
        "slice at one data size"
    )
    if floor is not None and floor.value > 0:
        bits = bits_per_byte(floor.value, evidence.bytes_per_token)
        text += (
            f", and a floor of {bits:.2f} bits per byte (the entropy of the text, if the fit is "
            "right) makes exponents without one smaller"
        )
    return text + "."


def _pictures(
    size: _Slice,
    data: _Slice,
    short: Attempt,
    compute: _Slice,
    runs: pl.DataFrame,
    data_runs: Sequence[Limited],
) -> list[Picture]:
    loss = Axis("Held-out loss (nats per token)", kind="loss")
    found = []
    if not size.runs.is_empty():
        found.append(
            Picture(
                f"{NAME}-size",
                "Loss against parameters",
                "Runs at the ladder's largest data size: a slice, not trained to convergence.",
                Axis("Parameters, non-embedding", kind="count"),
                loss,
                [_points(size.runs, "params"), *size.series()],
                "figure 1, right",
            )
        )
    if data_runs:
        found.append(
            Picture(
                f"{NAME}-data",
                "Loss against the size of the data set",
                f"{format_count(data_runs[-1].params)} parameters, trained until the held-out loss "
                "turned; hollow: it had not turned yet, and is not fitted. The bent line is "
                "equation 1.5 with what the size reaches on data to spare: alpha_D is the slope of "
                "its straight part.",
                Axis("Data set (tokens)", kind="count"),
                loss,
                [*_by_turning(data_runs), *_limited_series(short, data), *data.series()[:1]],
                "figure 1, middle",
            )
        )
    if not runs.is_empty():
        found.append(
            Picture(
                f"{NAME}-compute",
                "Loss against compute",
                "Every run of the ladder; the law goes through those that no cheaper one beats.",
                Axis("Compute (FLOP)", kind="power"),
                loss,
                [*_by_size(runs, "flops"), *compute.series()],
                "figure 1, left",
            )
        )
        found.append(
            Picture(
                f"{NAME}-bottleneck",
                "Loss against tokens, by size",
                "Small models stop gaining from data, and little data hides what size would bring. "
                "One pass: a slice of L(N, D), where the paper trains to early stopping.",
                Axis("Tokens", kind="count"),
                loss,
                _by_size(runs, "tokens", joined=True),
                "figure 4, left",
            )
        )
    return found


def _points(runs: pl.DataFrame, column: str) -> Series:
    return Series(runs[column].to_list(), runs["loss"].to_list(), "point", "runs")


def _by_turning(runs: Sequence[Limited]) -> list[Series]:
    found = []
    for turned, mark, label in ((True, "point", "runs"), (False, "hollow", "not turned")):
        kept = [one for one in runs if one.turned is turned]
        if kept:
            x, y = [float(one.unique) for one in kept], [one.loss for one in kept]
            found.append(Series(x, y, mark, label))  # type: ignore[arg-type]
    return found


def _limited_series(short: Attempt, data: _Slice) -> list[Series]:
    if short.fit is None or data.runs.is_empty():
        return []
    sets = data.runs["unique_tokens"].to_numpy()
    x, y = line_through(short, "unique_tokens", float(sets.min()), 8 * float(sets.max()))
    return [Series(x.tolist(), y.tolist(), "line", "equation 1.5")]


def _by_size(runs: pl.DataFrame, column: str, *, joined: bool = False) -> list[Series]:
    found = []
    for params in runs["params"].unique().sort():
        own = runs.filter(pl.col("params") == params).sort(column)
        x, y = own[column].to_list(), own["loss"].to_list()
        found.append(Series(x, y, "point", level=float(params)))
        if joined:
            found.append(Series(x, y, "line", level=float(params)))
    return found


DESIGN = Design(
    name=NAME,
    title="Parameters, data and compute, each alone",
    paper="figures 1 and 4, sections 1.2 and 3",
    varies="size at the ladder's largest data size; the size of the data set at one size; compute "
    "along the ladder's frontier",
    holds="the recipe, the text, the shape's family; batch and rates as the ladder has them",
    concludes="exponents of L(N), L(D) and L(C), and whether one factor alone is a bottleneck",
    weight=1.0,
    plan=plan,
    conclude=conclude,
)

"""L(N, D) of data sets of fixed size: over-fitting depends on N^(alpha_N/alpha_D) / D alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from scalelab.execution.execute import Job
from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.extent import Extent, fit_extent
from scalelab.studies.analysis.overfit_grid import Grid, Stop, stops_of
from scalelab.studies.analysis.steps_law import fit_steps_law
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence
from scalelab.studies.pictures.overfit import NAME, PAPER_RATIO, pictures
from scalelab.studies.sizes import size_of
from scalelab.studies.subsets import lattice, limited, references, subset_job

GROWTH = 8.0

MARGIN = 0.25
"""Of the exponent .74: between 3.2 and 6.8 times the data for a model 8 times as large, which
all say "less than in proportion, more than its square root". (assumed)"""

NEEDED = Check(
    "data_for_8_times_the_model",
    GROWTH**PAPER_RATIO,
    GROWTH ** (PAPER_RATIO * (1 - MARGIN)),
    GROWTH ** (PAPER_RATIO * (1 + MARGIN)),
    "section 4.2, equation 4.4",
    "8 times the model needs about 5 times the data, by equation 1.5",
    "no dropout (the paper 10%), models so small that one alpha_N need not hold for all, and "
    "trunks, the reference, that are not converged",
)
EXPONENT = Check.about(
    "exponent_of_size_in_overfitting",
    PAPER_RATIO,
    MARGIN * PAPER_RATIO,
    "equation 4.3, figure 9, right",
    "the extent of over-fitting depends on N^.74 / D",
    "no dropout (the paper 10%), which may limit large models' over-fitting more than small ones'",
)
"""By the extents alone: equation 1.5 takes most of its alpha_N from how the loss on data to spare
falls with size, and that both give one exponent is what the paper claims."""
BOUND = Check.at_least(
    "runs_within_the_bound",
    0.8,
    "equation 5.7, figure 16",
    "early stopping comes no sooner than S_c / [L(N,D) - L(N,inf)]^(1/alpha_S)",
    "one S_c and alpha_S for all sizes, which small models early in training follow badly",
)

INFORMATIVE = 10.0
"""Median of step over bound beyond which that all runs keep the bound says nothing: in the paper's
figure 16 the runs lie along it, from one to a few times above. (assumed)"""

OVERFITS = 5.0
"""Tokens a parameter beyond which over-fitting is hardly more than the luck of a seed, so no run is
spent on it. (measured: 24.6k parameters, books: 2.7 tokens a parameter cost 7%, 11 about 3%)"""

LEAST_CELLS = 10
"""Of at least three sizes and four data sets: Kaplan's law has four parameters, that of the extents
three and a level for each size."""

DRAWS = 400


# --- plan -----------------------------------------------------------------------------------------


def plan(bench: Bench) -> Plan:
    """The ladder sizes by data sets that show most over-fitting over the widest range.

    Only cells where a set is so small for a size that it over-fits: beyond them the trunk tells
    the loss. Never more data than a third of the ladder's longest run, which could not use it up.
    """
    longest = bench.ladder.tokens[-1] if bench.ladder else bench.corpus.train.tokens
    sets = lattice(min(longest, bench.corpus.train.tokens) / 3)
    sizes = np.array([size_of(shape) for shape in bench.sizes], dtype=float)
    wanted = np.array(sets)[None, :] <= OVERFITS * sizes[:, None]
    jobs = {
        (row, column): subset_job(bench, NAME, bench.sizes[row], sets[column])
        for row, column in np.argwhere(wanted)
    }
    costs = {cell: bench.cost([job]) for cell, job in jobs.items()}
    best: tuple[float, list[Job]] = (0.0, [])
    cheapest = np.inf
    for rows, width in _grids(len(sizes), len(sets)):
        cells = [(row, column) for row in rows for column in range(width) if wanted[row, column]]
        if len(cells) < LEAST_CELLS or len({row for row, _ in cells}) < 3:
            continue
        cost = sum(costs[cell] for cell in cells)
        cheapest = min(cheapest, cost)
        spans = np.log(sizes[rows[-1]] / sizes[rows[0]]) * np.log(sets[width - 1] / sets[0])
        if cost <= bench.allowance.amount and len(cells) * spans > best[0]:
            best = len(cells) * spans, [jobs[cell] for cell in cells]
    if best[1]:
        return Plan(best[1])
    if not np.isfinite(cheapest):
        why = f"{len(sets)} data sets and {len(sizes)} sizes; 4 and 3 that over-fit are needed"
        return Plan((), (f"no grid: the text and the ladder allow {why}.",))
    needs = cheapest / bench.allowance.amount
    return Plan(
        (), (f"the smallest grid of sizes and data sets costs {needs:.1f} times its budget",)
    )


def _grids(sizes: int, sets: int) -> list[tuple[list[int], int]]:
    """Rows (3 to 6 sizes, in steps of one, two or three) and numbers of data sets (4 or more)."""
    rows = [
        list(range(first, last + 1, step))
        for step in (1, 2, 3)
        for first in range(sizes)
        for last in range(first + 2 * step, min(sizes, first + 5 * step + 1), step)
    ]
    return [(row, width) for row in rows for width in range(4, sets + 1)]


# --- conclusion -----------------------------------------------------------------------------------


def conclude(evidence: Evidence) -> Conclusion:
    """Data needed by a larger model, the exponent of the extents, and the bound of early stopping.

    Laws are fitted to losses, of all cells with a reference: none is left out for its answer.
    """
    grid = Grid(limited(evidence.own, evidence.trunks), references(evidence.trunks))
    level, seed = evidence.level, evidence.seed
    # Every loss counts alike. A noise that runs of a size share would take the law's misfit at that
    # size for luck, and leave to the fit the extents, which the other exponent is made of.
    law = attempt("kaplan", grid.table(), estimator="least-squares", level=level, seed=seed)
    needed = law.of(lambda p: GROWTH ** (p["alpha_N"] / p["alpha_D"]), level)
    if needed is not None and not np.isfinite(law.fit.derived["data_exponent"].low):  # type: ignore[union-attr]
        needed = None  # what identifies no exponent identifies no power of it
    extent = fit_extent(grid.known, grid.least, evidence.noise_level, level, seed)
    if extent is not None and np.isnan(extent.ratio).all():
        extent = None  # at one size
    steps = fit_steps_law(evidence.trunks, evidence.critical_batch, level, seed)
    stops = stops_of(grid, steps, evidence)
    over = _over_bound(stops, evidence)
    few = "fewer than 8 runs with a reference, or not of 3 sizes and 3 data sets"
    findings = [
        Finding(NEEDED, needed, law.why or "the runs do not identify both exponents"),
        Finding(EXPONENT, extent.exponent_of_size if extent else None, few),
        _bound(stops, over, steps, level),
    ]
    miss = _miss(law, grid)
    numbers = _numbers(law if needed else Attempt(None), extent, over, miss, evidence)
    for finding in findings:
        if finding.estimate is not None:
            numbers[finding.check.name] = Number(finding.estimate, "", finding.check.claim)
    notes = [*evidence.left_out, "the paper regularises with 10% dropout; these runs have none."]
    early = sum(one.step < one.run.spec.warmup_steps for one in grid.known)
    if early:
        notes.append(
            f"{early} of {len(grid.known)} runs, on the smallest data sets, had their lowest loss "
            "before their warm-up had ended; they are fitted all the same."
        )
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, grid, extent, over, miss, evidence.noise_level),
        findings,
        numbers,
        pictures(grid, law, extent, stops),
        evidence.notices,
        notes,
    )


def _miss(law: Attempt, grid: Grid) -> float:
    """By how much equation 1.5 misses the losses it was fitted to: root mean square of ln L."""
    if law.fit is None:
        return float("nan")
    runs = grid.table()
    n, d = (runs[name].cast(float).to_numpy() for name in ("params", "tokens"))
    fitted = law.fit.predict(params=n, tokens=d).value
    return float(np.sqrt(np.mean(np.log(runs["loss"].to_numpy() / fitted) ** 2)))


def _over_bound(stops: Sequence[Stop], evidence: Evidence) -> Estimate | None:
    """The median of step over bound, with the bootstrap of the runs."""

    if not stops:
        return None
    ratios = np.array([one.stop / one.bound for one in stops])
    generator = np.random.default_rng([evidence.seed, 4])
    drawn = ratios[generator.integers(len(ratios), size=(DRAWS, len(ratios)))]
    return estimate(float(np.median(ratios)), np.median(drawn, axis=1), evidence.level)


def _bound(stops: Sequence[Stop], over: Estimate | None, steps: Attempt, level: float) -> Finding:
    """The share of runs that stopped at or after the bound, with Wilson's interval."""
    if over is None:
        return Finding(BOUND, None, steps.why or "no run has a reference")
    if over.value > INFORMATIVE:
        why = f"they stopped at {over.value:.0f} times its step: it says nothing of them"
        return Finding(BOUND, None, why)
    count, z = len(stops), NormalDist().inv_cdf(0.5 + level / 2)
    # A tenth below: steps are known no better, evaluations being 10% apart.
    share = sum(one.stop >= 0.9 * one.bound for one in stops) / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    return Finding(
        BOUND,
        Estimate(share, float(middle - half), float(min(1.0, middle + half)), level, half / z),
    )


def _numbers(
    law: Attempt,
    extent: Extent | None,
    over: Estimate | None,
    miss: float,
    evidence: Evidence,
) -> dict[str, Number]:
    level, noise = evidence.level, evidence.noise_level
    scale = law.of(
        lambda p: (
            p["D_c"]
            * p["N_c"] ** (-p["alpha_N"] / p["alpha_D"])
            / np.expm1(np.log1p(noise) / p["alpha_D"])
        ),
        level,
    )
    wanted = (
        ("alpha_N", law.parameter("alpha_N"), "exponent of size in L(N, D), equation 1.5"),
        ("alpha_D", law.parameter("alpha_D"), "exponent of the data set in L(N, D)"),
        ("data_exponent", law.derived("data_exponent"), "alpha_N / alpha_D: D needed ~ N^this"),
        (
            "alpha_D_by_extent",
            extent and extent.exponent_of_data,
            "alpha in L(N, inf) (1 + k N^r / D)^alpha, L(N, inf) of each size free",
        ),
        ("step_over_bound", over, "median over the runs: step of the lowest loss over its bound"),
    )
    numbers = {
        name: Number(estimate, "", meaning) for name, estimate, meaning in wanted if estimate
    }
    if extent is not None:
        meaning = (
            f"standard deviation of ln L about one curve in N^r / D; {noise:.2g} from seed to seed"
        )
        numbers["scatter_about_one_curve"] = Number(extent.scatter, "", meaning)
    if law.fit is not None:
        meaning = "root mean square of ln L about equation 1.5, as fitted"
        numbers["scatter_about_joint_law"] = Number(Estimate(miss, miss, miss, level), "", meaning)
    if scale is not None:
        numbers["data_without_overfitting"] = Number(
            scale,
            "tokens",
            f"k in D >= k N^(alpha_N/alpha_D): over-fitting below the noise of {noise:.2%}; a "
            "constant of this text and tokenizer",
        )
    return numbers


def _statement(
    findings: Sequence[Finding],
    grid: Grid,
    extent: Extent | None,
    over: Estimate | None,
    miss: float,
    noise: float,
) -> str:
    needed, exponent, bound = (finding.estimate for finding in findings)
    parts = []
    if needed is not None:
        parts.append(
            f"a model 8 times as large needs {needed} times the data (paper 4.7), by equation 1.5, "
            f"which misses the losses by {miss:.1%}"
        )
    if exponent is not None and extent is not None:
        parts.append(
            f"the extent of over-fitting goes with N^r / D, r = {exponent} (paper .74), and the "
            f"losses scatter {extent.scatter.value:.1%} about that, {noise:.1%} from seed to seed"
        )
    if over is not None and bound is not None:
        parts.append(
            f"{bound.value:.0%} of the runs stopped no sooner than the bound allows, at a median "
            f"of {over} times its step"
        )
    elif over is not None:
        parts.append(
            f"the runs stopped at a median of {over} times the bound's step, too far from it to "
            "test it"
        )
    missing = [finding.check.spoken for finding in findings if finding.estimate is None]
    text = f"{phrase(findings)}: " + ("; ".join(parts) or "nothing could be measured")
    if missing:
        text += f"; not measured: {', '.join(missing)}"
    off = len(grid.cells) - len(grid.known)
    if off:
        text += (
            f". {off} of {len(grid.cells)} runs were ended before they turned and before the trunk "
            "ended, or have no reference"
        )
    return text + "." + because(findings)


DESIGN = Design(
    name=NAME,
    title="Over-fitting: parameters and data together",
    paper="figures 4, 9 and 16, sections 4 and 5.3",
    varies="size and the size of the data set, trained until the held-out loss turns",
    holds="the recipe of the ladder's trunks, which are the reference for data without end",
    concludes="data needed as the model grows, on which combination of N and D over-fitting "
    "depends, and how early training may stop",
    weight=1.5,
    plan=plan,
    conclude=conclude,
)

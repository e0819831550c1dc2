"""L(N, D) of data sets of fixed size: over-fitting depends on N^(alpha_N/alpha_D) / D alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalelab.execution.execute import Job
from scalelab.studies.attempt import Attempt, attempt
from scalelab.studies.collapse import Collapse, collapse
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence
from scalelab.studies.overfit_grid import Grid, Stop, stops_of
from scalelab.studies.overfit_pictures import NAME, PAPER_RATIO, pictures
from scalelab.studies.sizes import size_of
from scalelab.studies.steps_law import fit_steps_law
from scalelab.studies.subsets import lattice, limited, subset_job, unlimited

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
    "8 times the model needs about 5 times the data",
)
ONE_CURVE = Check.at_most(
    "collapse",
    0.5,
    "figure 9, right",
    "over-fitting depends on N^(alpha_N/alpha_D) / D: at most half of the scatter that N or D "
    "alone leaves",
)
BOUND = Check.at_least(
    "runs_within_the_bound",
    0.8,
    "equation 5.7, figure 16",
    "early stopping comes no sooner than S_c / [L(N,D) - L(N,inf)]^(1/alpha_S)",
)

OVERFITS = 5.0
"""Tokens a parameter beyond which over-fitting is hardly more than the luck of a seed, so no run is
spent on it. (measured: 24.6k parameters, books: 2.7 tokens a parameter cost 7%, 11 about 3%)"""

LEAST_CELLS = 10
"""Of at least three sizes and four data sets: Kaplan's law has four parameters, the collapse four.
"""

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
    """Data needed by a larger model, the collapse, and the bound of early stopping."""
    references = {run.params: unlimited(run) for run in evidence.trunks if run.finished}
    grid = Grid(
        limited(evidence.own, evidence.trunks),
        {params: loss for params, loss in references.items() if loss is not None},
    )
    law = attempt("kaplan", grid.table(), level=evidence.level, seed=evidence.seed)
    needed = law.of(lambda p: GROWTH ** (p["alpha_N"] / p["alpha_D"]), evidence.level)
    if needed is not None and not np.isfinite(law.fit.derived["data_exponent"].low):  # type: ignore[union-attr]
        needed = None  # what identifies no exponent identifies no power of it
    one_curve = _collapse(grid, evidence)
    steps = fit_steps_law(evidence.trunks, evidence.critical_batch, evidence.level, evidence.seed)
    stops = stops_of(grid, steps, evidence)
    few = "fewer than 8 runs over-fit by more than the noise, on 3 sizes and 3 data sets"
    findings = [
        Finding(NEEDED, needed, law.why or "the runs do not identify both exponents"),
        Finding(ONE_CURVE, one_curve.gain if one_curve else None, few),
        _bound(stops, steps, evidence.level),
    ]
    numbers = _numbers(law, one_curve, evidence)
    for finding in findings:
        if finding.estimate is not None:
            numbers[finding.check.name] = Number(finding.estimate, "", finding.check.claim)
    notes = (*evidence.left_out, "the paper regularises with 10% dropout; these runs have none.")
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, one_curve, grid),
        findings,
        numbers,
        pictures(grid, law, one_curve, stops),
        evidence.notices,
        notes,
    )


def _collapse(grid: Grid, evidence: Evidence) -> Collapse | None:
    """Of the extent dL = L(N,D) / L(N,inf) - 1, where it is more than noise."""
    n, d, loss, least = grid.columns()
    extent = loss / least - 1
    # Two losses with the noise of a seed each: what is below twice that tells nothing of dL.
    seen = extent > 2 * np.sqrt(2) * evidence.noise_level
    if not seen.any():
        return None
    n, d, loss, least = n[seen], d[seen], loss[seen], least[seen]
    generator = np.random.default_rng([evidence.seed, 4])
    sizes, number = np.unique(n, return_inverse=True)
    luck = evidence.noise_level * generator.standard_normal((DRAWS, len(sizes)))[:, number]
    drawn = loss / (least * np.exp(luck)) - 1
    floor = 0.5 * evidence.noise_level
    return collapse(
        np.log(n),
        np.log(d),
        np.log(loss / least - 1),
        np.log(np.maximum(drawn, floor)),
        evidence.level,
        evidence.seed,
    )


def _bound(stops: Sequence[Stop], steps: Attempt, level: float) -> Finding:
    """The share of runs that stopped at or after the bound, with Wilson's interval."""
    from statistics import NormalDist

    from scalelab.fitting import Estimate

    if not stops:
        return Finding(BOUND, None, steps.why or "no run lies above the loss at convergence")
    count, z = len(stops), NormalDist().inv_cdf(0.5 + level / 2)
    # A tenth below: steps are known no better, evaluations being 10% apart.
    share = sum(one.stop >= 0.9 * one.bound for one in stops) / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    return Finding(
        BOUND,
        Estimate(share, float(middle - half), float(min(1.0, middle + half)), level, half / z),
    )


def _numbers(law: Attempt, one_curve: Collapse | None, evidence: Evidence) -> dict[str, Number]:
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
        ("data_exponent_by_collapse", one_curve and one_curve.ratio, "r of the best collapse"),
        ("collapse_scatter", one_curve and one_curve.scatter, "of ln dL about one curve"),
    )
    numbers = {
        name: Number(estimate, "", meaning) for name, estimate, meaning in wanted if estimate
    }
    if scale is not None:
        numbers["data_without_overfitting"] = Number(
            scale,
            "tokens",
            f"k in D >= k N^(alpha_N/alpha_D): over-fitting below the noise of {noise:.2%}; a "
            "constant of this text and tokenizer",
        )
    return numbers


def _statement(findings: Sequence[Finding], one_curve: Collapse | None, grid: Grid) -> str:
    needed, gain, bound = (finding.estimate for finding in findings)
    parts = []
    if needed is not None:
        parts.append(f"a model 8 times as large needs {needed} times the data (paper 4.7)")
    if gain is not None and one_curve is not None:
        parts.append(
            f"over-fitting follows N^r / D with r = {one_curve.ratio} (paper .74), leaving {gain} "
            "of the scatter that N or D alone leaves"
        )
    if bound is not None:
        parts.append(f"{bound.value:.0%} of the runs stopped no sooner than the bound allows")
    missing = [finding.check.name for finding in findings if finding.estimate is None]
    text = f"{phrase(findings)}: " + ("; ".join(parts) or "nothing could be measured")
    if missing:
        text += f"; not measured: {', '.join(missing)}"
    off = len(grid.cells) - len(grid.known)
    if off:
        text += f". {off} of {len(grid.cells)} runs had not turned or have no reference"
    return text + "."


DESIGN = Design(
    name=NAME,
    title="Over-fitting: parameters and data together",
    paper="figures 9 and 16, sections 4 and 5.3",
    varies="size and the size of the data set, trained until the held-out loss turns",
    holds="the recipe of the ladder's trunks, which are the reference for data without end",
    concludes="data needed as the model grows, whether over-fitting depends on one combination of "
    "N and D, and how early training may stop",
    weight=1.5,
    plan=plan,
    conclude=conclude,
)

"""Sample efficiency and compute efficiency of sizes (the paper's figures 2, 11 and 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scalelab.counting import flops_per_token
from scalelab.fitting import Estimate, Fit
from scalelab.laws import Array
from scalelab.studies.conclusion import Check, Conclusion, Finding, Number, phrase
from scalelab.studies.critical_batch_law import drawn_law
from scalelab.studies.curve_laws import NO_FLOOR, fit_steps, values_of
from scalelab.studies.design import Design, nothing
from scalelab.studies.efficiency_pictures import pictures
from scalelab.studies.evidence import Evidence
from scalelab.studies.joint import Joint, joint_of, spread
from scalelab.studies.sample_efficiency import Pairs, Reached, compare_pairs, reached, table_of
from scalelab.studies.trunk_curves import at_best, critical_batch, trunk_points
from scalelab.units import format_count

FEWER = Check.at_most(
    "pairs_where_larger_needs_more",
    0.1,
    "Kaplan et al. 2020, figure 2 and section 1.1",
    "larger models need fewer tokens to reach the same loss: in nine pairs of ten at least",
)
DISTANCE = Check.about(
    "distance_from_convergence",
    0.1,
    0.05,  # half of it: training to within 5 or to within 15% are other habits
    "Kaplan et al. 2020, section 6.1 and appendix B.3",
    "compute-optimal training stops about 10% above the converged loss",
)
SMALLER = Check.at_most(
    "extra_compute_at_0.6",
    0.25,  # the paper's 20% and a quarter of that
    "Kaplan et al. 2020, figure 12",
    "a size .6 times the optimal one costs at most 20% more compute",
)
LARGER = Check.at_most(
    "extra_compute_at_2.2",
    0.25,
    "Kaplan et al. 2020, figure 12",
    "a size 2.2 times the optimal one costs at most 20% more compute",
)
SAVING = Check.about(
    "compute_saved_by_stopping_early",
    0.65,
    0.15,
    "Kaplan et al. 2020, appendix B.4",
    "against training to within 2% of convergence 65% of the compute is saved",
)
CHECKS = (FEWER, DISTANCE, SMALLER, LARGER, SAVING)

CONVERGED = 0.02
"""What the paper calls trained to convergence: so far above it. (paper: appendix B.4)"""

NO_JOINT = "the ladder's runs do not give a joint law of size and data"
OUTSIDE = "the optimal size lies among the ladder's at no compute that the ladder spans"


def conclude(evidence: Evidence) -> Conclusion:
    """Tokens and compute to losses, the frontier, and what other sizes than the optimum cost."""
    trunks = [run for run in evidence.trunks if run.result is not None]
    found = reached(trunks)
    pairs = None
    if found is not None:
        pairs = compare_pairs(found, evidence.noise_level, evidence.level, evidence.seed)
    joint = joint_of(evidence)
    flops = np.empty(0) if joint is None else joint.reach()
    steps = _steps_law(evidence)
    optimum = (
        _Optimum(joint, flops, drawn_law(evidence, len(joint.theta) - 1))
        if joint is not None and len(flops)
        else None
    )
    cost = np.array([flops_per_token(run.spec.shape) for run in trunks])
    findings = _findings(pairs, joint, optimum, steps, evidence.level)
    numbers = _numbers(found, pairs, optimum, steps, cost, evidence.level)
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings),
        findings=findings,
        numbers=numbers,
        pictures=pictures(trunks, evidence.branches, joint, flops),
        left_out=evidence.left_out,
    )


class _Optimum:
    """What the joint law says at its optimum: everything (1 + k, c) over compute (c,)."""

    def __init__(
        self, joint: Joint, flops: Array, critical: tuple[Array, Array] | None = None
    ) -> None:
        """critical: log B_star and 1 / alpha_B; with them distance is at equal C_min, not C."""
        self.joint, self.flops = joint, flops
        self.at = joint.frontier(flops)
        self.best = self.at if critical is None else joint.frontier(flops, critical=critical)
        self.middle = len(flops) // 2

    @property
    def distance(self) -> Array:
        """The loss over that of the same size without end of data, less one.

        Of what is optimal at the best batch, as the paper has it, where that batch is known.
        """
        return np.asarray(self.best.loss / self.joint.converged(self.best.params) - 1)

    def extra_compute(self, factor: float) -> Array:
        """Compute to the same loss by a size `factor` times the optimal one, less one."""
        params = factor * self.at.params
        tokens = self.joint.tokens_to(params, self.at.loss)
        return np.asarray(self.joint.cost(params, "exact") * tokens / self.flops - 1)

    def fewer_steps(self, factor: float) -> Array:
        """Tokens, and so steps, to the same loss over those of the optimal size."""
        tokens = self.joint.tokens_to(factor * self.at.params, self.at.loss)
        return np.asarray(tokens / self.at.tokens)


def _steps_law(evidence: Evidence) -> Fit | None:
    """L(N, S_min) of all trunks, None without a critical batch or with too few sizes."""
    critical = critical_batch(evidence)
    points = trunk_points(run for run in evidence.trunks if run.result is not None)
    if critical is None or points.is_empty():
        return None
    return fit_steps(NO_FLOOR, at_best(points, critical), evidence)


def early_against_converged(steps: Fit) -> dict[str, Array]:
    """Stopping at f = alpha_N / alpha_S above the converged loss, against f' = CONVERGED.

        N / N' = ((1 + f) / (1 + f'))^(1/alpha_N)
        S / S' = ((1 + 1/f) / (1 + 1/f'))^(1/alpha_S)
        C / C' = N S / (N' S')

    to reach one loss (Kaplan et al. 2020, appendix B.4). Each (1 + k,), the fit's own first.
    """
    alpha_n, alpha_s = (values_of(steps, name) for name in ("alpha_N", "alpha_S"))
    f = alpha_n / alpha_s
    params = ((1 + f) / (1 + CONVERGED)) ** (1 / alpha_n)
    fewer = ((1 + 1 / f) / (1 + 1 / CONVERGED)) ** (1 / alpha_s)
    return {"f": f, "params": params, "steps": 1 / fewer, "saved": 1 - params * fewer}


# --- words and numbers ----------------------------------------------------------------------------


def _findings(
    pairs: Pairs | None,
    joint: Joint | None,
    optimum: _Optimum | None,
    steps: Fit | None,
    level: float,
) -> list[Finding]:
    against = None if pairs is None else pairs.against
    found = [Finding(FEWER, against, "" if against else "no two sizes reached one loss")]
    why = NO_JOINT if joint is None else OUTSIDE
    if optimum is None:
        found += [Finding(check, None, why) for check in (DISTANCE, SMALLER, LARGER)]
    else:
        # At the most compute: the nearest to what a plan is made for, and the least ruled by the
        # first thousand steps, of which no law holds.
        for check, values in (
            (DISTANCE, optimum.distance),
            (SMALLER, optimum.extra_compute(0.6)),
            (LARGER, optimum.extra_compute(2.2)),
        ):
            found.append(Finding(check, spread(values[:, -1], level)))
    if steps is None:
        why = "the trunks' curves give no law of size and steps"
        return [*found, Finding(SAVING, None, why)]
    return [*found, Finding(SAVING, spread(early_against_converged(steps)["saved"], level))]


def _numbers(
    found: Reached | None,
    pairs: Pairs | None,
    optimum: _Optimum | None,
    steps: Fit | None,
    cost: Array,
    level: float,
) -> dict[str, Number]:
    numbers: dict[str, Number] = {}
    if found is not None and pairs is not None:
        for name, count, meaning in (
            ("pairs_fewer", pairs.fewer, "the larger size needs fewer tokens, beyond noise"),
            ("pairs_more", pairs.more, "it needs more, beyond noise"),
            ("pairs_open", pairs.open, "within noise"),
        ):
            exact = Estimate(float(count), float(count), float(count), level, 0.0)
            numbers[name] = Number(exact, "pairs", meaning)
        if pairs.exponent is not None:
            numbers["tokens_exponent_of_size"] = Number(
                pairs.exponent, "", "tokens to one loss go as N to this power"
            )
        numbers |= _needed(found, cost, level)
    if optimum is not None:
        numbers |= _of_optimum(optimum, level)
    if steps is not None:
        rule = early_against_converged(steps)
        for key, name, meaning in (
            ("f", "alpha_N_over_alpha_S", "distance from convergence by the learning curves"),
            (
                "params",
                "params_against_converged",
                f"N over that trained to within {CONVERGED:.0%}",
            ),
            ("steps", "times_fewer_steps", f"S of training to within {CONVERGED:.0%} over S"),
        ):
            numbers[name] = Number(spread(rule[key], level), "", meaning)
    return numbers


def _needed(found: Reached, cost: Array, level: float) -> dict[str, Number]:
    """Tokens and FLOP of every size that reached the middle one of the losses."""
    numbers = {}
    rows = table_of(found, cost)
    middle = found.losses[len(found.losses) // 2]
    for row in rows.filter((rows["loss"] - middle).abs() < 1e-9).iter_rows(named=True):
        for unit in ("tokens", "flops"):
            value = row[unit]
            numbers[f"{unit}_to_{middle:.3f}_N{format_count(row['params'])}"] = Number(
                Estimate(value, value, value, level),
                "tokens" if unit == "tokens" else "FLOP",
                f"{unit} of N = {format_count(row['params'])} to {middle:.3f} nats, one run",
            )
    return numbers


def _of_optimum(optimum: _Optimum, level: float) -> dict[str, Number]:
    numbers = {}
    last = len(optimum.flops) - 1
    for place, name in ((0, "least"), (optimum.middle, "middle"), (last, "most")):
        where = f"at {optimum.flops[place]:.2g} FLOP"
        for values, key, unit, meaning in (
            (optimum.at.params, "N_opt", "", "optimal size"),
            (optimum.distance, "distance", "", "optimal loss over the converged one, less one"),
        ):
            numbers[f"{key}_{name}_compute"] = Number(
                spread(values[:, place], level), unit, f"{meaning} {where}"
            )
    numbers["fewer_steps_at_2.2"] = Number(
        spread(optimum.fewer_steps(2.2)[:, -1], level),
        "",
        "steps of a size 2.2 times the optimal one over its own, to one loss (paper: .55)",
    )
    return numbers


def _statement(findings: Sequence[Finding]) -> str:
    by_name: Mapping[str, Finding] = {finding.check.name: finding for finding in findings}
    parts = []
    pairs = by_name[FEWER.name].estimate
    if pairs is not None:
        parts.append(
            f"between {pairs.low:.0%} and {pairs.high:.0%} of the pairs of sizes go against larger "
            "sizes needing fewer tokens"
        )
    distance = by_name[DISTANCE.name].estimate
    if distance is not None and np.isfinite(distance.value):
        parts.append(
            f"compute-optimal training stops {distance} above the converged loss (paper .10)"
        )
    smaller, larger = by_name[SMALLER.name].estimate, by_name[LARGER.name].estimate
    if smaller is not None and larger is not None:
        parts.append(
            f"sizes .6 and 2.2 times the optimal one cost {smaller} and {larger} more compute "
            "(paper: at most .20)"
        )
    saving = by_name[SAVING.name].estimate
    if saving is not None:
        parts.append(f"stopping early saves {saving} of the compute (paper .65)")
    missing = next((finding.why for finding in findings if finding.why), "")
    if missing:
        parts.append(missing)
    return f"{phrase(findings)}: {'; '.join(parts)}."


DESIGN = Design(
    name="efficiency",
    title="Sample efficiency and compute efficiency",
    paper="figures 2, 11 and 12, section 6.1, appendix B",
    varies="size and data: the ladder",
    holds="recipe, text, batch",
    concludes="tokens and compute of each size to given losses, how far from convergence the "
    "optimal run stops, and what other sizes cost",
    weight=0.0,
    plan=nothing,
    conclude=conclude,
)

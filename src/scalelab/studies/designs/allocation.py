"""How size, batch, steps and data grow with compute (the paper's section 6, figures 3, 13, 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.errors import FitError, Notice
from scalelab.fitting import envelope
from scalelab.laws import Array
from scalelab.studies.allocation_pictures import pictures
from scalelab.studies.conclusion import Check, Conclusion, Finding, Number, phrase
from scalelab.studies.critical_batch_law import best_fit, drawn_law
from scalelab.studies.curve_laws import (
    NO_FLOOR,
    WITH_FLOOR,
    fit_steps,
    steps_frontier,
    values_of,
)
from scalelab.studies.design import Design, nothing
from scalelab.studies.evidence import Evidence
from scalelab.studies.joint import Convention, Frontier, Joint, joint_of, slope, spread
from scalelab.studies.trunk_curves import at_best, critical_batch, trunk_points

MARGIN = 0.08
"""Of every exponent: between the paper's .73 and Chinchilla's .5 there is room for both."""

SOURCE = "Kaplan et al. 2020, table 6 and equation 6.1"

SIZE = Check.about("N_exponent", 0.73, MARGIN, SOURCE, "N_opt ~ C_min^.73")
BATCH = Check.about("B_exponent", 0.24, MARGIN, SOURCE, "B ~ C_min^.24 at the critical batch")
STEPS = Check.about("S_exponent", 0.03, MARGIN, SOURCE, "S_min ~ C_min^.03")
DATA = Check.about("D_exponent", 0.27, MARGIN, SOURCE, "D = 2 B S_min ~ C_min^.27")
ORDER = Check.at_least(
    "least_lead",
    0.0,
    "Kaplan et al. 2020, figure 3",
    "most of the compute goes to the model, some to the batch, little to serial steps: the "
    "exponent of N leads that of B, and that of B leads that of S",
)
CHECKS = (SIZE, BATCH, STEPS, DATA, ORDER)
CHINCHILLA = 0.5


@dataclass(frozen=True)
class Growth:
    """Along the frontier at C_min (c,): size, batch, steps, data and loss, (1 + k, c) each.

    batch: B_crit at the loss reached. steps: S_min = E_min / B_crit with E_min = C_min over the
    cost of a token. data: 2 B S_min, which is what training at the critical batch processes.
    """

    flops: Array
    size: Array
    batch: Array
    steps: Array
    data: Array
    loss: Array

    @classmethod
    def of(
        cls, joint: Joint, at: Frontier, critical: tuple[Array, Array], convention: Convention
    ) -> Growth:
        """From the joint law's optimum and the critical batch."""
        star, power = critical
        with np.errstate(all="ignore"):
            batch = np.exp(star[:, None] - power[:, None] * np.log(at.loss))
            least = at.flops / joint.cost(at.params, convention)
        return cls(at.flops, at.params, batch, least / batch, 2 * least, at.loss)

    def exponents(self) -> dict[str, Array]:
        """Of N, B, S, D and L with C_min, (1 + k,) each."""
        x = np.log(self.flops)
        every = {"N": self.size, "B": self.batch, "S": self.steps, "D": self.data, "L": self.loss}
        with np.errstate(all="ignore"):
            return {name: slope(x, np.log(values)) for name, values in every.items()}


def conclude(evidence: Evidence) -> Conclusion:
    """Exponents along the frontier from the joint law and the measured critical batch."""
    joint = joint_of(evidence)
    if joint is None:
        return _nothing("the ladder's runs do not give a joint law of size and data")
    critical = drawn_law(evidence, len(joint.theta) - 1)
    if critical is None:
        return _nothing("the critical batch was not measured, and a prescribed one tells nothing")
    flops = joint.reach("6N", critical)
    if not len(flops):
        return _nothing("the optimal size lies among the ladder's at no compute that it spans")
    points = trunk_points(run for run in evidence.trunks if run.result is not None)
    adjusted = at_best(points, critical_batch(evidence) or {}) if len(points) else points
    growth = Growth.of(joint, joint.frontier(flops, "6N", critical), critical, "6N")
    curves = _by_curves(joint, flops, critical, adjusted, evidence)
    exponents = _pooled([one for one in (growth, curves) if one is not None])
    lead = np.minimum(exponents["N"] - exponents["B"], exponents["B"] - exponents["S"])
    findings = [
        Finding(check, spread(values, evidence.level))
        for check, values in zip(CHECKS, (*(exponents[name] for name in "NBSD"), lead), strict=True)
    ]
    numbers = _numbers(joint, critical, growth, curves, adjusted, evidence)
    notices = []
    if best_fit(evidence) is None:
        notices.append(
            Notice(
                "batch-without-interval",
                "B_star and alpha_B are given without the runs behind them: the intervals of B and "
                "S leave out how well they are known.",
            )
        )
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings, numbers),
        findings=findings,
        numbers=numbers,
        pictures=pictures(growth, curves, joint, adjusted),
        notices=notices,
        left_out=evidence.left_out,
    )


def _by_curves(
    joint: Joint,
    flops: Array,
    critical: tuple[Array, Array],
    adjusted: pl.DataFrame,
    evidence: Evidence,
) -> Growth | None:
    """The same frontier from the trunks' curves, as the paper has it: L(N, S_min), with a floor."""
    found = fit_steps(WITH_FLOOR, adjusted, evidence)
    if found is None:
        return None
    at = steps_frontier(found, joint.sizes, flops, critical)
    count = len(at.params)
    return Growth.of(joint, at, (critical[0][:count], critical[1][:count]), "6N")


def _pooled(ways: Sequence[Growth]) -> dict[str, Array]:
    """Exponents by all ways: their mean, and the draws of each in equal number.

    The ways differ by the form of the law and by the runs that it is fitted to, and neither is
    known to be right: what they differ by is part of the interval.
    """
    every = [way.exponents() for way in ways]
    count = min(len(one["N"]) for one in every)
    return {
        name: np.concatenate(
            [[np.mean([one[name][0] for one in every])], *(one[name][1:count] for one in every)]
        )
        for name in every[0]
    }


def _nothing(why: str) -> Conclusion:
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        f"{phrase()}: {why}.",
        [Finding(check, None, why) for check in CHECKS],
    )


def _numbers(
    joint: Joint,
    critical: tuple[Array, Array],
    growth: Growth,
    curves: Growth | None,
    adjusted: pl.DataFrame,
    evidence: Evidence,
) -> dict[str, Number]:
    level = evidence.level
    numbers = {
        "L_exponent": Number(
            spread(-growth.exponents()["L"], level), "", "L ~ C_min^-alpha at the optimum"
        )
    }
    for way, words, found in (
        ("joint", "the joint law L(N, D) of decayed runs", growth),
        ("curves", "the law L(N, S_min) of the trunks' curves, with a floor", curves),
    ):
        for name, values in found.exponents().items() if found is not None else ():
            if name != "L":
                numbers[f"{name}_exponent_{way}"] = Number(
                    spread(values, level), "", f"{name} with C_min by {words}"
                )
    exact = joint.reach("exact", critical)
    if len(exact):
        at = joint.frontier(exact, "exact", critical)
        other = Growth.of(joint, at, critical, "exact").exponents()
        for name in "NBSD":
            numbers[f"{name}_exponent_exact"] = Number(
                spread(other[name], level), "", f"{name} where every matrix product is counted"
            )
    for name, unit, values in (
        ("N", "", growth.size),
        ("B", "tokens", growth.batch),
        ("S_min", "steps", growth.steps),
        ("D", "tokens", growth.data),
    ):
        where = f"at C_min = {growth.flops[-1]:.2g} FLOP (6N)"
        numbers[f"{name}_at_most_compute"] = Number(
            spread(values[:, -1], level), unit, f"{name} at the optimum {where}"
        )
    return numbers | _envelope(adjusted, evidence) | _by_exponents(adjusted, critical, evidence)


def _envelope(adjusted: pl.DataFrame, evidence: Evidence) -> dict[str, Number]:
    """The trunk with the lowest loss at each C_min."""
    if "flops_6n_min" not in adjusted.columns:
        return {}
    curves = adjusted.with_columns(
        pl.col("trunk").alias("run"), pl.col("flops_6n_min").alias("flops")
    )
    try:
        found = envelope(curves, level=evidence.level)
    except FitError:
        return {}
    words = "the envelope of the trunks' curves, at constant rate"
    return {"N_exponent_envelope": Number(found.N_opt_exponent, "", f"N_opt ~ C_min by {words}")}


def _by_exponents(
    adjusted: pl.DataFrame, critical: tuple[Array, Array], evidence: Evidence
) -> dict[str, Number]:
    """What follows from the exponents of the learning curves alone (equations 6.4 to 6.7).

    alpha_C = 1 / (1/alpha_S + 1/alpha_B + 1/alpha_N), N ~ C^(alpha_C / alpha_N) and so on.
    """
    steps = fit_steps(NO_FLOOR, adjusted, evidence)
    if steps is None:
        return {}
    alpha_n, alpha_s = (values_of(steps, name) for name in ("alpha_N", "alpha_S"))
    count = min(len(alpha_n), len(critical[1]))
    alpha = {"N": alpha_n[:count], "B": 1 / critical[1][:count], "S": alpha_s[:count]}
    total = 1 / sum(1 / one for one in alpha.values())
    return {
        f"{name}_exponent_by_alphas": Number(
            spread(total / one, evidence.level),
            "",
            f"alpha_C / alpha_{name} of the learning curves",
        )
        for name, one in alpha.items()
    }


def _statement(findings: Sequence[Finding], numbers: Mapping[str, Number]) -> str:
    size, batch, steps, data, _ = (finding.estimate for finding in findings)
    assert size is not None
    chinchilla = (
        "inside"
        if abs(size.low - CHINCHILLA) <= MARGIN and abs(size.high - CHINCHILLA) <= MARGIN
        else "outside"
        if size.low > CHINCHILLA + MARGIN or size.high < CHINCHILLA - MARGIN
        else "neither inside nor outside"
    )
    text = (
        f"{phrase(findings)}: with C_min the optimal size grows as C^{size}, the batch as "
        f"C^{batch}, the steps as C^{steps}, the data as C^{data} (paper .73, .24, .03, .27); the "
        f"size's is {chinchilla} Chinchilla's .5 +- {MARGIN:g}"
    )
    if "N_exponent_exact" in numbers:
        text += f" and, with every matrix product counted, {numbers['N_exponent_exact'].estimate}"
    verdict = findings[-1].verdict
    words = {
        "agrees": "most goes to the model, some to the batch, little to serial steps",
        "differs": "the order is not: most to the model, some to the batch, little to steps",
        "cannot tell": "the order of model, batch and steps stays open",
    }
    return f"{text}; {words[verdict]}."


DESIGN = Design(
    name="allocation",
    title="Allocation of compute",
    paper="section 6, table 6, figures 3, 13 and 14",
    varies="compute: size and data along the ladder",
    holds="recipe, text; the batch is taken from the measured critical batch, not prescribed",
    concludes="the exponents of N, B, S and D with C_min",
    weight=0.0,
    plan=nothing,
    conclude=conclude,
)

"""How size, batch, steps and data grow with compute (the paper's section 6, figures 3, 13, 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scalelab.errors import FitError, Notice
from scalelab.fitting import envelope
from scalelab.laws import Array
from scalelab.studies.analysis.conversion import conversion, fit_least_steps
from scalelab.studies.analysis.critical_batch_law import drawn_law, measured_losses, slope_doubt
from scalelab.studies.analysis.curve_laws import NO_FLOOR, values_of
from scalelab.studies.analysis.growth import LEAST_SPAN, Growth, Law, within
from scalelab.studies.analysis.joint import DRAWS, Joint, spread
from scalelab.studies.analysis.joint_forms import MAIN, WORDS, forms, pooled_each
from scalelab.studies.analysis.trunk_curves import at_best, critical_batch, trunk_points
from scalelab.studies.conclusion import Check, Conclusion, Finding, Number, because, phrase
from scalelab.studies.design import Design, nothing
from scalelab.studies.evidence import Evidence
from scalelab.studies.pictures.allocation import pictures

MARGIN = 0.08
"""Of every exponent: between the paper's .73 and Chinchilla's .5 there is room for both."""

SOURCE = "Kaplan et al. 2020, table 6 and equation 6.1"

SIZE = Check.about(
    "N_exponent",
    0.73,
    MARGIN,
    SOURCE,
    "N_opt ~ C_min^.73",
    "an exponent near .5 is what Hoffmann et al. 2022 and Porian et al. 2024 find where rates "
    "decay, small models are warmed up and tuned for themselves and every product is counted: "
    "recipe and counting, not scale",
)
BATCH = Check.about(
    "B_exponent",
    0.24,
    MARGIN,
    SOURCE,
    "B ~ C_min^.24 at the critical batch",
    "it carries alpha_B, measured on one small size at constant rate",
)
ORDER = Check.at_least(
    "least_lead",
    0.0,
    "Kaplan et al. 2020, figure 3",
    "most of the compute goes to the model, some to the batch, little to serial steps: the "
    "exponent of N leads that of B, and that of B leads that of S",
    "the three exponents add up to 1, so that a smaller one of N leaves more to the others",
)
CHECKS = (SIZE, BATCH, ORDER)
CHINCHILLA = 0.5
PAPER = {"N": 0.73, "B": 0.24, "S": 0.03, "D": 0.27}


def conclude(evidence: Evidence) -> Conclusion:
    """Exponents along the frontier from the joint law and the measured critical batch."""
    laws = forms(evidence)
    if not laws:
        return _nothing("the ladder's runs do not give a joint law of size and data")
    critical = drawn_law(evidence, DRAWS)
    if critical is None:
        return _nothing("the critical batch was not measured, and a prescribed one tells nothing")
    grown = {name: found for name, law in laws.items() if (found := Growth.of(law, critical))}
    if MAIN not in grown:
        return _nothing("the optimal size lies among the ladder's at no compute that it spans")
    losses, doubt = measured_losses(evidence), slope_doubt(evidence)
    inside = {}
    if losses is not None and not doubt:
        parts = {name: within(one, laws[name], critical, losses) for name, one in grown.items()}
        inside = {name: part for name, part in parts.items() if part is not None}
    every = pooled_each([growth.exponents() for growth in grown.values()])
    measured = pooled_each([growth.exponents() for growth in inside.values()]) if inside else None
    findings = _findings(every, measured, doubt or _outside(grown[MAIN], losses), evidence.level)
    points = trunk_points(run for run in evidence.trunks if run.result is not None)
    adjusted = at_best(points, critical_batch(evidence) or {}) if len(points) else points
    numbers = (
        _exponents(every, measured, evidence.level)
        | _by_form(grown, laws[MAIN], critical, evidence.level)
        | _envelope(adjusted, evidence)
        | _by_alphas(adjusted, critical, evidence)
    )
    notices = []
    if evidence.batch_laws[0] is None:
        notices.append(
            Notice(
                "batch-without-interval",
                "B_star and alpha_B are given without the runs behind them: the interval of N "
                "leaves out how well they are known.",
            )
        )
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings, numbers),
        findings=findings,
        numbers=numbers,
        pictures=pictures(grown, laws[MAIN], adjusted, losses),
        notices=notices,
        left_out=evidence.left_out,
    )


def _nothing(why: str) -> Conclusion:
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        f"{phrase()}: {why}.",
        [Finding(check, None, why) for check in CHECKS],
    )


def _outside(main: Growth, losses: tuple[float, float] | None) -> str:
    """Why B would be an extrapolation."""
    ends = "nowhere" if losses is None else f"from {losses[1]:.2f} to {losses[0]:.2f}"
    return (
        f"along the frontier the loss falls from {main.constant[0, 0]:.2f} to "
        f"{main.constant[0, -1]:.2f} nats (at constant rate) and the critical batch was measured "
        f"{ends}: in common they have less than a factor of {LEAST_SPAN:.0f} in compute, B is "
        "extrapolated"
    )


def _findings(
    every: Mapping[str, Array], measured: Mapping[str, Array] | None, why: str, level: float
) -> list[Finding]:
    """N by the whole frontier; B only where its losses are such at which B_crit was measured.

    D = C / N and S = D / B follow from these two, and are numbers.
    """
    size = Finding(SIZE, spread(every["N"], level))
    if measured is None:
        return [size, Finding(BATCH, None, why), Finding(ORDER, None, why)]
    lead = np.minimum(measured["N"] - measured["B"], measured["B"] - measured["S"])
    return [
        size,
        Finding(BATCH, spread(measured["B"], level)),
        Finding(ORDER, spread(lead, level)),
    ]


# --- words and numbers ----------------------------------------------------------------------------


def _exponents(
    every: Mapping[str, Array], measured: Mapping[str, Array] | None, level: float
) -> dict[str, Number]:
    numbers = {
        "L_exponent": Number(spread(-every["L"], level), "", "L ~ C_min^-alpha at the optimum"),
        "D_exponent": Number(
            spread(every["D"], level),
            "",
            "data with C_min, D = 2 B S_min = 2 C_min / 6 N: 1 minus that of N (paper: .27)",
        ),
    }
    where = "over the whole frontier, B_crit extrapolated"
    if measured is not None:
        where = "at losses at which B_crit was measured"
    for name, words in (("B", "B_crit at the optimum"), ("S", "S_min at the optimum")):
        numbers[f"{name}_exponent"] = Number(
            spread((every if measured is None else measured)[name], level),
            "",
            f"{words} with C_min, {where} (paper: {PAPER[name]:g})",
        )
    return numbers


def _by_form(
    grown: Mapping[str, Growth], joint: Joint, critical: Law, level: float
) -> dict[str, Number]:
    numbers = {}
    for form, growth in grown.items():
        for name in "NB":
            numbers[f"{name}_exponent_{form}"] = Number(
                spread(growth.exponents()[name], level),
                "",
                f"{name} with C_min by {WORDS[form]}, over the whole frontier",
            )
    exact = Growth.of(joint, critical, "exact")
    if exact is not None:
        for name in "NBSD":
            numbers[f"{name}_exponent_exact"] = Number(
                spread(exact.exponents()[name], level),
                "",
                f"{name} by {WORDS[MAIN]}, every matrix product counted",
            )
    main = grown[MAIN]
    where = f"at C_min = {main.flops[-1]:.2g} FLOP (6N), by {WORDS[MAIN]}"
    for name, unit, values in (
        ("N", "", main.size),
        ("B", "tokens", main.batch),
        ("S_min", "steps", main.steps),
        ("D", "tokens", main.data),
    ):
        numbers[f"{name}_at_most_compute"] = Number(
            spread(values[:, -1], level), unit, f"{name} at the optimum {where}"
        )
    return numbers


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


def _by_alphas(adjusted: pl.DataFrame, critical: Law, evidence: Evidence) -> dict[str, Number]:
    """What follows from the exponents of the learning curves alone (equations 6.4 to 6.7).

    alpha_C = 1 / (1/alpha_S + 1/alpha_B + 1/alpha_N), N ~ C^(alpha_C / alpha_N) and so on. Nothing
    where S_min, and so alpha_S, is an extrapolation.
    """
    if adjusted.is_empty() or conversion(adjusted, evidence).doubt:
        return {}
    steps = fit_least_steps(NO_FLOOR, adjusted, evidence)
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
            f"alpha_C / alpha_{name} of the learning curves (paper: {PAPER[name]:g})",
        )
        for name, one in alpha.items()
    }


def _statement(findings: Sequence[Finding], numbers: Mapping[str, Number]) -> str:
    size, batch, order = findings
    assert size.estimate is not None
    one = size.estimate
    text = f"{phrase(findings)}: the optimal size grows as C_min^{one} (paper .73)"
    if "N_exponent_exact" in numbers:
        text += (
            f", with every matrix product counted as C_min^{numbers['N_exponent_exact'].estimate}"
        )
    if abs(one.low - CHINCHILLA) <= MARGIN and abs(one.high - CHINCHILLA) <= MARGIN:
        text += (
            "; that is the .5 of Hoffmann et al. 2022, and of Porian et al. 2024 once recipe and "
            "counting are put right"
        )
    elif one.low > CHINCHILLA + MARGIN or one.high < CHINCHILLA - MARGIN:
        text += "; the .5 of Hoffmann et al. 2022 it is not"
    else:
        text += "; whether it is the .5 of Hoffmann et al. 2022 stays open"
    text += f"; so data grow as C_min^{numbers['D_exponent'].estimate} (.27)"
    if batch.estimate is None:
        return f"{text}; of batch and steps nothing can be told: {batch.why}.{because(findings)}"
    words = {
        "agrees": "most goes to the model, some to the batch, little to serial steps",
        "differs": "the order is not: most to the model, some to the batch, little to steps",
        "cannot tell": "the order of model, batch and steps stays open",
    }
    return (
        f"{text}; at losses at which it was measured the critical batch grows as "
        f"C_min^{batch.estimate} (.24), which leaves C_min^{numbers['S_exponent'].estimate} to "
        f"steps (.03): {words[order.verdict]}.{because(findings)}"
    )


DESIGN = Design(
    name="allocation",
    title="Allocation of compute",
    paper="section 6, table 6, figures 3, 13 and 14",
    varies="compute: size and data along the ladder",
    holds="recipe, text; the batch is taken from the measured critical batch, not prescribed",
    concludes="the exponents of N and B with C_min, from which those of D and S follow",
    weight=0.0,
    plan=nothing,
    conclude=conclude,
)

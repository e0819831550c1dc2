"""One law L(N, S_min) for the learning curves of all sizes (the paper's section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scalelab.fitting import Estimate, Fit
from scalelab.studies.analysis.conversion import Conversion, fit_least_steps
from scalelab.studies.analysis.critical_batch_law import union
from scalelab.studies.analysis.curve_fits import CurveFits, Size, fit_curves, leave_one_out
from scalelab.studies.analysis.curve_laws import FEWEST_SIZES, NO_FLOOR, WITH_FLOOR
from scalelab.studies.analysis.early_parts import Guess, guesses
from scalelab.studies.analysis.trunk_curves import at_best, critical_batch, mean_over, trunk_points
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    because,
    phrase,
)
from scalelab.studies.design import Design, nothing
from scalelab.studies.evidence import Evidence
from scalelab.studies.pictures.curve import curves_picture, early_picture, exponents_picture
from scalelab.units import format_count

SHARES = (0.1, 0.25, 0.5)

ROUGH = 0.01
"""Scatter of a curve's points above which nobody could predict its end within 2%."""

ALPHA_S = Check.about(
    "alpha_S",
    0.76,
    0.15,  # a fifth: S_min over a halving of what steps leave within 2.1 to 3.1 times, paper 2.5
    "Kaplan et al. 2020, equation 5.6 and table 3",
    "what is left to learn falls as S_min^-.76",
    "S_min is computed from a critical batch measured on one small size",
)
ALPHA_N = Check.about(
    "alpha_N",
    0.077,
    0.025,  # a third
    "Kaplan et al. 2020, equation 5.6 and table 3",
    "the loss of long training falls as N^-.077",
    "the law has no floor, and these losses of bytes are nearer to the text's own than the paper's",
)
TREND = Check.about(
    "alpha_S_per_decade_of_N",
    0.0,
    0.1,  # of .76: an eighth a decade
    "Kaplan et al. 2020, sections 1.1 and 5.2",
    "the parameters of the learning curve hardly depend on the size",
    "at constant rate the smallest sizes run into the plateau of their learning rate",
)
EARLY = Check.at_most(
    "error_from_first_quarter",
    0.02,
    "Kaplan et al. 2020, section 1.1",
    "the early part of a curve predicts its end: from a quarter of the training within 2%",
    "a quarter of so short a training is hardly past its warm-up",
)


def conclude(evidence: Evidence) -> Conclusion:
    """The law of all sizes, of each alone, and what early parts predict."""
    critical = critical_batch(evidence)
    trunks = [run for run in evidence.trunks if run.result is not None]
    points = trunk_points(trunks)
    sizes = points["params"].n_unique()
    if critical is None or sizes < FEWEST_SIZES:
        why = (
            f"{sizes} sizes have a curve after warm-up, {FEWEST_SIZES} are needed"
            if sizes < FEWEST_SIZES
            else "the critical batch is not known, so that S_min is not"
        )
        return _nothing(why)
    points = at_best(points, critical)
    fits = fit_curves(points, evidence)
    if fits is None:
        return _nothing("the curves after warm-up have too few points for a law")
    left_out = leave_one_out(points, evidence)
    early = _early(points, left_out, critical, evidence)
    findings = _findings(fits, early, evidence)
    numbers = _numbers(fits, points, left_out, early, evidence)
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings, numbers),
        findings=findings,
        numbers=numbers,
        pictures=[
            curves_picture(fits.joint, points, fits.conversion.doubt),
            exponents_picture(fits.alone, fits.alone_trained, fits.conversion.doubt),
            early_picture(early),
        ],
        left_out=evidence.left_out,
    )


def _nothing(why: str) -> Conclusion:
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        f"{phrase()}: {why}.",
        [Finding(check, None, why) for check in (ALPHA_S, ALPHA_N, TREND, EARLY)],
    )


def _early(
    points: pl.DataFrame,
    left_out: Mapping[float, tuple[Fit | None, Fit | None]],
    critical: Mapping[str, float],
    evidence: Evidence,
) -> list[Guess]:
    return [
        guess
        for own in points.partition_by("trunk", maintain_order=True)
        for share in SHARES
        for guess in guesses(
            own,
            share,
            left_out[float(own["params"][0])][0],
            critical,
            level=evidence.level,
            seed=evidence.seed,
        )
    ]


# --- words and numbers ----------------------------------------------------------------------------


def _findings(fits: CurveFits, early: Sequence[Guess], evidence: Evidence) -> list[Finding]:
    """Over S_min where that is a measurement.

    Where it is none alpha_S is mostly the law of the critical batch, and nothing is told of it.
    Where it is one, one law for all sizes and the mean over sizes alone are two readings of one
    claim: what they differ by, because sizes do not share one curve, is in the interval. alpha_N is
    what size leaves to long training: where S_min is no measurement it and S are two guesses of how
    long that is, and the interval holds both.
    """
    doubt = fits.conversion.doubt
    alpha_s, alpha_n = (fits.joint.parameters[name] for name in ("alpha_S", "alpha_N"))
    if doubt:
        alpha_n = union(alpha_n, fits.trained.parameters["alpha_N"])
    few = "" if fits.trend else f"{len(fits.alone)} sizes have a law of their own"
    error = _mean_error(early, 0.25, "with others", evidence)
    return [
        Finding(ALPHA_S, None if doubt else union(alpha_s, fits.mean), doubt),
        Finding(TREND, None if doubt else fits.trend, doubt or few),
        Finding(ALPHA_N, alpha_n),
        _early_finding(error, fits.alone),
    ]


def _early_finding(error: Estimate | None, alone: Sequence[Size]) -> Finding:
    if error is None:
        return Finding(EARLY, None, "the curves have too few points in their beginning")
    scatter = float(np.median([one.fit.noise[1] for one in alone])) if alone else 0.0
    if scatter > ROUGH:
        return Finding(
            EARLY, None, f"evaluations scatter by {scatter:.1%} about the law of their own size"
        )
    return Finding(EARLY, error)


def _mean_error(
    early: Sequence[Guess], share: float, way: str, evidence: Evidence
) -> Estimate | None:
    errors = np.array([abs(g.error) for g in early if g.share == share and g.way == way])
    return mean_over(errors, evidence.level, evidence.seed) if len(errors) > 2 else None


def _numbers(
    fits: CurveFits,
    points: pl.DataFrame,
    left_out: Mapping[float, tuple[Fit | None, Fit | None]],
    early: Sequence[Guess],
    evidence: Evidence,
) -> dict[str, Number]:
    over = "over S_min" + (", an extrapolation" if fits.conversion.doubt else "")
    numbers = {
        name: Number(fits.joint.parameters[name], unit, f"{name} of one law for all sizes, {over}")
        for name, unit in (("alpha_S", ""), ("alpha_N", ""), ("S_c", "steps"), ("N_c", ""))
    }
    for name in ("alpha_S", "alpha_N"):
        numbers[f"{name}_as_trained"] = Number(
            fits.trained.parameters[name],
            "",
            f"{name} of one law over the steps at the batch trained, with no critical batch in it",
        )
    if fits.mean is not None:
        words = f"alpha_S of each size alone, their mean, {over}"
        numbers["alpha_S_mean"] = Number(fits.mean, "", words)
    if fits.trend_trained is not None:
        numbers["alpha_S_per_decade_of_N_as_trained"] = Number(
            fits.trend_trained,
            "",
            "how alpha_S of each size over the steps at the batch trained moves with N",
        )
    numbers |= _of_conversion(fits.conversion, evidence.level)
    for sizes, words, end in (
        (fits.alone, over, ""),
        (fits.alone_trained, "over steps as trained", "_as_trained"),
    ):
        for one in sizes:
            name = format_count(one.params)
            numbers[f"alpha_S_N{name}{end}"] = Number(
                one.alpha, "", f"alpha_S of N = {name} alone, {words}"
            )
    for share in SHARES:
        for way in ("alone", "with others"):
            error = _mean_error(early, share, way, evidence)
            if error is None:
                continue
            key = f"{round(100 * share)}pct_{way.replace(' ', '_')}"
            words = f"from the first {share:.0%}, {_WAYS[way]}"
            numbers[f"error_{key}"] = Number(error, "", f"mean relative error, {words}")
            inside = [float(g.covered) for g in early if g.share == share and g.way == way]
            numbers[f"coverage_{key}"] = Number(
                mean_over(np.array(inside), evidence.level, evidence.seed),
                "",
                f"share of final losses inside their {evidence.level:.0%} interval, {words}",
            )
    numbers |= _comparison(points, left_out, evidence)
    return numbers


def _of_conversion(found: Conversion, level: float) -> dict[str, Number]:
    """How much of S_min is measured: exact of these runs, under the law of the critical batch."""
    return {
        name: Number(Estimate(value, value, value, level), "", meaning)
        for name, value, meaning in (
            ("B_crit_over_B", found.over, "critical batch over the one trained, median of points"),
            ("S_min_follows_S", found.follows, "d ln S_min / d ln S, median of points"),
            (
                "share_of_losses_measured",
                found.inside,
                "share of points at losses at which the critical batch was measured",
            ),
        )
    }


_WAYS = {"alone": "by its own curve alone", "with others": "with the other sizes' law"}


def _comparison(
    points: pl.DataFrame,
    left_out: Mapping[float, tuple[Fit | None, Fit | None]],
    evidence: Evidence,
) -> dict[str, Number]:
    """How well each form describes the curve of a size that it was not fitted to."""
    names = ("no_floor", "with_floor")
    words = (NO_FLOOR.equation, WITH_FLOOR.equation)
    errors: dict[str, list[float]] = {name: [] for name in names}
    for params, pair in left_out.items():
        own = points.filter(pl.col("params") == params)
        steps = own["steps_min"].to_numpy()
        for name, found in zip(names, pair, strict=True):
            if found is not None:
                off = np.log(
                    own["loss"].to_numpy() / found.predict(params=params, steps_min=steps).value
                )
                errors[name].append(float(np.sqrt((off**2).mean())))
    numbers = {
        f"misfit_{name}": Number(
            mean_over(np.array(values), evidence.level, evidence.seed),
            "",
            f"root mean square of log loss over the curve of a size left out: {law}",
        )
        for (name, values), law in zip(errors.items(), words, strict=True)
        if values
    }
    whole = fit_least_steps(WITH_FLOOR, points, evidence)
    if whole is None:
        return numbers
    meaning = "of the law with a floor"
    return numbers | {
        "floor": Number(whole.parameters["E"], "nats per token", f"E {meaning}"),
        "alpha_S_with_floor": Number(whole.parameters["beta"], "", f"exponent of steps {meaning}"),
        "alpha_N_with_floor": Number(whole.parameters["alpha"], "", f"exponent of size {meaning}"),
    }


def _statement(findings: Sequence[Finding], numbers: Mapping[str, Number]) -> str:
    alpha_s, trend, alpha_n, error = findings
    if alpha_s.estimate is None:
        trained = [
            number.estimate.value
            for name, number in numbers.items()
            if name.startswith("alpha_S_N") and name.endswith("_as_trained")
        ]
        text = f"{phrase(findings)}: of alpha_S nothing can be told: {alpha_s.why}"
        if trained:
            text += (
                "; over the steps at the batch trained the curves of sizes alone have exponents of "
                f"{min(trained):.2f} to {max(trained):.2f}"
            )
        text += f"; alpha_N = {alpha_n.estimate} (paper .077)"
    else:
        text = (
            f"{phrase(findings)}: one law for the curves of all sizes has alpha_S = "
            f"{numbers['alpha_S'].estimate} over S_min (paper .76)"
        )
        if "alpha_S_mean" in numbers:
            text += f", sizes alone {numbers['alpha_S_mean'].estimate} on average"
        text += f", and alpha_N = {alpha_n.estimate} (.077)"
    if trend.estimate is not None:
        text += f"; alpha_S of sizes alone moves by {trend.estimate} a decade of N"
    if error.estimate is not None:
        text += (
            f"; the first quarter of a curve with the other sizes' law predicts its end to "
            f"{error.estimate} of it"
        )
        if "error_25pct_alone" in numbers:
            text += f" (by itself to {numbers['error_25pct_alone'].estimate})"
    if {"misfit_no_floor", "misfit_with_floor"} <= set(numbers):
        plain, floor = (
            numbers[f"misfit_{name}"].estimate.value for name in ("no_floor", "with_floor")
        )
        text += (
            f"; the paper's law describes a size left out to {plain:.2%}, one with a floor to "
            f"{floor:.2%}"
        )
    return text + "." + because(findings)


DESIGN = Design(
    name="learning-curves",
    title="Learning curves",
    paper="section 5.2, figure 4, right",
    varies="size and steps: the trunks of the ladder along their training",
    holds="batch, constant learning rate after warm-up, text",
    concludes="L(N, S_min) as one law for all sizes, and how well early parts predict the end",
    weight=0.0,
    plan=nothing,
    conclude=conclude,
)

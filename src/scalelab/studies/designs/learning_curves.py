"""One law L(N, S_min) for the learning curves of all sizes (the paper's section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Estimate, Fit, fit
from scalelab.fitting.line import fit_line
from scalelab.laws import get_law
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    phrase,
)
from scalelab.studies.curve_laws import DRAWS, FEWEST_SIZES, NO_FLOOR, WITH_FLOOR, fit_steps
from scalelab.studies.curve_pictures import curves_picture, early_picture, exponents_picture
from scalelab.studies.design import Design, nothing
from scalelab.studies.early_parts import Guess, guesses
from scalelab.studies.evidence import Evidence
from scalelab.studies.trunk_curves import at_best, critical_batch, mean_over, trunk_points
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
)
ALPHA_N = Check.about(
    "alpha_N",
    0.077,
    0.025,  # a third
    "Kaplan et al. 2020, equation 5.6 and table 3",
    "the loss of long training falls as N^-.077",
)
TREND = Check.about(
    "alpha_S_per_decade_of_N",
    0.0,
    0.1,  # of .76: an eighth a decade
    "Kaplan et al. 2020, sections 1.1 and 5.2",
    "the parameters of the learning curve hardly depend on the size",
)
EARLY = Check.at_most(
    "error_from_first_quarter",
    0.02,
    "Kaplan et al. 2020, section 1.1",
    "the early part of a curve predicts its end: from a quarter of the training within 2%",
)


@dataclass(frozen=True)
class _Size:
    """A size fitted alone."""

    params: float
    alpha: Estimate
    floor: float
    fit: Fit


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
    joint = fit_steps(NO_FLOOR, points, evidence)
    if joint is None:
        return _nothing("the curves after warm-up have too few points for a law")
    alone = _each_alone(points, evidence)
    left_out = _leave_one_out(points, evidence)
    early = _early(points, left_out, critical, evidence)
    findings = _findings(joint, alone, early, evidence)
    numbers = _numbers(joint, points, alone, left_out, early, evidence)
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings, numbers),
        findings=findings,
        numbers=numbers,
        pictures=[
            curves_picture(joint, points),
            exponents_picture([(one.params, one.alpha) for one in alone]),
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


# --- fits -----------------------------------------------------------------------------------------


def _each_alone(points: pl.DataFrame, evidence: Evidence) -> list[_Size]:
    found = []
    for own in points.partition_by("params", maintain_order=True):
        try:
            one = fit(
                get_law("power", "steps_min"),
                own,
                estimator="least-squares",
                clusters="run",
                draws=DRAWS,
                level=evidence.level,
                seed=evidence.seed,
            )
        except FitError:
            continue
        alpha = one.parameters["alpha"]
        inside = 0.02 < alpha.value < 2.5  # at a bound nothing was found
        if inside and np.isfinite(alpha.stderr) and alpha.stderr > 0:
            found.append(_Size(float(own["params"][0]), alpha, one.values["E"], one))
    return found


def _leave_one_out(
    points: pl.DataFrame, evidence: Evidence
) -> Mapping[float, tuple[Fit | None, Fit | None]]:
    """For each size, Kaplan's form and that with a floor fitted to all the others."""
    found = {}
    for params in points["params"].unique().sort().to_list():
        others = points.filter(pl.col("params") != params)
        found[params] = (
            fit_steps(NO_FLOOR, others, evidence, draws=120),
            fit_steps(WITH_FLOOR, others, evidence, draws=120),
        )
    return found


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


def _trend(alone: Sequence[_Size], evidence: Evidence) -> Estimate | None:
    if len(alone) < FEWEST_SIZES:
        return None
    decades = np.log10([one.params for one in alone])
    values = np.array([one.alpha.value for one in alone])
    errors = np.array([one.alpha.stderr for one in alone])
    return fit_line(decades, values, errors, level=evidence.level).slope


# --- words and numbers ----------------------------------------------------------------------------


def _findings(
    joint: Fit, alone: Sequence[_Size], early: Sequence[Guess], evidence: Evidence
) -> list[Finding]:
    trend = _trend(alone, evidence)
    error = _mean_error(early, 0.25, "with others", evidence)
    return [
        Finding(ALPHA_S, joint.parameters["alpha_S"]),
        Finding(TREND, trend, "" if trend else f"{len(alone)} sizes have a law of their own"),
        Finding(ALPHA_N, joint.parameters["alpha_N"]),
        _early_finding(error, alone),
    ]


def _early_finding(error: Estimate | None, alone: Sequence[_Size]) -> Finding:
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
    joint: Fit,
    points: pl.DataFrame,
    alone: Sequence[_Size],
    left_out: Mapping[float, tuple[Fit | None, Fit | None]],
    early: Sequence[Guess],
    evidence: Evidence,
) -> dict[str, Number]:
    numbers = {
        name: Number(joint.parameters[name], unit, f"{name} of one law for all sizes")
        for name, unit in (("alpha_S", ""), ("alpha_N", ""), ("S_c", "steps"), ("N_c", ""))
    }
    for one in alone:
        name = format_count(one.params)
        numbers[f"alpha_S_N{name}"] = Number(one.alpha, "", f"alpha_S of N = {name} alone")
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
    whole = fit_steps(WITH_FLOOR, points, evidence)
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
    text = (
        f"{phrase(findings)}: one law for the curves of all sizes has "
        f"alpha_S = {alpha_s.estimate} (paper .76) and alpha_N = {alpha_n.estimate} (.077)"
    )
    if trend.estimate is not None:
        text += f"; fitted to each size alone alpha_S moves by {trend.estimate} a decade of N"
    if error.estimate is not None:
        text += (
            f"; the first quarter of a curve with the other sizes' law predicts its end to "
            f"{error.estimate} of it"
        )
    if {"misfit_no_floor", "misfit_with_floor"} <= set(numbers):
        plain, floor = (
            numbers[f"misfit_{name}"].estimate.value for name in ("no_floor", "with_floor")
        )
        better, off = ("with", floor) if floor < plain else ("without", plain)
        text += f"; the law {better} a floor describes a size left out better (to {off:.2%})"
    return text + "."


DESIGN = Design(
    name="learning-curves",
    title="Learning curves",
    paper="section 5.2, figure 4 right",
    varies="size and steps: the trunks of the ladder along their training",
    holds="batch, constant learning rate after warm-up, text",
    concludes="L(N, S_min) as one law for all sizes, and how well early parts predict the end",
    weight=0.0,
    plan=nothing,
    conclude=conclude,
)

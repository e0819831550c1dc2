"""The critical batch, measured three ways, as a function of the loss (the paper's section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from scalelab.errors import Notice
from scalelab.fitting import Estimate, Fit
from scalelab.laws import Array
from scalelab.studies.analysis.batch_branches import TOLERANCE, read_branches
from scalelab.studies.analysis.batch_sweep import Sweep, read_sweep, sound
from scalelab.studies.analysis.critical_batch_law import (
    NO_SOUND,
    PAPER_ALPHA,
    above_floor,
    all_runs,
    constant_runs,
    fit_checkpoints,
    fit_points,
    local_batch,
    log_batch,
    ratio,
    size_exponent,
    union,
    vague,
)
from scalelab.studies.analysis.joint import Joint, joint_of
from scalelab.studies.analysis.noise_scale import noise_points
from scalelab.studies.batch_plan import plan
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    because,
    phrase,
)
from scalelab.studies.design import Design
from scalelab.studies.evidence import Evidence
from scalelab.studies.pictures.batch import Ways, losses_of, pictures
from scalelab.units import format_count

ALPHA = Check.about(
    "alpha_B",
    PAPER_ALPHA,
    0.07,  # a third of it: B_crit over a halving of the loss within 12 to 141 times, paper 27
    "Kaplan et al. 2020, equation 5.3",
    "B_crit ~ L^(-1/alpha_B) with alpha_B = .21",
    "one small size, near the least loss of the text, where powers of L are steeper than of L - E",
)
SIZE = Check.about(
    "size_exponent",
    0.0,
    0.15,  # 2.4 times over two and a half decades of N; the loss moves it ten times and more
    "Kaplan et al. 2020, section 5.1",
    "B_crit depends on the loss, not on the size: B_noise at equal loss ~ N^0",
    "at one loss the smallest sizes are at the end of their training and the largest early in it",
)
NOISE = Check(
    "noise_scale_over_sweep",
    1.0,
    0.5,
    2.0,
    "Kaplan et al. 2020, section 5.1 and figure 10",
    "the gradient noise scale predicts the critical batch, to within a factor of 2",
    "the noise scale is derived for plain descent and the steps are Adam's; the sweep has one seed",
)
"""Of one moment: the noise scale is read where the sweep goes from one loss to the next. B_crit of
equation 5.1 is an average from the first step on, which the beginning holds down."""


def conclude(evidence: Evidence) -> Conclusion:
    """Noise scale, sweep and branches beside each other and beside the paper's exponent."""
    level, seed = evidence.level, evidence.seed
    runs = all_runs(evidence)
    points = noise_points(constant_runs(evidence))
    checkpoints = read_branches(runs, level=level, seed=seed)
    ways = Ways(
        points,
        fit_points(points, level=level, seed=seed),
        read_sweep(runs, level=level, seed=seed),
        checkpoints,
        fit_checkpoints(checkpoints, level=level, seed=seed),
    )
    findings = _findings(ways, level, seed)
    numbers = _numbers(ways, joint_of(evidence), level, seed)
    return Conclusion(
        design=DESIGN.name,
        title=DESIGN.title,
        statement=_statement(findings, numbers, ways),
        findings=findings,
        numbers=numbers,
        pictures=pictures(ways),
        notices=_notices(ways),
        left_out=evidence.left_out,
    )


def _findings(ways: Ways, level: float, seed: int) -> list[Finding]:
    gamma = size_exponent(ways.points, level=level, seed=seed)
    size = Finding(
        SIZE, gamma, "" if gamma else "the noise scale is not known for three sizes or more"
    )
    return [_alpha(ways), size, _noise(ways, level)]


def _alpha(ways: Ways) -> Finding:
    """By the sweep and by its sound part together; without a sweep by the noise scale."""
    if ways.sweep is not None and ways.direct is not None:
        if ways.sweep.sound is None:
            return Finding(ALPHA, None, NO_SOUND)
        alphas = [fit.parameters["alpha_B"] for fit in (ways.direct, ways.sweep.sound)]
        return Finding(ALPHA, union(*alphas))
    if ways.noise is None:
        return Finding(ALPHA, None, "neither the sweep nor the noise scale has runs enough")
    return Finding(ALPHA, ways.noise.parameters["alpha_B"])


def _noise(ways: Ways, level: float) -> Finding:
    """Where the sweep goes from one loss to the next, by all of it and by its sound part."""
    if ways.sweep is None or ways.direct is None or ways.noise is None:
        missing = "the noise scale" if ways.direct else "the sweep"
        return Finding(NOISE, None, f"{missing} has runs too few to compare")
    if ways.sweep.sound is None:
        return Finding(NOISE, None, NO_SOUND)
    sweep = ways.sweep
    all_of_it = _noise_over(ways.noise, local_batch(ways.direct, sweep.crossings), level)
    rest = local_batch(ways.sweep.sound, sound(sweep.crossings, sweep.levels))
    if all_of_it is None:
        return Finding(NOISE, None, "no size has two losses in the sweep")
    return Finding(NOISE, union(all_of_it, _noise_over(ways.noise, rest, level)))


def _noise_over(
    noise: Fit, local: tuple[Array, tuple[Array, Array]] | None, level: float
) -> Estimate | None:
    return None if local is None else ratio(log_batch(noise, local[0]), local[1], level)


def _numbers(ways: Ways, joint: Joint | None, level: float, seed: int) -> Mapping[str, Number]:
    numbers: dict[str, Number] = {}
    fits = {
        "sweep": (ways.direct, "the sweep to fixed losses"),
        "noise": (ways.noise, "the gradient noise scale of all trunks"),
        "branches": (ways.branches, "branch runs from checkpoints"),
    }
    for name, (found, words) in fits.items():
        if found is not None:
            for parameter, unit in (("alpha_B", ""), ("B_star", "tokens")):
                estimate = found.parameters[parameter]
                numbers[f"{parameter}_{name}"] = Number(estimate, unit, f"{parameter} by {words}")
    if ways.sweep is not None:
        numbers |= _doubts(ways.sweep, joint, level, seed)
        for params, loss, fitted in ways.sweep.levels:
            numbers[f"B_crit_N{format_count(params)}_L{loss:.3f}"] = Number(
                fitted.derived["B_crit"],
                "tokens",
                f"E_min / S_min at {loss:.3f} nats, {format_count(params)} parameters",
            )
    for one in ways.checkpoints:
        where = f"branches from {format_count(one.tokens)} tokens"
        numbers[f"B_crit_branches_L{one.loss:.3f}"] = Number(
            one.critical, "tokens", f"{where}: half of the tokens are wasted"
        )
        numbers[f"B_within_L{one.loss:.3f}"] = Number(
            one.within, "tokens", f"{where}: the largest batch within {TOLERANCE:.0%} of the loss"
        )
    numbers |= _ratios(ways, level)
    for params in ways.points["params"].unique().sort().to_list():
        own = ways.points.filter(pl.col("params") == params)
        fitted_own = fit_points(own, level=level, seed=seed)
        if fitted_own is not None and not vague(fitted_own):
            name = format_count(params)
            numbers[f"alpha_B_noise_N{name}"] = Number(
                fitted_own.parameters["alpha_B"], "", f"alpha_B by the noise scale of N = {name}"
            )
    return numbers


def _doubts(sweep: Sweep, joint: Joint | None, level: float, seed: int) -> dict[str, Number]:
    """alpha_B without doubtful crossings, and above the floor."""
    numbers = {}
    if sweep.sound is not None:
        numbers["alpha_B_sweep_sound"] = Number(
            sweep.sound.parameters["alpha_B"],
            "",
            "alpha_B by the sweep without best rates at an end of those tried and without losses "
            "whose B_crit exceeds every batch tried",
        )
    if joint is not None:
        floor = joint.fit.parameters["E"]
        alpha = above_floor(sweep.crossings, floor, level=level, seed=seed)
        if alpha is not None:
            numbers["alpha_B_above_floor"] = Number(
                alpha, "", f"alpha of B_crit ~ (L - E)^(-1/alpha), E = {floor} of the joint law"
            )
    return numbers


def _ratios(ways: Ways, level: float) -> dict[str, Number]:
    """Each way over the sweep: over all the way to a loss, and over the stretch at that loss."""
    if ways.sweep is None or ways.direct is None:
        return {}
    found: dict[str, Number] = {}
    local = local_batch(ways.direct, ways.sweep.crossings)
    losses = losses_of(ways.direct)
    if ways.noise is not None:
        whole = ratio(log_batch(ways.noise, losses), log_batch(ways.direct, losses), level)
        found["noise_over_sweep"] = Number(whole, "", "B_noise over B_crit of the sweep")
        stretch = _noise_over(ways.noise, local, level)
        if stretch is not None:
            found["noise_over_sweep_local"] = Number(
                stretch, "", "B_noise over (E_2 - E_1) / (S_2 - S_1) between losses of the sweep"
            )
    if ways.checkpoints:
        at = np.array([one.loss for one in ways.checkpoints])
        value = np.log([one.critical.value for one in ways.checkpoints])
        count = min(len(one.draws) for one in ways.checkpoints)
        # Checkpoints are fitted with one seed, so each takes its draws from another place.
        turned = [
            np.roll(one.draws[:count], (i + 1) * count // 7)
            for i, one in enumerate(ways.checkpoints)
        ]
        branches = (value, np.stack(turned, axis=1))
        whole = ratio(branches, log_batch(ways.direct, at), level)
        found["branches_over_sweep"] = Number(
            whole, "", "critical batch of branches over B_crit of the sweep at their losses"
        )
        if local is not None and np.isfinite(local[1][0]).all():
            order = np.argsort(local[0])
            log_loss = np.log(local[0][order])
            log_at = np.clip(np.log(at), log_loss[0], log_loss[-1])
            drawn = np.array([np.interp(log_at, log_loss, row[order]) for row in local[1][1]])
            below = (np.interp(log_at, log_loss, local[1][0][order]), drawn)
            found["branches_over_sweep_local"] = Number(
                ratio(branches, below, level),
                "",
                "critical batch of branches over that between losses of the sweep",
            )
    return found


def _statement(findings: Sequence[Finding], numbers: Mapping[str, Number], ways: Ways) -> str:
    alpha, size, noise = findings
    if ways.direct is None and alpha.estimate is None:
        return f"{phrase(findings)}: {alpha.why}."
    if ways.direct is None:
        text = (
            f"{phrase(findings)}: by the noise scale alone the critical batch grows as the loss "
            f"falls with alpha_B = {alpha.estimate} (paper {PAPER_ALPHA})"
        )
    else:
        low, high, _ = ways.direct.ranges["loss"]
        text = (
            f"{phrase(findings)}: by a sweep to losses of {low:.2f} to {high:.2f} nats the "
            "critical batch grows as the loss falls with alpha_B = "
            f"{numbers['alpha_B_sweep'].estimate} (paper {PAPER_ALPHA})"
        )
        if "alpha_B_sweep_sound" in numbers:
            text += (
                ", without batches whose best learning rate was the lowest or the highest tried "
                f"{numbers['alpha_B_sweep_sound'].estimate}"
            )
        else:
            text += f"; {alpha.why}"
        if "alpha_B_above_floor" in numbers:
            above = numbers["alpha_B_above_floor"].estimate
            text += f"; as a power of the loss above its floor it has alpha = {above}"
    if size.estimate is not None:
        text += f"; at equal loss the noise scale goes as N^{size.estimate} (paper: not at all)"
    if noise.estimate is not None and np.isfinite(noise.estimate.high):
        text += (
            f"; the noise scale is {noise.estimate} times the batch that the sweep finds where it "
            "is read"
        )
    if "branches_over_sweep" in numbers:
        branches = numbers["branches_over_sweep"].estimate
        text += (
            f"; the critical batch of branch runs is {branches} times the sweep's at their losses"
            if np.isfinite(branches.value)
            else "; of branch runs larger batches did not end higher, which tells no critical batch"
        )
    return text + "." + because(findings)


def _notices(ways: Ways) -> list[Notice]:
    notices = []
    if ways.sweep is not None:
        edge = ways.sweep.crossings["edge"].mean()
        if isinstance(edge, float) and edge > 0.5:
            notices.append(
                Notice(
                    "rate-at-edge",
                    f"at {edge:.0%} of the batches and losses the best learning rate is the lowest "
                    "or the highest tried, so that steps may be too many there.",
                )
            )
    if ways.direct is not None and vague(ways.direct):
        notices.append(
            Notice(
                "narrow-losses",
                "the losses of the sweep lie too close together to say how B_crit depends on them.",
            )
        )
    return notices


DESIGN = Design(
    name="critical-batch",
    title="Critical batch",
    paper="section 5.1, figures 10 and 18",
    varies="the batch, from a quarter of the ladder's to sixteen times it, and the learning rate",
    holds="size, data, warm-up as a share of the steps, constant rate after it",
    concludes="B_crit(L) = B_star / L^(1/alpha_B) by three independent measurements, and whether "
    "the gradient noise scale predicts it where it is read",
    weight=1.5,
    plan=plan,
    conclude=conclude,
)

"""A sweep of batch sizes to fixed losses, and what it says of the critical batch.

    (S / S_min - 1) (E / E_min - 1) = 1,   B_crit = E_min / S_min                  (equation 5.1)

With E = B S this is S = S_min (1 + B_crit / B): one law for the steps that each batch needs.
Sources: McCandlish et al. 2018, arXiv 1812.06162, equation 2.11; Kaplan et al. 2020,
arXiv 2001.08361, equations 5.1 to 5.3 and figure 18.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import Array, Derived, Law, Parameter, custom_law, get_law
from scalelab.studies.evidence import Run

PREFIX = "critical-batch-sweep"
"""How the ids of the sweep's runs begin."""

DRAWS = 400
"""Refits behind an interval: its ends are then known to a tenth of its width. (assumed enough)"""

LEVELS = 6
"""Losses at which the batches are compared."""

FEWEST = 5
"""Batches that must reach a loss: two numbers are fitted, three are left to doubt them."""

FEWEST_SOUND = 3
"""Batches that a loss must keep once those whose best rate is an end of the rates are left out: in
the fit of all losses it has one number of its own, its least steps."""

SETTLED = 1.5
"""A curve counts from so many warm-ups on. (assumed)"""

CROSSINGS = {
    "run": pl.String,
    "series": pl.String,
    "params": pl.Float64,
    "batch_tokens": pl.Float64,
    "loss": pl.Float64,
    "level": pl.Float64,
    "steps": pl.Float64,
    "tokens": pl.Float64,
    "lr": pl.Float64,
    "edge": pl.Boolean,
}


@dataclass(frozen=True)
class Sweep:
    """What a sweep shows.

    crossings: by CROSSINGS, steps and tokens that each batch needs to each loss, at the best of its
    rates there (edge: that rate is the lowest or the highest tried). levels: one fit of equation
    5.1 for each loss, with its loss and size. joint: one fit of all losses at once, in which
    B_crit = B_star / L^(1/alpha_B); None where there are too few. sound: the same of `sound` alone.
    """

    crossings: pl.DataFrame
    levels: Sequence[tuple[float, float, Fit]]
    joint: Fit | None
    sound: Fit | None


def sweep_runs(runs: Iterable[Run]) -> list[Run]:
    """The runs of a sweep among others, each id once; those that diverged have curves too."""
    found = {run.spec.run: run for run in runs if run.spec.run.startswith(PREFIX)}
    return list(found.values())


def read_sweep(runs: Iterable[Run], *, level: float = 0.9, seed: int = 0) -> Sweep | None:
    """The sweep among `runs`, None where no size has a loss that enough batches reached."""
    crossings = steps_to_losses(sweep_runs(runs))
    if crossings.is_empty():
        return None
    levels = []
    for group in crossings.partition_by("level", maintain_order=True):
        found = fit(
            trade_off(),
            group,
            estimator="least-squares",
            clusters="run",
            draws=DRAWS,
            level=level,
            seed=seed,
        )
        levels.append((float(group["params"][0]), float(group["loss"][0]), found))
    joint = fit_crossings(crossings, level, seed)
    # Two losses tell a slope badly, and that is said by its interval.
    rest = fit_crossings(sound(crossings, levels), level, seed, least=2)
    return Sweep(crossings, levels, joint, rest)


def sound(crossings: pl.DataFrame, levels: Sequence[tuple[float, float, Fit]]) -> pl.DataFrame:
    """The crossings about which there is least doubt, their levels counted anew.

    Small batches at low losses want a lower rate than large ones early on. Where the best rate is
    the lowest or the highest tried a better one may lie beyond it: then a batch has too many steps,
    and small batches at low losses an E_min, and so a B_crit, too large just there. Where B_crit
    exceeds every batch that reached a loss its S_min is extrapolated. Both are left out.
    """
    kept: list[pl.DataFrame] = []
    groups = crossings.partition_by("level", maintain_order=True)
    for group, (_, _, fitted) in zip(groups, levels, strict=True):
        inner = group.filter(~pl.col("edge"))
        tried = fitted.derived["B_crit"].value <= float(group["batch_tokens"].to_numpy().max())
        if tried and len(inner) >= FEWEST_SOUND:
            kept.append(inner.with_columns(pl.lit(float(len(kept))).alias("level")))
    return pl.concat(kept) if kept else crossings.clear()


def fit_crossings(crossings: pl.DataFrame, level: float, seed: int, least: int = 3) -> Fit | None:
    """One fit of all losses (`sweep_law`), None where they are fewer than `least`."""
    if crossings["level"].n_unique() < least:
        return None
    # A run's luck is in all of its losses: its series is the cluster.
    table = crossings.with_columns(pl.col("series").alias("trunk"))
    try:
        return fit(
            sweep_law(crossings["level"].n_unique()), table, draws=DRAWS, level=level, seed=seed
        )
    except FitError:
        return None


def trade_off() -> Law:
    """S = S_min + E_min / B: equation 5.1 with E = B S. Derived: B_crit = E_min / S_min."""
    law = custom_law(
        "S_min + E_min / batch_tokens",
        (
            Parameter("S_min", "fewest steps", 0.0, np.inf),
            Parameter("E_min", "fewest tokens", 0.0, np.inf, log=True),
        ),
        name="batch-trade-off",
        response="steps",
    )
    b_crit = Derived("B_crit", "critical batch, tokens", lambda v: divide(v["E_min"], v["S_min"]))
    return replace(law, derived=(b_crit,), reference="Kaplan et al. 2020, equation 5.1")


def divide(above: Array, below: Array) -> Array:
    """Coefficients of draws over each other: infinite where a draw has none below, NaN of none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / below)


def sweep_law(levels: int) -> Law:
    """S = S_i (1 + B_crit(L_i) / B) for i below `levels`, B_crit(L) = B_star / L^(1/alpha_B).

    One law for all losses of a sweep: the input ``level`` says which S_min a row has. So a batch
    whose run was lucky, which shows at every loss, is counted as one piece of luck.
    """
    critical = get_law("critical-batch")
    names = [f"S_{i}" for i in range(levels)]

    def log_steps(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        least = sum(getattr(p, f"log_{name}") * (x.level == i) for i, name in enumerate(names))
        log_b = p.log_B_star - x.log_loss / p.alpha_B
        return least + np.logaddexp(0.0, log_b - x.log_batch_tokens)

    def starts(x: SimpleNamespace, log_response: Array) -> Array:
        found = []
        middle = x.log_loss.mean()
        for alpha in (0.05, 0.1, 0.2, 0.4, 1.0):
            for log_b in np.quantile(x.log_batch_tokens, (0.1, 0.35, 0.6, 0.85)):
                log_star = log_b + middle / alpha
                rest = log_response - np.logaddexp(
                    0.0, log_star - x.log_loss / alpha - x.log_batch_tokens
                )
                least = [rest[x.level == i].mean() for i in range(levels)]
                found.append([log_star, alpha, *least])
        return np.array(found)

    return Law(
        name="batch-sweep",
        equation="S = S_min(L) (1 + B_star L^(-1 / alpha_B) / B)",
        inputs=("batch_tokens", "loss", "level"),
        parameters=(
            *critical.parameters,
            *(Parameter(name, "least steps to a loss", 0.0, np.inf, log=True) for name in names),
        ),
        log_response=log_steps,
        starts=starts,
        reference="Kaplan et al. 2020, arXiv 2001.08361, equations 5.1 and 5.3",
        response="steps",
        raw=("level",),
    )


# --- steps to a loss ------------------------------------------------------------------------------


def steps_to_losses(runs: Sequence[Run]) -> pl.DataFrame:
    """Steps and tokens that each batch of each size needs to losses that enough of them reach."""
    rows: list[dict[str, object]] = []
    number = 0
    for params in sorted({run.params for run in runs}):
        own = [run for run in runs if run.params == params]
        curves = {run.spec.run: curve for run in own if (curve := falling_curve(run)) is not None}
        own = [run for run in own if run.spec.run in curves]
        batches = sorted({run.spec.batch_tokens for run in own})
        if len(batches) < FEWEST:
            continue
        for loss in _losses(own, curves):
            found = []
            for batch in batches:
                group = sorted(
                    (run for run in own if run.spec.batch_tokens == batch),
                    key=lambda run: run.spec.lr,
                )
                steps = [steps_to(curves[run.spec.run], loss) for run in group]
                best = int(np.argmin(steps))
                if not np.isfinite(steps[best]):
                    continue
                series = f"{params}-{batch}"
                found.append(
                    {
                        "run": f"{series}-{number}",
                        "series": series,
                        "params": float(params),
                        "batch_tokens": float(batch),
                        "loss": loss,
                        "level": float(number),
                        "steps": steps[best],
                        "tokens": steps[best] * batch,
                        "lr": group[best].spec.lr,
                        "edge": len(group) > 1 and best in (0, len(group) - 1),
                    }
                )
            if len(found) >= FEWEST:
                rows += found
                number += 1
    return pl.DataFrame(rows, schema=CROSSINGS)


Curve = tuple[Array, Array]
"""Log steps and log losses that never rise."""


def falling_curve(run: Run) -> Curve | None:
    """Log steps and log losses of a run after warm-up, the losses made to fall (isotonic)."""
    from scipy.optimize import isotonic_regression

    points = run.curve.filter(
        (pl.col("step") >= SETTLED * run.spec.warmup_steps) & pl.col("loss").is_finite()
    ).sort("step")
    if len(points) < 4:
        return None
    log_loss = np.log(points["loss"].to_numpy())
    smooth = isotonic_regression(log_loss, increasing=False).x
    return np.log(points["step"].to_numpy().astype(float)), np.asarray(smooth)


def _losses(runs: Sequence[Run], curves: dict[str, Curve]) -> list[float]:
    """LEVELS losses, evenly spaced in the logarithm, high to low.

    The highest is one that every batch has still before it when its warm-up is over; the lowest one
    that FEWEST batches reach.
    """
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for run in runs:
        _, log_loss = curves[run.spec.run]
        batch = run.spec.batch_tokens
        first[batch] = min(first.get(batch, np.inf), float(log_loss[0]))
        last[batch] = min(last.get(batch, np.inf), float(log_loss[-1]))
    high = min(first.values())
    low = sorted(last.values())[FEWEST - 1]
    if high <= low:
        return []
    # A margin at both ends: there a curve is a single evaluation.
    gap = 0.04 * (high - low)
    return [float(loss) for loss in np.exp(np.linspace(high - gap, low + gap, LEVELS))]


def steps_to(curve: Curve, loss: float) -> float:
    """Steps to a loss, interpolated in the log-log curve; infinite where it is not reached."""
    log_steps, log_loss = curve
    target = np.log(loss)
    if log_loss[-1] > target or log_loss[0] < target:
        return float("inf")
    # Of points at one loss (pooled ones) the middle counts.
    values, start, count = np.unique(-log_loss, return_index=True, return_counts=True)
    middle = (log_steps[start] + log_steps[start + count - 1]) / 2
    return float(np.exp(np.interp(-target, values, middle)))

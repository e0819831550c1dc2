"""From steps at the batch trained to S_min: how far it is a measurement, and fits that know it.

    S_min = S / (1 + B_crit(L) / B)                        (equation 5.4 of Kaplan et al. 2020)

Far below the critical batch S_min is nearly S B / B_crit(L): what the curve of a size adds to it is
d ln S_min / d ln S = 1 - w m / alpha_B with w = B_crit / (B + B_crit) and m = -d ln L / d ln S. The
rest is the law of the critical batch, carried to losses at which nobody may have measured it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from scalelab.fitting import Fit
from scalelab.laws import Law
from scalelab.studies.analysis.critical_batch_law import drawn_law, measured_losses, slope_doubt
from scalelab.studies.analysis.curve_laws import DRAWS, WITH_FLOOR, through_trunks
from scalelab.studies.analysis.trunk_curves import at_best, critical_batch, trunk_points
from scalelab.studies.evidence import Evidence

LAWS = 30
"""Draws of the critical batch's law under which a law over S_min is fitted again."""

LEAST_FOLLOWS = 0.5
"""d ln S_min / d ln S below which S_min is more the law of B_crit than steps that were taken."""

MOST_INSIDE = 0.9
"""Share of a ladder's points that lie at losses of the critical batch's measurement. (assumed: the
ends of curves may stick out by a tenth)"""


@dataclass(frozen=True)
class Conversion:
    """How S_min of the points of trunks comes about.

    batch: trained, tokens. over: B_crit over it, the median. follows: the median of
    d ln S_min / d ln S. inside: share of points at losses at which B_crit was measured. slope: why
    alpha_B is not known, if it is not.
    """

    batch: float
    over: float
    follows: float
    inside: float
    slope: str = ""

    @property
    def doubt(self) -> str:
        """Why S_min is no measurement; empty where it is one."""
        reasons = []
        if self.follows < LEAST_FOLLOWS:
            reasons.append(f"ln S_min moves by {self.follows:.2f} where ln S moves by 1")
        if self.inside < MOST_INSIDE:
            reasons.append(f"{self.inside:.0%} of the losses are such at which B_crit was measured")
        if self.slope:
            reasons.append(self.slope)
        if not reasons:
            return ""
        size = f"1/{self.over:.0f} of" if self.over > 1.5 else f"{1 / self.over:.1f} times"
        return (
            f"the batch of {self.batch:,.0f} tokens is {size} the critical one, S_min is an "
            f"extrapolation ({', and '.join(reasons)})"
        )


def conversion(points: pl.DataFrame, evidence: Evidence) -> Conversion:
    """points: by `analysis.trunk_curves.at_best`."""
    follows = []
    for own in points.partition_by("trunk"):
        steps, least = (
            np.log(own.sort("step")[name].to_numpy()) for name in ("steps", "steps_min")
        )
        follows.append(np.diff(least) / np.diff(steps))
    ends = measured_losses(evidence)
    loss, batch = points["loss"].to_numpy(), points["batch_tokens"].to_numpy()
    inside = 0.0 if ends is None else float(((ends[0] <= loss) & (loss <= ends[1])).mean())
    return Conversion(
        float(np.median(batch)),
        float(np.median(points["critical_batch"].to_numpy() / batch)),
        float(np.median(np.concatenate(follows))),
        inside,
        slope_doubt(evidence),
    )


def as_trained(points: pl.DataFrame) -> pl.DataFrame:
    """Points whose steps_min are the steps at the batch trained: of laws over those."""
    return points.with_columns(pl.col("steps").alias("steps_min"))


def fit_least_steps(law: Law, points: pl.DataFrame, evidence: Evidence) -> Fit | None:
    """A law of size and S_min, with what is not known of B_crit in its draws.

    points: by `at_best`. The law is fitted again under LAWS draws of the critical batch's law, each
    of which moves every S_min; their draws together are the fit's. Where nothing is known of how
    well the critical batch is known, its draws are equal and the fit's are its own.
    """
    own = through_trunks(law, points, evidence)
    if own is None:
        return None
    each = []
    for i, moved in enumerate(under_drawn_laws(points, evidence, LAWS)):
        seeded = replace(evidence, seed=evidence.seed + 1 + i)
        found = through_trunks(law, moved, seeded, draws=100)
        if found is not None:
            each.append(found.draw_theta[: DRAWS // LAWS + 1])
    return replace(own, draw_theta=np.concatenate(each)) if each else own


def under_drawn_laws(
    points: pl.DataFrame, evidence: Evidence, count: int
) -> Iterator[pl.DataFrame]:
    """Points as they are under `count` draws of the critical batch's law; none where all equal."""
    drawn = drawn_law(evidence, count)
    if drawn is None or np.ptp(drawn[1]) == 0:
        return
    for star, power in zip(drawn[0][1:], drawn[1][1:], strict=True):
        if power > 0 and np.isfinite(star):  # a draw may have no law at all
            yield at_best(points, {"B_star": float(np.exp(star)), "alpha_B": float(1 / power)})


def curves_law(evidence: Evidence) -> Fit | None:
    """E + A / N^alpha + B / S^beta of the trunks' curves, None where they are too few.

    S is S_min where that is a measurement, else the steps at the batch trained.
    """
    points = trunk_points(run for run in evidence.trunks if run.result is not None)
    critical = critical_batch(evidence)
    if points.is_empty():
        return None
    if critical is not None:
        points = at_best(points, critical)
        if not conversion(points, evidence).doubt:
            return fit_least_steps(WITH_FLOOR, points, evidence)
    return through_trunks(WITH_FLOOR, as_trained(points), evidence)

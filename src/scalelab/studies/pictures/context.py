"""Figures 20 and 21 of Kaplan et al. 2020: loss by the position in the context."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.analysis.attempt import Attempt, line_through
from scalelab.studies.analysis.context_parts import Beside, beside_words, parts_of, size_law
from scalelab.studies.analysis.positions import binned
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Evidence, Run
from scalelab.units import format_count


def pictures_of(
    runs: Sequence[Run],
    fits: Sequence[Attempt],
    short: Sequence[Beside],
    evidence: Evidence,
) -> list[Picture]:
    """Figure 20, left and, where losses along the way were recorded, right; figure 21."""
    if not runs:
        return []
    found = [_against_place(runs, fits, evidence)]
    if not runs[-1].octaves.is_empty():
        found.append(_against_step(runs[-1]))
    return [*found, _against_size(runs, short, evidence)]


def _against_place(runs: Sequence[Run], fits: Sequence[Attempt], evidence: Evidence) -> Picture:
    series = []
    for run, fit in zip(runs, fits, strict=True):
        found = binned(run.positions)
        reach = NormalDist().inv_cdf(0.5 + evidence.level / 2) * found.error
        series.append(
            Series(
                found.position.tolist(),
                found.loss.tolist(),
                "point",
                level=float(run.params),
                low=(found.loss - reach).tolist(),
                high=(found.loss + reach).tolist(),
            )
        )
        if fit.fit is not None:
            first = fit.fit.ranges["position"][0]
            x, y = line_through(fit, "position", first, found.position[-1])
            series.append(Series(x.tolist(), y.tolist(), "line", level=float(run.params)))
    return Picture(
        "context-position",
        "Loss against the position in the context",
        "Lines: E + A / T^alpha for each size. Bars: the noise of the text, which all sizes share.",
        Axis("Position in the context (tokens)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 20, left",
    )


def _against_step(run: Run) -> Picture:
    series = [
        Series(
            [float(step) for step in one["step"]],
            one["loss"].cast(pl.Float64).to_list(),
            "line",
            level=float(position),
        )
        for (position,), one in run.octaves.drop_nulls().group_by("position", maintain_order=True)
    ]
    return Picture(
        "context-step",
        f"Loss at parts of the context against the step, N = {format_count(run.params)}",
        "Doublings of the position, on the few held-out texts that are read along the way.",
        Axis("Step", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 20, right",
        level_title="Position",
    )


def _against_size(runs: Sequence[Run], short: Sequence[Beside], evidence: Evidence) -> Picture:
    series = []
    params: Array = np.array([float(run.params) for run in runs])
    for one in parts_of(runs, evidence):
        loss = [float(run.positions[one.part].mean()) for run in runs]
        series.append(Series(params.tolist(), loss, "point", level=one.middle))
        law = size_law(runs, one.part, evidence)
        if law.fit is not None:
            x, y = line_through(law, "params", params[0], params[-1])
            series.append(Series(x.tolist(), y.tolist(), "line", level=one.middle))
        inside = [run for run, _ in short if one.part.stop <= len(run.positions)]
        if inside:
            series.append(
                Series(
                    [float(run.params) for run in inside],
                    [float(run.positions[one.part].mean()) for run in inside],
                    "dashed",
                    level=one.middle,
                )
            )
    return Picture(
        "context-size",
        "Loss at parts of the context against N",
        f"Lines: A / N^alpha at each part.{_dashes(short)}",
        Axis("Parameters (non-embedding)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 21",
        level_title="Position",
    )


def _dashes(short: Sequence[Beside]) -> str:
    if not short:
        return " No run with a short context has about these N and tokens."
    return (
        f" Dashed: the ladder's runs with a context of {short[0][0].spec.shape.context} tokens, "
        f"{beside_words(short)}."
    )

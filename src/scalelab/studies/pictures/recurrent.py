"""Figure 7 of Kaplan et al. 2020: Transformers and recurrent networks."""

from __future__ import annotations

from statistics import NormalDist

from scalelab.laws import Array
from scalelab.studies.analysis.attempt import line_through
from scalelab.studies.analysis.positions import Binned, binned
from scalelab.studies.analysis.recurrent_ladders import GRADIENTS, NAMES, Ladders, words
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Evidence


def sizes(ladders: Ladders) -> Picture | None:
    """Figure 7, left."""
    series = []
    for family, runs in ladders.runs.items():
        if not runs:
            continue
        params = [float(run.params) for run in runs]
        series.append(Series(params, [run.loss for run in runs], "point", NAMES[family]))
        if ladders.fits[family].fit is not None:
            x, y = line_through(ladders.fits[family], "params", min(params), max(params))
            series.append(Series(x.tolist(), y.tolist(), "line", NAMES[family]))
    if ladders.control is not None:
        run = ladders.control
        series.append(Series([float(run.params)], [run.loss], "hollow", NAMES["lstm"]))
    if not series:
        return None
    return Picture(
        "recurrent-size",
        "Transformers and recurrent networks against N",
        f"The same text, tokens and context; gradients of recurrent networks go through {GRADIENTS}"
        "; hollow: the control with longer ones.",
        Axis("Parameters (non-embedding)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 7, left",
    )


def places(ladders: Ladders, evidence: Evidence) -> Picture | None:
    """Figure 7, right."""
    series = [
        _line(binned(run.positions), words(run), evidence) for run in ladders.largest.values()
    ]
    if not series:
        return None
    return Picture(
        "recurrent-position",
        "Loss against the position in the context",
        "The largest network of each kind; bars: the noise of the text, which they share.",
        Axis("Position in the context (bytes)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 7, right",
    )


def _line(found: Binned, label: str, evidence: Evidence) -> Series:
    reach: Array = NormalDist().inv_cdf(0.5 + evidence.level / 2) * found.error
    return Series(
        (found.position * evidence.bytes_per_token).tolist(),
        found.loss.tolist(),
        "point",
        label,
        low=(found.loss - reach).tolist(),
        high=(found.loss + reach).tolist(),
    )

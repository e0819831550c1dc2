"""How good the fit is: held-out runs predicted against measured, and residuals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scalelab.report.figures import base
from scalelab.report.figures.surface import legend, point_layers
from scalelab.units import format_count

if TYPE_CHECKING:
    from scalelab.report.figures.base import Rows
    from scalelab.studies.result import StudyResult

_CORRIDOR = 0.02


def predicted_against_measured(result: StudyResult) -> base.Figure:
    """The held-out runs: predicted loss with its interval against measured loss."""
    import altair as alt

    name, title = "predicted-against-measured", "Predicted against measured"
    if not result.held_out:
        why = base.why_missing(result, "held_out")
        return base.Figure(name, title, f"Nothing to compare: {why}.")
    rows = _held_out_rows(result)
    measured = [row["measured"] for row in rows]
    ends = [
        row[key] for row in rows for key in ("predicted", "low", "high") if row[key] is not None
    ]
    domain, ticks = base.loss_domain([*measured, *ends])
    places = max(len(f"{tick:.10g}".partition(".")[2]) for tick in ticks) if ticks else 2
    scale = alt.Scale(domain=domain, nice=False)

    def axis(title: str) -> Any:
        return alt.Axis(title=f"{title} (nats per token)", values=ticks, format=f".{places}f")

    x = alt.X("measured:Q", scale=scale, axis=axis("Measured held-out loss"))
    y = alt.Y("predicted:Q", scale=scale, axis=axis("Predicted from smaller runs"))
    corridor: Rows = [
        {"measured": v, "predicted": v, "low": v * (1 - _CORRIDOR), "high": v * (1 + _CORRIDOR)}
        for v in base.log_space(domain[0], domain[1], 24)
    ]
    exact = alt.Chart(base.data(corridor))
    color = base.ramp("tokens", [row["tokens"] for row in rows])
    held_out = alt.Chart(base.data(rows))
    low, high = alt.Y("low:Q", scale=scale), alt.Y2("high:Q")
    chart = alt.layer(
        exact.mark_area(style="muted-area", clip=True).encode(x=x, y=low, y2=high),
        exact.mark_line(style="muted-line", clip=True).encode(x=x, y=y),
        held_out.mark_rule(strokeWidth=2, opacity=0.7, clip=True).encode(
            x=x, y=low, y2=high, color=color
        ),
        held_out.mark_point(filled=True, size=64, opacity=1).encode(
            x=x,
            y=y,
            color=color,
            tooltip=base.tooltips("run", "tokens", "measured", "predicted", "low", "high"),
        ),
    )
    level = result.held_out[0].predicted.level
    sizes = " and ".join(sorted({format_count(held.params) for held in result.held_out}))
    caption = (
        f"Runs of {sizes} parameters, which the fit has not seen, coloured by D. Bars: {level:.0%} "
        f"prediction intervals. Dashed: exact agreement; shaded: within {_CORRIDOR:.0%}."
    )
    return base.Figure(name, title, caption, chart)


def _held_out_rows(result: StudyResult) -> Rows:
    def end(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return [
        {
            "run": held.run,
            "params": held.params,
            "tokens": held.tokens,
            "measured": held.measured,
            "predicted": held.predicted.value,
            "low": end(held.predicted.low),
            "high": end(held.predicted.high),
        }
        for held in result.held_out
    ]


def residual_rows(result: StudyResult) -> Rows:
    """Finished runs with ``residual``: ln(measured / fitted) in percent. Empty without a fit."""
    import numpy as np

    fit, rows = base.surface(result), base.points(result)
    if fit is None or not rows:
        return []
    predicted = fit.predict(
        params=np.array([row["params"] for row in rows], dtype=float),
        tokens=np.array([row["tokens"] for row in rows], dtype=float),
        level=0.9,
    ).value
    return [
        {**row, "residual": 100 * math.log(row["loss"] / value)}
        for row, value in zip(rows, predicted.tolist(), strict=True)
        if math.isfinite(value) and value > 0
    ]


def residuals(result: StudyResult) -> base.Figure:
    """Residuals of the fit against D, coloured by N: what the law does not describe."""
    import altair as alt

    name, title = "residuals", "Residuals of the fit"
    rows = residual_rows(result)
    fit = base.surface(result)
    if not rows or fit is None:
        return base.Figure(name, title, base.why_no_surface(result))
    most = max(0.1, *(abs(row["residual"]) for row in rows)) * 1.15
    x = base.log_axis("tokens", "Training tokens D", [row["tokens"] for row in rows])
    y = alt.Y(
        "residual:Q",
        scale=alt.Scale(domain=[-most, most], nice=False),
        axis=alt.Axis(title="Measured above fitted loss (%)", tickCount=6),
    )
    color = base.ramp("params", [row["params"] for row in rows])
    zero = alt.Chart(base.data([{"residual": 0}])).mark_rule(style="muted-line").encode(y=y)
    layers = point_layers(rows, x, y, color)
    shown = [
        layer.encode(tooltip=base.tooltips("run", "params", "tokens", "loss", "residual"))
        for layer in layers
    ]
    caption = (
        f"ln(measured / fitted) of the {base.form_name(fit)}, in percent, coloured by N. "
        + legend(rows)
        + "A pattern here is what the law does not describe."
    )
    return base.Figure(name, title, caption, alt.layer(zero, *shown))

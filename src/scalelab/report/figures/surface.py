"""Loss against N at fixed D, and against D at fixed N: points, fitted curves and bands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scalelab.report.figures import base

if TYPE_CHECKING:
    from scalelab.fitting import Fit
    from scalelab.report.figures.base import Rows
    from scalelab.studies.result import StudyResult

_SAMPLES = 48
_MOST_LEVELS = 4


def loss_against_params(result: StudyResult) -> base.Figure:
    """Loss against N, coloured by D."""
    return _slice(result, x="params", by="tokens")


def loss_against_tokens(result: StudyResult) -> base.Figure:
    """Loss against D, coloured by N."""
    return _slice(result, x="tokens", by="params")


def _slice(result: StudyResult, *, x: str, by: str) -> base.Figure:
    symbol, other = ("N", "D") if x == "params" else ("D", "N")
    name, title = f"loss-against-{x}", f"Loss against {_word(x)}"
    rows = base.points(result)
    if not rows:
        return base.Figure(name, title, "No run finished with a loss: there is nothing to draw.")
    fit = base.surface(result)
    caption = (
        f"Held-out loss of every finished run against {symbol}, coloured by {other}. "
        + legend(rows)
    )
    lines: Rows = []
    if fit is None:
        caption += base.why_no_surface(result)
    else:
        levels = _levels([row[by] for row in rows], exact=by == "params")
        lines = [line for level in levels for line in _line(fit, rows, x, by, level)]
        shown = "each size" if by == "params" else f"{len(levels)} amounts of data"
        caption += f"Curves: {base.form_name(fit)} at {shown}; bands: 90% intervals of the mean. "
    convention = result.conventions.get(x, "")
    caption += f"{symbol}: {convention}." if convention else ""
    return base.Figure(name, title, caption.strip(), _chart(rows, lines, x, by, convention))


def legend(rows: Rows) -> str:
    """The part of a caption that says which points were fitted."""
    if any(row["held_out"] for row in rows):
        return "Filled points were fitted, hollow ones held out. "
    return "All points were fitted. "


def _word(column: str) -> str:
    return "model size" if column == "params" else "training tokens"


def _levels(values: list[float], *, exact: bool) -> list[float]:
    """All sizes; or, of data, a few levels that span what was trained."""
    distinct = sorted(set(values))
    if (exact and len(distinct) <= 12) or len(distinct) <= _MOST_LEVELS:
        return distinct
    return base.log_space(distinct[0], distinct[-1], _MOST_LEVELS)


def _line(fit: Fit, rows: Rows, x: str, by: str, level: float) -> Rows:
    import numpy as np

    span = [row[x] for row in rows if math.isclose(row[by], level)] if by == "params" else []
    span = span or [row[x] for row in rows]
    low, high = base.padded(span, by=0.1)
    grid = np.array(base.log_space(low, high, _SAMPLES))
    at = {x: grid, by: np.full_like(grid, level)}
    predicted = fit.predict(params=at["params"], tokens=at["tokens"], level=0.9)
    columns = (grid, predicted.value, predicted.low, predicted.high)
    return [
        {x: float(a), by: level, "loss": float(b), "low": float(c), "high": float(d)}
        for a, b, c, d in zip(*columns, strict=True)
        if np.isfinite([b, c, d]).all()
    ]


def _chart(rows: Rows, lines: Rows, x: str, by: str, convention: str) -> Any:
    import altair as alt

    words = {"params": "Parameters N", "tokens": "Training tokens D"}
    title = f"{words[x]} ({convention})" if convention and len(convention) < 30 else words[x]
    losses = [row["loss"] for row in rows]
    y = base.loss_axis(losses)
    axis = base.log_axis(x, title, [row[x] for row in rows])
    color = base.ramp("tokens" if by == "tokens" else "params", [row[by] for row in rows])
    layers: list[Any] = []
    if lines:
        fitted = alt.Chart(base.data(lines)).encode(x=axis, color=color, detail=f"{by}:Q")
        band = fitted.mark_area(opacity=0.13, clip=True).encode(
            y=base.loss_axis(losses, "low"), y2="high:Q", fill=color, color=alt.Undefined
        )
        layers += [band, fitted.mark_line(strokeWidth=1.6, clip=True).encode(y=y)]
    return alt.layer(*layers, *point_layers(rows, axis, y, color))


def point_layers(rows: Rows, x: Any, y: Any, color: Any) -> list[Any]:
    """Filled points for fitted runs, hollow ones for held-out runs."""
    import altair as alt

    layers = []
    for held_out in (False, True):
        chosen = [row for row in rows if row["held_out"] == held_out]
        if chosen:
            names = [n for n in ("run", "params", "tokens", "flops", "loss") if n in chosen[0]]
            layers.append(
                alt.Chart(base.data(chosen))
                .mark_point(filled=not held_out, size=48, opacity=1, strokeWidth=1.8)
                .encode(x=x, y=y, color=color, tooltip=base.tooltips(*names))
            )
    return layers

"""A fit as a picture: runs, the law with its interval, and what is left over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.report.figures import base

if TYPE_CHECKING:
    from scalelab.fitting import Fit

_SAMPLES = 48
_MOST_LEVELS = 6


def chart(fit: Fit, *, width: int = 420, height: int = 280) -> Any:
    """Runs and law against the law's first input, coloured by its second; residuals beside it."""
    import altair as alt

    flat = [name for name in fit.law.inputs if name in fit.ranges]
    x, by = flat[0], flat[1] if len(flat) > 1 else None
    rows = _rows(fit, flat)
    axis = _axis(x, [row[x] for row in rows])
    responses = [row["value"] for row in rows]
    scale = _scale(responses)
    y = alt.Y("value:Q", title=fit.law.response, scale=scale)
    color = (
        alt.Color(
            f"{by}:Q",
            title=by,
            scale=alt.Scale(
                type="log" if _positive(row[by] for row in rows) else "linear", scheme="viridis"
            ),
            legend=alt.Legend(
                values=_marks([row[by] for row in rows]),
                format=".2~s",
                labelExpr="replace(datum.label, 'G', 'B')",
            ),
        )
        if by
        else alt.value("#355f8d")
    )
    points = alt.Chart(base.data(rows)).mark_point(filled=True, size=40)
    tooltips = [alt.Tooltip("run:N")]
    tooltips += [alt.Tooltip(f"{name}:Q", format=".4g") for name in (*flat, "value", "residual")]
    layers = [points.encode(x=axis, y=y, color=color, tooltip=tooltips)]
    if len(flat) == len(fit.law.inputs) and len(flat) <= 2:
        lines = alt.Chart(base.data(_lines(fit, rows, x, by)))
        shown = lines.encode(x=axis, color=color)
        if by:
            shown = shown.encode(detail=f"{by}:Q")
        band = shown.mark_area(opacity=0.15, clip=True)
        band = band.encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
        layers = [band, shown.mark_line(strokeWidth=1.5, clip=True).encode(y=y), *layers]
    ratio = fit.law.scale == "log"
    left = alt.Y(
        "residual:Q",
        title="measured / fitted - 1" if ratio else "measured - fitted",
        axis=alt.Axis(format="+.1%" if ratio else "+.3g"),
    )
    rule = alt.Chart(base.data([{"residual": 0.0}])).mark_rule(opacity=0.5).encode(y="residual:Q")
    over = points.encode(x=axis, y=left, color=color, tooltip=tooltips)
    panels = [
        alt.layer(*layers).properties(width=width, height=height, title=fit.law.equation),
        alt.layer(rule, over).properties(width=width, height=height, title="What is left"),
    ]
    return alt.hconcat(*panels)


def _rows(fit: Fit, flat: list[str]) -> base.Rows:
    columns = [np.array(_padded(fit.rows[name]), dtype=float) for name in fit.law.inputs]
    logs = tuple(
        values if name in fit.law.raw else np.log(values)
        for name, values in zip(fit.law.inputs, columns, strict=True)
    )
    value = np.array(fit.rows[fit.law.response], dtype=float)
    fitted = fit.law.off_scale(fit.law.log_value(fit.theta[None], logs)[0])
    residual = value / fitted - 1 if fit.law.scale == "log" else value - fitted
    return [
        {
            "run": str(fit.rows["run"][i]),
            **{name: float(fit.rows[name][i]) for name in flat},
            "value": float(value[i]),
            "residual": float(residual[i]),
        }
        for i in range(len(value))
    ]


def _marks(values: list[float]) -> list[float]:
    """A few values from the lowest to the highest, for a legend."""
    return _spaced(values, _MOST_LEVELS)


def _spaced(values: list[float], count: int) -> list[float]:
    """Values from the lowest to the highest, evenly in the logarithm where there is one."""
    space = np.geomspace if _positive(values) else np.linspace
    return [float(v) for v in space(min(values), max(values), count)]


def _positive(values: Iterable[float]) -> bool:
    return all(value > 0 for value in values)


def _axis(name: str, values: list[float]) -> Any:
    import altair as alt

    if _positive(values):
        return base.log_axis(name, name, values)
    return alt.X(f"{name}:Q", title=name, scale=alt.Scale(zero=False))


def _padded(column: list[Any]) -> list[Any]:
    if not column or not isinstance(column[0], list):
        return column
    longest = max(len(row) for row in column)
    return [[*row, *[0.0] * (longest - len(row))] for row in column]


def _lines(fit: Fit, rows: base.Rows, x: str, by: str | None) -> base.Rows:
    grid = np.array(_spaced([row[x] for row in rows], _SAMPLES))
    levels: list[float | None] = [None]
    if by is not None:
        distinct = sorted({row[by] for row in rows})
        few = len(distinct) <= _MOST_LEVELS
        levels = list(distinct if few else _spaced(distinct, _MOST_LEVELS))
    found = []
    for level in levels:
        asked: dict[str, Any] = {x: grid}
        if by is not None and level is not None:
            asked[by] = np.full_like(grid, level)
        told = fit.predict(**asked)
        for at, value, low, high in zip(grid, told.value, told.low, told.high, strict=True):
            if np.isfinite([value, low, high]).all():
                row = {x: float(at), "value": float(value), "low": float(low), "high": float(high)}
                found.append({**row, by: float(level)} if by and level is not None else row)
    return found


def _scale(values: list[float]) -> Any:
    import altair as alt

    if not _positive(values):
        return alt.Scale(zero=False)
    room = 0.05 * (np.log(max(values)) - np.log(min(values))) + 1e-6
    ends = [float(min(values) * np.exp(-room)), float(max(values) * np.exp(room))]
    return alt.Scale(type="log", domain=ends, nice=False)

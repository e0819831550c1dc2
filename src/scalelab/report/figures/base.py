"""What figures share: the points, the axes, and the figure itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scalelab.studies.result import SURFACES
from scalelab.units import format_count

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fitting import Fit
    from scalelab.studies.result import StudyResult

Rows = list[dict[str, Any]]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    name: of its files. title, caption: plain text. chart: an Altair chart without size and theme,
    or None where there is nothing to draw: then `caption` says why. height: in pixels.
    """

    name: str
    title: str
    caption: str
    chart: Any = field(default=None, repr=False)
    height: int = 340


def points(result: StudyResult) -> Rows:
    """Finished runs with a usable N, D, C and loss, as rows for a chart."""
    if "loss" not in result.runs.columns:
        return []
    wanted = ("run", "status", "params", "tokens", "flops", "loss", "held_out")
    table = result.runs.select([name for name in wanted if name in result.runs.columns])
    return [
        {**row, "held_out": bool(row.get("held_out"))}
        for row in table.rows(named=True)
        if row.get("status", "finished") == "finished"
        and _usable(row, ("params", "tokens", "loss"))
    ]


def curve_points(curves: pl.DataFrame, runs: pl.DataFrame, x: str) -> Rows:
    """Evaluations along training with a positive `x` and the size of their run."""
    if not {"run", x, "loss"} <= set(curves.columns) or "params" not in runs.columns:
        return []
    # A trunk is a run of its own in the curves, and only named by its branches in the table.
    ids = [name for name in ("trunk", "run") if name in runs.columns]
    params = {key: size for name in ids for key, size in runs.select(name, "params").rows()}
    rows = []
    for row in curves.select("run", x, "loss").rows(named=True):
        size = params.get(row["run"])
        if size is not None and _usable(row, (x, "loss")):
            rows.append({**row, "params": float(size)})
    return rows


def _usable(row: dict[str, Any], names: Iterable[str]) -> bool:
    values = [row.get(name) for name in names]
    return all(value is not None and math.isfinite(value) and value > 0 for value in values)


def surface(result: StudyResult) -> Fit | None:
    """The fit that is drawn: the first of SURFACES that could be made, else none."""
    return next((result.fits[name] for name in SURFACES if name in result.fits), None)


def form_name(fit: Fit) -> str:
    """``Chinchilla form`` for the law ``chinchilla``."""
    return f"{fit.law.name.capitalize()} form"


def why_missing(result: StudyResult, name: str) -> str:
    """Why a fit or the held-out comparison is missing, without a full stop."""
    default = "no held-out run finished, or there was no fit" if name == "held_out" else "not made"
    return result.missing.get(name, default).rstrip(".")


def why_no_surface(result: StudyResult) -> str:
    """Why no curves are drawn, as a sentence."""
    name = next((name for name in SURFACES if name in result.missing), None)
    return f"No fit to draw: {why_missing(result, name)}." if name else "No fit was made."


def log_space(low: float, high: float, count: int) -> list[float]:
    """`count` values from low to high in equal ratios."""
    if count < 2 or low == high:
        return [low]
    step = math.log(high / low) / (count - 1)
    return [low * math.exp(step * i) for i in range(count)]


# --- axes ---------------------------------------------------------------------------------------


def loss_domain(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """A domain that hugs the losses, and 4 to 8 round ticks inside it."""
    low, high = min(values), max(values)
    pad = max(0.06 * (high - low), 0.004 * high)
    low, high = max(low - pad, low * 0.9), high + pad
    if high > 2 * low:  # even steps would crowd the upper end of a log axis
        powers = [10.0**d for d in range(math.floor(math.log10(low)), math.ceil(math.log10(high)))]
        ticks = [m * power for power in powers for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]
        return [low, high], [round(tick, 10) for tick in ticks if low <= tick <= high]
    step = round_step((high - low) / 6)
    ticks = [round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [low, high], ticks


def round_step(rough: float) -> float:
    """The next larger of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten where at least three lie inside, else finer round numbers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, math.ceil(len(decades) / 9))
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        ticks = [step * 10.0**decade for decade in decades[::every] for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside
    tenths = [n * 10.0**decade / 10 for decade in decades for n in range(10, 100)]
    inside = [_two_digits(tick) for tick in tenths if low <= tick <= high]
    return inside[:: max(1, math.ceil(len(inside) / 6))]


def padded(values: Sequence[float], by: float = 0.06) -> list[float]:
    """A domain on a log axis with a margin of a share of its length, at least 15%."""
    low, high = min(values), max(values)
    factor = max((high / low) ** by, 1.15)
    return [low / factor, high * factor]


def loss_axis(values: Sequence[float], column: str = "loss") -> Any:
    """The y channel of `column`, a loss, on a log axis that hugs the losses in `values`."""
    import altair as alt

    domain, ticks = loss_domain(values)
    places = max((len(f"{tick:.10g}".partition(".")[2]) for tick in ticks), default=1)
    return alt.Y(
        f"{column}:Q",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(title="Held-out loss (nats per token)", values=ticks, format=f".{places}f"),
    )


def log_axis(field_name: str, title: str, values: Sequence[float], *, powers: bool = False) -> Any:
    """An x channel on a log axis, labelled 10k, 1M, or as powers of ten."""
    import altair as alt

    domain = padded(values)
    ticks = log_ticks(*domain)
    return alt.X(
        f"{field_name}:Q",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(title=title, values=ticks, labelExpr=_labels(ticks, powers=powers)),
    )


def _labels(ticks: Sequence[float], *, powers: bool) -> str:
    shown = {_js_key(tick): power_label(tick) if powers else format_count(tick) for tick in ticks}
    listed = ", ".join(f"'{key}': '{label}'" for key, label in shown.items())
    return f"({{{listed}}})[toString(datum.value)]"


def _js_key(value: float) -> str:
    """How JavaScript prints a round number: whole below 1e21, then 1e+21."""
    return f"{value:.0f}" if value < 1e21 else repr(value)


def power_label(value: float) -> str:
    """``10⁴`` or ``2·10⁴``."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = f"{value / 10.0**exponent:.2g}"
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if factor == "1" else f"{factor}·{power}"


Symbol = Literal["circle", "stroke"]
"""How a legend shows a level: as a point or as a line."""


def ramp(
    kind: Literal["params", "tokens"], values: Iterable[float], symbol: Symbol = "circle"
) -> Any:
    """Colour by size or by data on a log ramp, with at most nine levels in the legend."""
    title = "Parameters" if kind == "params" else "Tokens"
    return level_ramp(kind, title, values, symbol)


def level_ramp(field_name: str, title: str, values: Iterable[float], symbol: Symbol) -> Any:
    """Colour by a column on a log ramp, with at most nine levels in the legend."""
    import altair as alt

    levels = sorted(set(values))
    domain = [levels[0], levels[-1]] if levels[0] < levels[-1] else [levels[0] / 2, levels[0] * 2]
    if len(levels) > 9:
        levels = [_two_digits(value) for value in log_space(domain[0], domain[1], 5)]
    # SI prefixes would call .001 1m, and a billion G.
    shape = ".3~s" if levels[0] >= 1 else ".3~g"
    label = f"replace(format(datum.value, '{shape}'), 'G', 'B')"
    return alt.Color(
        f"{field_name}:Q",
        scale=alt.Scale(type="log", domain=domain, clamp=True),
        legend=alt.Legend(
            title=title,
            type="symbol",
            symbolType=symbol,
            symbolOpacity=1,
            symbolStrokeWidth=2,
            values=levels,
            labelExpr=label,
        ),
    )


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def tooltips(*names: str) -> list[Any]:
    """Tooltips with human numbers."""
    import altair as alt

    kinds = {
        "run": ("run:N", "Run", ""),
        "params": ("params:Q", "Parameters", ".3~s"),
        "tokens": ("tokens:Q", "Tokens", ".3~s"),
        "flops": ("flops:Q", "FLOP", ".3~e"),
        "loss": ("loss:Q", "Loss (nats/token)", ".4f"),
        "predicted": ("predicted:Q", "Predicted", ".4f"),
        "measured": ("measured:Q", "Measured", ".4f"),
        "low": ("low:Q", "Interval from", ".4f"),
        "high": ("high:Q", "to", ".4f"),
        "residual": ("residual:Q", "Residual (%)", "+.2f"),
    }
    listed = []
    for name in names:
        field_name, title, shape = kinds[name]
        listed.append(
            alt.Tooltip(field_name, title=title, format=shape)
            if shape
            else alt.Tooltip(field_name, title=title)
        )
    return listed


def data(rows: Rows) -> Any:
    """Rows as inline chart data, rounded to what a screen can show."""
    import altair as alt

    short = [
        {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    ]
    return alt.InlineData(values=short)

"""The axes of a picture: what is in view, which ticks it has, and how they are written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from scalelab.report.figures import base
from scalelab.units import format_count

if TYPE_CHECKING:
    from scalelab.studies.conclusion import Axis

TITLE_LETTERS = 46
"""Letters of a title's line: what fits beside a plot of 340 pixels, and below one on a phone."""
_STEP_LETTERS = 12
_ROOM_FOR_STEPS = 300
"""Pixels that a phone leaves for the names of steps; a letter takes about six."""
_REACH_BARS, _REACH_LINES = 3.0, 0.5
"""By how many lengths of the data bars, and lines that run on, may widen the view (assumed)."""


@dataclass(frozen=True)
class View:
    """The part of an axis that is drawn.

    low, high: its ends. ticks, labels: equally many. named: the places are names, all of them
    shown. slant: the names need it.
    """

    low: float
    high: float
    log: bool
    ticks: Sequence[float]
    labels: Sequence[str | Sequence[str]]
    named: bool = False
    slant: bool = False

    def place(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low)

    def value(self, place: float) -> float:
        """The value that stands at a place."""
        if self.log:
            return math.exp(math.log(self.low) + place * math.log(self.high / self.low))
        return self.low + place * (self.high - self.low)

    def inside(self, value: float) -> bool:
        """Whether a value is in view."""
        return self.low <= value <= self.high

    def channel(self, kind: Any, field: str, title: str) -> Any:
        """An Altair channel (``alt.X``, ``alt.Y``) of this view."""
        import altair as alt

        named: dict[str, Any] = {"labelOverlap": False} if self.named else {}
        if self.slant:
            named |= {"labelAngle": -35, "labelAlign": "right", "labelLimit": 150}
        axis = alt.Axis(
            title=wrap(title, TITLE_LETTERS) or None,
            values=list(self.ticks),
            labelExpr=looked_up(self.labels, list(self.ticks)),
            **named,
        )
        scale = alt.Scale(
            type="log" if self.log else "linear",
            domain=[self.low, self.high],
            nice=False,
            zero=alt.Undefined if self.log else False,
        )
        return kind(f"{field}:Q", scale=scale, axis=axis)


def looked_up(labels: Sequence[str | Sequence[str]], values: Sequence[float | str]) -> str:
    """A Vega expression that writes ``datum.value`` as the label of the equal value."""
    shown = json.dumps([label if isinstance(label, str) else list(label) for label in labels])
    return f"{shown}[indexof({json.dumps(list(values))}, datum.value)]"


def view(
    axis: Axis,
    core: Sequence[float],
    bars: Sequence[tuple[float, float]] = (),
    lines: Sequence[float] = (),
) -> View:
    """A view of everything measured, of bars as far as they are no giants, of lines nearby.

    core: values that must be seen, not empty; positive on a logarithmic axis. bars: (value, end),
    finite. lines: values of laws and bounds, which may run out of view.
    """
    to, back = (math.log10, _power) if axis.log else (float, float)
    low, high = min(map(to, core)), max(map(to, core))
    span = high - low
    lengths = [abs(to(end) - to(value)) for value, end in bars]
    if room := _REACH_BARS * max(span, median(lengths) if lengths else 0.0):
        ends = [min(max(to(end), low - room), high + room) for _, end in bars]
        low, high = min([low, *ends]), max([high, *ends])
    if room := _REACH_LINES * (high - low):
        near = [min(max(to(value), low - room), high + room) for value in lines]
        low, high = min([low, *near]), max([high, *near])
    return _log_view(axis, back(low), back(high)) if axis.log else _even_view(axis, low, high)


def steps(names: Sequence[str]) -> View:
    """A view of named places 0, 1, 2, ..."""
    folded = [wrap(name, _STEP_LETTERS) or [""] for name in names]
    widest = max(len(line) for lines in folded for line in lines)
    slant = 6 * widest * len(names) > _ROOM_FOR_STEPS
    labels: Sequence[str | Sequence[str]] = list(names) if slant else folded
    places = [float(i) for i in range(len(names))]
    return View(-0.5, len(names) - 0.5, False, places, labels, named=True, slant=slant)


def _power(exponent: float) -> float:
    return float(10.0**exponent)


def _log_view(axis: Axis, low: float, high: float) -> View:
    if axis.kind == "loss" and high < 30 * low:
        domain, ticks = base.loss_domain([low, high])
        return View(domain[0], domain[1], True, ticks, _even_labels(ticks))
    domain = base.padded([low, high])
    ticks = base.log_ticks(domain[0], domain[1])
    return View(domain[0], domain[1], True, ticks, [_label(tick, axis.kind) for tick in ticks])


def _even_view(axis: Axis, low: float, high: float) -> View:
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest or high - low < 1e-90:  # one value, as far as ticks can say
        pad = 0.1 * largest if largest > 1e-90 else 1.0
    else:
        pad = 0.06 * (high - low)
    low, high = low - pad, high + pad
    step = base.round_step((high - low) / 6)
    ticks = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    ticks = [float(f"{tick:.10g}") for tick in ticks]
    plain = axis.kind in ("loss", "plain") and step >= 1e-3 and largest < 1e5
    labels = _even_labels(ticks) if plain else [_label(tick, axis.kind) for tick in ticks]
    return View(low, high, False, ticks, labels)


def _even_labels(ticks: Sequence[float]) -> list[str]:
    """All with as many decimals as the tick that needs most."""
    places = max((len(f"{tick:.10g}".partition(".")[2]) for tick in ticks), default=0)
    return [_minus(f"{tick:.{places}f}") for tick in ticks]


def _label(tick: float, kind: str) -> str:
    size = abs(tick)
    if kind == "percent":
        return _minus(f"{100 * tick:.6g}%")
    if kind == "count" and (tick == 0 or 1e-3 <= size < 1e15):
        return _minus(format_count(tick))
    if kind != "power" and (tick == 0 or 1e-4 <= size < 1e5):
        return _minus(f"{tick:.6g}")
    return base.power_label(tick) if tick > 0 else _minus(f"{tick:.3g}")


def _minus(text: str) -> str:
    return text.replace("-", "−")  # noqa: RUF001 - the sign that is as wide as a plus

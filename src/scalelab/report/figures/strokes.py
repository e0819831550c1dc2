"""What of a picture's series can be drawn: finite values, thinned where nobody could tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from scalelab.report.figures.axes import View
    from scalelab.studies.conclusion import Picture, Series

MOST_LINE, MOST_LINES, MOST_POINTS = 200, 4000, 500
"""Spots of one line, of all lines of a figure together, and of one series of points."""
_LARGEST = 1e99  # beyond it ticks and screens lose their numbers


@dataclass(frozen=True)
class Spot:
    """One place of a series. low, high: of its bar or band, infinite where open; or None."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str = ""


@dataclass(frozen=True)
class Stroke:
    """A series that can be drawn: at least one spot, a line at least two."""

    mark: str
    label: str
    level: float | None
    spots: Sequence[Spot]
    thinned: bool = False

    @property
    def is_line(self) -> bool:
        """Whether its spots are joined."""
        return self.mark in ("line", "dashed")


def strokes(picture: Picture) -> list[Stroke]:
    """The series of a picture without what is not finite, or not positive on a logarithmic axis.

    Raises ValueError where the columns of a series are of unequal length.
    """
    found = []
    for series in picture.series:
        spots = list(_spots(series, picture))
        if spots:
            level = series.level
            usable = level is not None and math.isfinite(level) and 0 < level < _LARGEST
            mark = series.mark if len(spots) > 1 or series.mark == "hollow" else "point"
            found.append(Stroke(mark, series.label, level if usable else None, spots))
    return found


def _spots(series: Series, picture: Picture) -> Iterator[Spot]:
    count = len(series.x)
    unknown, no_tips = [math.nan] * count, [""] * count
    lows, highs = _or(series.low, unknown), _or(series.high, unknown)
    tips = _or(series.tips, no_tips)
    log_x = picture.x.log and not picture.steps
    for x, y, low, high, tip in zip(series.x, series.y, lows, highs, tips, strict=True):
        if not (_drawable(x, log=log_x) and _drawable(y, log=picture.y.log)):
            continue
        if picture.steps and not -0.5 <= x <= len(picture.steps) - 0.5:
            continue
        # A low end that is infinite, or a high one that is minus so, is no end.
        none = math.isnan(low) or low == math.inf, math.isnan(high) or high == -math.inf
        ends = [None if no else float(end) for no, end in zip(none, (low, high), strict=True)]
        if picture.y.log and ends[0] is not None and ends[0] <= 0:
            ends[0] = -math.inf
        yield Spot(float(x), float(y), ends[0], ends[1], str(tip))


def _or(column: Sequence[T], default: Sequence[T]) -> Sequence[T]:
    return column if len(column) else default  # an array has no truth of its own


def _drawable(value: float, *, log: bool) -> bool:
    return abs(value) < _LARGEST and (not log or value > 1 / _LARGEST)  # False for NaN


def thinned(found: Sequence[Stroke], x: View, y: View) -> list[Stroke]:
    """Strokes with no more spots than a figure can show and a page should carry."""
    lines = sum(stroke.is_line for stroke in found)
    most = min(MOST_LINE, max(50, MOST_LINES // max(1, lines)))
    return [_thin(_cut(s, x, y), most if s.is_line else MOST_POINTS, x, y) for s in found]


def _cut(stroke: Stroke, x: View, y: View) -> Stroke:
    """A line without a band, cut off at the sides of the view: dashes outside cost time."""
    if not stroke.is_line or any(spot.low is not None for spot in stroke.spots):
        return stroke
    kept = []
    for a, b in pairwise(stroke.spots):
        if max(a.x, b.x) >= x.low and min(a.x, b.x) <= x.high:
            kept += [_at_side(a, b, x, y), _at_side(b, a, x, y)]
    return replace(stroke, spots=[spot for spot, _ in groupby(kept)])


def _at_side(spot: Spot, other: Spot, x: View, y: View) -> Spot:
    """A spot, or where its line to the other one, straight on the axes, enters the view."""
    if x.inside(spot.x):
        return spot
    side = x.low if spot.x < x.low else x.high
    start, end = x.place(spot.x), x.place(other.x)
    share = (x.place(side) - start) / (end - start)
    up = y.place(spot.y) * (1 - share) + y.place(other.y) * share
    return replace(spot, x=side, y=y.value(up))


def _thin(stroke: Stroke, most: int, x: View, y: View) -> Stroke:
    """Of a line those spots stay that are some way from the one before, and its ends: so the steep
    early part of a learning curve stays on a logarithmic axis.
    """
    if len(stroke.spots) <= most:
        return stroke
    kept = list(stroke.spots)
    if stroke.is_line:
        kept = kept[:1]
        for spot in stroke.spots[1:-1]:
            across = abs(x.place(spot.x) - x.place(kept[-1].x))
            up = abs(y.place(spot.y) - y.place(kept[-1].y))
            if max(across, up) >= 1 / most:
                kept.append(spot)
        kept.append(stroke.spots[-1])
    if len(kept) > most:
        every = (len(kept) - 1) / (most - 1)
        kept = [kept[round(i * every)] for i in range(most)]
    return replace(stroke, spots=kept, thinned=not stroke.is_line)


def ends(found: Iterable[Stroke], *, log: bool) -> list[tuple[float, float]]:
    """(value, end) of every finite end of a bar or band that has a place on the axis."""
    return [
        (spot.y, end)
        for stroke in found
        for spot in stroke.spots
        for end in (spot.low, spot.high)
        if end is not None and _drawable(end, log=log)
    ]

"""The layers of a picture: bands, lines, bars, points, each coloured by label or by a ramp."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalelab.report.figures import base
from scalelab.report.figures.axes import View
from scalelab.report.figures.keys import Keys
from scalelab.report.figures.strokes import Stroke

if TYPE_CHECKING:
    from scalelab.studies.conclusion import Axis, Picture

_MANY_LINES, _MANY_POINTS = 12, 150
"""From these numbers on marks are thinner (assumed)."""

_FORMATS = {"count": ".3~s", "power": ".3~e", "loss": ".4f", "plain": ".4~g", "percent": ".2~%"}


@dataclass(frozen=True)
class Brush:
    """What all layers of a picture share."""

    picture: Picture
    x: View
    y: View
    names: Keys
    strokes: Sequence[Stroke]

    def channel_x(self) -> Any:
        """The x channel."""
        import altair as alt

        return self.x.channel(alt.X, "x", self.picture.x.title)

    def channel_y(self, field: str = "y") -> Any:
        """The y channel of a column."""
        import altair as alt

        return self.y.channel(alt.Y, field, self.picture.y.title)

    def color(self, way: str) -> dict[str, Any]:
        """The colour channel, without a legend: by key, by level, or none."""
        import altair as alt

        if way == "key":
            scale = alt.Scale(domain=self.names.domain)
            return {"color": alt.Color("key:N", scale=scale, legend=None)}
        return {"color": self.ramp(legend=False)} if way == "level" else {}

    def ramp(self, *, legend: bool) -> Any:
        """The ramp of all levels."""
        values = [stroke.level for stroke in self.strokes if stroke.level is not None]
        symbol: base.Symbol = "stroke" if self.levels_are_lines else "circle"
        ramp = base.level_ramp("level", self.picture.level_title, values, symbol)
        if not legend:
            ramp.legend = None
        return ramp

    @property
    def levels_are_lines(self) -> bool:
        """Whether the ramp colours nothing but lines."""
        return all(stroke.is_line for stroke in self.strokes if stroke.level is not None)

    def leaves(self, strokes: Sequence[Stroke]) -> bool:
        """Whether any spot is out of view."""
        return any(
            not (self.x.inside(spot.x) and self.y.inside(spot.y))
            for stroke in strokes
            for spot in stroke.spots
        )

    def chart(self, numbers: Sequence[int]) -> Any:
        """A chart of the spots of some strokes, with x; s is the number of a stroke.

        What all spots of a stroke share is looked up by s: it would be most of the file.
        """
        import altair as alt

        rows = [row for number in numbers for row in self._rows(number)]
        columns: dict[str, list[Any]] = {
            "key": list(self.names.key),
            "level": [stroke.level for stroke in self.strokes],
            "label": [stroke.label or None for stroke in self.strokes],
        }
        shared = {
            name: f"{json.dumps(column)}[datum.s]"
            for name, column in columns.items()
            if any(column[number] is not None for number in numbers)
        }
        chart = alt.Chart(base.data(rows)).encode(x=self.channel_x())
        return chart.transform_calculate(**shared) if shared else chart

    def _rows(self, number: int) -> base.Rows:
        """The spots of a stroke; ends of bars and bands that are open reach the edge."""
        rows = []
        for spot in self.strokes[number].spots:
            row: dict[str, Any] = {"x": spot.x, "y": spot.y, "s": number}
            if spot.low is not None and spot.high is not None:
                row["low"], row["high"] = max(spot.low, self.y.low), min(spot.high, self.y.high)
            if spot.tip:
                row["tip"] = spot.tip
            rows.append(row)
        return rows


@dataclass(frozen=True)
class _Group:
    """Strokes that are coloured in one way. way: key, level, plain. chart: of their spots."""

    way: str
    chart: Any
    strokes: Sequence[Stroke]


def _groups(brush: Brush, chosen: Callable[[Stroke], bool]) -> Iterator[_Group]:

    members: dict[str, list[int]] = {}
    for number, stroke in enumerate(brush.strokes):
        if chosen(stroke):
            plain = "plain" if stroke.level is None else "level"
            way = plain if brush.names.key[number] is None else "key"
            members.setdefault(way, []).append(number)
    for way, numbers in members.items():
        strokes = [brush.strokes[number] for number in numbers]
        yield _Group(way, brush.chart(numbers), strokes)


def layers(brush: Brush) -> list[Any]:
    """All layers, what is painted over first."""
    import altair as alt

    made = [
        *_bands(brush),
        *_lines(brush, "line"),
        *_lines(brush, "dashed"),
        *_bars(brush),
        *_dots(brush, "hollow"),
        *_dots(brush, "point"),
    ]
    if any(stroke.level is not None for stroke in brush.strokes):
        # The ramp's legend has a layer of its own, so that it is there once.
        none, ramp = alt.Chart(alt.InlineData(values=[])), brush.ramp(legend=True)
        empty = none.mark_line() if brush.levels_are_lines else none.mark_point(filled=True)
        made.append(empty.encode(color=ramp))
    return made


def _has_ends(stroke: Stroke) -> bool:
    return any(spot.low is not None and spot.high is not None for spot in stroke.spots)


def _bands(brush: Brush) -> Iterator[Any]:
    import altair as alt

    for group in _groups(brush, lambda stroke: stroke.is_line and _has_ends(stroke)):
        look = {"style": "muted-area"} if group.way == "plain" else {"fillOpacity": 0.12}
        yield (
            group.chart.transform_filter("isValid(datum.low)")
            .mark_area(clip=True, **look)
            .encode(
                y=brush.channel_y("low"), y2="high:Q", detail="s:N", order=alt.value(0),
                **brush.color(group.way),
            )
        )  # fmt: skip


def _lines(brush: Brush, mark: str) -> Iterator[Any]:
    import altair as alt

    for group in _groups(brush, lambda stroke: stroke.mark == mark):
        many = len(group.strokes) > _MANY_LINES
        look: dict[str, Any] = {"strokeWidth": 1.2 if many else 1.8}
        if mark == "dashed":
            look["strokeDash"] = [5, 4]
        if group.way == "plain":
            look = {"style": "muted-line"}
        # Only where a line leaves the view: each clipped line costs 40 ms in a PNG (measured).
        line = group.chart.mark_line(clip=brush.leaves(group.strokes), **look).encode(
            y=brush.channel_y(),
            detail="s:N",
            order=alt.value(0),  # in the order of the series, not of x
            tooltip=_about(brush, group.strokes) or alt.Undefined,
            **brush.color(group.way),
        )
        if many and mark == "line":  # the line under the pointer stands out
            hover = alt.selection_point(
                fields=["s"], on="pointerover", clear="pointerout", name=f"hover_{group.way}"
            )
            shown = alt.condition(hover, alt.value(0.95), alt.value(0.15))
            line = line.encode(strokeOpacity=shown).add_params(hover)
        yield line


def _bars(brush: Brush) -> Iterator[Any]:
    for group in _groups(brush, lambda stroke: not stroke.is_line and _has_ends(stroke)):
        yield (
            group.chart.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.6, strokeOpacity=0.75, clip=True)
            .encode(y=brush.channel_y("low"), y2="high:Q", **brush.color(group.way))
        )


def _dots(brush: Brush, mark: str) -> Iterator[Any]:
    for group in _groups(brush, lambda stroke: stroke.mark == mark):
        many = sum(len(stroke.spots) for stroke in group.strokes) > _MANY_POINTS
        yield group.chart.mark_point(
            filled=mark == "point",
            size=22 if many else 46,
            fillOpacity=0.75 if many else 1,
            strokeOpacity=0.75 if many else 1,
            strokeWidth=1.7,
        ).encode(
            y=brush.channel_y(), tooltip=_values(brush, group.strokes), **brush.color(group.way)
        )


def _about(brush: Brush, strokes: Sequence[Stroke]) -> list[Any]:
    """What a stroke says of itself: its label and level."""
    import altair as alt

    listed = []
    if any(stroke.label for stroke in strokes):
        listed.append(alt.Tooltip("label:N", title=" "))
    if any(stroke.level is not None for stroke in strokes):
        title = brush.picture.level_title
        listed.append(alt.Tooltip("level:Q", title=title, format=".3~s"))
    return listed


def _values(brush: Brush, strokes: Sequence[Stroke]) -> Any:
    """What points say of themselves: the design's words, else their numbers."""
    import altair as alt

    if all(spot.tip for stroke in strokes for spot in stroke.spots):
        return alt.Tooltip("tip:N")
    x, y = brush.picture.x, brush.picture.y
    listed = _about(brush, strokes)
    if not brush.picture.steps:
        listed.append(alt.Tooltip("x:Q", title=_short(x), format=_FORMATS[x.kind]))
    listed.append(alt.Tooltip("y:Q", title=_short(y), format=_FORMATS[y.kind]))
    if any(_has_ends(stroke) for stroke in strokes):
        for field, title in (("low", "from"), ("high", "to")):
            listed.append(alt.Tooltip(f"{field}:Q", title=title, format=_FORMATS[y.kind]))
    return listed


def _short(axis: Axis) -> str:
    return axis.title.partition(" (")[0]

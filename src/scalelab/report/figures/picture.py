"""A design's picture as a figure: one function for all designs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from scalelab.report.figures import axes, base
from scalelab.report.figures.keys import keys, legend_layer
from scalelab.report.figures.layers import Brush, layers
from scalelab.report.figures.strokes import Stroke, ends, strokes, thinned

if TYPE_CHECKING:
    from scalelab.studies.conclusion import Picture


PAPER = "Kaplan et al. 2020"


def drawable(picture: Picture) -> bool:
    """Whether any value of a picture has a place on its axes."""
    return bool(strokes(picture))


def draw(picture: Picture) -> base.Figure:
    """The figure of a picture; without a chart where no value has a place on its axes.

    The view holds everything measured, bars unless they are giants, and laws where they pass
    nearby; lines are clipped to it, and what lies outside altogether is named in the caption.
    Raises ValueError where the columns of a series are of unequal length.
    """
    import altair as alt

    found = strokes(picture)
    if not found:
        why = "Nothing to draw: no value of this figure could be measured."
        return base.Figure(picture.name, picture.title, why)
    x, y = _views(picture, found)
    hidden = [stroke for stroke in found if not _seen(stroke, x, y)]
    found = thinned([stroke for stroke in found if stroke not in hidden], x, y)
    names = keys(found)
    drawn = layers(Brush(picture, x, y, names, found))
    if names.entries:
        drawn.append(legend_layer(names))
    chart = alt.layer(*drawn).resolve_scale(color="independent", shape="independent")
    return base.Figure(
        picture.name, picture.title, picture.caption + _remarks(picture.paper, found, hidden), chart
    )


def _views(picture: Picture, found: Sequence[Stroke]) -> tuple[axes.View, axes.View]:
    measured = [stroke for stroke in found if stroke.mark != "dashed"] or list(found)
    laws = [stroke for stroke in found if stroke.mark == "dashed"]
    core_x, line_x = ([s.x for k in group for s in k.spots] for group in (measured, laws))
    core_y, line_y = ([s.y for k in group for s in k.spots] for group in (measured, laws))
    log = picture.y.log
    bars = ends((stroke for stroke in measured if not stroke.is_line), log=log)
    line_y += [end for _, end in ends((stroke for stroke in found if stroke.is_line), log=log)]
    y = axes.view(picture.y, core_y, bars, line_y)
    x = axes.steps(picture.steps) if picture.steps else axes.view(picture.x, core_x, (), line_x)
    return x, y


def _seen(stroke: Stroke, x: axes.View, y: axes.View) -> bool:
    """Whether any spot, or of a line any piece between two, may be in view."""
    spots = stroke.spots
    if not stroke.is_line:
        return any(x.inside(spot.x) and y.inside(spot.y) for spot in spots)
    return any(
        max(a.x, b.x) >= x.low
        and min(a.x, b.x) <= x.high
        and max(a.y, b.y) >= y.low
        and min(a.y, b.y) <= y.high
        for a, b in pairwise(spots)
    )


def _remarks(paper: str, found: Sequence[Stroke], hidden: Sequence[Stroke]) -> str:
    remarks = f" After {PAPER}, {paper}." if paper else ""
    shown = {"", *(stroke.label for stroke in found)}
    if out := [name for name in dict.fromkeys(s.label for s in hidden) if name not in shown]:
        remarks += f" Outside the figure: {', '.join(out)}."
    if any(stroke.thinned for stroke in found):
        remarks += " Where points are very many, a part of them, evenly chosen, is drawn."
    return remarks

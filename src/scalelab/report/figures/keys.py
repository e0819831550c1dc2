"""The legend of a picture: which colour a label has, and how its marks look beside its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from textwrap import wrap
from typing import Any

from scalelab.report.figures.axes import looked_up
from scalelab.report.figures.strokes import Stroke
from scalelab.report.theme import COLOURS

_LABEL_LETTERS = 48
_MOST_RAMPED = 4

# Symbols as SVG paths in a square from -1 to 1, all of them filled, so that one colour does.
_DISC = "M0,-.42A.42,.42,0,1,1,0,.42A.42,.42,0,1,1,0,-.42Z"
_RING = _DISC + "M0,-.22A.22,.22,0,1,0,0,.22A.22,.22,0,1,0,0,-.22Z"
_BAR = "M-1,-.1H1V.1H-1Z"
_DASHES = "M-1,-.1H-.5V.1H-1ZM-.25,-.1H.25V.1H-.25ZM.5,-.1H1V.1H.5Z"


@dataclass(frozen=True)
class Keys:
    """Names of colours. The theme lists its ink, then COLOURS - 1 hues; key n has colour n mod
    COLOURS, so that several labels can be in ink.

    key: of each stroke, None where a ramp or the style of a plain line colours it.
    entries: key, label and symbol of what the legend lists, in order.
    """

    key: Sequence[str | None]
    entries: Sequence[tuple[str, str, str]]

    @property
    def domain(self) -> list[str]:
        """All keys up to the last one used, in the order of colours."""
        used = [int(key) for key in self.key if key is not None]
        used += [int(key) for key, _, _ in self.entries]
        return [str(n) for n in range(max(used, default=0) + 1)]


def keys(strokes: Sequence[Stroke]) -> Keys:
    """Colours for labels in order of appearance.

    Strokes of equal label share a colour, as do those without one. A label that only the ramp
    colours is listed in ink, to tell its mark; so is the first one that only dashed lines have: a
    reference stands behind what was measured. Of labels that only the ramp colours many are names
    of runs: tooltips say them.
    """
    free_hues = (str(n) for n in count() if n % COLOURS)
    free_inks = (str(n) for n in count(step=COLOURS))
    names = list(dict.fromkeys(stroke.label for stroke in strokes if stroke.label))
    ramped = [name for name in names if all(s.level is not None for s in _of(strokes, name))]
    dashed = [name for name in names if all(s.mark == "dashed" for s in _of(strokes, name))]
    inks = {*ramped, *[name for name in dashed if name not in ramped][:1]}
    listed = [name for name in names if name not in ramped or len(ramped) <= _MOST_RAMPED]
    coloured = dict.fromkeys(s.label for s in strokes if s.label in listed or _is_nameless(s))
    colour = {name: next(free_inks if name in inks else free_hues) for name in coloured}
    key = [
        colour[s.label] if s.level is None and (s.label or _is_nameless(s)) else None
        for s in strokes
    ]
    return Keys(key, [(colour[name], name, _symbol(strokes, name)) for name in listed])


def _of(strokes: Sequence[Stroke], name: str) -> list[Stroke]:
    return [stroke for stroke in strokes if stroke.label == name]


def _is_nameless(stroke: Stroke) -> bool:
    """Whether it has a hue of its own without a label; a plain dashed line is a style."""
    return not stroke.label and stroke.level is None and stroke.mark != "dashed"


def _symbol(strokes: Sequence[Stroke], name: str) -> str:
    marks = {stroke.mark for stroke in _of(strokes, name)}
    point = _DISC if "point" in marks else _RING if "hollow" in marks else ""
    return point + (_BAR if "line" in marks else _DASHES if "dashed" in marks else "")


def legend_layer(found: Keys) -> Any:
    """A layer without marks, whose legend names every label with its colour and its marks."""
    import altair as alt

    wrapped = [wrap(label, _LABEL_LETTERS) for _, label, _ in found.entries]
    listed = [key for key, _, _ in found.entries]
    longest = max(len(line) for lines in wrapped for line in lines)
    legend = alt.Legend(
        title=None,
        orient="bottom",
        values=listed,
        # As many columns as the plot is wide (6.3 pixels a letter, and the symbol). On a page the
        # container's width decides, of which axes take 70: the plot's own changes while it is laid
        # out, and rows that come late are cut off.
        columns=alt.ExprRef(
            f"max(1, floor((containerSize()[0] - 70 || width) / {6.3 * longest + 34:.0f}))"
        ),
        labelExpr=looked_up(wrapped, listed),
        labelLimit=0,
        symbolSize=300,
        symbolOpacity=1,
        rowPadding=4,
        columnPadding=18,
    )
    symbols = {key: symbol for key, _, symbol in found.entries}
    shapes = alt.Scale(
        domain=found.domain, range=[symbols.get(key, "circle") for key in found.domain]
    )
    color = alt.Color("key:N", scale=alt.Scale(domain=found.domain), legend=legend)
    return (
        alt.Chart(alt.InlineData(values=[]))
        .mark_point(filled=True)
        .encode(color=color, shape=alt.Shape("key:N", scale=shapes, legend=legend))
    )

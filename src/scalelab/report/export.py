"""Figures to PNG and SVG on paper, and to the specification that a page embeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.report.theme import PAPER

if TYPE_CHECKING:
    from scalelab.report.figures import Figure

PAPER_WIDTH = 560
PNG_SCALE = 2


def vegalite_version() -> str:
    """The Vega-Lite version (``6.1``) of the charts, as the renderer names it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def page_spec(figure: Figure) -> dict[str, Any]:
    """Vega-Lite specification for a page: as wide as its container, themed by the page."""
    chart = figure.chart.properties(width="container", height=figure.height)
    spec = json.loads(chart.to_json(indent=None))
    spec.pop("config", None)
    spec.pop("$schema", None)  # an address, which the page has no use for
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def paper_spec(figure: Figure) -> dict[str, Any]:
    """Vega-Lite specification of a fixed size on white."""
    chart = figure.chart.properties(width=PAPER_WIDTH, height=figure.height, padding=14)
    spec = json.loads(chart.to_json(indent=None))
    return {**spec, "config": PAPER.config()}


def write_figure(figure: Figure, folder: Path) -> tuple[Path, Path]:
    """Write ``NAME.png`` (scale 2) and ``NAME.svg`` in `folder`; returns their paths."""
    import vl_convert

    drawing = vl_convert.vegalite_to_svg(paper_spec(figure), vl_version=vegalite_version())
    png, svg = folder / f"{figure.name}.png", folder / f"{figure.name}.svg"
    svg.write_text(drawing, encoding="utf-8")
    png.write_bytes(vl_convert.svg_to_png(drawing, scale=PNG_SCALE))
    return png, svg

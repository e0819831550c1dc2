"""Colours and type of all figures, for light and dark pages and for paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Viridis (matplotlib, CC0), cut where it would not stand out from the page: order is by lightness,
# so it holds for colour-blind readers and in grey.
_VIRIDIS = ("#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884")
_VIRIDIS_LIGHT = ("#44bf70", "#7ad151", "#bddf26", "#fde725")

# Hues for labels, after Okabe and Ito 2008 (colour universal design), its yellow left out and each
# made darker or lighter until it stands out from its page by 3 to 1 (WCAG 2, graphics).
_HUES_LIGHT = (
    "#0072b2",
    "#d55e00",
    "#00875f",
    "#b8579a",
    "#b87700",
    "#2f8fcb",
    "#5e4fa2",
    "#882255",
    "#6f6a00",
    "#707880",
)
_HUES_DARK = (
    "#4aa3df",
    "#f28140",
    "#2fc296",
    "#dd92bd",
    "#e9b04a",
    "#9ad0f5",
    "#a99be0",
    "#e0728c",
    "#c9c75e",
    "#8b959e",
)

COLOURS = 1 + len(_HUES_LIGHT)
"""Colours of labels: the ink, then hues."""

SYSTEM_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PAPER_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"


@dataclass(frozen=True)
class Theme:
    """One scheme: ink for text and reference lines, muted for axes, faint for grids, a ramp for
    levels, hues for labels.
    """

    ink: str
    muted: str
    faint: str
    ramp: tuple[str, ...]
    hues: tuple[str, ...]
    background: str | None
    font: str

    def config(self) -> dict[str, Any]:
        """The Vega-Lite ``config`` of this scheme."""
        axis = {
            "domainColor": self.muted,
            "domainWidth": 1,
            "grid": True,
            "gridColor": self.faint,
            "gridWidth": 1,
            "labelColor": self.muted,
            "labelFontSize": 11,
            "labelOverlap": "greedy",
            "labelPadding": 5,
            "tickColor": self.muted,
            "tickSize": 4,
            "titleColor": self.ink,
            "titleFontSize": 12,
            "titleFontWeight": 500,
            "titlePadding": 10,
        }
        return {
            "background": self.background or "transparent",
            "font": self.font,
            "axis": axis,
            "view": {"stroke": None},
            "legend": {
                "labelColor": self.muted,
                "labelFontSize": 11,
                "titleColor": self.ink,
                "titleFontSize": 11,
                "titleFontWeight": 500,
                "titlePadding": 6,
                "layout": {"bottom": {"anchor": "start", "direction": "vertical", "margin": 6}},
                "symbolSize": 60,
                "gradientLength": 130,
                "gradientThickness": 10,
            },
            "range": {"ramp": list(self.ramp), "category": [self.ink, *self.hues]},
            "style": {
                "ink-line": {"color": self.ink, "strokeWidth": 2.2},
                "ink-area": {"color": self.ink, "fillOpacity": 0.13},
                "muted-line": {"color": self.muted, "strokeWidth": 1, "strokeDash": [4, 4]},
                "muted-area": {"color": self.muted, "fillOpacity": 0.12},
            },
        }


LIGHT = Theme(
    ink="#1d2329",
    muted="#5b6570",
    faint="#e8ebee",
    ramp=(*_VIRIDIS, *_VIRIDIS_LIGHT[:2]),
    hues=_HUES_LIGHT,
    background=None,
    font=SYSTEM_FONT,
)
DARK = Theme(
    ink="#e6eaee",
    muted="#9aa5b0",
    faint="#2a3138",
    ramp=(*_VIRIDIS[3:], *_VIRIDIS_LIGHT),
    hues=_HUES_DARK,
    background=None,
    font=SYSTEM_FONT,
)
PAPER = Theme(
    ink=LIGHT.ink,
    muted=LIGHT.muted,
    faint=LIGHT.faint,
    ramp=LIGHT.ramp,
    hues=LIGHT.hues,
    background="#ffffff",
    font=PAPER_FONT,
)

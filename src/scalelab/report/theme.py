"""Colours and type of all figures, for light and dark pages and for paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Viridis (matplotlib, CC0), cut where it would not stand out from the page: order is by lightness,
# so it holds for colour-blind readers and in grey.
_VIRIDIS = ("#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884")
_VIRIDIS_LIGHT = ("#44bf70", "#7ad151", "#bddf26", "#fde725")

SYSTEM_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PAPER_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"


@dataclass(frozen=True)
class Theme:
    """One scheme: ink for text and reference lines, muted for axes, faint for grids, and a ramp."""

    ink: str
    muted: str
    faint: str
    ramp: tuple[str, ...]
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
                "symbolSize": 60,
                "gradientLength": 130,
                "gradientThickness": 10,
            },
            "range": {"ramp": list(self.ramp)},
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
    background=None,
    font=SYSTEM_FONT,
)
DARK = Theme(
    ink="#e6eaee",
    muted="#9aa5b0",
    faint="#2a3138",
    ramp=(*_VIRIDIS[3:], *_VIRIDIS_LIGHT),
    background=None,
    font=SYSTEM_FONT,
)
PAPER = Theme(
    ink=LIGHT.ink,
    muted=LIGHT.muted,
    faint=LIGHT.faint,
    ramp=LIGHT.ramp,
    background="#ffffff",
    font=PAPER_FONT,
)

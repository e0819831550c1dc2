"""Figures and the page: what a study found, as files that open anywhere."""

from scalelab.report.answer import conclusion_json
from scalelab.report.figures import FIGURES, Figure
from scalelab.report.figures.picture import draw
from scalelab.report.headline import Finding, headline
from scalelab.report.page import write

__all__ = ["FIGURES", "Figure", "Finding", "conclusion_json", "draw", "headline", "write"]

"""The figures of a report, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scalelab.report.figures.base import Figure
from scalelab.report.figures.check import predicted_against_measured, residuals
from scalelab.report.figures.compute import loss_against_compute
from scalelab.report.figures.curves import curves_against_compute, curves_against_tokens
from scalelab.report.figures.surface import loss_against_params, loss_against_tokens

if TYPE_CHECKING:
    from scalelab.studies.result import StudyResult

FIGURES: tuple[Callable[[StudyResult], Figure], ...] = (
    loss_against_compute,
    predicted_against_measured,
    loss_against_params,
    loss_against_tokens,
    curves_against_tokens,
    curves_against_compute,
    residuals,
)

__all__ = ["FIGURES", "Figure"]

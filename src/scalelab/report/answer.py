"""A conclusion as JSON: what ``scalelab run --design NAME --json`` answers for each design."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.units import finite

if TYPE_CHECKING:
    from scalelab.fitting import Estimate
    from scalelab.studies.conclusion import Conclusion, Finding


def conclusion_json(conclusion: Conclusion, figure_folder: Path) -> dict[str, Any]:
    """The conclusion as plain values; what is not finite is None.

    margin: half the width of the region in which the main number agrees; None where the region is
    open on a side or nothing is compared. figures: the PNG of each picture that can be drawn, in
    `figure_folder`, where the report wrote them. numbers: value, low, high, level, unit, meaning.
    """
    from scalelab.report.figures.picture import drawable

    answer = {
        "design": conclusion.design,
        "title": conclusion.title,
        "statement": conclusion.statement,
        "verdict": conclusion.verdict,
        "margin": _margin(conclusion.findings),
        "numbers": {
            name: _value(number.estimate) | {"unit": number.unit, "meaning": number.meaning}
            for name, number in conclusion.numbers.items()
        },
        "checks": [_check(finding) for finding in conclusion.findings],
        "figures": [
            str(figure_folder / f"{picture.name}.png")
            for picture in conclusion.pictures
            if drawable(picture)
        ],
        "left_out": list(conclusion.left_out),
        "warnings": [notice.to_dict() for notice in conclusion.notices],
    }
    return {name: finite(item) for name, item in answer.items()}


def _margin(findings: Sequence[Finding]) -> float | None:
    if not findings:
        return None
    half = (findings[0].check.high - findings[0].check.low) / 2
    return half if math.isfinite(half) else None


def _check(finding: Finding) -> dict[str, Any]:
    check, estimate = finding.check, finding.estimate
    return {
        "name": check.name,
        "claim": check.claim,
        "source": check.source,
        "paper": check.paper,
        "low": check.low,
        "high": check.high,
        "value": None if estimate is None else _value(estimate),
        "verdict": finding.verdict,
        "why": finding.why,
    }


def _value(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "level": estimate.level,
    }

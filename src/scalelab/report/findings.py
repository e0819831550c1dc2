"""What designs conclude, as HTML: one table of verdicts, then a part for every design."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from scalelab.report.figures.picture import PAPER
from scalelab.report.tables import Cell, Markup, notices, table
from scalelab.units import format_estimate

if TYPE_CHECKING:
    from scalelab.fitting import Estimate
    from scalelab.report.figures import Figure
    from scalelab.studies.conclusion import Check, Conclusion, Finding, Picture, Verdict

_CLASS = {"agrees": "agrees", "differs": "differs", "cannot tell": "open"}


def anchor(conclusion: Conclusion) -> str:
    """The id of a design's part of the page."""
    return f"design-{conclusion.design}"


def contents(conclusions: Sequence[Conclusion]) -> str:
    """Links to the designs' parts; nothing where there are none."""
    links = " ".join(f'<a href="#{escape(anchor(c))}">{escape(c.title)}</a>' for c in conclusions)
    return f'<nav class="designs" aria-label="Designs">{links}</nav>' if links else ""


def overview(conclusions: Sequence[Conclusion]) -> str:
    """One row for each design: verdict, main number beside the paper's, statement."""
    rows: list[list[str | Cell | Markup]] = [
        [
            Markup(f'<a href="#{escape(anchor(c))}">{escape(c.title)}</a>'),
            badge(c.verdict),
            measured(c.findings[0]) if c.findings else "-",
            expected(c.findings[0].check) if c.findings else "-",
            c.statement.partition(": ")[0],  # whole where the design has its part
        ]
        for c in conclusions
    ]
    head = ["Design", "Verdict", "Measured", "Paper", "In words"]
    return table(head, rows, kind="stack overview")


def parts(
    conclusions: Sequence[Conclusion],
    figures: Sequence[Figure],
    show: Callable[[Figure], str],
) -> str:
    """The designs' parts, in order.

    figures: of the pictures of all conclusions, in their order. show: a figure as HTML.
    """
    rest = iter(figures)
    return "\n".join(_part(c, [next(rest) for _ in c.pictures], show) for c in conclusions)


def _part(conclusion: Conclusion, figures: Sequence[Figure], show: Callable[[Figure], str]) -> str:
    blocks = [
        f"<h3>{escape(conclusion.title)} {badge(conclusion.verdict).html}</h3>",
        _reproduced(conclusion.pictures),
        f'<p class="statement">{escape(conclusion.statement)}</p>',
        _titled("Compared with the paper", _checks(conclusion.findings)),
        _titled("Numbers", _numbers(conclusion)),
    ]
    if figures:
        drawn = "\n".join(show(figure) for figure in figures)
        blocks.append(f'<div class="figures">{drawn}</div>')
    left_out = "".join(f"<li>{escape(text)}</li>" for text in conclusion.left_out)
    blocks.append(_titled("Left out", f'<ul class="notices">{left_out}</ul>' if left_out else ""))
    warned = notices(conclusion.notices) if conclusion.notices else ""
    blocks.append(_titled("Notices", warned))
    content = "\n".join(block for block in blocks if block)
    return f'<article class="design" id="{escape(anchor(conclusion))}">\n{content}\n</article>'


def _titled(title: str, content: str) -> str:
    return f"<h4>{title}</h4>{content}" if content else ""


def _reproduced(pictures: Iterable[Picture]) -> str:
    named = ", ".join(dict.fromkeys(picture.paper for picture in pictures if picture.paper))
    return f'<p class="paper">After {PAPER}, {escape(named)}.</p>' if named else ""


def _checks(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    rows: list[list[str | Cell | Markup]] = [
        [
            finding.check.name,
            finding.check.claim,
            finding.check.source,
            expected(finding.check),
            measured(finding),
            badge(finding.verdict),
        ]
        for finding in findings
    ]
    head = ["Number", "Claim", "Source", "Paper", "Measured", "Verdict"]
    return table(head, rows, kind="stack checks")


def _numbers(conclusion: Conclusion) -> str:
    if not conclusion.numbers:
        return ""
    rows: list[list[str | Cell | Markup]] = [
        [
            name,
            Cell(shown(number.estimate), number.estimate.value),
            f"{number.estimate.level:.0%}",
            number.unit or "-",
            number.meaning,
        ]
        for name, number in conclusion.numbers.items()
    ]
    return table(["Name", "Estimate", "Level", "Unit", "Meaning"], rows, kind="stack")


def badge(verdict: Verdict) -> Markup:
    """The verdict as a word in its colour."""
    return Markup(f'<span class="verdict {_CLASS[verdict]}">{verdict}</span>')


def shown(estimate: Estimate) -> str:
    """A number with its interval; ends that are not known are open."""
    low, high = (None if math.isnan(end) else end for end in (estimate.low, estimate.high))
    return format_estimate(estimate.value, low, high)


def measured(finding: Finding) -> str:
    """What was measured, with its level; or why it could not be."""
    if finding.estimate is None:
        return finding.why or "not measured"
    return f"{shown(finding.estimate)} ({finding.estimate.level:.0%})"


def expected(check: Check) -> str:
    """The paper's number with its margin: ``0.076 ± 0.02``; or the bound."""
    if check.paper is None:
        return region(check)
    above, below = check.high - check.paper, check.paper - check.low
    if math.isfinite(above) and math.isclose(above, below, rel_tol=1e-6):
        return f"{check.paper:.4g} ± {above:.4g}"
    return f"{check.paper:.4g} ({region(check)})"


def region(check: Check) -> str:
    """Where a number agrees: ``0.056 to 0.096``, ``at most 0.03``, ``at least 2``."""
    if math.isfinite(check.low) and math.isfinite(check.high):
        return f"{check.low:.4g} to {check.high:.4g}"
    if math.isfinite(check.high):
        return f"at most {check.high:.4g}"
    return f"at least {check.low:.4g}" if math.isfinite(check.low) else "any number"

"""What a design concludes: numbers with intervals, pictures, and a verdict beside the paper.

A verdict is a test of equivalence, not of difference: a region around the paper's number is fixed
in the design beforehand, and the interval of what was measured either lies inside it ("agrees"),
outside it ("differs"), or neither ("cannot tell"). A wide interval never agrees. With 90% intervals
this is two one-sided tests at 5% (Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scalelab.errors import Notice

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

Verdict = Literal["agrees", "differs", "cannot tell"]
Kind = Literal["count", "power", "loss", "plain", "percent"]
Mark = Literal["point", "hollow", "line", "dashed"]


@dataclass(frozen=True)
class Number:
    """A measured number: its estimate, unit ("" for ratios and exponents), and what it is."""

    estimate: Estimate
    unit: str
    meaning: str


@dataclass(frozen=True)
class Check:
    """One comparison with the paper, fixed before anything was measured.

    name: of the quantity. paper: the paper's number, or None where the claim is a bound.
    low, high: the region in which a number agrees with the claim; infinite where it is open.
    source: where the paper says so. claim: in a few words. caveat: what in small models, bytes or
    a short budget can make the number differ though the claim holds where the paper made it; said
    wherever it differs.
    """

    name: str
    paper: float | None
    low: float
    high: float
    source: str
    claim: str
    caveat: str = ""

    @classmethod
    def about(
        cls, name: str, paper: float, margin: float, source: str, claim: str, caveat: str = ""
    ) -> Check:
        """The claim that a number is `paper`, to within `margin`."""
        return cls(name, paper, paper - margin, paper + margin, source, claim, caveat)

    @classmethod
    def at_most(cls, name: str, limit: float, source: str, claim: str, caveat: str = "") -> Check:
        """The claim that a number is at most `limit`."""
        return cls(name, None, -math.inf, limit, source, claim, caveat)

    @classmethod
    def at_least(cls, name: str, limit: float, source: str, claim: str, caveat: str = "") -> Check:
        """The claim that a number is at least `limit`."""
        return cls(name, None, limit, math.inf, source, claim, caveat)

    @property
    def spoken(self) -> str:
        """The name in a sentence: alpha_N stays a symbol, words lose their underscores."""
        return self.name if self.name.startswith("alpha_") else self.name.replace("_", " ")

    def verdict(self, low: float, high: float) -> Verdict:
        """Where an interval lies; its ends may be infinite, and NaN tells nothing."""
        if self.low <= low and high <= self.high:
            return "agrees"
        if high < self.low or low > self.high:
            return "differs"
        return "cannot tell"


@dataclass(frozen=True)
class Finding:
    """A check with what was measured; estimate None where it could not be, then `why` says it.

    A `why` given with an estimate is for the case that there is none, and is dropped.
    """

    check: Check
    estimate: Estimate | None
    why: str = ""

    def __post_init__(self) -> None:
        """Nothing is missing where something was measured."""
        if self.estimate is not None:
            object.__setattr__(self, "why", "")

    @property
    def verdict(self) -> Verdict:
        """The verdict of the interval."""
        if self.estimate is None:
            return "cannot tell"
        return self.check.verdict(self.estimate.low, self.estimate.high)


@dataclass(frozen=True)
class Axis:
    """An axis of a picture: its title with unit, and whether it is logarithmic.

    kind: how ticks are written: count (10k, 1M), power (10^15), loss, plain, percent (of a share:
    .05 is 5%).
    """

    title: str
    log: bool = True
    kind: Kind = "plain"


@dataclass(frozen=True)
class Series:
    """Points or a line of a picture.

    x, y: of equal length; what is not finite, or not positive on a logarithmic axis, is left out.
    low, high: ends of error bars (points) or of a band (line), or empty; an infinite end is open.
    mark: point, hollow, line, dashed (a law, a bound, the paper). label: named in the legend; equal
    labels share a colour. level: a number that colours the series on a logarithmic ramp instead,
    such as N. tips: what a tooltip says of each point, or empty.
    """

    x: Sequence[float]
    y: Sequence[float]
    mark: Mark = "point"
    label: str = ""
    level: float | None = None
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    tips: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A figure of a design, free of any drawing library.

    name: of its files, unique in the study. paper: the figures of the paper that it reproduces,
    such as "figure 13". level_title: what the ramp's numbers are. steps: names of x positions where
    x is a category (0, 1, 2, ...), else empty.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    paper: str = ""
    level_title: str = "Parameters"
    steps: Sequence[str] = ()


@dataclass(frozen=True)
class Conclusion:
    """What a design has to say.

    design: its name. statement: one plain sentence: agrees, differs or cannot tell, with the main
    number, the paper's, and why. findings: the comparisons, the main one first. numbers: by name.
    left_out: what this budget or this text could not show, in words.
    """

    design: str
    title: str
    statement: str
    findings: Sequence[Finding] = ()
    numbers: Mapping[str, Number] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    notices: Sequence[Notice] = ()
    left_out: Sequence[str] = ()

    @property
    def verdict(self) -> Verdict:
        """Differs where one comparison does, agrees where all do, else cannot tell."""
        return overall(self.findings)


def overall(findings: Sequence[Finding]) -> Verdict:
    """Differs where one comparison does, agrees where all do, else cannot tell."""
    found = [finding.verdict for finding in findings]
    if "differs" in found:
        return "differs"
    return "agrees" if found and set(found) == {"agrees"} else "cannot tell"


def phrase(findings: Sequence[Finding] = (), whose: str = "the paper") -> str:
    """How a statement begins: the verdict of all comparisons, and which of them make it.

    Without any nothing can be told. whose: claims they are, where not the paper's.
    """
    by: dict[Verdict, list[str]] = {"agrees": [], "differs": [], "cannot tell": []}
    for finding in findings:
        by[finding.verdict].append(finding.check.spoken)
    agree, differ, still_open = by["agrees"], by["differs"], by["cannot tell"]
    if differ:
        rest = [f"{len(agree)} agree"] * bool(agree) + [f"{len(still_open)} open"] * bool(
            still_open
        )
        text = f"Differs from {whose}"
        if rest:
            text += f" in {', '.join(differ)} ({', '.join(rest)} of {len(findings)} comparisons)"
        return text
    if agree and not still_open:
        return f"Agrees with {whose}"
    text = "Cannot tell at this scale"
    if agree:
        text += f" ({', '.join(still_open)} open, {len(agree)} of {len(findings)} agree)"
    return text


def because(findings: Sequence[Finding]) -> str:
    """What may stand behind the comparisons that differ, as the end of a statement; or nothing."""
    told: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "differs" and finding.check.caveat:
            told.setdefault(finding.check.caveat, []).append(finding.check.spoken)
    if not told:
        return ""
    return (
        " What may be behind it: "
        + "; ".join(f"{', '.join(names)}: {caveat}" for caveat, names in told.items())
        + "."
    )

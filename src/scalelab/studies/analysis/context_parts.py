"""Parts of a long context, the law in N at each, and runs with a short context beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from scalelab.fitting import Estimate
from scalelab.laws import get_law
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.long_context import has_positions

EARLY = (4.0, 16.0)
"""Bytes of text before the token: one to a few tokens of the paper's. (assumed)"""

SHARES = ((1 / 64, 1 / 32), (1 / 16, 1 / 8), (1 / 4, 1 / 2), (1 / 2, 1.0))
"""Parts of the context at which L(N) is shown, after its first bytes."""

LEAST_SIZES = 4
DRAWS = 500

SAME_SIZE = 0.1
SAME_TOKENS = 0.5
"""Difference of log N and of log D up to which a run with a short context stands beside one with a
long one."""


@dataclass(frozen=True)
class Part:
    """Positions first to last of the context, counted from 1, and their name."""

    name: str
    part: slice

    @property
    def words(self) -> str:
        """Its positions in a sentence."""
        return f"{self.part.start + 1} to {self.part.stop}"

    @property
    def middle(self) -> float:
        """Geometric middle."""
        return float(np.sqrt((self.part.start + 1) * self.part.stop))


def bytes_between(text: tuple[float, float], evidence: Evidence) -> slice:
    """Positions with so many bytes of text up to the token that is predicted."""
    first, last = (max(1, round(edge / evidence.bytes_per_token)) for edge in text)
    return slice(first - 1, max(first, last))


def parts_of(runs: Sequence[Run], evidence: Evidence) -> list[Part]:
    """The first bytes, in bytes, and the shares behind them."""
    if not runs:
        return []
    length = len(runs[-1].positions)
    found = [Part("early", bytes_between(EARLY, evidence))]
    for low, high in SHARES:
        first, last = int(low * length), int(high * length)
        found.append(Part(f"positions_{first + 1}_to_{last}", slice(first, last)))
    return found


def size_law(runs: Sequence[Run], part: slice, evidence: Evidence) -> Attempt:
    """A / N^alpha through the mean losses over a part of the context."""
    if len(runs) < LEAST_SIZES:
        return Attempt(None, f"{len(runs)} sizes")
    frame = pl.DataFrame(
        {
            "run": [run.spec.run for run in runs],
            "params": [float(run.params) for run in runs],
            "loss": [float(run.positions[part].mean()) for run in runs],
        }
    )
    return attempt(
        get_law("power-no-floor", "params"),
        frame,
        clusters="run",
        draws=DRAWS,
        level=evidence.level,
        seed=evidence.seed,
    )


Beside = tuple[Run, Run]
"""A run with a short context and the one with a long context of its size."""


def beside(runs: Sequence[Run], evidence: Evidence) -> list[Beside]:
    """The ladder's runs, which have a short context, of about the N and D of these; by size."""
    found = []
    for run in runs:
        near = [
            other
            for other in evidence.branches
            if has_positions(other)
            and len(other.positions) < len(run.positions)
            and abs(np.log(other.params / run.params)) < SAME_SIZE
            and abs(np.log(other.tokens / run.tokens)) < SAME_TOKENS
        ]
        if near:
            closest = min(near, key=lambda one: abs(np.log(one.tokens / run.tokens)))
            found.append((closest, run))
    return found


def short_over_long(found: Sequence[Beside], evidence: Evidence) -> Estimate | None:
    """Loss early in the context with a short one over that with a long one, minus 1.

    The mean over sizes with Student's interval; None for fewer than three.
    """
    from scipy.stats import t as student

    if len(found) < 3:
        return None
    part = bytes_between(EARLY, evidence)
    logs = [np.log(a.positions[part].mean() / b.positions[part].mean()) for a, b in found]
    error = float(np.std(logs, ddof=1) / np.sqrt(len(logs)))
    half = float(student.ppf(0.5 + evidence.level / 2, len(logs) - 1)) * error
    value, low, high = (float(np.expm1(np.mean(logs) + by)) for by in (0.0, -half, half))
    return Estimate(value, low, high, evidence.level, error)


def beside_words(found: Sequence[Beside]) -> str:
    """What else differs between the two kinds of run: a short context is not all."""
    tokens, steps = (
        float(np.exp(np.mean(np.log([getattr(a, name) / getattr(b, name) for a, b in pairs]))))
        for name, pairs in (
            ("tokens", found),
            ("last_step", [(a.spec, b.spec) for a, b in found]),
        )
    )
    return f"trained on {tokens:.2g} times the tokens in {steps:.2g} times the steps"

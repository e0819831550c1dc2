"""Tokens that each size needs to reach given losses, and whether larger sizes need fewer.

Source of the claim: Kaplan et al. 2020, arXiv 2001.08361, figure 2 and section 1.1 ("sample
efficiency: large models ... reach the same level of performance with fewer data points").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.analysis.batch_sweep import falling_curve, steps_to
from scalelab.studies.evidence import Run

LEVELS = 16
DRAWS = 2000


@dataclass(frozen=True)
class Reached:
    """Tokens to losses.

    sizes: (s,) N. losses: (l,), high to low. tokens: (s, l), infinite where a size did not reach a
    loss. early: (s, l), it was below that loss before its warm-up was forgotten, so that its tokens
    are at most those given. steepness: (s, l), -d ln L / d ln tokens, NaN where not measured.
    """

    sizes: Array
    losses: Array
    tokens: Array
    early: NDArray[np.bool_]
    steepness: Array


@dataclass(frozen=True)
class Pairs:
    """Pairs of sizes that reached a loss in common: how many of them ask what of the larger.

    fewer, more: beyond noise. open: within it. exponent: of tokens to one loss against N. level: of
    the intervals.
    """

    fewer: int
    more: int
    open: int
    exponent: Estimate | None
    level: float

    @property
    def against(self) -> Estimate | None:
        """Share of pairs in which the larger size does not clearly need fewer tokens.

        Its low end counts those that clearly need more, its high end the open ones too: noise that
        hides everything makes it wide.
        """
        total = self.fewer + self.more + self.open
        if not total:
            return None
        low, high = self.more / total, (self.more + self.open) / total
        return Estimate((low + high) / 2, low, high, self.level)


def reached(trunks: Sequence[Run]) -> Reached | None:
    """What each trunk needs, smallest size first; None where no two sizes share a loss."""
    curves = [(run, curve) for run in trunks if (curve := falling_curve(run)) is not None]
    if len(curves) < 2:
        return None
    starts = sorted(float(curve[1][0]) for _, curve in curves)
    ends = sorted(float(curve[1][-1]) for _, curve in curves)
    # From where a second size has begun, to what the second best size reaches.
    high, low = starts[-2], ends[1]
    if high <= low:
        return None
    gap = 0.03 * (high - low)
    losses = np.exp(np.linspace(high - gap, low + gap, LEVELS))
    tokens = np.array(
        [[steps_to(c, loss) * run.spec.batch_tokens for loss in losses] for run, c in curves]
    )
    early = np.array([[np.log(loss) > curve[1][0] for loss in losses] for _, curve in curves])
    first = np.array([np.exp(curve[0][0]) * run.spec.batch_tokens for run, curve in curves])
    tokens = np.where(early, first[:, None], tokens)
    steep = np.array([[_steepness(c, loss) for loss in losses] for _, c in curves])
    sizes = np.array([float(run.params) for run, _ in curves])
    return Reached(sizes, losses, tokens, early, steep)


def _steepness(curve: tuple[Array, Array], loss: float) -> float:
    """-d ln L / d ln S about a loss, over a factor of two in steps on each side."""
    steps = steps_to(curve, loss)
    if not np.isfinite(steps):
        return float("nan")
    log_steps, log_loss = curve
    ends = np.clip(np.log(steps) + np.array([-0.7, 0.7]), log_steps[0], log_steps[-1])
    fall = float(np.interp(ends[0], log_steps, log_loss) - np.interp(ends[1], log_steps, log_loss))
    return fall / float(ends[1] - ends[0])


def compare_pairs(found: Reached, noise: float, level: float, seed: int) -> Pairs:
    """Every pair of sizes over the losses that both reached.

    noise: standard deviation of the log loss of a whole run. A run that is lucky by so much is
    early at every loss, by noise / steepness in log tokens: the luck of a pair does not average out
    over losses.
    """
    threshold = NormalDist().inv_cdf(0.5 + level / 2)
    fewer = more = undecided = 0
    for i, j in combinations(range(len(found.sizes)), 2):
        # Of a larger size at most so many tokens will do; of a smaller one they must be known.
        both = np.isfinite(found.tokens[i]) & np.isfinite(found.tokens[j]) & ~found.early[i]
        if found.sizes[i] == found.sizes[j] or not both.any():
            continue
        ratio = float(np.log(found.tokens[j, both] / found.tokens[i, both]).mean())
        small, large = (_slowness(found.steepness[k, both]) for k in (i, j))
        error = noise * float(np.hypot(small, large))
        if abs(ratio) <= threshold * error:
            undecided += 1
        elif ratio < 0:
            fewer += 1
        else:
            more += 1
    return Pairs(fewer, more, undecided, _exponent(found, noise, level, seed), level)


def _slowness(steepness: Array) -> float:
    """d ln tokens / d ln L, mean over losses; 0 where only a bound of the tokens is known."""
    known = steepness[np.isfinite(steepness)]
    return float(1 / max(known.mean(), 1e-6)) if len(known) else 0.0


def _exponent(found: Reached, noise: float, level: float, seed: int) -> Estimate | None:
    """d ln tokens / d ln N at one loss: a common slope over all losses.

    Its interval draws sizes anew (bootstrap of whole curves) and their luck.
    """
    log_n = np.log(found.sizes)
    with np.errstate(divide="ignore"):
        known = np.isfinite(found.tokens) & ~found.early
        log_t = np.where(known, np.log(found.tokens), np.nan)
    if len(np.unique(log_n)) < 3:
        return None
    generator = np.random.default_rng([seed, 9])
    slow = noise * np.array([_slowness(row) for row in found.steepness])
    point = _common_slope(log_n, log_t)
    draws = []
    for _ in range(DRAWS):
        pick = generator.integers(len(log_n), size=len(log_n))
        luck = slow[pick] * generator.normal(size=len(pick))
        draws.append(_common_slope(log_n[pick], log_t[pick] + luck[:, None]))
    return estimate(point, np.array(draws), level)


def _common_slope(log_n: Array, log_t: Array) -> float:
    known = np.isfinite(log_t)
    weight = known.astype(float)
    count = np.maximum(weight.sum(axis=0), 1)
    x = np.where(known, log_n[:, None] - (weight * log_n[:, None]).sum(axis=0) / count, 0.0)
    y = np.where(known, log_t, 0.0)
    spread = float((x**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else float("nan")


def table_of(found: Reached, per_token: Array) -> pl.DataFrame:
    """Size, loss, tokens and FLOP of everything that was reached; per_token: (s,) FLOP a token."""
    rows = [
        (float(n), float(loss), float(found.tokens[i, j]), float(found.tokens[i, j] * per_token[i]))
        for i, n in enumerate(found.sizes)
        for j, loss in enumerate(found.losses)
        if np.isfinite(found.tokens[i, j]) and not found.early[i, j]
    ]
    return pl.DataFrame(rows, schema=["params", "loss", "tokens", "flops"], orient="row")

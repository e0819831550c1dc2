"""The loss on other texts beside the loss on the training text: what a straight line leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import NormalDist

import numpy as np
import polars as pl

from scalelab.fitting import Estimate
from scalelab.laws import Array

LEAST_RUNS = 4
LEAST_TRUNKS = 3


def scatter(runs: pl.DataFrame, columns: Sequence[str], level: float) -> Estimate | None:
    """Root mean square of ln L' - ln(K + k L) over runs and texts, K and k free for each text.

    It has no unit: whatever a token of a text is worth in nats, k and K take it up. A text's sum of
    squares is divided by its runs less two. Intervals leave out one trunk after the other (the
    jackknife with Student's t, here of the logarithm): runs of a trunk share its luck.

    columns: names of the L'. None where a text has too few runs, or the runs too few trunks.
    """
    found = _jackknife(runs, lambda part: _log_scatter(part, columns), level)
    if found is None:
        return None
    value, low, high = (float(np.exp(end)) for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, level, value * found.stderr)


def slope(runs: pl.DataFrame, column: str, level: float) -> Estimate | None:
    """k of the line L' = K + k L; negative where the loss on the text rises as that here falls."""
    return _jackknife(runs, lambda part: _line(part, column)[0], level)


def _jackknife(
    runs: pl.DataFrame, number: Callable[[pl.DataFrame], float], level: float
) -> Estimate | None:
    """A number of the runs with an interval, None where it is not known without some trunk."""
    from scipy.stats import t as student

    trunks = runs["trunk"].unique(maintain_order=True).to_list()
    count = len(trunks)
    if count < LEAST_TRUNKS:
        return None
    whole = number(runs)
    without = np.array([number(runs.filter(pl.col("trunk") != trunk)) for trunk in trunks])
    if not np.isfinite([whole, *without]).all():
        return None
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    half = float(student.ppf(0.5 + level / 2, count - 1)) * error
    return Estimate(whole, whole - half, whole + half, level, error)


def _line(runs: pl.DataFrame, column: str) -> tuple[float, Array]:
    """Slope and residuals of ln L', by least squares; NaN and none where runs are too few."""
    known = runs.filter(pl.col(column).is_finite() & pl.col("loss").is_finite())
    loss, other = (known[name].cast(pl.Float64).to_numpy() for name in ("loss", column))
    if len(loss) < LEAST_RUNS or np.ptp(loss) == 0:
        return float("nan"), np.empty(0)
    # Residuals relative to L', which are those of its logarithm: linear in K and k.
    rows = np.stack([1 / other, loss / other], axis=1)
    best = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
    return float(best[1]), 1 - rows @ best


def _log_scatter(runs: pl.DataFrame, columns: Sequence[str]) -> float:
    """ln of the root mean square; NaN where a text has too few runs or all of one loss."""
    left = [_line(runs, column)[1] for column in columns]
    if not all(len(one) for one in left):
        return float("nan")
    squares = sum(float(one @ one) for one in left)
    return float(np.log(np.sqrt(squares / sum(len(one) - 2 for one in left)) + 1e-12))


@dataclass(frozen=True)
class Order:
    """Rank correlation of offset and distance; chance: of one as high if texts were shuffled."""

    correlation: Estimate
    chance: float


def rank_correlation(x: Array, y: Array, level: float, seed: int) -> Order:
    """Spearman's correlation with Bonett and Wright's interval (2000) and a permutation test."""
    from scipy.stats import rankdata

    m = len(x)
    a, b = (rankdata(values) - (m + 1) / 2 for values in (x, y))
    scale = float(np.sqrt((a @ a) * (b @ b))) or 1.0
    found = float(a @ b) / scale
    # Perfect order among m texts is known no better than to half a swap of neighbours.
    inside = float(np.clip(found, -1 + 6 / (m * (m**2 - 1)), 1 - 6 / (m * (m**2 - 1))))
    error = np.sqrt((1 + inside**2 / 2) / (m - 3))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    low, high = (float(np.tanh(np.arctanh(inside) + move)) for move in (-half, half))
    if m <= 8:
        orders = np.array(list(permutations(range(m))))
    else:
        generator = np.random.default_rng([seed, 5])
        orders = np.array([generator.permutation(m) for _ in range(20_000)])
    shuffled = b[orders] @ a / scale
    chance = float((shuffled >= found - 1e-12).mean())
    return Order(Estimate(found, min(low, found), max(high, found), level, float(error)), chance)

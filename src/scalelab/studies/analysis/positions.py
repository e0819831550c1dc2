"""Loss against the position in the context: binned, with the noise of the text.

Only the mean loss at each position is known. Its noise is that of the text that happens to stand
there, which all runs of a study share: differences between runs are far surer than a run alone. It
is told from neighbouring positions, whose losses a model cannot tell apart: blocks of eight, so
that what neighbouring tokens share counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scalelab.fitting import Estimate
from scalelab.laws import Array

PER_OCTAVE = 2
BLOCK = 8
STEADY = 1 / 16
"""Share of the context after which the loss falls so slowly that neighbours differ by noise."""

STOPPED = 0.01
"""A network has stopped improving where its loss is within this share of its least. (assumed: it
is about what a doubling of the context brings a Transformer of small size)"""

DRAWS = 1000


@dataclass(frozen=True)
class Binned:
    """Means over bins of positions, evenly spaced in the logarithm.

    position: (b,) geometric middle, counted from 1. first, last: (b,) positions of each, inclusive.
    loss: (b,). error: (b,) standard error.
    """

    position: Array
    first: Array
    last: Array
    loss: Array
    error: Array


def binned(positions: Array) -> Binned:
    """Losses at each position (T,) as bins, with errors from neighbouring blocks."""
    edges = bin_edges(len(positions))
    noise = noise_of(positions)
    late = float(positions[len(positions) // 2 :].mean())
    middles, losses, errors = [], [], []
    for low, high in pairwise(edges):
        inside = positions[low:high]
        middles.append(np.exp(np.log(np.arange(low + 1, high + 1)).mean()))
        losses.append(inside.mean())
        # Losses that are higher scatter more: in proportion (assumed).
        errors.append(noise * inside.mean() / late / np.sqrt(high - low))
    ends = np.array(edges, dtype=float)
    return Binned(np.array(middles), ends[:-1] + 1, ends[1:], np.array(losses), np.array(errors))


def bin_edges(context: int) -> list[int]:
    """Ends of the bins: 0, 1, 2, 3, 4, 6, 8, 11, 16, ..., context."""
    count = round(PER_OCTAVE * math.log2(context))
    edges = [round(context * 2.0 ** (-k / PER_OCTAVE)) for k in range(count + 1)]
    return sorted({0, *edges})


def noise_of(positions: Array) -> float:
    """Standard deviation of one position's loss, such that means over n have it over sqrt(n).

    From second differences of means over blocks: a straight fall leaves none.
    """
    block = max(1, min(BLOCK, len(positions) // 32))
    late = positions[max(block, int(STEADY * len(positions))) :]
    late = late[: len(late) // block * block]
    means = late.reshape(-1, block).mean(axis=1)
    if len(means) < 3:
        return float("nan")
    second = means[:-2] - 2 * means[1:-1] + means[2:]
    return float(np.sqrt((second**2).mean() / 6 * block))


def mean_between(positions: Array, low: float, high: float) -> tuple[float, float]:
    """Mean loss between two shares of the context, and its standard error."""
    first = int(low * len(positions))
    last = max(first + 1, int(high * len(positions)))
    inside = positions[first:last]
    return float(inside.mean()), noise_of(positions) / float(np.sqrt(len(inside)))


def stops_improving(found: Binned, margin: float, level: float, seed: int = 0) -> Estimate:
    """The first position from which on the loss is within a share `margin` of its least.

    A curve that never rises is drawn through the bins (isotonic regression), because more context
    cannot hurt a model that may ignore it. The interval redraws the bins by their errors, and its
    ends are those of bins.
    """
    generator = np.random.default_rng([seed, 11])
    smooth = never_rising(found.loss, found.error)
    drawn = smooth + found.error * generator.standard_normal((DRAWS, len(smooth)))
    draws = np.array([_first(never_rising(row, found.error), margin) for row in drawn])
    tail = 0.5 - level / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf").astype(int)
    middle = found.position[_first(smooth, margin)]
    spread = float(found.position[draws].std())
    return Estimate(float(middle), float(found.first[low]), float(found.last[high]), level, spread)


def never_rising(loss: Array, error: Array) -> Array:
    """The nearest curve that never rises, weighted by 1 / error^2 (pool adjacent violators)."""
    weights = 1 / np.maximum(error, 1e-12) ** 2
    pools: list[list[float]] = []  # value, weight, count
    for value, weight in zip(loss, weights, strict=True):
        pools.append([float(value), float(weight), 1])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            value, weight, count = pools.pop()
            before = pools[-1]
            total = before[1] + weight
            before[0] = (before[0] * before[1] + value * weight) / total
            before[1], before[2] = total, before[2] + count
    return np.concatenate([np.full(int(count), value) for value, _, count in pools])


def _first(smooth: Array, margin: float) -> int:
    return int(np.argmax(smooth <= smooth[-1] * (1 + margin)))

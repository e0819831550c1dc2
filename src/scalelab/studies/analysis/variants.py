"""Variants of one model compared, each at its own best learning rate.

A comparison at one rate measures the rate. Every variant is trained at a few rates, with another
seed at each, and what is compared is the least loss of a parabola in the logarithm of the rate. Its
curvature is common to all variants: three runs then give a minimum about as sure as the mean of
two to three seeds, and what is left over is the noise from seed to seed, measured on these runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from scalelab.errors import Notice
from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.evidence import Run

K = TypeVar("K", bound=Hashable)

RATES = (0.5, 1.0, 2.0)
"""Rates at which a variant is trained, times its guess: the loss is within .5% of its least over a
factor of two. (measured: docs/LOG.md)"""

FAR_OFF = 0.06
"""A log loss so far above the best of its variant tells nothing of the minimum: a parabola holds
only near it; or six standard deviations of the noise, if that is more. (assumed)"""

DRAWS = 2000

ASSUMED_FREEDOM = 4
"""Weight of the study's noise level beside what is left over here, in degrees of freedom."""


@dataclass(frozen=True)
class Tuned(Generic[K]):
    """Variants at their best rates.

    names: (k,). log_loss: (k,) least log loss within the rates tried. lowest: (k,) the same, or
    that of the parabola beyond them where its vertex lies there: the truth lies between the two.
    errors: (draws, k) of log_loss, as noise would move it.
    rates: (k,) at which it is. ends: names whose best rate is the lowest or highest tried.
    noise: standard deviation of log loss from run to run, with freedom degrees of freedom.
    missing: names of variants with fewer than two rates near their best.
    """

    names: tuple[K, ...]
    log_loss: Array
    lowest: Array
    errors: Array
    rates: Array
    ends: tuple[K, ...]
    noise: float
    freedom: int
    missing: tuple[K, ...]

    def only(self, names: Sequence[K]) -> tuple[Array, Array]:
        """Log losses (j,) and errors (draws, j) of some of them, in that order."""
        places = [self.names.index(name) for name in names]
        return self.log_loss[places], self.errors[:, places]

    def drops(self, names: Sequence[K]) -> Array:
        """How much lower log losses of some of them may be at rates beyond those tried, (j,)."""
        places = [self.names.index(name) for name in names]
        return np.asarray((self.log_loss - self.lowest)[places])


def tune(groups: Mapping[K, list[Run]], noise_level: float, seed: int = 0) -> Tuned[K] | None:
    """The least loss of every variant over its rates, None where too few runs have finished.

    groups: variant -> its runs, which differ in rate and seed alone. noise_level: standard
    deviation of log loss from seed to seed, pooled with the scatter that is seen here.
    """
    far = max(FAR_OFF, 6 * noise_level)
    found = {name: _points(runs, far) for name, runs in groups.items()}
    kept = {name: points for name, points in found.items() if np.ptp(points[0]) > 0}
    missing = tuple(name for name in groups if name not in kept)
    count = len(kept)
    if not any(len(set(x.round(6))) > 2 for x, _ in kept.values()):
        return None  # the curvature is not known
    middles = [x.mean() for x, _ in kept.values()]
    rows, target = [], []
    for i, (x, y) in enumerate(kept.values()):
        block = np.zeros((len(x), 2 * count + 1))
        block[:, i], block[:, count + i] = 1.0, x - middles[i]
        block[:, -1] = (x - middles[i]) ** 2
        rows.append(block)
        target.append(y)
    design, log_loss = np.concatenate(rows), np.concatenate(target)
    spread = np.linalg.pinv(design.T @ design)
    best = spread @ design.T @ log_loss
    freedom = len(log_loss) - len(best)
    squares = float(((log_loss - design @ best) ** 2).sum()) + ASSUMED_FREEDOM * noise_level**2
    freedom += ASSUMED_FREEDOM
    noise = (squares / freedom) ** 0.5
    generator = np.random.default_rng([seed, 7])
    sigma = noise * np.sqrt(freedom / generator.chisquare(freedom, size=(DRAWS, 1)))
    root = np.linalg.cholesky(spread + 1e-12 * np.eye(len(best)))
    draws = best + sigma * (generator.normal(size=(DRAWS, len(best))) @ root.T)
    ends = np.array(
        [[x.min() - m, x.max() - m] for (x, _), m in zip(kept.values(), middles, strict=True)]
    )
    least, where = _least(best[None], ends)
    drawn, _ = _least(draws, ends)
    at_end = np.isclose(where[0], ends[:, 0]) | np.isclose(where[0], ends[:, 1])
    names = tuple(kept)
    return Tuned(
        names=names,
        log_loss=least[0],
        lowest=np.minimum(least[0], np.where(at_end, _vertex(best), least[0])),
        errors=drawn - least[0],
        rates=np.exp2(where[0] + np.array(middles)),
        ends=tuple(name for name, end in zip(names, at_end, strict=True) if end),
        noise=noise,
        freedom=freedom,
        missing=missing,
    )


def _points(runs: Sequence[Run], far: float) -> tuple[Array, Array]:
    """log2 of the rate and log loss of the finished runs that are near the best of them."""
    done = [run for run in runs if run.finished and np.isfinite(run.loss)]
    x = np.array([np.log2(run.spec.lr) for run in done])
    y = np.array([np.log(run.loss) for run in done])
    if not len(x):
        return np.zeros(1), np.zeros(1)
    near = y <= y.min() + far
    return x[near], y[near]


def _least(coefficients: Array, ends: Array) -> tuple[Array, Array]:
    """Least value and its place, (b, k) each, of the parabolas a + b x + c x^2 between their ends.

    coefficients: (b, 2 k + 1), every a, every b, the common c. ends: (k, 2).
    """
    count = len(ends)
    a, b, c = coefficients[:, :count], coefficients[:, count:-1], coefficients[:, -1:]
    vertex = np.where(c > 0, -b / (2 * np.where(c > 0, c, 1.0)), ends[:, 0])
    places = np.stack(
        [np.broadcast_to(end, a.shape) for end in ends.T] + [np.clip(vertex, *ends.T)]
    )
    values = a + b * places + c * places**2
    best = values.argmin(axis=0)[None]
    pick = [np.take_along_axis(array, best, axis=0)[0] for array in (values, places)]
    return pick[0], pick[1]


def _vertex(coefficients: Array) -> Array:
    """The values (k,) of the parabolas at their vertices, endless where they have none."""
    count = len(coefficients) // 2
    a, b, c = coefficients[:count], coefficients[count:-1], coefficients[-1]
    return a - b**2 / (4 * c) if c > 0 else np.full(count, np.inf)


def spread_of(tuned: Tuned[K], names: Sequence[K], level: float) -> Estimate:
    """Greatest loss of the named variants over the least, minus 1.

    A variant that is best at the lowest or highest rate tried may be better beyond: its log loss
    lies between what was found and the vertex of its parabola, and the interval holds whatever
    they are there. Its low end is that of losses as near to each other as this allows, its high end
    that of the worst as found beside the best as it may be.
    """
    log_loss, errors = tuned.only(names)
    lowest = log_loss - tuned.drops(names)
    found = spread(log_loss, errors, level)
    near = np.clip((lowest.max() + log_loss.min()) / 2, lowest, log_loss)
    best = int(lowest.argmin())
    apart = np.where(np.arange(len(log_loss)) == best, lowest, log_loss)
    low, high = spread(near, errors, level).low, spread(apart, errors, level).high
    return Estimate(found.value, min(low, found.low), max(high, found.high), level, found.stderr)


def spread(log_loss: Array, errors: Array, level: float) -> Estimate:
    """Greatest of several true losses over the least, minus 1, from noisy ones.

    log_loss: (k,). errors: (draws, k). The range of k noisy values is larger than the true range:
    2.5 standard deviations for six equal ones. The ends hold whatever the pattern of the true
    losses: the measured range exceeds the true one by at most the range of the errors, whose upper
    quantile is taken off below; above, the true range exceeds a limit only if one pair does, and
    every pair is tested on its own (Berger 1982), which adds the quantile of one difference. The
    value is the scale of the measured pattern at which its range is the median of what would be
    measured.
    """
    pattern = log_loss - log_loss.mean()
    seen = float(np.ptp(pattern))
    tail = 0.5 - level / 2
    pair = errors[:, pattern.argmax()] - errors[:, pattern.argmin()]
    low = max(0.0, seen - float(np.quantile(np.ptp(errors, axis=1), 1 - tail)))
    high = seen + float(np.quantile(np.abs(pair), 1 - 2 * tail))
    inside, outside = 0.0, 1.0
    if np.median(np.ptp(errors, axis=1)) < seen:
        for _ in range(12):
            middle = (inside + outside) / 2
            above = np.median(np.ptp(middle * pattern + errors, axis=1)) > seen
            inside, outside = (inside, middle) if above else (middle, outside)
    value = max(low, inside * seen)
    value, low, high = (float(np.expm1(end)) for end in (value, low, high))
    return Estimate(value, low, high, level, float(pair.std()))


def excess(tuned: Tuned[K], name: K, others: Sequence[K], level: float) -> Estimate:
    """Loss of a variant over the (geometric) mean of others, minus 1.

    The interval reaches as far as losses may be lower at rates beyond those tried.
    """
    own, own_errors = tuned.only([name])
    mean, mean_errors = tuned.only(others)
    value = float(own[0] - mean.mean())
    draws = value + own_errors[:, 0] - mean_errors.mean(axis=1)
    found = estimate(float(np.expm1(value)), np.expm1(draws), level)
    lower, higher = float(tuned.drops([name])[0]), float(tuned.drops(others).mean())
    low, high = (1 + found.low) * np.exp(-lower) - 1, (1 + found.high) * np.exp(higher) - 1
    return Estimate(found.value, float(low), float(high), level, found.stderr)


def over_best(
    tuned: Tuned[K], names: Sequence[K], level: float
) -> tuple[list[float], list[float], list[float]]:
    """Share above the least of the named variants, with ends, for a picture.

    The lower end reaches to where a loss may be at a rate beyond those tried.
    """
    loss, errors = tuned.only(names)
    tail = 0.5 - level / 2
    ends = np.quantile(errors, [tail, 1 - tail], axis=0)
    base = loss.min()
    rows = [np.expm1(loss - base + move) for move in (0.0, ends[0] - tuned.drops(names), ends[1])]
    return rows[0].tolist(), rows[1].tolist(), rows[2].tolist()


def noise_estimate(tuned: Tuned[Any], level: float) -> Estimate:
    """The noise with the interval of a chi-square."""
    from scipy.stats import chi2

    tail = 0.5 - level / 2
    ends = chi2.ppf([1 - tail, tail], tuned.freedom)
    low, high = (float(tuned.noise * (tuned.freedom / end) ** 0.5) for end in ends)
    return Estimate(tuned.noise, low, high, level, tuned.noise / (2 * tuned.freedom) ** 0.5)


def not_bracketed(tuned: Tuned[K], words: Callable[[K], str]) -> tuple[Notice, ...]:
    """Notices of variants whose best rate was not found, or whose rates do not tell of it."""
    notices = []
    if tuned.ends:
        notices.append(
            Notice(
                "rate-not-bracketed",
                f"{len(tuned.ends)} of {len(tuned.names)} variants are best at the lowest or "
                "highest rate tried, so their least loss may be lower: "
                f"{'; '.join(map(words, tuned.ends))}.",
            )
        )
    if tuned.missing:
        notices.append(
            Notice(
                "variant-left-out",
                "left out, because they did not finish at two rates or more with losses near their "
                f"best: {'; '.join(map(words, tuned.missing))}.",
            )
        )
    return tuple(notices)


def percent(estimate: Estimate) -> str:
    """A ratio minus 1 as a percentage with its interval."""
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"

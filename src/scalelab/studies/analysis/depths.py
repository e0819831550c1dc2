"""Models of several depths at one data size: which count of N puts them on one curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
from scalelab.laws import Array
from scalelab.studies.analysis.conventions import count
from scalelab.studies.analysis.porian import is_walk
from scalelab.studies.evidence import Evidence, Run, table

DRAWS = 1000
LEAST_RUNS = 6

LEAST_ASPECT = 4.0
"""Least d_model / n_layer that is compared, as in the design shape: Kaplan et al.'s figure 5 begins
between 4 and 10, and of their figure 6 they say that extreme shapes leave the trend."""


def columns_of(runs: Sequence[Run]) -> tuple[Array, Array, Array, Array]:
    """ln N without and with embeddings, ln L, layers."""
    if not runs:
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0)
    frame = table(runs)
    bare, total = (
        count(frame, how)["params"].cast(float).to_numpy() for how in ("matrices", "total")
    )
    layers = np.array([run.spec.shape.n_layer for run in runs], dtype=float)
    return np.log(bare), np.log(total), np.log(frame["loss"].to_numpy()), layers


def slender(runs: Sequence[Run]) -> NDArray[np.bool_]:
    """Which of the runs have fewer than LEAST_ASPECT units of width a layer."""
    shapes = [run.spec.shape for run in runs]
    return np.array([shape.d_model < LEAST_ASPECT * shape.n_layer for shape in shapes], dtype=bool)


def figure_six(evidence: Evidence) -> list[Run]:
    """Runs of several depths at one data size: the design's own and the ladder's of that size."""
    own = [
        run
        for run in evidence.own
        if run.finished and np.isfinite(run.loss) and not is_walk(run.spec)
    ]
    if not own:
        return []
    tokens = own[0].spec.tokens
    beside = [run for run in evidence.branches if abs(run.spec.tokens / tokens - 1) < 0.01]
    sizes = [run.params for run in own]
    known = {run.spec.run for run in own}
    return own + [
        run
        for run in beside
        if min(sizes) / 2 <= run.params <= 2 * max(sizes) and run.spec.run not in known
    ]


def scatter_ratio(runs: Sequence[Run], evidence: Evidence) -> tuple[Estimate | None, str]:
    """Scatter about one curve in N with embeddings over that without; and why that says nothing.

    One layer is left out, and so are models too slender: at equal N without embeddings a deep
    narrow model has the fewest of them, so that to count them would seem to explain what its shape
    costs. For the same reason it says nothing where the losses scatter about the better curve by
    more than the other count could move them: that is the shape, or luck, and the ratio may be made
    of nothing else. Interval: that of the losses with the luck of another seed each, or with
    as much as scatters about the better curve, if that is more.
    """
    bare, total, loss, layers = columns_of(runs)
    kept = (layers >= 2) & ~slender(runs)
    if kept.sum() < LEAST_RUNS or len(np.unique(layers[kept])) < 2:
        few = (
            f"fewer than {LEAST_RUNS} runs of two layers or more, of two depths, whose width is "
            f"{LEAST_ASPECT:g} times the depth or more"
        )
        return None, few
    bare, total, loss = bare[kept], total[kept], loss[kept]
    (better, least), (other, _) = sorted(
        ((x, float(_scatter(x, loss[None])[0])) for x in (bare, total)), key=lambda pair: pair[1]
    )
    moved = float(_scatter(other, _curve(better, loss[None]))[0])
    luck = np.random.default_rng([evidence.seed, 6]).standard_normal((DRAWS, len(loss)))
    again = np.vstack([loss, loss + max(evidence.noise_level, least) * luck])
    ratio = _scatter(total, again) / _scatter(bare, again)
    why = ""
    if least > moved:
        rows = runs[0].spec.shape.vocabulary
        why = (
            f"losses scatter {least:.1%} about the better curve, and to count embeddings of {rows} "
            f"rows, the paper's 50,257, moves them by {moved:.1%}: depth and luck would decide"
        )
    return estimate(float(ratio[0]), ratio[1:], evidence.level), why


def _curve(x: Array, y: Array) -> Array:
    """The parabola in x (n,) through each row of y (k, n), at x."""
    rows = np.vander((x - x.mean()) / x.std(), 3)
    return np.asarray((rows @ np.linalg.lstsq(rows, y.T, rcond=None)[0]).T)


def _scatter(x: Array, y: Array) -> Array:
    """Standard deviation of rows y (k, n) about their parabola in x (n,), (k,)."""
    return np.asarray(np.sqrt(((y - _curve(x, y)) ** 2).mean(axis=1)))


def one_layer(runs: Sequence[Run], evidence: Evidence) -> Estimate | None:
    """How far models of one layer lie above the curve of deeper ones, a share of the loss."""
    bare, _, loss, layers = columns_of(runs)
    deep, flat = (layers >= 2) & ~slender(runs), layers == 1
    if deep.sum() < LEAST_RUNS or not flat.any():
        return None
    generator = np.random.default_rng([evidence.seed, 7])
    weights = generator.dirichlet(np.ones(len(loss)), DRAWS) * len(loss)
    weights = np.concatenate([np.ones((1, len(loss))), weights])
    above = []
    for weight in weights:
        curve = np.polyfit(bare[deep], loss[deep], 2, w=np.sqrt(weight[deep]))
        excess = loss[flat] - np.polyval(curve, bare[flat])
        above.append(float(np.average(excess, weights=weight[flat])))
    return estimate(above[0], np.array(above[1:]), evidence.level)

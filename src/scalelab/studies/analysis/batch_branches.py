"""Branch runs at several batch sizes from one checkpoint: the critical batch of the moment.

From a checkpoint each branch goes on over the same tokens, its learning rate scaled by the square
root of the ratio of batches. Source: Merrill et al. 2025 (Ai2), "Critical Batch Size Revisited",
arXiv 2505.23971, section 3: the critical batch is the largest whose loss at the end stays within a
tolerance of the smallest batch's.

What a tolerance of so many nats means depends on how far the branches go, so the same runs are also
read in tokens: the loss at which a branch of batch B ends was reached by the smallest batch after
fewer tokens, and by (S / S_min - 1)(E / E_min - 1) = 1 the waste, tokens over those fewer, grows as

    1 + B / B_crit,

which gives the critical batch that a sweep to fixed losses gives, for this stretch of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from scalelab.fitting import Estimate, Fit, fit
from scalelab.fitting.result import estimate
from scalelab.laws import Array, Derived, Law, Parameter, custom_law
from scalelab.studies.analysis.batch_sweep import DRAWS, divide
from scalelab.studies.evidence import Run

PREFIX = "critical-batch-fork"
"""How the ids of branches begin."""

FEWEST = 5
"""Batches that a checkpoint needs: two numbers are fitted, three are left to doubt them."""

TOLERANCE = 0.01
"""Of Ai2's reading: how much above the smallest batch's a loss may end, relative (assumed; theirs
is .01 nats of about 2.5)."""

LEAST_SHARE = 0.1
"""A branch that made less of its tokens than this says only that its batch is far too large: the
curve of the smallest batch has hardly a point there, and begins with the jump of the rate."""


@dataclass(frozen=True)
class Checkpoint:
    """The critical batch at one checkpoint.

    tokens: at which branches fork. batches, losses: of the branches, smallest batch first. before,
    after: loss of the smallest batch at the fork and at the end. loss: to which the critical batch
    belongs, in the middle of what the middle branch goes through. critical: by equation 5.1.
    draws: of its logarithm. within: the largest batch within TOLERANCE. fit: of the waste.
    """

    params: int
    tokens: int
    batches: Sequence[int]
    losses: Sequence[float]
    before: float
    after: float
    loss: float
    critical: Estimate
    draws: Array
    within: Estimate
    fit: Fit


def branch_runs(runs: Iterable[Run]) -> list[Run]:
    """The branches among others, each id once, those that finished."""
    found = {run.spec.run: run for run in runs if run.spec.run.startswith(PREFIX)}
    return [run for run in found.values() if run.finished and len(run.curve) > 1]


def read_branches(
    runs: Iterable[Run], *, level: float = 0.9, seed: int = 0
) -> Sequence[Checkpoint]:
    """The critical batch at each checkpoint from which enough batches branched."""
    groups: dict[tuple[int, int], list[Run]] = {}
    for run in branch_runs(runs):
        forked = run.spec.fork_step * run.spec.batch_tokens
        groups.setdefault((run.params, forked), []).append(run)
    found = (
        _checkpoint(params, forked, group, level, seed)
        for (params, forked), group in sorted(groups.items())
    )
    return [one for one in found if one is not None]


def waste_law() -> Law:
    """waste = s + t B, tokens spent over tokens needed at the smallest batch. B_crit = s / t."""
    law = custom_law(
        "s + t * batch_tokens",
        (
            Parameter("s", "waste without a batch", 0.0, np.inf),
            Parameter("t", "waste of a token of batch", 0.0, np.inf, log=True),
        ),
        name="batch-waste",
        response="waste",
    )
    b_crit = Derived("B_crit", "critical batch, tokens", lambda v: divide(v["s"], v["t"]))
    return replace(law, derived=(b_crit,), reference="Kaplan et al. 2020, equation 5.1")


def _checkpoint(
    params: int, forked: int, group: Sequence[Run], level: float, seed: int
) -> Checkpoint | None:
    group = sorted(group, key=lambda run: run.spec.batch_tokens)
    smallest = group[0]
    progress = _progress(smallest, forked)
    if progress is None:
        return None
    spent, log_loss = progress  # share of the branch's tokens, log loss of the smallest batch
    losses = [_end(run) for run in group]
    rows = [(smallest.spec.run, float(smallest.spec.batch_tokens), 1.0)]
    for run, loss in zip(group[1:], losses[1:], strict=True):
        share = _share_at(np.log(loss), spent, log_loss)
        if share >= LEAST_SHARE:
            rows.append((run.spec.run, float(run.spec.batch_tokens), 1 / share))
    if len({batch for _, batch, _ in rows}) < FEWEST:
        return None
    table = pl.DataFrame(rows, schema=["run", "batch_tokens", "waste"], orient="row")
    found = fit(
        waste_law(),
        table,
        estimator="least-squares",
        clusters="run",
        draws=DRAWS,
        level=level,
        seed=seed,
    )
    critical = found.derived["B_crit"]
    columns = [found.draws[:, found.law.names.index(name)] for name in ("s", "t")]
    with np.errstate(divide="ignore"):  # a draw may have nothing but waste
        draws = np.log(divide(columns[0], columns[1]))
    # The share of its tokens with which the smallest batch was so much above its end.
    # A curve that falls by less than the tolerance has it at its first point.
    share = max(_share_at(log_loss[-1] + np.log1p(TOLERANCE), spent, log_loss), float(spent[0]))
    point = float(divide(np.array(1 / share - found.values["s"]), np.array(found.values["t"])))
    drawn = np.maximum(0.0, divide(1 / share - columns[0], columns[1]))
    return Checkpoint(
        params=params,
        tokens=forked,
        batches=[run.spec.batch_tokens for run in group],
        losses=losses,
        before=_before(smallest, forked),
        after=losses[0],
        loss=float(np.sqrt(_before(smallest, forked) * np.median(losses))),
        critical=critical,
        draws=draws,
        within=estimate(point, drawn, level),
        fit=found,
    )


def _end(run: Run) -> float:
    """Loss at the end, of the evaluations along the way: one text for all, curve included."""
    return float(run.curve.sort("tokens")["loss"][-1])


def _before(run: Run, forked: int) -> float:
    """Loss at the fork, where the trunk's curve is not more than a step of evaluations away."""
    curve = run.curve.filter(pl.col("tokens") > 0).sort("tokens")
    tokens, loss = (np.log(curve[name].to_numpy().astype(float)) for name in ("tokens", "loss"))
    return float(np.exp(np.interp(np.log(forked), tokens, loss)))


def _progress(run: Run, forked: int) -> tuple[Array, Array] | None:
    """Share of a branch's own tokens, and its log losses made to fall, after the fork."""
    from scipy.optimize import isotonic_regression

    curve = run.curve.filter(pl.col("loss").is_finite() & (pl.col("tokens") > 0)).sort("tokens")
    tokens, loss = (curve[name].to_numpy().astype(float) for name in ("tokens", "loss"))
    after = tokens > forked
    if after.sum() < 3 or after.all():
        return None
    log_loss = np.log(loss[after])
    spent = (tokens[after] - forked) / (tokens[-1] - forked)
    smooth = np.asarray(isotonic_regression(log_loss, increasing=False).x)
    return (spent, smooth) if smooth[0] > smooth[-1] else None


def _share_at(log_loss: float, spent: Array, curve: Array) -> float:
    """Share of its tokens after which the smallest batch had that loss.

    A loss below its end is one that it would have reached a little later: the second half of its
    curve is continued, so that luck may show on both sides. 0 for one above all of its curve.
    """
    if log_loss > curve[0]:
        return 0.0
    if log_loss < curve[-1]:
        half = int(np.searchsorted(spent, 0.5))
        slope = (curve[half] - curve[-1]) / np.log(1 / spent[half]) if spent[half] < 1 else 0.0
        return float(np.exp(min((curve[-1] - log_loss) / slope, 1.0))) if slope > 0 else 1.0
    return float(np.exp(np.interp(-log_loss, -curve, np.log(spent))))

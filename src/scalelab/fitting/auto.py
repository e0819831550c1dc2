"""A fit that knows how far it can be trusted beyond its runs: chosen, or checked, by back-test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import FitError, Notice
from scalelab.fitting.backtest import backtest, with_flops
from scalelab.fitting.curve_backtest import curve_backtest, progress_of
from scalelab.fitting.engine import fit
from scalelab.fitting.observations import observe, select
from scalelab.fitting.result import Fit, Reach, tells_compute
from scalelab.fitting.scores import Backtest, Candidate, Score
from scalelab.laws import Law, get_law

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fitting.observations import Observations

WEIGHTS = (
    *("frontier(0.05)", "frontier(0.025)"),
    *("frontier(0.05)*flops^0.5", "frontier(0.025)*flops^0.5"),
)
"""What `fit_auto` weighs runs by. Runs far from the frontier obey other rules (too small to train,
too short to settle) and pull a law off it: without weights the error at eight times the compute was
two to three times as large (benchmarks/extrapolation.py)."""
AUTO_LAWS = ("coupled", "chinchilla")
_HOW = ("estimator", "delta", "raw", "above", "std", "falls")  # of `fit`: where the optimum is
SHRINK = 0.5
"""Part of the rolling cuts' error that is expected at the last one, whose runs are more, larger and
nearer the law (measured: benchmarks/extrapolation.py)."""


def fit_auto(
    table: pl.DataFrame,
    laws: Sequence[Law | str] = AUTO_LAWS,
    *,
    weights: Sequence[str | None] = WEIGHTS,
    **options: Any,
) -> Fit:
    """The law and weighting that predict dearer runs best, fitted to all, with honest intervals.

    Every law under every weighting is back-tested inside the table; the one with the least error
    near the frontier is fitted to all runs, and its error beyond them widens its intervals (see
    `Reach`). options: of `fit`; those that decide the optimum hold for the tests too. Where runs
    are too few to be back-tested the first law and weighting that they allow are taken, and a
    notice says so.
    """
    runs = with_flops(table)
    why = FitError("no law was given to fit.")
    how = {name: options[name] for name in _HOW if name in options}
    named = [get_law(law) if isinstance(law, str) else law for law in laws]
    candidates = [Candidate(law, weight, how) for weight in weights for law in named]
    try:
        tested = backtest(runs, candidates, draws=0, clusters=options.get("clusters", "auto"))
    except FitError as error:
        for one in (*candidates, *(Candidate(law, None, how) for law in named)):
            try:
                model = fit(one.law, runs, weights=one.weights, **options)
            except FitError as refused:  # too few runs, or too few that the weights leave
                why = refused
                continue
            notice = Notice("not-backtested", f"{error} {one} was taken without a test.")
            return noticed(model, notice)
        raise why from None
    for score in sorted(tested.scores.values(), key=lambda score: score.near_error):
        law, weighting = score.candidate.law, score.candidate.weights
        try:
            model = fit(law, runs, weights=weighting, **options)
        except FitError as refused:  # its weights leave too few runs in effect
            why = refused
            continue
        return _with_reach(model, runs, score, tested)
    raise why


def checked(model: Fit, table: pl.DataFrame) -> Fit:
    """The same fit with its own back-test: its record, and intervals that know of its error.

    The back-test minimises what the fit did: its estimator, weights and clusters are taken over.
    table: the one fitted. A law of learning curves (see `curve_backtest`) is tested on curves and
    later parts left out, every other one on runs of more compute. Where the rows are too few to be
    cut, the fit comes back as it was, with a notice.
    """
    if model.law.scale == "linear":
        what = f"{model.law.response} is zero or negative at some runs"
        return noticed(
            model,
            Notice("not-backtested", f"{what}; a back-test compares relative errors."),
        )
    runs = with_flops(table)
    used = model.estimator
    observed = observe(model.law, table, model.intervals.by, used.weights or None, used.std or None)
    curves = model.intervals.clusters < model.runs or "flops" not in runs.columns
    if curves and progress_of(observed) is not None:
        return _checked_on_curves(model, observed)
    how: dict[str, Any] = {
        "estimator": used.name,
        "delta": used.delta if used.name == "huber" else None,
        "raw": used.raw,
        "above": used.above,
        "std": used.std or None,
        "falls": used.falls,
    }
    candidate = Candidate(model.law, used.weights or None, how)
    by = model.intervals.by
    clusters = "auto" if by == "trunk" else by  # below a cut one trunk may be left
    try:
        tested = backtest(runs, [candidate], draws=0, clusters=clusters)
    except FitError as error:
        return noticed(model, Notice("not-backtested", str(error)))
    return _with_reach(model, runs, next(iter(tested.scores.values())), tested)


def _checked_on_curves(model: Fit, observed: Observations) -> Fit:
    warnings = tuple(n for n in model.diagnosis.warnings if n.code != "not-backtested")
    model = replace(model, diagnosis=replace(model.diagnosis, warnings=warnings))
    try:
        tested = curve_backtest(observed, model.estimator, model.theta)
    except FitError as error:
        return noticed(model, Notice("not-backtested", str(error)))
    return replace(model, backtest=tested.to_dict(), reach=tested.reach())


def _with_reach(model: Fit, table: pl.DataFrame, score: Score, tested: Backtest) -> Fit:
    record = tested.to_dict()
    reach = None
    if np.isfinite(score.growth) and tells_compute(model.law):
        # The best of several looks better than it is: half of what all say is in its error.
        every = np.array([other.growth**2 for other in tested.scores.values()])
        growth = SHRINK * float(np.sqrt((score.growth**2 + np.nanmean(every)) / 2))
        runs, _ = select(table)
        flops = runs["flops"].to_numpy()
        per_nd = float("nan")  # where the law has compute itself
        if "flops" not in model.law.inputs:
            per_nd = float(np.exp(np.log(flops / runs["params"] / runs["tokens"]).mean()))
        reach = Reach(float(flops.max()), per_nd, growth)
    return replace(model, backtest=record, reach=reach)


def noticed(model: Fit, *notices: Notice) -> Fit:
    """The same fit with further warnings."""
    warnings = (*model.diagnosis.warnings, *notices)
    return replace(model, diagnosis=replace(model.diagnosis, warnings=warnings))

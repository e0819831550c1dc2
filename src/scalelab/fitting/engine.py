"""One function: a law and a table of runs in, a fit out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scalelab.errors import SpecError
from scalelab.fitting.curve_backtest import notices
from scalelab.fitting.diagnosis import diagnose
from scalelab.fitting.estimator import EstimatorName, choose_estimator, optimise
from scalelab.fitting.intervals import Method, choose_intervals, draw
from scalelab.fitting.judge import judge, outside
from scalelab.fitting.observations import observe
from scalelab.fitting.profile import profile as profiled
from scalelab.fitting.result import Fit, check_level
from scalelab.fitting.search import settle
from scalelab.laws import Law, get_law

if TYPE_CHECKING:
    import polars as pl


def fit(
    law: Law | str,
    table: pl.DataFrame,
    *,
    estimator: EstimatorName = "auto",
    delta: float | None = None,
    raw: bool = False,
    above: float = 1.0,
    weights: str | None = None,
    std: str | None = None,
    falls: float = 0.0,
    clusters: str = "auto",
    intervals: Method = "auto",
    profile: bool = False,
    draws: int = 1000,
    level: float = 0.9,
    conventions: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a law to the finished runs of a table that are not held out.

    law: an object or a name of the registry. table: columns named by the law's inputs, and its
    response (``loss``); optionally ``run``, ``status``, ``held_out``, ``trunk``.

    What is minimised:

    - estimator: ``huber``, the sum of Huber(delta) of log-loss residuals, delta .001 unless given;
      ``least-squares``; ``shared-noise`` (see `Estimator`); ``auto`` is shared-noise for fewer than
      20 clusters with several runs each, as in a ladder of trunks, else huber, and huber where
      delta or one of the next three is given.
    - raw: residuals of the loss, not of its logarithm. above: penalty of a run above the law over
      that of one below.
    - weights: a column, a power of one (``flops^0.5``), ``frontier(S)``, which is exp(-excess / S)
      with the log loss above the best run of no more compute, or a product of these: how much each
      run counts. std: a column with the standard deviation of each loss, by which residuals are
      divided, so that least squares weighs runs by 1/std^2 and Huber's delta is the same number of
      standard deviations for all. falls: of shared-noise: noise falls with size as N^-falls.

    What the intervals are:

    - clusters: the column whose equal values are not independent; ``auto`` is ``trunk`` or
      ``curve`` where there is one, else every run for itself.
    - intervals: ``pairs`` (bootstrap of clusters), ``wild``, ``components`` (drawn noise of both
      kinds); ``auto`` is pairs where clusters are many (20; for
      least squares 8 a parameter), else components. draws: how many refits.
      profile: those of the parameters from their profile likelihood instead.
    - level: of the intervals shown. seed: of the draws: the same seed and rows give the same bits.

    conventions: how each input was counted, recorded with the fit.

    Rows that share a cluster along training are points of curves: `checked` tests the law on curves
    that it has not seen, and until then the fit says that it was not.

    Returns the Fit; its `diagnosis` holds what to know before it is trusted. Raises FitError when
    the runs cannot be fitted by that law, and SpecError for an option that does not exist or that
    the estimator has no use for.
    """
    law = get_law(law) if isinstance(law, str) else law
    check_level(level)
    if seed < 0:
        raise SpecError(f"seed is {seed}; a whole number of at least 0 is expected.")
    observed = settle(observe(law, table, clusters, weights, std))
    law = observed.law
    how = choose_estimator(
        estimator,
        observed,
        delta=delta,
        raw=raw,
        above=above,
        weights=weights,
        std=std,
        falls=falls,
    )
    optimum = optimise(observed, how)
    method = choose_intervals(intervals, draws, observed, how, optimum)
    drawn = draw(observed, how, optimum, method, np.random.default_rng([seed, 0]))
    ends = np.quantile(drawn.theta, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    exponents = {p.name: ends[:, j] for j, p in enumerate(law.parameters) if p.exponent}
    diagnosis = diagnose(observed, optimum, how, method, exponents)
    doubts = (*judge(observed, optimum), *outside(law, optimum.theta, ends))
    warnings = (*doubts, *diagnosis.warnings, *notices(observed))
    diagnosis = replace(diagnosis, warnings=warnings)
    return Fit(
        law=law,
        theta=optimum.theta,
        draw_theta=drawn.theta,
        noise=optimum.noise.estimate,
        draw_noise=drawn.noise,
        objective=optimum.value,
        runs=len(observed.target),
        left_out=observed.left_out,
        estimator=how,
        intervals=method,
        level=level,
        ranges=observed.ranges,
        conventions=dict(conventions or {}),
        diagnosis=diagnosis,
        fingerprint=observed.fingerprint,
        seed=seed,
        rows=observed.rows,
        profile=profiled(observed, how, optimum, level) if profile else {},
    )

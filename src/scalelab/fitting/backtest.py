"""Which law predicts: each is fitted to the cheap runs and judged by the dear ones.

A cut divides the runs by compute. Runs below it are fitted, runs up to `ratio` times above it are
predicted, and the cut rolls down while enough is left to fit. In-sample error says little about
this: .25% inside was 3.8% outside in published fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import FitError, Notice, SpecError
from scalelab.fitting.engine import fit
from scalelab.fitting.estimator import (
    choose_estimator,
    effective,
    importance,
    optimise,
    without_outliers,
)
from scalelab.fitting.observations import frontier_excess, observe, select
from scalelab.fitting.result import RATIO, check_level
from scalelab.fitting.scores import NEAR, Backtest, Candidate, Score
from scalelab.fitting.search import settled
from scalelab.laws import Array, Law, get_law

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from scalelab.fitting.estimator import Estimator, Optimum
    from scalelab.fitting.observations import Observations

ROLLS = (1.0, 2.0, 4.0, 8.0)
"""Cuts, as divisors of the highest: the largest compute over RATIO."""
_SPARE = 4  # runs beyond the number of parameters that a cut must leave to fit
_LEVELS = 3  # values of each input that a cut must leave
_MOST_FOLDS = 24
_THIN = 4  # one start in so many


def backtest(
    table: pl.DataFrame,
    laws: Sequence[Law | str | Candidate] = ("chinchilla", "coupled", "kaplan"),
    *,
    ratio: float = RATIO,
    cuts: Sequence[float] | None = None,
    level: float = 0.9,
    draws: int = 200,
    clusters: str = "auto",
    seed: int = 0,
) -> Backtest:
    """Fit every law below a cut in compute, predict the runs above it, and count.

    table: finished runs with the laws' inputs, flops and loss. laws: names, objects, or candidates
    with weights and other options of `fit`. ratio: how far above the cut runs are predicted. cuts:
    in FLOP; by default the largest compute over `ratio`, and that over 2, 4 and 8 while enough runs
    are left. level: of the intervals for a new run, whose coverage is counted; draws: refits for
    them, 0 for none.

    All are judged on the same runs: those above the cuts at which every candidate had an answer. A
    candidate without one at the highest cut that any could answer is out of the comparison and
    stands last; notices say which cuts were left out, and why.

    Raises FitError when the runs do not span enough compute for one cut.
    """
    if not 1 < ratio < np.inf:
        raise SpecError(f"ratio is {ratio}; runs are predicted above the cut, so more than 1.")
    check_level(level)
    runs, _ = select(with_flops(table))
    candidates = [
        replace(c, law=settled(c.law, runs, clusters, c.weights))
        for c in (c if isinstance(c, Candidate) else Candidate(_law(c)) for c in laws)
    ]
    if not candidates:
        raise FitError("no law was given to test.")
    labels = [str(candidate) for candidate in candidates]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise SpecError(
            f"{twice[0]} is given twice; give each law once, or laws names of their own."
        )
    columns = (name for c in candidates for name in (*c.law.inputs, c.law.response))
    needed = sorted({"flops", *columns})
    if missing := [name for name in needed if name not in runs.columns]:
        why = " It fits the runs of low compute and predicts those of high compute."
        raise FitError(
            f"a back-test needs the column {missing[0]}, and the table has none."
            + (why if missing[0] == "flops" else "")
        )
    if signed := [c.law for c in candidates if c.law.scale == "linear"]:
        raise FitError(
            f"{signed[0].response} is zero or negative at some runs; a back-test compares relative "
            "errors, which such a response does not have."
        )
    places = _cuts(runs, candidates, cuts, ratio)
    options = {"clusters": clusters, "draws": draws, "level": level, "seed": seed}
    answers = [
        [_answer(runs, candidate, cut, ratio, options) for cut in places]
        for candidate in candidates
    ]
    compared, judged, notices = _comparable(candidates, answers, places)
    scores = {
        str(candidate): _score(
            candidate,
            [answer for answer, kept in zip(own, compared, strict=True) if kept and fair],
            [answer for answer in own if isinstance(answer, str)],
            level,
            _inside(runs, candidate, clusters) if draws else (float("nan"), float("nan")),
        )
        for candidate, own, fair in zip(candidates, answers, judged, strict=True)
    }
    ordered = sorted(
        scores.items(), key=lambda item: np.nan_to_num(item[1].mean_abs_rel_error, nan=np.inf)
    )
    used = tuple(cut for cut, kept in zip(places, compared, strict=True) if kept)
    return Backtest(dict(ordered), used, ratio, notices)


def with_flops(table: pl.DataFrame) -> pl.DataFrame:
    """The table with compute: where it has none, 6 N D."""
    if "flops" in table.columns or not {"params", "tokens"} <= set(table.columns):
        return table
    return table.with_columns((6.0 * table["params"] * table["tokens"]).alias("flops"))


def split(runs: pl.DataFrame, cut: float, ratio: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs below a cut in compute, and those from it up to `ratio` times it."""
    flops = runs["flops"]
    edge = cut * (1 - 1e-9)
    return runs.filter(flops < edge), runs.filter((flops >= edge) & (flops <= cut * ratio * 1.001))


def _cuts(
    runs: pl.DataFrame,
    candidates: Sequence[Candidate],
    asked: Sequence[float] | None,
    ratio: float,
) -> list[float]:
    """The cuts that leave runs above, and below enough for one candidate at least."""
    known = runs["flops"].drop_nulls()
    if known.is_empty():
        raise FitError("no finished run has flops, by which a back-test cuts. Add N and D, or C.")
    lowest, highest = (float(end) for end in (known.min(), known.max()))  # type: ignore[arg-type]
    used = []
    for cut in asked or [highest / ratio / r for r in ROLLS]:
        below, above = split(runs, cut, ratio)
        if len(above) and any(_enough(c.law, below) for c in candidates):
            used.append(cut)
    if not used and asked:
        raise FitError(
            f"no cut of {', '.join(f'{cut:.2e}' for cut in asked)} FLOP leaves enough runs on both "
            f"sides: {len(runs)} runs lie between {lowest:.2e} and {highest:.2e} FLOP."
        )
    if not used:
        raise FitError(
            f"{len(runs)} runs up to {highest:.2e} FLOP leave too few below a {ratio:g}th of that "
            "to fit. Add cheaper runs, or choose a smaller ratio."
        )
    return used


# --- one candidate at one cut ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    """What a candidate said of the runs above a cut, (n,) each: see `Score`."""

    errors: Array
    reach: Array
    inside: Array
    near: NDArray[np.bool_]


def _answer(
    runs: pl.DataFrame, candidate: Candidate, cut: float, ratio: float, options: Mapping[str, Any]
) -> _Answer | str:
    """The answer, or why there is none."""
    law = candidate.law
    below, above = split(runs, cut, ratio)
    place = f"below {cut:.2e} FLOP: "
    if not _enough(law, below):
        return (
            f"{place}{len(below)} runs are too few for {len(law.parameters)} parameters, or have "
            f"fewer than {_LEVELS} values of {' or '.join(law.inputs)}"
        )
    asked: dict[str, Any] = {name: above[name].to_list() for name in law.inputs}
    measured = above[law.response].to_numpy()
    inside: Array = np.empty(0)
    try:
        if options["draws"]:
            model = fit(law, below, weights=candidate.weights, **candidate.how, **options)
            told = model.predict(level=options["level"], new_run=True, **asked)
            value = told.value
            inside = ((measured >= told.low) & (measured <= told.high)).astype(float)
        else:
            value = np.exp(_point(candidate, below, options["clusters"], asked))
    except FitError as error:
        return f"{place}{error}"
    if not (np.isfinite(value) & (value > 0)).all():
        return f"{place}the law gives no {law.response} at the runs above"
    return _Answer(
        np.log(value / measured),
        above["flops"].to_numpy() / float(below["flops"].max()),  # type: ignore[arg-type]
        inside,
        _near(law, above),
    )


def _near(law: Law, above: pl.DataFrame) -> NDArray[np.bool_]:
    """Which runs are near the frontier; all of them where the response is no loss."""
    if law.response != "loss":
        return np.ones(len(above), dtype=bool)
    return frontier_excess(above["flops"].to_numpy(), above["loss"].to_numpy()) < NEAR


def _comparable(
    candidates: Sequence[Candidate], answers: Sequence[Sequence[_Answer | str]], cuts: list[float]
) -> tuple[list[bool], list[bool], tuple[Notice, ...]]:
    """Which cuts count, which candidates are judged there, and what to say of the others."""
    answered = np.array([[not isinstance(one, str) for one in own] for own in answers])
    if not answered.any():
        return [True] * len(cuts), [False] * len(candidates), ()
    highest = max(np.flatnonzero(answered.any(axis=0)), key=lambda i: cuts[i])
    judged = answered[:, highest]
    compared = answered[judged].all(axis=0)
    notices = []
    for candidate, fair, own in zip(candidates, judged, answers, strict=True):
        if not fair and any(not isinstance(one, str) for one in own):
            notices.append(
                Notice(
                    "not-compared",
                    f"{candidate} has no answer at the highest cut and is out of the comparison.",
                )
            )
    lost = np.flatnonzero(answered[judged].any(axis=0) & ~compared)
    if len(lost):
        why = next(
            f"{candidate}, {own[lost[0]]}"
            for candidate, fair, own in zip(candidates, judged, answers, strict=True)
            if fair and isinstance(own[lost[0]], str)
        )
        notices.append(
            Notice(
                "cuts-left-out",
                f"{len(lost)} of {len(cuts)} cuts are left out, that all may be judged on the same "
                f"runs ({why}).",
            )
        )
    return compared.tolist(), judged.tolist(), tuple(notices)


def _score(
    candidate: Candidate,
    answers: Sequence[_Answer | str],
    failed: Sequence[str],
    level: float,
    inside: tuple[float, float],
) -> Score:
    good = [answer for answer in answers if isinstance(answer, _Answer)]
    errors, reach, held, near = (
        np.concatenate([np.empty(0), *(getattr(answer, name) for answer in good)])
        for name in ("errors", "reach", "inside", "near")
    )
    return Score(
        candidate,
        errors,
        reach,
        held,
        near.astype(bool),
        level,
        len(good),
        tuple(failed),
        *inside,
    )


# --- inside the runs ------------------------------------------------------------------------------


def _inside(runs: pl.DataFrame, candidate: Candidate, clusters: str) -> tuple[float, float]:
    """AICc of the fit to all runs, and the error of leaving one size out at a time.

    AICc = n ln(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1) of log-loss residuals under their
    weights, n the runs in effect, k the parameters and the noise (Hurvich and Tsai 1989). Of a
    Huber fit residuals are cut as for its noise: one run far off would else decide alone. It has
    none where runs share a cluster: it counts independent runs, and to count those of a trunk as
    such favours the law with more parameters; nor under shared noise, whose restricted likelihood
    compares no two laws.
    """
    law = candidate.law
    try:
        observed, estimator, best = _optimum(candidate, runs, clusters)
    except FitError:
        return float("nan"), float("nan")
    aicc = _aicc(observed, estimator, best)
    by = "params" if "params" in law.inputs else law.inputs[0]
    levels = runs[by].unique().sort().to_list()
    if not 3 < len(levels) <= _MOST_FOLDS:
        return aicc, float("nan")
    errors = []
    for level in levels:
        rest, out = runs.filter(runs[by] != level), runs.filter(runs[by] == level)
        if not _enough(law, rest):
            return aicc, float("nan")
        asked = {name: out[name].to_list() for name in law.inputs}
        try:
            told = _point(candidate, rest, clusters, asked, near=best.theta)
        except FitError:
            return aicc, float("nan")
        errors.append(np.abs(np.expm1(told - np.log(out[law.response].to_numpy()))))
    return aicc, float(np.concatenate(errors).mean())


def _aicc(observed: Observations, estimator: Estimator, best: Optimum) -> float:
    counts = importance(observed)
    n, k = effective(counts), len(best.theta) + 1
    independent = observed.cluster_count == len(observed.target)
    if estimator.name == "shared-noise" or not independent or n <= k + 1:
        return float("nan")
    residual = best.residual / best.spread
    if estimator.name == "huber":
        residual = without_outliers(residual, counts, len(best.theta))
    mean_square = float(np.average(residual**2, weights=counts))
    if mean_square == 0:
        return float("nan")
    return float(n * np.log(mean_square) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _optimum(
    candidate: Candidate, runs: pl.DataFrame, clusters: str, near: Array | None = None
) -> tuple[Observations, Estimator, Optimum]:
    """The fit alone, without intervals, by the estimator that `fit` would take.

    near: the optimum of all runs, from which the search for that of most of them goes down.
    """
    how = dict(candidate.how)
    std, name = how.pop("std", None), how.pop("estimator", "auto")
    observed = observe(candidate.law, runs, clusters, candidate.weights, std)
    estimator = choose_estimator(name, observed, weights=candidate.weights, std=std, **how)
    return observed, estimator, optimise(observed, estimator, thin=_THIN, near=near)


def _point(
    candidate: Candidate,
    below: pl.DataFrame,
    clusters: str,
    asked: Mapping[str, Any],
    near: Array | None = None,
) -> Array:
    """Predicted log losses. near: see `_optimum`."""
    _, _, best = _optimum(candidate, below, clusters, near)
    return np.asarray(
        candidate.law.log_value(best.theta[None], candidate.law.log_inputs(asked)[0])[0]
    )


def _enough(law: Law, below: pl.DataFrame) -> bool:
    return len(below) >= len(law.parameters) + _SPARE and all(
        below[name].n_unique() >= _LEVELS for name in law.inputs
    )


def _law(law: Law | str) -> Law:
    return get_law(law) if isinstance(law, str) else law

"""Which law predicts: each is fitted to the cheap runs and judged by the dear ones.

A cut divides the runs by compute. Runs below it are fitted, runs up to `RATIO` times above it are
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
from scalelab.fitting.estimator import Estimator, optimise
from scalelab.fitting.observations import frontier_excess, observe, select
from scalelab.fitting.result import RATIO, Fit, Reach
from scalelab.laws import Array, Law, get_law

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

ROLLS = (1.0, 2.0, 4.0, 8.0)
"""Cuts, as divisors of the highest: the largest compute over RATIO."""
NEAR = 0.1
"""Log loss above the best run of no more compute within which a run is near the frontier."""
WEIGHTS = (
    *("frontier(0.05)", "frontier(0.025)"),
    *("frontier(0.05)*flops^0.5", "frontier(0.025)*flops^0.5"),
)
"""What `fit_auto` weighs runs by. Runs far from the frontier obey other rules (too small to train,
too short to settle) and pull a law off it: without weights the error at eight times the compute was
two to three times as large (benchmarks/extrapolation.py)."""
AUTO_LAWS = ("coupled", "chinchilla")
SHRINK = 0.5
"""Part of the rolling cuts' error that is expected at the last one, whose runs are more, larger and
nearer the law (measured: benchmarks/extrapolation.py)."""
_SPARE = 4  # runs beyond the number of parameters that a cut must leave to fit
_LEVELS = 3  # values of each input that a cut must leave


@dataclass(frozen=True)
class Candidate:
    """A law and how its runs are weighed."""

    law: Law
    weights: str | None = None

    def __str__(self) -> str:
        """As people read it."""
        return self.law.name + (f" weighted by {self.weights}" if self.weights else "")


@dataclass(frozen=True)
class Score:
    """How one candidate predicted. errors: (n,) log of predicted over measured loss, all cuts.

    reach: (n,) how many times the compute of the dearest run fitted. inside: (n,) whether the
    interval held the run, empty where none was asked for. near: (n,) whether the run is within NEAR
    of the best of its compute: what a big run will be. failed: cuts at which it had no answer.
    aicc: Akaike's criterion of the fit to all runs, corrected for few (comparable between laws
    under one weighting). left_out: mean relative error of each size, from a fit without it.
    """

    candidate: Candidate
    errors: Array
    reach: Array
    inside: Array
    near: NDArray[np.bool_]
    level: float
    cuts: int
    failed: tuple[str, ...] = ()
    aicc: float = float("nan")
    left_out: float = float("nan")

    @property
    def mean_abs_rel_error(self) -> float:
        """Mean of |predicted / measured - 1|."""
        return float(np.abs(np.expm1(self.errors)).mean()) if len(self.errors) else float("nan")

    @property
    def bias(self) -> float:
        """Mean of predicted / measured - 1: above zero, too pessimistic."""
        return float(np.expm1(self.errors).mean()) if len(self.errors) else float("nan")

    @property
    def near_error(self) -> float:
        """Mean of |log predicted / measured| near the frontier, infinite without runs there."""
        return float(np.abs(self.errors[self.near]).mean()) if self.near.any() else float("inf")

    @property
    def growth(self) -> float:
        """Standard deviation of the log error at RATIO times the compute fitted.

        From the runs near the frontier, under an error that grows with the logarithm of the factor.
        nan when no run lies beyond the fit.
        """
        factor = np.log(self.reach) / np.log(RATIO)
        used = self.near & (factor > 0.05)
        if not used.any():
            return float("nan")
        return float(np.sqrt((self.errors[used] ** 2).sum() / (factor[used] ** 2).sum()))

    @property
    def coverage(self) -> float | None:
        """Share of runs inside their interval."""
        return float(self.inside.mean()) if len(self.inside) else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mean_abs_rel_error": _finite(self.mean_abs_rel_error),
            "bias": _finite(self.bias),
            "coverage": self.coverage,
            "level": self.level,
            "held_out": len(self.errors),
            "cuts": self.cuts,
            "weights": self.candidate.weights,
            "failed": list(self.failed),
            "aicc": _finite(self.aicc),
            "leave_one_out_error": _finite(self.left_out),
        }


@dataclass(frozen=True)
class Backtest:
    """Scores by name, best first. cuts: compute below which runs were fitted."""

    scores: Mapping[str, Score]
    cuts: tuple[float, ...]
    notices: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer of ``scalelab backtest --json``."""
        return {
            "laws": {name: score.to_dict() for name, score in self.scores.items()},
            "cuts": list(self.cuts),
            "warnings": [{"code": n.code, "message": n.message} for n in self.notices],
        }

    def summary(self) -> str:
        """For a person at a terminal."""
        from scalelab.units import format_flop

        width = max(len(name) for name in self.scores)
        lines = [
            "fitted below, predicted up to 8 times above: "
            + ", ".join(format_flop(cut) for cut in self.cuts),
            f"{'law':<{width}}  mean error     bias  in interval  runs  one size out      AICc",
        ]
        for name, score in self.scores.items():
            if not len(score.errors):
                lines.append(f"{name:<{width}}  {score.failed[0] if score.failed else 'no run'}")
                continue
            held = "" if score.coverage is None else f"{score.coverage:.0%} of {score.level:.0%}"
            lines.append(
                f"{name:<{width}}  {score.mean_abs_rel_error:>10.2%} {score.bias:>+8.2%}"
                f"  {held:>11}  {len(score.errors):>4}  {_shown(score.left_out, '.2%'):>12}"
                f"  {_shown(score.aicc, '.1f'):>8}"
            )
        return "\n".join([*lines, *(f"! {notice}" for notice in self.notices)])


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
    with weights. ratio: how far above the cut runs are predicted. cuts: in FLOP; by default the
    largest compute over `ratio`, and that over 2, 4 and 8 while enough runs are left. level: of the
    intervals for a new run, whose coverage is counted; draws: refits for them, 0 for none.

    Raises FitError when the runs do not span enough compute for one cut.
    """
    if not 1 < ratio < np.inf:
        raise SpecError(f"ratio is {ratio}; runs are predicted above the cut, so more than 1.")
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; it is a probability such as .9.")
    runs, _ = select(with_flops(table))
    candidates = [c if isinstance(c, Candidate) else Candidate(_law(c)) for c in laws]
    columns = (name for c in candidates for name in (*c.law.inputs, c.law.response))
    needed = sorted({"flops", "loss", *columns})
    if missing := [name for name in needed if name not in runs.columns]:
        raise FitError(
            f"a back-test needs the columns {', '.join(needed)}; {missing[0]} is missing."
        )
    places = list(cuts) if cuts else [float(runs["flops"].max()) / ratio / r for r in ROLLS]  # type: ignore[arg-type]
    scores, used = {}, []
    for cut in places:
        below, above = split(runs, cut, ratio)
        if len(above) and any(_enough(c.law, below) for c in candidates):
            used.append(cut)
    if not candidates:
        raise FitError("no law was given to test.")
    if not used and cuts:
        raise FitError(
            f"no cut of {', '.join(f'{cut:.2e}' for cut in cuts)} FLOP leaves enough runs on both "
            f"sides: {len(runs)} runs lie between {float(runs['flops'].min()):.2e} and "  # type: ignore[arg-type]
            f"{float(runs['flops'].max()):.2e} FLOP."  # type: ignore[arg-type]
        )
    if not used:
        raise FitError(
            f"{len(runs)} runs up to {float(runs['flops'].max()):.2e} FLOP leave too few below a "  # type: ignore[arg-type]
            f"{ratio:g}th of that to fit. Add cheaper runs, or choose a smaller ratio."
        )
    for candidate in candidates:
        scores[str(candidate)] = _score(runs, candidate, used, ratio, level, draws, clusters, seed)
    ordered = sorted(
        scores.items(), key=lambda item: np.nan_to_num(item[1].mean_abs_rel_error, nan=np.inf)
    )
    return Backtest(dict(ordered), tuple(used))


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
    `Reach`). options: of `fit`. Where runs are too few to be back-tested the first law and
    weighting that they allow are taken, and a notice says so.
    """
    runs = with_flops(table)
    why = FitError("no law was given to fit.")
    candidates = [Candidate(_law(law), weight) for weight in weights for law in laws]
    try:
        tested = backtest(runs, candidates, draws=0, clusters=options.get("clusters", "auto"))
    except FitError as error:
        for one in (*candidates, *(Candidate(_law(law)) for law in laws)):
            try:
                model = fit(one.law, runs, weights=one.weights, **options)
            except FitError as refused:  # too few runs, or too few that the weights leave
                why = refused
                continue
            notice = Notice("not-backtested", f"{error} {one} was taken without a test.")
            return _noticed(model, notice)
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

    table: the one fitted. Where its runs are too few to be cut, the fit comes back as it was, with
    a notice.
    """
    runs = with_flops(table)
    weights = model.estimator.weights or None
    if weights and weights.startswith("1/"):  # 1/std^2: the error of a logarithm is relative
        weights = f"{weights[2:-2]}^-2*{model.law.response}^2"
    candidate = Candidate(model.law, weights)
    try:
        tested = backtest(runs, [candidate], draws=0)
    except FitError as error:
        return _noticed(model, Notice("not-backtested", str(error)))
    return _with_reach(model, runs, next(iter(tested.scores.values())), tested)


def with_flops(table: pl.DataFrame) -> pl.DataFrame:
    """The table with compute: where it has none, 6 N D."""
    if "flops" in table.columns or not {"params", "tokens"} <= set(table.columns):
        return table
    return table.with_columns((6.0 * table["params"] * table["tokens"]).alias("flops"))


def _with_reach(model: Fit, table: pl.DataFrame, score: Score, tested: Backtest) -> Fit:
    runs, _ = select(table)
    record = tested.to_dict()
    reach = None
    if np.isfinite(score.growth):
        # The best of several looks better than it is: half of what all say is in its error.
        every = np.array([other.growth**2 for other in tested.scores.values()])
        growth = SHRINK * float(np.sqrt((score.growth**2 + np.nanmean(every)) / 2))
        flops = runs["flops"].to_numpy()
        per_nd = (
            float(np.exp(np.log(flops / runs["params"] / runs["tokens"]).mean()))
            if {"params", "tokens"} <= set(runs.columns)
            else float("nan")
        )
        reach = Reach(float(flops.max()), per_nd, growth)
    return replace(model, backtest=record, reach=reach)


def _noticed(model: Fit, notice: Notice) -> Fit:
    warnings = (*model.diagnosis.warnings, notice)
    return replace(model, diagnosis=replace(model.diagnosis, warnings=warnings))


def split(runs: pl.DataFrame, cut: float, ratio: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs below a cut in compute, and those from it up to `ratio` times it."""
    flops = runs["flops"]
    edge = cut * (1 - 1e-9)
    return runs.filter(flops < edge), runs.filter((flops >= edge) & (flops <= cut * ratio * 1.001))


def _score(
    runs: pl.DataFrame,
    candidate: Candidate,
    cuts: Sequence[float],
    ratio: float,
    level: float,
    draws: int,
    clusters: str,
    seed: int,
) -> Score:
    law = candidate.law
    errors, reach, inside, near, failed = [], [], [], [], []
    for cut in cuts:
        below, above = split(runs, cut, ratio)
        if not _enough(law, below):
            continue
        asked = {name: above[name].to_numpy() for name in law.inputs}
        measured = above[law.response].to_numpy()
        try:
            if draws:
                model = fit(
                    law, below, weights=candidate.weights, clusters=clusters, draws=draws,
                    level=level, seed=seed,
                )  # fmt: skip
                told = model.predict(level=level, new_run=True, **asked)
                value = told.value
                inside.append((measured >= told.low) & (measured <= told.high))
            else:
                value = np.exp(_point(candidate, below, clusters, asked))
        except FitError as error:
            failed.append(f"below {cut:.2e} FLOP: {error}")
            continue
        errors.append(np.log(value / measured))
        reach.append(above["flops"].to_numpy() / float(below["flops"].max()))  # type: ignore[arg-type]
        near.append(frontier_excess(above["flops"].to_numpy(), above["loss"].to_numpy()) < NEAR)
    aicc, left_out = _inside(runs, candidate, clusters) if draws else (float("nan"), float("nan"))
    return Score(
        candidate,
        _joined(errors),
        _joined(reach),
        _joined(inside),
        _joined(near).astype(bool),
        level,
        len(errors),
        tuple(failed),
        aicc,
        left_out,
    )


_MOST_FOLDS = 24


def _inside(runs: pl.DataFrame, candidate: Candidate, clusters: str) -> tuple[float, float]:
    """AICc of the fit to all runs, and the error of leaving one size out at a time.

    AICc = n ln(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1) of log-loss residuals under their
    weights, k the parameters and the noise (Hurvich and Tsai 1989).
    """
    law = candidate.law
    try:
        observed = observe(law, runs, clusters, candidate.weights)
    except FitError:
        return float("nan"), float("nan")
    best = optimise(observed, Estimator("huber"), thin=4)
    n, k = len(observed.target), len(law.parameters) + 1
    squares = float((observed.weights * best.residual**2).sum())
    aicc = float("nan")
    if n > k + 1 and squares > 0:
        aicc = n * np.log(squares / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    by = "params" if "params" in law.inputs else law.inputs[0]
    levels = runs[by].unique().sort().to_list()
    if not 3 < len(levels) <= _MOST_FOLDS:
        return aicc, float("nan")
    errors = []
    for level in levels:
        rest, out = runs.filter(runs[by] != level), runs.filter(runs[by] == level)
        if not _enough(law, rest):
            return aicc, float("nan")
        asked = {name: out[name].to_numpy() for name in law.inputs}
        told = _point(candidate, rest, clusters, asked)
        errors.append(np.abs(np.expm1(told - np.log(out[law.response].to_numpy()))))
    return aicc, float(np.concatenate(errors).mean())


def _joined(parts: Sequence[Array | NDArray[np.bool_]]) -> Array:
    return np.concatenate(parts).astype(float) if parts else np.empty(0)


def _point(
    candidate: Candidate, below: pl.DataFrame, clusters: str, asked: Mapping[str, Array]
) -> Array:
    """Predicted log losses of the fit alone, without intervals."""
    observed = observe(candidate.law, below, clusters, candidate.weights)
    best = optimise(observed, Estimator("huber"), thin=4)
    return np.asarray(
        candidate.law.log_value(best.theta[None], candidate.law.log_inputs(asked)[0])[0]
    )


def _enough(law: Law, below: pl.DataFrame) -> bool:
    return len(below) >= len(law.parameters) + _SPARE and all(
        below[name].n_unique() >= _LEVELS for name in law.inputs
    )


def _law(law: Law | str) -> Law:
    return get_law(law) if isinstance(law, str) else law


def _shown(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

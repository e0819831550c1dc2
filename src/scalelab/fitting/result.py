"""A fit: an immutable object that predicts and explains itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.errors import Notice, SpecError
from scalelab.fitting.diagnosis import CURVE_EXTRAPOLATION, EXTRAPOLATION, Diagnosis
from scalelab.fitting.estimator import Estimator
from scalelab.fitting.intervals import Intervals
from scalelab.laws import Array, Law, Parameter
from scalelab.units import finite, format_estimate

RATIO = 8.0
"""How far beyond the runs fitted a back-test predicts, in compute."""
PROGRESS = ("lr_sum", "step", "steps", "steps_min", "tokens", "examples")
"""Columns that grow along training."""
FALLS = ("annealing", "lr_drops")
"""Columns that say how far the rate has fallen."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. low, high: infinite where the runs set no end.

    stderr: half the width of the central 68% of the draws.
    """

    value: float
    low: float
    high: float
    level: float
    stderr: float = float("nan")

    def __str__(self) -> str:
        """Rounded by its own interval."""
        return format_estimate(self.value, self.low, self.high)

    def to_dict(self) -> dict[str, float | None]:
        """For JSON: value, low, high, level and stderr; what is not finite is None."""
        found: dict[str, float | None] = finite(vars(self))
        return found


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted losses in nats per token: value, low and high, arrays of one shape.

    extrapolation: for each input, the largest factor beyond the fitted range (1 inside it).
    """

    value: Array
    low: Array
    high: Array
    level: float
    extrapolation: Mapping[str, float]
    notices: tuple[Notice, ...] = ()

    def estimate(self, index: int = 0) -> Estimate:
        """One of the predictions (counted over the flat array) as an Estimate."""
        low, high = float(self.low.flat[index]), float(self.high.flat[index])
        from statistics import NormalDist

        half = NormalDist().inv_cdf(0.5 + self.level / 2)
        stderr = (high - low) / 2 / half
        return Estimate(float(self.value.flat[index]), low, high, self.level, stderr)


@dataclass(frozen=True)
class Reach:
    """How a law's error grew beyond its runs, measured by its back-test.

    flops: largest compute fitted. per_nd: C over N D of the runs, nan for a law that has C among
    its inputs. error: standard deviation of the log loss at `RATIO` times that compute; it grows
    with the logarithm of the factor.
    """

    flops: float
    per_nd: float
    error: float

    def at(self, flops: Array) -> Array:
        """Standard deviation at a compute, (n,): zero inside the runs."""
        return np.asarray(self.error * np.maximum(0.0, np.log(flops / self.flops)) / np.log(RATIO))


@dataclass(frozen=True)
class CurveReach:
    """How a law of learning curves erred where it had not seen them, measured by its back-test.

    progress: the input that grows along training. fall: the input that says how far the rate has
    fallen, empty where the law has none. frontier: pairs of fall and log progress of the fitted
    points that no other one exceeds in both. lowest: smallest log progress fitted. new: standard
    deviation of the log loss on a curve that was not fitted. growth: what an e-fold beyond the data
    adds, in quadrature.
    """

    progress: str
    fall: str
    frontier: tuple[tuple[float, float], ...]
    lowest: float
    new: float
    growth: float

    @staticmethod
    def of(
        progress: str, fall: str, points: tuple[Array, Array], new: float, growth: float
    ) -> CurveReach:
        """points: log progress and fall of the points fitted, (n,) each."""
        frontier: list[tuple[float, float]] = []
        x, fallen = points
        for i in np.lexsort((fallen, x))[::-1]:
            if not frontier or fallen[i] > frontier[-1][0]:
                frontier.append((float(fallen[i]), float(x[i])))
        return CurveReach(progress, fall, tuple(frontier), float(x.min()), new, growth)

    def factor(self, named: Mapping[str, Array]) -> Array:
        """How many times beyond the data points are, (n,), 1 inside. named: inputs of the law."""
        fallen, x = np.array(self.frontier).T
        fell = fall_of(named, self.fall, len(named[self.progress]))
        return np.exp(beyond(named[self.progress], fell, x, fallen, self.lowest))

    def at(self, named: Mapping[str, Array]) -> Array:
        """Standard deviation of the log loss, (n,).

        The same inside the data: nothing in a prediction's inputs says that its curve was fitted.
        """
        return np.asarray(np.hypot(self.new, self.growth * np.log(self.factor(named))))


def fall_of(named: Mapping[str, Array], fall: str, count: int) -> Array:
    """How far the rate has fallen at each point, (count,); zeros where no input says it."""
    if not fall:
        return np.zeros(count)
    values = named[fall].reshape(count, -1)  # a list of falls, or a sum
    return np.asarray(values.sum(axis=1))


def beyond(x: Array, fall: Array, seen: Array, seen_fall: Array, lowest: float) -> Array:
    """Log factor (n,) of a progress over the largest seen at which the rate had fallen as far.

    As far: at least half as far (assumed). What falls of the rate are worth late in training shows
    only in curves that had them late: a long curve at constant rate says nothing of it. Where no
    point had such a fall, over the lowest. x, seen: log progress.
    """
    alike = seen_fall >= 0.5 * fall[:, None]
    highest = np.where(alike, seen, lowest).max(axis=1)
    return np.asarray(np.maximum(0.0, x - highest))


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to a run table.

    law: what was fitted. theta: coordinates (p,), draw_theta: draws of them (k, p), in the units
    of the table and at full precision. noise: standard deviations of log loss that a trunk shares
    and that each run adds, at the largest size fitted (see `Estimator.falls`); draw_noise: draws
    of them (k, 2). objective: its value. runs: how many were fitted. left_out: reason -> how many
    rows were not. estimator, intervals: how. level: of the intervals shown. ranges: input ->
    lowest, highest, levels. conventions: how the inputs were counted, as the caller said.
    diagnosis: read it first. fingerprint: SHA-256 of the fitted rows. seed: of the draws. rows: the
    runs fitted: run, the law's inputs and response. backtest: of laws, what they predicted of the
    dearer runs from the cheaper ones; of a law of curves, what it predicted of curves and later
    parts left out. reach: the error that this showed. profile: of parameters, the ends of their
    profile likelihood.
    """

    law: Law
    theta: Array
    draw_theta: Array
    noise: tuple[float, float]
    draw_noise: Array
    objective: float
    runs: int
    left_out: Mapping[str, int]
    estimator: Estimator
    intervals: Intervals
    level: float
    ranges: Mapping[str, tuple[float, float, int]]
    conventions: Mapping[str, str]
    diagnosis: Diagnosis
    fingerprint: str
    seed: int
    rows: Mapping[str, list[Any]] = field(default_factory=dict)
    backtest: Mapping[str, Any] = field(default_factory=dict)
    reach: Reach | CurveReach | None = None
    profile: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def values(self) -> dict[str, float]:
        """Parameters by name, full precision."""
        values = self.law.values(self.theta)
        return dict(zip(self.law.names, (float(v) for v in values), strict=True))

    @cached_property
    def draws(self) -> Array:
        """Draws of the parameters' values, (k, p)."""
        return self.law.values(self.draw_theta)

    @cached_property
    def _unidentified(self) -> frozenset[str]:
        """Parameters about which the runs say nothing, whatever a bootstrap of them says."""
        collinear = any(notice.code == "collinear" for notice in self.diagnosis.warnings)
        curved = (levels for name, (*_, levels) in self.ranges.items() if name not in self.law.raw)
        few = min(curved, default=3) < 3
        # A product of powers is a straight line in the logarithms, whose draws know how far its
        # inputs go together, and which two levels fix.
        bent = len(self.law.linear) > 1
        exponents = [p for p in self.law.parameters if p.prior or (p.exponent and bent)]
        if collinear or few:
            # A scale has the units of its exponent: without one the other means nothing.
            scales = (p for p in self.law.parameters if (p.log or p.scales) and exponents)
            return frozenset(p.name for p in (*exponents, *scales)) | {*self.diagnosis.lost}
        ends = (p.name for p in exponents if self._sought_beyond(p))
        return frozenset(ends) | {*self.diagnosis.lost}

    def _sought_beyond(self, parameter: Parameter) -> bool:
        """Whether it lies where the search ends, so that the best value may lie beyond.

        Where the law itself ends (an exponent at 0, a form that contains another at its end)
        nothing lies beyond, and the interval is as good as any. A bound that the user gave is no
        such end: all draws would end on it too, and look sure.
        """
        held, value = parameter.name in self.law.restrictions.bounds, self.values[parameter.name]
        below = (held or parameter.low != 0) and value <= parameter.low
        above = (held or parameter.open) and value >= parameter.high * (1 - 1e-9)
        return below or above

    @cached_property
    def parameters(self) -> dict[str, Estimate]:
        """The parameters with their intervals."""
        found = {}
        for j, parameter in enumerate(self.law.parameters):
            one = estimate(self.values[parameter.name], self.draws[:, j], self.level)
            if parameter.open and one.high >= parameter.high * (1 - 1e-9):
                one = Estimate(one.value, one.low, float("inf"), one.level, one.stderr)
            if parameter.name in self._unidentified:
                one = replace(one, low=parameter.low, high=parameter.end)
            elif parameter.name in self.profile:
                one = replace(
                    one, low=self.profile[parameter.name][0], high=self.profile[parameter.name][1]
                )
            found[parameter.name] = one
        return found

    @cached_property
    def derived(self) -> dict[str, Estimate]:
        """What follows from the parameters, with intervals."""
        point = {name: np.array([value]) for name, value in self.values.items()}
        draws = {name: self.draws[:, j] for j, name in enumerate(self.law.names)}
        found = {}
        for derived in self.law.derived:
            value = derived.formula(point)
            one = estimate(float(value[0]), derived.formula(draws), self.level)
            # A number made of what is not known is not known.
            others = ({**point, name: 2 * point[name] + 1} for name in self._unidentified)
            if any(derived.formula(other) != value for other in others):
                one = replace(one, low=float("-inf"), high=float("inf"))
            found[derived.name] = one
        return found

    def predict(
        self, *, level: float | None = None, new_run: bool = False, **inputs: Array | float
    ) -> Prediction:
        """Loss at the inputs, with an interval.

        inputs: one for each of the law's (``params=..., tokens=...``), positive, of shapes that
        broadcast. level: of the interval, the fit's own unless given. new_run: False for the mean
        loss of such runs, True for the loss of one new run, whose own luck (estimated from the runs
        fitted, as both what a trunk shares and what a branch adds) is then included. Raises
        SpecError for other inputs.
        """
        level = self.level if level is None else level
        check_level(level)
        inputs = self.law.by_column(inputs)
        logs, shape = self.law.log_inputs(inputs)
        with np.errstate(all="ignore"):  # a law may end where it is asked
            value = self.law.log_value(self.theta[None], logs)[0]
            draws = self.law.log_value(self.draw_theta, logs)
        # The same streams at every call: a prediction does not change when asked again.
        if new_run:
            luck = np.random.default_rng([self.seed, 1]).normal(size=(len(draws), 2))
            noise = (self.draw_noise * luck).sum(axis=1, keepdims=True)
            draws = draws + self._spread(logs) * noise
        if (error := self.law_error(logs)) is not None:
            # The law's own error is one for all: it does not average out over runs.
            off = np.random.default_rng([self.seed, 2]).normal(size=(len(draws), 1))
            draws = draws + error * off
        ends = [0.5 - level / 2, 0.5 + level / 2]
        low, high = np.nanquantile(draws, ends, axis=0) if draws.size else np.empty((2, 0))
        factors = self._extrapolation(inputs, logs)
        notices = tuple(
            Notice(
                "extrapolation",
                f"{name} is {factor:.3g} times outside the runs fitted; the interval holds only if "
                "the law itself goes on so far.",
            )
            for name, factor in factors.items()
            if factor > self._far(name)
        )
        value, low, high = (self.law.off_scale(part).reshape(shape) for part in (value, low, high))
        return Prediction(value, low, high, level, factors, notices)

    def law_error(self, logs: tuple[Array, ...]) -> Array | None:
        """Standard deviation that the law's own error adds at log inputs, (n,); None untested."""
        named = dict(zip(self.law.inputs, logs, strict=True))
        if self.reach is None:
            return None
        if isinstance(self.reach, CurveReach):
            return self.reach.at(named)
        if "flops" in named:
            return self.reach.at(np.exp(named["flops"]))
        return self.reach.at(self.reach.per_nd * np.exp(named["params"] + named["tokens"]))

    def invert(self, value: float, *, level: float | None = None, **inputs: float) -> Estimate:
        """The one input not given at which the law gives `value`, with an interval.

        For example ``fit.invert(2.5, tokens=1e11)`` is the size that 100 billion tokens train to
        2.5 nats. level: of the interval, the fit's own unless given. An end is infinite where the
        law does not reach the value. Raises SpecError unless exactly one input is left out, or when
        the law itself never reaches the value.
        """
        from scalelab.fitting.inversion import invert

        return invert(self, value, self.level if level is None else level, inputs)

    def plot(self) -> Any:
        """An Altair chart: runs, the law with its interval, and the residuals."""
        from scalelab.report.fit_figure import chart

        return chart(self)

    def _spread(self, logs: tuple[Array, ...]) -> Array:
        """Noise at log inputs (n,) relative to that of the largest size fitted."""
        if "params" not in self.law.inputs:
            return np.ones(len(logs[0]))
        log_n = logs[self.law.inputs.index("params")]
        return self.estimator.spread(np.exp(log_n) / self.ranges["params"][1])

    def _far(self, name: str) -> float:
        """The factor beyond the range of an input from which a prediction is noted."""
        along = isinstance(self.reach, CurveReach) and name == self.reach.progress
        curves = self.intervals.clusters < self.runs and not tells_compute(self.law)
        return CURVE_EXTRAPOLATION if along or (curves and name in PROGRESS) else EXTRAPOLATION

    def _extrapolation(
        self, inputs: Mapping[str, Array | float], logs: tuple[Array, ...]
    ) -> dict[str, float]:
        factors = {}
        for name in self.ranges:
            low, high, _ = self.ranges[name]
            if not low > 0:
                continue
            values = np.asarray(inputs[name], dtype=float)
            # The initial values are those of no inputs at all, which lie nowhere outside.
            largest, smallest = values.max(initial=0.0), values.min(initial=np.inf)
            factors[name] = max(1.0, float(largest) / high, low / float(smallest))
        if isinstance(self.reach, CurveReach):
            named = dict(zip(self.law.inputs, logs, strict=True))
            farthest = float(self.reach.factor(named).max(initial=1.0))
            factors[self.reach.progress] = max(factors[self.reach.progress], farthest)
        return factors

    def summary(self) -> str:
        """The fit for a person at a terminal."""
        from scalelab.fitting.summary import text

        return text(self)

    def _repr_html_(self) -> str:
        from scalelab.fitting.summary import html

        return html(self)

    def to_dict(self) -> dict[str, Any]:
        """The answer of ``scalelab fit --json``: see "fit" in the guide; no number is infinite."""
        return {
            "law": self.law.name,
            "parameters": {name: one.to_dict() for name, one in self.parameters.items()},
            "objective": finite(self.objective),
            "runs": self.runs,
            "diagnosis": {
                "starts": self.diagnosis.starts,
                "starts_agreeing": self.diagnosis.starts_agreeing,
                "condition_number": finite(self.diagnosis.condition_number),
                "warnings": [notice.to_dict() for notice in self.diagnosis.warnings],
            },
            "derived": {name: one.to_dict() for name, one in self.derived.items()},
            "conventions": dict(self.conventions),
            "estimator": self.estimator.text(self.law.response, self.law.scale),
            "intervals": str(self.intervals),
            "backtest": dict(self.backtest),
        }

    def save(self, path: Path | str) -> Path:
        """Write the fit as JSON, exactly: `load` gives the same bits.

        Of a formula's parameters the grids that a search starts from are not written, for they may
        be functions: to fit the loaded law to other runs, make it again by `custom_law`.
        """
        from scalelab.fitting.store import save

        return save(self, Path(path))

    @staticmethod
    def load(path: Path | str, law: Law | None = None) -> Fit:
        """Read a fit that `save` wrote. law: needed only for a law that is not in the registry."""
        from scalelab.fitting.store import load

        return load(Path(path), law)


def tells_compute(law: Law) -> bool:
    """Whether the law's inputs say how much compute a run took."""
    return "flops" in law.inputs or {"params", "tokens"} <= set(law.inputs)


def estimate(value: float, draws: Array, level: float) -> Estimate:
    """A value with the central interval of its draws (k,)."""
    good = draws[~np.isnan(draws)]
    probabilities = [0.5 - level / 2, 0.5 + level / 2, 0.15866, 0.84134]
    # Two infinite draws have no mean, so quantiles are taken from among the draws.
    ends = np.quantile(good, probabilities, method="inverted_cdf")
    low, high, minus, plus = (float(end) for end in ends)
    return Estimate(value, low, high, level, (plus - minus) / 2 if np.isfinite(plus) else plus)


def check_level(level: float) -> None:
    """Raise SpecError for what is no level of an interval."""
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; it is a probability such as .9.")

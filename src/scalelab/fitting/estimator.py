"""Estimators: what is minimised, and the search for its global optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scalelab.errors import FitError, SpecError
from scalelab.fitting.components import Components, estimate_components
from scalelab.fitting.objective import Objective, Prior, Whitening
from scalelab.fitting.observations import Observations
from scalelab.fitting.solver import Solution, descend, minimise
from scalelab.laws import Array, starts_of

EstimatorName = Literal["auto", "huber", "least-squares", "shared-noise"]

DELTA = 1e-3
"""Of Huber's function, in log loss (Hoffmann et al. 2022, section 3.3)."""
_FAR = 5.0  # robust spreads beyond which a run says nothing of the noise (assumed)
FEW_CLUSTERS = 20
"""Below this many trunks the bootstrap of pairs covered too little, or had no answer at all
(measured: benchmarks/ladder_coverage.py)."""


@dataclass(frozen=True)
class Estimator:
    """What is minimised over residuals of log loss.

    huber: the sum of Huber's function with `delta` (Hoffmann et al. 2022, section 3.3).
    least-squares: half the sum of squares. shared-noise: generalised least squares under a noise
    that runs of a trunk share, its two variances estimated by restricted maximum likelihood, with
    the law's weak prior on its exponents.

    raw: residuals of the loss in nats, not of its logarithm. above: the penalty of a run that lies
    above the law over that of one below it. weights, std: what runs were weighed by, see `fit`.
    falls: of shared-noise: the standard deviations of the noise fall with the size of the model as
    N^-falls up to the largest size fitted, to which they refer.
    """

    name: Literal["huber", "least-squares", "shared-noise"] = "huber"
    delta: float = DELTA
    falls: float = 0.0
    raw: bool = False
    above: float = 1.0
    weights: str = ""
    std: str = ""

    @property
    def weighting(self) -> str:
        """How runs are weighed, in words; empty where all count alike."""
        return weighting(self.weights, self.std)

    def spread(self, relative_size: Array) -> Array:
        """Noise relative to that of the largest size, for N over the largest N."""
        return np.asarray(np.minimum(relative_size, 1.0) ** -self.falls)

    def __str__(self) -> str:
        """One line for people, of a fit to losses."""
        return self.text("loss")

    def text(self, response: str, scale: str = "log") -> str:
        """One line for people, of a fit to that response."""
        of = response if self.raw or scale == "linear" else f"log-{response}"
        words = {
            "huber": f"sum of Huber(delta={self.delta:g}) of {of} residuals",
            "least-squares": f"least squares of {of} residuals",
            "shared-noise": f"generalised least squares of {of} residuals, noise shared within "
            "trunks, weak prior on exponents",
        }[self.name]
        if self.above != 1:
            words += f", {self.above:g} times as much above the law as below"
        return words + (f", weights {self.weighting}" if self.weighting else "")


def weighting(weights: str | None, std: str | None) -> str:
    """How runs are weighed, in words; empty where all count alike."""
    return f"1/{std}^2" if std else weights or ""


def choose_estimator(
    name: EstimatorName,
    observed: Observations,
    *,
    delta: float | None = None,
    raw: bool = False,
    above: float = 1.0,
    weights: str | None = None,
    std: str | None = None,
    falls: float = 0.0,
) -> Estimator:
    """The estimator of that name; ``auto``: shared-noise for few clusters of several runs.

    Raises SpecError for an option that the estimator has no use for.
    """
    if delta is not None and not delta > 0:
        raise SpecError(f"delta of Huber's function is {delta}; it must be positive.")
    if not 0 < above < np.inf:
        raise SpecError(f"above is {above}; the penalty above the law over that below is positive.")
    special = raw or above != 1 or weights or std
    if name == "shared-noise" and special:
        raise SpecError("shared-noise weighs log-loss residuals by their noise alone; take huber.")
    if name in ("least-squares", "shared-noise") and delta is not None:
        raise SpecError(f"{name} has no delta, which is of Huber's function: leave it out.")
    if name in ("huber", "least-squares") and falls:
        raise SpecError(f"{name} has no falls, which is of shared-noise: leave it out.")
    if name == "auto" and (special or delta is not None):
        name = "huber"
    if name == "auto":
        shared = observed.cluster_count < min(len(observed.target), FEW_CLUSTERS)
        name = "shared-noise" if shared else "huber"
    if name not in ("huber", "least-squares", "shared-noise"):
        raise SpecError(
            f"estimator is {name!r}; expected auto, huber, least-squares or shared-noise."
        )
    if not 0 <= falls < 2:
        raise SpecError(f"falls is {falls}; noise falls with N as N^-falls, falls from 0 to 2.")
    if name != "shared-noise" or "params" not in observed.law.inputs:
        falls = 0.0
    return Estimator(name, delta or DELTA, falls, raw, above, weights or "", std or "")


@dataclass(frozen=True)
class Optimum:
    """The best fit found: coordinates (p,), with how it was found.

    value: of the objective. starts, agreeing: how many starts there were, how many ended at this
    value. converged: whether the best of them came to rest. noise: posterior of between and within.
    whitened: the two that weight the residuals, None where nothing is weighted. spread: (n,), the
    noise of each run in units of these. residual: (n,) and jacobian: (p, n), of the log loss.
    """

    theta: Array
    value: float
    starts: int
    agreeing: int
    converged: bool
    noise: Components
    whitened: tuple[float, float] | None
    spread: Array
    residual: Array
    jacobian: Array


def batch(
    observed: Observations,
    estimator: Estimator,
    target: Array,
    *,
    weights: Array | None = None,
    noise: tuple[Array, Array] | None = None,
    generator: np.random.Generator | None = None,
) -> Objective:
    """The objective of k fits to log losses (k, n).

    weights: (k, n), on top of the runs' own. noise: between and within, (k,) each, needed by
    shared-noise. generator: draws the centres of the prior, for draws of the posterior.
    """
    unit = observed.unit(estimator.raw)
    own = observed.weights if unit is None else np.ones(len(observed.target))
    prior = whitening = None
    if estimator.name == "shared-noise":
        assert noise is not None
        spread = _spread(observed, estimator)
        whitening = Whitening.of(*noise, observed.clusters, spread)
        prior = Prior.of(observed.law, len(target), generator)
    return Objective(
        law=observed.law,
        inputs=observed.inputs,
        target=target,
        weights=np.broadcast_to(own, target.shape) * (1 if weights is None else weights),
        delta=estimator.delta if estimator.name == "huber" else np.inf,
        raw=estimator.raw,
        unit=unit,
        above=estimator.above,
        whitening=whitening,
        prior=prior,
    )


def optimise(
    observed: Observations, estimator: Estimator, *, thin: int = 1, near: Array | None = None
) -> Optimum:
    """The global optimum: every start of the grid of exponents is followed to its end.

    thin: take one start in so many, where many fits are needed and none is shown. near: (p,), the
    optimum of nearly the same runs: the search goes down from there, and makes no other start.
    """
    check_floor(observed)
    if near is not None:
        starts = near[None]
    else:
        starts = starts_of(observed.law, observed.inputs, observed.target)[::thin]
    if estimator.name != "shared-noise":
        found, agreeing = _best(observed, estimator, starts, None)
        return _optimum(observed, estimator, found, len(starts), agreeing, None)
    # How noise is shared can be told only from a fit, and the fit needs it: three rounds settle it
    # (the third moves a prediction by less than a hundredth of its error).
    found, agreeing = _best(observed, Estimator("least-squares"), starts, None)
    for round_ in range(3):
        noise = _noise(observed, estimator, found.theta[0]).estimate
        begin = np.concatenate([found.theta, starts]) if round_ == 0 else found.theta
        found, agree = _best(observed, estimator, begin, noise)
        agreeing = agree if round_ == 0 else agreeing
    return _optimum(observed, estimator, found, len(starts), min(agreeing, len(starts)), noise)


def check_floor(observed: Observations) -> None:
    """Refuse a law that lies above every run whatever its coefficients: a floor held too high.

    Raises FitError. A law is asked where every coefficient is at its least, at each place of its
    grid; one in which some coefficient subtracts is let pass.
    """
    law = observed.law
    linear = [j for j, name in enumerate(law.names) if name in law.linear]
    if law.starts is not None or not law.restrictions:
        return
    points = law.grid(observed.inputs)
    theta = np.empty((len(points), len(law.names)))
    theta[:, [j for j in range(len(law.names)) if j not in linear]] = points
    theta[:, linear] = law.bounds[0][linear]
    with np.errstate(all="ignore"):
        least = law.log_value(theta, observed.inputs)
        for j in linear:
            more = theta.copy()
            more[:, j] = np.maximum(more[:, j], -30.0) + 1.0
            if not (law.log_value(more, observed.inputs) >= least).all():
                return
        if not (np.isfinite(least) & (least > observed.target + 1e-9)).all():
            return
    raise FitError(
        f"law {law.name} ({law.equation}) is at least {np.exp(least.min()):.4g} everywhere, and "
        f"every run lies below: the highest {law.response} is {np.exp(observed.target.max()):.4g}. "
        "Hold its floor lower, or let it be fitted."
    )


def _best(
    observed: Observations,
    estimator: Estimator,
    starts: Array,
    noise: tuple[float, float] | None,
) -> tuple[Solution, int]:
    """The best end of all starts, polished, and how many starts ended there."""

    def objective(count: int) -> Objective:
        return batch(
            observed,
            estimator,
            np.broadcast_to(observed.target, (count, len(observed.target))),
            noise=noise and (np.full(count, noise[0]), np.full(count, noise[1])),
        )

    ends, counts = descend(objective, starts)
    order = np.argsort(ends.value, kind="stable")[:4]
    polished = minimise(objective(len(order)), ends.theta[order], tolerance=1e-13)
    best = polished.value.argmin()
    value = polished.value[best]
    agreeing = int(counts[ends.value - value <= 1e-5 * value + 1e-16].sum())
    return (
        Solution(
            polished.theta[best][None], polished.value[best][None], polished.converged[best][None]
        ),
        agreeing,
    )


def _spread(observed: Observations, estimator: Estimator) -> Array:
    """Noise of each run in units of that at the largest size, (n,)."""
    return observed.error * estimator.spread(observed.relative_size)


def _noise(observed: Observations, estimator: Estimator, theta: Array) -> Components:
    log_loss, jacobian = observed.law.formula(theta[None], observed.inputs)
    low, high = observed.law.bounds
    free = (theta > low) & (theta < high)
    # Runs count in the noise as much as they count in the fit.
    counts = importance(observed)
    spread = _spread(observed, estimator)
    residual = (observed.target - log_loss[0]) / spread
    if estimator.name == "huber":
        residual = without_outliers(residual, counts, int(free.sum()))
    felt = np.sqrt(counts)
    return estimate_components(
        residual * felt,
        jacobian[0][free] * (felt / spread),
        observed.clusters,
        effective(counts),
    )


def importance(observed: Observations) -> Array:
    """How much each run counts, (n,); standard deviations say how exact runs are, not that."""
    return observed.weights if observed.std is None else np.ones(len(observed.target))


def effective(weights: Array) -> float:
    """How many runs of equal weight tell as much as these: Kish 1965, (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def effective_clusters(observed: Observations) -> float:
    """How many clusters there are in effect, each counted by the mean weight of its runs."""
    sizes = np.bincount(observed.clusters)
    return effective(np.bincount(observed.clusters, importance(observed)) / sizes)


def without_outliers(residual: Array, weights: Array, parameters: int) -> Array:
    """Residuals (n,) cut at `_FAR` robust spreads: what moves a Huber fit by its sign alone is not
    its noise either (one run 47% off, of 36 at .3%, had widened all intervals twenty times).

    The fit passes through as many runs as it has parameters: the spread is that of the others. Each
    counts by its weight, for what hardly counts may lie anywhere.
    """
    order = np.argsort(np.abs(residual), kind="stable")
    size, passed = np.abs(residual)[order], np.cumsum(weights[order])
    count = effective(weights)
    median = passed[-1] * (1 + min(parameters, count - 1) / count) / 2
    # Between two runs it is their mean.
    both = [np.searchsorted(passed, median * near) for near in (1 - 1e-12, 1 + 1e-12)]
    reach = _FAR * 1.4826 * float(size[both].mean())
    return np.asarray(np.clip(residual, -reach, reach))


def _optimum(
    observed: Observations,
    estimator: Estimator,
    found: Solution,
    starts: int,
    agreeing: int,
    whitened: tuple[float, float] | None,
) -> Optimum:
    theta = found.theta[0]
    log_loss, jacobian = observed.law.formula(theta[None], observed.inputs)
    return Optimum(
        theta=theta,
        value=float(found.value[0]),
        starts=starts,
        agreeing=agreeing,
        converged=bool(found.converged[0]),
        noise=_noise(observed, estimator, theta),
        spread=_spread(observed, estimator),
        whitened=whitened,
        residual=observed.target - log_loss[0],
        jacobian=jacobian[0],
    )

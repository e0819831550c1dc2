"""What a fit minimises, evaluated at many parameter vectors at once, with derivatives.

    F(theta) = sum_i w_i rho(z_i) + 1/2 sum_j ((ln theta_j - m_j) / s_j)^2,   z = whitened residuals

where a residual is log measured loss minus log predicted loss (or the losses themselves, where
asked), rho is Huber's function or half the square, w is a run's weight times how often a bootstrap
replicate drew it, and the last sum is the weak prior on exponents (absent unless asked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalelab.laws import Array, Law

_BLOCK = 2**17  # numbers of a jacobian worked on at once (measured: they stay in cache)


@dataclass(frozen=True)
class Whitening:
    """Makes residuals with a noise shared by their trunk independent and of unit variance.

    A trunk of m runs has covariance between^2 + within^2 on the diagonal and between^2 off it; its
    inverse root is (r - shrink x mean of the trunk's r) x scale, with scale = 1 / within and
    shrink = 1 - within / sqrt(within^2 + m between^2).

    shrink, scale: (k, n). clusters: (n,), the number of each run's trunk. spread: (n,), known
    factors on the noise of each run, which residuals are divided by first.
    """

    shrink: Array
    scale: Array
    clusters: NDArray[np.intp]
    spread: Array

    @staticmethod
    def of(
        between: Array, within: Array, clusters: NDArray[np.intp], spread: Array | None = None
    ) -> Whitening:
        """For standard deviations (k,) of what a trunk shares and of what each run adds."""
        within = np.maximum(within, 1e-9)  # runs without noise must not divide by zero
        size = np.bincount(clusters)[clusters]
        ratio = within[:, None] / np.sqrt(within[:, None] ** 2 + size * between[:, None] ** 2)
        scale = np.broadcast_to(1 / within[:, None], ratio.shape)
        factors = np.ones(len(clusters)) if spread is None else spread
        return Whitening(1 - ratio, scale, clusters, factors)

    def apply(self, rows: Array) -> Array:
        """Whiten (k, n), or (k, p, n)."""
        rows = rows / self.spread
        shrink, scale = self.shrink, self.scale
        if rows.ndim == 3:
            shrink, scale = shrink[:, None], scale[:, None]
        means = self._means(rows)
        means *= shrink
        np.subtract(rows, means, out=means)
        means *= scale
        return means

    def _means(self, rows: Array) -> Array:
        """Means over the trunk of each run, (..., n).

        Summed trunk by trunk: the matrix that averages 8,000 runs takes half a gigabyte.
        """
        order, starts, sizes, places = self._trunks
        if len(starts) == len(order):
            return rows.copy()
        sums = np.add.reduceat(np.take(rows, order, axis=-1), starts, axis=-1)
        sums /= sizes
        return np.take(sums, places, axis=-1)

    @cached_property
    def _trunks(self) -> tuple[NDArray[np.intp], ...]:
        """The order that puts trunks together, where each begins, its size; the trunk of a run."""
        _, places, sizes = np.unique(self.clusters, return_inverse=True, return_counts=True)
        return np.argsort(places, kind="stable"), np.cumsum(sizes) - sizes, sizes, places

    def take(self, keep: NDArray[np.intp] | slice) -> Whitening:
        """The rows `keep` of the batch."""
        return replace(self, shrink=self.shrink[keep], scale=self.scale[keep])


@dataclass(frozen=True)
class Prior:
    """Weak log-normal prior on numbers without units: where it is centred, and how wide it is.

    columns: (q,) which parameters have one. centre: (k, q) and width: (q,), of their logarithms.
    """

    columns: tuple[int, ...]
    centre: Array
    width: Array

    @staticmethod
    def of(law: Law, count: int, generator: np.random.Generator | None = None) -> Prior:
        """The law's own prior for a batch of `count`; centres are drawn from it by a generator.

        Refitting drawn losses under drawn centres samples the posterior of a nearly linear law
        (randomise-then-optimise, Bardsley et al. 2014): without it the draws were too narrow.
        """
        found = [(j, *p.prior) for j, p in enumerate(law.parameters) if p.prior is not None]
        width = np.array([row[2] for row in found])
        centre = np.tile(np.log([row[1] for row in found]), (count, 1))
        if generator is not None:
            centre += width * generator.normal(size=centre.shape)
        return Prior(tuple(row[0] for row in found), centre, width)

    def take(self, keep: NDArray[np.intp] | slice) -> Prior:
        """The rows `keep` of the batch."""
        return replace(self, centre=self.centre[keep])


@dataclass(frozen=True)
class Objective:
    """A batch of k fits of one law to the same n runs.

    inputs: log inputs, (n,) each. target: log loss (k, n). weights: (k, n). delta: of Huber's
    function, infinite for least squares. raw: residuals of the loss, not of its logarithm. unit:
    (n,), what residuals are divided by. above: the penalty of a run that lies above the law over
    that of one below. unit, whitening, prior: absent when None.
    """

    law: Law
    inputs: tuple[Array, ...]
    target: Array
    weights: Array
    delta: float
    raw: bool = False
    unit: Array | None = None
    above: float = 1.0
    whitening: Whitening | None = None
    prior: Prior | None = None

    def take(self, keep: NDArray[np.intp] | slice) -> Objective:
        """The fits `keep` of the batch."""
        return replace(
            self,
            target=self.target[keep],
            weights=self.weights[keep],
            whitening=None if self.whitening is None else self.whitening.take(keep),
            prior=None if self.prior is None else self.prior.take(keep),
        )

    def residuals(self, theta: Array) -> tuple[Array, Array]:
        """Residuals (k, n), and derivatives (k, p, n) of what is fitted, in units and whitened."""
        log_loss, jacobian = self.law.formula(theta, self.inputs)
        if self.raw and self.law.scale == "log":
            loss = np.exp(log_loss)
            residual, jacobian = np.exp(self.target) - loss, jacobian * loss[:, None]
        else:
            residual = self.target - log_loss
        if self.unit is not None:
            residual, jacobian = residual / self.unit, jacobian / self.unit
        if self.whitening is not None:
            residual = self.whitening.apply(residual)
            jacobian = self.whitening.apply(jacobian)
        return residual, jacobian

    def weights_at(self, residual: Array) -> Array:
        """Weights (k, n) at residuals (k, n): those above the law count `above` times as much."""
        if self.above == 1:
            return self.weights
        return np.where(residual > 0, self.above * self.weights, self.weights)

    def pull(self, residual: Array) -> Array:
        """How hard each run pulls at the law, (k, n): w rho'(z), Huber's psi with its weight."""
        return self.weights_at(residual) * np.clip(residual, -self.delta, self.delta)

    def evaluate(self, theta: Array) -> Evaluation:
        """Value, gradient and two curvatures at theta (k, p)."""
        # A step into nonsense (overflow) is a bad step, which the solver refuses, not an error.
        rows = max(16, _BLOCK // (len(self.inputs[0]) * theta.shape[1]))
        with np.errstate(all="ignore"):
            if len(theta) <= rows:
                return self._evaluate(theta)
            blocks = [slice(start, start + rows) for start in range(0, len(theta), rows)]
            return Evaluation.joined([self.take(b)._evaluate(theta[b]) for b in blocks])

    def _evaluate(self, theta: Array) -> Evaluation:
        residual, jacobian = self.residuals(theta)
        weights = self.weights_at(residual)
        outer = np.swapaxes(jacobian, 1, 2)
        if np.isinf(self.delta):
            pulled = weights * residual
            value = 0.5 * (pulled * residual).sum(axis=1)
            upper = (jacobian * weights[:, None]) @ outer
            curvature = upper.copy()
        else:
            size = np.abs(residual)
            reached = np.minimum(size, self.delta)
            value = (weights * reached * (size - 0.5 * reached)).sum(axis=1)
            pull = weights * (reached / np.maximum(size, 1e-300))
            inside = size <= self.delta
            pull[inside] = weights[inside]  # where a residual is zero, too
            pulled = pull * residual
            upper = (jacobian * pull[:, None]) @ outer
            curvature = (jacobian * (weights * inside)[:, None]) @ outer
        gradient = -np.matmul(jacobian, pulled[:, :, None])[:, :, 0]
        if self.prior is not None:
            value += self._add_prior(theta, gradient, curvature, upper)
        # Where the law or a derivative is no number there is nowhere to step from.
        lost = ~(np.isfinite(value) & np.isfinite(upper).all(axis=(1, 2)))
        if lost.any():
            value = np.where(lost, np.inf, value)
            gradient[lost], curvature[lost] = 0.0, 0.0
            upper[lost] = np.eye(theta.shape[1])
        return Evaluation(value, gradient, curvature, upper)

    def _add_prior(self, theta: Array, gradient: Array, curvature: Array, upper: Array) -> Array:
        assert self.prior is not None
        columns = list(self.prior.columns)
        value = theta[:, columns]
        off = (np.log(value) - self.prior.centre) / self.prior.width
        slope = 1 / (value * self.prior.width)
        gradient[:, columns] += off * slope
        curvature[:, columns, columns] += slope**2
        upper[:, columns, columns] += slope**2
        return np.asarray(0.5 * (off**2).sum(axis=1))


@dataclass(frozen=True)
class Evaluation:
    """An objective at a batch of points.

    value: (k,). gradient: (k, p). curvature: Gauss-Newton, (k, p, p): only runs inside Huber's
    quadratic zone bend the objective. majorant: (k, p, p), the curvature of the quadratic that lies
    above the objective and touches it (iteratively re-weighted least squares).
    """

    value: Array
    gradient: Array
    curvature: Array
    majorant: Array

    @staticmethod
    def joined(parts: Sequence[Evaluation]) -> Evaluation:
        """The rows of all parts, one after the other."""
        return Evaluation(
            *(np.concatenate(column) for column in zip(*(part.rows for part in parts), strict=True))
        )

    @property
    def rows(self) -> tuple[Array, Array, Array, Array]:
        """All columns."""
        return self.value, self.gradient, self.curvature, self.majorant

    def put(self, rows: NDArray[np.intp], other: Evaluation, which: NDArray[np.bool_]) -> None:
        """Overwrite `rows` by the rows of `other` that are marked in `which`."""
        for mine, theirs in (
            (self.value, other.value),
            (self.gradient, other.gradient),
            (self.curvature, other.curvature),
            (self.majorant, other.majorant),
        ):
            mine[rows] = theirs[which]

    def take(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> Evaluation:
        """The rows `keep` of the batch."""
        return Evaluation(
            self.value[keep], self.gradient[keep], self.curvature[keep], self.majorant[keep]
        )

"""The compute-optimal run of a size by a joint law, and what other sizes and longer runs cost.

Of a law L = E + [(A / N^alpha)^(1 / gamma) + (B / X^beta)^(1 / gamma)]^gamma, where X is what is
spent at each size: tokens, steps, or S_min. Write u and v for the two terms of the bracket. N is
the optimal size where at one loss c(N) X is least, c being the compute of a token:

    alpha u = kappa beta v,   kappa = d ln c / d ln N   (1 where compute is counted as 6 N D)

Everything asked here is a ratio at one loss. There S_min and C_min are steps and compute over one
factor, so that none of it depends on the batch or on how the critical batch was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scalelab.fitting import Fit
from scalelab.laws import Array
from scalelab.studies.analysis.curve_laws import values_of

CONVERGED = 0.02
"""What the paper calls trained to convergence: so far above it. (paper: appendix B.4)"""


@dataclass(frozen=True)
class Optimum:
    """The run for which `size` is optimal; every number (1 + k,), of the fit first.

    fit: of such a law; gamma is 1 where it has none. cost: compute of a token at sizes (n,), in any
    unit; its slope is taken about `size`.
    """

    fit: Fit
    size: float
    cost: Callable[[Array], Array]

    @cached_property
    def _exponents(self) -> tuple[Array, Array, Array]:
        """alpha, beta and gamma."""
        alpha, beta = values_of(self.fit, "alpha"), values_of(self.fit, "beta")
        has_gamma = "gamma" in self.fit.law.names
        return alpha, beta, values_of(self.fit, "gamma") if has_gamma else np.ones_like(alpha)

    @cached_property
    def _floor(self) -> Array:
        return values_of(self.fit, "E")

    @cached_property
    def _left(self) -> Array:
        """What the size leaves above the floor when it is trained without end: u^gamma."""
        with np.errstate(all="ignore"):
            return np.asarray(values_of(self.fit, "A") * self.size ** -self._exponents[0])

    @cached_property
    def _share(self) -> Array:
        """v / u."""
        alpha, beta, _ = self._exponents
        about = self.cost(self.size * np.array([0.7, 1.4]))
        kappa = np.log(about[1] / about[0]) / np.log(2.0)
        return np.asarray(alpha / (kappa * beta))

    @cached_property
    def loss(self) -> Array:
        """Of the optimal run."""
        with np.errstate(all="ignore"):
            left = self._left * (1 + self._share) ** self._exponents[2]
            return np.asarray(self._floor + left)

    @cached_property
    def data(self) -> Array:
        """X of the optimal run."""
        _, beta, gamma = self._exponents
        with np.errstate(all="ignore"):
            left = self._left * self._share**gamma
            return np.asarray((values_of(self.fit, "B") / left) ** (1 / beta))

    @property
    def distance(self) -> Array:
        """Its loss over that of the same size without end of data, less one."""
        with np.errstate(all="ignore"):  # a draw may have no finite loss
            return np.asarray(self.loss / (self._floor + self._left) - 1)

    def steps(self, factor: Array | float) -> Array:
        """Steps of a size so many times the optimal one to the same loss, over the optimal run's.

        Infinite where it never gets there.
        """
        alpha, beta, gamma = self._exponents
        with np.errstate(all="ignore"):
            rest = 1 + self._share - np.asarray(factor, dtype=float) ** (-alpha / gamma)
            found = (self._share / rest) ** (gamma / beta)
        return np.asarray(np.where(rest > 0, found, np.inf))

    def compute(self, factor: Array | float) -> Array:
        """Compute of that size to the same loss over that of the optimal run."""
        own = self.cost(np.array([self.size]))[0]
        every = np.broadcast_to(self.size * np.asarray(factor, dtype=float), self.loss.shape)
        return np.asarray(self.cost(every) / own * self.steps(factor))

    def against_converged(self) -> dict[str, Array]:
        """Against the size that has the same loss CONVERGED above its own converged one.

        params: N over its N (paper: 2.7). steps: its steps over S (7.7). saved: the share of its
        compute (.65). NaN where no size converges so low. Source: Kaplan et al. 2020, appendix B.4.
        """
        with np.errstate(all="ignore"):
            left = self.loss / (1 + CONVERGED) - self._floor
            params = (left / self._left) ** (1 / self._exponents[0])
            params = np.where(left > 0, params, np.nan)
            steps = self.steps(1 / params)
            saved = 1 - 1 / self.compute(1 / params)
        return {"params": np.asarray(params), "steps": steps, "saved": np.asarray(saved)}

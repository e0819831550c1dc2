"""The extent of over-fitting: L(N, D) over the loss of the same size on data to spare.

    L(N, D) = L(N, inf) (1 + k N^r / D)^alpha

is equation 1.5 of Kaplan et al. 2020 with r = alpha_N / alpha_D and alpha = alpha_D, but with
L(N, inf) of each size left free: r is then what the extents say of it, and nothing in it comes from
how the loss falls with size. At one size k N^r is one number, D_0: as many tokens as cost as much
as the size does. Fitted are the losses, all of them, however small the extent: to leave out what
looks like noise would choose the cells by what they answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scalelab.laws import Array
from scalelab.studies.analysis.joint import spread
from scalelab.studies.subsets import Limited

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

RATIOS = np.linspace(0.0, 2.0, 121)
"""Candidates of r; the paper's is .74."""

PLACES = np.linspace(-6.0, 6.0, 145)
"""Candidates of ln(k N^r / D) in the middle of the cells: from where a data set costs a quarter
percent of alpha to where nothing else counts."""

LEAST_CELLS = 8
"""r, k and alpha, and a reference for each size."""

LEAST_SETS = 4
"""At one size: with fewer a law of two parameters beside the reference meets no check."""

DRAWS = 300


@dataclass(frozen=True)
class Extent:
    """The law through cells and references.

    ratio: r (NaN at one size). alpha, log_k: of the law; each (1 + k,), the fit's own first, then
    its draws. level: of intervals. least: N -> L(N, inf) as fitted. scatter: standard deviation of
    ln L about the law; its interval is that of a chi-square.
    """

    ratio: Array
    alpha: Array
    log_k: Array
    level: float
    least: Mapping[int, float]
    scatter: Estimate

    @property
    def exponent_of_size(self) -> Estimate:
        """r with its interval."""
        return spread(self.ratio, self.level)

    @property
    def exponent_of_data(self) -> Estimate:
        """alpha with its interval."""
        return spread(self.alpha, self.level)

    def equal_data(self, params: float) -> Estimate:
        """D_0 = k N^r: tokens that cost a size as much as the size itself does."""
        return spread(np.exp(self.log_k + np.nan_to_num(self.ratio) * np.log(params)), self.level)

    def over_reference(self, place: Array) -> Array:
        """L(N, D) / L(N, inf) at values of N^r / D (n,), for the fit's own parameters."""
        return np.asarray((1 + np.exp(self.log_k[0]) * place) ** self.alpha[0])

    def loss(self, params: int, unique: Array) -> Array:
        """L(N, D) of a size that was fitted on data sets (n,)."""
        place = params ** float(np.nan_to_num(self.ratio[0])) / unique
        return self.least[params] * self.over_reference(place)


def fit_extent(
    cells: Sequence[Limited],
    reference: Mapping[int, float],
    noise: float,
    level: float,
    seed: int,
) -> Extent | None:
    """The law through cells of several sizes, or of one, whose sizes all have a reference.

    noise: standard deviation of ln L from seed to seed. A reference is one run, so it counts as one
    loss like the others, with the luck of its own seed in every draw. Draws are of the losses about
    the law, as far apart as the noise or as the residuals, whichever is more. None where cells,
    sizes or data sets are too few.
    """
    sizes = sorted({one.params for one in cells})
    sets = {one.unique for one in cells}
    enough = len(sets) >= LEAST_SETS if len(sizes) == 1 else len(cells) >= LEAST_CELLS
    if not enough or len(sizes) == 2 or len(sets) < 3:
        return None
    number = np.array([sizes.index(one.params) for one in cells] + list(range(len(sizes))))
    log_n = np.log([float(one.params) for one in cells])
    log_d = np.log([float(one.unique) for one in cells])
    log_loss = np.log([one.loss for one in cells] + [reference[size] for size in sizes])
    ratios = RATIOS if len(sizes) > 1 else np.zeros(1)
    r, place = (grid.ravel() for grid in np.meshgrid(ratios, PLACES, indexing="ij"))
    inner = r[:, None] * (log_n - log_n.mean()) - (log_d - log_d.mean()) + place[:, None]
    # On data to spare the extent is none.
    shapes = np.hstack([np.logaddexp(0.0, inner), np.zeros((len(r), len(sizes)))])
    best, alpha = _best(shapes, log_loss[None], number)
    free = log_loss - alpha[0] * shapes[best[0]]
    level_of = np.array([free[number == j].mean() for j in range(len(sizes))])
    fitted = alpha[0] * shapes[best[0]] + level_of[number]
    freedom = len(log_loss) - len(sizes) - (3 if len(sizes) > 1 else 2)
    scatter = _scatter(float(((log_loss - fitted) ** 2).sum()), freedom, level)
    generator = np.random.default_rng([seed, 3])
    luck = max(noise, scatter.value) * generator.standard_normal((DRAWS, len(log_loss)))
    again, slopes = _best(shapes, fitted + luck, number)
    at, alpha = np.concatenate([best, again]), np.concatenate([alpha, slopes])
    log_k = place[at] - r[at] * log_n.mean() + log_d.mean()
    # A data set that hardly costs anything tells alpha k, not the two apart; one that costs nothing
    # tells neither.
    lost = alpha <= 0
    alpha = np.where(lost, np.nan, np.where(place[at] == PLACES[0], np.inf, alpha))
    return Extent(
        ratio=np.where(lost, np.nan, r[at]) if len(sizes) > 1 else np.full(len(at), np.nan),
        alpha=alpha,
        log_k=log_k,
        level=level,
        least={size: float(np.exp(level_of[j])) for j, size in enumerate(sizes)},
        scatter=scatter,
    )


def _scatter(squares: float, freedom: int, level: float) -> Estimate:
    from scipy.stats import chi2

    from scalelab.fitting import Estimate

    low, high = np.sqrt(squares / chi2.ppf([0.5 + level / 2, 0.5 - level / 2], freedom))
    return Estimate((squares / freedom) ** 0.5, float(low), float(high), level)


def _best(shapes: Array, log_loss: Array, number: Array) -> tuple[Array, Array]:
    """Which of the shapes (g, n), times a positive alpha, comes nearest to each ln L (k, n) once
    every size (`number`, (n,)) has a level of its own: the index and alpha, (k,) each."""
    x, y = _centred(shapes, number), _centred(log_loss, number)
    along = x @ y.T
    square = (x**2).sum(axis=1)[:, None]
    gain = np.maximum(along, 0.0) ** 2 / square
    best = gain.argmax(axis=0)
    row = np.arange(len(y))
    return best, np.asarray(np.maximum(along[best, row], 0.0) / square[best, 0])


def _centred(values: Array, number: Array) -> Array:
    """Rows (m, n) less the mean of each group."""
    groups = number[:, None] == np.unique(number)
    mean = values @ (groups / groups.sum(axis=0))
    return np.asarray(values - mean[:, number])

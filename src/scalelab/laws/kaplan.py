"""Kaplan's joint law of size and data: no floor, one bottleneck at a time."""

from __future__ import annotations

import numpy as np

from scalelab.laws.law import Array, Derived, Law, Parameter, Preset, Separable

# Weak (assumed): nine exponents in ten of this form lie between .015 and .4.
_PRIOR = (0.08, 1.0)


def _formula(theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
    log_n, log_d = inputs
    alpha_n, log_nc, alpha_d, log_dc = (theta[:, i, None] for i in range(4))
    distance = log_nc - log_n
    size = alpha_n / alpha_d * distance
    total = np.logaddexp(size, log_dc - log_d)
    share = np.exp(size - total)  # of the bracket that is due to size
    jacobian = np.empty((len(theta), 4, len(log_n)))
    jacobian[:, 0] = share * distance
    jacobian[:, 1] = share * alpha_n
    jacobian[:, 2] = total - share * size
    jacobian[:, 3] = (1 - share) * alpha_d
    return alpha_d * total, jacobian


def _change_units(theta: Array, inputs: tuple[float, ...], loss: float) -> Array:
    moved = theta.copy()
    moved[:, 1] += inputs[0] + loss / theta[:, 0]
    moved[:, 3] += inputs[1] + loss / theta[:, 2]
    return moved


def _system(exponents: Array, inputs: tuple[Array, ...], log_loss: Array) -> tuple[Array, Array]:
    # L^(1/alpha_D) = N_c^r N^-r + D_c D^-1, with r = alpha_N / alpha_D.
    log_n, log_d = inputs
    ratio = (exponents[:, 0] / exponents[:, 1])[:, None]
    features = np.stack(
        [np.exp(-ratio * log_n), np.broadcast_to(np.exp(-log_d), (len(exponents), len(log_d)))],
        axis=2,
    )
    return features, np.exp(log_loss / exponents[:, 1, None])


def _assemble(exponents: Array, coefficients: Array) -> Array:
    alpha_n, alpha_d = exponents[:, 0], exponents[:, 1]
    log_nc = np.log(coefficients[:, 0]) * alpha_d / alpha_n
    return np.stack([alpha_n, log_nc, alpha_d, np.log(coefficients[:, 1])], axis=1)


_GRID = (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.6)

KAPLAN = Law(
    name="kaplan",
    equation="L = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("alpha_N", "exponent of size", 0.002, 3.0, prior=_PRIOR, open=True),
        Parameter("N_c", "scale of size, parameters", 0.0, np.inf, log=True),
        Parameter("alpha_D", "exponent of data", 0.002, 3.0, prior=_PRIOR, open=True),
        Parameter("D_c", "scale of data, tokens", 0.0, np.inf, log=True),
    ),
    formula=_formula,
    change_units=_change_units,
    separable=Separable(("alpha_N", "alpha_D"), (_GRID, _GRID), _system, _assemble),
    reference="Kaplan et al. 2020, arXiv 2001.08361, equation 1.5 and table 2",
    derived=(
        Derived(
            "data_exponent",
            "data needed to keep over-fitting equal: D ~ N^(alpha_N / alpha_D)",
            lambda v: v["alpha_N"] / v["alpha_D"],
        ),
    ),
    presets=(
        Preset(
            "kaplan2020",
            {"alpha_N": 0.076, "N_c": 6.4e13, "alpha_D": 0.103, "D_c": 1.8e13},
            "Kaplan et al. 2020, table 2 (their D is the data set, trained to early stopping)",
        ),
    ),
)
"""L(N, D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D.

N is non-embedding parameters. The paper's D is the size of the data set, trained until the
held-out loss turns; over the ``tokens`` of one-epoch runs the same form is fitted, but it is then
a slice of another experiment, and its constants are not the paper's.
"""

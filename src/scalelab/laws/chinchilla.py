"""The Chinchilla law: an irreducible loss, and one power law each for size and data."""

from __future__ import annotations

import numpy as np

from scalelab.laws.law import Array, Derived, Law, Parameter, Preset, Separable

# Weak (assumed): nine exponents in ten of this form lie between .05 and 1.3.
_PRIOR = (0.25, 1.0)


def _formula(theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
    log_n, log_d = inputs
    floor, log_a, log_b, alpha, beta = (theta[:, i, None] for i in range(5))
    size = np.exp(log_a - alpha * log_n)
    data = np.exp(log_b - beta * log_d)
    loss = floor + size + data
    jacobian = np.empty((len(theta), 5, len(log_n)))
    jacobian[:, 0] = 1 / loss
    jacobian[:, 1] = size / loss
    jacobian[:, 2] = data / loss
    jacobian[:, 3] = -log_n * jacobian[:, 1]
    jacobian[:, 4] = -log_d * jacobian[:, 2]
    return np.log(loss), jacobian


def _change_units(theta: Array, inputs: tuple[float, ...], loss: float) -> Array:
    moved = theta.copy()
    moved[:, 0] *= np.exp(loss)
    moved[:, 1] += loss + theta[:, 3] * inputs[0]
    moved[:, 2] += loss + theta[:, 4] * inputs[1]
    return moved


def _system(exponents: Array, inputs: tuple[Array, ...], log_loss: Array) -> tuple[Array, Array]:
    log_n, log_d = inputs
    features = np.empty((len(exponents), len(log_n), 3))
    features[:, :, 0] = 1
    features[:, :, 1] = np.exp(-exponents[:, 0, None] * log_n)
    features[:, :, 2] = np.exp(-exponents[:, 1, None] * log_d)
    return features, np.broadcast_to(np.exp(log_loss), features.shape[:2])


def _assemble(exponents: Array, coefficients: Array) -> Array:
    return np.concatenate([coefficients[:, :1], np.log(coefficients[:, 1:]), exponents], axis=1)


_GRID = (0.05, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.1, 1.5)

CHINCHILLA = Law(
    name="chinchilla",
    equation="L = E + A / N^alpha + B / D^beta",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("E", "irreducible loss, nats per token", 0.0, np.inf),
        Parameter("A", "scale of what size leaves, N in parameters", 0.0, np.inf, log=True),
        Parameter("B", "scale of what data leaves, D in tokens", 0.0, np.inf, log=True),
        Parameter("alpha", "exponent of size", 0.005, 3.0, prior=_PRIOR, open=True),
        Parameter("beta", "exponent of data", 0.005, 3.0, prior=_PRIOR, open=True),
    ),
    formula=_formula,
    change_units=_change_units,
    separable=Separable(("alpha", "beta"), (_GRID, _GRID), _system, _assemble),
    reference="Hoffmann et al. 2022, arXiv 2203.15556, equation 2 and section 3.3 (approach 3)",
    derived=(
        Derived(
            "N_opt_exponent",
            "a in N_opt ~ C^a with C = 6 N D: beta / (alpha + beta)",
            lambda v: v["beta"] / (v["alpha"] + v["beta"]),
        ),
        Derived(
            "D_opt_exponent",
            "b in D_opt ~ C^b with C = 6 N D: alpha / (alpha + beta)",
            lambda v: v["alpha"] / (v["alpha"] + v["beta"]),
        ),
    ),
    presets=(
        Preset(
            "hoffmann2022",
            {"E": 1.69337368, "A": 406.401018, "B": 410.722827, "alpha": 0.33917084}
            | {"beta": 0.2849083},
            "Hoffmann et al. 2022, approach 3, unrounded from their LaTeX source",
        ),
        Preset(
            "besiroglu2024",
            {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
            "Besiroglu et al. 2024, arXiv 2404.10102, the same form fitted again",
        ),
    ),
)
"""L(N, D) = E + A / N^alpha + B / D^beta: N parameters, D tokens processed, L nats per token."""

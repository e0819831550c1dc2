"""The power law in one variable, with and without a floor."""

from __future__ import annotations

import numpy as np

from scalelab.laws.law import Array, Law, Parameter, Preset, Separable

# Weak (assumed): nine exponents in ten lie between .04 and 1.
_PRIOR = (0.2, 1.0)
_SCALE = Parameter("A", "scale of the part that falls", 0.0, np.inf, log=True)
_EXPONENT = Parameter("alpha", "exponent", 0.005, 3.0, prior=_PRIOR, open=True)
_GRID = (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.28, 0.35, 0.45, 0.6, 0.8, 1.1, 1.5, 2.0)


def _floored(theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
    floor, log_a, alpha = (theta[:, i, None] for i in range(3))
    falling = np.exp(log_a - alpha * inputs[0])
    loss = floor + falling
    jacobian = np.stack([1 / loss, falling / loss, -inputs[0] * falling / loss], axis=1)
    return np.log(loss), jacobian


def _floored_units(theta: Array, inputs: tuple[float, ...], loss: float) -> Array:
    moved = theta.copy()
    moved[:, 0] *= np.exp(loss)
    moved[:, 1] += loss + theta[:, 2] * inputs[0]
    return moved


def _floored_system(
    exponents: Array, inputs: tuple[Array, ...], log_loss: Array
) -> tuple[Array, Array]:
    falling = np.exp(-exponents * inputs[0])
    features = np.stack([np.ones_like(falling), falling], axis=2)
    return features, np.broadcast_to(np.exp(log_loss), falling.shape)


def _floored_assemble(exponents: Array, coefficients: Array) -> Array:
    return np.concatenate([coefficients[:, :1], np.log(coefficients[:, 1:]), exponents], axis=1)


def _bare(theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
    log_loss = theta[:, :1] - theta[:, 1:] * inputs[0]
    jacobian = np.empty((len(theta), 2, len(inputs[0])))
    jacobian[:, 0] = 1
    jacobian[:, 1] = -inputs[0]
    return log_loss, jacobian


def _bare_units(theta: Array, inputs: tuple[float, ...], loss: float) -> Array:
    moved = theta.copy()
    moved[:, 0] += loss + theta[:, 1] * inputs[0]
    return moved


def _bare_system(
    exponents: Array, inputs: tuple[Array, ...], log_loss: Array
) -> tuple[Array, Array]:
    falling = np.exp(-exponents * inputs[0])
    return falling[:, :, None], np.broadcast_to(np.exp(log_loss), falling.shape)


def _bare_assemble(exponents: Array, coefficients: Array) -> Array:
    return np.concatenate([np.log(coefficients), exponents], axis=1)


_SYMBOLS = {"params": "N", "tokens": "D", "flops": "C"}
_KAPLAN_2020 = {
    "params": Preset(
        "kaplan2020-params",
        {"A": 8.8e13**0.076, "alpha": 0.076},
        "Kaplan et al. 2020, equation 1.1: (N_c/N)^alpha_N with N_c 8.8e13, alpha_N .076",
    ),
    "tokens": Preset(
        "kaplan2020-tokens",
        {"A": 5.4e13**0.095, "alpha": 0.095},
        "Kaplan et al. 2020, equation 1.2: (D_c/D)^alpha_D with D_c 5.4e13, alpha_D .095",
    ),
}


def power(column: str = "params") -> Law:
    """The law E + A x^-alpha, where x is that column of the run table."""
    return Law(
        name="power",
        equation=f"L = E + A / {_SYMBOLS.get(column, column)}^alpha",
        inputs=(column,),
        parameters=(
            Parameter("E", "loss that is left at infinity, nats per token", 0.0, np.inf),
            _SCALE,
            _EXPONENT,
        ),
        formula=_floored,
        change_units=_floored_units,
        separable=Separable(("alpha",), (_GRID,), _floored_system, _floored_assemble),
        reference="Hestness et al. 2017, arXiv 1712.00409; with a floor as in Henighan et al. "
        "2020, arXiv 2010.14701, equation 1.1",
    )


def power_no_floor(column: str = "params") -> Law:
    """The law A x^-alpha, a straight line on log axes, where x is that column."""
    return Law(
        name="power-no-floor",
        equation=f"L = A / {_SYMBOLS.get(column, column)}^alpha",
        inputs=(column,),
        parameters=(_SCALE, _EXPONENT),
        formula=_bare,
        change_units=_bare_units,
        separable=Separable(("alpha",), (_GRID,), _bare_system, _bare_assemble),
        reference="Kaplan et al. 2020, arXiv 2001.08361, equations 1.1 to 1.3, A = (x_c)^alpha",
        presets=(_KAPLAN_2020[column],) if column in _KAPLAN_2020 else (),
    )

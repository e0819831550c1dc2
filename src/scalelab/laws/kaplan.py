"""Kaplan's laws of two variables: size and data, size and steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.dual import Array
from scalelab.laws.law import Derived, Law, Parameter, Preset
from scalelab.laws.starts import above_zero, non_negative

# Weak (assumed): nine exponents in ten of this form lie between .015 and .4.
_PRIOR = (0.08, 1.0)
_GRID = (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.6)


def _log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    size = p.alpha_N / p.alpha_D * (p.log_N_c - x.log_params)
    return p.alpha_D * np.logaddexp(size, p.log_D_c - x.log_tokens)


def _log_coefficients(rows: Array) -> Array:
    """Logs of the coefficients (g, 2) whose terms, relative to the loss, add up to 1."""
    return np.log(above_zero(non_negative(rows, np.ones(rows.shape[:2])), rows))


def _starts(x: SimpleNamespace, log_loss: Array) -> Array:
    # L^(1/alpha_D) = N_c^r N^-r + D_c D^-1, with r = alpha_N / alpha_D, is linear.
    alpha_n, alpha_d = (axis.ravel() for axis in np.meshgrid(_GRID, _GRID, indexing="ij"))
    ratio = (alpha_n / alpha_d)[:, None]
    log_n, log_d = x.log_params - x.log_params.mean(), x.log_tokens - x.log_tokens.mean()
    middle = log_loss.mean()
    power = np.exp((log_loss - middle) / alpha_d[:, None])
    rows = np.stack([np.exp(-ratio * log_n), np.broadcast_to(np.exp(-log_d), power.shape)], axis=2)
    found = _log_coefficients(rows / power[:, :, None])
    scale = found + (middle / alpha_d)[:, None]
    log_nc = scale[:, 0] / ratio[:, 0] + x.log_params.mean()
    return np.stack([alpha_n, log_nc, alpha_d, scale[:, 1] + x.log_tokens.mean()], axis=1)


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
    log_response=_log_loss,
    starts=_starts,
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


def _log_loss_steps(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    size = p.alpha_N * (p.log_N_c - x.log_params)
    return np.logaddexp(size, p.alpha_S * (p.log_S_c - x.log_steps_min))


def _starts_steps(x: SimpleNamespace, log_loss: Array) -> Array:
    # Linear in N_c^alpha_N and S_c^alpha_S.
    steps = (0.3, 0.45, 0.6, 0.76, 0.9, 1.1)
    alpha_n, alpha_s = (axis.ravel() for axis in np.meshgrid(_GRID, steps, indexing="ij"))
    loss = np.exp(log_loss)
    features = [
        np.exp(-alpha_n[:, None] * x.log_params),
        np.exp(-alpha_s[:, None] * x.log_steps_min),
    ]
    rows = np.stack(features, axis=2) / loss[:, None]
    found = _log_coefficients(rows)
    return np.stack([alpha_n, found[:, 0] / alpha_n, alpha_s, found[:, 1] / alpha_s], axis=1)


KAPLAN_STEPS = Law(
    name="kaplan-steps",
    equation="L = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S",
    inputs=("params", "steps_min"),
    parameters=(
        Parameter("alpha_N", "exponent of size", 0.002, 3.0, prior=_PRIOR, open=True),
        Parameter("N_c", "scale of size, parameters", 0.0, np.inf, log=True),
        Parameter("alpha_S", "exponent of steps", 0.02, 5.0, prior=(0.6, 0.7), open=True),
        Parameter("S_c", "scale of steps", 0.0, np.inf, log=True),
    ),
    log_response=_log_loss_steps,
    starts=_starts_steps,
    reference="Kaplan et al. 2020, arXiv 2001.08361, equation 1.6 and table 3",
    presets=(
        Preset(
            "kaplan2020-steps",
            {"alpha_N": 0.077, "N_c": 6.5e13, "alpha_S": 0.76, "S_c": 2.1e3},
            "Kaplan et al. 2020, table 3",
        ),
    ),
)
"""L(N, S_min) = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S.

S_min is the steps that the run would have needed at a batch far above the critical one:
S / (1 + B_crit(L) / B). For points of a curve after warm-up, at constant learning rate.
"""

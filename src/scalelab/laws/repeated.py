"""Muennighoff's law of repeated data: each epoch over the same tokens is worth less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.chinchilla import CHINCHILLA
from scalelab.laws.dual import Array
from scalelab.laws.law import Law, Parameter, Preset
from scalelab.laws.starts import projected

_EXPONENTS = (0.1, 0.2, 0.35, 0.5, 0.8)
_REPEATS = (2.0, 8.0, 30.0, 200.0)


def _worth(log_all: Any, log_unique: Any, log_decay: Any) -> Any:
    """Log of U + U R* (1 - exp(-R / R*)) with R = all / U - 1 repeats."""
    repeats = np.maximum(np.exp(log_all - log_unique) - 1.0, 0.0)
    decay = np.exp(log_decay)
    return log_unique + np.log1p(-decay * np.expm1(-repeats / decay))


def _seen(x: SimpleNamespace) -> Array:
    """Log of the distinct tokens that a run came across, were there more of them or not."""
    return np.asarray(np.minimum(x.log_tokens, x.log_unique_tokens))


def _log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    # N_opt(U), the size that C = 6 N D would give to U tokens: alpha A N^-alpha = beta B U^-beta.
    log_u = _seen(x)
    log_optimal = (np.log(p.alpha) + p.log_A - np.log(p.beta) - p.log_B + p.beta * log_u) / p.alpha
    log_base = np.minimum(x.log_params, log_optimal)
    log_n = _worth(x.log_params, log_base, p.log_R_N)
    log_d = _worth(x.log_tokens, log_u, p.log_R_D)
    return np.log(p.E + np.exp(p.log_A - p.alpha * log_n) + np.exp(p.log_B - p.beta * log_d))


def _starts(x: SimpleNamespace, log_loss: Array) -> Array:
    # As Chinchilla's form over the worth of the tokens, with parameters at their full worth.
    points = np.array([(a, b) for a in _EXPONENTS for b in _EXPONENTS])
    found = []
    for repeats in _REPEATS:
        log_d = _worth(x.log_tokens, _seen(x), np.log(repeats))
        start = projected(CHINCHILLA, (x.log_params, log_d), log_loss, points)
        found += [np.column_stack([start, np.log([[repeats, r]] * len(start))]) for r in _REPEATS]
    return np.concatenate(found)


def _decay(name: str, meaning: str) -> Parameter:
    return Parameter(name, meaning, 0.01, 1e6, log=True, open=True)


REPEATED = Law(
    name="repeated-data",
    equation="L = E + A / N'^alpha + B / D'^beta, D' = U + U R_D (1 - exp(-(D/U - 1) / R_D)), "
    "N' likewise from U_N = min(N, N_opt(U)) and R_N",
    inputs=("params", "tokens", "unique_tokens"),
    parameters=(
        *CHINCHILLA.parameters,
        _decay("R_D", "repeats after which data has lost 63% of its worth"),
        _decay("R_N", "the same of parameters beyond N_opt(U)"),
    ),
    log_response=_log_loss,
    starts=_starts,
    reference="Muennighoff et al. 2023, arXiv 2305.16264, equation 5",
    presets=(
        Preset(
            "muennighoff2023-repeated",
            {"E": float(np.exp(0.6254804)), "A": float(np.exp(6.255414))}
            | {"B": float(np.exp(7.3049974)), "alpha": 0.3526596, "beta": 0.3526596}
            | {"R_D": 15.387756, "R_N": 5.309743},
            "Muennighoff et al. 2023, C4, unrounded from their notebook",
        ),
    ),
)
"""Loss after D tokens of which U are distinct; E, A, B, alpha, beta are those of one epoch."""

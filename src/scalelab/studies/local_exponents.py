"""Local exponents of a ladder: how fast the loss falls with N or D where one of them is short."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws import Array, Law, Parameter

_ANY = (-np.inf, np.inf)
_NAMES = ("a", "b", "c", "e", "f", "g")


def _columns(x: SimpleNamespace) -> list[Array]:
    n, d = x.log_params, x.log_tokens
    return [np.ones_like(n), n, d, n * d, n * n, d * d]


def _log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    columns = zip(_NAMES, _columns(x), strict=True)
    return sum(getattr(p, name) * column for name, column in columns)


def _starts(x: SimpleNamespace, log_loss: Array) -> Array:
    found = np.linalg.lstsq(np.stack(_columns(x), axis=1), log_loss, rcond=None)[0]
    return np.asarray(found, dtype=np.float64)[None]


LOCAL = Law(
    name="log-quadratic",
    equation="ln L = a + b n + c d + e n d + f n^2 + g d^2, n = ln N, d = ln D",
    inputs=("params", "tokens"),
    parameters=tuple(Parameter(name, "coefficient", *_ANY) for name in _NAMES),
    log_response=_log_loss,
    starts=_starts,
    reference="the expansion of any smooth law to second order in the logarithms",
)
"""No law at all: what any of them looks like over a ladder, so that it favours none."""


def exponent_of_size(p: dict[str, Array], params: float, tokens: float) -> Array:
    """-d ln L / d ln N at a size and a data size."""
    n, d = np.log(params), np.log(tokens)
    return np.asarray(-(p["b"] + p["e"] * d + 2 * p["f"] * n))


def exponent_of_data(p: dict[str, Array], params: float, tokens: float) -> Array:
    """-d ln L / d ln D at a size and a data size."""
    n, d = np.log(params), np.log(tokens)
    return np.asarray(-(p["c"] + p["e"] * n + 2 * p["g"] * d))

"""Laws whose logarithm is linear in all parameters: descriptions, where no form is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws import Array, Law, Parameter

Term = Callable[[SimpleNamespace], Array]
"""x -> (n,), where x has each input as ``log_NAME``."""


def log_linear(
    name: str,
    equation: str,
    inputs: Sequence[str],
    terms: Mapping[str, Term],
    *,
    response: str = "loss",
    reference: str,
) -> Law:
    """ln(response) = sum of coefficient x term; the coefficients have the terms' names."""

    def log_response(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        return sum(getattr(p, key) * term(x) for key, term in terms.items())

    def starts(x: SimpleNamespace, log_loss: Array) -> Array:
        rows = np.stack([term(x) for term in terms.values()], axis=1)
        found = np.linalg.lstsq(rows, log_loss, rcond=None)[0]
        return np.asarray(found, dtype=np.float64)[None]

    return Law(
        name=name,
        equation=equation,
        inputs=tuple(inputs),
        parameters=tuple(Parameter(key, "coefficient", -np.inf, np.inf) for key in terms),
        log_response=log_response,
        starts=starts,
        response=response,
        reference=reference,
    )


LOCAL = log_linear(
    "log-quadratic",
    "ln L = a + b n + c d + e n d + f n^2 + g d^2, n = ln N, d = ln D",
    ("params", "tokens"),
    {
        "a": lambda x: np.ones_like(x.log_params),
        "b": lambda x: x.log_params,
        "c": lambda x: x.log_tokens,
        "e": lambda x: x.log_params * x.log_tokens,
        "f": lambda x: x.log_params**2,
        "g": lambda x: x.log_tokens**2,
    },
    reference="the expansion of any smooth law to second order in the logarithms",
)
"""What any law looks like over a ladder, so that it favours none."""


def exponent_of_size(p: dict[str, Array], params: float, tokens: float) -> Array:
    """-d ln L / d ln N of `LOCAL` at a size and a data size."""
    n, d = np.log(params), np.log(tokens)
    return np.asarray(-(p["b"] + p["e"] * d + 2 * p["f"] * n))


def exponent_of_data(p: dict[str, Array], params: float, tokens: float) -> Array:
    """-d ln L / d ln D of `LOCAL` at a size and a data size."""
    n, d = np.log(params), np.log(tokens)
    return np.asarray(-(p["c"] + p["e"] * n + 2 * p["g"] * d))


def beside_loss(response: str, column: str) -> Law:
    """ln L' = c0 + c1 ln L + c2 (ln L)^2 + b ln x: what x does to L' at equal L.

    response: the column L'. column: x.
    """
    return log_linear(
        "beside-loss",
        "ln L' = c0 + c1 ln L + c2 (ln L)^2 + b ln x",
        ("loss", column),
        {
            "c0": lambda x: np.ones_like(x.log_loss),
            "c1": lambda x: x.log_loss,
            "c2": lambda x: x.log_loss**2,
            "b": lambda x: getattr(x, f"log_{column}"),
        },
        response=response,
        reference="a partial regression; the claim is that of Kaplan et al. 2020, section 3.2.2",
    )

"""Training FLOP per token, by convention. They differ, and they change exponents."""

from __future__ import annotations

from collections.abc import Callable

from scalelab.counting.parameters import count_parameters
from scalelab.counting.shape import RecurrentShape, Shape


def _six_n(shape: Shape) -> float:
    return 6.0 * count_parameters(shape).non_embedding


def _kaplan(shape: Shape) -> float:
    if isinstance(shape, RecurrentShape):
        return _six_n(shape)
    attention = 6.0 * shape.n_layer * shape.context * shape.d_model
    return _six_n(shape) + attention


def _chinchilla(shape: Shape) -> float:
    d, context = shape.d_model, shape.context
    embedding = 2.0 * shape.vocabulary * d
    logits = 2.0 * d * shape.vocabulary
    if isinstance(shape, RecurrentShape):
        return 3.0 * (embedding + 2.0 * count_parameters(shape).recurrent + logits)
    attention = (
        2.0 * 3 * d * d  # Q, K, V
        + 2.0 * context * d  # scores against every position of the context
        + 3.0 * shape.n_head * context  # softmax
        + 2.0 * context * d  # weighted values
        + 2.0 * d * d  # output
    )
    maps = 3 if shape.activation == "swiglu" else 2
    dense = 2.0 * maps * d * shape.d_ff
    return 3.0 * (embedding + shape.n_layer * (attention + dense) + logits)


def _exact(shape: Shape) -> float:
    matrices = count_parameters(shape).non_embedding + shape.vocabulary * shape.d_model
    if isinstance(shape, RecurrentShape):
        return 6.0 * matrices
    return 6.0 * matrices + 12.0 * shape.n_layer * shape.context * shape.d_model


CONVENTIONS: dict[str, Callable[[Shape], float]] = {
    "6N": _six_n,
    "kaplan": _kaplan,
    "chinchilla": _chinchilla,
    "exact": _exact,
}


def flops_per_token(shape: Shape, convention: str = "exact") -> float:
    """Training FLOP per token (forward is a third, backward two thirds).

    6N: 6 N, N non-embedding. kaplan: 6 N + 6 n_layer context d_model, attention over the causal
    half, output layer left out (Kaplan et al. 2020, table 1). chinchilla: Hoffmann et al. 2022,
    appendix F (embedding, full attention, softmax, output layer). exact: every matrix product as
    executed with a full square of attention, 6 (N + vocabulary d_model) + 12 n_layer context
    d_model. A recurrent network has no attention: 6N and kaplan are then the same, chinchilla is
    embedding, cells and output layer, exact 6 (N + vocabulary d_model). A float, because 6 N D
    overflows 64-bit integers above 9.2e18.

    Raises KeyError for a convention that is not in CONVENTIONS.
    """
    return CONVENTIONS[convention](shape)

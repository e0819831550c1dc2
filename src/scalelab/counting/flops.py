"""Training FLOP per token, by convention. They differ, and they change exponents."""

from __future__ import annotations

from collections.abc import Callable

from scalelab.counting.parameters import count_parameters
from scalelab.counting.shape import (
    Countable,
    ModelShape,
    RecurrentShape,
    TransformerShape,
    model_shape,
)


def _six_n(shape: Countable) -> float:
    count = count_parameters(shape)
    return 6.0 * (count.non_embedding - count.inactive)


def _kaplan(shape: Countable) -> float:
    if isinstance(shape, RecurrentShape):
        return _six_n(shape)
    shape = _model(shape)
    return _six_n(shape) + 6.0 * shape.attended * shape.d_query


def _chinchilla(shape: Countable) -> float:
    d, count = shape.d_model, count_parameters(shape)
    embedding = 2.0 * shape.vocabulary * d
    logits = 2.0 * d * shape.vocabulary
    if isinstance(shape, RecurrentShape):
        return 3.0 * (embedding + 2.0 * count.recurrent + logits)
    shape = _model(shape)
    matrices = 2.0 * (count.non_embedding - count.inactive)
    # Of a query with a position: its score, its part of the softmax, its weighted value.
    per_position = 2.0 * shape.d_query + 3.0 * shape.n_head + 2.0 * shape.d_query
    return 3.0 * (embedding + matrices + per_position * shape.attended + logits)


def _exact(shape: Countable) -> float:
    products = _six_n(shape) + 6.0 * shape.vocabulary * shape.d_model
    if isinstance(shape, RecurrentShape):
        return products
    shape = _model(shape)
    return products + 12.0 * shape.attended * shape.d_query


def _model(shape: ModelShape | TransformerShape) -> ModelShape:
    return model_shape(shape) if isinstance(shape, TransformerShape) else shape


CONVENTIONS: dict[str, Callable[[Countable], float]] = {
    "6N": _six_n,
    "kaplan": _kaplan,
    "chinchilla": _chinchilla,
    "exact": _exact,
}


def flops_per_token(shape: Countable, convention: str = "exact") -> float:
    """Training FLOP per token (forward is a third, backward two thirds).

    6N: 6 N, N non-embedding. kaplan: 6 N + 6 n_layer context d_model, attention over the causal
    half, output layer left out (Kaplan et al. 2020, table 1). chinchilla: Hoffmann et al. 2022,
    appendix F (embedding, full attention, softmax, output layer). exact: every matrix product as
    executed with a full square of attention, 6 (N + vocabulary d_model) + 12 n_layer context
    d_model.

    N is what a token uses: of a mixture of experts, the router and the experts taken. In the terms
    of attention d_model is n_head head_dim, and grouped queries change nothing; a layer with
    sliding attention has its window in place of the context. A recurrent network has no attention:
    6N and kaplan are then the same, chinchilla is embedding, cells and output layer, exact
    6 (N + vocabulary d_model). A float, because 6 N D overflows 64-bit integers above 9.2e18.

    Raises KeyError for a convention that is not in CONVENTIONS.
    """
    return CONVENTIONS[convention](shape)

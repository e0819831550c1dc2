"""FLOP conventions against published figures and a count of the products that really run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scalelab.counting import (
    CONVENTIONS,
    Experts,
    ModelShape,
    RecurrentShape,
    TransformerShape,
    count_parameters,
    flops_per_token,
)
from scalelab.models import Transformer


@pytest.mark.parametrize(
    "shape",
    [
        TransformerShape(3, 32, 2, 128, 16, 64),
        TransformerShape(2, 24, 3, 50, 16, 40, "learned", "rmsnorm", "swiglu", False, True),
    ],
)
def test_exact_is_what_torch_counts_forward(shape: TransformerShape) -> None:
    tokens = torch.zeros(2, 16, dtype=torch.long)
    # The plain attention kernel multiplies the full square, as the convention counts it.
    kernel = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with kernel, FlopCounterMode(display=False) as counter, torch.no_grad():
        Transformer(shape).logits(tokens)
    assert counter.get_total_flops() / 32 == pytest.approx(flops_per_token(shape, "exact") / 3)


LLAMA = ModelShape(
    *(3, 32, 6, 2, 10, 44, 16, 64),
    gated=True,
    norm="rmsnorm",
    norm_shift=False,
    biases=frozenset(),
    tied=False,
)


def products(shape: ModelShape, length: int) -> None:
    """Every matrix product of a forward pass over `length` tokens, written out."""
    x = torch.zeros(length, shape.d_model)

    def feed_forward(width: int) -> None:
        hidden = x @ torch.zeros(shape.d_model, width)
        if shape.gated:
            hidden = hidden * (x @ torch.zeros(shape.d_model, width))
        hidden @ torch.zeros(width, shape.d_model)

    for layer in range(shape.n_layer):
        seen = shape.window if layer < shape.window_layers and shape.window else length
        q = x @ torch.zeros(shape.d_model, shape.n_head * shape.head_dim)
        for _ in "kv":
            x @ torch.zeros(shape.d_model, shape.n_kv_head * shape.head_dim)
        for head in q.split(shape.head_dim, dim=1):  # each with its group's keys and values
            weights = head @ torch.zeros(shape.head_dim, seen)
            weights @ torch.zeros(seen, shape.head_dim)
        q @ torch.zeros(shape.n_head * shape.head_dim, shape.d_model)
        experts = shape.experts
        if experts is None or layer < experts.dense_layers:
            feed_forward(shape.d_ff)
            continue
        x @ torch.zeros(shape.d_model, experts.count)
        for _ in range(experts.active):
            feed_forward(experts.d_ff)
        if experts.d_shared:
            feed_forward(experts.d_shared)
    x @ torch.zeros(shape.d_model, shape.vocabulary)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gated": False, "tied": True, "learned_positions": 16},
        {"window": 5, "window_layers": 2},
        {"window": 99, "window_layers": 3},
        {"experts": Experts(8, 2, 20)},
        {"experts": Experts(8, 3, 20, d_shared=12, dense_layers=1)},
    ],
)
def test_exact_is_what_torch_counts_of_the_products_of_any_shape(changes: dict[str, Any]) -> None:
    shape = replace(LLAMA, **changes)
    with FlopCounterMode(display=False) as counter:
        products(replace(shape, window=min(shape.window or 16, 16)), 16)
    assert counter.get_total_flops() / 16 == pytest.approx(flops_per_token(shape, "exact") / 3)


def test_grouped_queries_cost_less_in_projections_and_the_same_in_scores() -> None:
    full = replace(LLAMA, n_kv_head=6)
    assert flops_per_token(full) - flops_per_token(LLAMA) == 6 * 3 * 2 * 32 * 4 * 10
    for name in ("kaplan", "exact"):
        by_scores = [
            flops_per_token(one, name) - flops_per_token(one, "6N") for one in (full, LLAMA)
        ]
        assert by_scores[0] == by_scores[1]


def test_a_matrix_of_its_own_for_the_output_costs_no_further_product() -> None:
    for name in CONVENTIONS:
        assert flops_per_token(replace(LLAMA, tied=True), name) == flops_per_token(LLAMA, name)


def test_chinchilla_of_a_grouped_gated_shape_by_hand() -> None:
    # Per token: embedding and logits 2 V d = 4096 each. A layer: queries 2 x 32 x 60 = 3840, keys
    # and values 2 x 32 x 40 = 2560, scores and values 2 x 16 x 60 = 1920 each, softmax 3 x 6 x 16 =
    # 288, output 3840, feed-forward 2 x 3 x 32 x 44 = 8448; together 22816.
    assert flops_per_token(LLAMA, "chinchilla") == 3 * (2 * 4096 + 3 * 22816)


def test_six_n_misses_29_percent_of_exact_at_width_64() -> None:
    shape = TransformerShape(4, 64, 4, 256, 128, 256)
    missed = 1 - flops_per_token(shape, "6N") / flops_per_token(shape, "exact")
    assert missed == pytest.approx(0.29, abs=0.005)


def test_kaplan_counts_the_causal_half_of_attention() -> None:
    shape = TransformerShape(4, 64, 4, 256, 128, 256)
    six_n = 6 * count_parameters(shape).non_embedding
    assert flops_per_token(shape, "kaplan") - six_n == 6 * 4 * 128 * 64


def test_chinchilla_by_hand() -> None:
    # Hoffmann et al. 2022, appendix F, per token: embedding 2 V d = 20; Q, K, V 2 x 3 d d = 24;
    # scores 2 T d = 16; softmax 3 H T = 12; values 16; output 2 d d = 8; dense 4 d d_ff = 64;
    # logits 2 d V = 20; forward 180, training three times that.
    assert flops_per_token(TransformerShape(1, 2, 1, 8, 4, 5), "chinchilla") == 540


def test_recurrent_networks_by_hand() -> None:
    # Two layers of width 3, 5 tokens: an LSTM's matrices 2 x 8 x 9 = 144, a GRU's 2 x 6 x 9 = 108.
    lstm, gru = RecurrentShape("lstm", 2, 3, 16, 5), RecurrentShape("gru", 2, 3, 16, 5)
    assert flops_per_token(lstm, "6N") == flops_per_token(lstm, "kaplan") == 6 * 144
    assert flops_per_token(lstm, "exact") == 6 * (144 + 15)
    assert flops_per_token(gru, "exact") == 6 * (108 + 15)
    # Embedding 2 V d = 30, cells 2 N, logits 2 d V = 30; training three times that.
    assert flops_per_token(gru, "chinchilla") == 3 * (30 + 2 * 108 + 30)

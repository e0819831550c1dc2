"""FLOP conventions against published figures and a count of the products that really run."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scalelab.counting import RecurrentShape, TransformerShape, count_parameters, flops_per_token
from scalelab.models import Transformer


def test_exact_is_what_torch_counts_forward() -> None:
    shape = TransformerShape(3, 32, 2, 128, 16, 64)
    tokens = torch.zeros(2, 16, dtype=torch.long)
    # The plain attention kernel multiplies the full square, as the convention counts it.
    kernel = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with kernel, FlopCounterMode(display=False) as counter, torch.no_grad():
        Transformer(shape).logits(tokens)
    assert counter.get_total_flops() / 32 == pytest.approx(flops_per_token(shape, "exact") / 3)


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

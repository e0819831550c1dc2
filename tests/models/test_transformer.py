"""The network: causal, seeded, position-aware, and able to learn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from scalelab.counting import TransformerShape
from scalelab.models import Transformer
from scalelab.models.transformer import rotary_angles, rotate
from scalelab.training.loop import FAR_ABOVE

SHAPE = TransformerShape(2, 16, 2, 64, 12, 30)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "swiglu"])
def test_no_token_sees_the_future(positions: str, activation: str) -> None:
    shape = replace(SHAPE, positions=positions, activation=activation)
    model = Transformer(shape)
    tokens = torch.randint(0, 30, (1, 12))
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 30
    before, after = model.logits(tokens), model.logits(changed)
    torch.testing.assert_close(before[0, :7], after[0, :7])
    assert not torch.allclose(before[0, 7:], after[0, 7:])


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_order_of_earlier_tokens_matters(positions: str) -> None:
    model = Transformer(replace(SHAPE, positions=positions))
    tokens = torch.arange(12)[None]
    swapped = tokens.clone()
    swapped[0, [2, 5]] = tokens[0, [5, 2]]
    assert not torch.allclose(model.logits(tokens)[0, -1], model.logits(swapped)[0, -1])


def test_rotary_products_depend_on_distance_alone() -> None:
    cos, sin = rotary_angles(20, 8)
    q, k = torch.randn(8), torch.randn(8)
    rotated_q, rotated_k = rotate(q.expand(20, 8), cos, sin), rotate(k.expand(20, 8), cos, sin)
    products = rotated_q @ rotated_k.t()
    for distance in (0, 3, 7):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-4)


def test_same_seed_same_parameters_and_other_seed_others() -> None:
    one, two, other = Transformer(SHAPE, 3), Transformer(SHAPE, 3), Transformer(SHAPE, 4)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


@pytest.mark.parametrize("tied", [True, False])
def test_starts_near_the_uniform_guess_and_learns(tied: bool) -> None:
    model = Transformer(replace(SHAPE, tied=tied))
    tokens = torch.arange(13).repeat(4, 1)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = model(inputs, targets).item()
    assert abs(first - math.log(30)) < FAR_ABOVE / 2
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(inputs, targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first

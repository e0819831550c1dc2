"""The fused output layer equals torch's separate operations, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from scalelab.models.cross_entropy import LOGITS, linear_cross_entropy


@pytest.mark.parametrize("rows", [3, LOGITS // 20, LOGITS // 20 + 7])
def test_value_and_gradients_equal_torch(rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, 12, generator=generator, dtype=torch.float64)
    weight = torch.randn(20, 12, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 20, (rows,), generator=generator)
    results = []
    for loss_of in (
        lambda h, w: linear_cross_entropy(h, w, targets),
        lambda h, w: F.cross_entropy(h @ w.t(), targets),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = loss_of(h, w)
        (3 * loss).backward()
        results.append((loss.detach(), h.grad, w.grad))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs)


def test_without_gradient_gives_the_same_value() -> None:
    hidden, weight = torch.randn(2, 5, 8), torch.randn(9, 8)
    targets = torch.randint(0, 9, (2, 5))
    with torch.no_grad():
        plain = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(
        plain, linear_cross_entropy(hidden.requires_grad_(), weight, targets).detach()
    )


def test_a_probability_of_zero_is_a_large_loss_and_not_an_infinite_one() -> None:
    hidden = torch.tensor([[200.0], [1.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0]))
    loss.backward()
    assert 40 < loss.item() < 100
    torch.testing.assert_close(hidden.grad[0], torch.tensor([1.0]))  # 2 / 2 rows

"""The GRU for CPUs equals torch.nn.GRU, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from scalelab.models.gru import run_gru


@pytest.mark.parametrize(("length", "rows", "layers"), [(9, 3, 2), (1, 4, 1), (5, 1, 3)])
def test_outputs_states_and_every_gradient_equal_torchs(
    length: int, rows: int, layers: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    gru = nn.GRU(6, 6, layers).double()

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, h = random(length, rows, 6), random(layers, rows, 6)
    weight_out, weight_last = random(length, rows, 6), random(layers, rows, 6)
    results = []
    for run in (lambda x, h: gru(x, h), lambda x, h: run_gru(gru, x, h)):
        gru.zero_grad()
        x_in, h_in = x.clone().requires_grad_(), h.clone().requires_grad_()
        out, last = run(x_in, h_in)
        ((out * weight_out).sum() + (last * weight_last).sum()).backward()
        gradients = [parameter.grad.clone() for parameter in gru.parameters()]
        results.append([out.detach(), last.detach(), x_in.grad, h_in.grad, *gradients])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_single_precision_too() -> None:
    gru = nn.GRU(16, 16, 2)
    x, h = torch.randn(64, 8, 16), torch.zeros(2, 8, 16)
    torch.testing.assert_close(run_gru(gru, x, h)[0], gru(x, h)[0], rtol=1e-4, atol=1e-5)

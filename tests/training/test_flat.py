"""Flat parameters train as torch's own AdamW over separate tensors does."""

from __future__ import annotations

import pytest
import torch

from scalelab.counting import RecurrentShape, TransformerShape
from scalelab.models import Recurrent, Transformer
from scalelab.training.flat import FlatParameters

SHAPE = TransformerShape(2, 16, 2, 64, 8, 20)


def test_steps_equal_those_of_plain_adamw() -> None:
    ours, plain = Transformer(SHAPE), Transformer(SHAPE)
    flat = FlatParameters(ours)
    optimizer = flat.optimizer(1e-2, (0.9, 0.95), 0.1)
    decayed = [p for n, p in plain.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    rest = [p for p in plain.parameters() if not any(p is q for q in decayed)]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-2, betas=(0.9, 0.95), foreach=False,
    )  # fmt: skip
    tokens = torch.randint(0, 20, (3, 9), generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        flat.zero_grad()
        ours(tokens[:, :-1], tokens[:, 1:]).backward()
        norm = flat.norm()
        flat.scale_grad((1.0 / (norm + 1e-6)).clamp(max=1.0))
        optimizer.step()
        reference.zero_grad()
        plain(tokens[:, :-1], tokens[:, 1:]).backward()
        expected = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        reference.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_groups_hold_every_parameter_once() -> None:
    model = Transformer(SHAPE)
    flat = FlatParameters(model)
    assert flat.count == sum(p.numel() for p in model.parameters())
    assert flat.decayed.numel() == 12 * 2 * 16**2


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_networks_weights_lie_as_cudnn_wants_them(cell: str) -> None:
    """All weights layer by layer, then all biases, in one piece from the beginning of a memory."""
    model = Recurrent(RecurrentShape(cell, 2, 6, 8, 20))
    FlatParameters(model)
    named = dict(model.blocks.named_parameters())
    order = [
        named[f"{kind}_{side}_l{layer}"]
        for kind in ("weight", "bias")
        for layer in range(2)
        for side in ("ih", "hh")
    ]
    at = order[0].untyped_storage().data_ptr()
    for parameter in order:
        assert parameter.data_ptr() == at
        at += parameter.numel() * parameter.element_size()


def test_the_norm_of_what_was_added_since() -> None:
    flat = FlatParameters(Transformer(SHAPE))
    for grad in flat.grads:
        grad.fill_(1.0)
    before = flat.grad_copy()
    flat.grads[0].add_(3.0)
    assert flat.squared_norm_since(before) == pytest.approx(9.0 * flat.decayed.numel())
    assert float(flat.grads[0].mean()) == 4.0

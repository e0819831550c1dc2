"""LSTM and GRU against cells written out by hand, their state, and their start."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scalelab.counting import RecurrentShape, count_parameters
from scalelab.models import Recurrent, build_model, join_rows, take_rows
from scalelab.training.flat import FlatParameters
from scalelab.training.loop import FAR_ABOVE

LSTM = RecurrentShape("lstm", 2, 16, 12, 30)
GRU = replace(LSTM, cell="gru")
BOTH = pytest.mark.parametrize("shape", [LSTM, GRU], ids=["lstm", "gru"])


def text(rows: int = 3, length: int = 13, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 30, (rows, length), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def lstm_cell(x: Tensor, h: Tensor, c: Tensor, *p: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000."""
    w_x, w_h, b_x, b_h = p
    i, f, g, o = (x @ w_x.t() + b_x + h @ w_h.t() + b_h).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_cell(x: Tensor, h: Tensor, *p: Tensor) -> Tensor:
    """Cho et al. 2014, the reset gate on the product as in cuDNN and torch."""
    w_x, w_h, b_x, b_h = p
    r_x, z_x, n_x = (x @ w_x.t() + b_x).chunk(3, dim=-1)
    r_h, z_h, n_h = (h @ w_h.t() + b_h).chunk(3, dim=-1)
    z = (z_x + z_h).sigmoid()
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return (1 - z) * n + z * h


def by_hand(model: Recurrent, tokens: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss and last states from zeros, cell by cell."""
    shape, named = model.shape, dict(model.blocks.named_parameters())
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    zeros = torch.zeros(len(tokens), shape.d_model, dtype=torch.float64)
    h, c = [zeros] * shape.n_layer, [zeros] * shape.n_layer
    losses = []
    for t in range(tokens.shape[1]):
        x = model.embedding.weight[tokens[:, t]]
        for layer in range(shape.n_layer):
            parameters = [named[f"{kind}_l{layer}"] for kind in kinds]
            if shape.cell == "lstm":
                h[layer], c[layer] = lstm_cell(x, h[layer], c[layer], *parameters)
            else:
                h[layer] = gru_cell(x, h[layer], *parameters)
            x = h[layer]
        losses.append(F.cross_entropy(x @ model.output_weight.t(), targets[:, t]))
    states = [torch.stack(h)] + ([torch.stack(c)] if shape.cell == "lstm" else [])
    return torch.stack(losses).mean(), states


@BOTH
@pytest.mark.parametrize("tied", [True, False])
def test_loss_state_and_gradients_are_those_of_cells_by_hand(
    shape: RecurrentShape, tied: bool
) -> None:
    model = Recurrent(replace(shape, tied=tied), seed=1).double()
    tokens, targets = text()
    expected, states = by_hand(model, tokens, targets)
    expected.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss, after = model.carried(tokens, targets, model.start(3))
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(after, states, strict=True):
        torch.testing.assert_close(ours, theirs)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(model.losses(tokens, targets).mean(), expected.float())
    torch.testing.assert_close(
        F.cross_entropy(model.logits(tokens).flatten(0, 1), targets.flatten()), expected
    )


@BOTH
def test_a_carried_state_goes_on_where_the_tokens_stopped(shape: RecurrentShape) -> None:
    model = Recurrent(shape)
    tokens, targets = text(length=25)
    whole, end = model.carried(tokens, targets, model.start(3))
    first, state = model.carried(tokens[:, :8], targets[:, :8], model.start(3))
    second, last = model.carried(tokens[:, 8:], targets[:, 8:], state)
    torch.testing.assert_close((8 * first + 16 * second) / 24, whole)
    for ours, theirs in zip(last, end, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not any(part.requires_grad for part in state), "cut off its past"
    assert all(part.abs().max() > 0 for part in state)


@BOTH
def test_rows_and_their_states_are_independent(shape: RecurrentShape) -> None:
    model = Recurrent(shape)
    tokens, targets = text(rows=5)
    _, state = model.carried(*text(rows=5, seed=1), model.start(5))
    whole, after = model.carried(tokens, targets, state)
    parts = [(0, 2), (2, 5)]
    found = [model.carried(tokens[a:b], targets[a:b], take_rows(state, a, b)) for a, b in parts]
    torch.testing.assert_close((2 * found[0][0] + 3 * found[1][0]) / 5, whole)
    for ours, theirs in zip(join_rows([part for _, part in found]), after, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert join_rows([(), ()]) == take_rows((), 0, 2) == (), "a Transformer carries nothing"


@BOTH
def test_no_token_sees_the_future(shape: RecurrentShape) -> None:
    model = Recurrent(shape)
    tokens, _ = text()
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 30
    before, after = model.logits(tokens), model.logits(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    torch.testing.assert_close(before[1:], after[1:])
    assert not torch.allclose(before[0, 7:], after[0, 7:])


@BOTH
def test_same_seed_same_parameters_and_other_seed_others(shape: RecurrentShape) -> None:
    torch.manual_seed(5)
    one = build_model(shape, 3)
    torch.manual_seed(6)
    two, other = build_model(shape, 3), build_model(shape, 4)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


@BOTH
def test_starts_near_the_uniform_guess_and_learns(shape: RecurrentShape) -> None:
    model = build_model(shape)
    tokens = torch.arange(13).repeat(4, 1)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-2)
    first = model(inputs, targets).item()
    assert abs(first - math.log(30)) < FAR_ABOVE / 2
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(inputs, targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first


@BOTH
def test_counts_equal_the_built_model(shape: RecurrentShape) -> None:
    for one in (shape, replace(shape, tied=False, n_layer=3)):
        model, count = Recurrent(one), count_parameters(one)
        assert count.total == sum(p.numel() for p in model.parameters())
        assert FlatParameters(model).decayed.numel() == count.recurrent, "all matrices of layers"


@BOTH
def test_flat_parameters_are_those_that_the_layers_use(shape: RecurrentShape) -> None:
    plain, model = Recurrent(shape), Recurrent(shape)
    flat = FlatParameters(model)
    tokens, targets = text()
    plain(tokens, targets).backward()
    model(tokens, targets).backward()
    torch.testing.assert_close(
        flat.norm(), torch.nn.utils.clip_grad_norm_(plain.parameters(), math.inf)
    )
    flat.decayed.data.zero_()
    flat.plain.data.zero_()
    assert model(tokens, targets).item() == pytest.approx(math.log(30))

"""A GRU on a CPU: the numbers of torch.nn.GRU, its gradient written out.

torch has no fused GRU for CPUs: its layer builds an autograd graph of some twenty small operations
a time step. Here a step is six operations forward and three backward; what does not depend on the
step before is done for all steps at once. (measured: docs/LOG.md)

    r, z = sigmoid(W_rz x + b + U_rz h + c);  n = tanh(W_n x + b + r (U_n h + c))
    h'   = n + z (h - n)

T: time steps, B: rows, D: width. Source: Cho et al. 2014, the reset gate on the product as in
cuDNN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor
    ) -> Tensor:
        length, rows, d = x.shape
        from_x = torch.addmm(b_x, x.flatten(0, 1), w_x.t()).view(length, rows, 3 * d)
        gates_x, new_x = from_x[..., : 2 * d].unbind(0), from_x[..., 2 * d :].unbind(0)
        states = x.new_empty(length + 1, rows, d)  # the first is the state before
        states[0] = h
        gates = x.new_empty(length, rows, 2 * d)  # r and z
        new = x.new_empty(length, rows, d)
        from_h = x.new_empty(length, rows, 3 * d)
        steps = zip(
            gates_x,
            new_x,
            from_h.unbind(0),
            from_h[..., : 2 * d].unbind(0),
            from_h[..., 2 * d :].unbind(0),
            gates.unbind(0),
            gates[..., :d].unbind(0),
            gates[..., d:].unbind(0),
            new.unbind(0),
            states.unbind(0)[1:],
            strict=True,
        )
        h, u = states[0], w_h.t()
        for a_rz, a_n, product, u_rz, u_n, rz, r, z, n, after in steps:
            torch.addmm(b_h, h, u, out=product)
            torch.add(a_rz, u_rz, out=rz).sigmoid_()
            torch.addcmul(a_n, r, u_n, out=n).tanh_()
            h = torch.lerp(n, h, z, out=after)
        ctx.save_for_backward(x, states, gates, new, from_h[..., 2 * d :], w_x, w_h)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, ...]:
        x, states, gates, n, u_n, w_x, w_h = ctx.saved_tensors
        length, rows, d = x.shape
        r, z = gates.split(d, dim=-1)
        before, (d_out,) = states[:-1], grads
        # d h' = e moves the arguments of r, z, the U_n product and n by e times these.
        by_n = (1 - z) * (1 - n * n)
        factors = torch.stack(
            (by_n * u_n * r * (1 - r), (before - n) * z * (1 - z), by_n * r), dim=-2
        )  # (T, B, 3, D)
        d_product = torch.empty_like(factors)
        d_states = x.new_empty(length + 1, rows, 1, d)
        earlier = (torch.zeros_like(d_out[0]), *d_out.unbind(0)[:-1])
        steps = zip(
            d_states.unbind(0)[1:],
            factors.unbind(0),
            z.unbind(0),
            d_product.unbind(0),
            d_product.view(length, rows, 3 * d).unbind(0),
            earlier,
            d_states.squeeze(2).unbind(0)[1:],
            d_states.squeeze(2).unbind(0)[:-1],
            strict=True,
        )
        d_states[length] = d_out[-1][:, None]
        for e_wide, factor, z_t, d_gates, d_flat, d_y, e, into in reversed(list(steps)):
            torch.mul(e_wide, factor, out=d_gates)
            torch.addcmul(d_y, e, z_t, out=into).addmm_(d_flat, w_h)
        flat = d_product.view(length * rows, 3 * d)
        d_w_h = flat.t() @ before.flatten(0, 1)
        d_b_h = flat.sum(dim=0)
        # From the input the candidate gets its gradient without the reset gate.
        d_product[:, :, 2] = d_states[1:, :, 0] * by_n
        d_x = (flat @ w_x).view_as(x)
        return d_x, d_states[0, :, 0], flat.t() @ x.flatten(0, 1), d_w_h, flat.sum(dim=0), d_b_h


def run_gru(layers: nn.GRU, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """What ``layers(x, h)`` gives: x (T, B, D), h (L, B, D) -> outputs (T, B, D), last states.

    The gradient reaches x, the weights and h; it is that of nn.GRU to rounding.
    """
    last = []
    for layer, weights in enumerate(layers.all_weights):
        x = _Layer.apply(x, h[layer], *weights)  # type: ignore[no-untyped-call]
        last.append(x[-1])
    return x, torch.stack(last)

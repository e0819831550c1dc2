"""Output layer and cross-entropy as one operation, its gradient computed on the way forward.

For small models the vocabulary's softmax is a large share of a step. Doing both products while
the logits are still in cache, and never building the autograd graph of log-softmax, costs one pass
over the logits where the separate operations take three.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS = 512  # (measured: 512 x 256 logits stay in a core's second-level cache)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = hidden.shape[0]
        total = hidden.new_zeros(())
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        for start in range(0, rows, ROWS):
            h, t = hidden[start : start + ROWS], targets[start : start + ROWS, None]
            log_probability = torch.log_softmax(h @ weight.t(), dim=-1)  # (rows, V)
            total -= log_probability.gather(1, t).sum()
            # d(loss)/d(logits) = (softmax - one_hot) / rows
            grad = log_probability.exp_()
            grad.scatter_add_(1, t, grad.new_full((1, 1), -1.0).expand_as(t))
            torch.mm(grad, weight, out=grad_hidden[start : start + ROWS])
            grad_weight.addmm_(grad.t(), h)
        ctx.save_for_backward(grad_hidden.div_(rows), grad_weight.div_(rows))
        return total / rows

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log softmax(hidden @ weight^T)[targets], nats per token.

    hidden (..., D), weight (V, D), targets (...) integers. Equals
    ``F.cross_entropy(F.linear(hidden, weight), targets)`` to rounding, gradients included.
    """
    hidden, targets = hidden.flatten(0, -2), targets.flatten()
    if hidden.device.type == "cpu" and torch.is_grad_enabled():
        loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
        return loss
    return F.cross_entropy(F.linear(hidden, weight).float(), targets)

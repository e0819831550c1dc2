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

LOGITS = 2**18  # at once (measured: at 256 tokens fewer rows were slower, more no faster)
GPU_LOGITS = 2**28  # at once without gradient: a gigabyte in single precision (assumed)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = hidden.shape[0]
        chosen = hidden.new_empty(rows, 1)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        step = max(64, LOGITS // len(weight))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            h, t = hidden[part], targets[part, None]
            probability = torch.softmax(h @ weight.t(), dim=-1)  # (step, V)
            chosen[part] = probability.gather(1, t)
            # d(loss)/d(logits) = (softmax - one_hot) / rows
            probability.scatter_(1, t, chosen[part] - 1)
            torch.mm(probability, weight, out=grad_hidden[part])
            grad_weight.addmm_(probability.t(), h)
        # A probability may be 0 in single precision; its loss is then 87 nats, not infinite.
        loss = -chosen.clamp_(min=torch.finfo(chosen.dtype).tiny).log_().mean()
        ctx.save_for_backward(grad_hidden.div_(rows), grad_weight.div_(rows))
        return loss

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
    device = hidden.device.type
    # Under autocast, as on a GPU, torch's own operations know which precision each is to have.
    if device == "cpu" and torch.is_grad_enabled() and not torch.is_autocast_enabled(device):
        loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
        return loss
    return F.cross_entropy(F.linear(hidden, weight).float(), targets)


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(hidden @ weight^T)[targets] at every place, nats; without gradient.

    hidden (..., D), weight (V, D), targets (...) integers -> (...). Their mean is
    `linear_cross_entropy`.
    """
    shape, hidden, targets = targets.shape, hidden.flatten(0, -2), targets.flatten()
    step = max(64, (LOGITS if hidden.device.type == "cpu" else GPU_LOGITS) // len(weight))
    parts = [
        F.cross_entropy(F.linear(h, weight).float(), t, reduction="none")
        for h, t in zip(torch.split(hidden, step), torch.split(targets, step), strict=True)
    ]
    return torch.cat(parts).view(shape)

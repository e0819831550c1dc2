"""All parameters of a model in two flat tensors, so that a step costs two optimizer calls.

For small models the optimizer, the clipping and the zeroing of gradients, one small call a
parameter, cost as much as the arithmetic. Every parameter and its gradient become views of one
buffer per group; AdamW then sees two tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatParameters:
    """The model's parameters as views of `decayed` and `plain`, gradients likewise.

    decayed: the matrices of the layers, which weight decay shrinks. plain: embeddings, the output
    layer, norms and biases, which it does not.
    """

    def __init__(self, model: nn.Module) -> None:
        """Move the model's parameters into flat buffers; the model keeps working on views."""
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            matrix = parameter.ndim >= 2 and name.startswith("blocks.")
            (decayed if matrix else plain).append(parameter)
        # One stretch of memory: a recurrent network's biases lie right behind its weights, where
        # cuDNN looks for them; else it copies all of them together at every call.
        whole = torch.cat([parameter.detach().flatten() for parameter in (*decayed, *plain)])
        matrices = sum(parameter.numel() for parameter in decayed)
        self.decayed = _become_views(decayed, whole[:matrices])
        self.plain = _become_views(plain, whole[matrices:])
        self.count = self.decayed.numel() + self.plain.numel()
        if self.count != sum(p.numel() for p in model.parameters()):
            raise AssertionError("parameter groups do not sum to the model")

    def optimizer(
        self, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> torch.optim.AdamW:
        """AdamW over the two groups (Loshchilov and Hutter 2019)."""
        return torch.optim.AdamW(
            [
                {"params": [self.decayed], "weight_decay": weight_decay},
                {"params": [self.plain], "weight_decay": 0.0},
            ],
            lr=lr,
            betas=betas,
            fused=True,
        )

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place: the parameters' views stay valid."""
        for grad in self.grads:
            grad.zero_()

    def norm(self) -> Tensor:
        """Euclidean norm of the whole gradient."""
        parts = torch.stack([torch.linalg.vector_norm(grad) for grad in self.grads])
        total: Tensor = torch.linalg.vector_norm(parts)
        return total

    def named(self) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
        """The two buffers by name, as a checkpoint holds them."""
        return ("decayed", self.decayed), ("plain", self.plain)

    def grad_copy(self) -> tuple[Tensor, ...]:
        """A copy of the gradient as it stands."""
        return tuple(grad.clone() for grad in self.grads)

    def squared_norm_since(self, before: tuple[Tensor, ...]) -> float:
        """Squared norm of what was added to the gradient since the copy, which is used up."""
        added = (
            torch.linalg.vector_norm(old.sub_(grad))
            for grad, old in zip(self.grads, before, strict=True)
        )
        return float(sum(norm**2 for norm in added))

    def scale_grad(self, factor: Tensor | float) -> None:
        """Multiply the whole gradient."""
        for grad in self.grads:
            grad.mul_(factor)

    @property
    def values(self) -> tuple[Tensor, Tensor]:
        """The two parameter buffers."""
        return self.decayed, self.plain

    @property
    def grads(self) -> tuple[Tensor, Tensor]:
        """The two gradient buffers."""
        assert self.decayed.grad is not None
        assert self.plain.grad is not None
        return self.decayed.grad, self.plain.grad


def _become_views(parameters: list[nn.Parameter], flat: Tensor) -> Tensor:
    flat.requires_grad_()
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.data[start:end].view_as(parameter)
        parameter.grad = flat.grad[start:end].view_as(parameter)
        start = end
    return flat

"""LSTM and GRU language models: embedding, layers of cells, output layer.

    x = embedding[tokens];  h, state = cells(x, state);  loss = cross_entropy(h @ output^T, targets)

The cells are torch's own (`torch.nn.LSTM`, `torch.nn.GRU`). B: sequences, T: tokens of a sequence,
D: d_model, V: vocabulary. A state is the tensors that torch's layer carries, each (n_layer, B, D).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalelab.counting import RecurrentShape
from scalelab.models.cross_entropy import linear_cross_entropy, token_losses

State = tuple[Tensor, ...]

EMBEDDING_GAIN = 1.0
FORGET_BIAS = 1.0
"""A forget gate that begins open lets gradients through (Jozefowicz et al. 2015)."""


class Recurrent(nn.Module):
    """A recurrent language model. `forward` begins with a state of zeros, `carry` with a given one.

    Source of the comparison: Kaplan et al. 2020, section 3.2.1 and figure 7.
    """

    def __init__(self, shape: RecurrentShape, seed: int = 0) -> None:
        """Build and initialise; the same shape and seed give the same parameters anywhere."""
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
        kind = nn.LSTM if shape.cell == "lstm" else nn.GRU
        self.blocks = kind(shape.d_model, shape.d_model, shape.n_layer, batch_first=True)
        self.output = None if shape.tied else nn.Linear(shape.d_model, shape.vocabulary, bias=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        d = self.shape.d_model
        for name, parameter in self.named_parameters():
            if not name.startswith("blocks."):
                parameter.normal_(0.0, EMBEDDING_GAIN / math.sqrt(d), generator=generator)
            elif parameter.ndim == 1:
                parameter.zero_()
                if self.shape.cell == "lstm" and "bias_ih" in name:
                    parameter[d : 2 * d] = FORGET_BIAS  # torch's order: in, forget, cell, out
            else:
                bound = 1 / math.sqrt(d)
                parameter.uniform_(-bound, bound, generator=generator)

    def hidden(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Tokens (B, T) and a state -> hidden states (B, T, D) and the state after them."""
        x = self.embedding(tokens)
        if self.shape.cell == "gru":
            out, after = self.blocks(x, None if state is None else state[0])
            return out, (after,)
        out, after = self.blocks(x, state)
        return out, tuple(after)

    def carry(self, tokens: Tensor, targets: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Mean loss in nats per token, and the state after the tokens, cut off from gradients."""
        out, after = self.hidden(tokens, state)
        loss = linear_cross_entropy(out, self.output_weight, targets)
        return loss, tuple(part.detach() for part in after)

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V) of the next token, from a state of zeros."""
        return F.linear(self.hidden(tokens)[0], self.output_weight)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean loss from a state of zeros, nats per token; tokens, targets (B, T)."""
        return linear_cross_entropy(self.hidden(tokens)[0], self.output_weight, targets)

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss of every token (B, T) from a state of zeros, nats."""
        return token_losses(self.hidden(tokens)[0], self.output_weight, targets)

    @property
    def output_weight(self) -> Tensor:
        """The (V, D) matrix of the output layer, which is the embedding when tied."""
        return self.embedding.weight if self.output is None else self.output.weight

"""LSTM and GRU language models: embedding, torch's own recurrent layers, output layer.

    x = embedding[tokens]
    x, state = layers(x, state)
    loss = cross_entropy(x @ output^T, targets)

The layers are torch.nn.LSTM or torch.nn.GRU, so their numbers are torch's; a GRU trains on a CPU
through `models.gru`, which gives the same. B: rows, T: tokens of a
row, L: layers, D: d_model, V: vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalelab.counting import RecurrentShape
from scalelab.models.cross_entropy import linear_cross_entropy, token_losses
from scalelab.models.gru import run_gru
from scalelab.models.state import State

EMBEDDING_GAIN = 1.0
"""As for the Transformer: the first loss is near ln(vocabulary) at every width."""


class Recurrent(nn.Module):
    """The language model. A state is (h, c) of an LSTM or (h,) of a GRU, each (L, B, D)."""

    def __init__(self, shape: RecurrentShape, seed: int = 0) -> None:
        """Build and initialise; the same shape and seed give the same parameters anywhere."""
        super().__init__()
        self.shape = shape
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[shape.cell]
        # First, so that in flat buffers they lie where cuDNN looks for them: see `FlatParameters`.
        self.blocks = kind(shape.d_model, shape.d_model, shape.n_layer)
        self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
        self.output = None if shape.tied else nn.Linear(shape.d_model, shape.vocabulary, bias=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        spread = 1 / math.sqrt(self.shape.d_model)
        for name, parameter in self.named_parameters():
            if name.startswith("blocks."):
                parameter.uniform_(-spread, spread, generator=generator)
            else:
                parameter.normal_(0.0, EMBEDDING_GAIN * spread, generator=generator)

    def start(self, rows: int) -> State:
        """The state before any token: zeros."""
        zeros = self.embedding.weight.new_zeros(self.shape.n_layer, rows, self.shape.d_model)
        return (zeros, zeros.clone()) if self.shape.cell == "lstm" else (zeros,)

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Tokens (B, T) and the state before them -> hidden states (T, B, D), state after them."""
        x = self.embedding(tokens.t())  # time first, as the layers run
        if self.shape.cell == "lstm":
            x, after = self.blocks(x, state)
            return x, after
        if x.device.type == "cpu" and torch.is_grad_enabled():
            x, h = run_gru(self.blocks, x, state[0])
        else:
            x, h = self.blocks(x, state[0])
        return x, (h,)

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V) of the next token, from a state of zeros."""
        x, _ = self.hidden(tokens, self.start(len(tokens)))
        return F.linear(x.transpose(0, 1), self.output_weight)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over all positions from a state of zeros; tokens, targets (B, T)."""
        return self.carried(tokens, targets, self.start(len(tokens)))[0]

    def carried(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """Mean cross-entropy, nats per token, and the state to go on from, cut off its past."""
        x, after = self.hidden(tokens, state)
        loss = linear_cross_entropy(x, self.output_weight, targets.t())
        return loss, tuple(part.detach() for part in after)

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss at every position (B, T) from a state of zeros, nats; without gradient."""
        x, _ = self.hidden(tokens, self.start(len(tokens)))
        return token_losses(x, self.output_weight, targets.t()).t()

    @property
    def output_weight(self) -> Tensor:
        """The (V, D) matrix of the output layer, which is the embedding when tied."""
        return self.embedding.weight if self.output is None else self.output.weight

"""A pre-norm decoder-only Transformer in the style of GPT-2, every dimension free.

    x = embedding[tokens] (+ positions)
    x = x + attention(norm(x));  x = x + feed_forward(norm(x))     n_layer times
    loss = cross_entropy(norm(x) @ output^T, targets)

B: sequences, T: tokens of a sequence, D: d_model, H: heads, K: head dimension, V: vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalelab.counting import TransformerShape
from scalelab.models.cross_entropy import linear_cross_entropy, token_losses
from scalelab.models.state import State

MATRIX_GAIN = 0.5
EMBEDDING_GAIN = 1.0
"""Initial spread: matrices MATRIX_GAIN / sqrt(fan in), which is GPT-2's 0.02 at width 625, so that
every width starts alike; residual outputs divided by sqrt(2 n_layer) as in GPT-2; embeddings and
output layer EMBEDDING_GAIN / sqrt(d_model), so that at every width the first loss is about
ln(vocabulary) + EMBEDDING_GAIN^2 / 2. (measured: docs/LOG.md)"""


def rotary_angles(context: int, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, each (context, head_dim) with the sign folded in.

    Source: Su et al. 2021 (RoFormer), in the half-split form: pair i is (x_i, x_{i + K/2}).
    """
    frequency = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency)
    cos = torch.cat((angle.cos(), angle.cos()), dim=1)
    sin = torch.cat((-angle.sin(), angle.sin()), dim=1)
    return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair of x (..., K) by the angles cos and sin, which broadcast to x."""
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


class Block(nn.Module):
    """Attention and feed-forward layer, each behind a norm and beside a residual connection."""

    def __init__(self, shape: TransformerShape) -> None:
        """Build the parameters; `Transformer` initialises them."""
        super().__init__()
        d, bias = shape.d_model, shape.bias
        self.shape = shape
        self.attention_norm = make_norm(shape)
        self.qkv = nn.Linear(d, 3 * d, bias=bias)
        self.attention_output = nn.Linear(d, d, bias=bias)
        self.feed_forward_norm = make_norm(shape)
        up_maps = 2 if shape.activation == "swiglu" else 1
        self.up = nn.Linear(d, up_maps * shape.d_ff, bias=bias)
        self.down = nn.Linear(shape.d_ff, d, bias=bias)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        x = x + self.attend(self.attention_norm(x), angles)
        return x + self.feed_forward(self.feed_forward_norm(x))

    def attend(self, x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """Causal self-attention; x (B, T, D) -> (B, T, D)."""
        batch, length, d = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.shape.n_head, self.shape.head_dim)
        if angles is None:
            q, k, v = qkv.unbind(2)
        else:  # queries and keys at once: half the calls
            qk, v = qkv.split((2, 1), dim=2)
            cos, sin = (table[:length, None, None] for table in angles)  # (T, 1, 1, K)
            # Angles are in single precision; under autocast attention takes what values are in.
            (q, k), v = rotate(qk, cos, sin).to(v.dtype).unbind(2), v.squeeze(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, H, T, K)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        merged: Tensor = self.attention_output(out.transpose(1, 2).reshape(batch, length, d))
        return merged

    def feed_forward(self, x: Tensor) -> Tensor:
        """The position-wise layer; x (B, T, D) -> (B, T, D)."""
        hidden: Tensor = self.up(x)
        if self.shape.activation == "swiglu":
            gate, value = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * value
        elif self.shape.activation == "gelu":
            hidden = F.gelu(hidden)
        else:
            hidden = F.relu(hidden)
        down: Tensor = self.down(hidden)
        return down


class Transformer(nn.Module):
    """The language model. `forward` gives losses, `logits` gives predictions."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: TransformerShape, seed: int = 0) -> None:
        """Build and initialise; the same shape and seed give the same parameters anywhere."""
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
        self.positions = (
            nn.Embedding(shape.context, shape.d_model) if shape.positions == "learned" else None
        )
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm = make_norm(shape)
        self.output = None if shape.tied else nn.Linear(shape.d_model, shape.vocabulary, bias=False)
        if shape.positions == "rotary":
            cos, sin = rotary_angles(shape.context, shape.head_dim)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        embedding_std = EMBEDDING_GAIN / math.sqrt(self.shape.d_model)
        residual_gain = MATRIX_GAIN / math.sqrt(2 * self.shape.n_layer)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            elif not name.startswith("blocks."):
                parameter.normal_(0.0, embedding_std, generator=generator)
            else:
                residual = name.endswith(("attention_output.weight", "down.weight"))
                std = (residual_gain if residual else MATRIX_GAIN) / math.sqrt(parameter.shape[1])
                parameter.normal_(0.0, std, generator=generator)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> last hidden state (B, T, D), after the final norm."""
        x = self.embedding(tokens)
        angles = None
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[1]]
        else:
            angles = (self.cos, self.sin)
        for block in self.blocks:
            x = block(x, angles)
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V) of the next token."""
        return F.linear(self.hidden(tokens), self.output_weight)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over all positions, nats per token; tokens, targets (B, T)."""
        return linear_cross_entropy(self.hidden(tokens), self.output_weight, targets)

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss at every position (B, T), nats; without gradient."""
        return token_losses(self.hidden(tokens), self.output_weight, targets)

    def start(self, rows: int) -> State:  # noqa: ARG002 - the signature of every network
        """The state before any token: nothing, a Transformer sees its context alone."""
        return ()

    def carried(self, tokens: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """The mean loss, and nothing to carry on."""
        return self(tokens, targets), state

    @property
    def output_weight(self) -> Tensor:
        """The (V, D) matrix of the output layer, which is the embedding when tied."""
        return self.embedding.weight if self.output is None else self.output.weight


def make_norm(shape: TransformerShape) -> nn.Module:
    """The normalisation layer that the shape names."""
    if shape.norm == "rmsnorm":
        return nn.RMSNorm(shape.d_model, eps=1e-5)
    return nn.LayerNorm(shape.d_model, eps=1e-5, bias=shape.bias)

"""The shapes of the networks: every dimension free, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from scalelab.errors import SpecError

Positions = Literal["rotary", "learned"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "relu", "swiglu"]
Cell = Literal["lstm", "gru"]


@dataclass(frozen=True)
class TransformerShape:
    """Dimensions and variants of a pre-norm decoder-only Transformer (GPT-2 style by default).

    n_layer: blocks. d_model: width of the residual stream. n_head: attention heads; the head
    dimension is d_model / n_head. d_ff: width of the feed-forward layer. context: tokens seen at
    once. vocabulary: distinct tokens. tied: the output layer is the embedding matrix transposed.
    bias: biases in the linear maps and in LayerNorm.

    Raises SpecError when the dimensions cannot be built.
    """

    n_layer: int
    d_model: int
    n_head: int
    d_ff: int
    context: int
    vocabulary: int
    positions: Positions = "rotary"
    norm: Norm = "layernorm"
    activation: Activation = "gelu"
    tied: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("n_layer", "d_model", "n_head", "d_ff", "context", "vocabulary"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(f"{name} is {value!r}; a whole number of at least 1 is expected.")
        if self.d_model % self.n_head:
            raise SpecError(
                f"d_model {self.d_model} is not divisible by n_head {self.n_head}; "
                "choose heads that divide the width."
            )
        if self.positions == "rotary" and (self.d_model // self.n_head) % 2:
            raise SpecError(
                f"the head dimension {self.d_model // self.n_head} is odd; rotary positions "
                "rotate pairs. Choose an even head dimension or learned positions."
            )
        for name, allowed in (
            ("positions", get_args(Positions)),
            ("norm", get_args(Norm)),
            ("activation", get_args(Activation)),
        ):
            if getattr(self, name) not in allowed:
                raise SpecError(
                    f"{name} is {getattr(self, name)!r}; one of {', '.join(allowed)} is expected."
                )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_head


@dataclass(frozen=True)
class RecurrentShape:
    """Dimensions of a recurrent language model: embedding, layers of one cell, output layer.

    cell: ``lstm`` or ``gru``. n_layer: stacked layers. d_model: width of the embedding and of the
    hidden state of every layer. context: tokens that an evaluation shows at once, from a state of
    zeros; training carries the state on beyond it. vocabulary: distinct tokens. tied: the output
    layer is the embedding matrix transposed.

    Raises SpecError when the dimensions cannot be built.
    """

    cell: Cell
    n_layer: int
    d_model: int
    context: int
    vocabulary: int
    tied: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("n_layer", "d_model", "context", "vocabulary"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(f"{name} is {value!r}; a whole number of at least 1 is expected.")
        if self.cell not in get_args(Cell):
            raise SpecError(
                f"cell is {self.cell!r}; one of {', '.join(get_args(Cell))} is expected."
            )


Shape = TransformerShape | RecurrentShape

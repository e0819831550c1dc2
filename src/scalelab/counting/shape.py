"""The shapes of the networks: every dimension free, checked once.

`TransformerShape` and `RecurrentShape` are what scalelab trains. `ModelShape` is what it counts:
any decoder-only Transformer, also those that it does not build.
"""

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
        _positive(self, "n_layer", "d_model", "n_head", "d_ff", "context", "vocabulary")
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
        _positive(self, "n_layer", "d_model", "context", "vocabulary")
        if self.cell not in get_args(Cell):
            raise SpecError(
                f"cell is {self.cell!r}; one of {', '.join(get_args(Cell))} is expected."
            )


Shape = TransformerShape | RecurrentShape
"""What scalelab builds and trains."""

BiasPlace = Literal["qkv", "attention_output", "feed_forward", "output"]
EVERY_LAYER_BIAS: frozenset[BiasPlace] = frozenset(("qkv", "attention_output", "feed_forward"))
"""GPT-2's: every linear map of the layers, and not the output layer."""


@dataclass(frozen=True)
class Experts:
    """Mixture of experts: feed-forward layers of which a router takes some for each token.

    count: experts of a layer. active: experts that a token uses. d_ff: width of each expert.
    d_shared: width of the experts that every token uses, all together. shared_gate: whether a
    vector of weights scales them (Qwen2-MoE). dense_layers: first layers without experts.

    Raises SpecError when the numbers contradict each other.
    """

    count: int
    active: int
    d_ff: int
    d_shared: int = 0
    shared_gate: bool = False
    dense_layers: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _positive(self, "count", "active", "d_ff")
        if self.active > self.count:
            raise SpecError(f"a token uses {self.active} experts, and a layer has {self.count}.")


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only Transformer, as far as its parameters and FLOP depend on it.

    n_layer: blocks. d_model: width of the residual stream. n_head: heads of queries. n_kv_head:
    heads of keys and values, which groups of queries share. head_dim: width of a head; n_head
    x head_dim may differ from d_model. d_ff: width of a feed-forward layer. gated: three
    feed-forward matrices (SwiGLU, GEGLU), not two. context: tokens seen at once. vocabulary:
    distinct tokens. learned_positions: vectors of learned positions. norm, norm_shift: what a
    normalisation layer learns, a scale unless none, and a shift. norms_per_layer: 2, or 1 where
    attention and feed-forward layer run in parallel behind one, or 4 with norms after both.
    embedding_norm: a norm behind the embedding. qk_norm: norms of queries and keys, by head or
    over all heads. biases: the linear maps that have one. tied: the output layer is the embedding
    transposed. experts: of a mixture of experts. window, window_layers: how many tokens back the
    layers with sliding attention see, and how many layers these are.

    Raises SpecError when the dimensions contradict each other.
    """

    n_layer: int
    d_model: int
    n_head: int
    n_kv_head: int
    head_dim: int
    d_ff: int
    context: int
    vocabulary: int
    gated: bool = False
    learned_positions: int = 0
    norm: Literal["layernorm", "rmsnorm", "none"] = "layernorm"
    norm_shift: bool = True
    norms_per_layer: int = 2
    embedding_norm: bool = False
    qk_norm: Literal["none", "head", "width"] = "none"
    biases: frozenset[BiasPlace] = EVERY_LAYER_BIAS
    tied: bool = True
    experts: Experts | None = None
    window: int | None = None
    window_layers: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _positive(self, "n_layer", "d_model", "n_head", "n_kv_head", "head_dim", "d_ff")
        _positive(self, "context", "vocabulary")
        if self.n_head % self.n_kv_head:
            raise SpecError(
                f"n_head {self.n_head} is not divisible by n_kv_head {self.n_kv_head}; "
                "every key-value head serves the same number of query heads."
            )
        if self.experts and self.experts.dense_layers >= self.n_layer:
            raise SpecError(
                f"{self.experts.dense_layers} of {self.n_layer} layers are dense; "
                "a mixture of experts has at least one layer with experts."
            )
        if self.experts and "feed_forward" in self.biases:
            raise SpecError("biases of experts are not counted; give the shape without them.")

    @property
    def d_query(self) -> int:
        """Width of all queries of a layer."""
        return self.n_head * self.head_dim

    @property
    def d_key(self) -> int:
        """Width of all keys of a layer, and of all values."""
        return self.n_kv_head * self.head_dim

    @property
    def attended(self) -> int:
        """Positions that a query is multiplied with, summed over layers (no causal half)."""
        window = min(self.window or self.context, self.context)
        return (self.n_layer - self.window_layers) * self.context + self.window_layers * window


Countable = ModelShape | TransformerShape | RecurrentShape
"""What parameters and FLOP are counted of."""


def model_shape(shape: TransformerShape) -> ModelShape:
    """The shape of a Transformer that scalelab builds, for counting."""
    return ModelShape(
        n_layer=shape.n_layer,
        d_model=shape.d_model,
        n_head=shape.n_head,
        n_kv_head=shape.n_head,
        head_dim=shape.head_dim,
        d_ff=shape.d_ff,
        context=shape.context,
        vocabulary=shape.vocabulary,
        gated=shape.activation == "swiglu",
        learned_positions=shape.context if shape.positions == "learned" else 0,
        norm=shape.norm,
        norm_shift=shape.bias and shape.norm == "layernorm",
        biases=EVERY_LAYER_BIAS if shape.bias else frozenset(),
        tied=shape.tied,
    )


def _positive(shape: object, *names: str) -> None:
    for name in names:
        value = getattr(shape, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpecError(f"{name} is {value!r}; a whole number of at least 1 is expected.")

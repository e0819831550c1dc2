"""Parameters of a network, by part, from its shape alone."""

from __future__ import annotations

from dataclasses import dataclass

from scalelab.counting.shape import (
    Countable,
    ModelShape,
    RecurrentShape,
    TransformerShape,
    model_shape,
)


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by part. The parts are disjoint and sum to `total`.

    embedding: token and learned position embeddings. attention: Q, K, V and output matrices.
    feed_forward: its matrices. norm: scales (and shifts) of the normalisation layers. bias: biases
    of the linear maps and of recurrent cells. output: the output layer when it is not tied to the
    embedding. recurrent: the matrices of recurrent cells, from the input and from the last state.
    inactive: those of the feed-forward matrices that a token does not use, in a mixture of experts.
    """

    embedding: int
    attention: int
    feed_forward: int
    norm: int
    bias: int
    output: int
    recurrent: int = 0
    inactive: int = 0

    @property
    def total(self) -> int:
        """Every trainable parameter."""
        return (
            self.embedding
            + self.attention
            + self.feed_forward
            + self.norm
            + self.bias
            + self.output
            + self.recurrent
        )

    @property
    def non_embedding(self) -> int:
        """N of Kaplan et al. 2020: the matrices of the layers, no embedding, norm, bias, output.

        For d_ff = 4 d_model it equals 12 n_layer d_model^2 (section 2.1).
        """
        return self.attention + self.feed_forward + self.recurrent

    @property
    def active(self) -> int:
        """The parameters that a token uses: all, but for the experts that it is not sent to."""
        return self.total - self.inactive

    def to_dict(self) -> dict[str, int]:
        """Every part and both sums, as `scalelab count --json` and the run record hold them."""
        return {
            "embedding": self.embedding,
            "attention": self.attention,
            "feed_forward": self.feed_forward,
            "recurrent": self.recurrent,
            "norm": self.norm,
            "bias": self.bias,
            "output": self.output,
            "total": self.total,
            "active": self.active,
            "non_embedding": self.non_embedding,
        }


GATES = {"lstm": 4, "gru": 3}
"""Maps of one cell: input, forget, candidate and output gate; reset, update and candidate."""


def count_parameters(shape: Countable) -> ParameterCount:
    """Parameters by part of the model of that shape; exact, not 12 n_layer d_model^2.

    The router of a mixture of experts is counted with its feed-forward matrices.

    A recurrent layer has gates x 2 d_model^2 in matrices, 8 d_model^2 for an LSTM and 6 d_model^2
    for a GRU, and gates x 2 d_model biases (torch.nn.LSTM has one for either matrix).

    Source: Kaplan et al. 2020, table 1, with the parts that it leaves out added.
    """
    if isinstance(shape, RecurrentShape):
        return _recurrent(shape)
    return _transformer(model_shape(shape) if isinstance(shape, TransformerShape) else shape)


def _recurrent(shape: RecurrentShape) -> ParameterCount:
    d, gates = shape.d_model, GATES[shape.cell]
    return ParameterCount(
        embedding=shape.vocabulary * d,
        attention=0,
        feed_forward=0,
        norm=0,
        bias=shape.n_layer * gates * 2 * d,
        output=0 if shape.tied else shape.vocabulary * d,
        recurrent=shape.n_layer * gates * 2 * d * d,
    )


def _transformer(shape: ModelShape) -> ParameterCount:
    d, n_layer = shape.d_model, shape.n_layer
    embedding = shape.vocabulary * d
    feed_forward, inactive = _feed_forward(shape)
    return ParameterCount(
        embedding=embedding + shape.learned_positions * d,
        attention=n_layer * 2 * d * (shape.d_query + shape.d_key),
        feed_forward=feed_forward,
        norm=_norms(shape),
        bias=_biases(shape),
        output=0 if shape.tied else embedding,
        inactive=inactive,
    )


def _feed_forward(shape: ModelShape) -> tuple[int, int]:
    """Parameters of the feed-forward matrices, and those of them that a token does not use."""
    d, experts = shape.d_model, shape.experts
    # A gated layer has a gate beside the two maps of the plain one.
    per_width = (3 if shape.gated else 2) * d
    if experts is None:
        return shape.n_layer * per_width * shape.d_ff, 0
    sparse = shape.n_layer - experts.dense_layers
    router = d * experts.count + (d if experts.shared_gate else 0)
    layer = per_width * (experts.count * experts.d_ff + experts.d_shared) + router
    unused = per_width * (experts.count - experts.active) * experts.d_ff
    return experts.dense_layers * per_width * shape.d_ff + sparse * layer, sparse * unused


def _norms(shape: ModelShape) -> int:
    vectors = 0 if shape.norm == "none" else 1 + shape.norm_shift
    layers = shape.norms_per_layer * shape.n_layer + 1 + shape.embedding_norm
    of_queries = {"none": 0, "head": 2 * shape.head_dim, "width": shape.d_query + shape.d_key}
    return vectors * layers * shape.d_model + shape.n_layer * of_queries[shape.qk_norm]


def _biases(shape: ModelShape) -> int:
    d = shape.d_model
    of_layer = {
        "qkv": shape.d_query + 2 * shape.d_key,
        "attention_output": d,
        "feed_forward": (2 if shape.gated else 1) * shape.d_ff + d,
    }
    count = shape.n_layer * sum(of_layer.get(place, 0) for place in shape.biases)
    return count + (shape.vocabulary if "output" in shape.biases else 0)

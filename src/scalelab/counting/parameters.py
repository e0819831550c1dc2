"""Parameters of a network, by part, from its shape alone."""

from __future__ import annotations

from dataclasses import dataclass

from scalelab.counting.shape import RecurrentShape, Shape, TransformerShape


@dataclass(frozen=True)
class ParameterCount:
    """Parameters by part. The parts are disjoint and sum to `total`.

    embedding: token and learned position embeddings. attention: Q, K, V and output matrices.
    feed_forward: its matrices. norm: scales (and shifts) of the normalisation layers. bias: biases
    of the linear maps and of recurrent cells. output: the output layer when it is not tied to the
    embedding. recurrent: the matrices of recurrent cells, from the input and from the last state.
    """

    embedding: int
    attention: int
    feed_forward: int
    norm: int
    bias: int
    output: int
    recurrent: int = 0

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
            "active": self.total,
            "non_embedding": self.non_embedding,
        }


GATES = {"lstm": 4, "gru": 3}
"""Maps of one cell: input, forget, candidate and output gate; reset, update and candidate."""


def count_parameters(shape: Shape) -> ParameterCount:
    """Parameters by part of the model that `shape` builds; exact, not 12 n_layer d_model^2.

    A recurrent layer has gates x 2 d_model^2 in matrices, 8 d_model^2 for an LSTM and 6 d_model^2
    for a GRU, and gates x 2 d_model biases (torch.nn.LSTM has one for either matrix).

    Source: Kaplan et al. 2020, table 1, with the parts that it leaves out added.
    """
    if isinstance(shape, RecurrentShape):
        return _recurrent(shape)
    return _transformer(shape)


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


def _transformer(shape: TransformerShape) -> ParameterCount:
    d, n_layer = shape.d_model, shape.n_layer
    # SwiGLU has a gate beside the two maps of the plain feed-forward layer.
    up_maps = 2 if shape.activation == "swiglu" else 1
    norms = 2 * n_layer + 1
    shifts = 1 if shape.bias and shape.norm == "layernorm" else 0
    biases_per_layer = (3 * d + d) + (up_maps * shape.d_ff + d) if shape.bias else 0
    return ParameterCount(
        embedding=shape.vocabulary * d + (shape.context * d if shape.positions == "learned" else 0),
        attention=n_layer * 4 * d * d,
        feed_forward=n_layer * (up_maps + 1) * d * shape.d_ff,
        norm=norms * d * (1 + shifts),
        bias=n_layer * biases_per_layer,
        output=0 if shape.tied else shape.vocabulary * d,
    )

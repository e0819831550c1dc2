"""The analytic count equals the built model's, part by part, over many shapes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.counting import RecurrentShape, TransformerShape, count_parameters
from scalelab.errors import SpecError
from scalelab.models import Transformer

shapes = st.builds(
    lambda n_layer, heads, head_dim, d_ff, context, vocabulary, rest: TransformerShape(
        n_layer, heads * head_dim, heads, d_ff, context, vocabulary, *rest
    ),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([2, 4, 6, 16]),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(2, 50),
    st.tuples(
        st.sampled_from(["rotary", "learned"]),
        st.sampled_from(["layernorm", "rmsnorm"]),
        st.sampled_from(["gelu", "relu", "swiglu"]),
        st.booleans(),
        st.booleans(),
    ),
)


def parts_of_model(model: Transformer) -> dict[str, int]:
    """Sort a built model's parameters into parts by their names alone."""
    parts = dict.fromkeys(("embedding", "attention", "feed_forward", "norm", "bias", "output"), 0)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            part = "norm"
        elif name.endswith("bias"):
            part = "bias"
        elif name.startswith(("embedding", "positions")):
            part = "embedding"
        elif name.startswith("output"):
            part = "output"
        elif "qkv" in name or "attention" in name:
            part = "attention"
        else:
            part = "feed_forward"
        parts[part] += parameter.numel()
    return parts


@settings(deadline=None, max_examples=60)
@given(shapes)
def test_count_equals_the_built_model_by_part(shape: TransformerShape) -> None:
    model, count = Transformer(shape), count_parameters(shape)
    assert parts_of_model(model) == {part: getattr(count, part) for part in parts_of_model(model)}
    assert count.total == sum(p.numel() for p in model.parameters())


def test_non_embedding_is_twelve_layers_width_squared() -> None:
    shape = TransformerShape(4, 64, 4, 256, 128, 256)
    assert count_parameters(shape).non_embedding == 12 * 4 * 64**2


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("tied", [True, False])
def test_recurrent_count_equals_torchs_own_layers_by_part(cell: str, tied: bool) -> None:
    shape = RecurrentShape(cell, 3, 10, 8, 17, tied)  # type: ignore[arg-type]
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](10, 10, 3)
    count = count_parameters(shape)
    matrices = sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    assert count.recurrent == count.non_embedding == matrices
    assert count.recurrent == 3 * {"lstm": 8, "gru": 6}[cell] * 10**2
    assert count.bias == sum(p.numel() for p in layer.parameters() if p.ndim == 1)
    assert count.total == matrices + count.bias + (1 if tied else 2) * 17 * 10
    parts = ("embedding", "attention", "feed_forward", "recurrent", "norm", "bias", "output")
    assert sum(count.to_dict()[part] for part in parts) == count.total


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"n_head": 3}, "not divisible"),
        ({"n_layer": 0}, "n_layer is 0"),
        ({"d_model": 6, "n_head": 2}, "head dimension 3 is odd"),
        ({"norm": "batchnorm"}, "norm is 'batchnorm'"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], seen: str) -> None:
    values: dict[str, object] = {
        "n_layer": 2,
        "d_model": 64,
        "n_head": 4,
        "d_ff": 256,
        "context": 8,
        "vocabulary": 16,
    }
    with pytest.raises(SpecError, match=seen):
        TransformerShape(**(values | changes))  # type: ignore[arg-type]

"""One dial, the width, gives shapes that can be built and sizes that are evenly spaced."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.studies.sizes import WIDTHS, Family, rungs, shape_of_width, size_of

FAMILY = Family(context=32, vocabulary=256)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_can_be_built(width: int) -> None:
    shape = shape_of_width(width, FAMILY)
    assert (shape.d_model, shape.context, shape.vocabulary) == (width, 32, 256)
    assert shape.d_model % shape.n_head == 0
    assert shape.head_dim % 2 == 0, "rotary positions rotate pairs"
    assert 8 <= shape.head_dim <= 128
    assert 1 <= width / shape.n_layer <= 256
    assert size_of(shape) == 12 * shape.n_layer * width**2  # Kaplan et al. 2020, section 2.1


def test_sizes_grow_with_the_width_and_heads_and_layers_never_shrink() -> None:
    shapes = [shape_of_width(width, FAMILY) for width in WIDTHS]
    assert list(WIDTHS) == sorted(set(WIDTHS))
    for small, large in itertools.pairwise(shapes):
        assert size_of(small) < size_of(large)
        assert small.n_layer <= large.n_layer


def test_the_family_is_that_of_every_shape() -> None:
    family = Family(16, 50, positions="learned", norm="rmsnorm", activation="swiglu", tied=False)
    shape = shape_of_width(WIDTHS[3], family)
    for name, value in asdict(family).items():
        assert getattr(shape, name) == value
    # A gate beside the two maps: 4 d d + 3 d 4 d instead of 4 d d + 2 d 4 d.
    assert size_of(shape) == 16 * shape.n_layer * WIDTHS[3] ** 2
    for word in ("learned", "rmsnorm", "swiglu", "untied", "16", "50"):
        assert word in str(family)


@given(
    st.sampled_from([width for width in WIDTHS if 64 <= width <= 1024]),
    st.integers(5, 12),
    st.sampled_from([20.0, 110.0]),
)
def test_rungs_span_what_is_asked_and_are_even_in_the_logarithm(
    largest: int, count: int, span: float
) -> None:
    shapes = rungs(largest, FAMILY, count, span)
    sizes = [size_of(shape) for shape in shapes]
    assert shapes[-1] == shape_of_width(largest, FAMILY)
    assert sizes == sorted(set(sizes))
    assert len(shapes) <= count
    # A rung stands off its even place by no more than half the widest gap between two widths.
    every = [math.log(size_of(shape_of_width(w, FAMILY))) for w in WIDTHS if w <= largest]
    gap = max(b - a for a, b in itertools.pairwise(every))
    lowest = max(every[0], every[-1] - math.log(span))
    assert math.log(sizes[0]) == pytest.approx(lowest, abs=gap / 2 + 1e-9)
    places = [every[-1] - math.log(span) * k / (count - 1) for k in range(count)]
    for size in sizes[1:]:
        assert min(abs(math.log(size) - place) for place in places) <= gap / 2 + 1e-9


def test_a_ladder_under_the_smallest_width_has_fewer_rungs_not_equal_ones() -> None:
    shapes = rungs(WIDTHS[2], FAMILY, 8, 1e6)
    widths = [shape.d_model for shape in shapes]
    assert widths == sorted(set(widths))
    assert set(widths) <= set(WIDTHS[:3])

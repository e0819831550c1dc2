"""One dial, the width, gives shapes that can be built and sizes that are evenly spaced."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.studies.sizes import WIDTHS, Family, rungs, shape_of_width, size_of

FAMILY = Family(context=32, vocabulary=256)


@pytest.mark.parametrize("largest", WIDTHS)
def test_every_width_of_every_ladder_can_be_built(largest: int) -> None:
    family = FAMILY.up_to(largest)
    for width in WIDTHS[: WIDTHS.index(largest) + 1]:
        shape = shape_of_width(width, family)
        assert (shape.d_model, shape.context, shape.vocabulary) == (width, 32, 256)
        assert shape.d_model % shape.n_head == 0
        assert shape.head_dim % 2 == 0, "rotary positions rotate pairs"
        assert shape.d_ff == 4 * width
        assert size_of(shape) == 12 * shape.n_layer * width**2  # Kaplan et al. 2020, section 2.1


def test_sizes_of_a_ladder_differ_in_width_alone_and_grow_with_it() -> None:
    assert list(WIDTHS) == sorted(set(WIDTHS))
    for largest in (64, 512, 4096):
        family = FAMILY.up_to(largest)
        shapes = [shape_of_width(width, family) for width in WIDTHS if width <= largest]
        assert len({shape.n_layer for shape in shapes}) == 1
        for small, large in itertools.pairwise(shapes):
            assert size_of(small) < size_of(large)
            same = {"d_model": 64, "d_ff": 256, "n_head": 1}
            assert replace(small, **same) == replace(large, **same)


def test_larger_ladders_are_never_shallower() -> None:
    depths = [FAMILY.up_to(width).n_layer for width in WIDTHS]
    assert depths == sorted(depths)
    assert depths[0] < depths[-1]


def test_the_family_is_that_of_every_shape() -> None:
    variants = {"positions": "learned", "norm": "rmsnorm", "activation": "swiglu", "tied": False}
    family = Family(16, 50, **variants)  # type: ignore[arg-type]
    shape = shape_of_width(WIDTHS[3], family)
    for name, value in variants.items():
        assert getattr(shape, name) == value
    assert (shape.context, shape.vocabulary) == (16, 50)
    # A gate beside the two maps: 4 d d + 3 d 4 d instead of 4 d d + 2 d 4 d.
    assert size_of(shape) == 16 * shape.n_layer * WIDTHS[3] ** 2
    for word in ("learned", "rmsnorm", "swiglu", "untied", "16", "50"):
        assert word in str(family)


@given(
    st.sampled_from([width for width in WIDTHS if 64 <= width <= 1024]),
    st.integers(5, 12),
    st.sampled_from([20.0, 100.0]),
)
def test_rungs_span_what_is_asked_and_are_even_in_the_logarithm(
    largest: int, count: int, span: float
) -> None:
    family = FAMILY.up_to(largest)
    shapes = rungs(largest, family, count, span)
    sizes = [size_of(shape) for shape in shapes]
    every = [size_of(shape_of_width(width, family)) for width in WIDTHS if width <= largest]
    assert shapes[-1] == shape_of_width(largest, family)
    assert sizes == sorted(set(sizes))
    assert set(sizes) <= set(every)
    assert 2 <= len(shapes) <= count
    gaps = [math.log(b / a) for a, b in itertools.pairwise(every)]
    reachable = min(span, every[-1] / every[0])
    reached = math.log(sizes[-1] / sizes[0] / reachable)
    assert abs(reached) <= max(gaps) + 1e-9
    # A rung stands off its even place by no more than half the widest gap between two widths.
    step = math.log(sizes[-1] / sizes[0]) / (count - 1)
    for size in sizes:
        off = math.log(sizes[-1] / size) / step
        assert abs(off - round(off)) * step <= max(gaps) / 2 + 1e-9


def test_a_ladder_under_the_smallest_width_has_fewer_rungs_not_equal_ones() -> None:
    shapes = rungs(WIDTHS[2], FAMILY, 8, 1e6)
    widths = [shape.d_model for shape in shapes]
    assert widths == sorted(set(widths))
    assert set(widths) <= set(WIDTHS[:3])

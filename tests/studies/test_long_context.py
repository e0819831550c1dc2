"""Runs with a long context: sizes, twins, rates and what the allowance pays for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted_bench import RATE, PlantedGauge, bench

from scalelab.studies.long_context import (
    GAUGED,
    SPAN,
    context_of,
    is_long,
    largest_ladder,
    planned,
    transformers,
    tuned,
    twin,
)
from scalelab.studies.sizes import size_of


@pytest.mark.parametrize(
    ("bytes_per_token", "tokens"), [(1.0, 1024), (2.0, 512), (4.2, 256), (3.0, 256)]
)
def test_a_context_is_about_a_thousand_bytes(bytes_per_token: float, tokens: int) -> None:
    assert context_of(bytes_per_token) == tokens


@pytest.mark.parametrize("top", [64, 96, 224])
def test_sizes_span_a_decade_and_a_half_and_twins_have_their_n(top: int) -> None:
    shapes = transformers(bench(), top)
    assert len(shapes) == 5
    assert size_of(shapes[-1]) / size_of(shapes[0]) > 0.8 * SPAN
    assert {shape.context for shape in shapes} == {1024}
    for shape in shapes:
        for cell in ("lstm", "gru"):
            other = twin(shape, cell)  # type: ignore[arg-type]
            assert size_of(other) == pytest.approx(size_of(shape), rel=0.1)
            assert (other.context, other.vocabulary) == (shape.context, shape.vocabulary)


def test_rates_follow_a_law_through_the_sizes_that_were_bracketed() -> None:
    one = bench()
    shapes = transformers(one, 96)
    jobs = tuned(one, shapes, 2e6)
    for job in jobs:
        assert job.spec.lr == pytest.approx(RATE / size_of(job.spec.shape) ** 0.5)
    assert isinstance(one.gauge, PlantedGauge)
    asked = one.gauge.asked
    assert [spec.shape for spec in asked] == [shapes[i] for i in GAUGED]
    # Runs of few steps are bracketed by longer ones than the gauge would take.
    assert asked[0].steps == pytest.approx(1600, abs=2)


@pytest.mark.parametrize("amount", [60.0, 240.0, 1200.0])
def test_more_money_buys_a_larger_top(amount: float) -> None:
    found = largest_ladder(bench(amount), ())
    more = largest_ladder(bench(4 * amount), ())
    assert found is not None
    assert more is not None
    assert size_of(more[0][-1]) >= size_of(found[0][-1])
    assert more[1] >= 8 * size_of(more[0][-1])


def test_what_is_too_dear_or_has_too_little_text_is_none() -> None:
    assert largest_ladder(bench(1.0), ()) is None
    assert largest_ladder(bench(1000.0, tokens=10**5), ()) is None


def test_long_transformers_that_are_planned_are_found() -> None:
    one = bench()
    jobs = tuned(one, transformers(one, 64), 1e6)
    others = tuned(one, [twin(shape, "lstm") for shape in transformers(one, 64)], 1e6)
    assert planned(one) == []
    assert planned(replace(one, planned=[*others, *reversed(jobs)])) == jobs
    assert is_long(others[0].spec, "lstm")
    assert not is_long(others[0].spec, "transformer")

"""Runs with a long context: sizes, twins, rates and what the allowance pays for."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from planted_bench import RATE, PlantedGauge, bench

from scalelab.counting import RecurrentShape, Shape
from scalelab.counting.shape import Cell
from scalelab.studies.design import Bench
from scalelab.studies.designs import context, recurrent
from scalelab.studies.long_context import (
    GAUGE_SHARE,
    GAUGED,
    NARROWEST,
    SPAN,
    context_of,
    is_control,
    is_long,
    largest_ladder,
    planned,
    transformers,
    tuned,
    twin,
    what_would,
)
from scalelab.studies.sizes import size_of
from scalelab.units import parse_budget


@pytest.mark.parametrize(
    ("bytes_per_token", "tokens"), [(1.0, 1024), (2.0, 512), (4.2, 256), (3.0, 256)]
)
def test_a_context_is_about_a_thousand_bytes(bytes_per_token: float, tokens: int) -> None:
    assert context_of(bytes_per_token) == tokens


@pytest.mark.parametrize("top", [48, 64, 96, 224])
def test_sizes_span_a_decade_and_twins_have_their_n(top: int) -> None:
    shapes = transformers(bench(), top)
    assert len(shapes) == 4
    assert shapes[0].d_model >= NARROWEST
    span = size_of(shapes[-1]) / size_of(shapes[0])
    assert span >= (SPAN if top > 48 else 9)
    steps = np.diff(np.log([size_of(shape) for shape in shapes]))
    assert steps.max() < 1.5 * np.log(span) / 3
    assert {shape.context for shape in shapes} == {1024}
    for shape in shapes:
        for cell in ("lstm", "gru"):
            other = twin(shape, cell)  # type: ignore[arg-type]
            assert size_of(other) == pytest.approx(size_of(shape), rel=0.1)
            assert (other.context, other.vocabulary) == (shape.context, shape.vocabulary)


def test_rates_follow_a_law_through_the_sizes_that_were_bracketed() -> None:
    one = bench()
    shapes = transformers(one, 96)
    jobs = tuned(one, shapes, 1e6)
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
    assert found[1] >= 20 * size_of(found[0][-1])
    assert more[1] >= 20 * size_of(more[0][-1])


def test_what_is_too_dear_or_has_too_little_text_is_none_and_it_is_said() -> None:
    assert largest_ladder(bench(1.0), ()) is None
    assert "costs more than" in what_would(bench(1.0), ())
    assert largest_ladder(bench(1000.0, tokens=10**5), ()) is None
    assert "the text has 100k" in what_would(bench(1000.0, tokens=10**5), ())


class HourGauge(PlantedGauge):
    """Speeds of one of two busy CPU cores with a context of 1,024, as they were measured."""

    def speed(self, shape: Shape, _batch_tokens: int, unroll: int) -> float:
        if isinstance(shape, RecurrentShape):
            known = {1e4: 330e3, 24.6e3: 180e3, 55.3e3: 120e3, 154e3: 62e3}
            slower = (128 / unroll) ** 0.3  # fewer rows at once
        else:
            known = {6144: 33e3, 13824: 37e3, 24576: 39e3, 55296: 25e3, 153600: 15e3}
            slower = 1.0
        sizes, speeds = np.log(list(known)), np.log(list(known.values()))
        return slower * float(np.exp(np.interp(np.log(size_of(shape)), sizes, speeds)))


def hour(amount: float) -> Bench:
    return replace(bench(amount), gauge=HourGauge(), batch_tokens=1024)


def test_the_share_of_an_hour_buys_ladders_up_to_55k_parameters() -> None:
    """190 s of runs, as an hour of `kaplan` on two cores left for them, and their rates."""
    one = hour(190 / (1 - GAUGE_SHARE))
    jobs = recurrent.plan(one).jobs
    assert any(is_control(job.spec) for job in jobs)
    assert max(size_of(job.spec.shape) for job in jobs) >= 55_000
    assert one.cost(jobs) <= 190
    assert context.plan(hour(190.0)).jobs


@pytest.mark.parametrize(("cells", "amount"), [((), 80.0), (("lstm",), 100.0)])
def test_what_would_buy_a_ladder_does(cells: tuple[Cell, ...], amount: float) -> None:
    assert largest_ladder(hour(amount), cells) is None
    found = re.search(
        r"costs (\w+), .* has (\w+): a larger budget", what_would(hour(amount), cells)
    )
    assert found is not None
    needs, has = (parse_budget(words).amount for words in found.groups())
    assert has == amount
    assert largest_ladder(hour(1.01 * needs), cells) is not None
    assert largest_ladder(hour(0.98 * needs), cells) is None


def test_long_transformers_that_are_planned_are_found() -> None:
    one = bench()
    jobs = tuned(one, transformers(one, 64), 1e6)
    others = tuned(one, [twin(shape, "lstm") for shape in transformers(one, 64)], 1e6)
    assert planned(one) == []
    assert planned(replace(one, planned=[*others, *reversed(jobs)])) == jobs
    assert is_long(others[0].spec, "lstm")
    assert not is_long(others[0].spec, "transformer")

"""Choices from short runs, on planted losses: the batch, the bracket, the best rate, its law."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TrainingError
from scalelab.studies import probe
from scalelab.studies.probe import (
    NOISE_PER_BATCH,
    _next_powers,
    best_rate,
    choose_batch,
    first_guess,
    measure_speeds,
    rate_law,
)
from scalelab.studies.sizes import Family, rungs, shape_of_width, size_of

FAMILY = Family(context=32, vocabulary=256)
SHAPE = shape_of_width(64, FAMILY)


# --- speed ----------------------------------------------------------------------------------------


def test_one_width_in_ladders_of_other_depth_is_measured_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scan looks at a width in two layers, a ladder up to a wide model has it in five."""
    asked: list[str] = []
    monkeypatch.setattr(
        probe, "run_all", lambda _, jobs, *__: asked.extend(j.spec.run for j in jobs)
    )
    monkeypatch.setattr(probe, "outcome", lambda *_: {"tokens_per_second": 1.0})
    for top in (64, 256, 320, 1024):
        shape = shape_of_width(64, FAMILY.up_to(top))
        measure_speeds(Path("none"), [shape], "c", 1024, 1.0, cast(Any, None), cast(Any, None))
    assert len(set(asked)) == 4


# --- batch ----------------------------------------------------------------------------------------


@given(st.floats(1.0, 1e9), st.sampled_from([32, 128, 512]), st.integers(0, 12))
def test_the_batch_is_a_doubling_of_the_least_within_bounds_near_what_the_noise_asks(
    noise: float, least: int, doublings: int
) -> None:
    most = least << doublings
    batch = choose_batch(noise, SHAPE, least=least, most=most)
    assert least <= batch <= most
    assert math.log2(batch / least).is_integer()
    asked = noise / NOISE_PER_BATCH
    if least < batch < most:
        assert 0.5 <= batch / asked <= 2
    elif batch == least < most:
        assert asked <= 2 * least
    elif batch == most > least:
        assert asked >= most / 2


def test_more_noise_never_asks_for_a_smaller_batch() -> None:
    batches = [choose_batch(1.3**k, SHAPE, least=32, most=10**7) for k in range(60)]
    assert batches == sorted(batches)
    assert len(set(batches)) > 10


def test_a_noise_scale_lost_in_its_noise_gives_the_least() -> None:
    assert choose_batch(None, SHAPE, least=128, most=4096) == 128
    assert choose_batch(None, SHAPE, least=8, most=4096) == SHAPE.context, "one sequence at least"
    assert choose_batch(1e9, SHAPE, least=128, most=100) == 128


# --- learning rate: the bracket -------------------------------------------------------------------


def search(loss: Callable[[int], float | None]) -> dict[int, float | None]:
    """What is tried when each power of two has that loss, until nothing more is asked for."""
    tried: dict[int, float | None] = {}
    wanted = [-1, 0, 1]
    for _ in range(40):
        assert not set(wanted) & set(tried), "nothing is tried twice"
        tried |= {power: loss(power) for power in wanted}
        wanted = _next_powers(tried)
        if not wanted:
            return tried
    raise AssertionError(f"no end: {tried}")


@given(st.floats(-8.0, 8.0))
def test_the_search_goes_on_until_the_best_is_bracketed(optimum: float) -> None:
    tried = search(lambda power: (power - optimum) ** 2)
    least = min((power - optimum) ** 2 for power in range(-12, 13))
    best = [power for power, loss in tried.items() if loss == least]
    assert best, "the best power of two was tried, and a worse one on each side of it"
    assert min(tried) < max(best)
    assert min(best) < max(tried)
    assert len(tried) <= 4 + abs(optimum), "not a step further than it must go"


@pytest.mark.parametrize("edge", [1, 0, -1, -2, -5])
def test_divergence_is_the_upper_end_of_a_bracket(edge: int) -> None:
    """Losses fall with the rate until it diverges: the last finite one is the best."""
    tried = search(lambda power: None if power >= edge else -float(power))
    finite = [power for power, loss in tried.items() if loss is not None]
    assert max(finite) == edge - 1
    assert edge in tried


def test_equal_losses_end_the_search() -> None:
    assert len(search(lambda _: 2.0)) <= 5


# --- learning rate: the best of a bracket ---------------------------------------------------------


def parabola(optimum: float, *powers: float) -> list[tuple[float, float | None]]:
    return [(2.0**p, 2.0 + 0.3 * (p - math.log2(optimum)) ** 2) for p in powers]


@given(st.floats(-1.4, 1.4), st.floats(-9, 2))
def test_the_minimum_of_a_parabola_in_log_rate_is_found(inside: float, middle: float) -> None:
    optimum = 2.0 ** (middle + inside)
    tried = parabola(optimum, *(middle + k for k in (-2, -1, 0, 1, 2)))
    assert best_rate(tried) == pytest.approx(optimum, rel=1e-6)


def test_a_best_at_an_end_is_itself() -> None:
    assert best_rate(parabola(2.0**5, -1, 0, 1)) == pytest.approx(2.0)
    assert best_rate(parabola(2.0**-5, -1, 0, 1)) == pytest.approx(0.5)
    assert best_rate([(0.01, 3.0)]) == pytest.approx(0.01)
    assert best_rate([(0.01, 3.0), (0.02, 2.5)]) == pytest.approx(0.02)


def test_diverged_runs_have_no_say() -> None:
    tried = parabola(1.1, -1, 0, 1)
    assert best_rate([*tried, (4.0, None), (8.0, None)]) == pytest.approx(best_rate(tried))
    assert best_rate([(0.5, 3.0), (1.0, 2.0), (2.0, None)]) == pytest.approx(1.0)
    assert best_rate([(0.5, None), (1.0, 2.0), (2.0, None)]) == pytest.approx(1.0)


def test_nothing_but_divergence_is_an_error_that_says_so() -> None:
    for tried in ([], [(0.1, None), (0.2, None)]):
        with pytest.raises(TrainingError, match="every probe of the learning rate diverged"):
            best_rate(tried)


@given(st.lists(st.floats(0.5, 8.0), min_size=1, max_size=7), st.data())
def test_the_rate_never_leaves_the_neighbours_of_the_best(
    losses: list[float], data: st.DataObject
) -> None:
    tried: list[tuple[float, float | None]] = [(2.0**i, loss) for i, loss in enumerate(losses)]
    if len(tried) > 1 and data.draw(st.booleans()):
        tried[-1] = (tried[-1][0], None)
    finite = [(lr, loss) for lr, loss in tried if loss is not None]
    best = min(finite, key=lambda item: item[1])[0]
    rate = best_rate(tried)
    assert best / 2 * (1 - 1e-9) <= rate <= best * 2 * (1 + 1e-9)


# --- learning rate: between and beyond the sizes probed -------------------------------------------


@given(st.floats(-1.0, 0.2), st.floats(1e-3, 10.0))
def test_a_planted_power_law_is_recovered(slope: float, scale: float) -> None:
    shapes = rungs(128, FAMILY, 7, 110.0)
    probed = {
        shape.d_model: (shape, scale * size_of(shape) ** slope)
        for shape in (shapes[0], shapes[3], shapes[-2])
    }
    intercept, found = rate_law(probed)
    assert found == pytest.approx(slope, abs=1e-6)
    for shape in shapes:
        rate = math.exp(intercept + found * math.log(size_of(shape)))
        assert rate == pytest.approx(scale * size_of(shape) ** slope, rel=1e-5)


def test_the_first_guess_is_inverse_in_the_width() -> None:
    guesses = [first_guess(shape_of_width(width, FAMILY)) * width for width in (16, 64, 512)]
    assert guesses == pytest.approx([guesses[0]] * 3)
    assert 0 < first_guess(SHAPE) < 1

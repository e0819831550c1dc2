"""A fit turned round: predict(invert(L)) is L, and intervals are those of its draws."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladders import alone, ladder

from scalelab.errors import SpecError
from scalelab.fitting import Fit, fit
from scalelab.laws import Array, custom_law, get_law


@pytest.fixture(scope="module")
def found() -> Fit:
    wide = {"sizes_from": 1e6, "sizes_to": 1e9, "data_from": 1e8, "data_to": 1e11}
    return fit("chinchilla", alone(ladder(sizes=8, data=6, within=0.003, **wide)), draws=300)


def by_hand(values: Array, loss: float, *, tokens: float) -> Array:
    """N at which Chinchilla's law with these parameters (k, 5) gives the loss; infinite if none."""
    e, a, b, alpha, beta = values.T
    left = loss - e - b / tokens**beta
    with np.errstate(invalid="ignore"):
        return np.where(left > 0, (a / left) ** (1 / alpha), np.inf)


# --- there and back ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(share=st.floats(0.02, 0.98), log_tokens=st.floats(np.log(1e8), np.log(1e12)))
def test_the_law_at_the_size_found_gives_the_loss(
    found: Fit, share: float, log_tokens: float
) -> None:
    tokens = float(np.exp(log_tokens))
    low, high = (float(found.predict(params=N, tokens=tokens).value) for N in (1e13, 1e5))
    wanted = low + share * (high - low)
    size = found.invert(wanted, tokens=tokens)
    assert float(found.predict(params=size.value, tokens=tokens).value) == pytest.approx(
        wanted, rel=1e-9
    )
    assert 1e5 * 0.99 < size.value < 1e13 * 1.01
    assert size.low <= size.value <= size.high


def test_either_input_can_be_the_unknown(found: Fit) -> None:
    loss = float(found.predict(params=3e7, tokens=4e9).value)
    assert found.invert(loss, tokens=4e9).value == pytest.approx(3e7, rel=1e-6)
    assert found.invert(loss, params=3e7).value == pytest.approx(4e9, rel=1e-6)


def test_a_lower_loss_asks_for_more(found: Fit) -> None:
    wanted = np.linspace(1.25, 1.6, 5)
    for known in ({"tokens": 1e11}, {"params": 1e9}):
        sizes = [found.invert(float(loss), **known).value for loss in wanted]
        assert sizes == sorted(sizes, reverse=True)


def test_a_law_that_rises_is_turned_round_too() -> None:
    """The batch of Step Law grows with the tokens."""
    law = get_law("optimal-batch")
    values = law.preset("steplaw2025-batch").values
    D = np.geomspace(1e9, 1e12, 12)
    batch = law.loss(values, tokens=D) * np.exp(0.01 * np.random.default_rng(0).normal(size=12))
    model = fit(law, pl.DataFrame({"tokens": D, law.response: batch}), draws=100)
    asked = float(model.predict(tokens=7e10).value)
    answer = model.invert(asked)
    assert answer.value == pytest.approx(7e10, rel=1e-6)
    assert answer.low < answer.value < answer.high


def test_a_law_of_ones_own_in_one_variable() -> None:
    N = np.geomspace(1e6, 1e9, 12)
    loss = (1.5 + 40 * N**-0.2) * np.exp(0.002 * np.random.default_rng(0).normal(size=12))
    model = fit(custom_law("E + A / N^alpha"), pl.DataFrame({"params": N, "loss": loss}), draws=100)
    e, a, alpha = model.values["E"], model.values["A"], model.values["alpha"]
    assert model.invert(2.2).value == pytest.approx((a / (2.2 - e)) ** (1 / alpha), rel=1e-9)


# --- intervals --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_interval_is_that_of_the_draws(found: Fit, level: float) -> None:
    for loss in (1.12, 1.2, 1.5):
        answer = found.invert(loss, level=level, tokens=1e10)
        point = np.array([list(found.values.values())])
        assert answer.value == pytest.approx(by_hand(point, loss, tokens=1e10)[0], rel=1e-6)
        draws = by_hand(found.draws, loss, tokens=1e10)
        ends = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
        assert (answer.low, answer.high) == pytest.approx(tuple(ends), rel=1e-6)
        assert answer.level == level


def test_an_end_that_some_draws_never_reach_is_infinite(found: Fit) -> None:
    """A hair above the floor at endless data: half of the draws lie above that for ever."""
    floors = np.sort(found.draws[:, 0] + found.draws[:, 2] / 1e10 ** found.draws[:, 4])
    lowest = found.values["E"] + found.values["B"] / 1e10 ** found.values["beta"]
    loss = max(float(floors[len(floors) // 2]), lowest + 1e-4)
    answer = found.invert(loss, tokens=1e10)
    assert answer.high == np.inf
    assert 0 < answer.low <= answer.value < np.inf
    assert answer.to_dict()["high"] is None


# --- what cannot be answered ------------------------------------------------------------------


def test_a_loss_below_the_floor_is_refused_with_what_the_law_gives(found: Fit) -> None:
    with pytest.raises(SpecError, match=r"never gives loss = 0\.9 there: it runs from") as caught:
        found.invert(0.9, tokens=1e11)
    low = float(str(caught.value).split(" from ")[1].split(" to ")[0])
    endless = found.values["E"] + found.values["B"] / 1e11 ** found.values["beta"]
    assert low == pytest.approx(endless, rel=1e-3)
    with pytest.raises(SpecError, match="never gives"):
        found.invert(1e12, tokens=1e11)


@pytest.mark.parametrize(
    ("value", "inputs", "message"),
    [
        (1.5, {}, r"give all but one of these \(given: none\)"),
        (1.5, {"params": 1e8, "tokens": 1e9}, "give all but one of these"),
        (1.5, {"flops": 1e18}, r"give all but one of these \(given: flops\)"),
        (1.5, {"tokens": 1e9, "flops": 1e18}, "give all but one of these"),
        (1.5, {"tokens": -1.0}, "tokens is -1.0"),
        (1.5, {"tokens": float("inf")}, "tokens is inf"),
        (0.0, {"tokens": 1e9}, "loss is 0"),
        (-2.0, {"tokens": 1e9}, "loss is -2"),
        (float("nan"), {"tokens": 1e9}, "loss is nan"),
        (1.5, {"tokens": 1e9, "level": 1.0}, "level is 1"),
    ],
)
def test_wrong_questions_are_refused(
    found: Fit, value: float, inputs: dict[str, float], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        found.invert(value, **inputs)


def test_an_input_that_may_be_zero_cannot_be_the_unknown() -> None:
    """A rate that has fallen to nothing has no logarithm to search over."""
    law = get_law("annealing")
    assert law.raw
    generator = np.random.default_rng(0)
    inputs = {
        name: generator.uniform(0.1, 1.0, size=30) if name in law.raw else np.geomspace(1, 1e3, 30)
        for name in law.inputs
    }
    values = {p.name: 0.5 for p in law.parameters}
    loss = law.loss(values, **inputs) * np.exp(0.001 * generator.normal(size=30))
    model = fit(law, pl.DataFrame({**inputs, law.response: loss}), draws=100)
    known = {name: 1.0 for name in law.inputs if name not in law.raw}
    with pytest.raises(SpecError, match="give all but one"):
        model.invert(1.0, **known)

"""Guesses lie where parameters may be, whatever the units of inputs and response."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.laws import Array, Parameter, custom_law
from scalelab.laws.guesses import exponents, guess

COUNT = 2000
N = np.geomspace(1e7, 1e10, 20)


def guesses(
    text: str,
    response: Array,
    columns: dict[str, Array] | None = None,
    **bounds: tuple[float, float],
) -> dict[str, Array]:
    law = custom_law(text)
    if bounds:
        law = law.restrict(bounds=bounds)
    found = guess(law, columns or {"params": N}, response, COUNT, np.random.default_rng(0))
    names = [name for name in law.names if name not in law.linear]
    return dict(zip(names, found.T, strict=True))


def share_near(values: Array, planted: float, factor: float = 3.0) -> float:
    """Share of the guesses of the planted sign within a factor of it."""
    ratio = values / planted
    return float(((ratio > 1 / factor) & (ratio < factor)).mean())


@settings(max_examples=30, deadline=None)
@given(unit=st.floats(-12, 12), level=st.floats(-3, 3))
def test_guesses_follow_the_units_of_input_and_response(unit: float, level: float) -> None:
    """The same law in other units: as many guesses lie near the planted value."""
    scale, size = 10.0**unit, 10.0**level
    columns = {"params": N * scale}
    y = size * (1.4 + 3e3 / (N + 2e8) ** 0.45)
    found = guesses("E + A / (N + N0)^a", y, columns)
    assert share_near(found["N0"], 2e8 * scale) > 0.03
    found = guesses("E + A * exp(-k * N)", y, columns)
    assert share_near(found["k"], 3e-10 / scale) > 0.03


@pytest.mark.parametrize(
    ("text", "response", "planted"),
    [
        ("E + (X/N)^a", 1.4 + (4.25e8 / N) ** 0.237, {"X": 4.25e8, "a": 0.237}),
        ("(X/N)^a", (8.8e13 / N) ** 0.076, {"X": 8.8e13, "a": 0.076}),
        ("E + exp(a - b*log(N))", 1.5 + np.exp(15.9 - 0.8 * np.log(N)), {"a": 15.9, "b": 0.8}),
        ("0.2 + 0.8/(1 + exp(b - a*log(N)))", 0.2 + 0.1 * np.log(N), {"b": 20.0, "a": 0.9}),
        ("c + a*N^b", 1.7 + 932 * N**-0.452, {"b": -0.452}),
        ("E + A * tanh(N / X)", 2 + np.tanh(N / 1e9), {"X": 1e9}),
        ("E + A / max(N, X)^a", 2 + 100 / N**0.3, {"X": 1e8, "a": 0.3}),
        ("E + A / log(X + N)", 2 + 1 / np.log(1e9 + N), {"X": 1e9}),
        ("E + A * sqrt(1 + X * N)", 2 + np.sqrt(1 + 1e-8 * N), {"X": 1e-8}),
    ],
)
def test_guesses_reach_planted_values(
    text: str, response: Array, planted: dict[str, float]
) -> None:
    found = guesses(text, response)
    together = np.ones(COUNT, dtype=bool)
    for name, value in planted.items():
        assert share_near(found[name], value) > 0.01, name
        together &= (found[name] / value > 0.2) & (found[name] / value < 5)
    assert together.sum() >= 3


def test_guesses_respect_bounds_and_grids() -> None:
    y = 1.4 + (4.25e8 / N) ** 0.237
    found = guesses("E + (X/N)^a", y, X=(1e3, 1e15), a=(-2.0, 0.5))
    assert (found["X"] >= 1e3).all()
    assert (found["X"] <= 1e15).all()
    assert found["a"].min() >= -2
    assert found["a"].max() <= 0.5
    # Even in the logarithm over twelve decades, so that each has its share.
    decades = np.histogram(np.log10(found["X"]), bins=12, range=(3, 15))[0]
    assert decades.min() > COUNT / 100
    law = custom_law("E + A/N^a", [Parameter("a", "", 0.0, 5.0, grid=(0.25, 0.5))])
    values = guess(law, {"params": N}, y, COUNT, np.random.default_rng(0))[:, 0]
    assert np.isin(values, (0.25, 0.5)).mean() > 0.3
    assert len(np.unique(values)) > 100


def test_a_function_without_a_tree_has_guesses_of_many_sizes() -> None:
    law = custom_law(lambda p, x: p.E + p.A / x.params**p.a, ["E", "A", "a"], inputs=["params"])
    values = guess(law, {"params": N}, N**-0.1, COUNT, np.random.default_rng(0))[:, 0]
    assert share_near(values, 0.3) > 0.03
    assert share_near(values, -0.3) > 0.03


def test_which_parameters_are_exponents() -> None:
    assert exponents(custom_law("E + A/N^alpha + exp(b - g*log(D)) + k*exp(-r*S)")) == {
        "alpha",
        "g",
    }
    assert exponents(custom_law("((X/N)^(p/q) + Y/D)^q")) == {"p", "q"}


def test_guesses_are_those_of_the_seed() -> None:
    law = custom_law("E + (X/N)^a")
    one, two = (guess(law, {"params": N}, N**-0.1, 50, np.random.default_rng(s)) for s in (4, 4))
    assert (one == two).all()

"""The registry, what every law says of itself, its losses, and the numbers that papers print."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_cases import CASES, Case

from scalelab.errors import SpecError
from scalelab.laws import LAWS, Law, get_law

every_law = pytest.mark.parametrize("case", CASES, ids=str)
CHINCHILLA = LAWS["chinchilla"]
PLANTED = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.36}


# --- the registry -------------------------------------------------------------------------------


def test_names_are_unique_and_typed_as_they_are_listed() -> None:
    assert len({law.name for law in LAWS.values()}) == len(LAWS)
    for name, law in LAWS.items():
        assert law.name == name
        assert get_law(name) is law


def test_names_of_presets_are_unique_among_all_laws() -> None:
    names = [preset.name for case in CASES for preset in case.law.presets]
    assert len(set(names)) == len(names)


def test_an_unknown_law_names_the_known_ones() -> None:
    with pytest.raises(SpecError, match="no law 'chinchila'; known are chinchilla, kaplan"):
        get_law("chinchila")


def test_a_column_is_chosen_only_for_laws_in_one_variable() -> None:
    assert get_law("power", "flops").inputs == ("flops",)
    assert get_law("power", "width").equation == "L = E + A / width^alpha"
    with pytest.raises(SpecError, match=r"law kaplan is over params and tokens.*power-no-floor"):
        get_law("kaplan", "tokens")


@every_law
def test_a_law_explains_itself(case: Case) -> None:
    law = case.law
    assert len(set(law.names)) == len(law.names)
    assert law.reference
    for parameter in law.parameters:
        assert parameter.name.isidentifier()
        assert parameter.name.isascii()
        assert parameter.meaning
        assert parameter.low < parameter.high
        assert parameter.name in law.equation
        if parameter.prior is not None:
            typical, width = parameter.prior
            assert parameter.low < typical < parameter.high
            assert width > 0
    for derived in law.derived:
        assert derived.meaning
        assert derived.name not in law.names
    for preset in law.presets:
        assert preset.reference
        assert law.preset(preset.name) is preset
        assert set(preset.values) == set(law.names)


@every_law
def test_the_grid_of_starts_lies_inside_the_bounds(case: Case) -> None:
    law = case.law
    assert len(law.separable.points) == math.prod(len(axis) for axis in law.separable.grid)
    bounds = {parameter.name: (parameter.low, parameter.high) for parameter in law.parameters}
    for name, axis in zip(law.separable.exponents, law.separable.points.T, strict=True):
        low, high = bounds[name]
        assert ((axis >= low) & (axis <= high)).all()


@every_law
def test_values_and_coordinates_are_inverse(case: Case) -> None:
    values = np.array([case.planted[name] for name in case.law.names])
    assert case.law.values(case.law.coordinates(values)) == pytest.approx(values, rel=1e-13)
    low, high = case.law.bounds
    assert (low < case.theta).all()
    assert (case.theta < high).all()


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(SpecError, match="no preset 'mine'; it has hoffmann2022, besiroglu2024"):
        CHINCHILLA.preset("mine")
    with pytest.raises(SpecError, match="it has none"):
        get_law("power").preset("mine")


# --- losses -------------------------------------------------------------------------------------


@every_law
def test_losses_are_those_of_the_equation(case: Case) -> None:
    inputs = {name: np.geomspace(1e6, 1e12, 5) for name in case.law.inputs}
    expected = case.by_hand(case.planted, *inputs.values())
    np.testing.assert_allclose(case.law.loss(case.planted, **inputs), expected, rtol=1e-12)


@every_law
@settings(deadline=None)
@given(exponent=st.floats(2, 14), factor=st.floats(1.01, 1e4))
def test_more_of_anything_never_hurts(case: Case, exponent: float, factor: float) -> None:
    inputs = dict.fromkeys(case.law.inputs, 10.0**exponent)
    here = float(case.law.loss(case.planted, **inputs))
    for name in inputs:
        more = float(case.law.loss(case.planted, **{**inputs, name: inputs[name] * factor}))
        assert more <= here * (1 + 1e-12)


@given(n=st.floats(1e5, 1e12), d=st.floats(1e6, 1e13))
@settings(deadline=None)
def test_the_coupled_law_contains_the_other_two(n: float, d: float) -> None:
    coupled = LAWS["coupled"]
    sum_ = coupled.loss({**PLANTED, "gamma": 1.0}, params=n, tokens=d)
    assert float(sum_) == pytest.approx(float(CHINCHILLA.loss(PLANTED, params=n, tokens=d)))
    kaplan = LAWS["kaplan"].preset("kaplan2020").values
    alpha, beta = kaplan["alpha_N"], kaplan["alpha_D"]
    same = {"E": 0.0, "A": kaplan["N_c"] ** alpha, "B": kaplan["D_c"] ** beta}
    same |= {"alpha": alpha, "beta": beta, "gamma": beta}
    bottleneck = coupled.loss(same, params=n, tokens=d)
    assert float(bottleneck) == pytest.approx(
        float(LAWS["kaplan"].loss(kaplan, params=n, tokens=d))
    )


def test_a_term_that_is_zero_drops_out() -> None:
    without = {**PLANTED, "E": 0.0, "B": 0.0}
    assert float(CHINCHILLA.loss(without, params=1e6, tokens=1e9)) == pytest.approx(
        480 / 1e6**0.35, rel=1e-13
    )


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_parameter_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(SpecError, match=f"A is {value}; law chinchilla needs a positive, finite"):
        CHINCHILLA.loss({**PLANTED, "A": value}, params=1e6, tokens=1e9)


def test_an_exponent_may_not_be_zero() -> None:
    with pytest.raises(SpecError, match=r"alpha is 0\.0"):
        CHINCHILLA.loss({**PLANTED, "alpha": 0.0}, params=1e6, tokens=1e9)


@pytest.mark.parametrize(
    "given_",
    [{}, {"E": 1.0}, {**PLANTED, "gamma": 1.0}],
    ids=["none", "one", "one too many"],
)
def test_exactly_the_parameters_are_taken(given_: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="has parameters E, A, B, alpha, beta; given were"):
        CHINCHILLA.loss(given_, params=1e6, tokens=1e9)


def test_exactly_the_inputs_are_taken() -> None:
    for inputs in ({}, {"params": 1e6}, {"params": 1e6, "tokens": 1e9, "flops": 1e15}):
        with pytest.raises(SpecError, match="takes params and tokens; given were"):
            CHINCHILLA.loss(PLANTED, **inputs)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_input_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(SpecError, match=f"tokens is {value}; law chinchilla needs positive"):
        CHINCHILLA.loss(PLANTED, params=1e6, tokens=np.array([1e9, value]))


def test_shapes_that_do_not_go_together_are_named() -> None:
    with pytest.raises(SpecError, match=r"params \(2,\), tokens \(3,\)"):
        CHINCHILLA.loss(PLANTED, params=np.ones(2), tokens=np.ones(3))


def test_a_law_is_frozen() -> None:
    with pytest.raises(AttributeError):
        CHINCHILLA.name = "mine"  # type: ignore[misc]
    mine = replace(CHINCHILLA, name="mine")
    assert isinstance(mine, Law)
    assert CHINCHILLA.name == "chinchilla"


# --- published numbers --------------------------------------------------------------------------


def preset_loss(law: str, preset: str, column: str | None = None, **inputs: float) -> float:
    chosen = get_law(law, column)
    return float(chosen.loss(chosen.preset(preset).values, **inputs))


def test_hoffmann_2022() -> None:
    """Chinchilla itself, 70B parameters and 1.4T tokens, by the formula of section 3.3."""
    by_hand = 1.69337368 + 406.401018 / 70e9**0.33917084 + 410.722827 / 1.4e12**0.2849083
    found = preset_loss("chinchilla", "hoffmann2022", params=70e9, tokens=1.4e12)
    assert found == pytest.approx(by_hand, rel=1e-12)
    # From logarithms: 406.401018 exp(-.33917084 x 24.97177) = .08523, and
    # 410.722827 exp(-.2849083 x 27.96749) = .14224; with the floor 1.9208.
    assert found == pytest.approx(1.9208, abs=5e-4)


def test_besiroglu_2024() -> None:
    by_hand = 1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658
    found = preset_loss("chinchilla", "besiroglu2024", params=70e9, tokens=1.4e12)
    assert found == pytest.approx(by_hand, rel=1e-12)
    assert found == pytest.approx(1.9739, abs=5e-5)


@pytest.mark.parametrize(
    ("preset", "a", "b"),
    [
        ("hoffmann2022", 0.46, 0.54),  # Hoffmann et al. 2022, table 2, approach 3
        ("besiroglu2024", 0.51, 0.49),  # Besiroglu et al. 2024: a = .512
    ],
)
def test_exponents_of_the_optimal_model(preset: str, a: float, b: float) -> None:
    values = {k: np.array([v]) for k, v in CHINCHILLA.preset(preset).values.items()}
    derived = {one.name: float(one.formula(values)[0]) for one in CHINCHILLA.derived}
    assert derived["N_opt_exponent"] == pytest.approx(a, abs=0.005)
    assert derived["D_opt_exponent"] == pytest.approx(b, abs=0.005)
    assert sum(derived.values()) == pytest.approx(1, rel=1e-14)


def test_the_exponent_of_the_optimal_model_is_that_of_the_cheapest_one() -> None:
    """By search: the N that minimises L(N, C / 6N) at two budgets."""
    values = CHINCHILLA.preset("hoffmann2022").values
    sizes = np.geomspace(1e6, 1e13, 200_001)
    best = [
        sizes[CHINCHILLA.loss(values, params=sizes, tokens=C / (6 * sizes)).argmin()]
        for C in (1e20, 1e24)
    ]
    by_search = np.log(best[1] / best[0]) / np.log(1e4)
    exponent = values["beta"] / (values["alpha"] + values["beta"])
    # One step of the grid is 8e-5 of log N, over a range of 9.2.
    assert by_search == pytest.approx(exponent, abs=2e-5)


def test_kaplan_2020() -> None:
    """Equation 1.5 with the constants of table 2, at GPT-2's size and WebText2's 22B tokens."""
    by_hand = ((6.4e13 / 1.5e9) ** (0.076 / 0.103) + 1.8e13 / 22e9) ** 0.103
    assert preset_loss("kaplan", "kaplan2020", params=1.5e9, tokens=22e9) == pytest.approx(
        by_hand, rel=1e-12
    )
    kaplan = LAWS["kaplan"]
    assert dict(kaplan.preset("kaplan2020").values) == {
        "alpha_N": 0.076,
        "N_c": 6.4e13,
        "alpha_D": 0.103,
        "D_c": 1.8e13,
    }
    # Section 4.2: D ~ N^.74 keeps over-fitting equal, so 8 times the model needs about 5 times
    # the data.
    (derived,) = kaplan.derived
    values = {k: np.array([v]) for k, v in kaplan.preset("kaplan2020").values.items()}
    assert float(derived.formula(values)[0]) == pytest.approx(0.74, abs=0.005)
    assert 8 ** float(derived.formula(values)[0]) == pytest.approx(5, abs=0.5)


def test_kaplan_2020_in_one_variable() -> None:
    """Section 1.2: doubling the parameters multiplies the loss by 2^-.076 = .95."""

    def size(n: float) -> float:
        return preset_loss("power-no-floor", "kaplan2020-params", "params", params=n)

    assert size(2e9) / size(1e9) == pytest.approx(0.95, abs=0.002)
    # N_c and D_c are where the two laws reach one nat.
    assert size(8.8e13) == pytest.approx(1, rel=1e-12)
    assert preset_loss(
        "power-no-floor", "kaplan2020-tokens", "tokens", tokens=5.4e13
    ) == pytest.approx(1, rel=1e-12)

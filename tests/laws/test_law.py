"""The registry, what every law says of itself, its losses, and the numbers that papers print."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_cases import CASES, Case, padded, runs

from scalelab.errors import SpecError
from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import LAWS, Law, Parameter, column_of, get_law, starts_of

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
    columns = ("params", "tokens", "unique_tokens", "flops", "flops_min", "position")
    laws = [*(law for law in LAWS.values() if column_of(law) is None)]
    laws += [get_law(n, c) for n in LAWS if column_of(LAWS[n]) for c in columns]
    names = [preset.name for law in laws for preset in law.presets]
    assert len(set(names)) == len(names)
    assert len(names) == 16


def test_an_unknown_law_names_the_known_ones() -> None:
    with pytest.raises(
        SpecError, match="no law 'chinchila'; known are chinchilla, chinchilla-tied"
    ):
        get_law("chinchila")


def test_a_column_is_chosen_only_for_laws_in_one_variable() -> None:
    assert get_law("power", "flops").inputs == ("flops",)
    assert get_law("power", "width").equation == "L = E + A / width^alpha"
    assert get_law("transfer", "loss.code").response == "loss.code"
    with pytest.raises(SpecError, match=r"law kaplan is over params and tokens.*power-no-floor"):
        get_law("kaplan", "tokens")


@every_law
def test_the_column_of_a_law_makes_it_again(case: Case) -> None:
    assert column_of(case.law) == case.column
    again = get_law(case.law.name, column_of(case.law))
    assert (again.equation, again.inputs) == (case.law.equation, case.law.inputs)
    assert again.response == case.law.response


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
def test_starts_lie_inside_the_bounds(case: Case) -> None:
    table = runs(case)
    flat = [np.asarray(a, dtype=float) for a in case.inputs(table)]
    inputs, _ = case.law.log_inputs(dict(zip(case.law.inputs, flat, strict=True)))
    starts = starts_of(case.law, inputs, np.log(table[case.law.response].to_numpy()))
    low, high = case.law.bounds
    assert np.isfinite(starts).all()
    assert ((starts >= low) & (starts <= high)).all()
    if case.law.starts is None:
        grids = [p for p in case.law.parameters if p.name not in case.law.linear]
        points = case.law.grid(inputs)
        assert points.shape == (len(starts), len(grids))
        assert len(np.unique(points, axis=0)) == len(points)
        for parameter, axis in zip(grids, points.T, strict=True):
            column = case.law.names.index(parameter.name)
            assert ((axis >= low[column]) & (axis <= high[column])).all()


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
    inputs = case.asked(5)
    expected = case.by_hand(case.planted, *inputs.values())
    np.testing.assert_allclose(case.law.loss(case.planted, **inputs), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.law.response == "loss" and not c.law.raw], ids=str
)
@settings(deadline=None, max_examples=30)
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


# --- restrictions -------------------------------------------------------------------------------


def losses_of(law: Law, values: dict[str, float]) -> list[float]:
    N, D = np.array([1e6, 1e7, 1e8]), np.array([1e10, 1e8, 1e9])
    return [float(x) for x in law.loss(values, params=N, tokens=D)]


def test_a_fixed_parameter_is_a_constant_of_the_law() -> None:
    fixed = {"E": 1.8, "B": 2000.0}  # one by its value, one by its logarithm
    law = CHINCHILLA.restrict(fixed=fixed)
    assert law.names == ("A", "alpha", "beta")
    assert law.linear == ("A",)
    free = {name: value for name, value in PLANTED.items() if name not in fixed}
    assert losses_of(law, free) == pytest.approx(losses_of(CHINCHILLA, PLANTED), rel=1e-14)
    assert law.equation == CHINCHILLA.equation + ", E = 1.8, B = 2000"
    assert law.presets == ()
    with pytest.raises(SpecError, match="has parameters A, alpha, beta; given were"):
        losses_of(law, PLANTED)


def test_a_tied_parameter_is_another_one() -> None:
    law = CHINCHILLA.restrict(tied={"beta": "alpha", "A": "B"})
    assert law.names == ("E", "B", "alpha")
    same = {**PLANTED, "A": 2000.0, "beta": 0.35}
    free = {name: same[name] for name in law.names}
    assert losses_of(law, free) == pytest.approx(losses_of(CHINCHILLA, same), rel=1e-14)
    assert law.equation.endswith(", beta = alpha, A = B")


def test_bounds_are_those_of_the_search() -> None:
    law = CHINCHILLA.restrict(bounds={"alpha": (0.2, 0.4), "A": (10.0, np.inf)})
    assert law.names == CHINCHILLA.names
    low, high = law.bounds
    assert (low[3], high[3]) == (0.2, 0.4)
    assert (low[1], high[1]) == (np.log(10.0), np.inf)
    assert not law.parameters[3].open  # the user's bound ends the law, and so an interval
    assert CHINCHILLA.parameters[3].open
    assert losses_of(law, PLANTED) == losses_of(CHINCHILLA, PLANTED)


def test_fixed_tied_and_bounded_go_together() -> None:
    law = CHINCHILLA.restrict({"E": 1.0}, {"beta": "alpha"}, {"alpha": (0.1, 0.5)})
    assert law.names == ("A", "B", "alpha")
    assert law.equation.endswith(", E = 1, beta = alpha, 0.1 <= alpha <= 0.5")
    assert (law.bounds[0][2], law.bounds[1][2]) == (0.1, 0.5)


def test_derivatives_of_a_restricted_law_are_those_along_it() -> None:
    law = CHINCHILLA.restrict(fixed={"E": 1.8}, tied={"beta": "alpha"})
    theta = law.coordinates(np.array([[480.0, 2000.0, 0.35]]))
    inputs = (np.log([1e6, 1e8]), np.log([1e9, 1e10]))
    whole = CHINCHILLA.coordinates(np.array([[1.8, 480.0, 2000.0, 0.35, 0.35]]))
    value, slopes = CHINCHILLA.formula(whole, inputs)
    found, along = law.formula(theta, inputs)
    np.testing.assert_allclose(found, value, rtol=1e-14)
    expected = np.stack([slopes[:, 1], slopes[:, 2], slopes[:, 3] + slopes[:, 4]], axis=1)
    np.testing.assert_allclose(along, expected, rtol=1e-12)


def test_what_follows_from_the_parameters_follows_from_those_that_are_left() -> None:
    whole = {derived.name: derived.formula for derived in CHINCHILLA.derived}
    fixed = CHINCHILLA.restrict(fixed={"alpha": 0.5})
    tied = CHINCHILLA.restrict(tied={"beta": "alpha"})
    draws = np.array([0.2, 0.3])
    for law, values, every in (
        (fixed, {"beta": draws}, {"alpha": np.array([0.5, 0.5]), "beta": draws}),
        (tied, {"alpha": draws}, {"alpha": draws, "beta": draws}),
    ):
        assert [derived.name for derived in law.derived] == list(whole)
        for derived in law.derived:
            np.testing.assert_array_equal(derived.formula(values), whole[derived.name](every))


@pytest.mark.parametrize(
    ("name", "fixed", "tied"),
    [
        ("chinchilla", {"E": 1.8}, {}),
        ("chinchilla", {"alpha": 0.35}, {}),
        ("chinchilla", {}, {"beta": "alpha"}),
        ("chinchilla", {"E": 1.8, "A": 480.0, "B": 2000.0}, {}),  # linear in nothing any more
        ("kaplan", {"alpha_N": 0.076}, {}),  # with starts of its own
        ("kaplan", {}, {"alpha_D": "alpha_N"}),
        ("coupled", {"gamma": 1.0}, {}),
        ("coupled", {}, {"beta": "alpha"}),
    ],
)
def test_starts_of_a_restricted_law_are_inside_it(
    name: str, fixed: dict[str, float], tied: dict[str, str]
) -> None:
    whole = next(case for case in CASES if case.name == name)
    law = whole.law.restrict(fixed=fixed, tied=tied)
    table = runs(whole)
    inputs = tuple(np.log(values) for values in whole.inputs(table))
    starts = starts_of(law, inputs, np.log(table["loss"].to_numpy()))
    assert starts.shape[1] == len(law.names) == len(whole.planted) - len(fixed) - len(tied)
    low, high = law.bounds
    assert ((starts >= low) & (starts <= high)).all()
    # One of them is near: within a third of every loss.
    away = np.abs(law.log_value(starts, inputs) - np.log(table["loss"].to_numpy())).max(axis=1)
    assert away.min() < 0.3


def test_a_law_of_the_registry_that_is_a_restricted_one_may_be_restricted() -> None:
    law = LAWS["chinchilla-tied"].restrict(fixed={"E": 1.8})
    assert law.names == ("A", "B", "alpha")


def test_nothing_held_is_the_same_law() -> None:
    assert CHINCHILLA.restrict() is CHINCHILLA
    assert CHINCHILLA.restrict({}, {}, {}) is CHINCHILLA
    assert not CHINCHILLA.restrictions


def test_a_restricted_law_is_not_restricted_again() -> None:
    law = CHINCHILLA.restrict(fixed={"E": 1.8})
    with pytest.raises(SpecError, match=r"chinchilla is restricted already: E = 1\.8"):
        law.restrict(fixed={"alpha": 0.3})


@pytest.mark.parametrize(
    ("fixed", "tied", "bounds", "words"),
    [
        ({"delta": 1.0}, {}, {}, "no parameter 'delta'; it has E, A, B, alpha, beta"),
        ({}, {"delta": "alpha"}, {}, "no parameter 'delta'"),
        ({}, {"alpha": "delta"}, {}, "no parameter 'delta'"),
        ({}, {}, {"delta": (0.0, 1.0)}, "no parameter 'delta'"),
        ({"A": -1.0}, {}, {}, r"A is -1\.0; law chinchilla needs a positive, finite"),
        ({"A": math.nan}, {}, {}, "A is nan"),
        ({"A": math.inf}, {}, {}, "A is inf"),
        ({"alpha": 0.0}, {}, {}, r"alpha is 0\.0"),
        ({"alpha": 0.001}, {}, {}, "alpha is held at 0.001; law chinchilla has it between 0.005"),
        ({"alpha": 0.3}, {"beta": "alpha"}, {}, "beta is tied to alpha, and one of them is held"),
        ({"beta": 0.3}, {"beta": "alpha"}, {}, "beta is tied to alpha, and one of them is held"),
        ({}, {"beta": "alpha", "alpha": "beta"}, {}, "and one of them is held otherwise"),
        ({}, {"alpha": "alpha"}, {}, "alpha is tied to alpha"),
        ({}, {"A": "alpha"}, {}, "A and alpha are not of one kind"),
        ({}, {"A": "E"}, {}, "A and E are not of one kind"),  # one is known by its logarithm
        ({"alpha": 0.3}, {}, {"alpha": (0.1, 1.0)}, "alpha has bounds and is held as well"),
        ({}, {"beta": "alpha"}, {"beta": (0.1, 1.0)}, "beta has bounds and is held as well"),
        ({}, {}, {"alpha": (0.5, 0.1)}, r"bounds of alpha are 0\.5 and 0\.1; low below high"),
        ({}, {}, {"alpha": (0.001, 1.0)}, r"both between 0\.005 and inf"),
        ({}, {}, {"A": (-1.0, 1.0)}, "both between 0 and inf"),
        ({}, {}, {"A": (math.nan, 1.0)}, "low below high"),
        (PLANTED, {}, {}, "every parameter of law chinchilla is held: nothing is left to fit"),
    ],
)
def test_restrictions_that_cannot_be_are_refused(
    fixed: dict[str, float],
    tied: dict[str, str],
    bounds: dict[str, tuple[float, float]],
    words: str,
) -> None:
    with pytest.raises(SpecError, match=words):
        CHINCHILLA.restrict(fixed, tied, bounds)


def test_a_value_beyond_the_law_is_refused_and_one_beyond_the_search_is_not() -> None:
    with pytest.raises(
        SpecError, match=r"gamma is held at 2; law coupled has it between 0\.02 and"
    ):
        LAWS["coupled"].restrict(fixed={"gamma": 2.0})
    with pytest.raises(SpecError, match=r"bounds of gamma are 0\.5 and 2"):
        LAWS["coupled"].restrict(bounds={"gamma": (0.5, 2.0)})
    assert CHINCHILLA.restrict(fixed={"alpha": 4.0}).names == ("E", "A", "B", "beta")


def test_signed_parameters_may_be_held_at_any_sign() -> None:
    law = get_law("transfer-affine").restrict(fixed={"K": -0.3})
    assert float(law.loss({"k": 1.5}, loss=2.0)) == pytest.approx(2.7, rel=1e-14)


def test_a_start_of_a_law_that_says_none_is_asked_for() -> None:
    mine = replace(
        CHINCHILLA,
        name="mine",
        parameters=tuple(
            Parameter(p.name, p.meaning, p.low, p.high, log=p.log) for p in CHINCHILLA.parameters
        ),
    )
    inputs = (np.log([1e6, 1e7]), np.log([1e9, 1e10]))
    with pytest.raises(SpecError, match="the search found no parameters at which"):
        starts_of(mine, inputs, np.log([3.0, 2.5]))


# --- inputs as they are -------------------------------------------------------------------------


def test_a_raw_input_may_be_zero_and_a_signed_one_below() -> None:
    """An annealing area that counts the warm-up begins below zero."""
    law = get_law("annealing")
    values = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "C": 0.3}
    found = law.loss(values, lr_sum=4.0, annealing=np.array([0.0, 1.0, -1.0]))
    np.testing.assert_allclose(found, [2.8, 2.5, 3.1], rtol=1e-14)
    with pytest.raises(SpecError, match="annealing is nan"):
        law.loss(values, lr_sum=4.0, annealing=np.nan)
    with pytest.raises(SpecError, match=r"lr_sum is 0\.0; law annealing needs positive"):
        law.loss(values, lr_sum=0.0, annealing=0.0)


def test_a_list_may_hold_a_rise() -> None:
    """Schedules that rise after their peak have drops below zero, which are fitted as well."""
    law = get_law("multi-power")
    values = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "B": 400.0, "C": 2.0, "beta": 0.5, "gamma": 0.5}
    table = schedule_columns(np.array([1e-3, 4e-4, 7e-4, 7e-4]), np.array([4]))
    inputs = {name: padded(table[name]) for name in law.inputs}
    assert inputs["lr_drops"][0] == pytest.approx([6e-4, -3e-4])
    gained = [
        drop * (1 - (1 + 2.0 * level**-0.5 * after) ** -0.5)
        for drop, level, after in ((6e-4, 4e-4, 1.8e-3), (-3e-4, 7e-4, 1.4e-3))
    ]
    expected = 2.5 + 0.6 * 2.8e-3**-0.5 - 400.0 * sum(gained)
    assert law.loss(values, **inputs) == pytest.approx([expected], rel=1e-12)
    for wrong in (np.nan, np.inf):
        with pytest.raises(SpecError, match=f"lr_levels is {wrong}"):
            law.loss(values, **{**inputs, "lr_levels": np.full((1, 2), wrong)})


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
    # N_c, D_c and C_c are where the laws reach one nat; equation 1.2 is over the data set.
    for preset, column, scale in (
        ("kaplan2020-params", "params", 8.8e13),
        ("kaplan2020-tokens", "unique_tokens", 5.4e13),
        ("kaplan2020-flops", "flops", 1.6e7 * 8.64e19),  # PF-days of 1e15 x 86400
        ("kaplan2020-flops-min", "flops_min", 3.1e8 * 8.64e19),
    ):
        found = preset_loss("power-no-floor", preset, column, **{column: scale})
        assert found == pytest.approx(1, rel=1e-12)


def test_kaplan_2020_of_steps() -> None:
    """Equation 1.6 with the constants of table 3: size and steps add up."""
    by_hand = (6.5e13 / 1.5e9) ** 0.077 + (2.1e3 / 1e5) ** 0.76
    found = preset_loss("kaplan-steps", "kaplan2020-steps", params=1.5e9, steps_min=1e5)
    assert found == pytest.approx(by_hand, rel=1e-12)
    assert found == pytest.approx(2.328, abs=5e-4)


def test_kaplan_2020_of_the_critical_batch() -> None:
    """Equation 5.3: 2.1e8 tokens over L^(1/.21), so that 13% less loss doubles it."""
    at_three = preset_loss("critical-batch", "kaplan2020-batch", loss=3.0)
    # 3^(1/.21) = exp(4.7619 x 1.098612) = 187.1.
    assert at_three == pytest.approx(2.1e8 / 187.1, rel=1e-3)
    less = preset_loss("critical-batch", "kaplan2020-batch", loss=3.0 * 0.87)
    assert less / at_three == pytest.approx(2, rel=0.04)


def test_gadre_2024_is_chinchillas_form_with_one_exponent() -> None:
    """alpha = beta = 2 eta, and the sixes of C = 6 N D go into the scales."""
    law = LAWS["overtraining"]
    assert [preset.name for preset in law.presets] == [
        *("gadre2024-c4", "gadre2024-redpajama", "gadre2024-refinedweb"),
    ]
    N, D = np.array([1.1e7, 4.1e8, 6.9e9]), np.array([2e9, 2e11, 1.4e11])
    for preset in law.presets:
        v = preset.values
        same = {"E": v["E"], "A": v["a"] / 6 ** v["eta"], "B": v["b"] / 6 ** v["eta"]}
        same |= {"alpha": 2 * v["eta"], "beta": 2 * v["eta"]}
        expected = CHINCHILLA.loss(same, params=N, tokens=D)
        np.testing.assert_allclose(law.loss(v, params=N, tokens=D), expected, rtol=1e-12)


def test_muennighoff_2023() -> None:
    """One epoch is Chinchilla's form, four are worth 3.7, and no more are worth 1 + R_D = 16.4."""
    law, tied = LAWS["repeated-data"], LAWS["chinchilla-tied"]
    values = law.preset("muennighoff2023-repeated").values
    once = tied.preset("muennighoff2023").values

    def loss(size: float, data: float, unique: float) -> float:
        return float(law.loss(values, params=size, tokens=data, unique_tokens=unique))

    def fresh(size: float, data: float) -> float:
        return float(tied.loss(once, params=size, tokens=data))

    # At sizes below N_opt(U), where no parameter is in excess.
    N, U = 1e8, 1e11
    assert loss(N, U, U) == pytest.approx(fresh(N, U), rel=1e-12)
    # Of a larger stock only what is read counts.
    assert loss(N, U, 10 * U) == pytest.approx(fresh(N, U), rel=1e-12)
    four = U * (1 + 15.387756 * (1 - np.exp(-3 / 15.387756)))
    assert four / U == pytest.approx(3.73, abs=0.01)
    assert loss(N, 4 * U, U) == pytest.approx(fresh(N, four), rel=1e-12)
    assert loss(N, 1e6 * U, U) == pytest.approx(fresh(N, (1 + 15.387756) * U), rel=1e-12)
    # Parameters beyond what U tokens call for are worth less than they are.
    assert loss(1e11, 1e9, 1e9) > fresh(1e11, 1e9) * 1.01


def test_the_step_law_2025() -> None:
    """A peak rate of 1.79 N^-.713 D^.307, and .58 D^.571 tokens a step."""
    rate = preset_loss("optimal-lr", "steplaw2025-lr", params=1e9, tokens=1e11)
    # log10: .25285 - .713 x 9 + .307 x 11 = -2.78715.
    assert rate == pytest.approx(10**-2.78715, rel=1e-4)
    assert rate == pytest.approx(1.63e-3, abs=5e-6)
    batch = preset_loss("optimal-batch", "steplaw2025-batch", tokens=1e11)
    # log10: -.23657 + .571 x 11 = 6.04443, a million tokens.
    assert batch == pytest.approx(10**6.04443, rel=1e-4)

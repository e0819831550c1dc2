"""Derivatives carried along with values, against central differences of the values alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scalelab.laws import Array
from scalelab.laws.dual import _RULES, Dual, jacobian, sums_of_rows, variables

# Central differences with this step: truncation 1e-10 of the third derivative, rounding 1e-11.
STEP = 1e-5
CLOSE = {"rtol": 1e-7, "atol": 1e-7}

anywhere = st.floats(-3, 3).filter(lambda x: abs(x) > 0.01)  # not at a kink
above_zero = st.floats(0.1, 3)

ONE: dict[np.ufunc, st.SearchStrategy[float]] = {
    **dict.fromkeys((np.negative, np.positive, np.exp, np.expm1, np.square, np.tanh), anywhere),
    **dict.fromkeys((np.absolute,), anywhere),
    **dict.fromkeys((np.log, np.sqrt), above_zero),
    **dict.fromkeys((np.log1p,), st.floats(-0.8, 3)),
}
TWO: dict[np.ufunc, tuple[st.SearchStrategy[float], st.SearchStrategy[float]]] = {
    **dict.fromkeys((np.add, np.subtract, np.multiply, np.logaddexp), (anywhere, anywhere)),
    **dict.fromkeys((np.maximum, np.minimum), (anywhere, anywhere)),
    **dict.fromkeys((np.divide,), (anywhere, st.floats(0.1, 3) | st.floats(-3, -0.1))),
    **dict.fromkeys((np.power,), (above_zero, anywhere)),
}


def by_differences(function: Callable[..., Any], *at: float) -> list[float]:
    """Derivatives of a function of numbers by each of them."""
    found = []
    for j in range(len(at)):
        ends = []
        for sign in (1, -1):
            moved = list(at)
            moved[j] += sign * STEP
            ends.append(float(function(*moved)))
        found.append((ends[0] - ends[1]) / (2 * STEP))
    return found


def duals(*at: float) -> list[Dual]:
    return variables(np.array([at]))


def slopes(result: Dual | Array, p: int) -> Array:
    """Derivatives (p,) of one number."""
    return jacobian(result, p, 1)[1][0, :, 0]


# --- rules --------------------------------------------------------------------------------------


def test_every_rule_is_checked() -> None:
    assert {*ONE, *TWO} == set(_RULES)


@pytest.mark.parametrize("ufunc", ONE, ids=lambda ufunc: ufunc.__name__)
@given(data=st.data())
def test_rules_of_one_input(ufunc: np.ufunc, data: st.DataObject) -> None:
    at = data.draw(ONE[ufunc])
    (x,) = duals(at)
    result = ufunc(x)
    assert float(result.value[0, 0]) == pytest.approx(float(ufunc(at)), rel=1e-14)
    np.testing.assert_allclose(slopes(result, 1), by_differences(ufunc, at), **CLOSE)


@pytest.mark.parametrize("ufunc", TWO, ids=lambda ufunc: ufunc.__name__)
@given(data=st.data())
def test_rules_of_two_inputs(ufunc: np.ufunc, data: st.DataObject) -> None:
    a, b = (data.draw(strategy) for strategy in TWO[ufunc])
    if ufunc in (np.maximum, np.minimum):
        assume(abs(a - b) > 0.01)
    x, y = duals(a, b)
    expected = by_differences(ufunc, a, b)
    result = ufunc(x, y)
    assert float(result.value[0, 0]) == pytest.approx(float(ufunc(a, b)), rel=1e-14)
    np.testing.assert_allclose(slopes(result, 2), expected, **CLOSE)
    # One of the two may be a plain number, on either side.
    np.testing.assert_allclose(slopes(ufunc(x, b), 2), [expected[0], 0], **CLOSE)
    np.testing.assert_allclose(slopes(ufunc(a, y), 2), [0, expected[1]], **CLOSE)
    # Both may be the same parameter.
    if ufunc not in (np.maximum, np.minimum) and a > 0.1:
        twice = by_differences(lambda a: ufunc(a, a), a)
        np.testing.assert_allclose(slopes(ufunc(x, x), 2), [*twice, 0], **CLOSE)


@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum], ids=["maximum", "minimum"])
def test_of_equals_the_first_counts(ufunc: np.ufunc) -> None:
    """Once, not twice and not half: the slope is that of one of the two sides."""
    x, y = duals(0.7, 0.7)
    np.testing.assert_array_equal(slopes(ufunc(x, y), 2), [1, 0])


def test_a_whole_power_of_a_negative_number_has_a_slope() -> None:
    (x,) = duals(-1.5)
    np.testing.assert_allclose(slopes(x**3, 1), [3 * 1.5**2], rtol=1e-14)
    (zero,) = duals(0.0)
    np.testing.assert_array_equal(slopes(zero**2, 1), [0.0])


@given(a=above_zero, b=above_zero, c=above_zero)
def test_the_chain_rule(a: float, b: float, c: float) -> None:
    """Everything at once, each parameter in several places."""

    def formula(a: Any, b: Any, c: Any) -> Any:
        inner = np.exp(-b * 1.3) + a / 2.0**c
        return np.log(1.5 + inner * np.tanh(a * b)) - np.logaddexp(c, a) ** 2 + np.sqrt(b + c) / a

    result = formula(*duals(a, b, c))
    assert float(result.value[0, 0]) == pytest.approx(float(formula(a, b, c)), rel=1e-14)
    expected = by_differences(formula, a, b, c)
    # Third derivatives by a reach 1e3 at .1.
    np.testing.assert_allclose(slopes(result, 3), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow],
    ids=lambda operation: operation.__name__,
)
def test_operators_take_arrays_on_either_side(operation: Callable[[Any, Any], Any]) -> None:
    (x,) = duals(1.7)
    array = np.array([0.5, 2.0, 3.0])
    for result, plain in (
        (operation(x, array), lambda v: operation(v, array)),
        (operation(array, x), lambda v: operation(array, v)),
    ):
        assert isinstance(result, Dual)
        value, slope = jacobian(result, 1, 3)
        np.testing.assert_allclose(value[0], plain(1.7), rtol=1e-14)
        numerical = (plain(1.7 + STEP) - plain(1.7 - STEP)) / (2 * STEP)
        np.testing.assert_allclose(slope[0, 0], numerical, rtol=1e-7)


# --- shapes -------------------------------------------------------------------------------------


def test_shapes_broadcast_as_numpys_do() -> None:
    """A batch of k parameter vectors over n runs of m entries each, summed over the entries."""
    theta = np.array([[0.5, 1.2], [0.7, 0.9], [1.1, 0.3]])
    x = np.linspace(0.1, 2.0, 4)
    lists = np.arange(1.0, 9.0).reshape(4, 2)

    def formula(a: Any, b: Any) -> Any:
        inner = (lists * np.exp(-b[..., None] * lists)).sum(axis=-1)
        return a * x + inner

    value, slope = jacobian(formula(*variables(theta)), 2, 4)
    assert value.shape == (3, 4)
    assert slope.shape == (3, 2, 4)
    for k, (a, b) in enumerate(theta):
        terms = lists * np.exp(-b * lists)
        np.testing.assert_allclose(value[k], a * x + terms.sum(axis=1), rtol=1e-14)
        np.testing.assert_allclose(slope[k, 0], x, rtol=1e-14)
        np.testing.assert_allclose(slope[k, 1], -(terms * lists).sum(axis=1), rtol=1e-14)


def test_a_sum_is_that_of_values_and_of_slopes() -> None:
    x, y = variables(np.array([[2.0, 3.0], [5.0, 7.0]]))
    table = np.array([[1.0, 2.0, 3.0]])
    total = (x * table + y).sum(axis=1)
    np.testing.assert_array_equal(total.value, [2 * 6 + 9, 5 * 6 + 21])
    np.testing.assert_array_equal(total.parts[0], [6, 6])
    np.testing.assert_array_equal(total.parts[1], [3, 3])  # a slope that is one number, thrice


def test_sums_of_rows_are_those_of_values_and_of_slopes() -> None:
    """Rows 0 and 3 have nothing, row 1 has two values, row 2 one."""
    rows = np.array([1, 1, 2])
    value, slope = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[10.0], [20.0]])
    found = sums_of_rows(Dual(value, {0: slope, 1: value}), rows, 4)
    assert isinstance(found, Dual)
    np.testing.assert_array_equal(found.value, [[0, 3, 3, 0], [0, 9, 6, 0]])
    np.testing.assert_array_equal(found.parts[0], [[0, 20, 10, 0], [0, 40, 20, 0]])
    np.testing.assert_array_equal(found.parts[1], found.value)
    np.testing.assert_array_equal(sums_of_rows(value, rows, 4), found.value)
    none = sums_of_rows(np.empty((2, 0)), np.empty(0, dtype=int), 3)
    np.testing.assert_array_equal(none, np.zeros((2, 3)))


def test_indexing_takes_values_and_slopes_alike() -> None:
    x, y = variables(np.array([[2.0, 3.0], [5.0, 7.0]]))
    product = x * np.array([[1.0, 2.0, 3.0]]) + y
    last = product[:, -1:]
    np.testing.assert_array_equal(last.value, [[9.0], [22.0]])
    np.testing.assert_array_equal(last.parts[0], [[3.0], [3.0]])
    np.testing.assert_array_equal(last.parts[1], [[1.0], [1.0]])
    wide = product[..., None]
    assert wide.value.shape == wide.parts[1].shape == (2, 3, 1)


def test_a_parameter_that_does_not_occur_has_slope_zero() -> None:
    x, _ = variables(np.array([[2.0, 3.0]]))
    value, slope = jacobian(x * 2.0, 2, 5)
    np.testing.assert_array_equal(value, np.full((1, 5), 4.0))
    np.testing.assert_array_equal(slope, [[np.full(5, 2.0), np.zeros(5)]])


def test_variables_depend_on_themselves_alone() -> None:
    theta = np.array([[2.0, 3.0], [5.0, 7.0]])
    for j, x in enumerate(variables(theta)):
        np.testing.assert_array_equal(x.value, theta[:, [j]])
        assert x.parts == {j: 1.0}
    assert variables(theta, trailing=2)[0].value.shape == (2, 1, 1)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", [np.sin, np.floor, np.greater, np.arctan2])
def test_what_has_no_rule_names_what_has(ufunc: np.ufunc) -> None:
    (x,) = duals(1.0)
    arguments = [x] * ufunc.nin
    with pytest.raises(
        TypeError, match=f"no derivative is known of {ufunc.__name__}; use absolute"
    ):
        ufunc(*arguments)


def test_reductions_and_targets_have_no_rule() -> None:
    (x,) = duals(1.0)
    with pytest.raises(TypeError, match="no derivative is known of add"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match="no derivative is known of add"):
        np.add(x, 1.0, out=np.zeros((1, 1)))


def test_a_formula_of_no_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="does not depend on its parameters"):
        jacobian(np.ones((1, 3)), 2, 3)
    x = SimpleNamespace(log_params=np.ones(3))
    with pytest.raises(TypeError, match="does not depend on its parameters"):
        jacobian(x.log_params, 1, 3)

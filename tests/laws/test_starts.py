"""Where searches start: coefficients of least squares, against scipy's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from law_cases import CASES, Case, runs

from scalelab.laws import LAWS, Array, Law, starts_of
from scalelab.laws.starts import non_negative, projected

# One of each law that is linear in something.
LINEAR = tuple({case.name: case for case in reversed(CASES) if case.law.linear}.values())
every_linear_law = pytest.mark.parametrize("case", LINEAR, ids=str)


def observed(case: Case, noise: float = 0.01) -> tuple[tuple[Array, ...], Array, list[Array]]:
    """Inputs as a formula takes them, log response, and the inputs as the equation does."""
    table = runs(case, noise=noise)
    plain = case.inputs(table)
    named = dict(zip(case.law.inputs, plain, strict=True))
    inputs, _ = case.law.log_inputs(named)
    return inputs, np.log(table[case.law.response].to_numpy()), plain


def scipys(
    case: Case, law: Law, values: Mapping[str, float], plain: list[Array], measured: Array
) -> Array:
    """The response of the equation by hand with the best coefficients, relative to the measured.

    values: of the parameters that are not linear, or that are held. The features are what a
    large coefficient adds.
    """
    none = {**values, **dict.fromkeys(law.linear, 0.0)}
    rest = case.by_hand(none, *plain) / measured
    rows = np.stack(
        [case.by_hand({**none, name: 1e12}, *plain) / measured - rest for name in law.linear],
        axis=1,
    )
    low = [-np.inf if law.parameters[law.names.index(n)].low < 0 else 0.0 for n in law.linear]
    scale = np.abs(rows).max(axis=0)
    if np.isinf(low).any():
        bounds = (low, np.full(len(low), np.inf))
        found = scipy.optimize.lsq_linear(rows / scale, 1 - rest, bounds, tol=1e-14).x
    else:
        found, _ = scipy.optimize.nnls(rows / scale, 1 - rest)
    return np.asarray(rest + rows @ (found / scale))


@every_linear_law
def test_starts_are_non_negative_least_squares_of_relative_errors(case: Case) -> None:
    law = case.law
    inputs, log_response, plain = observed(case)
    points = law.grid(inputs)
    starts = projected(law, inputs, log_response, points)
    assert starts.shape == (len(points), len(law.names))
    assert np.isfinite(starts).all()
    others = [j for j, name in enumerate(law.names) if name not in law.linear]
    np.testing.assert_array_equal(starts[:, others], points)
    for i in range(0, len(points), max(1, len(points) // 50)):
        values = dict(zip(law.names, law.values(starts[i]), strict=True))
        ours = np.exp(law.log_value(starts[i : i + 1], inputs)[0] - log_response)
        theirs = scipys(case, law, values, plain, np.exp(log_response))
        # A coefficient of zero has no logarithm: one that adds 1e-9 of the largest stands for it.
        # Our ridge of 1e-12 and the squared condition number take the other digits.
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("fixed", "tied"),
    [({"E": 1.5}, {}), ({"A": 400.0}, {}), ({"E": 1.5, "B": 900.0}, {}), ({}, {"beta": "alpha"})],
)
def test_what_is_held_is_taken_off_first(fixed: dict[str, float], tied: dict[str, str]) -> None:
    case = CASES[0]
    assert case.name == "chinchilla"
    law = case.law.restrict(fixed=fixed, tied=tied)
    inputs, log_response, plain = observed(case)
    points = law.grid(inputs)
    starts = projected(law, inputs, log_response, points)
    for i in range(0, len(points), max(1, len(points) // 10)):
        values = dict(zip(law.names, law.values(starts[i]), strict=True)) | fixed
        values |= {name: values[other] for name, other in tied.items()}
        ours = np.exp(law.log_value(starts[i : i + 1], inputs)[0] - log_response)
        theirs = scipys(case, law, values, plain, np.exp(log_response))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_without_noise_the_start_at_the_planted_point_is_the_truth() -> None:
    for case in LINEAR:
        inputs, log_response, _ = observed(case, noise=0.0)
        others = [j for j, name in enumerate(case.law.names) if name not in case.law.linear]
        (start,) = projected(case.law, inputs, log_response, case.theta[None, others])
        np.testing.assert_allclose(start, case.theta, rtol=1e-6)


def test_points_at_which_the_law_is_no_number_are_left_out() -> None:
    """Transfer from a floor above a loss: (L - E_1)^kappa has no value."""
    case = next(case for case in CASES if case.name == "transfer")
    inputs, log_response, _ = observed(case)
    starts = projected(case.law, inputs, log_response, np.array([[2.0, 0.8], [99.0, 0.8]]))
    assert starts.shape == (1, 4)
    assert starts[0, 0] == 2.0


def test_starts_are_brought_inside_the_bounds() -> None:
    case = CASES[0]
    inputs, log_response, _ = observed(case)
    law = case.law.restrict(bounds={"alpha": (0.3, 0.4), "E": (0.0, 0.7)})
    starts = starts_of(law, inputs, log_response)
    assert set(np.unique(starts[:, 3])) == {0.3, 0.35, 0.4}
    assert starts[:, 0].max() <= 0.7


def test_a_law_may_say_itself_where_to_start() -> None:
    case = CASES[0]
    inputs, log_response, _ = observed(case)
    mine = replace(
        case.law,
        starts=lambda x, y: np.array([[x.log_params.min(), y.max(), 7.0, 0.3, 9.0]]),
    )
    (start,) = starts_of(mine, inputs, log_response)
    # beta ends at 3.
    np.testing.assert_allclose(start, [np.log(1e5), log_response.max(), 7.0, 0.3, 3.0])


# --- non-negative least squares -----------------------------------------------------------------

problems = st.tuples(st.integers(1, 4), st.integers(5, 9), st.integers(0, 2**32 - 1))


def problem(shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Rows (3, n, m) of scales from 1e-6 to 1e6, and a target (3, n) that wants some of them."""
    m, n, seed = shape
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(3, n, m)) * 10 ** generator.uniform(-6, 6, size=(3, 1, m))
    return rows, generator.normal(size=(3, n))


@settings(max_examples=60)
@given(problems)
def test_non_negative_least_squares_is_scipys(shape: tuple[int, int, int]) -> None:
    rows, target = problem(shape)
    found = non_negative(rows, target)
    assert (found >= 0).all()
    for k in range(3):
        scale = np.abs(rows[k]).max(axis=0)
        theirs, misfit = scipy.optimize.nnls(rows[k] / scale, target[k])
        ours = np.linalg.norm(target[k] - rows[k] @ found[k])
        assert ours <= misfit * (1 + 1e-6) + 1e-9
        # What scipy leaves out, we leave out: but for ties, which random numbers do not have.
        np.testing.assert_array_equal(found[k] > 0, theirs > 0)


@settings(max_examples=40)
@given(problems, st.data())
def test_signed_columns_may_be_negative(shape: tuple[int, int, int], data: st.DataObject) -> None:
    rows, target = problem(shape)
    m = shape[0]
    signed = data.draw(arrays(bool, m))
    found = non_negative(rows, target, signed)
    assert (found[:, ~signed] >= 0).all()
    low = np.where(signed, -np.inf, 0.0)
    for k in range(3):
        scale = np.abs(rows[k]).max(axis=0)
        theirs = scipy.optimize.lsq_linear(rows[k] / scale, target[k], (low, np.full(m, np.inf)))
        ours = np.linalg.norm(target[k] - rows[k] @ found[k])
        assert ours <= np.sqrt(2 * theirs.cost) * (1 + 1e-6) + 1e-9
    if signed.all():  # then it is least squares
        for k in range(3):
            scale = np.abs(rows[k]).max(axis=0)
            plain = np.linalg.lstsq(rows[k] / scale, target[k], rcond=None)[0] / scale
            np.testing.assert_allclose(found[k], plain, rtol=1e-5)


def test_five_columns_are_as_many_as_any_law_has() -> None:
    assert max(len(law.linear) for law in LAWS.values()) <= 5
    generator = np.random.default_rng(0)
    rows, target = generator.normal(size=(2, 12, 5)), generator.normal(size=(2, 12))
    for k, found in enumerate(non_negative(rows, target)):
        np.testing.assert_allclose(found, scipy.optimize.nnls(rows[k], target[k])[0], atol=1e-8)


def test_no_columns_have_no_coefficients() -> None:
    assert non_negative(np.zeros((2, 4, 0)), np.ones((2, 4))).shape == (2, 0)

"""A line through points with errors, against numpy and scipy, and what its interval covers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.errors import FitError
from scalelab.fitting.line import fit_line
from scalelab.laws import Array

X = np.linspace(40.0, 50.0, 11)
"""Logarithms of budgets."""


def scattered(seed: int, sizes: Array, *, slope: float = 0.5) -> Array:
    return 1.0 + slope * X + sizes * np.random.default_rng(seed).normal(size=len(X))


# --- errors that are known --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_known_errors_are_the_weights_of_numpy(seed: int) -> None:
    error = np.random.default_rng(seed).uniform(0.01, 0.2, size=len(X))
    y = scattered(seed, error)
    line = fit_line(X, y, error, known=True, level=0.8)
    (slope, intercept), covariance = np.polyfit(X, y, 1, w=1 / error, cov=True)
    assert line.slope.value == pytest.approx(slope, rel=1e-10)
    assert line.intercept == pytest.approx(intercept, rel=1e-8)
    stderr = covariance[0, 0] ** 0.5
    assert line.slope.stderr == pytest.approx(stderr, rel=1e-8)
    low, high = scipy.stats.t(len(X) - 2, slope, stderr).interval(0.8)
    assert (line.slope.low, line.slope.high) == pytest.approx((low, high), rel=1e-8)
    assert line.slope.level == 0.8
    assert line.scatter == 0
    np.testing.assert_allclose(
        line.intercept + line.slope.value * X, slope * X + intercept, rtol=1e-10
    )


@pytest.mark.parametrize("known", [True, False])
def test_without_errors_it_is_ordinary_least_squares(known: bool) -> None:
    y = scattered(1, 0.1 * np.ones_like(X))
    line = fit_line(X, y, known=known, level=0.9)
    theirs = scipy.stats.linregress(X, y)
    assert line.slope.value == pytest.approx(theirs.slope, rel=1e-10)
    assert line.intercept == pytest.approx(theirs.intercept, rel=1e-8)
    assert line.slope.stderr == pytest.approx(theirs.stderr, rel=1e-8)
    half = scipy.stats.t.ppf(0.95, len(X) - 2) * theirs.stderr
    assert line.slope.high - line.slope.value == pytest.approx(half, rel=1e-8)


def test_of_known_errors_only_the_ratios_count() -> None:
    error = np.geomspace(0.01, 0.3, len(X))
    y = scattered(2, error)
    one, ten = (fit_line(X, y, factor * error, known=True).slope for factor in (1, 10))
    assert (one.value, one.low, one.high) == pytest.approx((ten.value, ten.low, ten.high))


# --- scatter that the errors do not know of ---------------------------------------------------


def by_restricted_likelihood(x: Array, y: Array, error: Array) -> tuple[float, float]:
    """Slope, and the scatter beyond the errors, at the maximum of the restricted likelihood."""
    design = np.column_stack([np.ones_like(x), x])

    def solved(extra: float) -> tuple[Array, float]:
        precision = np.diag(1 / (error**2 + extra))
        information = design.T @ precision @ design
        found = np.linalg.solve(information, design.T @ precision @ y)
        residual = y - design @ found
        minus = -np.linalg.slogdet(precision)[1] + np.linalg.slogdet(information)[1]
        return found, float(minus + residual @ precision @ residual)

    best = scipy.optimize.minimize_scalar(
        lambda log: solved(np.exp(log))[1], bounds=(-20, 0), method="bounded"
    )
    return float(solved(np.exp(best.x))[0][1]), float(np.exp(best.x / 2))


def test_the_scatter_is_the_most_likely_one() -> None:
    """Where no point is far off, the answer is that of the restricted likelihood alone."""
    generator = np.random.default_rng(5)
    error = generator.uniform(0.005, 0.05, size=len(X))
    y = 1.0 + 0.5 * X + 0.1 * np.array([1, -1, 1, 1, -1, -1, 1, -1, 1, 1, -1.0])
    line = fit_line(X, y, error)
    slope, scatter = by_restricted_likelihood(X, y, error)
    assert line.scatter == pytest.approx(scatter, rel=0.1)  # found on a grid of steps of 14%
    assert line.slope.value == pytest.approx(slope, abs=0.02 * line.slope.stderr)


def test_points_that_lie_as_their_errors_say_have_no_scatter() -> None:
    error = np.full(len(X), 0.1)
    y = 1.0 + 0.5 * X + 0.03 * np.array([1, -1, 1, 1, -1, -1, 1, -1, 1, 1, -1.0])
    line = fit_line(X, y, error)
    assert line.scatter == 0
    slope, _ = np.polyfit(X, y, 1, w=1 / error)
    assert line.slope.value == pytest.approx(slope, rel=1e-10)
    # Such points are no reason to doubt their errors: the interval is that of the errors.
    stderr = 0.1 / np.sqrt(((X - X.mean()) ** 2).sum())
    assert line.slope.stderr == pytest.approx(stderr, rel=1e-8)


@pytest.mark.parametrize("end", [0, -1])
def test_one_bad_end_turns_the_line_little(end: int) -> None:
    error = np.full(len(X), 0.02)
    for seed in range(5):
        y = scattered(seed, error)
        clean = fit_line(X, y, error).slope.value
        y[end] += 0.5
        turned = abs(fit_line(X, y, error).slope.value - clean)
        squares = abs(np.polyfit(X, y, 1)[0] - clean)
        assert squares > 0.015
        assert turned < squares / 2


@pytest.mark.parametrize("off", [0.5, 1.0, 20.0])
def test_how_far_off_a_bad_end_is_makes_no_difference(off: float) -> None:
    """It tells no more of the scatter than a point twice as far as its error says.

    Of nine degrees of freedom it takes 4.3: the variance of the others' scatter comes out twice as
    large, and a little more for the turn of the line.
    """
    error = np.full(len(X), 0.02)
    for seed in range(5):
        y = scattered(seed, error)
        clean = fit_line(X, y, error)
        y[-1] += off
        bad = fit_line(X, y, error)
        assert abs(bad.slope.value - clean.slope.value) < 0.009  # squares: .045 at off = 1
        assert 0.02**2 + bad.scatter**2 < 3 * (0.02**2 + clean.scatter**2)
        assert bad.slope.stderr < 2.5 * clean.slope.stderr


def test_a_point_with_a_wide_error_hardly_counts() -> None:
    error = np.full(len(X), 0.01)
    error[0] = 10.0
    y = scattered(4, np.full(len(X), 0.01))
    without = fit_line(X[1:], y[1:], error[1:]).slope
    y[0] += 5.0
    assert fit_line(X, y, error).slope.value == pytest.approx(without.value, abs=0.001)


def test_the_interval_covers_a_planted_slope_nine_times_in_ten() -> None:
    """Errors of several sizes, and as much scatter again that they do not know of."""
    generator = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        error = generator.uniform(0.02, 0.1, size=len(X))
        y = 1.0 + 0.5 * X + np.hypot(error, 0.06) * generator.normal(size=len(X))
        slope = fit_line(X, y, error, level=0.9).slope
        held += slope.low <= 0.5 <= slope.high
    assert 0.84 <= held / 200 <= 0.97


# --- properties -------------------------------------------------------------------------------


@given(
    slope=st.floats(-2, 2),
    intercept=st.floats(-50, 50),
    errors=st.lists(st.floats(0.01, 1), min_size=3, max_size=8),
    known=st.booleans(),
)
def test_points_on_a_line_give_that_line(
    slope: float, intercept: float, errors: list[float], known: bool
) -> None:
    x = np.linspace(40, 50, len(errors))
    line = fit_line(x, intercept + slope * x, np.array(errors), known=known)
    assert line.slope.value == pytest.approx(slope, abs=1e-9)
    assert line.intercept == pytest.approx(intercept, abs=1e-6)
    assert line.slope.low <= line.slope.value <= line.slope.high


@settings(max_examples=20)
@given(shift=st.floats(-30, 30), tilt=st.floats(-2, 2))
def test_a_shift_and_a_tilt_change_the_line_by_as_much(shift: float, tilt: float) -> None:
    error = np.linspace(0.02, 0.1, len(X))
    y = scattered(7, 2 * error)
    before = fit_line(X, y, error).slope
    after = fit_line(X + shift, y + tilt * X, error).slope
    assert after.value == pytest.approx(before.value + tilt, abs=1e-6)
    assert after.high - after.low == pytest.approx(before.high - before.low, rel=1e-6)


def test_order_does_not_matter() -> None:
    error = np.linspace(0.02, 0.1, len(X))
    y = scattered(8, 2 * error)
    order = np.random.default_rng(0).permutation(len(X))
    one, two = fit_line(X, y, error).slope, fit_line(X[order], y[order], error[order]).slope
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


@pytest.mark.parametrize(
    "x", [np.array([1.0, 2.0]), np.array([1.0]), np.array([]), np.array([2.0, 2.0, 2.0])]
)
def test_what_makes_no_line_is_refused(x: Array) -> None:
    with pytest.raises(FitError, match="three points at different places"):
        fit_line(x, np.ones_like(x))

"""What is minimised, against explicit matrices, scipy's Huber function and its own derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.fitting.objective import Objective, Prior, Whitening
from scalelab.laws import LAWS, Array, get_law

CHINCHILLA = LAWS["chinchilla"]
THETA = CHINCHILLA.coordinates(np.array([1.05, 5.4, 27.0, 0.25, 0.35]))


def covariance(between: float, within: float, clusters: Array) -> Array:
    """Of runs that share a normal error with their trunk, written out."""
    same = clusters[:, None] == clusters[None, :]
    return between**2 * same + within**2 * np.eye(len(clusters))


@settings(deadline=None)
@given(
    trunks=st.lists(st.integers(0, 4), min_size=2, max_size=9),
    between=st.floats(0, 0.1),
    within=st.floats(1e-3, 0.1),
)
def test_whitening_is_the_inverse_root_of_the_covariance(
    trunks: list[int], between: float, within: float
) -> None:
    clusters = np.unique(trunks, return_inverse=True)[1]
    whitening = Whitening.of(np.array([between]), np.array([within]), clusters)
    root = whitening.apply(np.eye(len(clusters))[None])[0]
    expected = scipy.linalg.inv(scipy.linalg.sqrtm(covariance(between, within, clusters)))
    # The condition number of the covariance is below 1e5, of which sqrtm loses the half.
    np.testing.assert_allclose(root, expected, rtol=1e-8, atol=1e-8 / within)


def test_each_fit_of_a_batch_is_whitened_by_its_own_noise() -> None:
    clusters = np.array([0, 0, 1, 1, 1, 2])
    between, within = np.array([0.01, 0.0, 0.02]), np.array([0.002, 0.005, 0.003])
    rows = np.random.default_rng(0).normal(size=(3, 6))
    together = Whitening.of(between, within, clusters).apply(rows)
    for k in range(3):
        V = covariance(between[k], within[k], clusters)
        # |W r|^2 = r V^-1 r, whatever root W is.
        assert (together[k] ** 2).sum() == pytest.approx(rows[k] @ np.linalg.solve(V, rows[k]))
    kept = Whitening.of(between, within, clusters).take(np.array([2])).apply(rows[2:])
    # The matrix product of a smaller batch may round differently.
    np.testing.assert_allclose(kept[0], together[2], rtol=1e-12)


def test_runs_of_known_relative_noise_are_whitened_by_it() -> None:
    clusters = np.array([0, 0, 1, 1, 1, 2])
    spread = np.array([2.0, 2.0, 1.5, 1.5, 1.5, 1.0])
    rows = np.random.default_rng(1).normal(size=(1, 6))
    whitened = Whitening.of(np.array([0.01]), np.array([0.002]), clusters, spread).apply(rows)[0]
    V = spread[:, None] * covariance(0.01, 0.002, clusters) * spread
    assert (whitened**2).sum() == pytest.approx(rows[0] @ np.linalg.solve(V, rows[0]))


def test_without_shared_noise_whitening_only_scales() -> None:
    whitening = Whitening.of(np.zeros(1), np.array([0.01]), np.array([0, 0, 1]))
    rows = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(whitening.apply(rows), rows / 0.01, rtol=1e-14)


def objective(
    delta: float,
    *,
    whitened: bool = False,
    prior: bool = False,
    k: int = 4,
    raw: bool = False,
    above: float = 1.0,
) -> tuple[Objective, Array]:
    """A batch of fits to nine runs of three trunks, and points near the truth."""
    generator = np.random.default_rng(3)
    inputs = (np.repeat(np.log([1e4, 3e4, 2e5]), 3), np.tile(np.log([1e6, 3e6, 1e7]), 3))
    fitted, _ = CHINCHILLA.formula(THETA[None], inputs)
    clusters = np.repeat([0, 1, 2], 3)
    return Objective(
        law=CHINCHILLA,
        inputs=inputs,
        target=fitted + 0.01 * generator.normal(size=(k, 9)),
        weights=generator.integers(0, 3, size=(k, 9)).astype(float),
        delta=delta,
        raw=raw,
        above=above,
        whitening=Whitening.of(np.full(k, 0.01), np.full(k, 0.004), clusters) if whitened else None,
        prior=Prior.of(CHINCHILLA, k, generator) if prior else None,
    ), THETA * generator.uniform(0.98, 1.02, size=(k, 5))


@pytest.mark.parametrize("delta", [1e-3, 0.02, np.inf])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("above", [1.0, 3.0, 0.2])
def test_the_value_is_scipys(delta: float, raw: bool, above: float) -> None:
    batch, theta = objective(delta, raw=raw, above=above)
    fitted = CHINCHILLA.formula(theta, batch.inputs)[0]
    residual = np.exp(batch.target) - np.exp(fitted) if raw else batch.target - fitted
    rho = residual**2 / 2 if np.isinf(delta) else scipy.special.huber(delta, residual)
    # A run above the law is one whose measured loss is the higher.
    penalty = np.where(residual > 0, above, 1.0)
    expected = (batch.weights * penalty * rho).sum(axis=1)
    np.testing.assert_allclose(batch.evaluate(theta).value, expected, rtol=1e-12)
    assert (residual > 0).any()
    assert (residual < 0).any()


def test_the_prior_is_a_log_normal_density() -> None:
    batch, theta = objective(np.inf, prior=True)
    without, _ = objective(np.inf)
    assert batch.prior is not None
    added = batch.evaluate(theta).value - without.evaluate(theta).value
    density = scipy.stats.norm(batch.prior.centre, batch.prior.width)
    expected = (density.logpdf(batch.prior.centre) - density.logpdf(np.log(theta[:, 3:]))).sum(1)
    np.testing.assert_allclose(added, expected, rtol=1e-9)
    assert [CHINCHILLA.names[j] for j in batch.prior.columns] == ["alpha", "beta"]


def test_centres_of_the_prior_are_the_laws_own_or_drawn_from_it() -> None:
    assert (Prior.of(CHINCHILLA, 2).centre == np.log(0.25)).all()
    drawn = Prior.of(CHINCHILLA, 4000, np.random.default_rng(0)).centre
    assert drawn.mean(axis=0) == pytest.approx(np.full(2, np.log(0.25)), abs=4 / np.sqrt(4000))
    assert drawn.std(axis=0) == pytest.approx(np.ones(2), abs=4 / np.sqrt(2 * 4000))


@pytest.mark.parametrize("delta", [0.02, np.inf])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("whitened", "prior", "above"),
    [
        (False, False, 1.0),
        (True, False, 1.0),
        (False, True, 1.0),
        (True, True, 1.0),
        (False, False, 3.0),
        (False, True, 0.2),
    ],
)
def test_the_gradient_is_that_of_the_value(
    delta: float, raw: bool, whitened: bool, prior: bool, above: float
) -> None:
    batch, theta = objective(delta, raw=raw, whitened=whitened, prior=prior, above=above)
    gradient = batch.evaluate(theta).gradient
    for j in range(5):
        step = np.zeros_like(theta)
        step[:, j] = 1e-6 * np.abs(theta[:, j])
        above, below = (batch.evaluate(theta + s).value for s in (step, -step))
        numerical = (above - below) / (2 * step[:, j])
        # Rounding of the value, 1e-16, over the step, 1e-6; Huber's kinks add their share.
        scale = np.abs(gradient[:, j]).max()
        np.testing.assert_allclose(gradient[:, j], numerical, rtol=1e-4, atol=1e-5 * scale)


@settings(deadline=None)
@given(
    theta=st.tuples(st.floats(-1, 3), st.floats(-1, 1)),
    step=st.tuples(st.floats(-2, 2), st.floats(-1, 1)),
    delta=st.floats(1e-3, 1),
)
def test_the_majorant_lies_above_the_objective_of_a_linear_law(
    theta: tuple[float, float], step: tuple[float, float], delta: float
) -> None:
    """A straight line on log axes: what re-weighted least squares rests on, exactly."""
    x = np.linspace(-2, 2, 7)
    law = get_law("power-no-floor")
    target = np.sin(3 * x)[None]  # any data will do
    batch = Objective(law, (x,), target, np.ones_like(target), delta)
    here, move = batch.evaluate(np.array([theta])), np.array(step)
    there = batch.evaluate(np.array([theta]) + move).value[0]
    quadratic = move @ here.majorant[0] @ move / 2
    above = here.value[0] + here.gradient[0] @ move + quadratic
    assert there <= above + 1e-10 * (1 + abs(above))


@pytest.mark.parametrize("raw", [False, True])
def test_curvature_is_that_of_the_squares(raw: bool) -> None:
    """Gauss and Newton: the derivatives' own products, each with its weight."""
    batch, theta = objective(np.inf, raw=raw, above=3.0)
    here = batch.evaluate(theta)
    value, slopes = CHINCHILLA.formula(theta, batch.inputs)
    above = batch.target > value
    if raw:
        slopes = slopes * np.exp(value)[:, None]
    weights = np.where(above, 3.0, 1.0) * batch.weights
    expected = np.einsum("kn,kpn,kqn->kpq", weights, slopes, slopes)
    np.testing.assert_allclose(here.curvature, expected, rtol=1e-10)
    np.testing.assert_allclose(here.majorant, expected, rtol=1e-10)


def test_a_step_into_nonsense_is_infinitely_bad_and_no_error() -> None:
    batch, theta = objective(1e-3)
    theta[1, 1] = 1e6  # exp overflows
    value = batch.evaluate(theta).value
    assert np.isinf(value[1])
    assert np.isfinite(np.delete(value, 1)).all()


def test_some_fits_of_a_batch_are_the_same_fits() -> None:
    batch, theta = objective(0.02, whitened=True, prior=True)
    keep = np.array([3, 1])
    whole, part = batch.evaluate(theta), batch.take(keep).evaluate(theta[keep])
    np.testing.assert_allclose(part.value, whole.value[keep], rtol=1e-13)
    np.testing.assert_allclose(part.gradient, whole.gradient[keep], rtol=1e-10, atol=1e-12)

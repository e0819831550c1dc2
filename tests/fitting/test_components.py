"""How noise divides between what a trunk shares and what a run adds."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from scalelab.fitting.components import Components, estimate_components
from scalelab.laws import Array


def simulated(
    seed: int, between: float, within: float, *, trunks: int = 8, branches: int = 3
) -> tuple[Array, Array, Array]:
    """Residuals of a straight-line fit by least squares, its jacobian, and the trunks."""
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(trunks), branches)
    x = np.repeat(np.linspace(-1, 1, trunks), branches)
    jacobian = np.stack([np.ones_like(x), x])
    noise = between * generator.normal(size=trunks)[clusters]
    noise = noise + within * generator.normal(size=len(x))
    residual = noise - jacobian.T @ np.linalg.lstsq(jacobian.T, noise, rcond=None)[0]
    return residual, jacobian, clusters


@pytest.mark.parametrize(("between", "within"), [(0.008, 0.002), (0.004, 0.004), (0.0, 0.003)])
def test_planted_components_come_back_on_average(between: float, within: float) -> None:
    studies = 60
    found = np.array(
        [estimate_components(*simulated(s, between, within)).estimate for s in range(studies)]
    )
    mean = np.sqrt((found**2).mean(axis=0))
    # The variance of a chi-squared mean: 16 degrees of freedom within, 6 between (8 trunks less
    # 2 parameters), over 60 studies; three standard errors of an sd are 3 / sqrt(2 x 60 x freedom),
    # 7% and 11%. The weak prior on the ratio pulls by about as much again.
    assert mean[1] == pytest.approx(within, rel=0.1)
    # What is shared cannot be seen below what the runs of a trunk add, over their root.
    assert mean[0] == pytest.approx(between, rel=0.25, abs=0.6 * within)


def test_the_posterior_is_that_of_the_explicit_restricted_likelihood() -> None:
    """Patterson and Thompson 1971, with every matrix written out."""
    residual, jacobian, clusters = simulated(3, 0.006, 0.002, trunks=5)
    found = estimate_components(residual, jacobian, clusters)
    n, p = len(residual), len(jacobian)
    X, same = jacobian.T, (clusters[:, None] == clusters[None, :]).astype(float)
    log_posterior = []
    for ratio in found.ratios:
        R = np.eye(n) + ratio**2 * same
        Ri = np.linalg.inv(R)
        information = X.T @ Ri @ X
        P = Ri - Ri @ X @ np.linalg.solve(information, X.T @ Ri)
        scatter = residual @ P @ residual
        likelihood = -0.5 * (
            np.linalg.slogdet(R)[1] + np.linalg.slogdet(information)[1] + (n - p) * np.log(scatter)
        )
        half_cauchy = -np.log(1 + (ratio / 2.0) ** 2)
        log_posterior.append(likelihood + half_cauchy)
    expected = np.exp(log_posterior - np.max(log_posterior)) * np.gradient(found.ratios)
    np.testing.assert_allclose(found.probability, expected / expected.sum(), rtol=1e-8)
    assert found.freedom == n - p


def test_runs_that_share_nothing_have_one_component() -> None:
    residual, jacobian, _ = simulated(1, 0.0, 0.003)
    found = estimate_components(residual, jacobian, np.arange(len(residual)))
    between, within = found.estimate
    assert between == 0
    # The unbiased estimate of least squares, to the last digits.
    assert within == pytest.approx(np.sqrt((residual**2).sum() / (len(residual) - 2)), rel=1e-12)


def test_a_direction_that_the_runs_do_not_identify_costs_no_freedom() -> None:
    residual, jacobian, clusters = simulated(2, 0.004, 0.002)
    twice = np.concatenate([jacobian, jacobian[1:] * 7.0])
    once, again = (estimate_components(residual, j, clusters) for j in (jacobian, twice))
    assert again.freedom == once.freedom == len(residual) - 2
    assert again.estimate == pytest.approx(once.estimate, rel=1e-6)


def test_draws_have_the_spread_of_their_posterior() -> None:
    residual, jacobian, _ = simulated(1, 0.0, 0.003)
    found = estimate_components(residual, jacobian, np.arange(len(residual)))
    between, within = found.draw(4000, np.random.default_rng(0))
    assert (between == 0).all()
    # scatter / within^2 is chi-squared: mean f, variance 2 f; four standard errors of 4,000 draws.
    ratio = found.scatter[0] / within**2
    f = found.freedom
    assert ratio.mean() == pytest.approx(f, abs=4 * np.sqrt(2 * f / 4000))
    assert ratio.var() == pytest.approx(2 * f, rel=0.15)


def test_more_noise_is_more_noise() -> None:
    """Both components scale with the residuals."""
    residual, jacobian, clusters = simulated(4, 0.005, 0.002)
    one: Components = estimate_components(residual, jacobian, clusters)
    ten = estimate_components(10 * residual, jacobian, clusters)
    assert ten.estimate == pytest.approx(tuple(10 * part for part in one.estimate), rel=1e-12)


@pytest.mark.parametrize("branches", [1, 4])
def test_thousands_of_runs_take_megabytes(branches: int) -> None:
    """Nothing is as large as runs by runs, which here takes 128 MB."""
    residual, jacobian, clusters = simulated(
        5, 0.004, 0.002, trunks=4000 // branches, branches=branches
    )
    tracemalloc.start()
    found = estimate_components(residual, jacobian, clusters)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.freedom == 3998
    assert peak < 64e6


def test_trunks_may_stand_in_any_order() -> None:
    residual, jacobian, clusters = simulated(6, 0.005, 0.002)
    order = np.random.default_rng(0).permutation(len(residual))
    one = estimate_components(residual, jacobian, clusters)
    two = estimate_components(residual[order], jacobian[:, order], clusters[order])
    assert two.estimate == pytest.approx(one.estimate, rel=1e-9)

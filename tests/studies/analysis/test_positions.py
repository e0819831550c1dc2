"""Losses by position: bins, the noise of neighbours, and where a network stops improving."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from scalelab.studies.analysis.positions import (
    bin_edges,
    binned,
    mean_between,
    never_rising,
    noise_of,
    stops_improving,
)

T = np.arange(1, 1025, dtype=float)


def law(floor: float, scale: float, alpha: float) -> np.ndarray:
    return floor + scale * T**-alpha


@pytest.mark.parametrize("context", [32, 64, 256, 1024])
def test_bins_are_whole_and_two_to_an_octave(context: int) -> None:
    edges = bin_edges(context)
    assert (edges[0], edges[-1]) == (0, context)
    assert edges == sorted(set(edges))
    late = [b / a for a, b in pairwise(edges[6:])]
    assert late == pytest.approx([2**0.5] * len(late), rel=0.1)


def test_bins_hold_the_mean_of_their_positions() -> None:
    loss = law(1.5, 2.0, 0.5)
    found = binned(loss)
    assert found.position[:4] == pytest.approx([1, 2, 3, 4])
    assert found.loss[-1] == pytest.approx(loss[724:].mean())
    # Without noise what neighbours differ by is the curvature of the law alone.
    assert found.error[-1] < 1e-3


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_the_noise_of_a_mean_is_told_from_neighbours(memory: float) -> None:
    """Also where the noise of neighbouring positions is correlated: AR(1), blocks of 8."""
    generator = np.random.default_rng(0)
    claimed, means = [], []
    for _ in range(200):
        noise = 0.05 * generator.standard_normal(len(T))
        for i in range(1, len(T)):
            noise[i] += memory * noise[i - 1]
        loss = law(1.5, 2.0, 0.5) + noise
        claimed.append(noise_of(loss) / 512**0.5)
        means.append(loss[512:].mean())
    assert np.mean(claimed) == pytest.approx(np.std(means), rel=0.25)


def test_means_between_shares_of_the_context() -> None:
    value, error = mean_between(law(1.5, 0.0, 0.5), 0.25, 0.5)
    assert value == pytest.approx(1.5)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_a_curve_that_never_rises_is_that_of_scipy() -> None:
    generator = np.random.default_rng(2)
    loss = law(1.5, 1.0, 0.4)[:40] + 0.1 * generator.standard_normal(40)
    error = generator.uniform(0.05, 0.2, 40)
    theirs = isotonic_regression(loss, weights=error**-2, increasing=False).x
    assert never_rising(loss, error) == pytest.approx(theirs)


def test_where_a_network_stops_improving() -> None:
    generator = np.random.default_rng(3)
    plateau = law(1.0, 2.0, 0.5)
    plateau[100:] = plateau[100]
    noise = 0.02 * generator.standard_normal(len(T))
    found = stops_improving(binned(plateau + noise), 0.01, 0.9)
    assert found.low <= 100 <= found.high < 200
    # One that goes on improving is within 1% only near the end.
    on = stops_improving(binned(law(1.0, 4.0, 0.3) + noise), 0.01, 0.9)
    assert on.low > 400
    # Where the text is noisy, it is not known.
    lost = stops_improving(binned(plateau + 30 * noise), 0.01, 0.9)
    assert lost.high / lost.low > 10

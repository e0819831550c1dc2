"""The noise scale recovers a planted gradient and covariance."""

from __future__ import annotations

import numpy as np
import pytest

from scalelab.training.noise import NoiseSample, noise_sample, noise_scale


@pytest.mark.parametrize("tokens", [(64, 64, 64, 64), (102, 102, 52)])
def test_recovers_planted_signal_and_noise(tokens: tuple[int, ...]) -> None:
    shares = np.array(tokens) / 256  # five rows in four parts are chunks of 2, 2 and 1
    generator = np.random.default_rng(0)
    gradient = generator.normal(size=50) * 0.2
    sigma = 3.0  # of each coordinate of one token's gradient: tr(Sigma) = 50 x 9
    samples = []
    for _ in range(4000):
        each = generator.normal(size=(len(tokens), 50)) * sigma / np.sqrt(tokens)[:, None]
        small = ((gradient + each) ** 2).sum(axis=1)
        big = float(((gradient + shares @ each) ** 2).sum())
        parts = list(zip(shares.tolist(), small.tolist(), strict=True))
        samples.append(noise_sample(parts, big, batch_tokens=256))
    expected = 50 * sigma**2 / float((gradient**2).sum())
    assert noise_scale(samples) == pytest.approx(expected, rel=0.05)


def test_equal_parts_have_no_noise() -> None:
    sample = noise_sample([(0.5, 4.0), (0.5, 4.0)], 4.0, 100)
    assert sample == NoiseSample(signal=4.0, noise=0.0)


def test_unmeasurable_is_none() -> None:
    assert noise_scale([]) is None
    assert noise_scale([NoiseSample(signal=-1.0, noise=2.0)]) is None

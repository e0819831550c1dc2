"""The gradient noise scale, measured from the micro-batches of a step.

    |G|^2     = (B_big |G_big|^2 - B_small |G_small|^2) / (B_big - B_small)
    tr(Sigma) = (|G_small|^2 - |G_big|^2) / (1/B_small - 1/B_big)
    B_simple  = tr(Sigma) / |G|^2

Both estimates are unbiased and are averaged over steps before the division. Source: McCandlish et
al. 2018, appendix A.1. It jumps when the learning rate changes: read it at constant rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseSample:
    """One step's unbiased estimates. signal: |G|^2. noise: tr(Sigma), per token."""

    signal: float
    noise: float


def noise_sample(
    small_norms_squared: Iterable[float], big_norm_squared: float, batch_tokens: int
) -> NoiseSample:
    """Estimates from the squared gradient norms of equal parts of a batch and of the whole batch.

    small_norms_squared: |G_small|^2 of each part. batch_tokens: tokens of the whole batch.
    """
    norms = list(small_norms_squared)
    big = float(batch_tokens)
    small = big / len(norms)
    mean_small = sum(norms) / len(norms)
    return NoiseSample(
        signal=(big * big_norm_squared - small * mean_small) / (big - small),
        noise=(mean_small - big_norm_squared) / (1 / small - 1 / big),
    )


def noise_scale(samples: Iterable[NoiseSample]) -> float | None:
    """B_simple in tokens from many steps' samples; None when the signal is lost in the noise."""
    samples = list(samples)
    signal = sum(sample.signal for sample in samples)
    noise = sum(sample.noise for sample in samples)
    if not samples or signal <= 0 or noise <= 0:
        return None
    return noise / signal

"""The gradient noise scale, measured from the micro-batches of a step.

    |G|^2     = (B_big |G_big|^2 - B_small |G_small|^2) / (B_big - B_small)
    tr(Sigma) = (|G_small|^2 - |G_big|^2) / (1/B_small - 1/B_big)
    B_simple  = tr(Sigma) / |G|^2

Both estimates are unbiased and are averaged over steps before the division. |G_small|^2 is the mean
over the parts and 1/B_small that of one over their tokens, which need not be equal. Source:
McCandlish et al. 2018, appendix A.1. It jumps when the learning rate changes: read it at constant
rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseSample:
    """One step's unbiased estimates. signal: |G|^2. noise: tr(Sigma), per token."""

    signal: float
    noise: float


def noise_sample(
    parts: Sequence[tuple[float, float]], big_norm_squared: float, batch_tokens: int
) -> NoiseSample:
    """Estimates from the squared gradient norms of two or more parts of a batch and of the whole.

    parts: (share of the batch, |G_small|^2) of each. batch_tokens: tokens of the whole batch.
    """
    big = float(batch_tokens)
    small = len(parts) * big / sum(1 / share for share, _ in parts)
    mean_small = sum(norm for _, norm in parts) / len(parts)
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

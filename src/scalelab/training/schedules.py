"""Learning-rate schedules: the factor in [0, 1] that multiplies the peak rate at a step.

To add one: write its function of (step, spec), list it in SCHEDULES, test it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelab.training.spec import TrainSpec


def _constant(step: int, spec: TrainSpec) -> float:  # noqa: ARG001 - schedules share a signature
    return 1.0


def _cosine(step: int, spec: TrainSpec) -> float:
    done = (step - spec.warmup_steps) / max(1, spec.steps - spec.warmup_steps)
    return spec.final_lr + (1 - spec.final_lr) * 0.5 * (1 + math.cos(math.pi * done))


def _linear(step: int, spec: TrainSpec) -> float:
    done = (step - spec.warmup_steps) / max(1, spec.steps - spec.warmup_steps)
    return 1 - (1 - spec.final_lr) * done


def _warmup_stable_decay(step: int, spec: TrainSpec) -> float:
    start = spec.decay_start
    if step < start:
        return 1.0
    done = (step - start) / max(1, spec.steps - start)
    # 1 - sqrt falls fast, then slowly (paper: Haegele et al. 2024, figure 5).
    return 1 - (1 - spec.final_lr) * math.sqrt(done)


SCHEDULES: dict[str, Callable[[int, TrainSpec], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _warmup_stable_decay,
}


def lr_factor(step: int, spec: TrainSpec) -> float:
    """The factor for optimizer step `step` (0-based): linear warm-up, then the named schedule."""
    if step < spec.warmup_steps:
        return (step + 1) / spec.warmup_steps
    return SCHEDULES[spec.schedule](step, spec)

"""At which steps a run writes what: the loop follows these, and readers find gaps by them."""

from __future__ import annotations

from scalelab.training.spec import TrainSpec


def log_every(spec: TrainSpec) -> int:
    """Steps between two lines of metrics.jsonl."""
    return max(1, min(64, spec.last_step // 50))


def log_steps(spec: TrainSpec, until: int) -> list[int]:
    """The steps of metrics.jsonl from the beginning of the run up to `until`."""
    every = log_every(spec)
    first = spec.fork_step // every * every + every
    steps = list(range(first, until + 1, every))
    if until == spec.last_step and until % every:
        steps.append(until)
    return steps


def curve_steps(spec: TrainSpec) -> frozenset[int]:
    """The steps of evals.jsonl: those of the run itself lie behind its fork."""
    steps = log_spaced(spec.last_step, spec.curve_points)
    if spec.kind == "trunk":
        steps.append(spec.last_step)  # a trunk's loss at constant rate
    return frozenset(step for step in steps if step > spec.fork_step)


def noise_steps(spec: TrainSpec, until: int) -> range:
    """The steps of noise.jsonl up to `until`, where the batch has parts to compare."""
    parts = min(spec.noise_parts, spec.sequences)
    if spec.noise_every < 1 or parts < 2:
        return range(0)
    first = spec.fork_step // spec.noise_every * spec.noise_every + spec.noise_every
    return range(first, until + 1, spec.noise_every)


def log_spaced(last: int, points: int) -> list[int]:
    """Whole steps from about 1% of `last` to `last`, evenly spaced in the logarithm."""
    if points < 2:
        return [last] * points
    first = max(1.0, last / 100)
    ratio = (last / first) ** (1 / max(1, points - 1))
    return sorted({min(last, round(first * ratio**i)) for i in range(points)})

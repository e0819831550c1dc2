"""Whether a run can go on from a checkpoint: it is of this run, and the records reach up to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalelab.models import State
from scalelab.training.flat import FlatParameters
from scalelab.training.milestones import curve_steps, log_steps, noise_steps
from scalelab.training.records import EvalLine, MetricsLine, NoiseLine, first_gap, read_lines
from scalelab.training.spec import TrainSpec


def misfit(state: dict[str, Any], owner: str, flat: FlatParameters) -> str | None:
    """Why a state is not one of this run or of its trunk; None where it is.

    owner: of the run that wrote it (an older version wrote none).
    """
    try:
        if state.get("owner", owner) != owner:
            return "is of another run or another text"
        fits = all(_like(state[name], own) for name, own in flat.named()) and _fits(state, flat)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError):
        fits = False
    return None if fits else "does not fit the run"


def _fits(state: dict[str, Any], flat: FlatParameters) -> bool:
    optimizer = state["optimizer"]
    moments = (
        _like(values[name], flat.values[place])
        for place, values in optimizer["state"].items()
        for name in ("exp_avg", "exp_avg_sq")
    )
    return (
        all(type(state.get(name, 0)) is int for name in ("step", "tokens"))
        and state["step"] >= 0
        and state["seconds"] >= 0
        and state.get("losses", torch.empty(0)).ndim == 1
        and all(isinstance(part, Tensor) for part in state.get("state", ()))
        and [len(group["params"]) for group in optimizer["param_groups"]] == [1, 1]
        and all(moments)
        and ("stopping" not in state or _stops(state["stopping"], flat))
    )


def _stops(stopping: dict[str, Any], flat: FlatParameters) -> bool:
    parameters = stopping["parameters"]
    return (
        all(type(stopping[name]) is int for name in ("step", "waited"))
        and isinstance(stopping["loss"], float)
        and len(parameters) in (0, len(flat.values))
        and all(map(_like, parameters, flat.values))
    )


def _like(value: Tensor, own: Tensor) -> bool:
    return bool(value.shape == own.shape and value.dtype == own.dtype)


def misplaced(state: dict[str, Any], spec: TrainSpec, folder: Path, carried: State) -> str | None:
    """Why a run of this spec cannot go on from its own state; None where it can."""
    step = state["step"]
    if not spec.fork_step <= step <= spec.last_step:
        return f"is of a step outside the run ({step})"
    if state.get("tokens", step * spec.batch_tokens) != step * spec.batch_tokens:
        return "is of a run with another batch"
    if [part.shape for part in state.get("state", ())] != [part.shape for part in carried]:
        return "does not fit the run"
    if spec.patience and "stopping" not in state:
        return "does not fit the run"
    gap = next(record_gaps(folder, spec, step), None)
    return None if gap is None else f"cannot be used because {gap}"


def record_gaps(folder: Path, spec: TrainSpec, until: int) -> Iterator[str]:
    """What the lines that decide numbers lack up to a step, for the first of each file."""
    owner = spec.fingerprint
    evals = read_lines(folder / "evals.jsonl", EvalLine, owner)
    noise = read_lines(folder / "noise.jsonl", NoiseLine, owner)
    expected = sorted(step for step in curve_steps(spec) if step <= until)
    for name, gap, damaged in (
        ("evals.jsonl", first_gap(evals.lines, expected), evals.damaged),
        ("noise.jsonl", first_gap(noise.lines, noise_steps(spec, until)), noise.damaged),
    ):
        if gap is not None:
            yield _lacks(name, gap, damaged)


def metrics_gap(folder: Path, spec: TrainSpec, until: int) -> str | None:
    """What the lines for pictures lack up to a step."""
    metrics = read_lines(folder / "metrics.jsonl", MetricsLine, spec.fingerprint)
    gap = first_gap(metrics.lines, log_steps(spec, until))
    return None if gap is None else _lacks("metrics.jsonl", gap, metrics.damaged)


def _lacks(name: str, gap: int, damaged: tuple[str, ...]) -> str:
    why = f" ({damaged[0]})" if damaged else ""
    return f"{name} lacks step {gap}{why}"

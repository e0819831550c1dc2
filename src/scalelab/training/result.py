"""What an ended run leaves: result.json, one row of the run table before it is a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalelab import schema
from scalelab.corpus import Corpus
from scalelab.counting import (
    CONVENTIONS,
    Shape,
    TransformerShape,
    count_parameters,
    flops_per_token,
)
from scalelab.errors import DamagedRecordError, RecordError
from scalelab.schema import Count, MismatchError, NotNegative, Positive, Whole, Within
from scalelab.training.noise import NoiseSample, noise_scale
from scalelab.training.records import (
    CHECKSUM,
    NoiseLine,
    read_lines,
    read_object,
    unseal,
    write_sealed,
)
from scalelab.training.spec import MOST_SEED, TrainSpec

Seconds = Annotated[float, Within(0, 1e9)]
"""Thirty years."""


@dataclass(frozen=True)
class RunResult:
    """What result.json holds of a run; losses are in nats per token.

    loss is None for a trunk, which is not decayed, and where a loss was not finite. Beside these
    there may be ``params_...`` and ``flops_...`` by part and by convention, and ``loss.NAME`` on
    other texts.
    """

    run: str
    status: Literal["finished", "diverged"]
    params: Whole
    tokens: Count
    flops: NotNegative
    batch_tokens: Whole
    steps: Count
    lr: Positive
    seed: Annotated[int, Within(0, MOST_SEED)]
    trunk: str
    loss: NotNegative | None
    family: Literal["transformer", "lstm", "gru"] = "transformer"
    n_layer: Whole | None = None
    d_model: Whole | None = None
    d_ff: Whole | None = None
    n_head: Whole | None = None
    context: Whole | None = None
    vocabulary: Whole | None = None
    unique_tokens: Count | None = None
    schedule: str | None = None
    bytes_per_token: Positive | None = None
    tokenizer: str | None = None
    noise_scale: Positive | None = None
    seconds: Seconds = 0.0
    stopped_at_step: Count | None = None


@dataclass(frozen=True)
class SpeedResult:
    """What result.json holds of a measurement of speed."""

    run: str
    tokens_per_second: Positive


_MORE: dict[str, Any] = {"params_": Count, "flops_": NotNegative, "loss.": NotNegative | None}
"""Types of the columns that only some runs have, by how their names begin."""


def write_result(
    folder: Path,
    spec: TrainSpec,
    corpus: Corpus,
    *,
    status: str,
    step: int,
    loss: float | None,
    seconds: float,
    unique_tokens: int,
    more: Mapping[str, float],
) -> None:
    """Write result.json: every component of the count, FLOP by every convention, the loss.

    step: where the model stood whose loss this is (before the last one for a run that was to stop
    early). loss: final held-out loss, nats per token (None for a trunk, which is not decayed).
    unique_tokens: of the run's data set. more: columns that only some runs have.
    """
    count = count_parameters(spec.shape)
    tokens = step * spec.batch_tokens
    values: dict[str, Any] = {
        "run": spec.run,
        "status": status,
        "family": family(spec.shape),
        "params": count.non_embedding,
        **{f"params_{part}": number for part, number in count.to_dict().items()},
        **dimensions(spec.shape),
        "tokens": tokens,
        "unique_tokens": min(tokens, unique_tokens),
        "flops": flops_per_token(spec.shape, "exact") * tokens,
        **{
            f"flops_{name.lower()}": flops_per_token(spec.shape, name) * tokens
            for name in CONVENTIONS
        },
        "batch_tokens": spec.batch_tokens,
        "steps": step,
        "lr": spec.lr,
        "schedule": spec.schedule,
        "seed": spec.seed,
        "trunk": spec.trunk or spec.run,
        "loss": loss,
        **more,
        "bytes_per_token": corpus.bytes_per_token,
        "tokenizer": corpus.tokenizer,
        "noise_scale": measured_noise_scale(folder, spec.fingerprint),
        "seconds": seconds,
    }
    write_sealed(folder / "result.json", values, spec.fingerprint)


def read_result(folder: Path, spec: TrainSpec) -> dict[str, Any] | None:
    """What result.json says of a run, as a row of the run table; None where there is none.

    Raises DamagedRecordError for a damaged file, and RecordError for the result of another run.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    then = "Delete the file and run the same command again: the run is trained again."
    values = read_object(path, then)
    try:
        _check(values, spec)
    except MismatchError as error:
        raise DamagedRecordError(f"{path} is damaged: {error}. {then}") from error
    for name, own in _identity(spec).items():
        if values.get(name, own) != own:
            raise RecordError(
                f"{path} is the result of another run: {name} is {schema.shown(values[name])}, "
                f"that of {spec.run} is {own!r}. Put back the file of this run, or delete "
                f"{folder} and run the same command again."
            )
    return unseal(path, values, spec.fingerprint, then)


def _check(values: dict[str, Any], spec: TrainSpec) -> None:
    """Types, ranges, and what must agree; raises MismatchError."""
    plain = {name: value for name, value in values.items() if name != CHECKSUM}
    if spec.kind == "speed":
        schema.read(SpeedResult, plain)
        return
    known = {field.name for field in fields(RunResult)}
    for name in [name for name in plain if name not in known]:
        kind = next((kind for start, kind in _MORE.items() if name.startswith(start)), None)
        if kind is not None:
            schema.read(kind, plain.pop(name), name)
    found = schema.read(RunResult, plain)
    if found.steps > spec.last_step:
        raise MismatchError(f"steps is {found.steps}; at most {spec.last_step} is expected")
    if found.status == "finished" and found.tokens != found.steps * spec.batch_tokens:
        raise MismatchError(
            f"tokens is {found.tokens}; {found.steps} steps of {spec.batch_tokens} tokens, "
            f"{found.steps * spec.batch_tokens}, are expected"
        )
    if found.status == "finished" and spec.kind == "run" and found.loss is None:
        raise MismatchError("loss is null; a number of at least 0 is expected of a finished run")


def _identity(spec: TrainSpec) -> dict[str, Any]:
    """The columns of a result that its spec decides."""
    if spec.kind == "speed":
        return {"run": spec.run}
    return {
        "run": spec.run,
        "params": count_parameters(spec.shape).non_embedding,
        "batch_tokens": spec.batch_tokens,
        "lr": spec.lr,
        "schedule": spec.schedule,
        "seed": spec.seed,
        "trunk": spec.trunk or spec.run,
        "family": family(spec.shape),
        **dimensions(spec.shape),
    }


@dataclass(frozen=True)
class _Positions:
    loss: tuple[NotNegative | None, ...]


def write_positions(folder: Path, spec: TrainSpec, losses: NDArray[np.float64]) -> None:
    """Write positions.json: final held-out loss at each position of the context (T,)."""
    write_sealed(folder / "positions.json", {"loss": losses.tolist()}, spec.run)


def read_positions(folder: Path, spec: TrainSpec) -> NDArray[np.float64]:
    """The losses of positions.json, NaN where one was not finite; empty where there is no file.

    Raises DamagedRecordError for a file that is damaged, or of another run.
    """
    path = folder / "positions.json"
    if not path.exists():
        return np.empty(0)
    then = f"Delete {folder} and run the same command again: the run is trained again."
    values = read_object(path, then)
    try:
        plain = {name: value for name, value in values.items() if name != CHECKSUM}
        losses = schema.read(_Positions, plain).loss
        if values.get(CHECKSUM) and len(losses) != spec.shape.context:
            raise MismatchError(
                f"loss has {len(losses)} positions; {spec.shape.context} are expected"
            )
    except MismatchError as error:
        raise DamagedRecordError(f"{path} is damaged: {error}. {then}") from error
    unseal(path, values, spec.run, then)
    return np.array(losses, dtype=np.float64)


def family(shape: Shape) -> str:
    """transformer, lstm or gru."""
    return "transformer" if isinstance(shape, TransformerShape) else shape.cell


def dimensions(shape: Shape) -> dict[str, int]:
    """The columns of the run table that hold a shape; a recurrent network has no d_ff and heads."""
    names = ["n_layer", "d_model", "context", "vocabulary"]
    if isinstance(shape, TransformerShape):
        names[2:2] = ["d_ff", "n_head"]
    return {name: getattr(shape, name) for name in names}


def measured_noise_scale(folder: Path, owner: str | None = None) -> float | None:
    """B_simple in tokens over the second half of a run's measurements, from noise.jsonl."""
    samples = [
        NoiseSample(signal=line.signal, noise=line.noise)
        for line in read_lines(folder / "noise.jsonl", NoiseLine, owner).lines
        if line.signal is not None and line.noise is not None
    ]
    return noise_scale(samples[len(samples) // 2 :])

"""What an ended run leaves: result.json, one row of the run table before it is a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalelab.corpus import Corpus
from scalelab.counting import (
    CONVENTIONS,
    Shape,
    TransformerShape,
    count_parameters,
    flops_per_token,
)
from scalelab.training.noise import NoiseSample, noise_scale
from scalelab.training.records import read_lines, write_json
from scalelab.training.spec import TrainSpec


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
        "noise_scale": measured_noise_scale(folder),
        "seconds": seconds,
    }
    write_json(folder / "result.json", values)


def family(shape: Shape) -> str:
    """transformer, lstm or gru."""
    return "transformer" if isinstance(shape, TransformerShape) else shape.cell


def dimensions(shape: Shape) -> dict[str, int]:
    """The columns of the run table that hold a shape; a recurrent network has no d_ff and heads."""
    names = ["n_layer", "d_model", "context", "vocabulary"]
    if isinstance(shape, TransformerShape):
        names[2:2] = ["d_ff", "n_head"]
    return {name: getattr(shape, name) for name in names}


def measured_noise_scale(folder: Path) -> float | None:
    """B_simple in tokens over the second half of a run's measurements, from noise.jsonl."""
    samples = [
        NoiseSample(signal=line["signal"], noise=line["noise"])
        for line in read_lines(folder / "noise.jsonl", "signal", "noise")
        if line["signal"] is not None and line["noise"] is not None
    ]
    return noise_scale(samples[len(samples) // 2 :])

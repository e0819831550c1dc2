"""How fast this machine trains a shape: measured with the loop that will train it."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from scalelab.training.loop import Trainer
from scalelab.training.records import write_json
from scalelab.training.spec import TrainSpec

LEAST_STEPS = 4


def measure_speed(spec: TrainSpec, folder: Path, device: torch.device, seconds: float) -> float:
    """Train the spec for about `seconds` and write its tokens per second to result.json.

    The first two steps, which allocate, are not counted. On a shared machine the median step is a
    better forecast of minutes of training than the best one.
    """
    trainer = Trainer(spec, folder, device)
    rates: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(rates) < LEAST_STEPS:
        step = time.monotonic()
        trainer.optimizer_step()
        trainer.step += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rates.append(spec.batch_tokens / (time.monotonic() - step))
    del rates[: min(2, len(rates) - 1)]
    rates.sort()
    rate = rates[len(rates) // 2]
    write_json(folder / "result.json", {"run": spec.run, "tokens_per_second": rate})
    return rate

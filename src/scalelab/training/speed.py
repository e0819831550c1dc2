"""How fast this machine trains a shape: measured with the loop that will train it."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch

from scalelab.training.loop import Trainer
from scalelab.training.records import write_sealed
from scalelab.training.spec import TrainSpec

WARM_UP = 2
"""Steps that are not counted: they allocate, and on a GPU load kernels and find how many parts of
the batch fit into its memory."""

LEAST_STEPS = 2


def measure_speed(spec: TrainSpec, folder: Path, device: torch.device, seconds: float) -> float:
    """Train the spec for about `seconds` and write its tokens per second to result.json.

    On a shared machine the median step is a better forecast of minutes of training than the best.
    """
    trainer = Trainer(spec, folder, device)

    def step() -> float:
        began = time.monotonic()
        trainer.optimizer_step()
        trainer.step += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.monotonic() - began

    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(times) < LEAST_STEPS:
        times.append(step())
    rate = spec.batch_tokens / median(times)
    values = {"run": spec.run, "tokens_per_second": rate}
    write_sealed(folder / "result.json", values, spec.fingerprint)
    return rate

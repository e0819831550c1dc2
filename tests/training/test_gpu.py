"""Training on a GPU against training on a CPU: a step, a run, a stop, a fork, a measured speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.counting import RecurrentShape, Shape, TransformerShape
from scalelab.studies.sizes import Family, shape_of_width
from scalelab.training.checkpoint import load_checkpoint
from scalelab.training.loop import Trainer
from scalelab.training.spec import TrainSpec
from scalelab.training.speed import measure_speed

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
VOCABULARY = 256
PLAIN = TransformerShape(2, 16, 2, 64, 32, VOCABULARY)
SHAPES = {
    "plain": PLAIN,
    "untied": replace(PLAIN, tied=False, bias=True),
    "learned": replace(PLAIN, positions="learned", norm="rmsnorm", activation="swiglu"),
    "narrowest": shape_of_width(12, Family(32, VOCABULARY)),  # heads of 6: no multiple of 8
    "wide": shape_of_width(1024, Family(32, VOCABULARY).up_to(1024)),
    "one head": TransformerShape(1, 512, 1, 64, 32, VOCABULARY),  # of 512: too wide for flash
    "lstm": RecurrentShape("lstm", 2, 16, 32, VOCABULARY),
    # Between these widths cuDNN goes forward and backward by different algorithms.
    "wider lstm": RecurrentShape("lstm", 2, 160, 32, VOCABULARY),
    "wider gru": RecurrentShape("gru", 2, 160, 32, VOCABULARY),
    "gru": RecurrentShape("gru", 2, 16, 32, VOCABULARY),
}


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two gradients, relative."""
    return float((a.cpu() - b.cpu()).norm() / b.cpu().norm())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_step_is_that_of_a_cpu(
    cuda: torch.device, spec: TrainSpec, folder: Path, shape: Shape
) -> None:
    """Warnings are errors here: cuDNN would warn where it had to copy weights together."""
    one = replace(spec, shape=shape, noise_every=2, clip=0.0, lr=1e-4)
    gpu, cpu = Trainer(one, folder, cuda), Trainer(one, folder, CPU)
    assert all(part.is_cuda for part in (*gpu.flat.values, *gpu.flat.grads, *gpu.state))
    for _ in range(2):
        (loss, norm, sample), (loss_cpu, norm_cpu, sample_cpu) = (
            trainer.optimizer_step() for trainer in (gpu, cpu)
        )
        gpu.step, cpu.step = gpu.step + 1, cpu.step + 1
        assert float(loss) == pytest.approx(float(loss_cpu), abs=0.01)
        assert float(norm) == pytest.approx(float(norm_cpu), rel=0.03)
        for ours, theirs in zip(gpu.flat.grads, cpu.flat.grads, strict=True):
            assert gap(ours, theirs) < 0.05
    assert sample is not None
    assert sample_cpu is not None
    assert sample.noise == pytest.approx(sample_cpu.noise, rel=0.1)
    assert gpu.evaluate(gpu.final_evaluator) == pytest.approx(
        cpu.evaluate(cpu.final_evaluator), abs=0.01
    )


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def train(spec: TrainSpec, folder: Path, device: torch.device, stop_at: int | None = None) -> str:
    folder.mkdir(exist_ok=True)
    trainer = Trainer(spec, folder, device)
    return trainer.train(lambda *_: None, lambda: trainer.step == stop_at)


@pytest.mark.parametrize("name", ["plain", "lstm", "gru"])
def test_a_run_stopped_and_resumed_ends_where_a_cpus_does(
    cuda: torch.device, spec: TrainSpec, tmp_path: Path, name: str
) -> None:
    one = replace(spec, shape=SHAPES[name])
    train(one, tmp_path / "cpu", CPU)
    assert train(one, tmp_path / "gpu", cuda, 23) == "interrupted"
    state = load_checkpoint(tmp_path / "gpu" / "checkpoint")
    assert state is not None
    assert not state["decayed"].is_cuda, "a checkpoint is read on any machine"
    assert train(one, tmp_path / "gpu", cuda) == "finished"
    ours, theirs = (outcome(tmp_path / device)["loss"] for device in ("gpu", "cpu"))
    assert ours == pytest.approx(theirs, abs=0.1)


def test_a_branch_leaves_its_trunk(cuda: torch.device, spec: TrainSpec, tmp_path: Path) -> None:
    separate = replace(spec, steps=40, noise_every=0)
    trunk = replace(
        separate, run="trunk", steps=60, stop_step=45, fork_steps=(30, 45), kind="trunk"
    )
    branch = replace(separate, run="branch", trunk="trunk", fork_step=30)
    for one in (separate, trunk, branch):
        assert train(one, tmp_path / one.run.replace("tiny", "separate"), cuda) == "finished"
    ours, alone = (outcome(tmp_path / name)["loss"] for name in ("branch", "separate"))
    assert ours == pytest.approx(alone, abs=0.05)


def test_speed_counts_finished_steps(cuda: torch.device, spec: TrainSpec, folder: Path) -> None:
    """More work in a step takes longer: a time without synchronising would only count calls."""
    shape = shape_of_width(1024, Family(32, VOCABULARY).up_to(1024))
    wide = replace(spec, shape=shape, noise_every=0, batch_tokens=32 * 1024)
    slow, fast = (
        measure_speed(replace(wide, micro_tokens=micro), folder, cuda, 0.5)
        for micro in (32 * 64, 0)
    )
    assert 0 < slow < 0.9 * fast


def test_what_does_not_fit_fails_and_leaves_the_memory_free(
    cuda: torch.device, spec: TrainSpec, folder: Path
) -> None:
    free, _ = torch.cuda.mem_get_info(cuda)
    before = torch.cuda.memory_allocated(cuda)
    ballast = torch.empty(max(0, free - 2**31), dtype=torch.uint8, device=cuda)
    huge = TransformerShape(2, 4096, 32, 4 * 4096, 32, VOCABULARY)  # 6 GB with its optimizer
    with pytest.raises(torch.OutOfMemoryError):
        measure_speed(replace(spec, shape=huge, noise_every=0), folder, cuda, 0.1)
    del ballast
    assert torch.cuda.memory_allocated(cuda) < before + 2**28
    assert measure_speed(replace(spec, noise_every=0), folder, cuda, 0.1) > 0

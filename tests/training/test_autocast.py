"""What a GPU trains with, bfloat16 by autocast, tried on a CPU: the step, the run, the evaluation.

A trainer on a CPU is given the autocast that one on a GPU has. It rounds each number to 2^-9 of it,
so that whole gradients agree within a percent or two.
"""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scalelab.training.loop import Trainer
from scalelab.training.spec import TrainSpec

CPU = torch.device("cpu")
GRADIENT = 0.02
LOSS = 0.01


def bfloat16() -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def trainers(spec: TrainSpec, folder: Path) -> tuple[Trainer, Trainer]:
    """One in single precision, and one as a GPU has it."""
    single, mixed = Trainer(spec, folder, CPU), Trainer(spec, folder, CPU)
    mixed.autocast = bfloat16()
    return single, mixed


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "swiglu"])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_a_step_is_that_of_single_precision(
    spec: TrainSpec, folder: Path, norm: str, activation: str, positions: str, tied: bool
) -> None:
    shape = replace(spec.shape, norm=norm, activation=activation, positions=positions, tied=tied)
    single, mixed = trainers(replace(spec, shape=shape, noise_every=1, clip=0.0), folder)
    results = [trainer.optimizer_step() for trainer in (single, mixed)]
    (loss, norm_of, sample), (loss_16, norm_16, sample_16) = results
    assert loss_16.dtype == norm_16.dtype == torch.float32
    assert abs(float(loss - loss_16)) < LOSS
    assert float(norm_16) == pytest.approx(float(norm_of), rel=GRADIENT)
    assert sample is not None
    assert sample_16 is not None
    assert sample_16.noise == pytest.approx(sample.noise, rel=3 * GRADIENT)
    for ours, exact, parameters in zip(
        mixed.flat.grads, single.flat.grads, mixed.flat.values, strict=True
    ):
        assert ours.dtype == parameters.dtype == torch.float32
        assert float((ours - exact).norm() / exact.norm()) < GRADIENT
    # One step of AdamW moves every parameter by the rate at most: no gradient was left out.
    for ours, exact in zip(mixed.flat.values, single.flat.values, strict=True):
        assert not torch.equal(ours, exact), "the precision does differ"
        moved = (ours - exact).detach().abs().max()
        assert float(moved) <= 2.1 * mixed.optimizer.param_groups[0]["lr"]


def test_biases_too(spec: TrainSpec, folder: Path) -> None:
    single, mixed = trainers(replace(spec, shape=replace(spec.shape, bias=True)), folder)
    for trainer in (single, mixed):
        trainer.optimizer_step()
    for ours, exact in zip(mixed.flat.grads, single.flat.grads, strict=True):
        assert float((ours - exact).norm() / exact.norm()) < GRADIENT


def test_an_evaluation_is_that_of_single_precision(spec: TrainSpec, folder: Path) -> None:
    single, mixed = trainers(spec, folder)
    evaluator = single.final_evaluator
    ours, exact = (float(one.evaluate(evaluator).mean()) for one in (mixed, single))
    assert ours != exact
    assert ours == pytest.approx(exact, abs=LOSS)
    with mixed.autocast:
        assert str(evaluator.by_position(mixed.model).dtype) == "float64"


def test_weights_of_the_step_before_are_not_kept(spec: TrainSpec, folder: Path) -> None:
    """Autocast keeps rounded weights as long as it lasts; a step must see those of now."""
    _, trainer = trainers(replace(spec, lr=0.5, warmup_steps=0), folder)
    trainer.optimizer_step()
    stepped = float(trainer.evaluate(trainer.final_evaluator).mean())
    with torch.no_grad():
        for flat in trainer.flat.values:
            flat.zero_()
    uniform = float(trainer.evaluate(trainer.final_evaluator).mean())
    assert uniform == pytest.approx(math.log(spec.shape.vocabulary), abs=LOSS)
    assert abs(stepped - uniform) > 0.1


def test_a_run_learns_as_in_single_precision_and_resumes(spec: TrainSpec, tmp_path: Path) -> None:
    losses = {}
    for name, autocast in (("single", None), ("mixed", bfloat16())):
        (tmp_path / name).mkdir()
        for stop_at in (25, None):  # stopped, and called again
            trainer = Trainer(spec, tmp_path / name, CPU)
            trainer.autocast = autocast or trainer.autocast
            assert trainer.step == (0 if stop_at else 25)
            status = trainer.train(lambda *_: None, lambda: trainer.step == stop_at)  # noqa: B023
        assert status == "finished"
        losses[name] = json.loads((tmp_path / name / "result.json").read_text())["loss"]
    assert losses["mixed"] == pytest.approx(losses["single"], abs=0.05)
    assert losses["mixed"] != losses["single"]

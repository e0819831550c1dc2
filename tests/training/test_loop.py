"""One run: it learns, resumes bitwise, branches exactly, and ends as diverged when it does."""

from __future__ import annotations

import gc
import json
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.errors import TrainingError
from scalelab.models import State, Transformer
from scalelab.training.loop import SAVING, Trainer
from scalelab.training.milestones import log_spaced
from scalelab.training.records import EvalLine, MetricsLine, NoiseLine, read_lines
from scalelab.training.schedules import lr_factor
from scalelab.training.spec import TrainSpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def train(spec: TrainSpec, folder: Path, stop_at: int | None = None) -> str:
    """Train to the end, or ask to stop when the step is reached."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(spec, folder, CPU)
    return trainer.train(lambda *_: None, lambda: trainer.step == stop_at)


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def without_clock(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, in its order, without what the clock decides."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: line[name] for name in line if name != "tokens_per_second"} for line in lines]


def test_a_run_learns_and_records_every_component(spec: TrainSpec, folder: Path) -> None:
    assert train(spec, folder) == "finished"
    values = outcome(folder)
    assert values["status"] == "finished"
    assert values["loss"] < 3.5
    assert values["tokens"] == 60 * 128
    assert values["flops"] == values["flops_exact"]
    parts = ("embedding", "attention", "feed_forward", "norm", "bias", "output")
    assert sum(values[f"params_{part}"] for part in parts) == values["params_total"]
    losses = [line.loss for line in read_lines(folder / "evals.jsonl", EvalLine).lines]
    assert losses[-1] < losses[0]
    rates = {line.step: line.lr for line in read_lines(folder / "metrics.jsonl", MetricsLine).lines}
    # The step numbered from one at which a rate was used.
    assert rates == {step: spec.lr * lr_factor(step - 1, spec) for step in rates}
    for line in read_lines(folder / "evals.jsonl", EvalLine).lines:
        assert len(line.octaves) == 1 + (spec.shape.context - 1).bit_length()
    assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("stop_at", [1, 23, 59])
def test_killed_and_resumed_equals_never_interrupted_bitwise(
    spec: TrainSpec, tmp_path: Path, stop_at: int
) -> None:
    train(spec, tmp_path / "whole")
    assert train(spec, tmp_path / "cut", stop_at) == "interrupted"
    assert train(spec, tmp_path / "cut") == "finished"
    assert outcome(tmp_path / "cut")["loss"] == outcome(tmp_path / "whole")["loss"]
    for name in ("metrics.jsonl", "evals.jsonl", "noise.jsonl"):
        assert without_clock(tmp_path / "cut" / name) == without_clock(tmp_path / "whole" / name)


def test_a_branch_equals_a_separate_run_of_its_length_bitwise(
    spec: TrainSpec, tmp_path: Path
) -> None:
    separate = replace(spec, steps=40, decay_fraction=0.25, noise_every=0)
    trunk = replace(
        separate, run="trunk", steps=60, stop_step=45, fork_steps=(30, 45), kind="trunk"
    )
    branch = replace(separate, run="branch", trunk="trunk", fork_step=30)
    train(separate, tmp_path / "separate")
    assert train(trunk, tmp_path / "trunk") == "finished"
    assert outcome(tmp_path / "trunk")["loss"] is None
    train(branch, tmp_path / "branch")
    assert outcome(tmp_path / "branch")["loss"] == outcome(tmp_path / "separate")["loss"]
    assert outcome(tmp_path / "branch")["tokens"] == outcome(tmp_path / "separate")["tokens"]


def test_a_branch_without_its_trunk_says_what_to_do(spec: TrainSpec, folder: Path) -> None:
    with pytest.raises(TrainingError, match="branches off gone at step 9"):
        Trainer(replace(spec, trunk="gone", fork_step=9), folder, CPU)


def test_an_absurd_rate_ends_as_diverged_with_its_step(spec: TrainSpec, folder: Path) -> None:
    assert train(replace(spec, lr=1e6, clip=0.0), folder) == "diverged"
    values = outcome(folder)
    assert values["status"] == "diverged"
    assert 0 < values["steps"] < 60


def test_accumulated_micro_batches_give_the_gradient_of_the_batch(
    spec: TrainSpec, tmp_path: Path
) -> None:
    losses = []
    for micro in (0, 32):
        folder = tmp_path / str(micro)
        train(replace(spec, micro_tokens=micro, noise_every=0), folder)
        losses.append(outcome(folder)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_noise_scale_is_measured_along_the_way(spec: TrainSpec, folder: Path) -> None:
    train(replace(spec, noise_every=2), folder)
    assert len(list(read_lines(folder / "noise.jsonl", NoiseLine).lines)) == 30
    assert outcome(folder)["noise_scale"] is None or outcome(folder)["noise_scale"] > 0


def test_log_spaced_steps_are_increasing_and_end_at_the_last() -> None:
    steps = log_spaced(1000, 10)
    assert steps[-1] == 1000
    assert steps == sorted(set(steps))
    assert log_spaced(3, 10)[-1] == 3
    assert log_spaced(100, 0) == []


def hold_at_most(trainer: Trainer, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory too small for more rows at once."""
    carried = trainer.model.carried

    def limited(inputs: Tensor, targets: Tensor, state: State) -> Any:
        if len(inputs) > rows:
            raise torch.OutOfMemoryError("made of straw")
        return carried(inputs, targets, state)

    monkeypatch.setattr(trainer.model, "carried", limited)


@pytest.mark.parametrize("noise_every", [0, 1])
def test_a_batch_that_the_memory_does_not_hold_is_taken_in_parts(
    spec: TrainSpec, folder: Path, noise_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(spec, batch_tokens=256, noise_every=noise_every, noise_parts=2)
    whole, parts = Trainer(one, folder, CPU), Trainer(one, folder, CPU)
    hold_at_most(parts, 2, monkeypatch)
    for _ in range(3):
        (loss, norm, sample), (loss_parts, norm_parts, sample_parts) = (
            trainer.optimizer_step() for trainer in (whole, parts)
        )
        whole.step, parts.step = whole.step + 1, parts.step + 1
        torch.testing.assert_close(loss, loss_parts)
        torch.testing.assert_close(norm, norm_parts, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(whole.flat.grads, parts.flat.grads, rtol=1e-3, atol=1e-5)
        assert (sample is None) == (sample_parts is None) == (not noise_every)
    assert parts.parts == 4, "what fits is found once"
    assert whole.parts == 1


def test_a_row_that_the_memory_does_not_hold_is_an_error(
    spec: TrainSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(spec, folder, CPU)
    hold_at_most(trainer, 0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match="straw"):
        trainer.optimizer_step()


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_run_leaves_nothing_behind(
    spec: TrainSpec, folder: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cycle of references keeps its tensors, else the next run would find the GPU full."""

    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("made of straw")

    trainer = Trainer(spec, folder, CPU)
    kept = [weakref.ref(part) for part in (*trainer.flat.values, *trainer.model.parameters())]
    gc.disable()
    try:
        if fails:
            monkeypatch.setattr(Transformer, "losses", full)
        with suppress(torch.OutOfMemoryError):
            trainer.train(lambda *_: None, lambda: False)
        assert (folder / "result.json").exists() != fails
        del trainer
        assert [ref() for ref in kept if ref() is not None] == []
    finally:
        gc.enable()


def test_slow_checkpoints_are_written_less_often(
    spec: TrainSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(replace(spec, checkpoint_seconds=0.0), folder, CPU)
    saved: list[int] = []

    def save(*_records: object) -> None:
        saved.append(trainer.step)
        time.sleep(0.05)

    monkeypatch.setattr(trainer, "save", save)
    began = time.monotonic()
    trainer.train(lambda *_: None, lambda: False)
    assert 1 <= len(saved) <= 2 + (time.monotonic() - began) * SAVING / 0.05

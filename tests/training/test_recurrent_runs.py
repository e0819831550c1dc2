"""Recurrent networks: they learn, carry their state through kills and forks, and diverge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.corpus import Corpus
from scalelab.counting import RecurrentShape
from scalelab.table import read_runs
from scalelab.training.loop import Trainer
from scalelab.training.records import NoiseLine, read_lines
from scalelab.training.spec import TrainSpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=["lstm", "gru"])
def recurrent(spec: TrainSpec, corpus: Corpus, request: pytest.FixtureRequest) -> TrainSpec:
    """Sixty steps of eight streams of sixteen tokens, evaluated on windows of 32."""
    shape = RecurrentShape(request.param, 2, 16, 32, corpus.vocabulary)
    return replace(spec, shape=shape, unroll=16)


def train(spec: TrainSpec, folder: Path, stop_at: int | None = None) -> str:
    folder.mkdir(exist_ok=True)
    trainer = Trainer(spec, folder, CPU)
    return trainer.train(lambda *_: None, lambda: trainer.step == stop_at)


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_a_run_learns_and_is_a_row_of_the_run_table(recurrent: TrainSpec, folder: Path) -> None:
    assert train(recurrent, folder) == "finished"
    values = outcome(folder)
    assert values["family"] == recurrent.shape.cell
    assert values["loss"] < 3.5
    assert values["params"] == values["params_recurrent"]
    assert values["params"] == {"lstm": 8, "gru": 6}[values["family"]] * 2 * 16**2
    assert "n_head" not in values
    assert "d_ff" not in values
    assert len(json.loads((folder / "positions.json").read_text())["loss"]) == 32
    table = read_runs([values])
    assert table.frame["params_recurrent"].to_list() == [values["params"]]
    assert table.frame["family"].to_list() == [recurrent.shape.cell]


def test_the_state_is_carried_from_step_to_step(recurrent: TrainSpec, folder: Path) -> None:
    trainer = Trainer(recurrent, folder, CPU)
    assert all(part.abs().max() == 0 for part in trainer.state)
    for _ in range(2):
        trainer.optimizer_step()
        trainer.step += 1
    state = [part.clone() for part in trainer.state]
    inputs, targets = trainer.batches(trainer.step)
    with torch.no_grad():
        expected = trainer.model.carried(inputs, targets, trainer.state)[0]
        anew = trainer.model.carried(inputs, targets, trainer.model.start(len(inputs)))[0]
    loss, _, _ = trainer.optimizer_step()
    torch.testing.assert_close(loss, expected)
    assert abs(float(anew - expected)) > 1e-4, "what the state knows is used"
    assert not torch.equal(state[0], trainer.state[0])


@pytest.mark.parametrize("stop_at", [1, 23])
def test_killed_and_resumed_equals_never_interrupted_bitwise(
    recurrent: TrainSpec, tmp_path: Path, stop_at: int
) -> None:
    train(recurrent, tmp_path / "whole")
    assert train(recurrent, tmp_path / "cut", stop_at) == "interrupted"
    assert train(recurrent, tmp_path / "cut") == "finished"
    cut, whole = outcome(tmp_path / "cut"), outcome(tmp_path / "whole")
    assert cut | {"seconds": 0} == whole | {"seconds": 0}


def test_a_branch_equals_a_separate_run_of_its_length_bitwise(
    recurrent: TrainSpec, tmp_path: Path
) -> None:
    separate = replace(recurrent, steps=40, decay_fraction=0.25, noise_every=0)
    trunk = replace(
        separate, run="trunk", steps=60, stop_step=45, fork_steps=(30, 45), kind="trunk"
    )
    branch = replace(separate, run="branch", trunk="trunk", fork_step=30)
    train(separate, tmp_path / "separate")
    assert train(trunk, tmp_path / "trunk") == "finished"
    train(branch, tmp_path / "branch")
    assert outcome(tmp_path / "branch")["loss"] == outcome(tmp_path / "separate")["loss"]


def test_a_branch_with_other_streams_begins_their_state_anew(
    recurrent: TrainSpec, tmp_path: Path
) -> None:
    trunk = replace(recurrent, run="trunk", stop_step=20, fork_steps=(20,), kind="trunk")
    train(trunk, tmp_path / "trunk")
    branch = replace(
        recurrent, run="wide", trunk="trunk", batch_tokens=256, fork_step=10, trunk_step=20
    )
    (tmp_path / "wide").mkdir()
    trainer = Trainer(branch, tmp_path / "wide", CPU)
    assert all(part.shape[1] == 16 and part.abs().max() == 0 for part in trainer.state)
    assert trainer.train(lambda *_: None, lambda: False) == "finished"


def test_accumulated_rows_and_states_give_the_step_of_the_batch(
    recurrent: TrainSpec, folder: Path
) -> None:
    whole, parts = (
        Trainer(replace(recurrent, noise_every=0, micro_tokens=micro), folder, CPU)
        for micro in (0, 32)
    )
    for _ in range(3):
        losses = [trainer.optimizer_step()[0] for trainer in (whole, parts)]
        torch.testing.assert_close(losses[0], losses[1])
        torch.testing.assert_close(whole.state, parts.state, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(whole.flat.grads, parts.flat.grads, rtol=1e-3, atol=1e-5)
        whole.step, parts.step = whole.step + 1, parts.step + 1


def test_noise_scale_is_measured_along_the_way(recurrent: TrainSpec, folder: Path) -> None:
    train(replace(recurrent, noise_every=2), folder)
    lines = list(read_lines(folder / "noise.jsonl", NoiseLine).lines)
    assert len(lines) == 30
    assert all(line.noise > 0 for line in lines), "parts differ more than their mean"


def test_an_absurd_rate_ends_as_diverged(recurrent: TrainSpec, folder: Path) -> None:
    assert train(replace(recurrent, lr=1e6, clip=0.0), folder) == "diverged"
    values = outcome(folder)
    assert (values["status"], values["family"]) == ("diverged", recurrent.shape.cell)
    assert not (folder / "positions.json").exists() or values["steps"] == 60


def test_less_data_and_stopping_early_go_with_streams(
    spec: TrainSpec, corpus: Corpus, tmp_path: Path
) -> None:
    early = replace(
        spec,
        shape=RecurrentShape("lstm", 2, 16, 32, corpus.vocabulary),
        unroll=16,
        lr=3e-2,
        steps=300,
        schedule="constant",
        unique_tokens=96,
        patience=3,
        curve_points=24,
        noise_every=0,
    )
    train(early, tmp_path / "whole")
    values = outcome(tmp_path / "whole")
    assert values["steps"] < values["stopped_at_step"] < 300
    assert values["unique_tokens"] == 96
    stop_at = values["steps"] + 1
    assert train(early, tmp_path / "cut", stop_at) == "interrupted"
    assert train(early, tmp_path / "cut") == "finished"
    assert outcome(tmp_path / "cut") | {"seconds": 0} == values | {"seconds": 0}

"""A damaged checkpoint costs steps, not numbers: the run goes on from the one before, or begins."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.corpus import Corpus
from scalelab.counting import TransformerShape
from scalelab.training.checkpoint import save_checkpoint
from scalelab.training.loop import ForkLostError, Trainer
from scalelab.training.records import checkpoints, write_json
from scalelab.training.spec import TrainSpec

CPU = torch.device("cpu")
FILES = ("metrics.jsonl", "evals.jsonl", "noise.jsonl", "positions.json", "result.json")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def short(corpus: Corpus) -> TrainSpec:
    """Checkpoints are kept at 10 and 20."""
    return TrainSpec(
        run="run", shape=TransformerShape(1, 8, 1, 16, 8, corpus.vocabulary),
        corpus=str(corpus.folder), batch_tokens=32, steps=40, lr=1e-2, warmup_steps=5,
        eval_tokens=64, curve_tokens=32, curve_points=5, noise_every=5, fork_steps=(10, 20),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(short: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    Trainer(short, folder, CPU).train(lambda *_: None, lambda: False)
    return left(folder)


def left(folder: Path) -> dict[str, Any]:
    """Every file of an ended run, line for line, without what the clock decides."""
    found: dict[str, Any] = {}
    for name in FILES:
        text = (folder / name).read_text()
        values = (
            [json.loads(text)]
            if name.endswith(".json")
            else [json.loads(line) for line in text.splitlines()]
        )
        clock = ("seconds", "tokens_per_second")
        found[name] = [{k: v for k, v in value.items() if k not in clock} for value in values]
    return found


class KilledError(Exception):
    """Stands for a process that ended between two steps, with no chance to write anything."""


def killed_at(step: int, spec: TrainSpec, folder: Path) -> None:
    """Train up to a step and leave what a kill leaves."""
    trainer = Trainer(spec, folder, CPU)

    def kill() -> bool:
        if trainer.step == step:
            raise KilledError
        return False

    with pytest.raises(KilledError):
        trainer.train(lambda *_: None, kill)


def go_on(spec: TrainSpec, folder: Path) -> list[str]:
    """Train to the end; what was said of damage."""
    said: list[str] = []
    trainer = Trainer(spec, folder, CPU, said.append)
    assert trainer.train(lambda *_: None, lambda: False) == "finished"
    return said


@pytest.mark.parametrize("step", [7, 10, 23, 39])
def test_killed_anywhere_every_line_is_that_of_a_run_that_never_stopped(
    short: TrainSpec, whole: dict[str, Any], tmp_path: Path, step: int
) -> None:
    killed_at(step, short, tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')
    assert go_on(short, tmp_path) == []
    assert left(tmp_path) == whole


def test_stopped_between_two_lines_the_mean_loss_is_that_of_the_whole_window(
    short: TrainSpec, tmp_path: Path
) -> None:
    """Lines are three steps apart; a branch begins with a window of its own."""
    long = replace(short, steps=150, curve_points=1, noise_every=0, fork_steps=(), eval_tokens=8)
    go_on(long, made(tmp_path / "whole"))
    folder = made(tmp_path / "cut")
    for step in (1, 74, 149):
        trainer = Trainer(long, folder, CPU)
        assert (
            trainer.train(lambda *_: None, lambda s=step, t=trainer: t.step == s) == "interrupted"
        )
    assert go_on(long, folder) == []
    assert left(folder) == left(tmp_path / "whole")


def reached(trainer: Trainer, step: int) -> bool:
    return trainer.step == step


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def damaged(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    place = draw.randrange(len(data))
    kind = draw.choice(["flip", "cut", "zero", "empty"])
    if kind == "flip":
        data[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[place:]
    elif kind == "zero":
        data[place : place + 64] = bytes([data[place] ^ 255, *bytes(63)])
    else:
        data.clear()
    return bytes(data)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("steps", "goes_on"), [((20,), "step 10"), ((10, 20), "its beginning")])
def test_from_a_damaged_checkpoint_it_goes_back_and_ends_the_same(
    short: TrainSpec, whole: dict[str, Any], tmp_path: Path, seed: int,
    steps: tuple[int, ...], goes_on: str,
) -> None:  # fmt: skip
    killed_at(25, short, tmp_path)
    draw = random.Random(seed)
    for path, step in checkpoints(tmp_path / "checkpoint"):
        if step in steps:
            path.write_bytes(damaged(path.read_bytes(), draw))
    said = go_on(short, tmp_path)
    for step, text in zip(sorted(steps, reverse=True), said[:-1], strict=True):
        assert f"the checkpoint at step {step} is damaged" in text
    assert said[-1] == f"{tmp_path.name}: it goes on from {goes_on}"
    assert goes_on in (tmp_path / "notes.txt").read_text()
    assert left(tmp_path) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"decayed": torch.zeros(3)},
        {"plain": torch.zeros(1)},
        {"plain": None},
        {"step": -1},
        {"step": "x"},
        {"step": 10**6},
        {"tokens": 7},
        {"seconds": "x"},
        {"seconds": torch.zeros(3)},
        {"tokens": torch.zeros(3)},
        {"owner": torch.zeros(3)},
        {"losses": torch.zeros(3, 3)},
        {"losses": None},
        {"state": [7]},
        {"stopping": {"loss": "x"}},
        {"owner": "another"},
        {"optimizer": {}},
        {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{}, {}]}},
    ],
)
def test_a_whole_file_that_does_not_fit_the_run_is_passed_over(
    short: TrainSpec, whole: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    killed_at(21, short, tmp_path)
    folder = tmp_path / "checkpoint"
    newest = next(path for path, step in checkpoints(folder) if step == 20)
    state = torch.load(newest, weights_only=True)
    save_checkpoint(folder, 20, state | change, short.fork_steps)
    said = go_on(short, tmp_path)
    assert said[0].startswith(f"{tmp_path.name}: the checkpoint at step 20 ")
    assert left(tmp_path) == whole


@pytest.mark.parametrize("name", ["evals.jsonl", "noise.jsonl"])
def test_records_damaged_before_the_checkpoint_are_written_again(
    short: TrainSpec, whole: dict[str, Any], tmp_path: Path, name: str
) -> None:
    killed_at(21, short, tmp_path)
    lines = (tmp_path / name).read_text().splitlines()
    lines[1] = lines[1].replace("1", "7")
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    said = go_on(short, tmp_path)
    assert f"cannot be used because {name} lacks step" in said[0]
    assert "line 2 is damaged" in said[0]
    assert left(tmp_path) == whole


def test_a_trunk_goes_back_before_a_fork_that_is_gone(short: TrainSpec, tmp_path: Path) -> None:
    trunk = replace(short, kind="trunk", stop_step=30)
    killed_at(21, trunk, tmp_path)
    next(path for path, step in checkpoints(tmp_path / "checkpoint") if step == 10).unlink()
    assert Trainer(trunk, tmp_path, CPU).step == 0
    go_on(trunk, tmp_path)
    assert {10, 20} <= {step for _, step in checkpoints(tmp_path / "checkpoint")}


def test_a_branch_deletes_a_damaged_fork_and_says_so(short: TrainSpec, tmp_path: Path) -> None:
    trunk = replace(short, run="trunk", kind="trunk", stop_step=30)
    (tmp_path / "trunk").mkdir()
    (tmp_path / "branch").mkdir()
    write_json(tmp_path / "trunk" / "run.json", trunk.to_dict())
    killed_at(21, trunk, tmp_path / "trunk")
    folder = tmp_path / "trunk" / "checkpoint"
    path = next(path for path, step in checkpoints(folder) if step == 10)
    path.write_bytes(path.read_bytes()[:-1])
    branch = replace(short, run="branch", trunk="trunk", fork_step=10, fork_steps=())
    said: list[str] = []
    with pytest.raises(ForkLostError, match="branches off trunk at step 10"):
        Trainer(branch, tmp_path / "branch", CPU, said.append)
    assert "trunk: the checkpoint at step 10 is damaged" in said[0]
    assert [step for _, step in checkpoints(folder)] == [20]


def test_a_full_disk_gives_up_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"x": torch.ones(3)}, keep=())
    save = torch.save

    def full(state: Any, path: Path) -> None:
        if len(checkpoints(tmp_path)) > 1:
            raise RuntimeError("no space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    save_checkpoint(tmp_path, 3, {"x": torch.ones(3)}, keep=())
    assert sorted(step for _, step in checkpoints(tmp_path)) == [2, 3]

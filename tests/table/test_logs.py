"""Logs of training: curves where lines have pairs, and no table of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalelab.errors import TableError
from scalelab.table import read_curves, read_runs

LOGS = {
    "nanoGPT": "step 100: train loss 5.3, val loss 5.2\niter 100: loss 5.31, time 1300.1ms\n"
    "iter 150: loss 5.0, time 1300.1ms\nstep 200: train loss 4.3, val loss 4.2\n",
    "pipes": "step 100 | loss 5.2 | lr 1e-3\nstep 200 | loss 4.2 | lr 1e-3\n",
    "equals": "INFO:root:step=100 loss=5.2 lr=1e-3\nINFO:root:step=200 loss=4.2 lr=1e-3\n",
    "nanochat": "step 00100/05000 (2.0%) | loss: 5.2 | lrm: 1.0 | dt: 100ms | tok/sec: 1,234,567\n"
    "step 00200/05000 (4.0%) | loss: 4.2 | lrm: 1.0 | dt: 100ms | tok/sec: 1,234,567\n",
    "speedrun": "step:100/200 val_loss:5.2 train_time:12345ms step_avg:123ms\n"
    "step:200/200 val_loss:4.2 train_time:12345ms step_avg:123ms\n",
    "Megatron": " iteration      100/  500000 | consumed samples: 25600 | elapsed time per"
    " iteration (ms): 1234.5 | lm loss: 5.200E+00 | loss scale: 1.0 | number of skipped"
    " iterations: 0 |\n"
    " iteration      200/  500000 | consumed samples: 51200 | elapsed time per iteration (ms):"
    " 1234.5 | lm loss: 4.200E+00 | loss scale: 1.0 | number of skipped iterations: 0 |\n",
    "times": "2024-01-01 12:00:00,123 - train - INFO - Step 100: train_loss=5.3, val_loss=5.2\n"
    "2024-01-01 12:00:10,123 - train - INFO - Step 200: train_loss=4.3, val_loss=4.2\n",
    "JSON, words": 'Starting\n{"step": 100, "loss": 5.2}\nsaved\n{"step": 200, "loss": 4.2}\n',
    "colours": "\x1b[32mstep 100\x1b[0m loss 5.2\n\x1b[32mstep 200\x1b[0m loss 4.2\n",
    "restarted": "step 100 loss 5.2\nstep 200 loss 4.3\nresuming\nstep 200 loss 4.2\n",
    "below the state of a device": "+-----+-----+\n| GPU | Mem |\n|-----+-----|\n| 0   | 80G |\n"
    "+-----+-----+\n" + "".join(f"step {i}: loss {4.7 - i / 10:.1f}\n" for i in range(6)),
    "few of many": "".join(f"loading shard {i}\n" * 8 + f"step {i} loss 4.2\n" for i in range(5)),
}

MANY = {"few of many": 5, "below the state of a device": 6}


def write(folder: Path, text: str, name: str = "10M.log") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", ["10M.log", "10M.log.txt", "10M.txt", "10M.out", "10M.csv"])
@pytest.mark.parametrize("kind", [kind for kind in LOGS if kind not in MANY])
def test_a_log_is_a_curve(tmp_path: Path, kind: str, name: str) -> None:
    frame = read_curves(write(tmp_path, LOGS[kind], name))
    assert frame.select("run", "step", "loss").rows() == [("10M", 100, 5.2), ("10M", 200, 4.2)]


@pytest.mark.parametrize("kind", MANY)
def test_lines_with_a_loss_may_be_few(tmp_path: Path, kind: str) -> None:
    assert read_curves(write(tmp_path, LOGS[kind])).height == MANY[kind]


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_is_no_table_of_runs(tmp_path: Path, kind: str) -> None:
    words = r"10M.txt is a log of one run along training \(\d lines with .*loss.*first line is "
    with pytest.raises(TableError, match=words + r".*4\.2.*params, tokens and loss|" + words):
        read_runs(write(tmp_path, LOGS[kind], "10M.txt"))


def test_the_held_out_loss_is_the_loss(tmp_path: Path) -> None:
    hugging_face = (
        "{'loss': 3.3, 'learning_rate': 5e-05, 'epoch': 0.5}\n{'eval_loss': 3.2, 'epoch': 0.5}\n"
        "{'loss': 3.1, 'learning_rate': 5e-05, 'epoch': 1.0}\n{'eval_loss': nan, 'epoch': 1.0}\n"
    )
    losses = read_curves(write(tmp_path, hugging_face))["loss"].to_list()
    assert losses[0] == 3.2
    assert losses[1] != losses[1], "a run that diverged says so"


def test_epochs_do_without_steps(tmp_path: Path) -> None:
    text = "Epoch 1/2, Train Loss: 3.5, Val Loss: 3.4\nEpoch 2/2, Train Loss: 3.3, Val Loss: 3.2\n"
    assert read_curves(write(tmp_path, text))["loss"].to_list() == [3.4, 3.2]


def test_a_log_of_several_runs_is_refused(tmp_path: Path) -> None:
    text = "step 1 loss 3\nstep 2 loss 2.9\nstep 1 loss 3.1\nstep 2 loss 2.8\n"
    with pytest.raises(TableError, match="log of 2 runs: step 1 stands there after later ones"):
        read_curves(write(tmp_path, text))


def test_several_held_out_losses_are_refused(tmp_path: Path) -> None:
    text = "step 1 val loss 3 test loss 3.1\nstep 2 val loss 2.9 test loss 3\n"
    with pytest.raises(TableError, match=r"several losses \(val_loss, test_loss\)"):
        read_curves(write(tmp_path, text))


def test_logs_of_a_folder_are_runs(tmp_path: Path) -> None:
    for run in ("10M", "30M"):
        (tmp_path / run).mkdir()
        write(tmp_path / run, LOGS["pipes"], "train.log")
    assert read_curves(tmp_path)["run"].to_list() == ["10M", "10M", "30M", "30M"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "params,tokens,loss,note\n10M,1B,3.2,train loss 3.1\n30M,1B,3.0,train loss 2.9\n",
            "a.csv",
        ),
        ("params,tokens,loss\n10M,1B,3.2\n30M,1B,3.0\n", "a.log"),
        ("run,params,tokens,loss\nloss 1,10M,1B,3.2\nloss 2,30M,1B,3.0\n", "a.csv"),
    ],
)
def test_a_table_is_no_log(tmp_path: Path, text: str, name: str) -> None:
    assert read_runs(write(tmp_path, text, name)).frame["loss"].to_list() == [3.2, 3.0]


@pytest.mark.shared
def test_the_log_of_a_run(shared: Path) -> None:
    path = shared / "cases" / "H3-wide-tables" / "train.log.txt"
    assert read_curves(path)["loss"].to_list()[-1] == 4.0807, "held out, not of training"
    with pytest.raises(TableError, match="log of one run along training"):
        read_runs(path)

"""Charts of trackers: curves of runs, and no table of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scalelab.errors import TableError
from scalelab.table import read_curves, read_runs

HEADER = [
    *("Step", "10M - val/loss", "10M - val/loss__MIN", "10M - val/loss__MAX"),
    *("30M - val/loss", "30M - val/loss__MIN", "30M - val/loss__MAX"),
]
POINTS = ["500,5.2,5.2,5.2,5.0,5.0,5.0", "1000,4.7,4.7,4.7,,,", "1500,4.4,4.4,4.4,4.2,4.2,4.2"]
CHART = "\n".join([",".join(f'"{title}"' for title in HEADER), *POINTS]) + "\n"
SCALARS = "Wall time,Step,Value\n1700000000.1,100,5.2\n1700000010.1,200,4.2\n"


def write(folder: Path, text: str, name: str = "chart.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_chart_is_the_points_of_its_runs(tmp_path: Path) -> None:
    frame = read_curves(write(tmp_path, CHART))
    assert frame["run"].to_list() == ["10M"] * 3 + ["30M"] * 2
    assert frame["step"].to_list() == [500, 1000, 1500, 500, 1500]
    assert frame["loss"].to_list() == [5.2, 4.7, 4.4, 5.0, 4.2]
    assert set(frame.columns) == {"run", "step", "loss"}


def test_a_chart_is_no_table_of_runs(tmp_path: Path) -> None:
    words = (
        r"chart of 2 runs along training: val/loss of 10M, 30M against Step.*"
        r"columns run, params, tokens and loss.*10M 4.4, 30M 4.2.*--curves chart.csv"
    )
    with pytest.raises(TableError, match=words):
        read_runs(write(tmp_path, CHART))


def test_another_axis_keeps_the_steps(tmp_path: Path) -> None:
    text = "tokens,a - _step,a - _step__MIN,a - loss,a - loss__MIN\n1e9,500,500,5.2,5.2\n"
    frame = read_curves(write(tmp_path, text))
    assert frame.select("run", "step", "tokens", "loss").row(0) == ("a", 500, 1e9, 5.2)


def test_two_metrics_are_refused(tmp_path: Path) -> None:
    text = "Step,a - train/loss,a - val/loss\n500,5.2,5.3\n1000,4.2,4.3\n"
    with pytest.raises(TableError, match=r"train/loss and val/loss of a .* one metric"):
        read_curves(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "run"),
    [("run-10M-tag-val_loss.csv", "10M"), ("run-a-b-tag-loss_val.csv", "a-b"), ("x.csv", "x")],
)
def test_scalars_of_tensorboard_are_one_run(tmp_path: Path, name: str, run: str) -> None:
    path = write(tmp_path, SCALARS, name)
    frame = read_curves(path)
    assert frame.select("run", "step", "loss").rows() == [(run, 100, 5.2), (run, 200, 4.2)]
    with pytest.raises(TableError, match=r"is a TensorBoard chart: .* 2 steps, the last 4.2"):
        read_runs(path)


def test_scalars_as_json_are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([[1.7e9, 100, 5.2], [1.7e9, 200, 4.2]]), "10M.json")
    assert read_curves(path)["loss"].to_list() == [5.2, 4.2]
    with pytest.raises(TableError, match="TensorBoard chart"):
        read_runs(path)


def test_scalars_of_another_tag_are_no_loss(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="it has wall_time, step, lr, run"):
        read_curves(write(tmp_path, SCALARS, "run-10M-tag-lr.csv"))


def test_a_folder_of_scalars_has_its_runs(tmp_path: Path) -> None:
    for run in ("10M", "30M"):
        write(tmp_path, SCALARS, f"run-{run}-tag-val_loss.csv")
    assert read_curves(tmp_path)["run"].to_list() == ["10M", "10M", "30M", "30M"]


@pytest.mark.shared
def test_the_export_of_a_chart(shared: Path) -> None:
    path = shared / "cases" / "H3-wide-tables" / "wandb_chart.csv"
    assert read_curves(path).height == 20
    with pytest.raises(TableError, match="chart of 2 runs along training"):
        read_runs(path)

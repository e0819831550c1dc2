"""Points along training, rows that are no runs, folders of files: what a row of a table is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest

from scalelab.errors import TableError
from scalelab.table import read_runs

CURVES = pl.DataFrame(
    {
        "run": ["a", "a", "a", "b", "b", "b"],
        "step": [1, 2, 3, 1, 2, 3],
        "N": [1e6] * 3 + [2e6] * 3,
        "tokens": [1e7, 2e7, 3e7] * 2,
        "loss": [4.0, 3.5, 3.2, 3.9, 3.4, 3.1],
    }
)


def test_points_along_training_are_refused_until_the_last_are_asked_for() -> None:
    for drop_bad in (False, True):  # which would keep the first of each run
        with pytest.raises(TableError, match=r"6 rows are of 2 runs .* --last"):
            read_runs(CURVES, drop_bad=drop_bad)
    table = read_runs(CURVES.sample(fraction=1, shuffle=True, seed=1), last=True)
    found = dict(table.frame.select("run", "loss").iter_rows())
    assert found == {"a": 3.2, "b": 3.1}
    assert "last-rows: 4 earlier points" in table.summary()


def test_the_last_row_is_the_last_with_a_loss_and_a_nan_is_one() -> None:
    holes = CURVES.with_columns(pl.Series("loss", [4.0, 3.5, None, 3.9, 3.4, 3.1]))
    assert read_runs(holes, last=True).frame["loss"].to_list() == [3.5, 3.1]
    broken = CURVES.with_columns(pl.Series("loss", [4.0, 3.5, math.nan, 3.9, 3.4, 3.1]))
    with pytest.raises(TableError, match=r"row 3, column loss is nan"):
        read_runs(broken, last=True)


@pytest.mark.parametrize("steps", ["200 900 1000 1100", "200 900 1,000 1,100", "9 10 99 100"])
def test_steps_of_a_text_file_are_compared_as_numbers(tmp_path: Path, steps: str) -> None:
    path = tmp_path / "log.tsv"
    rows = [
        f"{run}\t{step}\t1e6\t2e7\t{4 - i / 10}"
        for run in "ab"
        for i, step in enumerate(steps.split())
    ]
    path.write_text("\n".join(["run\tstep\tN\tD\tloss", *rows]))
    assert read_runs(path, last=True).frame["loss"].to_list() == [3.7, 3.7]


def test_last_needs_to_know_the_runs() -> None:
    with pytest.raises(TableError, match="no column says which rows are of one run"):
        read_runs(CURVES.drop("run"), last=True)


def test_the_same_row_twice_is_no_curve() -> None:
    with pytest.raises(TableError, match=r"row 2, column run is 'a': .* ids are unique"):
        read_runs(pl.concat([CURVES.head(1)] * 2))


# --- rows that sum up others --------------------------------------------------------------------

TEXT = "model,N,D,loss\nm1,1e6,2e7,3.5\nm2,2e6,2e7,3.2\nm3,4e6,5e7,3.0\n"


@pytest.mark.parametrize("word", ["mean", " Average ", "STD", "Total", "median"])
def test_a_row_that_sums_up_others_is_no_run(tmp_path: Path, word: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{TEXT}{word},2e6,3e7,3.2\n")
    with pytest.raises(TableError, match=r"row 4, column model is .*: a summary of other rows"):
        read_runs(path)
    assert read_runs(path, drop_bad=True).frame.height == 3


def test_the_mean_of_all_rows_is_no_run_though_it_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{TEXT},2.333333e6,3e7,3.23333\n")
    with pytest.raises(TableError, match="row 4: the mean of the rows above"):
        read_runs(path)


def test_a_setting_called_mean_is_no_summary() -> None:
    runs = {"N": [1e6, 2e6, 4e6, 8e6], "D": [2e7] * 4, "loss": [3.5, 3.2, 3.0, 2.9]}
    for pooling in (["cls", "cls", "mean", "mean"], ["mean", "cls", "max", "first"], ["mean"] * 4):
        assert read_runs({**runs, "pooling": pooling}).frame.height == 4


# --- folders ------------------------------------------------------------------------------------


def test_a_folder_of_files_with_a_run_each_is_a_table(tmp_path: Path) -> None:
    rows = [{"N": 10.0**k, "D": 10.0 ** (k + 1), "loss": 9.0 - k} for k in (6, 7, 8)]
    for k, row in enumerate(rows):
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / f"r{k}.json").write_text(json.dumps(row))
        (tmp_path / "deep" / f"r{k}").mkdir(parents=True)
        (tmp_path / "deep" / f"r{k}" / "result.json").write_text(json.dumps(row))
    for source in ("flat", "deep", "deep/*/result.json"):
        frame = read_runs(tmp_path / source).frame
        assert frame["run"].to_list() == ["r0", "r1", "r2"]
        assert frame["loss"].to_list() == [3.0, 2.0, 1.0]
    (tmp_path / "deep" / "r1" / "result.json").write_text('{"N": 1e7, "D": 1e8, "loss": "OOM"}')
    with pytest.raises(TableError, match=r"^r1/result.json row 1, column loss is 'OOM'"):
        read_runs(tmp_path / "deep")


def test_a_folder_of_curves_is_read_by_its_last_rows(tmp_path: Path) -> None:
    for name, part in zip("ab", (CURVES.head(3), CURVES.tail(3)), strict=True):
        part.drop("run").write_csv(tmp_path / f"{name}.csv")
    with pytest.raises(TableError, match="--last"):
        read_runs(tmp_path)
    assert read_runs(tmp_path, last=True).frame["loss"].to_list() == [3.2, 3.1]


def test_folders_that_are_no_table_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is a folder without runs\.csv; give a table"):
        read_runs(tmp_path)
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(TableError, match=r"files of \.csv, \.json"):
        read_runs(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(TableError, match="has not finished"):
        read_runs(tmp_path)
    with pytest.raises(TableError, match="no file has a name of that pattern"):
        read_runs(tmp_path / "*.tsv")


def test_selected_rows_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("set,N,D,loss\nx,1e6,2e7,3\ny,2e6,3e7,x\ny,4e6,5e7,3.1\ny,5e6,5e7,3\n")
    with pytest.raises(TableError, match=r"row 2, column loss is 'x'"):
        read_runs(path, where={"set": "y"})

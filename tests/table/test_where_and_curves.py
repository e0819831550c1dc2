"""Rows chosen by value, tables without a loss, and learning curves from anybody's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.table import read_curves, read_runs

RUNS = {
    "id": ["a", "b", "c", "d"],
    "split": ["train", "val", " train ", None],
    "budget": ["1e18", "1000000000000000000", "2e18", "1e18"],
    "N": [1e6, 2e6, 4e6, 8e6],
    "D": [2e7, 2e7, 4e7, 4e7],
    "loss": [3.5, 3.2, 3.0, 2.9],
}


def ids(where: dict[str, str], runs: dict[str, list[Any]] = RUNS) -> list[str]:
    return read_runs(runs, where=where).frame["run"].to_list()


# --- where ------------------------------------------------------------------------------------


def test_rows_are_chosen_by_text_and_blanks_around_it_do_not_count() -> None:
    assert ids({"split": "train"}) == ["a", "c"]
    assert ids({"split": "val"}) == ["b"]


def test_numbers_are_equal_however_they_are_written(tmp_path: Path) -> None:
    for value in ("1e18", "1000000000000000000", "1.0e+18"):
        assert ids({"budget": value}) == ["a", "b", "d"]
    for value in ("2000000", "2e6", "2000000.0"):
        assert ids({"N": value}) == ["b"]
    path = tmp_path / "runs.csv"
    pl.DataFrame(RUNS).write_csv(path)
    assert read_runs(path, where={"N": "2e6"}).frame["run"].to_list() == ["b"]


def test_all_conditions_must_hold() -> None:
    assert ids({"split": "train", "budget": "1e18"}) == ["a"]
    with pytest.raises(TableError, match="no row has budget = 2e18; there are 1000"):
        ids({"split": "val", "budget": "2e18"})


def test_a_row_without_a_value_is_never_chosen() -> None:
    assert "d" not in ids({"split": "train"})
    for word in ("null", "None", ""):
        with pytest.raises(TableError, match="no row has split"):
            ids({"split": word})


def test_text_that_looks_like_a_number_is_compared_as_text_too() -> None:
    runs = {**RUNS, "version": ["v1", "1", "01", "nan"]}
    assert ids({"version": "v1"}, runs) == ["a"]
    assert ids({"version": "1"}, runs) == ["b", "c"]
    assert ids({"version": "nan"}, runs) == ["d"]


@given(st.lists(st.sampled_from(["x", "y", "z"]), min_size=4, max_size=4), st.sampled_from("xyz"))
def test_choosing_is_filtering(labels: list[str], wanted: str) -> None:
    expected = [name for name, label in zip("abcd", labels, strict=True) if label == wanted]
    if not expected:
        with pytest.raises(TableError, match=f"no row has label = {wanted}"):
            ids({"label": wanted}, {**RUNS, "label": labels})
        return
    assert ids({"label": wanted}, {**RUNS, "label": labels}) == expected


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(TableError, match="no column 'splits' to select rows by; it has id, split,"):
        ids({"splits": "train"})


def test_what_is_chosen_is_all_that_is_checked_and_mapped() -> None:
    """A fault in another configuration of the file is none of this one's."""
    runs = {**RUNS, "loss": [3.5, float("nan"), 3.0, 2.9], "N": [1e6, -5.0, 4e6, 8e6]}
    with pytest.raises(TableError, match="row 2"):
        read_runs(runs)
    table = read_runs(runs, where={"split": "train"})
    assert table.finished.height == 2
    assert table.mapping == {"run": "id", "params": "N", "tokens": "D", "loss": "loss"}


# --- a table of optima ------------------------------------------------------------------------


def test_a_table_without_a_loss_is_read_only_where_none_is_needed() -> None:
    optima = {"flops": [1e18, 1e19], "params": [1e7, 4e7], "std": ["0.1", "0.2"]}
    with pytest.raises(TableError, match="no column for held-out loss"):
        read_runs(optima)
    table = read_runs(optima, needs=("params", "tokens", "flops"))
    assert "loss" not in table.frame.columns
    assert table.finished.height == 2
    assert table.frame["tokens"].to_list() == pytest.approx([1e18 / 6e7, 1e19 / 24e7])
    assert table.frame["std"].to_list() == [0.1, 0.2]
    assert "loss" not in table.mapping


def test_a_loss_that_is_there_is_read_and_checked_only_where_it_is_needed() -> None:
    optima = {"flops": [1e18, 1e19], "params": [1e7, 4e7], "loss": [3.0, -1.0]}
    needs = ("params", "tokens", "flops")
    assert read_runs(optima, needs=needs).frame["loss"].to_list() == [3.0, -1.0]
    with pytest.raises(TableError, match="loss is -1"):
        read_runs(optima, needs=(*needs, "loss"))


# --- learning curves --------------------------------------------------------------------------

CURVES = {
    "run": ["a", "a", "b", "b"],
    "step": [10, 20, 10, 20],
    "n_tokens": [1e6, 2e6, 1e6, 2e6],
    "compute": [6e12, 12e12, 12e12, 24e12],
    "val_loss": [4.0, 3.5, 3.9, 3.2],
}


def test_columns_are_taken_by_the_names_the_field_uses() -> None:
    frame = read_curves({**CURVES, "memory": [1, 2, 3, 4]})
    assert set(frame.columns) == {"run", "step", "tokens", "flops", "loss", "memory"}
    for name, source in (("tokens", "n_tokens"), ("flops", "compute"), ("loss", "val_loss")):
        assert frame[name].dtype == pl.Float64
        assert frame[name].to_list() == CURVES[source]
    assert frame["run"].to_list() == CURVES["run"]


def test_sizes_come_from_the_curves_or_from_the_runs() -> None:
    runs = read_runs(RUNS).frame
    joined = read_curves(CURVES, runs)
    assert joined["params"].to_list() == [1e6, 1e6, 2e6, 2e6]
    assert joined["loss"].to_list() == CURVES["val_loss"]
    own = read_curves({**CURVES, "N": [5e6, 5e6, 6e6, 6e6]}, runs)
    assert own["params"].to_list() == [5e6, 5e6, 6e6, 6e6]
    assert "params" not in read_curves(CURVES).columns


def test_the_curve_of_a_trunk_has_the_size_of_its_branches() -> None:
    runs = {**RUNS, "trunk": ["t1", "t1", "t2", "t2"], "N": [1e6, 1e6, 4e6, 4e6]}
    curves = {**CURVES, "run": ["t1", "t1", "t2", "c"]}
    frame = read_curves(curves, read_runs(runs).frame)
    assert frame["params"].to_list() == [1e6, 1e6, 4e6, 4e6]
    assert len(frame) == 4, "a trunk of several branches stands once"


def test_a_curve_of_no_known_run_has_no_size() -> None:
    frame = read_curves({**CURVES, "run": ["a", "a", "x", "x"]}, read_runs(RUNS).frame)
    assert frame["params"].to_list() == [1e6, 1e6, None, None]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_curves_are_read_from_files(tmp_path: Path, suffix: str) -> None:
    path, frame = tmp_path / f"curves.{suffix}", pl.DataFrame(CURVES)
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dicts()))
    else:
        frame.write_parquet(path)
    found = read_curves(path)
    assert found["loss"].to_list() == CURVES["val_loss"]
    assert found["flops"].to_list() == CURVES["compute"]


@pytest.mark.parametrize("gone", ["run", "val_loss"])
def test_curves_without_a_run_or_a_loss_are_refused(gone: str) -> None:
    part = {name: cells for name, cells in CURVES.items() if name != gone}
    with pytest.raises(TableError, match="curves need the columns run and loss; it has"):
        read_curves(part)


def test_a_curve_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"curves\.csv: cannot be read"):
        read_curves(tmp_path / "curves.csv")


def test_the_schema_s_own_name_comes_before_others() -> None:
    frame = read_curves(
        {**CURVES, "tokens": [1e6, 2e6, 3e6, 4e6], "n_tokens": [1e6, 2e6, 3e6, 5e6]}
    )
    assert frame["tokens"].to_list() == [1e6, 2e6, 3e6, 4e6]
    assert frame["n_tokens"].to_list() == [1e6, 2e6, 3e6, 5e6]


def test_a_loss_beside_one_held_out_is_not_taken_unsaid() -> None:
    """Along training the one called loss is mostly that of the training batch."""
    own = CURVES["val_loss"]
    with pytest.raises(TableError, match=r"val_loss, loss could each be loss .* Rename those"):
        read_curves({**CURVES, "loss": [3.0] * 4})
    assert read_curves({**CURVES, "loss": own})["loss"].to_list() == own
    empty = read_curves({**CURVES, "loss": [None] * 4})
    assert empty["loss"].to_list() == own
    assert empty["source.loss"].null_count() == 4
    with pytest.raises(TableError, match=r"n_tokens, tokens_seen could each be tokens"):
        read_curves({**CURVES, "tokens_seen": [1.0] * 4})


@pytest.mark.parametrize("value", ["0", "-0.5", "-inf"])
def test_a_loss_of_a_curve_that_cannot_be_is_named(value: str) -> None:
    with pytest.raises(TableError, match=f"row 2, column val_loss is '{value}': loss must be pos"):
        read_curves({**CURVES, "val_loss": ["4.0", value, "3.9", "3.2"]})
    diverged = read_curves({**CURVES, "val_loss": ["4.0", "nan", "3.9", "inf"]})["loss"]
    assert diverged.is_finite().to_list() == [True, False, True, False]


def test_a_cell_of_a_curve_that_is_no_number_is_named() -> None:
    with pytest.raises(TableError, match="the table row 2, column val_loss is 'oom'"):
        read_curves({**CURVES, "val_loss": ["4.0", "oom", "3.9", "3.2"]})
    packed = read_curves({**CURVES, "n_tokens": ["1M", "2M", "1M", "2M"]})
    assert packed["tokens"].to_list() == CURVES["n_tokens"]

"""Wide tables: a row for each run where one reading is possible, else named as such."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from scalelab.errors import TableError
from scalelab.table import RunTable, read_curves, read_runs

CELLS = "30M,3.402,3.301\n60M,3.371,3.233\n120M,,3.212\n"


def read(folder: Path, header: str, cells: str = CELLS, name: str = "grid.csv") -> RunTable:
    path = folder / name
    path.write_text(f"{header}\n{cells}")
    return read_runs(path)


@pytest.mark.parametrize(
    ("header", "kind", "amounts"),
    [
        ("params,1e18,3e18", "flops", (1e18, 3e18)),
        ("N,1.0E+18,3.0E+18", "flops", (1e18, 3e18)),
        ("N,10^18,3x10^18", "flops", (1e18, 3e18)),
        ("model size,1e18 FLOPs,3e18 FLOPs", "flops", (1e18, 3e18)),
        ("N,C=1e18,C=3e18", "flops", (1e18, 3e18)),
        ("params,loss@1e18,loss@3e18", "flops", (1e18, 3e18)),
        ("N \\ C,1e18,3e18", "flops", (1e18, 3e18)),
        ("params,1B,3B", "tokens", (1e9, 3e9)),
        ("params,1B tokens,3B tokens", "tokens", (1e9, 3e9)),
        ("params,D=1e9,D=3e9", "tokens", (1e9, 3e9)),
        ("n_params,1000000000,3000000000", "tokens", (1e9, 3e9)),
    ],
)
def test_budgets_as_headers_are_rows(
    tmp_path: Path, header: str, kind: str, amounts: tuple[float, float]
) -> None:
    table = read(tmp_path, header)
    frame = table.frame.sort(kind, "params")
    assert frame[kind].to_list() == [amounts[0]] * 2 + [amounts[1]] * 3
    assert frame["params"].to_list() == [3e7, 6e7, 3e7, 6e7, 1.2e8]
    assert frame["loss"].to_list() == [3.402, 3.371, 3.301, 3.233, 3.212]
    assert frame["run"].n_unique() == 5, "runs of one row are different runs"
    told = next(notice.message for notice in table.notices if notice.code == "wide-table")
    assert "5 runs, 1 empty" in told


def test_rows_may_be_budgets_and_headers_sizes(tmp_path: Path) -> None:
    table = read(tmp_path, "flops,30M,60M", "1e18,3.4,3.3\n3e18,3.3,3.2\n")
    assert table.frame["params"].to_list() == [3e7, 3e7, 6e7, 6e7]
    assert table.frame["flops"].to_list() == [1e18, 3e18] * 2


def test_units_of_the_rows_count(tmp_path: Path) -> None:
    table = read(tmp_path, "params (M),1e18,3e18", "30,3.4,3.3\n60,3.3,3.2\n")
    assert table.frame["params"].to_list() == [3e7, 6e7] * 2


def test_a_pivot_is_a_wide_table_too() -> None:
    frame = pl.DataFrame({"params": [3e7, 6e7], "1e+18": [3.4, 3.3], "3e+18": [3.3, 3.2]})
    assert read_runs(frame).frame["loss"].to_list() == [3.4, 3.3, 3.3, 3.2]


def test_markdown_may_be_wide(tmp_path: Path) -> None:
    text = "| params | 1e18 | 3e18 |\n|---|---|---|\n|30M|3.4|**3.3**|\n|60M|**3.3**|3.4|\n"
    (tmp_path / "grid.md").write_text(text)
    assert read_runs(tmp_path / "grid.md").frame["loss"].to_list() == [3.4, 3.3, 3.3, 3.4]


@pytest.mark.parametrize(
    ("header", "cells", "words"),
    [
        (",1e18,3e18", CELLS, "none of its other columns"),
        ("model,1e18,3e18", "a,3.4,3.3\nb,3.3,3.2\n", r"frame.unpivot\(index=\['model'\]"),
        ("params,1e18,3e18", "30M,34.5,44.1\n60M,40.1,50.2\n", "do not look like losses"),
        ("params,1e18,3e9", CELLS, "whether the headers are N, D or C is not clear"),
        ("params,tokens,1e18,3e18", "30M,1B,3.4,3.3\n", "is not clear"),
        ("params,tokens,0,1", "30M,1B,3.4,3.3\n60M,1B,3.3,3.2\n", r"var_name='seed'"),
        ("params,tokens,seed 0,seed 1", "30M,1B,3.4,3.3\n", r"variable_name='seed'"),
    ],
)  # fmt: skip
def test_what_has_no_one_reading_is_named(
    tmp_path: Path, header: str, cells: str, words: str
) -> None:
    with pytest.raises(TableError, match=rf"^grid.csv is a wide table.*{words}|{words}"):
        read(tmp_path, header, cells)


def test_a_table_with_a_loss_is_not_wide(tmp_path: Path) -> None:
    table = read(tmp_path, "params,tokens,loss,1e18,3e18", "30M,1B,3.2,1,2\n60M,1B,3.1,1,2\n")
    assert table.frame["loss"].to_list() == [3.2, 3.1]


def test_a_column_for_each_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("step,10M,30M\n100,5.2,5.0\n200,4.2,4.0\n")
    for reader in (read_curves, read_runs):
        with pytest.raises(TableError, match=r"wide table of curves.*unpivot\(index=\['step'\]"):
            reader(path)


@pytest.mark.shared
def test_the_matrix_of_a_report(shared: Path) -> None:
    table = read_runs(shared / "cases" / "H3-wide-tables" / "isoflop_matrix.csv")
    assert table.frame.height == 14
    assert table.frame.filter(pl.col("flops") == 1e19)["loss"].min() == 3.069

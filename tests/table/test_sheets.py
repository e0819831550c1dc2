"""What frames and spreadsheets leave in a file: indexes, units, merged cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs

ROWS = ["10M,1B,3.2", "30M,1B,3.0", "100M,1B,2.9"]


def read(
    folder: Path, first: str, firsts: list[str], header: str = "params,tokens,loss"
) -> RunTable:
    path = folder / "runs.csv"
    rows = [f"{cell},{row}" for cell, row in zip(firsts, ROWS, strict=True)]
    path.write_text("\n".join([f"{first},{header}", *rows]) + "\n")
    return read_runs(path)


def codes(table: RunTable) -> set[str]:
    return {notice.code for notice in table.notices} - {"derived-column"}


@pytest.mark.parametrize("title", ["", "Unnamed: 0", '""', "__index_level_0__"])
@pytest.mark.parametrize("cells", ["012", "123", "749", "001"])
def test_row_numbers_are_no_column(tmp_path: Path, title: str, cells: str) -> None:
    table = read(tmp_path, title, list(cells))
    assert table.frame["run"].to_list() == ["row-1", "row-2", "row-3"]
    assert set(table.frame.columns) == {"run", "status", "params", "tokens", "flops", "loss"}
    assert codes(table) == {"index-dropped"}


def test_an_index_written_twice_goes_twice(tmp_path: Path) -> None:
    table = read(tmp_path, "Unnamed: 0.1,Unnamed: 0", ["0,0", "1,1", "2,2"])
    assert "Unnamed: 0" not in table.frame.columns


def test_words_without_a_name_are_ids(tmp_path: Path) -> None:
    table = read(tmp_path, "", ["a", "b", "c"])
    assert table.frame["run"].to_list() == ["a", "b", "c"]
    assert codes(table) == {"index-as-run"}
    again = read(tmp_path, "", ["a", "a", "b"])
    assert again.frame["run"].to_list() == ["row-1", "row-2", "row-3"]
    beside = read(tmp_path, ",run", ["a,x", "b,y", "c,z"])
    assert beside.frame["run"].to_list() == ["x", "y", "z"]


def test_large_integers_are_no_row_numbers(tmp_path: Path) -> None:
    table = read(tmp_path, "", ["10000000", "30000000", "100000000"])
    assert codes(table) == set()
    assert table.frame["column (1)"].to_list() == [1e7, 3e7, 1e8]


def test_a_column_that_has_a_name_stays(tmp_path: Path) -> None:
    assert read(tmp_path, "seed", ["0", "1", "2"]).frame["seed"].to_list() == [0, 1, 2]


@pytest.mark.parametrize(
    "units", ["(M),(B),(nats)", "M,B,nats/token", "[M],[B],", "million,billion,"]
)
def test_units_below_the_header_are_read(tmp_path: Path, units: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"model,params,tokens,loss\n,{units}\na,10,1,3.2\nb,30,1,3.0\n")
    table = read_runs(path)
    assert table.frame["params"].to_list() == [1e7, 3e7]
    assert table.frame["tokens"].to_list() == [1e9, 1e9]
    assert codes(table) == {"units-row"}


def test_words_that_are_cells_are_no_units(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("size,params,tokens,loss\ns,10M,1B,3.2\nm,30M,1B,3.0\n")
    assert read_runs(path).frame.height == 2


MERGED = "flops,params,loss\n1e18,30M,3.4\n,60M,3.37\n,120M,3.38\n3e18,30M,3.3\n,60M,3.23\n"


def test_merged_cells_have_the_value_above(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(MERGED)
    table = read_runs(path)
    assert table.frame["flops"].to_list() == [1e18] * 3 + [3e18] * 2
    assert "merged-cells" in codes(table)


@pytest.mark.parametrize(
    "text",
    [
        MERGED.replace("\n,60M,3.37", "\n1e18,60M,3.37"),  # a value twice: a cell is missing
        MERGED.replace("\n1e18", "\n"),  # none above the first
        MERGED.replace("3e18,30M,3.3\n,60M,3.23\n", "3e18,30M,3.3\n"),  # one with none below it
    ],
)
def test_a_cell_that_is_missing_is_not_filled(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(TableError, match="column flops: the cell is empty"):
        read_runs(path)


@pytest.mark.parametrize("corner", ["", "run", "name"])
def test_a_table_on_its_side_is_named(tmp_path: Path, corner: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{corner},a,b,c\nparams,10M,30M,1e8\ntokens,1B,1B,1B\nloss,3.2,3.1,3.0\n")
    with pytest.raises(TableError, match="lies on its side: params, tokens, loss"):
        read_runs(path)

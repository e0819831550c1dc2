"""The user's own columns: one frame and one fit, whatever the file format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.fitting import fit
from scalelab.laws import custom_law
from scalelab.table import read_runs

RUNS = {
    "run": [f"r{i}" for i in range(12)],
    "N": [10 ** (6 + i % 3) for i in range(12)],
    "D": [10 ** (8 + i // 3 % 2) * (1 + i % 4) for i in range(12)],
    "loss": [2.0 + 400 / (10 ** (6 + i % 3)) ** 0.34 + 0.1 * (i % 5) for i in range(12)],
}


class ArrowOnly:
    """A foreign frame: nothing but the Arrow stream interface."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


class PandasLike:
    """A pandas frame without pyarrow: numbers with a hole are floats, and the hole is NaN."""

    def __init__(self, table: dict[str, list[Any]]) -> None:
        self._table, self.columns = table, list(table)

    def __getitem__(self, name: str) -> PandasColumn:
        return PandasColumn(self._table[name])


class PandasColumn:
    def __init__(self, cells: list[Any]) -> None:
        numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells if c)
        holes = numbers and None in cells
        self._cells = [math.nan if c is None else float(c) for c in cells] if holes else cells

    def tolist(self) -> list[Any]:
        return self._cells


def sources(folder: Path, table: dict[str, list[Any]]) -> dict[str, object]:
    """The same rows in every format that is read."""
    rows = [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]
    frame = pl.DataFrame(table)
    for suffix, mark in ((".csv", ","), (".tsv", "\t"), (".txt", ";")):
        lines = [list(table)] + [["" if c is None else str(c) for c in r.values()] for r in rows]
        (folder / f"runs{suffix}").write_text("\n".join(map(mark.join, lines)) + "\n")
    (folder / "runs.json").write_text(json.dumps(rows))
    (folder / "columns.json").write_text(json.dumps(table))
    (folder / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "nan.jsonl").write_text("\n".join([*map(json.dumps, rows), '{"loss": NaN}']))
    frame.write_parquet(folder / "runs.parquet")
    frame.write_ipc(folder / "runs.arrow")
    files = {file.name: file for file in folder.iterdir() if file.name != "nan.jsonl"}
    return {
        **files,
        "polars": frame,
        "arrow": ArrowOnly(frame),
        "pandas": PandasLike(table),
        "columns": table,
        "rows": rows,
    }


_whole = st.integers(-(10**6), 10**15)
_real = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30)
_word = st.sampled_from(["small", "wide", "7B-chat", "2020-01-01", "x", "mean of two"])
_cells = [
    st.lists(st.one_of(st.none(), kind), min_size=12, max_size=12)
    for kind in (_whole, _real, st.booleans(), _word, st.sampled_from(["1M", "2e9", "1,000"]))
]


@settings(max_examples=15)
@given(data=st.data())
def test_every_format_gives_one_frame(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    # A separator in a cell would need quotes, which test_delimited is about.
    own = {f"own_{i}": data.draw(cells) for i, cells in enumerate(_cells)}
    own["own_4"] = [c and c.replace(",", "") for c in own["own_4"]]
    table = RUNS | own
    read = {name: read_runs(source) for name, source in sources(folder, table).items()}
    first = read["rows"].frame
    assert first.schema["own_0"] == first.schema["own_1"] == first.schema["own_4"] == pl.Float64
    for name, one in read.items():
        assert one.frame.equals(first, null_equal=True), name
        assert one.frame.schema == first.schema, name


@settings(max_examples=3)
@given(experts=st.lists(st.integers(3, 64), min_size=10, max_size=10))
def test_every_format_gives_one_fit(
    tmp_path_factory: pytest.TempPathFactory, experts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    table = {**RUNS, "experts": [1, 2, *experts]}
    law = custom_law("E + A / N^alpha + c * experts", inputs=["experts"])
    assert law.inputs == ("params", "experts")
    fits = {
        name: fit(law, read_runs(source).frame, draws=100).theta.tobytes()
        for name, source in sources(folder, table).items()
        if name in ("runs.csv", "runs.jsonl", "runs.parquet", "pandas")
    }
    assert len(fits) == 4
    assert len(set(fits.values())) == 1


def test_numbers_as_people_write_them_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "N;D;loss;share;count;flag;words\n"
        "1e6;2e7;3,5;0,25;1.000.000;True;a\n"
        "2e6;2e7;3,2;0,5;NA;false;b\n"
        "4e6;4e7;3,0;--;2M;;c\n"
    )
    table = read_runs(path)
    assert table.frame["share"].to_list() == [0.25, 0.5, None]
    assert table.frame["count"].to_list() == [1e6, None, 2e6]
    assert table.frame["flag"].to_list() == [True, False, None]
    assert table.frame["words"].to_list() == ["a", "b", "c"]


def test_own_columns_alone_show_that_commas_are_decimal() -> None:
    table = read_runs({"position": ["1,5", "2,25"], "loss": [3.0, 2.0]}, needs=["position", "loss"])
    assert table.frame["position"].to_list() == [1.5, 2.25]


def test_lists_of_numbers_are_lists_in_a_csv_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('N,D,loss,rates\n1e6,2e7,3,"[1, 0.5]"\n2e6,2e7,2,[2]\n')
    (tmp_path / "a.json").write_text(
        '[{"N":1e6,"D":2e7,"loss":3,"rates":[1,0.5]},{"N":2e6,"D":2e7,"loss":2,"rates":[2]}]'
    )
    csv, documents = (read_runs(tmp_path / name).frame for name in ("a.csv", "a.json"))
    assert csv["rates"].to_list() == documents["rates"].to_list() == [[1.0, 0.5], [2.0]]
    assert csv.schema == documents.schema


def test_nearly_numbers_are_text_and_the_first_bad_cell_is_named() -> None:
    table = read_runs({**RUNS, "experts": ["1", "2", "many", *"345678123"]})
    assert table.frame.schema["experts"] == pl.String
    told = [notice.message for notice in table.notices if notice.code == "own-column-not-numbers"]
    assert len(told) == 1
    assert "column experts" in told[0]
    assert "'many' in the table row 3" in told[0]
    # Mostly words are words, and nothing is said.
    words = read_runs({**RUNS, "set": ["1", *["many"] * 11]})
    assert "own-column-not-numbers" not in {notice.code for notice in words.notices}


def test_a_needed_column_of_the_users_own_must_be_numbers() -> None:
    runs = {**RUNS, "experts": ["1", "2", "many", *"345678123"]}
    needs = ["params", "experts", "loss"]
    with pytest.raises(TableError, match="row 3, column experts is 'many': expected a number"):
        read_runs(runs, needs=needs)
    table = read_runs(runs, needs=needs, drop_bad=True)
    assert table.frame["experts"].to_list()[:3] == [1.0, 2.0, 3.0]
    assert table.frame.height == 11
    with pytest.raises(TableError, match="row 1, column set is 'a': expected numbers"):
        read_runs({**RUNS, "set": ["a"] * 12}, needs=["set", "loss"])
    with pytest.raises(TableError, match="row 2, column x: the cell is empty"):
        read_runs({**RUNS, "x": [1.0, None, *[2.0] * 10]}, needs=["x", "loss"])
    with pytest.raises(TableError, match="row 2, column x is inf: not a finite number"):
        read_runs({**RUNS, "x": [1.0, math.inf, *[2.0] * 10]}, needs=["x", "loss"])


def test_own_columns_may_be_zero_or_negative_and_flags_are_numbers() -> None:
    runs = {**RUNS, "shift": [-1.0, 0.0] * 6, "moe": ["true", "false"] * 6}
    frame = read_runs(runs, needs=["shift", "moe", "loss"]).frame
    assert frame["shift"].to_list()[:2] == [-1.0, 0.0]
    assert frame["moe"].to_list()[:2] == [1.0, 0.0]

"""Broken and hostile tables: columns of five kinds, or one clear error, in bounded time."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab.errors import TableError
from scalelab.table import files, read_curves, read_runs
from scalelab.table.documents import DEEPEST
from scalelab.table.raw import MOST_COLUMNS, distinct
from scalelab.table.settle import LONGEST_CELL, settled

RUNS = {"run": ["a", "b", "c"], "N": [1e6, 2e6, 4e6], "D": [2e7, 3e7, 4e7], "loss": [3.5, 3.2, 3.0]}


def beside(cells: pl.Series) -> pl.DataFrame:
    return pl.DataFrame(RUNS).with_columns(cells.alias("x"))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pl.Series([1, 2, 3], dtype=pl.UInt8), pl.Int64),
        (pl.Series([2**63, 2, 3], dtype=pl.UInt64), pl.Float64),
        (pl.Series([10**25, 2, 3], dtype=pl.Int128), pl.Float64),
        (pl.Series([1.0, None, 3.0], dtype=pl.Float32), pl.Float64),
        (pl.Series([decimal.Decimal("1.5")] * 3), pl.Float64),
        (pl.Series(["1M", "a", None], dtype=pl.Categorical), pl.String),
        (pl.Series(["1M"] * 3, dtype=pl.Enum(["1M"])), pl.String),
        (pl.Series([datetime.date(2020, 1, 1)] * 3), pl.String),
        (pl.Series([datetime.datetime(2020, 1, 1)] * 3), pl.String),
        (pl.Series([datetime.time(1, 2)] * 3), pl.String),
        (pl.Series([None] * 3), pl.String),
        (pl.Series([True, None, False]), pl.Boolean),
        (pl.Series([[1, 2], [3], None]), pl.List(pl.Float64)),
        (pl.Series([[1.0, 2.0]] * 3, dtype=pl.Array(pl.Float64, 2)), pl.List(pl.Float64)),
        (pl.Series([["a", "b"]] * 3), pl.String),
        (pl.Series([datetime.timedelta(1)] * 3), None),
        (pl.Series([b"\xff\x00"] * 3), None),
        (pl.Series([object()] * 3, dtype=pl.Object), None),
        (pl.Series([[[1.0]]] * 3), None),
        (pl.Series([[{"a": [1]}]] * 3), None),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_every_type_becomes_one_of_five_or_is_told(
    cells: pl.Series, kind: pl.DataType | None
) -> None:
    frame, notices = settled("t", beside(cells))
    assert frame.schema.get("x") == kind
    assert [notice.code for notice in notices] == ([] if kind else ["columns-left-out"])
    for name in ("x", "params", "loss", "status", "held_out", "seed", "step", "loss.x", "trunk"):
        try:  # under whatever name
            read_runs(beside(cells).rename({"x": name}) if name != "loss" else beside(cells))
        except TableError:
            continue  # one clear error is right, any other error fails the test


def test_a_name_of_the_schema_is_that_of_its_column_alone() -> None:
    table = read_runs(
        {**RUNS, "held_out": [[1.0]] * 3, "seed": ["x", "y", "z"], "steps": ["?"] * 3}
    )
    assert {"held_out", "seed", "steps"}.isdisjoint(table.frame.columns)
    assert table.frame["source.seed"].to_list() == ["x", "y", "z"]


def test_titles_are_told_apart_and_hide_nothing() -> None:
    assert distinct(["a", "a", "a (2)", "\0row"]) == ["a", "a (2)", "a (2) (3)", "\ufffdrow"]
    rows = [{"N": 1e6, "D": 2e7, "loss": 3.0, "\0row": 7, "a": {"b": 1}, "a.b": 2}]
    frame = read_runs(rows).frame
    assert frame["\ufffdrow"].to_list() == [7.0]
    both = pl.DataFrame({**RUNS, "a": [{"b": 1}] * 3, "a.b": [2] * 3, "source.params": [5] * 3})
    frame = read_runs(both.with_columns(pl.Series("params", ["u", "v", "w"]))).frame
    assert frame["source.params"].to_list() == [5.0] * 3
    assert frame["source.source.params"].to_list() == ["u", "v", "w"]
    assert {"a.b", "a.b (5)"} & set(frame.columns)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [400, 5000, 100_000])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_depth_is_bounded_before_anything_parses(
    tmp_path: Path, opening: str, depth: int, suffix: str
) -> None:
    closing = "]" if opening == "[" else "}"
    value = opening * depth + "1" + closing * depth
    path = tmp_path / f"x{suffix}"
    path.write_text('{"N": 1e6, "D": 2e7, "loss": 3, "x": ' + value + "}")
    with pytest.raises(TableError, match=f"too deep to be a table of runs; {DEEPEST} levels"):
        read_runs(path)


def test_brackets_in_strings_and_broken_lines_nest_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = {"N": 1e6, "D": 2e7, "loss": 3.0, "note": '[{"' * 50 + "\\"}
    other = {**row, "N": 4e6, "loss": 2.5}
    path.write_text("\n".join([json.dumps(row), *['{"N": [1, {"a": '] * 30, json.dumps(other)]))
    assert read_runs(path, drop_bad=True).frame.height == 2


def test_objects_in_python_are_bounded_too() -> None:
    deep: Any = 1
    for _ in range(DEEPEST + 2):
        deep = {"a": deep}
    with pytest.raises(TableError, match="too deep"):
        read_runs([{"N": 1e6, "D": 2e7, "loss": 3.0, "x": deep}])
    with pytest.raises(TableError, match="too deep"):
        read_runs(pl.DataFrame({"x": [deep]}))


def test_width_and_cells_are_bounded(tmp_path: Path) -> None:
    wide = {f"c{number}": number for number in range(MOST_COLUMNS + 1)}
    (tmp_path / "wide.json").write_text(json.dumps([wide]))
    (tmp_path / "wide.csv").write_text(",".join(wide) + "\n" + ",".join(map(str, wide.values())))
    for source in (tmp_path / "wide.json", tmp_path / "wide.csv", pl.DataFrame({"x": [wide]})):
        with pytest.raises(TableError, match=f"more than {MOST_COLUMNS} columns"):
            read_runs(source)
    with pytest.raises(TableError, match="row 2, column run: a cell of 1,000,001 bytes"):
        read_runs({**RUNS, "run": ["a", "x" * (LONGEST_CELL + 1), "c"]})


def test_what_unpacks_to_too_much_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"0" * (2 << 20)))
    with pytest.raises(TableError, match="unpacks to more than 1 MiB"):
        read_runs(path)
    zstandard = pytest.importorskip("zstandard", reason="the extra train is not installed")
    path = tmp_path / "x.csv.zst"
    path.write_bytes(zstandard.compress(b"0" * (2 << 20)))
    with pytest.raises(TableError, match="unpacks to more than 1 MiB"):
        read_runs(path)


def test_many_rows_of_few_bytes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalelab.table.sources._MOST_CELLS", 1000)
    path = tmp_path / "x.parquet"
    pl.DataFrame({"N": [1e6] * 600, "D": [2e7] * 600}).write_parquet(path)
    with pytest.raises(TableError, match="1,200 cells; at most 1,000 are read"):
        read_runs(path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_damaged_files_end_in_one_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    frame = pl.DataFrame({**RUNS, "words": ["a", "b", "a"], "lists": [[1.0]] * 3})
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_ipc(path)
    whole = path.read_bytes()
    generator = random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 3])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data[: len(data) - generator.choice([0, 0, 5])])
        for read in (read_runs, read_curves):
            try:
                read(path)
            except TableError:
                continue  # one clear error is right, any other error fails the test


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_full_memory_or_stack_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("scalelab.table.sources.read_text", full)
    path = tmp_path / "x.csv"
    path.write_text("N,D,loss\n1e6,2e7,3\n")
    with pytest.raises(TableError, match=r"larger than the memory|too deep"):
        read_runs(path)


def test_files_whose_types_differ_join_as_text_and_lists_stay_lists(tmp_path: Path) -> None:
    rows = {"N": 1e6, "D": 2e7, "loss": 3.0}
    (tmp_path / "a.json").write_text(json.dumps([{**rows, "x": 1, "rates": [1.0, None]}]))
    (tmp_path / "b.json").write_text(json.dumps([{**rows, "x": "words", "rates": [0.5]}]))
    (tmp_path / "c.json").write_text(json.dumps([{**rows, "x": True, "rates": 3}]))
    frame = read_runs(tmp_path / "[ab].json").frame
    assert frame["x"].to_list() == ["1", "words"]
    assert frame["rates"].to_list() == [[1.0, None], [0.5]]
    assert read_runs(tmp_path / "*.json").frame.height == 3

"""Numbers as people type them, and the commas of half the world."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.table import RUN_COLUMNS, read_runs
from scalelab.table.cells import decimal_commas, numbers

COLUMNS = {column.name: column for column in RUN_COLUMNS}


def read(text: str, column: str, *, commas: bool = False) -> float | None:
    found, bad = numbers(pl.Series([text]), COLUMNS[column], commas=commas)
    assert bad.item() == (found.item() is None)
    value: float | None = found.item()
    return value


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        (" 1,000,000 ", "params", 1e6),
        ("1'000'000", "params", 1e6),
        ("1\u202f000\u00a0000", "params", 1e6),
        ("125M params", "params", 125e6),
        ("6.9b", "params", 6.9e9),
        ("1.3B tokens", "tokens", 1.3e9),
        ("3e18 FLOPs", "flops", 3e18),
        ("2 PF-days", "flops", 1.728e20),
        ("1.5 ZFLOP", "flops", 1.5e21),
        ("1.5x10^9", "tokens", 1.5e9),
        ("1.5 \u00d7 10^9", "tokens", 1.5e9),
        ("3.2 nats", "loss", 3.2),
        ("50,257", "vocabulary", 50257.0),
        ("1.3B params", "tokens", None),
        ("3.1*", "loss", None),
        (">5", "loss", None),
        ("3.2 \u00b1 0.1", "loss", None),
        ("3,1", "loss", None),
        ("1_0", "loss", None),
        ("40%", "loss", None),
    ],
)
def test_a_cell_is_a_number_or_none(text: str, column: str, value: float | None) -> None:
    assert read(text, column) == (pytest.approx(value) if value else None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3,14", 3.14), ("1.234.567", 1234567), ("1.234,5", 1234.5), ("12", 12), ("1.2345", None)],
)
def test_in_a_table_of_decimal_commas(text: str, value: float | None) -> None:
    assert read(text, "params", commas=True) == value


@pytest.mark.parametrize(
    ("params", "loss", "expected"),
    [
        (["1000000"], ["3,14"], True),
        (["1.000.000"], ["3,142"], True),
        (["0,5B"], ["3"], True),
        (["1,234"], ["3"], False),
        (["1,000,000"], ["3,14"], False),
        (["1000000"], ["3,14", "3.2"], False),
        (["1e6"], ["3.14"], False),
    ],
)
def test_a_table_has_decimal_commas_or_has_not(
    params: list[str], loss: list[str], expected: bool
) -> None:
    columns = [(pl.Series(params), COLUMNS["params"]), (pl.Series(loss), COLUMNS["loss"])]
    assert decimal_commas(columns) is expected


def test_decimal_commas_are_told() -> None:
    table = read_runs({"N": ["1.000.000"], "D": ["20.000.000"], "loss": ["3,5"]})
    assert table.frame["loss"].item() == 3.5
    assert table.frame["params"].item() == 1e6
    assert "decimal-commas" in {notice.code for notice in table.notices}


@given(st.floats(1e3, 1e15), st.sampled_from([",", "'", " ", "."]))
def test_grouping_never_changes_a_number(value: float, mark: str) -> None:
    text = f"{round(value):,}".replace(",", mark)
    assert read(text, "params", commas=mark == ".") == round(value)


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["1M", "2,000,000", "x"])])
def test_categories_are_the_words_that_they_stand_for(tmp_path: Path, kind: pl.DataType) -> None:
    cells = pl.Series("N", ["1M", "2,000,000", "1M"]).cast(kind)
    rest = {"D": [2e7, 2e7, 4e7], "loss": [3.5, 3.2, 3.0]}
    frame = pl.DataFrame({"N": cells, **rest, "mode": cells})
    frame.write_parquet(tmp_path / "runs.parquet")
    for source in (frame, tmp_path / "runs.parquet"):
        found = read_runs(source, where={"mode": "1M"}).frame
        assert found["params"].to_list() == [1e6, 1e6]
    with pytest.raises(TableError, match="row 2, column N is 'x'"):
        read_runs(frame.with_columns(N=pl.Series(["1M", "x", "1M"]).cast(kind)))


def test_an_optional_column_of_words_is_left_as_it_came() -> None:
    runs = {"N": [1e6] * 3, "D": [2e7, 3e7, 4e7], "loss": [3.0, 2.9, 2.8]}
    table = read_runs({**runs, "lr": ["3e-4 to 3e-5"] * 3})
    assert "lr" not in table.frame.columns
    assert table.frame["source.lr"].to_list() == ["3e-4 to 3e-5"] * 3
    assert "column lr was not taken" in table.summary()
    with pytest.raises(TableError, match="row 2, column D is '4 cats'"):
        read_runs({**runs, "D": ["2e7", "4 cats", "4e7"]})

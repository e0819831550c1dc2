"""Frames of pandas: what an index holds is a column, row numbers are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs

PARAMS, TOKENS, LOSS = [1e7, 1e7, 3e7], [1e9, 4e9, 1e9], [4.6, 4.1, 4.2]


class Index:
    """As much of a pandas index as is read."""

    def __init__(self, levels: list[list[Any]], names: list[Any]) -> None:
        self._levels, self.names = levels, names

    def get_level_values(self, at: int) -> Column:
        return Column(self._levels[at])

    def tolist(self) -> list[Any]:
        return list(zip(*self._levels, strict=True)) if len(self._levels) > 1 else self._levels[0]


class Column:
    def __init__(self, cells: list[Any]) -> None:
        self._cells = cells

    def tolist(self) -> list[Any]:
        return self._cells


class Frame:
    """A frame as pandas has it without pyarrow: its Arrow interface raises."""

    def __init__(self, columns: dict[Any, list[Any]], index: Index) -> None:
        self._cells, self.columns, self.index = columns, list(columns), index

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise ImportError("pyarrow is required")

    def __getitem__(self, label: Any) -> Column:
        return Column(self._cells[label])


class Series:
    """A series, which has the Arrow interface too."""

    def __init__(self, name: str | None, cells: list[Any], index: Index) -> None:
        self.name, self._cells, self.index = name, cells, index

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise ImportError("pyarrow is required")

    def to_frame(self) -> Frame:
        return Frame({self.name: self._cells}, self.index)


def fake(columns: dict[Any, list[Any]], levels: list[list[Any]], names: list[Any]) -> Any:
    return Frame(columns, Index(levels, names))


def real(columns: dict[Any, list[Any]], levels: list[list[Any]], names: list[Any]) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; the fake is tested")
    many = len(levels) > 1
    index = pandas.MultiIndex.from_arrays(levels, names=names) if many else (
        pandas.Index(levels[0], name=names[0])
    )  # fmt: skip
    return pandas.DataFrame(columns, index=index)


def fake_series(
    name: str | None, cells: list[Any], levels: list[list[Any]], names: list[Any]
) -> Any:
    return Series(name, cells, Index(levels, names))


def real_series(
    name: str | None, cells: list[Any], levels: list[list[Any]], names: list[Any]
) -> Any:
    frame = real({"x": cells}, levels, names)
    return frame["x"].rename(name)


Make = Callable[[dict[Any, list[Any]], list[list[Any]], list[Any]], Any]
both = pytest.mark.parametrize("make", [fake, real])
both_series = pytest.mark.parametrize("make", [fake_series, real_series])


def codes(table: RunTable) -> set[str]:
    return {notice.code for notice in table.notices} - {"derived-column"}


@both
def test_levels_with_names_are_columns(make: Make) -> None:
    table = read_runs(make({"loss": LOSS}, [PARAMS, TOKENS], ["params", "tokens"]))
    assert table.frame["params"].to_list() == PARAMS
    assert table.frame["tokens"].to_list() == TOKENS
    assert codes(table) == {"index-as-columns"}


@both_series
def test_a_series_is_a_frame(make: Callable[..., Any]) -> None:
    table = read_runs(make("loss", LOSS, [PARAMS, TOKENS], ["params", "tokens"]))
    assert table.frame.select("params", "loss").rows() == list(zip(PARAMS, LOSS, strict=True))


@both
@pytest.mark.parametrize(
    ("index", "run", "told"),
    [
        ([0, 1, 2], "row-1", set()),
        ([7, 2, 4], "row-1", {"index-dropped"}),
        ([0, 1, 0], "row-1", {"index-dropped"}),
        (["a", "b", "c"], "a", {"index-as-run"}),
    ],
)
def test_an_index_without_a_name(make: Make, index: list[Any], run: str, told: set[str]) -> None:
    table = read_runs(make({"params": PARAMS, "tokens": TOKENS, "loss": LOSS}, [index], [None]))
    assert table.frame["run"][0] == run
    assert codes(table) == told
    assert set(table.frame.columns) == {"run", "status", "params", "tokens", "flops", "loss"}


@both
@pytest.mark.parametrize(
    ("levels", "names", "words"),
    [
        ([PARAMS], [None], r"holds 1e\+?07|holds 10000000.0.*reset_index\(names='params'\)"),
        ([[10000000, 30000000, 50000000]], [None], "holds 10000000, 30000000.*reset_index"),
        ([["a", "a", "b"]], [None], "holds a, a, b.*reset_index"),
        ([PARAMS, TOKENS], ["params", None], r"rename_axis\(\['params', 'NAME'\]\)"),
        ([[1e7, 1e7, 4e7]], ["params"], "'params' is a column and a level"),
    ],
)
def test_an_index_that_may_be_a_column_is_refused(
    make: Make, levels: list[list[Any]], names: list[Any], words: str
) -> None:
    with pytest.raises(TableError, match=words):
        read_runs(make({"params": PARAMS, "tokens": TOKENS, "loss": LOSS}, levels, names))


@both
def test_a_level_that_is_a_column_too_stands_once(make: Make) -> None:
    table = read_runs(make({"params": PARAMS, "loss": LOSS}, [PARAMS], ["params"]))
    assert table.frame["params"].to_list() == PARAMS


@both_series
def test_a_series_that_does_not_say_what_it_is(make: Callable[..., Any]) -> None:
    with pytest.raises(TableError, match=r"series has no name.*series.rename\('loss'\)"):
        read_runs(make(None, LOSS, [PARAMS, TOKENS], ["params", "tokens"]))
    with pytest.raises(TableError, match=r"series is one run.*series.to_frame\(\).T"):
        read_runs(make("0", [1e7, 1e9, 4.6], [["params", "tokens", "loss"]], [None]))


@both
def test_names_of_several_levels_are_joined(make: Make) -> None:
    columns = {("loss", "min"): LOSS, ("loss", "std"): [0.1, 0.2, 0.1], ("params", ""): PARAMS}
    frame = make(columns, [TOKENS], ["tokens"])
    with pytest.raises(TableError, match=r"loss\.min"):
        read_runs(frame)
    table = read_runs(frame, columns={"loss": "loss.min"})
    assert table.frame["loss"].to_list() == LOSS
    assert table.frame["params"].to_list() == PARAMS


@both
def test_a_pivot_is_read_as_rows(make: Make) -> None:
    table = read_runs(make({1e9: [4.6, 4.2], 4e9: [4.1, 3.9]}, [[1e7, 3e7]], ["params"]))
    assert table.frame["tokens"].to_list() == [1e9, 1e9, 4e9, 4e9]
    assert table.frame["loss"].to_list() == [4.6, 4.2, 4.1, 3.9]


class NAType:
    """What pandas puts where a whole number is missing."""


def test_cells_of_pandas_own_kinds_are_read() -> None:
    odd = {"n": [1, NAType(), 3], "mixed": [1, "a", None], "text": ["a", float("nan"), "b"]}
    frame = read_runs(fake({"params": PARAMS, "loss": LOSS, **odd}, [[0, 1, 2]], [None])).frame
    assert frame["n"].to_list() == [1, None, 3]
    assert frame["mixed"].to_list() == ["1", "a", None]
    assert frame["text"].to_list() == ["a", None, "b"]


def test_columns_by_row_are_a_table() -> None:
    """As `frame.to_dict()` gives them, with whole numbers as keys."""
    columns = {"params": PARAMS, "tokens": TOKENS, "loss": LOSS}
    by_row = {name: dict(enumerate(cells)) for name, cells in columns.items()}
    assert read_runs(by_row).frame["loss"].to_list() == LOSS


def test_two_columns_of_one_name_are_refused() -> None:
    frame = fake({"loss": LOSS, "params": PARAMS}, [[0, 1, 2]], [None])
    frame.columns = ["loss", "params", "loss"]
    with pytest.raises(TableError, match="two columns are named 'loss'"):
        read_runs(frame)

"""Reading anybody's runs: names, formats, derived columns, and every fault that logs have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.table import RUN_COLUMNS, read_runs, write_table
from scalelab.table.schema import normalized

GOOD = {
    "run": ["a", "b", "c"],
    "N": [1e6, 2e6, 4e6],
    "D": [2e7, 2e7, 4e7],
    "val_loss": [3.5, 3.2, 3.0],
}


def changed(column: str, row: int, value: object) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {name: list(cells) for name, cells in GOOD.items()}
    table[column][row] = value
    return table


class ArrowOnly:
    """What a foreign frame looks like: nothing but the Arrow stream interface."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


class PandasLike:
    """A frame whose Arrow interface needs a package that is not there."""

    columns = tuple(GOOD)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise ImportError("pyarrow")

    def __getitem__(self, name: str) -> PandasColumn:
        return PandasColumn(GOOD[name])


class PandasColumn:
    def __init__(self, cells: list[Any]) -> None:
        self._cells = cells

    def tolist(self) -> list[Any]:
        return self._cells


def rows_of(table: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def write(folder: Path, suffix: str, table: dict[str, list[Any]]) -> Path:
    path = folder / f"runs{suffix}"
    rows = rows_of(table)
    match suffix:
        case ".csv" | ".tsv" | ".txt":
            mark = "\t" if suffix == ".tsv" else ","
            lines = [mark.join(table)] + [
                mark.join("" if cell is None else str(cell) for cell in row.values())
                for row in rows
            ]
            path.write_text("\n".join(lines) + "\n")
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows))
        case _:
            pl.DataFrame(table).write_parquet(path)
    return path


FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_reads_alike(tmp_path: Path, suffix: str) -> None:
    table = read_runs(write(tmp_path, suffix, GOOD))
    assert table.frame["params"].to_list() == GOOD["N"]
    assert table.frame["loss"].to_list() == GOOD["val_loss"]
    assert table.frame["status"].to_list() == ["finished"] * 3
    assert dict(table.mapping) == {"run": "run", "params": "N", "tokens": "D", "loss": "val_loss"}


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        pl.LazyFrame,
        lambda table: ArrowOnly(pl.DataFrame(table)),
        lambda _: PandasLike(),
        dict,
        rows_of,
    ],
    ids=["polars", "lazy", "arrow", "pandas-like", "columns", "rows"],
)
def test_every_frame_reads_alike(make: Callable[[dict[str, list[Any]]], object]) -> None:
    assert read_runs(make(GOOD)).frame["params"].to_list() == GOOD["N"]


@pytest.mark.parametrize(
    ("n", "d", "c", "loss"),
    [
        ("N", "D", "C", "L"),
        ("Model Size", "Training Tokens", "Training FLOP", "Final Loss"),
        ("n_params", "n_tokens", "total_flops", "final_loss"),
        ("n", "t", "flops", "loss"),
    ],
)
def test_names_of_the_field(n: str, d: str, c: str, loss: str) -> None:
    table = read_runs({n: [1e6, 2e6], d: [2e7, 3e7], c: [1.2e14, 3.6e14], loss: [3.0, 2.9]})
    expected = {"params": n, "tokens": d, "flops": c, "loss": loss}
    assert dict(table.mapping) == expected
    renamed = [f"{name} <- {column}" for name, column in expected.items() if name != column]
    assert all(words in table.summary() for words in renamed)


@pytest.mark.parametrize(
    ("given", "derived", "formula"),
    [
        (("N", "D"), "flops", "C = 6 N D"),
        (("N", "C"), "tokens", "D ="),
        (("D", "C"), "params", "N"),
    ],
)
def test_any_two_give_the_third_and_say_so(
    given: tuple[str, ...], derived: str, formula: str
) -> None:
    whole = {"N": [1e6, 2e9], "D": [2e7, 4e10], "C": [6 * 1e6 * 2e7, 6 * 2e9 * 4e10]}
    names = {"params": "N", "tokens": "D", "flops": "C"}
    table = read_runs({**{key: whole[key] for key in given}, "loss": [3.0, 2.0]})
    assert table.frame[derived].to_list() == pytest.approx(whole[names[derived]], rel=1e-15)
    (notice,) = table.notices
    assert notice.code == "derived-column"
    assert formula in notice.message
    assert "6ND" in notice.message


def test_6nd_does_not_overflow() -> None:
    table = read_runs({"N": [10**12], "D": [10**13], "loss": [1.5]})
    assert table.frame["flops"].item() == pytest.approx(6e25)


def test_counts_may_be_typed_with_suffixes() -> None:
    table = read_runs({"Model Size": ["70M", "1.4B"], "tokens": ["1.4B", "3e10"], "loss": [3, 2]})
    assert table.frame["params"].to_list() == [70e6, 1.4e9]
    assert table.frame["tokens"].to_list() == [1.4e9, 3e10]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("val_loss", None, "the cell is empty"),
        ("val_loss", math.nan, "not a finite number"),
        ("val_loss", math.inf, "not a finite number"),
        ("val_loss", -0.3, "-0.3.*positive.*accuracy"),
        ("val_loss", 29.9, "29.9.*perplexity"),
        ("N", 0.0, "positive"),
        ("N", 124.0, "Is N in millions"),
        ("D", 0.02, "0.02.*in billions"),
        ("run", "a", "'a'.*ids are unique"),
    ],
)
def test_a_bad_cell_is_named(
    tmp_path: Path, suffix: str, column: str, value: object, words: str
) -> None:
    path = write(tmp_path, suffix, changed(column, 1, value))
    with pytest.raises(TableError, match=words) as caught:
        read_runs(path)
    assert f"runs{suffix} row 2, column " in str(caught.value)
    assert "drop_bad" in str(caught.value)
    table = read_runs(path, drop_bad=True)
    assert table.frame["run"].to_list() == ["a", "c"]
    assert [notice.code for notice in table.notices] == ["rows-dropped", "derived-column"]
    assert "1 bad rows" in table.notices[0].message


def test_a_word_in_a_number_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", changed("val_loss", 2, "crash"))
    with pytest.raises(TableError, match=r"row 3, column val_loss is 'crash': expected a number"):
        read_runs(path)


def test_only_the_first_faults_are_listed_and_all_counted() -> None:
    table = {"N": [1e6] * 100, "D": [2e7] * 100, "loss": [-1.0] * 100}
    with pytest.raises(TableError, match="100 bad rows in all") as caught:
        read_runs(table)
    assert str(caught.value).count("row ") == 5
    with pytest.raises(TableError, match="every row of the table is bad"):
        read_runs(table, drop_bad=True)


def test_all_rows_in_another_unit() -> None:
    with pytest.raises(TableError, match="Is D in billions"):
        read_runs({"N": [7e9, 13e9], "D": [1400, 2000 - 1], "loss": [2.0, 1.9]})
    with pytest.raises(TableError, match="Is C in PF-days"):
        read_runs({"N": [7e9], "C": [3.5], "loss": [2.0]})
    with pytest.raises(TableError, match="about 6 N D"):
        read_runs({"N": [7e9], "D": [1e11], "C": [4.2e9], "loss": [2.0]})
    with pytest.raises(TableError, match="worse than guessing"):
        read_runs({"N": [1e6], "D": [1e7], "loss": [7.0], "vocab_size": [256]})


@pytest.mark.parametrize("name", ["val_ppl", "bpb", "perplexity"])
def test_a_loss_in_another_unit_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(TableError, match=r"nats per token is expected. Add a column loss = "):
        read_runs({"N": [1e6], "D": [1e7], name: [20.0]})


def test_ambiguity_is_refused_and_settled_by_the_user() -> None:
    table = {"N": [2e6], "N_no_embed": [1e6], "D": [1e7], "loss": [3.0]}
    with pytest.raises(TableError, match="N, N_no_embed could each be params") as caught:
        read_runs(table)
    assert "columns={'params': 'N'}" in str(caught.value)
    chosen = read_runs(table, columns={"params": "N_no_embed"})
    assert chosen.frame["params"].item() == 1e6
    assert chosen.frame["N"].item() == 2e6  # kept under its own name


@pytest.mark.parametrize("name", ["val_loss", "eval/loss", "Summary.test_loss", "final_val_loss"])
def test_a_loss_beside_one_held_out_is_ambiguous(name: str) -> None:
    """Who logs both means by loss that of training."""
    table = {"N": [1e6, 2e6], "D": [1e7, 2e7], "loss": [3.0, 2.8], name: [3.2, 3.0]}
    with pytest.raises(TableError, match=f"{name}, loss could each be loss") as caught:
        read_runs(table)
    assert f"--column loss={name}" in str(caught.value)
    assert read_runs(table, columns={"loss": name}).frame["loss"].to_list() == [3.2, 3.0]
    assert read_runs(table, columns={"loss": "loss"}).frame["loss"].to_list() == [3.0, 2.8]
    assert read_runs({**table, name: [3.0, 2.8]}).mapping["loss"] == "loss"


@pytest.mark.parametrize("name", ["train_loss", "loss.code", "lm_loss"])
def test_a_loss_beside_another_is_the_loss(name: str) -> None:
    table = {"N": [1e6, 2e6], "D": [1e7, 2e7], "loss": [3.0, 2.8], name: [3.2, 3.0]}
    assert read_runs(table).mapping["loss"] == "loss"


def test_two_names_with_the_same_values_are_not_ambiguous() -> None:
    table = read_runs({"N": [2e6], "params": [2e6], "D": [1e7], "loss": [3.0]})
    assert table.mapping["params"] == "params"


def test_a_column_of_words_is_not_a_count() -> None:
    table = read_runs({"n": [1e6], "param_count": ["kaplan"], "t": [1e7], "loss": [3.0]})
    assert table.mapping["params"] == "n"
    assert table.frame["param_count"].item() == "kaplan"


def test_the_user_may_not_name_what_is_not_there() -> None:
    with pytest.raises(TableError, match="no column 'size'"):
        read_runs(GOOD, columns={"params": "size"})
    with pytest.raises(TableError, match="'width_of_it' is not a column of the run table"):
        read_runs(GOOD, columns={"width_of_it": "N"})


def test_no_loss_and_no_size() -> None:
    with pytest.raises(TableError, match=r"no column for held-out loss.*it has N, D, acc"):
        read_runs({"N": [1e6], "D": [1e7], "acc": [0.4]})
    with pytest.raises(TableError, match="no column for N, D or C"):
        read_runs({"val_loss": [2.0], "epochs": [3]})


def test_runs_that_did_not_finish_need_no_loss() -> None:
    table = read_runs(
        {
            **GOOD,
            "val_loss": [3.5, math.nan, None],
            "state": ["finished", "diverged", "crashed"],
        }
    )
    assert table.frame["status"].to_list() == ["finished", "diverged", "failed"]
    assert table.frame["loss"].to_list() == [3.5, None, None]
    assert table.finished.height == 1
    assert "1 diverged" in table.summary()
    with pytest.raises(TableError, match=r"'paused'.*finished, diverged, running, failed"):
        read_runs({**GOOD, "status": ["finished", "paused", "finished"]})


def test_an_empty_status_is_taken_for_finished_and_told(tmp_path: Path) -> None:
    states = ["finished", None, None]
    path = tmp_path / "runs.csv"
    pl.DataFrame({**GOOD, "state": states}).write_csv(path)
    for source in ({**GOOD, "state": states}, path):
        table = read_runs(source)
        assert table.finished.height == 3
        assert "empty-status: 2 rows have an empty state" in table.summary()
    told = {notice.code for notice in read_runs({**GOOD, "state": ["finished"] * 3}).notices}
    assert "empty-status" not in told
    broken = {**GOOD, "state": ["finished", "paused", None]}
    assert "empty-status: 1 rows" in read_runs(broken, drop_bad=True).summary()


def test_tokenizers_do_not_mix_unsaid() -> None:
    table = read_runs({**GOOD, "tokenizer": ["bytes", "bpe:1024", "bytes"]})
    assert "mixed-tokenizers" in {notice.code for notice in table.notices}


def test_losses_on_other_text_are_kept() -> None:
    table = read_runs({**GOOD, "loss.books": [1.0, 1.1, 1.2], "loss/web": [2.0, 2.1, 2.2]})
    assert table.mapping["loss.books"] == "loss.books"
    assert table.frame["loss.web"].to_list() == [2.0, 2.1, 2.2]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("runs.csv", b"", "empty"),
        ("runs.csv", b"N,D,loss\n", "no rows"),
        ("runs.csv", b"N,D,loss\n1e6,1e7,3,4\n", "row 1: 4 cells; the header has 3"),
        ("runs.csv", b"N,N,loss\n1e6,1e7,3\n", "two columns are named 'N'"),
        ("runs.csv", b"N,\xff,loss\n1e6,1e7,3\n", "byte 2 is not UTF-8"),
        ("runs.csv", b"N,D,loss\n1e6,1e7\n1e6,1e7,3\n", "row 1, column loss: the cell is empty"),
        ("runs.json", b'[{"N": 1,]', "line 1: not JSON"),
        ("runs.json", b"3", "seen int"),
        ("runs.jsonl", b'{"N": 1e6, "D": 1e7, "loss": 3}\n{"N": \n', "line 2: not JSON"),
        ("runs.jsonl", b'{"N": NaN}\n[1]', "line 2: seen '\\[1\\]'"),
        ("runs.parquet", b"PAR1", "not a readable parquet"),
        ("runs.xlsx", b"", "is one of .csv"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=words) as caught:
        read_runs(path)
    assert name in str(caught.value)


def test_absent_file_and_wrong_object(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        read_runs(tmp_path / "none.csv")
    with pytest.raises(TableError, match="int is not a table of runs"):
        read_runs(3)
    with pytest.raises(TableError, match="do not make a table"):
        read_runs({"N": [1.0, 2.0], "loss": [1.0]})
    with pytest.raises(TableError, match="convention '7ND' is not known"):
        read_runs(GOOD, convention="7ND")


def test_semicolons_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\xef\xbb\xbfN;D;loss\n1e6;1e7;3.0\n")
    assert read_runs(path).frame["params"].item() == 1e6


class Objects(list[Any]):
    """What an array of Python objects is to a reader: a dtype, and a list."""

    dtype = "object"

    def tolist(self) -> list[Any]:
        return list(self)


def test_arrays_of_objects_are_their_cells() -> None:
    table = read_runs({**GOOD, "val_loss": Objects(GOOD["val_loss"])})
    assert table.frame["loss"].to_list() == GOOD["val_loss"]
    with pytest.raises(TableError, match="row 3, column val_loss is 'OOM'"):
        read_runs({**GOOD, "val_loss": Objects([3.5, 3.2, "OOM"])})


def test_a_loss_like_no_other_is_named() -> None:
    runs = {"N": [1e6 * k for k in range(1, 13)], "D": [2e8] * 12, "loss": [3.0] * 11 + [1e-9]}
    assert "outlying-loss" in {notice.code for notice in read_runs(runs).notices}
    starved = {**runs, "D": [2e4] * 12}
    assert "few-tokens" in {notice.code for notice in read_runs(starved).notices}


@pytest.mark.parametrize(
    ("column", "cells", "advice"),
    [
        ("loss", [29.9, 40.0, 35.5], "--column loss='ln(loss)'"),
        ("D", [0.5, 1.2, 20.0], "--column tokens='D*1e9'"),
        ("D", [100.0, 500.0, 1900.0], "--column tokens='D*1e6'"),
        ("N", [6.1, 7.0, 8.5], "--column params='10^N'"),
        ("C", [3e-6, 1e-4, 2.0], "--column flops='C*8.64e19'"),
    ],
)
def test_the_way_out_of_another_unit_is_shown(column: str, cells: list[float], advice: str) -> None:
    runs = {"N": [1e7, 1e8, 1e9], "D": [1e9, 1e10, 2e10], "loss": [3.0, 2.9, 2.8], column: cells}
    with pytest.raises(TableError) as caught:
        read_runs(runs)
    assert advice in str(caught.value)


def test_runs_wrapped_in_an_object(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"study": "x", "runs": rows_of(GOOD)}))
    assert read_runs(path).frame.height == 3


def test_no_alias_stands_for_two_columns() -> None:
    seen: dict[str, str] = {}
    for column in RUN_COLUMNS:
        for name in {normalized(alias) for alias in (column.name, *column.aliases)}:
            assert seen.setdefault(name, column.name) == column.name


@given(
    st.lists(
        st.tuples(st.floats(1e3, 1e12), st.floats(1, 1e3), st.floats(0.5, 12)),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([".csv", ".jsonl", ".parquet"]),
)
def test_written_tables_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[float, float, float]],
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("table") / f"runs{suffix}"
    first = read_runs(
        [{"N": max(n, 2e3), "D": max(n, 2e3) * ratio, "loss": loss} for n, ratio, loss in runs]
    ).frame
    assert read_runs(write_table(first, path)).frame.equals(first)


def test_writing_says_what_it_can_write(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"one of .csv, .jsonl, .parquet"):
        write_table(pl.DataFrame(GOOD), tmp_path / "runs.xlsx")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(TableError, match="cannot be written"):
        write_table(pl.DataFrame(GOOD), blocked / "runs.csv")
    path = write_table(pl.DataFrame({"loss": [math.nan, 1.0]}), tmp_path / "runs.jsonl")
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [None, 1.0]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "columns", "rows"),
    [
        ("datablations/c4_all_runs_with_seeds.csv", None, 296),
        ("cs336_isoflop/isoflops_curves.json", None, 72),
        ("porian/isoflop_points.csv", None, 1745),
        ("gadre/gadre_losses.csv", {"params": "N", "loss": "loss_c4_val"}, 104),
    ],
)
def test_published_tables(
    shared: Path, file: str, columns: dict[str, str] | None, rows: int
) -> None:
    assert read_runs(shared / "data" / file, columns=columns).finished.height == rows

"""Numbers with the marks of people: bold, footnotes, percent signs, plus-minus."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs
from scalelab.table.marks import latex, plain, struck


def read(folder: Path, losses: list[str], *, drop_bad: bool = False, more: str = "") -> RunTable:
    path = folder / "runs.csv"
    header = "run,params,tokens,loss" + (",loss_std" if more else "")
    rows = [f"r{i}*,{10 * i + 10}M,1B,{loss}{more}" for i, loss in enumerate(losses)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return read_runs(path, drop_bad=drop_bad)


def said(table: RunTable) -> dict[str, str]:
    return {notice.code: notice.message for notice in table.notices}


@pytest.mark.parametrize(
    "mark", ["**{}**", "*{}*", "__{}__", "_{}_", "`{}`", "***{}***", "<b>{}</b>"]
)
def test_emphasis_is_no_part_of_a_number(tmp_path: Path, mark: str) -> None:
    table = read(tmp_path, ["3.2", mark.format("3.0"), "2.9"])
    assert table.frame["loss"].to_list() == [3.2, 3.0, 2.9]
    assert "1 cells have marks" in said(table)["marks-removed"]
    assert mark.format("3.0") in said(table)["marks-removed"]


@pytest.mark.parametrize("mark", ["*", "**", " *", "†", "‡", "^a", "^{*}", "[1]", "[^1]", "§"])
def test_a_footnote_mark_is_removed_and_said(tmp_path: Path, mark: str) -> None:
    table = read(tmp_path, ["3.2", f"3.0{mark}", "2.9"])
    assert table.frame["loss"].to_list() == [3.2, 3.0, 2.9]
    assert table.frame["run"].to_list() == ["r0*", "r1*", "r2*"], "ids keep their stars"
    assert "may say that a value is not comparable" in str(said(table))


def test_percentages_are_fractions(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("params,loss,acc,mixed\n10M,3.2,31.2%,31%\n30M,3.1,40 %,0.4\n")
    table = read_runs(path)
    assert table.frame["acc"].cast(float).to_list() == [0.312, 0.4]
    assert table.frame["mixed"].to_list() == ["31%", "0.4"], "no cell is read, so it is refused"
    assert "'31.2%' as 0.312" in said(table)["percent"]
    with pytest.raises(TableError, match="is '31%': expected a number"):
        read_runs(path, columns={"loss": "mixed"})


@pytest.mark.parametrize("sign", [" ± ", "±", "+/-", " +- ", r" \pm "])
def test_a_spread_is_a_column_of_its_own(tmp_path: Path, sign: str) -> None:
    table = read(tmp_path, ["3.2", f"3.0{sign}0.02", f"2.9{sign}.03"])
    assert table.frame["loss"].to_list() == [3.2, 3.0, 2.9]
    assert table.frame["loss_std"].to_list() == [None, 0.02, 0.03]
    assert "--std loss_std" in said(table)["plus-minus"]


def test_a_spread_beside_a_column_of_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"row 1, column loss is '3.0 \+- 0.1': expected a number"):
        read(tmp_path, ["3.0 +- 0.1", "2.9", "2.8"], more=",0.1")


@pytest.mark.parametrize("cell", ["~~3.0~~", "<del>3.0</del>", "~~**3.0**~~"])
def test_a_number_struck_out_is_no_number(tmp_path: Path, cell: str) -> None:
    with pytest.raises(TableError, match="row 2: column loss is struck out"):
        read(tmp_path, ["3.2", cell, "2.9"])
    assert read(tmp_path, ["3.2", cell, "2.9"], drop_bad=True).frame["loss"].to_list() == [3.2, 2.9]


@pytest.mark.parametrize("cell", ["3.0 (best)", "~3.0", "3.0 → 2.9", "<3.0", "3.0²"])
def test_what_is_more_than_a_mark_is_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(TableError, match="row 2, column loss is"):
        read(tmp_path, ["3.2", cell, "2.9"])


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("[text](http://x.org/a_(b)) ", "text"),
        ("[text](http://x.org)", "text"),
        ("![alt](a.png)", "alt"),
        (r"n\_params", "n_params"),
        (r"a\|b", "a|b"),
        (r"\*kept\*", "*kept*"),
        ("snake_case_name", "snake_case_name"),
        ("3*10**8", "3*10**8"),
        ("a<br>b", "a b"),
        ("[ref][1] and [^1]", "ref and [^1]"),
        ("10<sup>18</sup>", "1e18"),
        ("3 &times; 10<sup>18</sup>", "3 \u00d7 10^18"),
        (r"$1.2 \times 10^{18}$", "1.2 x 10^18"),
        ("~~3.5~~ 3.2", "3.2"),
        ("10¹⁸", "1e18"),
    ],
)
def test_markdown_as_a_reader_sees_it(cell: str, text: str) -> None:
    assert plain(cell) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (r"\textbf{\underline{2.76}}", "2.76"),
        (r"$\mathbf{2.76}$", "2.76"),
        (r"{\bfseries 2.76}", "2.76"),
        (r"2.76\,$\pm$\,0.02", "2.76 ± 0.02"),
        (r"31.2\%", "31.2%"),
        (r"$10^{18}$", "1e18"),
        (r"\cellcolor{gray!20}2.76", "2.76"),
        (r"1{,}000", "1,000"),
        (r"GPT\_2~\cite{radford}", "GPT_2"),
        (r"2.76$^{\dagger}$", "2.76^{†}"),
    ],
)
def test_latex_as_a_reader_sees_it(cell: str, text: str) -> None:
    assert latex(cell) == text


@given(st.text(max_size=30))
def test_any_cell_has_a_text(cell: str) -> None:
    once = plain(cell)
    assert once == once.strip()
    assert latex(cell) is not None
    assert struck(cell) in (True, False)

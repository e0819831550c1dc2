"""CSV as spreadsheets and people write it, in every dialect one table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs

ROWS = ["1e6,2e7,3.5", "2e6,2e7,3.2", "4e6,4e7,3.0"]
TEXT = "N,D,loss\n" + "\n".join(ROWS) + "\n"


def read(folder: Path, text: str | bytes, name: str = "runs.csv", **options: bool) -> RunTable:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_runs(path, drop_bad=options.get("drop_bad", False))


def codes(table: RunTable) -> set[str]:
    return {notice.code for notice in table.notices} - {"derived-column"}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        TEXT.replace(",", ";"),
        TEXT.replace(",", "|"),
        TEXT.replace(",", "\t"),
        TEXT.replace(",", "  "),
        TEXT.replace(",", " , "),
        TEXT.replace("N,D,loss", '"N", "D", "loss"').replace(",3.5", ', "3.5"'),
        "sep=;\n" + TEXT.replace(",", ";"),
        "\n\n" + TEXT,
        TEXT.replace("\n", "\n\n"),
        TEXT + ",,\n,,\n\n",
        TEXT.replace("\n", ",\n"),
        "N,D,loss\n" + "".join(f"{row},\n" for row in ROWS),
        TEXT.replace("N,", "N,,").replace("e6,", "e6,,"),
        TEXT.replace("loss", "loss,loss").replace("3.5", "3.5,3.5").replace("3.2", "3.2,3.2")
        .replace("3.0", "3.0,3.0"),
        "# N D loss\n" + "\n".join(ROWS).replace(",", " "),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-be"),
        b"\xef\xbb\xbf" + TEXT.encode(),
        gzip.compress(TEXT.encode()),
    ],
)  # fmt: skip
def test_every_dialect_is_one_table(tmp_path: Path, text: str | bytes) -> None:
    table = read(tmp_path, text)
    assert table.frame["params"].to_list() == [1e6, 2e6, 4e6]
    assert table.frame["tokens"].to_list() == [2e7, 2e7, 4e7]
    assert table.frame["loss"].to_list() == [3.5, 3.2, 3.0]
    assert codes(table) == set()


@pytest.mark.parametrize("above", ["# by J.\n# nats, 2024", "Scaling results,,", '"The runs, all"'])
def test_what_stands_above_the_header_is_skipped_and_told(tmp_path: Path, above: str) -> None:
    table = read(tmp_path, f"{above}\n{TEXT}")
    assert table.frame.height == 3
    assert codes(table) == {"lines-skipped"}


def test_a_row_with_too_many_cells_is_named_or_dropped(tmp_path: Path) -> None:
    text = TEXT.replace("\n2e6", "\n9e6,2e7,3,9\n2e6")
    with pytest.raises(TableError, match=r"^runs.csv row 2: 4 cells; the header has 3\n"):
        read(tmp_path, text)
    table = read(tmp_path, text, drop_bad=True)
    assert table.frame["run"].to_list() == ["row-1", "row-3", "row-4"]
    assert "1 bad rows" in table.summary()


def test_blank_lines_do_not_move_the_numbers_of_rows(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="row 3, column loss is 'x'"):
        read(tmp_path, TEXT.replace("3.5", "3.5\n").replace("3.2", "x"))


def test_twins_that_do_not_matter_are_kept_apart(tmp_path: Path) -> None:
    text = "N,D,loss,note,note\n1e6,2e7,3.5,a,b\n"
    assert {"note", "note (5)"} <= set(read(tmp_path, text).frame.columns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join(ROWS), "has no header: its first line is '1e6,2e7,3.5'"),
        (TEXT + '"1e6,2e7,3\n', "row 4 .*unexpected end of data"),
        ("N,D,loss,loss\n1e6,2e7,3.5,3.6\n", "two columns are named 'loss'"),
        ("<!DOCTYPE html><html></html>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid x\n", "is a Git LFS pointer"),
        ("# only remarks\n", "has no rows"),
    ],
)
def test_what_is_no_table_is_told_plainly(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TableError, match=words):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("runs.csv.gz", TEXT.encode(), "not a .gz file"),
        ("runs.csv.gz", gzip.compress(TEXT.encode())[:-9], "cannot be unpacked"),
        ("runs.gz", gzip.compress(TEXT.encode()), "name it like runs.csv.gz"),
        ("runs.xlsx", b"PK", "Save the sheet as CSV"),
    ],
)
def test_what_cannot_be_unpacked_is_told(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(TableError, match=words):
        read(tmp_path, content, name)


def test_compressed_files_of_every_kind(tmp_path: Path) -> None:
    import bz2
    import lzma

    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    for suffix, pack in packed.items():
        assert read(tmp_path, pack(TEXT.encode()), f"runs.csv.{suffix}").frame.height == 3


def test_zstandard_to_its_end(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the extra train is not installed")
    data = zstandard.ZstdCompressor().compress(TEXT.encode())
    assert read(tmp_path, data + data[:0], "runs.csv.zst").frame.height == 3
    with pytest.raises(TableError, match="cannot be unpacked"):
        read(tmp_path, data[:-6], "runs.csv.zst")

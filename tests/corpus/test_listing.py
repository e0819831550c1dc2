"""Which files are text and where their names put them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalelab.corpus.listing import is_about, list_files, split_of_name
from scalelab.corpus.pieces import Tally
from scalelab.errors import CorpusError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.txt", "train"),
        ("train-00001-of-2.parquet", "train"),
        ("Validation.md", "valid"),
        ("valid", "valid"),
        ("val_1.txt", "valid"),
        ("dev.txt.gz", "valid"),
        ("test2.txt", "test"),
        ("trainer.py", None),
        ("value.txt", None),
        ("developer.md", None),
        ("testing.txt", None),
        ("book.txt", None),
    ],
)
def test_split_of_name(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def test_about_files() -> None:
    assert all(map(is_about, ("README.md", "README-de.txt", "LICENSE", "SOURCE.txt", "readme.md")))
    assert not any(map(is_about, ("sources.py", "license_plates.txt", "source_of_the_nile.txt")))


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def listed(*paths: Path, tally: Tally | None = None) -> list[tuple[str, str | None]]:
    files = list_files(tuple(map(str, paths)), tally or Tally())
    return [(file.path.name, file.split) for file in files]


def test_folder_is_sorted_and_hidden_about_and_unknown_left_out(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a.py", "sub/c.md.gz", ".git/x.txt", ".h.txt", "README.md", "p.png")
    tally = Tally()
    assert listed(tmp_path, tally=tally) == [("a.py", None), ("b.txt", None), ("c.md.gz", None)]
    assert tally.counts == {"unknown-suffix": 1}
    assert "p.png" in tally.notices()[0].message


def test_folders_and_beginnings_give_the_split(tmp_path: Path) -> None:
    make(tmp_path, "train/a.txt", "validation/b.txt", "deep/test/c.txt", "d.txt", "test-e.txt")
    assert sorted(listed(tmp_path)) == [
        ("a.txt", "train"),
        ("b.txt", "valid"),
        ("c.txt", "test"),
        ("d.txt", None),
        ("test-e.txt", "test"),
    ]


def test_a_given_folder_named_after_a_split(tmp_path: Path) -> None:
    make(tmp_path, "train/a.txt", "dev/b.txt")
    assert listed(tmp_path / "train", tmp_path / "dev") == [("a.txt", "train"), ("b.txt", "valid")]


def test_text_all_held_out_by_coincidence_is_not_split(tmp_path: Path) -> None:
    make(tmp_path, "test/a.txt", "test/b.txt")
    assert listed(tmp_path / "test") == [("a.txt", None), ("b.txt", None)]


def test_files_given_twice_count_once_and_given_files_are_taken(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "README.md", "data.xyz")
    given = (tmp_path / "data.xyz", tmp_path / "README.md", tmp_path, tmp_path / "a.txt")
    assert [name for name, _ in listed(*given)] == ["data.xyz", "README.md", "a.txt"]


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no file or folder .*nowhere"):
        list_files((str(tmp_path / "nowhere"),), Tally())

"""Settings: from code, from TOML, refused with what was seen and what is expected."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scalelab.errors import SpecError
from scalelab.studies.settings import RunSettings, read_toml


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 4}, "context is 4; at least 8"),
        ({"sizes": 4}, "sizes is 4; at least 5"),
        ({"data_sizes": 2}, "data-sizes is 2; at least 3"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "at most 9223372036854775807 can be"),
        ({"data_sizes": 33}, "data-sizes is 33; at most 32"),
        ({"context": 2**20 + 1}, "context is 1048577; at most 1048576"),
        ({"sizes": 65}, "sizes is 65; at most 64"),
        ({"workers": 4097}, "workers is 4097; .* at most 4096"),
        ({"workers": 0}, "workers is 0; at least 1"),
        ({"text": ("a.txt",), "hf": "books"}, "both --text and --hf"),
        ({"budget": "600"}, "budget '600' is not understood"),
        ({"budget": "soon"}, "Give a time"),
        ({"budget": ""}, "budget ''"),
        ({"budget": "-5m"}, "budget '-5m'"),
        ({"budget": "0s"}, "not a positive, finite amount"),
        ({"budget": "1e15flop/s"}, "is a rate"),
        ({"positions": "sinus"}, "positions is 'sinus'; expected"),
        ({"norm": "batch"}, "norm is 'batch'; expected"),
        ({"activation": "sigmoid"}, "activation is 'sigmoid'; expected"),
    ],
)
def test_what_no_study_can_do_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RunSettings(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", ["10m", "1h30m", "90 s", "1e15flop", "2.5 PF-days", "3 TFLOP"])
def test_budgets_as_people_write_them(budget: str) -> None:
    assert RunSettings(budget=budget).budget == budget


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    wanted = RunSettings(
        text=("a.txt", "b"), budget="1e15flop", out="there", tokenizer="bpe:500", context=64,
        sizes=6, data_sizes=4, seed=7, workers=3, untied=True, norm="rmsnorm", separator="---",
    )  # fmt: skip
    lines = []
    for name, value in dataclasses.asdict(wanted).items():
        if value is not None:
            shown = list(value) if isinstance(value, tuple) else value
            text = str(shown).lower() if isinstance(shown, bool) else repr(shown)
            lines.append(f"{name.replace('_', '-')} = {text}")
    path = tmp_path / "study.toml"
    path.write_text("\n".join(lines))
    assert RunSettings(**read_toml(path)) == wanted


def test_one_text_needs_no_list_and_names_may_have_underscores(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('text = "book.txt"\ndata_sizes = 5\n')
    assert read_toml(path) == {"text": ("book.txt",), "data_sizes": 5}
    path.write_text("")
    assert read_toml(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour = 3", "unknown setting 'colour'; known are text, "),
        ("dry-run = true", "unknown setting 'dry-run'"),
        ("context = '128'", "context is '128'; int is expected"),
        ("context = 12.5", "context is 12.5; int is expected"),
        ("context = true", "context is True; int is expected"),
        ("seed = [1]", "seed is"),
        ("workers = '2'", "workers is '2'; int is expected"),
        ("budget = 600", "budget is 600; str is expected"),
        ("hf = 1", "hf is 1; str is expected"),
        ("untied = 'yes'", "untied is 'yes'; bool is expected"),
        ("text = 5", "text is 5"),
        ("text = [1, 2]", "text is "),
        ("text = {a = 1}", "text is "),
        ("context = ", "is not TOML"),
        ("[", "is not TOML"),
        (b"\xff\xfe\x00", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_meant_is_named(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecError, match=message) as caught:
        RunSettings(**read_toml(path))
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*none\.toml: No such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(SpecError, match=r"cannot read .*: Is a directory"):
        read_toml(tmp_path)


def test_the_folder_is_named_after_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunSettings(budget="1 h").folder() == Path("runs/python-1h")
    assert RunSettings(text=("my books/",), budget="9m").folder() == Path("runs/my-books-9m")
    assert RunSettings(text=(".",), budget="9m").folder() == Path(f"runs/{tmp_path.name}-9m")
    assert RunSettings(hf="org/name:part", budget="9m").folder() == Path("runs/org-name-part-9m")
    assert RunSettings(out="x/y", text=("books",)).folder() == Path("x/y")

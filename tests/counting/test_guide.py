"""The guide shows what the program prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scalelab import cli
from scalelab.counting.architectures import ARCHITECTURES
from scalelab.counting.fields import FIELDS

GUIDE = (Path(__file__).parents[2] / "docs" / "count.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n(scalelab count .*?)\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), BLOCKS)
def test_every_example_prints_what_the_guide_shows(
    command: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    Path("config.json").write_text(config, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(command)[1:])
    assert ended.value.code == 0
    assert capsys.readouterr().out == shown


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 3


def test_the_guide_names_every_architecture() -> None:
    (listed,) = re.findall(r"These architectures .*? are known: (.*?)\. All but", GUIDE, re.DOTALL)
    assert {name.replace("_", "") for name in re.findall(r"`(\w+)`", listed)} == set(ARCHITECTURES)


def test_fields_of_the_guide_are_those_that_are_read() -> None:
    known = {field.name: {field.name, *field.keys} for field in FIELDS}
    table = GUIDE.partition("other names")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    assert len(rows) > 20
    for name, others in rows:
        assert set(re.findall(r"`(\w+)`", others)) <= known[name]

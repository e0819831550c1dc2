"""The guides say what the program does: every setting with its default, every command."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import tyro

from scalelab import cli
from scalelab.studies.conclusion import phrase
from scalelab.studies.designs import DESIGNS, get_designs
from scalelab.studies.evidence import Evidence
from scalelab.studies.settings import RunSettings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "studies"))  # the planted studies of its tests

from planted import finished  # noqa: E402
from planted_bench import planted_bench, replicates  # noqa: E402

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rows(guide: str) -> dict[str, list[str]]:
    """Rows of the guide's tables by the name in their first cell."""
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8").replace("\\|", "¦")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_setting_of_run_stands_in_its_guide_with_its_default() -> None:
    documented = rows("run.md")
    fields = {field.name.replace("_", "-"): field for field in dataclasses.fields(RunSettings)}
    assert set(documented) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, str | int) and not isinstance(field.default, bool):
            assert documented[name][0].strip("`") == str(field.default), name


def commands() -> list[str]:
    """Every `scalelab ...` line of a code block."""
    found = []
    for guide in GUIDES:
        blocks = re.findall(r"```\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        for line in "\n".join(blocks).replace("\\\n", "").splitlines():
            words = line.split("#")[0].strip().removeprefix(".venv/bin/")
            if words.startswith("scalelab "):
                found.append(words)
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_guides_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    tyro.cli(cli.Command, args=words, config=(tyro.conf.FlagCreatePairsOff,))  # type: ignore[call-overload]


def test_every_notice_of_tables_and_fits_stands_in_the_guide() -> None:
    guide = (ROOT / "docs" / "fit.md").read_text(encoding="utf-8")
    for part in ("table", "fitting"):
        for module in (ROOT / "src" / "scalelab" / part).glob("*.py"):
            for code in re.findall(r'Notice\(\s*"([a-z-]+)"', module.read_text(encoding="utf-8")):
                assert f"`{code}`" in guide, f"{module.name}: {code}"


def test_there_are_commands_in_the_guides() -> None:
    assert len(commands()) >= 5


def test_links_of_the_guides_lead_somewhere() -> None:
    for guide in GUIDES:
        for target in re.findall(r"\]\(([^)#]+)\)", guide.read_text(encoding="utf-8")):
            assert (guide.parent / target).exists(), f"{guide.name}: {target}"


def test_every_design_stands_in_the_guide_in_the_papers_order() -> None:
    documented = rows("designs.md")
    for design in DESIGNS.values():
        varies, paper = documented[design.name][:2]
        assert varies == design.varies, design.name
        assert paper == design.paper, design.name
    assert list(documented) == list(DESIGNS)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The design of the guide and its test, as the files that a reader would make of them."""
    text = (ROOT / "docs" / "designs.md").read_text(encoding="utf-8")
    files = tmp_path / "mine.py", tmp_path / "test_mine.py"
    for file, block in zip(files, re.findall(r"```python\n(.*?)```", text, re.DOTALL), strict=True):
        file.write_text(block, encoding="utf-8")
    return files[0]


def test_the_design_of_the_guide_runs_as_it_stands(mine: Path) -> None:
    (design,) = get_designs((str(mine),))
    bench = planted_bench(120.0)
    plan = design.plan(bench)
    assert len(plan.jobs) == 2
    assert bench.cost(plan.jobs) <= bench.allowance.amount
    for losses, verdict in (((1.5, 1.501), "agrees"), ((1.6, 1.5), "differs")):
        own = [finished(job.spec, loss) for job, loss in zip(plan.jobs, losses, strict=True)]
        found = design.conclude(Evidence(own=own, replicates=replicates(0.002)))
        assert found.verdict == verdict
        assert found.statement.startswith(phrase(found.findings))
    assert design.conclude(Evidence(own=())).verdict == "cannot tell"


def test_the_test_of_the_guide_passes_as_it_stands(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(mine.parent)
    tests = runpy.run_path(str(mine.with_name("test_mine.py")))
    tests["test_heads"]()
    monkeypatch.delitem(sys.modules, "mine")


def test_the_readme_lists_every_benchmark() -> None:
    listed = set(re.findall(r"^  (\w+\.py) ", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "benchmarks").glob("*.py")}

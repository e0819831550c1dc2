"""A study of designs from the command line: planned, trained, concluded, and asked for more."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from scalelab import cli
from scalelab.studies.record import recall
from test_pipeline import CONTEXT, DATA_SIZES, SIZES, least_budget, results

pytestmark = pytest.mark.slow

MINE = """
from scalelab.fitting import Estimate
from scalelab.studies.conclusion import (
    Axis, Check, Conclusion, Finding, Number, Picture, Series, phrase
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence

CHECK = Check.at_most("spread", 5.0, "nowhere", "seeds hardly matter")


def plan(bench):
    shape = bench.sizes[0]
    return Plan(
        [
            bench.job(bench.spec(f"seeds-{seed}", shape, 4000, seed=seed), "a seed")
            for seed in (11, 12)
        ],
        left_out=("a third seed",),
    )


def conclude(evidence):
    losses = [run.loss for run in evidence.own]
    spread = Estimate(abs(losses[0] - losses[1]), 0.0, 1.0, 0.9)
    finding = Finding(CHECK, spread)
    picture = Picture(
        "seeds", "Seeds", "Two.", Axis("seed", log=False), Axis("loss", kind="loss"),
        [Series([11.0, 12.0], losses)],
    )
    others = sorted(run.other_loss("others") for run in evidence.branches)
    return Conclusion(
        "seeds", "Two seeds", f"{phrase([finding])}: {len(others)} runs of the ladder.",
        [finding],
        {
            "spread": Number(spread, "nats/token", "between seeds"),
            "others": Number(Estimate(others[0], others[0], others[0], 0.9), "", "elsewhere"),
            "replicates": Number(evidence.scatter or spread, "", "noise level"),
        },
        [picture],
    )


DESIGN = Design("seeds", "Two seeds", "none", "seeds", "all else", "luck", 1.0, plan, conclude)
"""


def text(folder: Path, seed: int) -> Path:
    folder.mkdir()
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 7))) for _ in range(2000)]
    for number in range(40):
        (folder / f"doc{number:02d}.txt").write_text(" ".join(draw.choices(words, k=400)))
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, without its designs."""
    home = tmp_path_factory.mktemp("designs")
    (home / "mine.py").write_text(MINE)
    budget = float(least_budget().removesuffix("flop"))
    return [
        "run", "--text", str(text(home / "text", 1)), "--transfer", str(text(home / "others", 2)),
        "--budget", f"{2.2 * budget:.3e}flop", "--out", str(home / "out"),
        "--context", str(CONTEXT), "--sizes", str(SIZES), "--data-sizes", str(DATA_SIZES),
        "--design", str(home / "mine.py"),
    ]  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--json"])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    assert said.out, said.err
    return ended.value.code, json.loads(said.out)


def test_a_study_of_designs(
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = Path(words[words.index("--out") + 1])

    # Planned only: every run of the ladder, the replicates and the design, with why.
    code, dry = answer(capsys, [*words, "--dry-run"])
    assert code == 0
    assert not folder.exists()
    reasons = {run["run"]: run["why"] for run in dry["runs"]}
    assert reasons["seeds-11"] == "seeds: a seed"
    assert dry["left_out"]["seeds"] == ["a third seed"]
    assert dry["seconds"] > 0

    # Trained, evaluated on the other text, concluded and drawn.
    code, first = answer(capsys, words)
    assert code == 0
    (found,) = first["conclusions"]
    assert (found["design"], found["verdict"]) == ("seeds", "agrees")
    assert found["left_out"] == ["a third seed"]
    assert found["margin"] is None
    assert all(Path(path).exists() for path in found["figures"])
    assert len(found["figures"]) == 1
    assert 0 < found["numbers"]["others"]["value"] < 20
    runs = {run["run"]: run for run in first["runs"]}
    assert runs["seeds-11"]["status"] == "finished"
    assert found["statement"].endswith(f"{SIZES * DATA_SIZES} runs of the ladder.")
    page = (folder / "report.html").read_text()
    assert "Two seeds" in page
    assert (folder / "design_runs.csv").exists()

    # Asked again, nothing is trained; asked for another design, only that one's runs are.
    before = results(folder)
    code, again = answer(capsys, words)
    assert code == 0
    assert results(folder) == before
    assert again["conclusions"] == first["conclusions"]
    code, more = answer(capsys, [*words, "efficiency"])
    assert code == 0
    assert results(folder) == before  # it looks at the ladder alone
    assert [item["design"] for item in more["conclusions"]] == ["efficiency", "seeds"]
    record = recall(folder)
    assert record is not None
    assert set(record.plan.runs) == {"replicates", "seeds", "efficiency"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["shap"], "there is no design 'shap'"),
        (["nowhere.py"], "cannot read the design nowhere.py"),
        (["empty.py"], "defines no DESIGN"),
        (["taken.py"], "the name 'shape' is taken"),
        (["broken.py"], "cannot read the design broken.py"),
    ],
)
def test_a_design_that_is_none_is_named(
    names: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.py").write_text("x = 1\n")
    Path("taken.py").write_text(MINE.replace('Design("seeds"', 'Design("shape"'))
    Path("broken.py").write_text("def plan(:\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--design", *names])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()

"""One real study, as small as the planner allows, from text to report.

It is stopped by Ctrl-C in the middle of training and called again, as people do; every test reads
what that left. The budget is in FLOP, so that what is planned does not depend on the machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from scalelab import cli
from scalelab.fitting import Fit, fit
from scalelab.studies.conclude import NOISE_FALLS
from scalelab.studies.decide import TWO_DECADES, ladder_of
from scalelab.studies.ladder import Ladder, LadderSpec, Rung, smallest
from scalelab.studies.record import recall
from scalelab.studies.result import SURFACES
from scalelab.studies.sizes import WIDTHS, Family, rungs
from scalelab.table import read_runs
from scalelab.training.records import checkpoints, read_json

pytestmark = pytest.mark.slow

CONTEXT, SIZES, DATA_SIZES = 8, 5, 3


def least_budget() -> str:
    """A third more than the cheapest ladder costs: the probes are paid from it too."""
    family = Family(CONTEXT, 256)
    spec = LadderSpec("", 10**9, 8 * CONTEXT, DATA_SIZES, 0, 2)
    ladders = [rungs(width, family.up_to(width), SIZES, TWO_DECADES) for width in WIDTHS]
    costs = [
        smallest([Rung(shape, 1.0, 1.0) for shape in shapes], spec).flops
        for shapes in ladders
        if len(shapes) == SIZES
    ]
    return f"{1.33 * min(costs):.3e}flop"


@dataclass(frozen=True)
class Study:
    """What two calls of one command left.

    words: the command. folder: of the study. stopped: the first call, cut off by Ctrl-C, and
    after it: the processes that it had started, the runs that had ended with the times of their
    results, and the steps of the checkpoints of the others. went_on: the second call.
    """

    words: tuple[str, ...]
    folder: Path
    stopped: subprocess.CompletedProcess[str]
    processes: tuple[int, ...]
    left_alive: tuple[int, ...]
    ended: dict[str, int]
    kept: dict[str, int]
    went_on: subprocess.CompletedProcess[str]

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.went_on.stdout)
        return answer

    @property
    def ladder(self) -> Ladder:
        record = recall(self.folder)
        assert record is not None
        plan = record.decisions
        first = next(self.folder.glob("n*/run.json"))
        return ladder_of(plan, read_json(first)["corpus"])


@pytest.fixture(scope="module")
def words_of_chance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents of two thousand made-up words: gradients noisy enough that the batch is
    the one that the plan began with, and no second speed is measured.
    """
    folder = tmp_path_factory.mktemp("words")
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 7))) for _ in range(2000)]
    for number in range(40):
        text = " ".join(draw.choices(words, k=400))
        (folder / f"doc{number:02d}.txt").write_text(f"{number} {text}\n")
    return folder


def results(folder: Path) -> dict[str, int]:
    """The runs of a study that have ended, with the times at which that was written."""
    return {
        path.parent.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*/result.json"))
    }


def children_of(pid: int) -> tuple[int, ...]:
    """The processes that a process has started."""
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = [line.split() for line in shown.stdout.splitlines()]
    return tuple(int(child) for child, parent in pairs if parent == str(pid))


def alive(pid: int) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def study(words_of_chance: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    home = tmp_path_factory.mktemp("study")
    folder = home / "out"
    words = (
        "run", "--text", str(words_of_chance), "--budget", least_budget(), "--out", str(folder),
        "--context", str(CONTEXT), "--sizes", str(SIZES), "--data-sizes", str(DATA_SIZES),
    )  # fmt: skip
    command = [sys.executable, "-m", "scalelab", *words]
    environment = os.environ | {"SCALELAB_CACHE": str(home / "cache")}
    first = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert first.stdout is not None
    said: list[str] = []
    for line in first.stdout:
        said.append(line)
        training = any("] training (" in earlier for earlier in said)
        if training and " finished in " in line:
            break
    processes = children_of(first.pid)
    first.send_signal(signal.SIGINT)
    rest, errors = first.communicate(timeout=120)
    stopped = subprocess.CompletedProcess(command, first.returncode, "".join(said) + rest, errors)
    left_alive = tuple(pid for pid in processes if alive(pid))
    ended = results(folder)
    kept = {
        path.parent.name: max(step for _, step in checkpoints(path))
        for path in folder.glob("*/checkpoint")
        if path.parent.name not in ended
    }
    went_on = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert went_on.returncode == 0, went_on.stderr
    return Study(words, folder, stopped, processes, left_alive, ended, kept, went_on)


# --- stopped and called again ---------------------------------------------------------------------


def test_ctrl_c_ends_with_130_and_the_way_to_go_on(study: Study) -> None:
    assert study.stopped.returncode == 130
    assert study.stopped.stderr == "scalelab: stopped; the same command goes on from here.\n"
    assert "Traceback" not in study.stopped.stdout


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps, which names the processes, is absent")
def test_ctrl_c_leaves_no_process(study: Study) -> None:
    assert len(study.processes) >= 1
    assert study.left_alive == ()


def test_runs_that_were_at_work_left_a_checkpoint_and_ended_ones_stay_as_they_are(
    study: Study,
) -> None:
    assert len(study.ended) >= 1
    assert any(step > 0 for step in study.kept.values()), "one was at work, others just begun"
    last = {job.spec.run: job.spec.last_step for job in study.ladder.jobs}
    for run, step in study.kept.items():
        assert step < last[run]
    now = results(study.folder)
    assert {run: now[run] for run in study.ended} == study.ended
    for run, step in study.kept.items():
        lines = (study.folder / run / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps)), "no step was trained twice"
        assert steps[-1] == last[run] > step


def test_what_was_measured_before_the_stop_is_not_measured_again(study: Study) -> None:
    assert "probing the learning rate" in study.stopped.stdout
    assert "] measuring" in study.stopped.stdout
    assert "] measuring" not in study.went_on.stderr
    assert "] probing" not in study.went_on.stderr
    plans = [
        [line.split("] ", 1)[1] for line in text.splitlines() if "] plan: " in line]
        for text in (study.stopped.stdout, study.went_on.stderr)
    ]
    assert plans[0] == plans[1] != []


def test_called_a_third_time_it_trains_nothing_and_finds_the_same(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(study.folder.parent / "cache"))
    reported: list[Path] = []
    # Drawing takes seconds; the report that the second call has drawn is looked at below.
    monkeypatch.setattr("scalelab.report.write", lambda _, path: reported.append(path) or path)
    before = results(study.folder)
    with pytest.raises(SystemExit) as caught:
        cli.main([*study.words, "--workers", "1", "--json"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert results(study.folder) == before
    assert json.loads(out) == study.answer
    assert reported == [study.folder / "report.html"], "the report is made again"


def test_a_dry_run_plans_the_same_sizes_and_keeps_nothing(
    study: Study,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(study.folder.parent / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["new" if word == str(study.folder) else word for word in study.words]
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--dry-run", "--json"])
    assert caught.value.code == 0
    plan = json.loads(capsys.readouterr().out)
    trained = {row["params"] for row in study.answer["runs"]}
    assert {run["params"] for run in plan["runs"]} == trained
    assert all(run["seconds"] > 0 and run["why"] for run in plan["runs"])
    assert 0 < plan["flops"] < float(least_budget().removesuffix("flop"))
    assert list(tmp_path.iterdir()) == []


# --- what it says ---------------------------------------------------------------------------------


def test_json_is_one_object_with_the_documented_keys(study: Study) -> None:
    assert study.went_on.stdout.count("\n") == 1
    answer = study.answer
    assert {"study", "report", "runs", "fits", "held_out"} <= set(answer)
    assert answer["study"] == study.folder.name
    assert Path(answer["report"]) == study.folder / "report.html"
    assert {*SURFACES, "L(N)", "L(D)", "L(C)"} == {*answer["fits"], *answer["missing"]} - {
        "held_out"
    }
    assert SURFACES[0] in answer["fits"]
    for row in answer["runs"]:
        assert set(row) == {"run", "status", "params", "tokens", "loss"}
    for name, found in answer["fits"].items():
        assert {"law", "parameters", "objective", "runs", "diagnosis"} <= set(found), name
        for value in found["parameters"].values():
            assert set(value) == {"value", "low", "high", "level", "stderr"}
    assert set(answer["held_out"]) == {"run", "measured", "predicted"}
    assert set(answer["held_out"]["predicted"]) == {"value", "low", "high", "level"}
    for warning in answer["warnings"]:
        assert set(warning) == {"code", "message"}


def test_rows_are_the_runs_of_the_plan_with_the_losses_on_disk(study: Study) -> None:
    runs = {job.spec.run: job.spec for job in study.ladder.jobs if job.spec.kind == "run"}
    rows = {row["run"]: row for row in study.answer["runs"]}
    assert set(rows) == set(runs)
    assert len(rows) == SIZES * DATA_SIZES
    for run, spec in runs.items():
        kept = read_json(study.folder / run / "result.json")
        assert rows[run] == {name: kept[name] for name in rows[run]}
        assert rows[run]["status"] == "finished"
        assert rows[run]["tokens"] == spec.tokens
        assert 0.3 < rows[run]["loss"] < 5.5


def test_the_largest_size_is_held_out_and_the_others_are_fitted(study: Study) -> None:
    answer, ladder = study.answer, study.ladder
    largest = max(row["params"] for row in answer["runs"])
    held_out = {row["run"] for row in answer["runs"] if row["params"] == largest}
    assert {item["run"] for item in answer["held_out_runs"]} == held_out == ladder.held_out
    most = max((row for row in answer["runs"] if row["run"] in held_out), key=lambda r: r["tokens"])
    assert answer["held_out"]["run"] == most["run"]
    assert answer["held_out"]["measured"] == most["loss"]
    predicted = answer["held_out"]["predicted"]
    assert predicted["low"] < predicted["value"] < predicted["high"]
    # Five sizes of a few thousand parameters: the right neighbourhood is all that can be asked.
    assert predicted["value"] == pytest.approx(most["loss"], rel=0.3)
    for law in SURFACES:
        if law in answer["fits"]:
            assert answer["fits"][law]["runs"] == len(answer["runs"]) - len(held_out)


def test_progress_goes_beside_the_answer_in_lines(study: Study) -> None:
    lines = study.went_on.stderr.splitlines()
    assert all(line.startswith("[") for line in lines)
    for run in {row["run"] for row in study.answer["runs"]} - set(study.ended):
        assert any(f"] {run} finished in " in line for line in lines)
    assert "\x1b" not in study.went_on.stderr


def test_each_choice_is_told_with_its_reason(study: Study) -> None:
    record = recall(study.folder)
    assert record is not None
    assert len(record.decisions.choices) >= 5
    for choice in record.decisions.choices:
        line = f"{choice.name}: {choice.value} - {choice.reason} ({choice.source})"
        assert line in study.stopped.stdout
        assert line in study.went_on.stderr


# --- what it leaves -------------------------------------------------------------------------------


def test_the_record_says_what_was_asked_and_by_what(study: Study) -> None:
    record = read_json(study.folder / "study.json")
    assert record["settings"]["budget"] == least_budget()
    assert record["settings"]["sizes"] == SIZES
    assert Path(record["settings"]["text"][0]).is_dir()
    assert record["scalelab"]
    assert record["argv"][1:] == list(study.words)


def test_the_plan_on_disk_is_what_was_trained(study: Study) -> None:
    ladder = study.ladder
    assert {job.spec.run for job in ladder.jobs} == set(results(study.folder))
    for job in ladder.jobs:
        kept = read_json(study.folder / job.spec.run / "run.json")
        assert json.loads(json.dumps(job.spec.to_dict())) == kept
    budget = float(least_budget().removesuffix("flop"))
    assert ladder.flops < budget


def test_the_report_names_the_held_out_size_and_opens_without_a_network(study: Study) -> None:
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "held-out" in page.lower()
    for run in study.ladder.held_out:
        assert run in page
    assert f"{study.answer['held_out']['measured']:.4f}" in page
    assert "--budget" in page, "the command that makes it again"
    assert 'src="http' not in page
    assert "<link" not in page


def test_figures_lie_beside_the_report_as_png_and_svg(study: Study) -> None:
    folder = study.folder / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert len(names) >= 5
    for name in names:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        assert "<svg" in (folder / f"{name}.svg").read_text(encoding="utf-8")[:400]
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    for name in names:
        assert f"figures/{name}.png" in page


def test_the_tables_and_fits_that_are_kept_give_the_same_fit(study: Study) -> None:
    kept = Fit.load(study.folder / "fits" / f"{SURFACES[0]}.json")
    shown = study.answer["fits"][SURFACES[0]]["parameters"]
    assert {name: one.value for name, one in kept.parameters.items()} == {
        name: one["value"] for name, one in shown.items()
    }
    table = read_runs(study.folder / "runs.csv").frame
    again = fit(SURFACES[0], table, falls=NOISE_FALLS)
    for name, value in kept.values.items():
        assert again.values[name] == pytest.approx(value, rel=1e-9)
    curves = pl.read_csv(study.folder / "curves.csv")
    assert set(curves["run"]) == set(table["run"])
    ends = {row["run"]: row["tokens"] for row in table.iter_rows(named=True)}
    for (run,), curve in curves.group_by("run"):
        assert curve["tokens"].is_sorted()
        assert curve["tokens"].max() == ends[str(run)]


def test_no_checkpoint_and_nothing_half_written_is_left(study: Study) -> None:
    assert not list(study.folder.rglob("*.pt"))
    assert not [path for path in study.folder.rglob(".*") if path.is_file()]


def test_the_folder_refuses_another_study(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(study.folder.parent / "cache"))
    with pytest.raises(SystemExit) as caught:
        cli.main([*study.words, "--seed", "1"])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "seed 0" in err
    assert "seed 1" in err
    assert err.count("\n") == 1


@pytest.mark.gpu
def test_a_gpu_trains_a_study_within_its_time(
    cuda: torch.device,
    words_of_chance: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        cli.main([
            "run", "--text", str(words_of_chance), "--budget", "2m", "--out", str(tmp_path / "out"),
            "--sizes", "5", "--data-sizes", "3", "--context", "32", "--json",
        ])  # fmt: skip
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert f"measuring on 1 x {torch.cuda.get_device_name(cuda)}" in said.err
    assert time.monotonic() - began < 130
    runs = read_runs(tmp_path / "out" / "runs.csv").frame
    assert set(runs["status"]) == {"finished"}
    assert len(runs) == 5 * 3

"""A study's folder is read back from plain files, cut and repeated lines included."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import fake_result, tiny

from scalelab.counting import flops_per_token
from scalelab.errors import DamagedRecordError, RecordError
from scalelab.execution.study import (
    curve_table,
    locked,
    read_run,
    register,
    result,
    run_table,
    specs,
)
from scalelab.studies.evidence import CURVE_SCHEMA, NOISE_SCHEMA, TRAINING_SCHEMA
from scalelab.training.records import read_json, write_json, write_sealed

TRUNK = tiny(
    None, "trunk", steps=40, kind="trunk", stop_step=30, fork_steps=(15, 30), curve_points=0
)
SHORT = tiny(None, "short", steps=20, trunk="trunk", fork_step=15)
LONG = tiny(None, "long", steps=40, trunk="trunk", fork_step=30)
ALONE = tiny(None, "alone", steps=40)
SHAPE_OF_480 = replace(TRUNK.shape, context=48)
RUNS = (TRUNK, SHORT, LONG, ALONE)


def write_lines(path: Path, *lines: dict[str, Any] | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
    path.write_text("".join(texts))


def evals(*points: tuple[int, float]) -> list[dict[str, Any]]:
    return [{"step": step, "tokens": 64 * step, "loss": loss} for step, loss in points]


def metrics(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "loss": loss, "lr": step / 1000, "grad_norm": 1.0}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for spec in RUNS:
        register(tmp_path, spec)
    write_lines(tmp_path / "trunk" / "evals.jsonl", *evals((4, 5.0), (15, 4.0), (16, 3.9)))
    write_lines(
        tmp_path / "trunk" / "metrics.jsonl", metrics(2, 5.5), metrics(10, 4.6), metrics(30, 4.0)
    )
    write_lines(tmp_path / "short" / "evals.jsonl", *evals((17, 3.5), (20, 3.4)))
    write_lines(tmp_path / "short" / "metrics.jsonl", metrics(16, 3.7), metrics(20, 3.3))
    return tmp_path


def curve(study: Path, run: str) -> list[dict[str, Any]]:
    table = curve_table(study, RUNS, {spec.run: 100.0 for spec in RUNS})
    return [row for row in table.iter_rows(named=True) if row["run"] == run]


def test_a_branchs_curve_begins_with_its_trunks_up_to_the_fork(study: Path) -> None:
    rows = curve(study, "short")
    assert [(row["step"], row["loss"]) for row in rows] == [
        (4, 5.0), (15, 4.0), (17, 3.5), (20, 3.4),
    ]  # fmt: skip
    assert {row["trunk"] for row in rows} == {"trunk"}
    assert [row["flops"] for row in rows] == [100.0 * 64 * row["step"] for row in rows]
    assert [row["step"] for row in curve(study, "long")] == [4, 15, 16], "forks later: sees more"
    assert curve(study, "trunk") == [], "a trunk is no run of the table"
    assert curve(study, "alone") == [], "not begun"


def test_what_training_logged_stands_beside_the_held_out_loss(study: Path) -> None:
    rows = curve(study, "short")
    assert [row["train_loss"] for row in rows] == [5.5, 4.6, 3.7, 3.3]
    assert [row["lr"] for row in rows] == [0.002, 0.010, 0.016, 0.020]


def test_a_line_cut_by_a_kill_is_skipped_and_a_repeated_step_keeps_the_last(study: Path) -> None:
    write_lines(
        study / "alone" / "evals.jsonl",
        *evals((5, 4.0), (10, 3.0), (20, 2.5), (10, 2.9)),
        '{"step": 40, "tokens": 25',
    )
    assert [(row["step"], row["loss"]) for row in curve(study, "alone")] == [
        (5, 4.0), (10, 2.9), (20, 2.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["\x00\x00\n", "[]\n", "7\n", '{"loss": 1}\n', '{"step": "x"}\n', '{"step": 4, "loss": 1}\n'],
)
def test_a_line_that_is_no_record_is_skipped(study: Path, line: str) -> None:
    write_lines(study / "alone" / "evals.jsonl", line, *evals((5, 4.0)))
    assert [row["loss"] for row in curve(study, "alone")] == [4.0]


def test_a_diverged_curve_holds_null_where_the_loss_was_not_finite(study: Path) -> None:
    write_lines(study / "alone" / "evals.jsonl", '{"step": 5, "tokens": 320, "loss": null}\n')
    assert [row["loss"] for row in curve(study, "alone")] == [None]


# --- one run --------------------------------------------------------------------------------------


def test_a_run_that_has_not_begun_is_empty(study: Path) -> None:
    values, points, noise, positions, training, octaves = read_run(study, ALONE)
    assert values is None
    assert octaves.height == 0
    assert points.schema == CURVE_SCHEMA
    assert noise.schema == NOISE_SCHEMA
    assert (points.height, noise.height, positions.shape, training.height) == (0, 0, (0,), 0)
    assert training.schema == TRAINING_SCHEMA


def test_what_a_run_has_left_is_read(study: Path) -> None:
    folder = study / "short"
    write_lines(
        folder / "noise.jsonl",
        {"step": 16, "signal": 0.5, "noise": 30.0}, {"step": 20, "signal": None, "noise": None},
    )  # fmt: skip
    fake_result(study, SHORT)
    write_json(folder / "positions.json", {"loss": [4.0, 3.0, None]})
    values, points, noise, positions, training, _ = read_run(study, SHORT)
    assert values is not None
    assert (values["run"], values["status"], values["loss"]) == ("short", "finished", 3.4)
    assert points.schema == CURVE_SCHEMA
    assert points["step"].to_list() == [4, 15, 17, 20], "its trunk's part first"
    assert points["lr"].to_list() == [0.002, 0.010, 0.016, 0.020]
    per_token = flops_per_token(SHORT.shape)
    assert points["flops"].to_list() == [per_token * 64 * step for step in (4, 15, 17, 20)]
    assert noise.schema == NOISE_SCHEMA
    assert noise.rows() == [(16, 0.5, 30.0), (20, None, None)]
    np.testing.assert_array_equal(positions, [4.0, 3.0, np.nan])
    assert training.schema == TRAINING_SCHEMA
    assert training.rows() == [(16, 3.7), (20, 3.3)], "its own part alone"


def test_positions_count_when_the_run_has_ended(study: Path) -> None:
    write_json(study / "short" / "positions.json", {"loss": [4.0]})
    assert len(read_run(study, SHORT).positions) == 0
    fake_result(study, SHORT)
    assert read_run(study, SHORT).positions.tolist() == [4.0]


def test_octaves_of_the_context_are_read_with_their_places(study: Path) -> None:
    write_lines(
        study / "alone" / "evals.jsonl",
        {"step": 5, "tokens": 320, "loss": 4.0},
        {"step": 9, "tokens": 576, "loss": 3.5, "octaves": [5.0, 4.0, 3.0, None]},
    )
    octaves = read_run(study, ALONE).octaves
    assert octaves["step"].to_list() == [9] * 4, "an older version wrote none"
    assert octaves["position"].to_list() == pytest.approx([1, 2, 12**0.5, 40**0.5])
    assert octaves["loss"].to_list() == [5.0, 4.0, 3.0, None]


def test_a_branch_with_another_batch_takes_the_trunks_curve_by_tokens(study: Path) -> None:
    # 480 tokens of the branch a step; the trunk has processed 960 at its step 15.
    wide = replace(SHORT, run="wide", batch_tokens=480, shape=SHAPE_OF_480, fork_step=2,
                   trunk_step=15)  # fmt: skip
    register(study, wide)
    write_lines(study / "wide" / "evals.jsonl", {"step": 3, "tokens": 1440, "loss": 3.0})
    points = read_run(study, wide).curve
    assert points["tokens"].to_list() == [256, 960, 1440]
    assert points["step"].to_list() == [4, 15, 3], "each in its own steps"
    rows = curve_table(study, [wide], {"wide": 1.0})
    assert rows["loss"].to_list() == [5.0, 4.0, 3.0]


def test_run_table_has_a_row_for_every_run_but_trunks(study: Path) -> None:
    fake_result(study, SHORT)
    fake_result(study, TRUNK)
    ended = result(study, SHORT)
    assert ended is not None
    rows = {row["run"]: row for row in run_table(study, RUNS, {"long"}).iter_rows(named=True)}
    assert set(rows) == {"short", "long", "alone"}
    assert rows["short"] == ended | {"held_out": False}
    assert [rows[run]["status"] for run in ("long", "alone")] == ["running", "running"]
    assert [rows[run]["trunk"] for run in ("long", "alone")] == ["trunk", "alone"]
    assert rows["long"]["held_out"]
    assert rows["long"]["loss"] is None


def test_a_run_that_could_not_go_on_is_failed_in_the_table(study: Path) -> None:
    rows = run_table(study, RUNS, set(), failed={"long"}).rows(named=True)
    assert {row["run"]: row["status"] for row in rows} == {
        "short": "running",
        "long": "failed",
        "alone": "running",
    }


def test_one_process_at_a_time_runs_a_study(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="this system has no file locks")
    tmp_path = tmp_path / "made" / "where it is not"
    refused = pytest.raises(RecordError, match="another process is running the study")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path):  # free again
        pass


def test_specs_come_back_equal(tmp_path: Path) -> None:
    odd = replace(ALONE, lr=math.pi * 1e-3, fork_steps=(3, 7), seed=2**40)
    for spec in (*RUNS[:3], odd):
        register(tmp_path, spec)
    assert set(specs(tmp_path)) == {*RUNS[:3], odd}


def test_another_spec_in_the_same_folder_is_refused(study: Path) -> None:
    assert register(study, ALONE) == study / "alone"
    seen = r"alone holds a run with other settings \(lr 0.01, wanted is 0.02\); choose another"
    with pytest.raises(RecordError, match=seen):
        register(study, replace(ALONE, lr=2e-2))


def test_a_file_in_the_way_of_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "alone").write_text("")
    with pytest.raises(RecordError, match=r"cannot make .*alone: .*exists.*--out"):
        register(tmp_path, ALONE)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', '{"run": "alone"}', "[1]"])
def test_a_damaged_run_json_is_named_not_overwritten(tmp_path: Path, content: str) -> None:
    path = register(tmp_path, ALONE) / "run.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"alone/run\.json.*Delete it and run the same command"):
        register(tmp_path, ALONE)
    assert path.read_text() == content


def test_a_run_without_a_result_has_none(study: Path) -> None:
    assert result(study, ALONE) is None
    assert result(study, replace(ALONE, run="never")) is None


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ('{"run": "al', "Unterminated string"),
        ("[]", r"it is \[\]; an object"),
        ("null", "it is null; an object"),
        ("{}", "the record lacks the field 'batch_tokens'"),
        ("[" * 100 + "]" * 100, "nested deeper than 32 levels"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ('{"loss": NaN}', "NaN is no number"),
    ],
)
def test_a_damaged_result_is_named_with_what_to_do(study: Path, content: str, seen: str) -> None:
    (study / "alone" / "result.json").write_text(content)
    with pytest.raises(
        DamagedRecordError, match=rf"alone/result\.json is damaged: .*{seen}"
    ) as got:
        result(study, ALONE)
    assert "Delete the file and run the same command again" in str(got.value)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"loss": "3.4"}, "loss is '3.4'; a number is expected"),
        ({"loss": -0.1}, "loss is -0.1; a number of at least 0 is expected"),
        ({"loss": [3.4]}, r"loss is \[3.4\]; a number"),
        ({"loss": None}, "loss is null; a number of at least 0 is expected of a finished run"),
        ({"loss.other": "x"}, "loss.other is 'x'"),
        ({"steps": 41}, "steps is 41; at most 40"),
        ({"steps": 1e9}, "steps is 1000000000.0; a whole number"),
        ({"steps": 10**400}, "steps is a long number; a finite number of at least 0"),
        ({"tokens": 1}, r"tokens is 1; 40 steps of 64 tokens, 2560, are expected"),
        ({"status": "done"}, "status is 'done'; one of finished, diverged is expected"),
        ({"params_norm": -1}, "params_norm is -1"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_impossible_values_of_a_result_are_named(
    study: Path, changes: dict[str, object], seen: str
) -> None:
    fake_result(study, ALONE, **changes)
    with pytest.raises(DamagedRecordError, match=seen):
        result(study, ALONE)


def test_the_result_of_another_run_is_refused(study: Path) -> None:
    fake_result(study, SHORT)
    (study / "alone" / "result.json").write_text((study / "short" / "result.json").read_text())
    with pytest.raises(RecordError, match="the result of another run: run is 'short', that of al"):
        result(study, replace(ALONE, steps=20))


def test_a_result_with_a_checksum_is_that_which_was_written(study: Path) -> None:
    fake_result(study, ALONE)
    path = study / "alone" / "result.json"
    write_sealed(path, read_json(path), ALONE.fingerprint)
    assert result(study, ALONE) is not None
    path.write_text(path.read_text().replace("3.4", "3.3"))
    with pytest.raises(DamagedRecordError, match="do not match its checksum"):
        result(study, ALONE)

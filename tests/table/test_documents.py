"""JSON in the shapes that tools write: each the same runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scalelab.errors import TableError
from scalelab.table import read_curves, read_runs

RUNS = {
    "a": {"params": 1e6, "tokens": 2e7, "loss": 3.5},
    "b": {"params": 2e6, "tokens": 2e7, "loss": 3.2},
    "c": {"params": 4e6, "tokens": 4e7, "loss": 3.0},
}
ROWS = list(RUNS.values())
NAMES = ["params", "tokens", "loss"]
COLUMNS = {name: [row[name] for row in ROWS] for name in NAMES}


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        {"runs": ROWS},
        {"meta": {"by": "me"}, "data": ROWS},
        {"schema": {"fields": [{"name": "params"}]}, "data": ROWS},
        RUNS,
        {"results": RUNS, "configs": {}},
        COLUMNS,
        {name: {str(i): x for i, x in enumerate(cells)} for name, cells in COLUMNS.items()},
        {"columns": NAMES, "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]},
        [NAMES, *(list(row.values()) for row in ROWS)],
        [
            {"config": {"n_params": {"value": r["params"]}, "tokens": {"value": r["tokens"]}},
             "summary": {"val": {"loss": r["loss"]}}}
            for r in ROWS
        ],
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_every_shape_is_the_same_runs(tmp_path: Path, content: Any, suffix: str) -> None:
    path = tmp_path / f"runs{suffix}"
    if isinstance(content, list) or suffix == ".json":
        path.write_text(json.dumps(content, indent=1 if suffix == ".json" else None))
    else:
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    frame = read_runs(path).frame
    for name in NAMES:
        assert frame[name].to_list() == COLUMNS[name]


def test_runs_by_name_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(RUNS))
    assert read_runs(path).frame["run"].to_list() == ["a", "b", "c"]


def test_nested_lines_are_flattened(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [{"id": key, "config": {"N": r["params"], "D": r["tokens"]}, "summary": r}
            for key, r in RUNS.items()]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows))
    table = read_runs(path)
    assert table.mapping["loss"] == "summary.loss"


def test_a_line_cut_off_by_a_kill_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + '\n{"params": 1e6, "tok')
    with pytest.raises(TableError, match=r"row 4: line 4: not JSON"):
        read_runs(path)
    assert read_runs(path, drop_bad=True).frame.height == 3


STATE = {
    "global_step": 200,
    "total_flos": 1.2e14,
    "num_input_tokens_seen": 20_000_000,
    "log_history": [
        {"loss": 4.0, "step": 100},
        {"eval_loss": 3.9, "eval_runtime": 3.0, "step": 100},
        {"loss": 3.1, "step": 200},
        {"eval_loss": 3.3, "eval_runtime": 3.0, "step": 200},
    ],
}


def test_a_folder_of_trainer_states_is_a_table(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"run{i}").mkdir()
        (tmp_path / f"run{i}" / "trainer_state.json").write_text(json.dumps(STATE))
    frame = read_runs(tmp_path).frame
    assert frame["run"].to_list() == ["run0", "run1", "run2"]
    assert frame["loss"].to_list() == [3.3] * 3, "the last evaluation, not the training loss"
    assert frame["params"].to_list() == pytest.approx([1e6] * 3)


def test_a_trainer_state_without_evaluation_has_no_held_out_loss(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({**STATE, "log_history": STATE["log_history"][::2]}))  # type: ignore[index]
    with pytest.raises(TableError, match="'train_loss' \\(of training, not held out\\)"):
        read_runs(path)


def test_a_trainer_state_is_a_curve_too(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    history = [{**point, "run": "a"} for point in STATE["log_history"]]  # type: ignore[attr-defined]
    path.write_text(json.dumps({**STATE, "log_history": history}))
    assert read_curves(path)["loss"].to_list() == [3.9, 3.3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"params": [1, 2], "loss": [1]}', "their lengths are params 2, loss 1"),
        ('[{"N": 1e6, "N": 2e6}]', "'N' twice"),
        ("[[1, 2], [3, 4]]", "entry 1: seen list"),
        ('[["N", "D"], [1]]', "row 1: 1 cells; the header has 2"),
        ("[]", "no rows"),
        ("{}", "no rows"),
        ('{"runs": []}', "no rows"),
        ("null", "seen NoneType"),
        ('[{"N": 1e6, "D": 1e8, "loss": [3.0, 2.0]}]', "'loss' holds lists or objects"),
    ],
)
def test_what_is_no_table_of_runs_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(TableError, match=words):
        read_runs(path)

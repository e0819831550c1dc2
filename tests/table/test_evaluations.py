"""JSON of evaluation tools: a file a model, a row each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scalelab.errors import TableError
from scalelab.table import read_runs


def harness(model: str, params: float, perplexity: float) -> dict[str, Any]:
    """As lm-evaluation-harness writes it, shortened."""
    return {
        "results": {
            "hellaswag": {"alias": "hellaswag", "acc,none": 0.3, "acc_stderr,none": 0.01},
            "gsm8k": {"exact_match,strict-match": 0.1},
            "wikitext": {"alias": "wikitext", "word_perplexity,none": perplexity},
        },
        "configs": {"hellaswag": {"task": "hellaswag", "metric_list": [{"metric": "acc"}]}},
        "versions": {"hellaswag": 1.0},
        "n-shot": {"hellaswag": 0},
        "config": {
            "model": "hf",
            "model_args": f"pretrained={model},dtype=float32",
            "n_params": params,
            "batch_sizes": [],
            "limit": None,
        },
        "model_name": model,
    }


def test_a_folder_of_results_is_a_row_a_model(tmp_path: Path) -> None:
    for day, (model, params) in enumerate([("org/a", 7e7), ("org/b", 1.6e8)]):
        folder = tmp_path / model.replace("/", "__")
        folder.mkdir()
        name = f"results_2024-01-0{day + 1}T10-00-00.123456.json"
        (folder / name).write_text(json.dumps(harness(model, params, 30.0 - day)))
    table = read_runs(tmp_path, columns={"loss": "ln(results.wikitext.word_perplexity)"})
    assert table.frame["run"].to_list() == ["org/a", "org/b"]
    assert table.frame["params"].to_list() == [7e7, 1.6e8]
    assert table.frame["loss"].to_list() == pytest.approx([3.4012, 3.3673], abs=1e-4)
    assert table.frame["results.hellaswag.acc"].to_list() == [0.3, 0.3]
    assert table.frame["results.gsm8k.exact_match.strict-match"].to_list() == [0.1, 0.1]
    assert "evaluation-read" in {notice.code for notice in table.notices}


OTHERS: dict[str, tuple[Any, str, str]] = {
    "LightEval": (
        {"config_general": {"model_name": "m"}, "versions": {},
         "results": {"lb|hellaswag|10": {"acc": 0.3}}},
        "m", "results.lb|hellaswag|10.acc",
    ),
    "OLMES": (
        {"tasks": [{"alias": a, "metrics": {"acc": 0.3}} for a in ("arc", "boolq")],
         "model_config": {"model": "m"}},
        "m", "results.arc.metrics.acc",
    ),
    "Inspect": (
        {"eval": {"model": "m"}, "samples": [{"id": 1}],
         "results": {"scores": [{"name": "match", "metrics": {"acc": {"value": 0.3}}}]}},
        "m", "results.scores.match.metrics.acc.value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", OTHERS)
def test_other_tools_are_read_alike(tmp_path: Path, tool: str) -> None:
    content, model, column = OTHERS[tool]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TableError, match=r"no column for held-out loss") as error:
        read_runs(path)
    assert column in str(error.value)
    frame = read_runs(path, columns={"loss": column, "params": f"{column}*1e8"}).frame
    assert frame.select("run", "loss").rows() == [(model, 0.3)]


def test_the_report_of_openai_evals_is_a_row(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"spec": {"completion_fns": ["gpt-x"], "eval_name": "t"}},
        *(
            {"run_id": "1", "event_id": i, "type": "match", "data": {"correct": True}}
            for i in (0, 1)
        ),
        {"final_report": {"loss": 3.2, "params": 1e7}},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    table = read_runs(path, columns={"loss": "final_report.loss", "params": "final_report.params"})
    assert table.frame.select("run", "params", "loss").rows() == [("gpt-x", 1e7, 3.2)]


def test_statistics_of_helm_are_named(tmp_path: Path) -> None:
    stats = [{"name": {"name": n, "split": "test"}, "count": 1, "mean": 0.3} for n in ("em", "f1")]
    (tmp_path / "stats.json").write_text(json.dumps(stats))
    with pytest.raises(TableError, match=r"statistics of one evaluation \(HELM: em, f1"):
        read_runs(tmp_path / "stats.json")


def test_runs_by_name_are_no_evaluation(tmp_path: Path) -> None:
    runs = {name: {"params": 1e7, "tokens": 1e9, "loss": 3.2} for name in ("a", "b")}
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"results": runs, "config": {"seed": 1}, "versions": {}}))
    assert read_runs(path).frame["run"].to_list() == ["a", "b"]


def test_lists_in_summaries_break_nothing(tmp_path: Path) -> None:
    """Files whose cells differ in kind: histograms, mixed lists, words for numbers."""
    summary = {"n_params": 1e7, "tokens": 1e9, "val/loss": 3.2, "_wandb": {"runtime": 3}}
    odd: list[dict[str, Any]] = [
        {
            "hist": {"_type": "histogram", "values": [1, 2], "bins": [1.0, 2.0]},
            "list": [1, "a", None],
        },
        {"hist": 3, "list": "x", "mixed": [{"a": 1}, 2]},
    ]
    for number, more in enumerate(odd):
        folder = tmp_path / f"run-{number}" / "files"
        folder.mkdir(parents=True)
        (folder / "wandb-summary.json").write_text(json.dumps({**summary, **more}))
    table = read_runs(f"{tmp_path}/*/files/wandb-summary.json")
    assert table.frame["run"].to_list() == ["run-0", "run-1"]
    assert table.frame["loss"].to_list() == [3.2, 3.2]

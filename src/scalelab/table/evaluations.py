"""JSON of evaluation tools, a file a model, as one row each: ``results.hellaswag.acc``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scalelab.errors import Notice, TableError
from scalelab.table.schema import is_known

_BESIDE = (
    *("versions", "config", "configs", "config_general", "n-shot", "n_shot", "model_name", "model"),
    *("model_config", "lm_eval_version", "group_subtasks", "eval", "summary_general"),
)
"""What tools put beside the results of a model."""
_RESULTS = ("results", "tasks", "metrics", "scores")
_LEFT_OUT = (
    *("versions", "configs", "config_tasks", "n-shot", "n-samples", "n_shot", "group_subtasks"),
    *("higher_is_better", "task_hashes", "samples", "groups", "pretty_env_info", "config_general"),
    *("chat_template", "summary_tasks", "summary_general", "plan", "stats", "details"),
)
"""Settings of the tasks, the same for all models, or of no use in a row."""
_NAMES = ("name", "alias", "task", "task_name", "scorer", "key", "metric")


def evaluation(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of a model that a document of results by task is about, or None where it is none.

    Such are lm-evaluation-harness, LightEval, OLMES and Inspect. Runs by name are none: they hold
    columns of the run table.
    """
    key = next((key for key in _RESULTS if _is_results(content.get(key))), None)
    if key is None or not any(name in content for name in _BESIDE if name != key):
        return None
    row: dict[str, Any] = {}
    if model := _model(content):
        row["run"] = model
    for title, value in content.items():
        if title in (*_LEFT_OUT, key, "model_name") or isinstance(value, list):
            continue
        row[title] = value
    return row | {f"results.{title}": cell for title, cell in _flat(content[key]).items()}


def _is_results(value: object) -> bool:
    """Whether a value holds numbers by task, and no runs."""
    if isinstance(value, list):
        value = _by_name(value)
    if not isinstance(value, Mapping) or not value:
        return False
    parts = list(value.values())
    if not all(isinstance(part, Mapping) for part in parts):
        scores = value.get("scores")
        return isinstance(scores, list) and bool(_by_name(scores))
    return not any(
        is_known(title) for part in parts for title in part if title not in ("name", "task")
    )


def _by_name(value: list[Any]) -> dict[str, Any] | None:
    """A list of objects with different names as objects by name."""
    if not value or not all(isinstance(one, Mapping) for one in value):
        return None
    for key in _NAMES:
        names = [one.get(key) for one in value]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return {
                str(name): {k: v for k, v in one.items() if k != key}
                for name, one in zip(names, value, strict=True)
            }
    return None


def _flat(value: Any) -> dict[str, Any]:
    """Numbers and words by their path; ``acc,none`` of a harness is ``acc``."""
    if isinstance(value, list):
        value = _by_name(value) or {}
    found: dict[str, Any] = {}
    for key, cell in value.items():
        title = re.sub(r",none$", "", str(key)).replace(",", ".")
        if isinstance(cell, Mapping | list):
            found.update({f"{title}.{inner}": leaf for inner, leaf in _flat(cell).items()})
        elif title != "alias":
            found[title] = cell
    return found


def _model(content: Mapping[str, Any]) -> str:
    """The model's name, wherever the tool puts it."""
    parts: list[Any] = [
        content.get(k) for k in ("config_general", "model_config", "config", "eval")
    ]
    places = [content, *(part for part in parts if isinstance(part, Mapping))]
    for place in places:
        args = place.get("model_args")
        if isinstance(args, Mapping):
            args = f"pretrained={args.get('pretrained', '')}"
        if isinstance(args, str) and (match := re.search(r"(?:pretrained|model)=([^,]+)", args)):
            return match[1]
        for key in ("model_name", "model", "model_name_or_path"):
            if isinstance(place.get(key), str) and place[key] not in ("hf", "vllm", "hf-causal"):
                return str(place[key])
    return ""


def told(name: str, rows: list[dict[str, Any]]) -> tuple[Notice, ...]:
    """What is said of a document that was read as the row of one model."""
    if len(rows) != 1:
        return ()
    tasks = [title for title in rows[0] if title.startswith(("results.", "final_report."))]
    if not tasks:
        return ()
    return (
        Notice(
            "evaluation-read",
            f"{name} holds the results of one model and was read as one row, with columns such as "
            f"{tasks[0]}.",
        ),
    )


def events(rows: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The one row of OpenAI's evals, which write a line for each sample and a report at the end."""
    reports = [row for row in rows if any(key.startswith("final_report.") for key in row)]
    if len(reports) != 1:
        return None
    spec = next((row for row in rows if any(key.startswith("spec.") for key in row)), {})
    row = {key: cell for one in (spec, reports[0]) for key, cell in one.items()}
    model = row.get("spec.completion_fns")
    named = model[0] if isinstance(model, list) and len(model) == 1 else model
    kept = {key: cell for key, cell in row.items() if not isinstance(cell, list)}
    return [{**({"run": named} if isinstance(named, str) else {}), **kept}]


def refuse_statistics(name: str, rows: list[Any]) -> None:
    """Raise TableError for HELM's stats.json, whose rows are statistics of one run."""
    names = [row.get("name") for row in rows if isinstance(row, Mapping)]
    found = [one["name"] for one in names if isinstance(one, Mapping) and "name" in one]
    if found and len(found) == len(rows) and all("count" in row for row in rows):
        shown = ", ".join(dict.fromkeys(map(str, found[:4])))
        raise TableError(
            f"{name} holds statistics of one evaluation (HELM: {shown}, ...), and a row per run is "
            "expected. Write a CSV file with a row per model and the column of each metric."
        )

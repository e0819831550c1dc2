"""JSON as tools write it, to rows: lists of runs, runs by name, columns, one run's own record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from scalelab.errors import TableError
from scalelab.table.evaluations import evaluation, refuse_statistics
from scalelab.table.headers import names
from scalelab.table.schema import NAMESPACES, RUN_COLUMNS, is_known

_SCALARS = ("Wall time", "Step", "Value")
"""The cells of TensorBoard's points, which its JSON does not name."""
Rows = list[dict[str, Any]]
_LISTS = ("runs", "data", "rows", "results", "records", "experiments", "trials")
"""Under which tools keep the runs of a document, the likeliest first."""


DEEPEST = 24
"""Levels of lists and objects that are read (assumed; polars needs seconds at 100)."""
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"?')
_OPEN, _CLOSE = [ord("["), ord("{")], [ord("]"), ord("}")]
_MARKS = [*_OPEN, *_CLOSE, ord("\n")]


def read_json(name: str, text: str, *, curve: bool = False) -> Rows:
    """The rows of a JSON document, nested objects flattened to ``config.n_params``.

    Understood are a list of runs, runs by name, columns by name, what pandas writes in any
    orientation, each also inside an object; one run alone; and the trainer_state.json of Hugging
    Face, as one run, or with `curve` as its points. Raises TableError for anything else.
    """
    check_depth(name, text)
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _once(name, pairs))
    except json.JSONDecodeError as error:
        raise TableError(f"{name} line {error.lineno}: not JSON ({error.msg}).") from error
    except RecursionError as error:
        raise TableError(f"{name}: objects in objects, too deep to be a table of runs.") from error
    return [flat(row) for row in _rows(name, content, curve=curve)]


def check_depth(name: str, text: str, *, lines: bool = False) -> None:
    """Raise TableError where brackets stand in brackets deeper than tables of runs do.

    Before anything parses the text: parsers recurse, and polars takes time without end. lines:
    whether each line is a document.
    """
    import numpy as np

    # Strings hold brackets that nest nothing; one without an end goes to the end of its line.
    bare = _STRING.sub("", text).encode("ascii", "replace")
    marks = np.frombuffer(bare, dtype=np.uint8)
    marks = marks[np.isin(marks, _MARKS)]
    steps = np.isin(marks, _OPEN).astype(np.int64) - np.isin(marks, _CLOSE)
    depth = np.cumsum(steps)
    if lines:  # a broken line leaves brackets open, which are none of the next
        starts = np.flatnonzero(marks == ord("\n"))
        base = np.concatenate(([0], depth[starts]))
        depth = depth - base[np.searchsorted(starts, np.arange(len(depth)), side="left")]
    if len(depth) and int(depth.max()) > DEEPEST:
        raise TableError(
            f"{name}: objects in objects, {int(depth.max())} deep, are too deep to be a table of "
            f"runs; {DEEPEST} levels are read."
        )


def _once(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TableError(f"{name}: an object has {twice!r} twice. Remove or rename one.")
    return found


def _rows(name: str, content: object, *, curve: bool) -> Rows:
    if isinstance(content, list):
        return _listed(name, content)
    if not isinstance(content, dict):
        raise TableError(
            f"{name}: seen {type(content).__name__}; a list of runs, each an object, is expected."
        )
    if not content:
        return []
    if isinstance(content.get("log_history"), list):
        return _trainer_state(content, curve=curve)
    if (row := evaluation(content)) is not None:
        return [row]
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        return _listed(name, [content["columns"], *content["data"]])
    inside = [key for key, value in content.items() if _is_table(value)]
    wrapped = [key for key in inside if isinstance(content[key], list)] or [
        key for key in inside if key in _LISTS
    ]
    if all(map(_is_object, content.values())) and not wrapped:
        return by_name(content)
    chosen = [key for key in _LISTS if key in wrapped] or wrapped
    if chosen and (len(wrapped) == 1 or chosen[0] in _LISTS):
        return _rows(name, content[chosen[0]], curve=curve)
    if any(content.get(key) == [] for key in _LISTS):
        return []
    if all(isinstance(value, list) for value in content.values()):
        return _columns(name, content)
    return [content]


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: object) -> bool:
    """A list of objects, or objects by name."""
    cells = list(value.values()) if isinstance(value, dict) else value
    return isinstance(cells, list) and bool(cells) and all(map(_is_object, cells))


def _listed(name: str, content: list[Any]) -> Rows:
    if all(map(_is_object, content)):
        refuse_statistics(name, content)
        return content
    if all(isinstance(p, list) and len(p) == 3 and all(map(_is_number, p)) for p in content):
        return [dict(zip(_SCALARS, point, strict=True)) for point in content]
    header, *rows = content
    if isinstance(header, list) and header and all(isinstance(cell, str) for cell in header):
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, list) or len(row) != len(header):
                size = len(row) if isinstance(row, list) else "no"
                raise TableError(
                    f"{name} row {number}: {size} cells; the header has {len(header)}."
                )
        return [dict(zip(header, row, strict=True)) for row in rows]
    number = next(i for i, row in enumerate(content, start=1) if not _is_object(row))
    kind = type(content[number - 1]).__name__
    raise TableError(f"{name} entry {number}: seen {kind}; a run, an object, is expected.")


def _columns(name: str, content: Mapping[str, list[Any]]) -> Rows:
    heights = {key: len(cells) for key, cells in content.items()}
    if len(set(heights.values())) > 1:
        shown = ", ".join(f"{key} {height}" for key, height in heights.items())
        raise TableError(f"{name}: the columns do not make a table; their lengths are {shown}.")
    return [dict(zip(content, cells, strict=True)) for cells in zip(*content.values(), strict=True)]


def by_name(content: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Objects by name: parts of one run, columns by row (pandas), or runs by their ids."""
    if all(key.lower() in NAMESPACES for key in content):
        return [dict(content)]
    indices = list(next(iter(content.values())))
    # A run may be called c: what more of the names are known says which way the table lies.
    outer, inner = (sum(map(is_known, keys)) / max(len(keys), 1) for keys in (content, indices))
    if outer > inner and all(list(cells) == indices for cells in content.values()):
        return [{key: cells[index] for key, cells in content.items()} for index in indices]
    ids = next(column for column in RUN_COLUMNS if column.name == "run")
    rows = []
    for key, row in content.items():
        own = any(names(title, ids) for title in row)
        rows.append(dict(row) if own else {"run": key, **row})
    return rows


def _trainer_state(content: Mapping[str, Any], *, curve: bool) -> Rows:
    """Hugging Face's record of one run: its totals with the last evaluation, or its points."""
    history: Rows = [entry for entry in content["log_history"] if _is_object(entry)]
    evaluated = [entry for entry in history if "eval_loss" in entry]
    if curve:
        return evaluated
    totals = {
        key: content[key]
        for key in ("global_step", "total_flos", "num_input_tokens_seen")
        if content.get(key)
    }
    totals["steps"] = totals.pop("global_step", None)
    losses = {key: value for entry in history for key, value in entry.items() if "eval_" in key}
    return [{**totals, **losses, **({} if evaluated else {"train_loss": _last(history, "loss")})}]


def _last(history: Rows, key: str) -> Any:
    return next((entry[key] for entry in reversed(history) if key in entry), None)


def flat(row: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A row whose objects are columns: ``{"a": {"b": 1}}`` is ``a.b``."""
    if depth > DEEPEST:
        raise TableError(
            f"objects in objects are too deep to be a table of runs; {DEEPEST} levels are read."
        )
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            parts = flat(value, depth + 1)
            found.update({f"{key}.{inner}": cell for inner, cell in parts.items()})
        else:
            found[str(key)] = value
    return found


def read_lines(name: str, text: str) -> tuple[Rows, dict[int, str]]:
    """The rows of JSON lines, and what is wrong with those that are not JSON, by row.

    Raises TableError when a line holds something else than an object.
    """
    rows: Rows = []
    broken: dict[int, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            row = {}
            broken[len(rows) + 1] = f"line {number}: not JSON ({error.msg})"
        if not isinstance(row, dict):
            raise TableError(f"{name} line {number}: seen {line[:40]!r}; an object is expected.")
        rows.append(flat(row))
    if len(broken) == len(rows):
        raise TableError(f"{name} {next(iter(broken.values()), 'has no rows')}.")
    return rows, broken

"""Tables and lists as HTML. Every text that comes from outside is escaped here, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from scalelab.units import bits_per_byte, format_count, format_duration, format_estimate

if TYPE_CHECKING:
    from scalelab.errors import Notice
    from scalelab.fitting import Fit
    from scalelab.studies.result import Choice, HeldOut, StudyResult


@dataclass(frozen=True)
class Cell:
    """A number as it is shown, with the value that it is sorted by."""

    shown: str
    value: float | None = None


@dataclass(frozen=True)
class Markup:
    """HTML that is inserted as it is: its maker has escaped what comes from outside."""

    html: str


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Cell | Markup]],
    *,
    sortable: bool = False,
    kind: str = "",
) -> str:
    """An HTML table; a column with a `Cell` is set as numbers.

    kind: classes of its style. With ``stack`` a row becomes a block on a phone, each cell under its
    column's name.
    """
    cells = [list(row) for row in rows]
    numeric = [any(isinstance(row[i], Cell) for row in cells) for i in range(len(head))]
    button = '<button type="button">{}</button>' if sortable else "{}"
    heads = "".join(
        f'<th scope="col"{_class(number)}>{button.format(escape(name))}</th>'
        for name, number in zip(head, numeric, strict=True)
    )
    names = head if "stack" in kind.split() else [""] * len(head)
    body = "\n".join(
        "<tr>"
        + "".join(_cell(c, n, name) for c, n, name in zip(row, numeric, names, strict=True))
        + "</tr>"
        for row in cells
    )
    classes = " ".join(filter(None, ("sortable" if sortable else "", kind)))
    styled = f' class="{classes}"' if classes else ""
    return (
        f'<div class="scroll"><table{styled}><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(cell: str | Cell | Markup, number: bool, name: str) -> str:
    start = f"<td{_class(number)}" + (f' data-label="{escape(name)}"' if name else "")
    if isinstance(cell, Markup):
        return f"{start}>{cell.html}</td>"
    if isinstance(cell, str):
        return f"{start}>{escape(cell)}</td>"
    key = "" if cell.value is None else f' data-value="{cell.value!r}"'
    return f"{start}{key}>{escape(cell.shown)}</td>"


def facts(pairs: Mapping[str, str]) -> str:
    """Names and values as a description list."""
    if not pairs:
        return '<p class="none">Not recorded.</p>'
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in pairs.items()
    )
    return f'<dl class="facts">{items}</dl>'


def notices(found: Iterable[Notice]) -> str:
    """Named warnings as a list."""
    items = "".join(
        f"<li><code>{escape(n.code)}</code> {escape(n.message)}</li>" for n in dict.fromkeys(found)
    )
    return f'<ul class="notices">{items}</ul>' if items else '<p class="none">None.</p>'


def _number(value: Any, shape: str) -> Cell:
    if value is None or not math.isfinite(value):
        return Cell("-")
    match shape:
        case "count":
            return Cell(format_count(value), float(value))
        case "duration":
            return Cell(format_duration(value), float(value))
        case _:
            return Cell(format(value, shape).replace("e+", "e"), float(value))


_RUN_COLUMNS = (
    ("params", "N", "count"),
    ("tokens", "D (tokens)", "count"),
    ("flops", "C (FLOP)", ".2e"),
    ("batch_tokens", "Batch (tokens)", ",.0f"),
    ("steps", "Steps", ",.0f"),
    ("lr", "Learning rate", ".3g"),
    ("loss", "Loss (nats/token)", ".4f"),
    ("bits", "Bits per byte", ".4f"),
    ("seconds", "Time", "duration"),
)


def run_table(result: StudyResult) -> str:
    """All runs, sortable, with what became of each and what it was used for."""
    runs = result.all_runs
    if runs.is_empty():
        return '<p class="none">No run was made.</p>'
    names = set(runs.columns) | ({"bits"} if "bytes_per_token" in runs.columns else set())
    columns = [column for column in _RUN_COLUMNS if column[0] in names]
    rows: list[list[str | Cell]] = []
    for run in runs.rows(named=True):
        run = {**run, "bits": _bits(run)}
        status = run.get("status") or "finished"
        used = "held out" if run.get("held_out") else "" if result.conclusions else "fitted"
        used = f"{status}, {used}" if used else status
        rows.append(
            [
                str(run["run"]),
                used if status == "finished" else f"{status}, left out",
                *(_number(run[name], shape) for name, _, shape in columns),
            ]
        )
    return table(["Run", "Status", *(title for _, title, _ in columns)], rows, sortable=True)


def _bits(run: Mapping[str, Any]) -> float | None:
    loss, ratio = run.get("loss"), run.get("bytes_per_token")
    if loss is None or ratio is None or not (math.isfinite(ratio) and ratio > 0):
        return None
    return bits_per_byte(loss, ratio)


def held_out_table(held_out: Sequence[HeldOut]) -> str:
    """Held-out runs: predicted with interval, measured, error."""
    if not held_out:
        return ""
    head = ["Run", "N", "D (tokens)", "Predicted", "Measured", "Error", "In its interval"]
    rows: list[list[str | Cell]] = [
        [
            held.run,
            _number(held.params, "count"),
            _number(held.tokens, "count"),
            Cell(_interval(held.predicted), held.predicted.value),
            _number(held.measured, ".4f"),
            Cell(f"{held.relative_error:+.2%}", held.relative_error),
            "yes" if held.covered else "no",
        ]
        for held in held_out
    ]
    return table(head, rows)


def _interval(estimate: Any) -> str:
    return format_estimate(estimate.value, estimate.low, estimate.high)


def fit_table(fit: Fit) -> str:
    """Parameters and what follows from them, with intervals rounded by their own width."""
    rows: list[list[str | Cell]] = []
    for group, estimates in (("parameter", fit.parameters), ("derived", fit.derived)):
        for name, estimate in estimates.items():
            level = f"{estimate.level:.0%}"
            rows.append([name, Cell(_interval(estimate), estimate.value), level, group])
    return table(["Name", "Estimate", "Level", "Kind"], rows)


def choice_table(choices: Sequence[Choice]) -> str:
    """Every automatic choice with its reason and where the reason comes from."""
    if not choices:
        return '<p class="none">Nothing was chosen automatically.</p>'
    rows = [[choice.name, choice.value, choice.source, choice.reason] for choice in choices]
    return table(["Choice", "Value", "Source", "Reason"], rows)


def plan_table(result: StudyResult) -> str:
    """The runs as they were planned, before anything was trained."""
    head = ["Run", "N", "D (tokens)", "Batch", "Learning rate", "C (FLOP)", "Expected", "Why"]
    rows: list[list[str | Cell]] = [
        [
            run.run,
            _number(run.params, "count"),
            _number(run.tokens, "count"),
            _number(run.batch_tokens, ",.0f"),
            _number(run.lr, ".3g"),
            _number(run.flops, ".2e"),
            _number(run.seconds, "duration"),
            run.why,
        ]
        for run in result.plan
    ]
    return table(head, rows, sortable=True)

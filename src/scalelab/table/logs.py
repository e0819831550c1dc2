"""A log of training, words and numbers in lines, as the points of a curve."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise

from scalelab.errors import Notice, TableError
from scalelab.table.documents import flat
from scalelab.table.files import run_of
from scalelab.table.schema import STEPS, is_known, normalized

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# key, perhaps of several words, perhaps in quotes; a sign or a blank; a number; its unit
_PAIR = re.compile(
    r"(?<![\w.])['\"]?(?P<key>[A-Za-z_][\w/.@-]{0,60}(?: [A-Za-z_(][\w/.()-]{0,30}){0,5}?)['\"]?"
    r"(?:\s*[:=]\s*|\s+)['\"]?"
    r"(?P<value>[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?"
    r"|[-+]?\.[0-9]+|[-+]?(?:nan|inf)\b)(?P<unit>[A-Za-z]*)",
    re.IGNORECASE,
)
_LEVELS = re.compile(r"^(?:(?:info|debug|warning|error|root|rank\d*)[ :]+)+(?=\w)")
_STEP = re.compile(
    r"(?:(?!.*(?:\bper\b|skipped|number of)).* )?(?:step|iter|iteration|update)s?|it"
)
_LOSS = re.compile(r"loss(?!_?scale)|xent|nll")
_HELD_OUT = re.compile("val|test|held|dev|eval")
_BEST = re.compile(r"best|min_|lowest|prev|ema|scale|weight|coef|delta")
_LONGEST = 2000  # characters of a line that are looked at (assumed)
# Lines with a loss, and their share, that make a log; so many with a step too do among any others.
_LEAST, _SHARE, _MANY = 2, 0.2, 5  # (assumed)


def log_lines(text: str, *, surely: bool = False) -> list[dict[str, str | float]]:
    """The pairs of every line with a loss; empty where the text is no log.

    A table is none: its rows hold numbers, and words in the header alone. surely: whether a few
    lines, which prose may hold, do not do.
    """
    lines = [line[:_LONGEST] for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    if not lines or has_header(lines):
        return []
    found = [pairs for line in lines if _losses(pairs := _pairs(line))]
    whole = [pairs for pairs in found if "step" in pairs]
    share = len(found) >= max(_LEAST, _SHARE * len(lines)) and not surely
    return found if share or len(whole) >= _MANY else []


def has_header(lines: Sequence[str]) -> bool:
    """Whether the first line names columns: known names, and as many cells as the next has."""
    for separator in ",;\t|":
        cells = [cell.strip(" '\"") for cell in lines[0].split(separator)]
        alike = len(lines) > 1 and len(lines[1].split(separator)) == len(cells) > 1
        known = any(is_known(cell) or normalized(cell) in STEPS for cell in cells)
        if alike and known:
            return True
    return False


def _pairs(line: str) -> dict[str, str | float]:
    """Names and numbers of a line: of JSON, or of words."""
    start = line.find("{")
    if start >= 0 and line.rstrip().endswith("}"):
        try:
            content = json.loads(line[start:])
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            cells = flat(content).items()
            return {_key(key): cell for key, cell in cells if isinstance(cell, int | float)}
    found: dict[str, str | float] = {}
    for match in _PAIR.finditer(line):
        unit = match["unit"]
        scale = unit if unit in ("k", "K", "M", "B", "G", "T") else ""
        found.setdefault(_key(match["key"]), match["value"].replace(",", "") + scale)
    return found


def _key(words: str) -> str:
    plain = _LEVELS.sub("", " ".join(words.strip(" '\"").split()).lower())
    if normalized(plain) in STEPS or _STEP.fullmatch(plain):
        return "step"
    return plain.replace(" ", "_")


def _losses(pairs: Sequence[str] | dict[str, str | float]) -> list[str]:
    return [key for key in pairs if _LOSS.search(key) and not _BEST.search(key)]


def read_log(
    name: str, text: str, *, curve: bool
) -> tuple[list[str], list[list[str]], Notice] | None:
    """Header and rows (run, step, loss and what stands beside them) of a log, or None.

    Raises TableError where the log is one of several runs, where it has several losses that could
    be meant, and, unless a curve is wanted, always: a log is one run.
    """
    points = log_lines(text)
    if not points:
        return None
    keys = list(dict.fromkeys(key for point in points for key in _losses(point)))
    held_out = [key for key in keys if _HELD_OUT.search(key)]
    chosen = held_out or [key for key in keys if "train" not in key] or keys
    loss = chosen[0]
    first = next(line.strip() for line in text.splitlines() if line.strip())
    if not curve:
        raise TableError(_not_a_table(name, first, points, keys, loss))
    if len(chosen) > 1:
        raise TableError(
            f"{name} is a log with several losses ({', '.join(chosen)}). Write the points of one "
            "as a CSV file with the columns run, step and loss."
        )
    rows, again = _points(name, [point for point in points if loss in point])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    others = [key for key in columns if key not in ("step", loss)]
    kept = [key for key in others if key not in keys]
    titles = [key for key in ("step", loss) if key in columns]
    run = run_of(name)
    cells = [[run, *(str(row.get(key, "")) for key in [*titles, *kept])] for row in rows]
    kind = "held out" if held_out else "of training, as it has none that is called held out"
    message = (
        f"{name} was read as the log of one run, {run}: {len(rows)} points with "
        f"{' and '.join(titles)}; the loss is {loss}, {kind}."
    )
    if again:
        message += f" {again} steps stand there more than once; the last of each was taken."
    return (
        ["run", *("loss" if key == loss else key for key in titles), *kept],
        cells,
        Notice("log-read", message),
    )


def _points(
    name: str, points: list[dict[str, str | float]]
) -> tuple[list[dict[str, str | float]], int]:
    """One row a step, the last where a step stands twice, as after a restart."""
    if not all("step" in point for point in points):
        return points, 0
    steps = [float(point["step"]) for point in points]
    starts = sum(now == steps[0] < before for before, now in pairwise(steps))
    if starts:
        raise TableError(
            f"{name} is a log of {starts + 1} runs: step {points[0]['step']} stands there after "
            "later ones. Write the lines of each into a file of its own."
        )
    by_step = dict(zip(steps, points, strict=True))
    return [by_step[step] for step in sorted(by_step)], len(points) - len(by_step)


def _not_a_table(
    name: str, first: str, points: list[dict[str, str | float]], keys: list[str], loss: str
) -> str:
    last = next(point for point in reversed(points) if loss in point)
    at = f" at step {last['step']}" if "step" in last else ""
    having = " and ".join(["step", *keys] if "step" in last else keys)
    return (
        f"{name} is a log of one run along training ({len(points)} lines with {having}; the first "
        f"line is {first[:60]!r}), and a table with one row a run is expected. Write a CSV file "
        f"with the columns params, tokens and loss and a row for each run; the last {loss} here "
        f"is {last[loss]}{at}, and the size and the tokens of the run are still needed. As a "
        f"learning curve it can be read beside such a table: scalelab isoflop RUNS --curves {name}"
    )

"""What ``print(frame)`` of pandas shows, as cells."""

from __future__ import annotations

import csv
import re

from scalelab.errors import TableError
from scalelab.table.drawn import Drawn

_SHAPE = re.compile(r"\[[0-9]+ rows x [0-9]+ columns\]")
_SERIES = re.compile(r"(?:Name: .*, )?(?:Length: [0-9]+, )?dtype: \w+")
_PROMPT = re.compile(r">>> |In \[[0-9]*\]:|Out\[[0-9]*\]:\s*$")
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
_WRITE = "Write the table with to_csv (index=False after reset_index())."


def printed_table(name: str, text: str) -> Drawn | None:
    """The table of a text that pandas printed, or None where it is none.

    Such a text has no separators but blanks, and one cell more in every row than in the header: the
    index, whose name may stand in a line of its own. Raises TableError where the print leaves cells
    out.
    """
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    while numbered and _PROMPT.match(numbered[0][1]):
        numbered = numbered[1:]
    lines = [line for _, line in numbered]
    if len(lines) < 2:
        return None
    if _SERIES.fullmatch(lines[-1].strip()):
        raise TableError(
            f"{name} is what pandas prints of a Series ({lines[-1].strip()}). {_WRITE}"
        )
    if lines[0].startswith('"') and not re.search(r"[,;|\t]", lines[0]):
        return _from_r([n for n, _ in numbered], lines)
    shape = bool(_SHAPE.fullmatch(lines[-1].strip()))
    if shape:
        numbered, lines = numbered[:-1], lines[:-1]
    header, rows = lines[0].split(), [line.split() for line in lines[1:]]
    indented = lines[0][:1] == " "
    if re.search(r"[,;|\t]", lines[0]) or not (indented or shape):
        return None
    if header[-1] == "\\":
        raise TableError(f"{name} is a frame that pandas printed in several parts. {_WRITE}")
    levels: list[str] = []
    short = len(rows) > 1 and len(rows[0]) < len(rows[1]) and lines[1][:1] != " "
    if short and not any(_NUMBER.fullmatch(cell) for cell in rows[0]):
        levels, rows = rows[0], rows[1:]
    width = len(header) + max(1, len(levels))
    if any(set(row) <= {"...", ".."} or "..." in header for row in rows):
        raise TableError(
            f"{name} is a frame that pandas printed with rows or columns left out (...). {_WRITE}"
        )
    if len(levels) > 1 and any(len(row) < width for row in rows):
        raise TableError(
            f"{name} is a frame that pandas printed, and its index ({', '.join(levels)}) leaves "
            f"cells out that repeat those above. {_WRITE}"
        )
    if not levels and not shape and (aligned := _aligned(lines)):
        return Drawn("aligned", numbered[0][0], numbered[-1][0], aligned[0], aligned[1:])
    if not all(len(row) == width for row in rows):
        if shape or levels:
            raise TableError(
                f"{name} is a frame that pandas printed, and which cell belongs to which column "
                f"is not clear: the header is {lines[0].strip()[:60]!r}. {_WRITE}"
            )
        return None
    names = levels or [""]
    return Drawn("pandas", numbered[0][0], numbered[-1][0], [*names, *header], rows)


def _from_r(numbers: list[int], lines: list[str]) -> Drawn | None:
    """Quoted cells apart by blanks, with the rows' names, as ``write.table`` of R has them."""
    rows = list(csv.reader(lines, delimiter=" ", skipinitialspace=True))
    widths = {len(row) - len(rows[0]) for row in rows[1:]}
    if widths not in ({0}, {1}):
        return None
    header = [*[""] * widths.pop(), *rows[0]]
    return Drawn("R", numbers[0], numbers[-1], header, rows[1:])


def _aligned(lines: list[str]) -> list[list[str]] | None:
    """Cells with single blanks in them, apart by two or more, as many in every line."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    words = any(" " in cell for cell in cells[0])
    return cells if words and len(cells[0]) > 1 and len({len(row) for row in cells}) == 1 else None

"""A text to its table: drawn, written by a tool, the log of a run, or separated cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scalelab.errors import Notice, TableError
from scalelab.table.delimited import from_cells, lines_skipped, read_delimited, refuse_numbers
from scalelab.table.drawn import Drawn, drawn_tables
from scalelab.table.files import DELIMITED
from scalelab.table.logs import has_header, log_lines, read_log
from scalelab.table.marks import latex, plain, struck
from scalelab.table.markup import html_tables, latex_tables
from scalelab.table.printed import printed_table
from scalelab.table.raw import Raw

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n`]*\n(.*?)^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LEFT_OUT = frozenset(
    ("...", "..", "\u2026", "\u22ee", "\u22ef", ":", "\\vdots", "\\cdots", "\\dots")
)
_WAY = "Write the rows as CSV: a header and one row per run."


def read_text(name: str, text: str, suffix: str, *, curve: bool) -> Raw:
    """The cells of a text. suffix: of its file, which says what a text without rules may be.

    Raises TableError where it holds several tables that differ, a table with rows left out, or
    none; and where it is the log of a run and no curve is wanted.
    """
    tables = _tables(name, text)
    if tables and not log_lines("\n".join(_around(text, tables)), surely=True):
        return _of_tables(name, text, tables)
    fences = [match[2] for match in _FENCE.finditer(text)]
    if len(fences) == 1:
        return read_text(name, fences[0], ".txt", curve=curve)
    if log := read_log(name, text, curve=curve):
        header, rows, notice = log
        return from_cells(name, header, rows, (notice,))
    if suffix in DELIMITED:
        return read_delimited(name, text, tabs=suffix in (".tsv", ".tab"))
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if has_header(lines):
        return read_delimited(name, text)
    raise TableError(
        f"{name}: no table was found in it (nor lines of a log with a loss); its first line is "
        f"{lines[0][:60]!r}. {_WAY}"
    )


def _tables(name: str, text: str) -> list[Drawn]:
    if re.search(r"^\s*\{\|", text, re.MULTILINE) and re.search(r"^\s*\|-", text, re.MULTILINE):
        raise TableError(f"{name} is a table of MediaWiki, which is not read. {_WAY}")
    for find in (latex_tables, html_tables):
        if tables := find(name, text):
            return tables
    if tables := drawn_tables(text):
        return tables
    printed = printed_table(name, text)
    return [printed] if printed else []


def _around(text: str, tables: Sequence[Drawn]) -> list[str]:
    """The lines that are in no table."""
    inside = {n for table in tables for n in range(table.first, table.last + 1)}
    lines = enumerate(text.split("\n"), start=1)
    return [line.strip() for n, line in lines if n not in inside and line.strip()]


def _org(cell: str) -> str:
    """A cell of org-mode, whose code stands between equal signs or tildes."""
    return plain(re.sub(r"^([=~])(\S.*)\1$", r"\2", cell))


def _of_tables(name: str, text: str, tables: Sequence[Drawn]) -> Raw:
    clean = {"LaTeX": latex, "org-mode or psql": _org}.get(tables[0].kind, plain)
    headers = [
        [re.sub(r"\[\^\w+\]", "", clean(cell)).strip() for cell in table.header] for table in tables
    ]
    if any(header != headers[0] for header in headers):
        shown = "; ".join(
            f"line {table.first}: {', '.join(header)} ({len(table.rows)} rows)"
            for table, header in zip(tables, headers, strict=True)
        )
        raise TableError(
            f"{name} holds {len(tables)} tables with different columns: {shown}. Save the one "
            "with a row per run in a file of its own."
        )
    rows = [row for table in tables for row in table.rows]
    for number, row in enumerate(rows, start=1):
        filled = [cell for cell in row if cell]
        if (filled and (set(filled) <= _LEFT_OUT)) or "\u2026" in headers[0] or "..." in headers[0]:
            raise TableError(
                f"{name} row {number}: rows or columns were left out where the table was printed "
                f"({' '.join(filled)[:40]}). Write the whole table as CSV."
            )
    refuse_numbers(name, ",".join(headers[0]), ",")
    out = {
        number: f"struck out ({next(cell for cell in row if struck(cell))})"
        for number, row in enumerate(rows, start=1)
        if any(map(struck, row))
    }
    cells = [[clean(cell) for cell in row] for row in rows]
    kind = tables[0].kind
    lines = ", ".join(f"{table.first} to {table.last}" for table in tables)
    changed = sum(
        a != b for old, new in zip(rows, cells, strict=True) for a, b in zip(old, new, strict=True)
    )
    marks = f" Marks (bold, code, links, ...) were removed from {changed} cells." if changed else ""
    notices = [
        Notice("table-found", f"{name}: {kind} table of {len(rows)} rows (lines {lines}).{marks}")
    ]
    if around := _around(text, tables):
        notices.append(lines_skipped(name, around, "around the table"))
    return from_cells(name, headers[0], cells, tuple(notices), broken=out)

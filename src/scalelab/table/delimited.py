"""CSV and its kin as people write them: any separator, titles above the header, ragged rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table.cells import NULLS
from scalelab.table.raw import FILE, ROW, Raw, check_width, numbered
from scalelab.table.schema import is_known

if TYPE_CHECKING:
    import polars as pl

_SEPARATORS = ",;\t|"
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
_HEAD = 1 << 16  # characters in which the header stands (assumed)
_SKIPPED = 5  # lines that a message shows


def read_delimited(name: str, text: str, *, tabs: bool = False) -> Raw:
    """The rows below the header, every cell as text, empty columns left out.

    tabs: whether the suffix says that tabs separate cells. Lines above the header (comments,
    titles, ``sep=;``) are skipped and told. A row with more cells than the header is broken, unless
    what is too much is empty.

    Raises TableError when there is no header, a quote is never closed, or two columns that matter
    have one name.
    """
    import polars as pl

    start, separator, skipped = _header(name, text, tabs=tabs)
    if separator == " ":
        text, start, separator = (
            "\n".join("\t".join(s.split()) for s in text[start:].split("\n")),
            0,
            "\t",
        )
    header, body = _first_record(name, text[start:], separator)
    check_width(name, len(header))
    frame: pl.DataFrame | None = None
    broken: dict[int, str] = {}
    if not re.search(rf"[{separator}] +\"", body[:_HEAD]):  # polars takes no quote after a blank
        keys = [str(number) for number in range(len(header))]
        try:
            frame = pl.read_csv(
                body.encode(),
                has_header=False,
                schema=dict.fromkeys(keys, pl.String),
                separator=separator,
                null_values=list(NULLS),
            )
        except pl.exceptions.NoDataError:
            frame = pl.DataFrame(schema=dict.fromkeys(keys, pl.String))
        except pl.exceptions.PolarsError:
            pass  # ragged or misquoted: read again, slowly, to say which row
    if frame is None:
        frame, broken = _row_by_row(name, header, body, separator)
    frame = numbered(name, _named(name, header, frame))
    frame = frame.filter(pl.any_horizontal(pl.exclude(ROW, FILE).is_not_null()))  # blank lines
    notices = []
    if skipped:
        notices.append(lines_skipped(name, skipped, "above the header"))
    return Raw(name, frame, {(name, row): why for row, why in broken.items()}, tuple(notices))


def lines_skipped(name: str, lines: list[str], where: str) -> Notice:
    """What is said of lines that are no part of the table."""
    shown = "; ".join(repr(line) for line in lines[:_SKIPPED])
    return Notice("lines-skipped", f"{len(lines)} lines {where} of {name} were skipped: {shown}")


def _header(name: str, text: str, *, tabs: bool) -> tuple[int, str, list[str]]:
    """Where the header begins, what separates its cells, and the lines above it."""
    lines = text[:_HEAD].splitlines(keepends=True)
    said, skipped, position = "\t" if tabs and "\t" in text[:_HEAD] else "", [], 0
    for number, line in enumerate(lines):
        plain = line.strip()
        if match := re.fullmatch(r'"?sep=(.)"?', plain, re.IGNORECASE):
            said = match[1]
        elif plain:
            below = next((other for other in lines[number + 1 :] if other.strip()), "")
            separator = said or _separator(plain, below)
            remark = plain.startswith("#") and not _is_header(plain, below, separator)
            titled = separator and not said and _is_title(plain, below, separator)
            if remark or titled:
                skipped.append(plain)
            else:
                refuse_numbers(name, plain, separator or ",")
                if plain.startswith("#"):
                    position += line.index("#") + 1
                return position, separator or ",", skipped
        position += len(line)
    raise TableError(f"{name} has no rows; a header and one row per run are expected.")


def _separator(line: str, below: str) -> str:
    """Of the header, or of the line below a title; empty where the table has one column."""
    for candidate in (line, below):
        bare = re.sub(r'"[^"]*"', "", candidate)
        best = max(_SEPARATORS, key=bare.count)
        if bare.count(best):
            return best
    words = len(line.lstrip("# ").split())
    return " " if words > 1 and words == len(below.split()) else ""


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _is_header(comment: str, below: str, separator: str) -> bool:
    """A header behind a number sign, as numpy.savetxt writes it: numbers of its length follow."""
    names, cells = (
        _cells(line, separator or ",") for line in (comment.lstrip("# "), below.strip())
    )
    numbers = bool(cells) and all(_NUMBER.fullmatch(cell.strip()) for cell in cells)
    return numbers and len(names) == len(cells)


def _is_title(line: str, below: str, separator: str) -> bool:
    filled = [
        sum(bool(c.strip()) for c in _cells(text.strip(), separator)) for text in (line, below)
    ]
    return filled[0] == 1 < filled[1]


def refuse_numbers(name: str, line: str, separator: str) -> None:
    """Raise TableError where a line that is to be the header holds numbers alone."""
    cells = [cell.strip() for cell in _cells(line, separator)]
    if cells and all(_NUMBER.fullmatch(cell) for cell in cells):
        raise TableError(
            f"{name} has no header: its first line is {line[:60]!r}. Add one, such as "
            "params,tokens,loss."
        )


def _first_record(name: str, text: str, separator: str) -> tuple[list[str], str]:
    """The header's cells, and what stands below it."""
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise TableError(f"{name}: the header cannot be read ({error}).") from error
    return [cell.strip() for cell in header], stream.read()


def _row_by_row(
    name: str, header: list[str], body: str, separator: str
) -> tuple[pl.DataFrame, dict[int, str]]:
    reader = csv.reader(
        io.StringIO(body, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    rows: list[list[str]] = []
    started = 0
    try:
        for cells in reader:
            rows.append(cells)
            started = reader.line_num
    except csv.Error as error:
        raise TableError(
            f"{name} row {len(rows) + 1} (line {started + 1} below the header): {error}. "
            "Is a quote opened there and not closed?"
        ) from error
    return _frame(header, rows)


def _frame(header: list[str], rows: list[list[str]]) -> tuple[pl.DataFrame, dict[int, str]]:
    """Rows below the header as columns 0, 1, ..., and the rows with too many cells."""
    import polars as pl

    width = len(header)
    cells = [
        [None if cell in NULLS else cell for cell in row[:width]] + [None] * (width - len(row))
        for row in rows
    ]
    broken = {
        number: f"{len(row)} cells; the header has {width}"
        for number, row in enumerate(rows, start=1)
        if any(cell.strip() for cell in row[width:])
    }
    keys = {str(number): pl.String for number in range(width)}
    return pl.DataFrame(cells, schema=keys, orient="row"), broken


def from_cells(
    name: str,
    header: list[str],
    rows: list[list[str]],
    notices: tuple[Notice, ...],
    *,
    broken: Mapping[int, str] | None = None,
) -> Raw:
    """The table of a header and rows of text, as `read_delimited` gives it.

    broken: row number -> what is wrong with it, beside rows with too many cells.
    """
    import polars as pl

    frame, ragged = _frame(header, rows)
    frame = numbered(name, _named(name, header, frame))
    frame = frame.filter(pl.any_horizontal(pl.exclude(ROW, FILE).is_not_null()))
    wrong = {(name, row): why for row, why in {**(broken or {}), **ragged}.items()}
    return Raw(name, frame, wrong, notices)


def _named(name: str, header: list[str], frame: pl.DataFrame) -> pl.DataFrame:
    """The columns under the header's names: empty ones without a name go, equal twins are one."""
    import polars as pl

    kept: dict[str, pl.Series] = {}
    for number, title in enumerate(header):
        cells = frame[str(number)]
        if not title and cells.str.strip_chars().is_in(["", None], nulls_equal=True).all():
            continue
        label = title or f"column ({number + 1})"
        if title in kept:
            if title and kept[title].equals(cells):
                continue
            if title and is_known(title):
                raise TableError(f"{name}: two columns are named {title!r}. Rename or remove one.")
            label = f"{title} ({number + 1})"
        kept[label] = cells.alias(label)
    return pl.DataFrame(list(kept.values()))

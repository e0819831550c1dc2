"""Tables of LaTeX and HTML, as cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from scalelab.errors import TableError
from scalelab.table.drawn import Drawn

_TABULAR = re.compile(
    r"\\begin\{((?:tabular|tabularx|tabulary|longtable|array|NiceTabular|tblr)\*?)\}(.*?)\\end\{\1\}",
    re.DOTALL,
)
_RULES = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot|centering)\b"
    r"|\\(?:cmidrule|cline|addlinespace|specialrule|rowcolor|noalign)\b(?:\([^)]*\))?"
    r"(?:\[[^\]]*\])?(?:\{[^{}]*\})*"
    r"|\\(?:caption|label)\{[^{}]*\}"
)
_SPAN = re.compile(r"\\multi(column|row)\s*(?:\[[^\]]*\])?\{\s*(-?[0-9]+)\s*\}")
_SPREAD_OUT = "Write it as CSV with the cell's value repeated in each row or column that it spans."


def latex_tables(name: str, text: str) -> list[Drawn]:
    """The tabulars of a text, or its bare rows of ``&`` and ``\\\\``.

    Raises TableError where a cell spans several columns or rows: which of them it belongs to is a
    matter of reading the table.
    """
    found = [
        _tabular(name, text, match.start(2), _arguments(match[2]), len(match[2]))
        for match in _TABULAR.finditer(text)
    ]
    if found:
        return [table for table in found if table]
    rows = [line for line in text.split("\n") if re.search(r"(?<!\\)&.*\\\\", line)]
    most = len(rows) > 1 and 2 * len(rows) >= len(
        [line for line in text.split("\n") if line.strip()]
    )
    bare = _tabular(name, text, 0, text, len(text)) if most else None
    return [bare] if bare else []


def _arguments(body: str) -> str:
    """What follows the arguments of ``\\begin``: the width and the columns."""
    nested = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
    return re.sub(rf"^[ \t]*(?:(?:\[[^\]]*\]|{nested})[ \t]*)*", "", body)


def _tabular(name: str, text: str, start: int, body: str, length: int) -> Drawn | None:
    first = text.count("\n", 0, start) + 1
    body = re.sub(r"(?<!\\)%.*", "", body)
    rows = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\tabularnewline\b", _RULES.sub("", body)):
        for kind, count in _SPAN.findall(row):
            if int(count) != 1:
                shown = " ".join(row.split())[:60]
                raise TableError(
                    f"{name}: a cell of the LaTeX table at line {first} spans {count} {kind}s "
                    f"({shown!r}). {_SPREAD_OUT}"
                )
        single = re.sub(
            r"\\multi(?:column|row)\{[^{}]*\}\s*\{[^{}]*\}\s*(\{(?:[^{}]|\{[^{}]*\})*\})",
            r"\1",
            row,
        )
        if single.strip():
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)&", single)])
    last = first + text.count("\n", start, start + length)
    return Drawn("LaTeX", first, last, rows[0], rows[1:]) if len(rows) > 1 else None


def html_tables(name: str, text: str) -> list[Drawn]:
    """The tables of HTML in a text. Raises TableError where a cell spans several."""
    if "<table" not in text.lower():
        return []
    reader = _Reader(name)
    reader.feed(text)
    return list(reader.tables())


class _Reader(HTMLParser):
    """Rows of cells; marks inside a cell stay as text, to be read like those of Markdown."""

    def __init__(self, name: str) -> None:
        super().__init__(convert_charrefs=True)
        self._name = name
        self._found: list[tuple[int, int, list[list[str]]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line = self.getpos()[0]
        if tag in ("tr", "td", "th"):
            self._close()  # many a page leaves the end of a cell out
        if tag == "table":
            self._found.append((line, line, []))
        elif tag == "tr" and self._found:
            self._found[-1][2].append([])
        elif tag in ("td", "th") and self._found and self._found[-1][2]:
            for key, value in attrs:
                if key in ("colspan", "rowspan") and value not in ("1", "", None):
                    raise TableError(
                        f"{self._name}: a cell of the HTML table at line {self._found[-1][0]} has "
                        f"{key}={value}. {_SPREAD_OUT}"
                    )
            self._cell = []
        elif self._cell is not None:
            self._cell.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._close()
        if tag == "table" and self._found:
            first, _, rows = self._found[-1]
            self._found[-1] = (first, self.getpos()[0], rows)
        elif self._cell is not None:
            self._cell.append(f"</{tag}>")

    def _close(self) -> None:
        if self._cell is not None:
            self._found[-1][2][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def tables(self) -> Iterator[Drawn]:
        for first, last, rows in self._found:
            filled = [row for row in rows if row]
            if len(filled) > 1:
                yield Drawn("HTML", first, last, filled[0], filled[1:])

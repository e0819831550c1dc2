"""Tables drawn with characters: Markdown, org-mode, psql, boxes, and columns under dashes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BARS = str.maketrans(dict.fromkeys("\u2502\u2506\u2503\u2551\u250a\u254e\u2507\u250b", "|"))
_RULE = re.compile(r"[|+:=\s\-\u2500-\u257f]+")
_MARKDOWN_RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
_COLUMNS = re.compile(r"\s*(?:-{2,}|={2,})(?:\s+(?:-{2,}|={2,}))+\s*")
_TYPES = re.compile(
    r"-{2,}|[iuf](8|16|32|64|128)|str|bool|cat|enum|date|null|object|time"
    r"|(datetime|duration|list|decimal|struct|array)\W.*|(var)?char|u?(small|tiny|big|huge)?int(eger|8|16|32|64|128)?"
    r"|double|float|boolean|timestamp|text|real|numeric",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?[kMBGT%]?", re.IGNORECASE)


@dataclass(frozen=True)
class Drawn:
    """A table in a text.

    kind: how it is drawn, for messages. first, last: its lines, from 1. header, rows: its cells,
    stripped, whose marks are still there.
    """

    kind: str
    first: int
    last: int
    header: list[str]
    rows: list[list[str]]


def drawn_tables(text: str) -> list[Drawn]:
    """Every table of a text that has a rule of dashes, in order."""
    lines = [line.translate(_BARS) for line in text.split("\n")]
    found = [*_piped(lines), *_columns(lines)]
    return sorted(found, key=lambda table: table.first)


def split_cells(line: str) -> list[str]:
    """The cells between bars; those at the ends are no cells, an escaped bar is none."""
    text = line.strip()
    text = text.removeprefix("|")
    if text.endswith("|") and not text.endswith("\\|"):
        text = text[:-1]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", text)]


def _is_rule(line: str) -> bool:
    plain = line.strip()
    if not re.search("[|+\u2500-\u257f]", plain):
        return False
    long = bool(re.search("[-=\u2500-\u257f]{2}", plain) and _RULE.fullmatch(plain))
    return long or bool(_MARKDOWN_RULE.fullmatch(plain))


def _piped(lines: Sequence[str]) -> Iterator[Drawn]:
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        if "|" in line.replace("\\|", "") or _is_rule(line):
            if line.strip().startswith("||") and line.strip().endswith("||"):  # Jira's header
                block += [(number, line.strip()[1:-1].replace("||", "|")), (number, "|---|")]
            else:
                block.append((number, line))
        elif block:
            yield from _of_block(block)
            block = []


def _of_block(block: list[tuple[int, str]]) -> Iterator[Drawn]:
    rules = [index for index, (_, line) in enumerate(block) if _is_rule(line)]
    if not rules:
        return
    if rules[0] == 0:
        yield from _boxed(block)
        return
    # Of Markdown the header is the line above the rule; more lines above it are prose.
    start = rules[0] - 1
    for rule in rules[1:]:
        above = split_cells(block[rule - 1][1])
        named = rule - 1 > start + 1 and not any(_NUMBER.fullmatch(cell) for cell in above)
        if named and "+" not in block[rule][1] and not _is_rule(block[rule - 1][1]):
            yield from _under_header(block[start : rule - 1])
            start = rule - 1
    yield from _under_header(block[start:])


def _under_header(block: list[tuple[int, str]]) -> Iterator[Drawn]:
    kind = "org-mode or psql" if "+" in block[1][1] else "Markdown"
    rows = [split_cells(line) for _, line in block[2:] if not _is_rule(line)]
    yield Drawn(kind, block[0][0], block[-1][0], split_cells(block[0][1]), rows)


def _boxed(block: list[tuple[int, str]]) -> Iterator[Drawn]:
    """A box: a rule above the header, one below, and perhaps one between all rows."""
    groups: list[list[list[str]]] = [[]]
    for _, line in block:
        if _is_rule(line):
            groups.append([])
        else:
            groups[-1].append(split_cells(line))
    groups = [group for group in groups if group]
    if not groups:
        return
    head, body = groups[0], groups[1:]
    if not body:  # no rule below the header
        head, body = head[:1], [head[1:]]
    if len(body) > 1 and _is_types(body[0][0]) and len(body[0]) == 1:  # polars
        body = body[1:]
    header = _merged([head[0], *(line for line in head[1:] if not _is_types(line))])
    rows: list[list[str]] = []
    for group in body:
        # Below a rule of its own, a line with empty cells goes on with the cells above it.
        goes_on = len(body) > 1 and any(not all(line) for line in group[1:])
        rows += [_merged(group)] if goes_on else group
    yield Drawn("boxed", block[0][0], block[-1][0], header, rows)


def _is_types(cells: list[str]) -> bool:
    """Whether a line below the header says the kinds of the columns."""
    return any(cells) and all(_TYPES.fullmatch(cell) for cell in cells if cell)


def _merged(lines: list[list[str]]) -> list[str]:
    width = max(map(len, lines))
    padded = [line + [""] * (width - len(line)) for line in lines]
    return [" ".join(filter(None, column)) for column in zip(*padded, strict=True)]


def _columns(lines: Sequence[str]) -> Iterator[Drawn]:
    """Columns under dashes, as tabulate, sqlite and reStructuredText write them."""
    number = 0
    while number < len(lines):
        if not _COLUMNS.fullmatch(lines[number]):
            number += 1
            continue
        top = number + 2 < len(lines) and bool(_COLUMNS.fullmatch(lines[number + 2]))
        head, rule = (number + 1, number + 2) if top else (number - 1, number)
        if head < 0 or not lines[head].strip():
            number += 1
            continue
        starts = [match.start() for match in re.finditer(r"[-=]+", lines[rule])]
        end = rule + 1
        rows = []
        while end < len(lines) and lines[end].strip() and not _COLUMNS.fullmatch(lines[end]):
            rows.append(_cut(lines[end], starts))
            end += 1
        closed = end < len(lines) and bool(_COLUMNS.fullmatch(lines[end]))
        first, last = min(head, number) + 1, end + closed
        yield Drawn("dashed", first, last, _cut(lines[head], starts), rows)
        number = end + closed


def _cut(line: str, starts: list[int]) -> list[str]:
    """A line cut where the dashes begin; where a cell stands across a cut, at wide spaces."""
    if any(line[at - 1 : at].strip() for at in starts if 0 < at <= len(line)):
        return re.split(r"\s{2,}", line.strip())
    ends = [*starts[1:], len(line)]
    return [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]

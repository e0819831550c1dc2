"""Cells without the marks that people put on numbers: bold, footnotes, percent and plus-minus."""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from scalelab.errors import Notice
from scalelab.table import headers
from scalelab.table.raw import Raw, place
from scalelab.table.schema import RUN_COLUMNS

if TYPE_CHECKING:
    import polars as pl

_MARKED = r"[*_`~$%\\\u00b1\u2020\u2021\u00a7\u2070-\u2079\u00b9\u00b2\u00b3^\[<]|\+/?-[ 0-9]"
_NUMBER = r"[-+]?(?:[0-9]+(?:[,.' ][0-9]+)*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMERIC = re.compile(
    rf"{_NUMBER}(?:\s*[x\u00d7*\u00b7]\s*10\s*(?:\^|\*\*)\s*[-+]?[0-9]+)?\s*%?(?:\s?[A-Za-z/]{{1,9}})?"
)
_PLAIN = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_PERCENT = re.compile(rf"({_PLAIN})\s*\\?%")
_PLUS_MINUS = re.compile(
    rf"({_PLAIN})\s*(?:\u00b1|\+/-|\+-|\\pm)\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
)
_FOOTNOTE = re.compile(
    r"(.*[0-9A-Za-z%])\s*(?:[*\u2020\u2021\u00a7]+|\^\{?[a-z*\u2020\u2021]\}?|\[\^\w+\]|\[[a-z0-9]\])"
)
_SUPERSCRIPT = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)
_LINK = re.compile(
    r"!?\[([^\[\]^][^\[\]]*)\]"
    r"(?:\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)|\[[^\[\]^][^\[\]]*\])"
)
_STRUCK = re.compile(r"(~~)(.+?)\1|<(del|s|strike)>(.+?)</\3>|\\sout\{([^{}]*)\}", re.DOTALL)
_SIGNS = (
    (r"\\(?:times|cdot)(?![A-Za-z])", "x"),
    (r"\\pm(?![A-Za-z])", "\u00b1"),
    (r"\\%", "%"),
    (r"\\(?:dagger|dag)(?![A-Za-z])", "\u2020"),
    (r"\\(?:ddagger|ddag)(?![A-Za-z])", "\u2021"),
    (r"\\ast(?![A-Za-z])", "*"),
    (r"\\(?:quad|qquad|hfill)(?![A-Za-z])|\\[,;:! ]|~", " "),
    (r"\\(?:phantom|hphantom)\{[^{}]*\}", ""),
    (r"\\([_&#$])", r"\1"),
    (r"\{,\}", ","),
)
_LONGEST = 100  # characters of a cell that may be a number with marks (assumed)
_ESCAPED = 0xE000  # private characters stand for escaped ones while emphasis is looked for


def plain(cell: str) -> str:
    """The text of a cell of Markdown, HTML or LaTeX, as a reader sees it; struck parts left out."""
    text = _STRUCK.sub(" ", html.unescape(cell))
    text = _LINK.sub(r"\1", text)
    text = re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"<sup>(.*?)</sup>", r"^{\1}", text, flags=re.IGNORECASE)
    text = re.sub(r"</?[a-z][^<>]*>", "", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<!\\)\$([^$]*)\$", lambda match: latex(match[1]), text)
    text = re.sub(
        r"\\([\\`*_{}\[\]()#+\-.!|~<>$])", lambda match: chr(_ESCAPED + ord(match[1])), text
    )
    before = ""
    while before != text:
        before = text
        text = re.sub(r"(?<![\w*])(\*{1,3})(?=\S)(.*?[^\s*])\1(?![\w*])", r"\2", text)
        text = re.sub(r"(?<![\w_])(_{1,3})(?=\S)(.*?[^\s_])\1(?![\w_])", r"\2", text)
        text = re.sub(r"(`+)(.+?)\1", r"\2", text)
    text = re.sub(
        rf"[{chr(_ESCAPED)}-{chr(_ESCAPED + 127)}]", lambda m: chr(ord(m[0]) - _ESCAPED), text
    )
    return _powers(" ".join(text.split()))


def latex(cell: str) -> str:
    """The text of a cell of LaTeX: without commands of shape, ``1.2 \\times 10^{18}`` as x10^18."""
    text = re.sub(r"\\(?:cite[a-z]*|label|ref|footnote|footnotemark|textsuperscript)\b"
                  r"(?:\[[^\]]*\])?(?:\{[^{}]*\})?", "", cell)  # fmt: skip
    text = re.sub(
        r"\\(?:textcolor|colorbox)\{[^{}]*\}|\\(?:cellcolor|color)(?:\[[^\]]*\])?\{[^{}]*\}",
        "",
        text,
    )
    for pattern, sign in _SIGNS:
        text = re.sub(pattern, sign, text)
    before = ""
    while before != text:  # \textbf{\underline{2.76}} from the inside out
        before = text
        text = re.sub(r"\\[A-Za-z]+\*?\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(
        r"\\(?:bfseries|bf|it|itshape|em|small|tiny|scriptsize|boldmath)(?![A-Za-z])", "", text
    )
    text = re.sub(r"(?<!\\)\$", "", text)
    text = re.sub(r"(?<!\^)\{([^{}]*)\}", r"\1", text)
    return _powers(" ".join(text.split()))


def _powers(text: str) -> str:
    """``10^{18}`` and ten with superscripts as 10^18; alone in a cell as 1e18."""
    text = re.sub(r"10\s*\^\{\s*([-+]?[0-9]+)\s*\}", r"10^\1", text)
    text = re.sub(
        r"(?<![0-9.])10([\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)",
        lambda match: "10^" + match[1].translate(_SUPERSCRIPT),
        text,
    )
    return re.sub(r"10\^([-+]?[0-9]+)", r"1e\1", text) if text.startswith("10^") else text


def struck(cell: str) -> bool:
    """Whether all that a cell says is struck out."""
    return bool(_STRUCK.search(cell)) and not plain(cell)


def unmarked(raw: Raw) -> Raw:
    """Numbers without marks: ``**2.76**`` and ``2.76*`` as 2.76, ``31.2%`` as .312.

    The spread of ``3.21 +- 0.02`` becomes a column ``NAME_std``. A number struck out makes its row
    a broken one. Words stay as they are. All of it is told in notices.
    """
    import polars as pl

    frame, notices, broken = raw.frame, list(raw.notices), dict(raw.broken)
    for name in [n for n, kind in frame.schema.items() if kind == pl.String and not _is_word(n)]:
        cells = frame[name]
        marked = cells.str.contains(_MARKED) & (cells.str.len_chars() <= _LONGEST)
        odd = cells.filter(marked.fill_null(value=False)).unique().sort()
        if odd.is_empty():
            continue
        out = [word for word in odd.to_list() if struck(word) and _NUMERIC.match(_inner(word))]
        for index in cells.is_in(out).fill_null(value=False).arg_true().to_list():
            where = place(frame, index)
            broken.setdefault(where, f"column {name} is struck out ({cells[index].strip()})")
        if out:
            cells = cells.replace(dict.fromkeys(out)).alias(name)
        cells, said = _bare(cells, [word for word in odd.to_list() if word not in out])
        cells, more = _fractions(cells)
        frame = frame.with_columns(cells)
        frame, last = _spreads(frame, name)
        notices += [*said, *more, *last]
    return replace(raw, frame=frame, broken=broken, notices=tuple(notices))


def _is_word(title: str) -> bool:
    """Whether a column holds words, such as the ids of runs, whose stars are part of them."""
    return any(headers.names(title, column) for column in RUN_COLUMNS if column.dtype == "str")


def _inner(word: str) -> str:
    """What a struck cell said."""
    return plain(_STRUCK.sub(lambda m: m[2] or m[4] or m[5] or "", word))


def _replaced(cells: pl.Series, new: dict[str, str]) -> tuple[pl.Series, str, int]:
    """The cells with others in their place, an example, and how many there were."""
    changed = cells.is_in(list(new)).fill_null(value=False)
    first = next(iter(new))
    example = f"{first.strip()!r} as {new[first]}"
    return cells.replace(new).alias(cells.name), example, int(changed.sum())


def _bare(cells: pl.Series, odd: list[str]) -> tuple[pl.Series, list[Notice]]:
    """Without emphasis and without footnote marks, where a number is left."""
    emphasis, footnotes = {}, {}
    for word in odd:
        text = plain(word) if not _NUMERIC.fullmatch(word.strip()) else word.strip()
        if match := _FOOTNOTE.fullmatch(text):
            if _NUMERIC.fullmatch(bare := plain(match[1])):
                footnotes[word] = bare
        elif text != word.strip() and (_NUMERIC.fullmatch(text) or _PLUS_MINUS.fullmatch(text)):
            emphasis[word] = text
    notices = []
    if emphasis:
        cells, example, count = _replaced(cells, emphasis)
        notices.append(
            Notice("marks-removed", f"column {cells.name}: {count} cells have marks, {example}.")
        )
    if footnotes:
        cells, example, count = _replaced(cells, footnotes)
        notices.append(
            Notice(
                "footnotes-removed",
                f"column {cells.name}: {count} cells have footnote marks and were read without, "
                f"{example}. A footnote may say that a value is not comparable.",
            )
        )
    return cells, notices


def _fractions(cells: pl.Series) -> tuple[pl.Series, list[Notice]]:
    """A column of percentages as fractions; one with other numbers beside them stays."""
    from scalelab.table.cells import NULLS

    words = [
        word
        for word in cells.unique(maintain_order=True).drop_nulls().to_list()
        if word.strip() not in NULLS
    ]
    matches = {word: _PERCENT.fullmatch(word.strip()) for word in words}
    if not words or not all(matches.values()):
        return cells, []
    new = {word: f"{Decimal(match[1]) / 100}" for word, match in matches.items() if match}
    cells, example, count = _replaced(cells, new)
    message = f"column {cells.name}: {count} percentages were read as fractions, {example}."
    return cells, [Notice("percent", message)]


def _spreads(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[Notice]]:
    """The value and the spread of ``3.21 \u00b1 0.02`` in two columns."""
    import polars as pl

    cells, beside = frame[name].str.strip_chars(), f"{name}_std"
    words = cells.unique(maintain_order=True).drop_nulls().to_list()
    matches = {word: match for word in words if (match := _PLUS_MINUS.fullmatch(word))}
    if not matches or beside in frame.columns:
        return frame, []
    value = cells.replace({word: match[1] for word, match in matches.items()}).alias(name)
    spread = cells.replace_strict(
        {word: float(match[2]) for word, match in matches.items()},
        default=None,
        return_dtype=pl.Float64,
    ).alias(beside)
    first = next(iter(matches))
    message = (
        f"column {name}: {len(cells.filter(cells.is_in(list(matches))))} cells hold a value and "
        f"its spread, {first!r}; the spread was put into column {beside}. "
        f"--std {shlex.quote(beside)} weighs by it."
    )
    return frame.with_columns(value, spread), [Notice("plus-minus", message)]

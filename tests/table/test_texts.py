"""Tables in texts: Markdown, boxes, LaTeX, HTML and what programs print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs

N, LOSS = [1e7, 3e7, 1e8], [3.2, 3.0, 2.9]


def read(folder: Path, text: str, name: str = "runs.md", *, drop_bad: bool = False) -> RunTable:
    path = folder / name
    path.write_text(text)
    return read_runs(path, drop_bad=drop_bad)


def said(table: RunTable) -> dict[str, str]:
    return {notice.code: notice.message for notice in table.notices}


MARKDOWN = """| params | tokens | loss |
|:-------|-------:|:----:|
| 10M    | 1B     | 3.2  |
| 30M    | 1B     | 3.0  |
| 100M   | 1B     | 2.9  |
"""
BOX = """+--------+--------+------+
| params | tokens | loss |
+--------+--------+------+
| 10M    | 1B     | 3.2  |
| 30M    | 1B     | 3.0  |
| 100M   | 1B     | 2.9  |
+--------+--------+------+
3 rows in set (0.00 sec)
"""
POLARS = """shape: (3, 3)
┌───────────┬────────┬──────┐
│ params    ┆ tokens ┆ loss │
│ ---       ┆ ---    ┆ ---  │
│ i64       ┆ f64    ┆ f64  │
╞═══════════╪════════╪══════╡
│ 10000000  ┆ 1e9    ┆ 3.2  │
│ 30000000  ┆ 1e9    ┆ 3.0  │
│ 100000000 ┆ 1e9    ┆ 2.9  │
└───────────┴────────┴──────┘
"""
LATEX = r"""\begin{table}
\begin{tabular}{l r | r@{}}
\toprule
$N$ & Tokens & Val.\ loss \\ \midrule
$1.0\times10^{7}$ & 1B & 3.20 \\  % the smallest
3e7 & 1B & \underline{3.0} \\[2pt]
\cmidrule(lr){1-2}
\multirow{1}{*}{100M} & 1B & $\mathbf{2.9}$ \\
\bottomrule
\end{tabular}
\end{table}"""
HTML = """<table class="x"><thead><tr><th>params</th><th>tokens</th><th>loss</th></tr></thead>
<tr><td>10M</td><td>1B</td><td>3.2</td></tr>
<tr><td>30M<td>1B<td><b>3.0</b>
<tr><td>10<sup>8</sup></td><td>1B</td><td>2.9</td></tr></table>"""
FORMS = {
    "markdown": MARKDOWN,
    "no outer pipes": MARKDOWN.replace("\n| ", "\n").replace(" |\n", "\n").lstrip("| "),
    "bold": MARKDOWN.replace("3.0 ", "**3.0**").replace("| 2.9", "| _2.9_").replace("10M", "`10M`"),
    "math": MARKDOWN.replace("10M ", "$1 \\times 10^{7}$").replace("2.9", "$\\mathbf{2.9}$"),
    "links": MARKDOWN.replace("30M ", "[30M](https://x.org/a_b)").replace("3.2", "3.2[^1]"),
    "fenced": "Our runs:\n\n```csv\nparams,tokens,loss\n10M,1B,3.2\n30M,1B,3.0\n1e8,1B,2.9\n```\n",
    "org": MARKDOWN.replace("|:-------|-------:|:----:|", "|--------+--------+------|")
    .replace("3.0 ", "*3.0*").replace("2.9 ", "=2.9="),
    "psql": " params | tokens | loss\n--------+--------+-----\n 10M | 1B | 3.2\n 30M | 1B | 3.0\n"
    " 100M | 1B | 2.9\n(3 rows)\n",
    "box": BOX,
    "grid": BOX.replace("| 30M", "+--------+--------+------+\n| 30M"),
    "jira": "||params||tokens||loss||\n|10M|1B|3.2|\n|30M|1B|3.0|\n|100M|1B|2.9|\n",
    "polars": POLARS,
    "dashes": "  params  tokens      loss\n--------  --------  ------\n     1e7       1B     3.2\n"
    "     3e7       1B     3.0\n     1e8       1B     2.9\n",
    "rst": "=====  ======  ====\nparams tokens  loss\n=====  ======  ====\n10M    1B      3.2\n"
    "30M    1B      3.0\n100M   1B      2.9\n=====  ======  ====\n",
    "latex": LATEX,
    "latex rows": "params & tokens & loss \\\\ \\hline\n10M & 1B & 3.2 \\\\\n30M & 1B & 3.0 \\\\\n"
    "100M & 1B & \\textbf{2.9} \\\\",
    "html": HTML,
    "pandas": "      params        tokens  loss\n0   10000000  1.000000e+09   3.2\n"
    "1   30000000  1.000000e+09   3.0\n2  100000000  1.000000e+09   2.9\n",
    "pandas, filtered": "      params        tokens  loss\n4   10000000  1.000000e+09   3.2\n"
    "9   30000000  1.000000e+09   3.0\n7  100000000  1.000000e+09   2.9\n\n[3 rows x 3 columns]\n",
    "pandas, index": "                 tokens  loss\nparams                       \n"
    "10000000   1.000000e+09   3.2\n30000000   1.000000e+09   3.0\n100000000  1.000000e+09   2.9\n",
    "a prompt": ">>> print(frame)\n       params  tokens  loss\n0   10000000     1e9   3.2\n"
    "1   30000000     1e9   3.0\n2  100000000     1e9   2.9\n",
    "no rule": MARKDOWN.replace("|:-------|-------:|:----:|\n", ""),
    "R": '"params" "tokens" "loss"\n"1" 1e7 1e9 3.2\n"2" 3e7 1e9 3.0\n"3" 1e8 1e9 2.9\n',
    "aligned": "  params  tokens  val loss\n10M     1B      3.2\n30M     1B      3.0\n"
    "100M    1B      2.9\n",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".txt", ".md", ".csv"])
def test_a_drawn_table_is_its_cells(tmp_path: Path, form: str, suffix: str) -> None:
    table = read(tmp_path, FORMS[form], f"runs{suffix}")
    assert table.frame["params"].to_list() == pytest.approx(N)
    assert table.frame["tokens"].to_list() == [1e9] * 3
    assert table.frame["loss"].to_list() == LOSS
    assert not [name for name in table.frame.columns if "column" in name]


def test_what_stands_around_a_table_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, f"# Sweep\nAll runs | one seed.\n\n{MARKDOWN}\nBold is best.\n")
    assert "Markdown table of 3 rows (lines 4 to 8)" in said(table)["table-found"]
    assert "3 lines around the table" in said(table)["lines-skipped"]
    assert table.frame["loss"].to_list() == LOSS


def test_bold_minima_are_kept_and_counted(tmp_path: Path) -> None:
    table = read(tmp_path, MARKDOWN.replace("3.0 ", "**3.0**"))
    assert "removed from 1 cells" in said(table)["table-found"]


def test_a_struck_row_is_a_bad_one(tmp_path: Path) -> None:
    text = MARKDOWN.replace("3.0 ", "~~3.0~~")
    with pytest.raises(TableError, match=r"row 2: struck out \(~~3.0~~\)"):
        read(tmp_path, text)
    assert read(tmp_path, text, drop_bad=True).frame["loss"].to_list() == [3.2, 2.9]
    corrected = read(tmp_path, MARKDOWN.replace("3.0 ", "~~3.5~~ 3.0"))
    assert corrected.frame["loss"].to_list() == LOSS


def test_tables_of_one_header_are_one(tmp_path: Path) -> None:
    second = MARKDOWN.replace("10M ", "200M").replace("loss", "**loss**")
    table = read(tmp_path, f"## Small\n{MARKDOWN}\n## Large\n{second}")
    assert table.frame.height == 6
    assert "lines 2 to 6, 9 to 13" in said(table)["table-found"]


OTHER = "| lr | wd |\n|---|---|\n| 1 | 2 |\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{MARKDOWN}\n{OTHER}", r"2 tables .*line 1: params, tokens, loss \(3 rows\); line 7"),
        ("no table here\n", "no table was found in it .* first line is 'no table here'"),
        (MARKDOWN.replace("| 30M    | 1B     | 3.0", "| ... | ... | ..."), "left out"),
        (POLARS.replace("30000000  ┆ 1e9    ┆ 3.0 ", "…         ┆ …      ┆ …   "), "left out"),
        (MARKDOWN.replace("| 3.0  |", "| 3.0 | x |"), "row 2: 4 cells; the header has 3"),
        (LATEX.replace("$N$ & Tokens", r"\multicolumn{2}{c}{Model}"), "spans 2 columns"),
        (LATEX.replace(r"\multirow{1}", r"\multirow{2}"), "spans 2 rows"),
        (HTML.replace("<th>params", "<th colspan=2>params"), "has colspan=2"),
        ('{| class="wikitable"\n|-\n! N !! loss\n|-\n| 1 || 2\n|}', "MediaWiki"),
        ("params\n10000000    2.8\n30000000    2.7\nName: loss, dtype: float64\n", "of a Series"),
        (FORMS["pandas"].replace("1   30000000  1.000000e+09   3.0", "..  ...  ..."), "left out"),
        ("                loss\nparams   tokens \n10000000 1e9     3.2\n         4e9     3.1\n",
         r"index \(params, tokens\) leaves cells out"),
        ("|1|2|3|\n|---|---|---|\n|1|2|3|\n", "has no header"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    for name in ("runs.md", "runs.txt"):
        if "no table" in text and name.endswith("txt"):
            continue
        with pytest.raises(TableError, match=words):
            read(tmp_path, text, name)


def test_a_folder_of_tables_may_hold_a_readme(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Runs\n")
    for part, loss in (("a", 3.2), ("b", 3.0)):
        (tmp_path / f"{part}.csv").write_text(f"params,tokens,loss\n1e7,1e9,{loss}\n")
    assert read_runs(tmp_path).frame["run"].to_list() == ["a", "b"]


words = st.text(st.sampled_from("abcXYZ09 .-"), min_size=1, max_size=8).map(str.strip).filter(
    lambda word: bool(set(word) & set("acXYZ"))  # else it may be a number, such as 9b
)  # fmt: skip
marks = st.sampled_from(["{}", "**{}**", "*{}*", "__{}__", "_{}_", "`{}`", "***{}***", "<b>{}</b>"])


@given(
    st.lists(st.tuples(words, st.floats(0.5, 9), marks, marks), min_size=1, max_size=6),
    st.integers(0, 3),
    st.booleans(),
)
def test_markdown_holds_the_cells_of_csv(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, float, str, str]],
    padding: int,
    outer: bool,
) -> None:
    folder, pad = tmp_path_factory.mktemp("tables"), " " * padding
    lines = [["note", "params", "loss"], [":--", "--:", ":-:"]]
    lines += [[mark.format(word), "10M", bold.format(loss)] for word, loss, mark, bold in rows]
    joined = [f"{pad}|{pad}".join(line) for line in lines]
    text = "\n".join(f"|{pad}{line}{pad}|" if outer else line for line in joined)
    csv = "note,params,loss\n" + "\n".join(f"{word},10M,{loss}" for word, loss, _, _ in rows)
    ours, theirs = read(folder, text).frame, read(folder, csv, "runs.csv").frame
    for name in ("params", "loss"):
        assert ours[name].to_list() == theirs[name].to_list()
    squeezed = [" ".join(word.split()) for word, _, _, _ in rows]
    assert ours["note"].to_list() == squeezed


@pytest.mark.shared
def test_the_table_of_an_issue(shared: Path) -> None:
    """The minima are bold: without them nothing is left to fit."""
    from scalelab.fitting import isoflop

    table = read_runs(
        shared / "cases" / "H1-markdown-bold-minimum" / "table.csv", columns={"flops": "budget"}
    )
    assert table.frame.height == 12
    assert isoflop(table.frame).default.N_opt_exponent.value == pytest.approx(0.5, abs=0.01)

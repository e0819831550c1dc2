"""The page: self-contained, escaped, complete, and honest about what is missing."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_sample import FakeEstimate, curves, runs, study

from scalelab import report
from scalelab.errors import Notice, RecordError
from scalelab.report.figures import FIGURES
from scalelab.report.page import figures_of, render
from scalelab.report.theme import DARK, LIGHT
from scalelab.studies.result import Choice, HeldOut, StudyResult

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&\""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks nesting; collects addresses, ids and the text outside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "no inline handlers"
            if name == "src" or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            if tag == "a" and name == "href":
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(study(), tmp_path_factory.mktemp("report"))


def test_the_page_loads_nothing_and_every_link_leads_somewhere(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == []
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"@import|url\(", "".join(style))
    assert "default-src 'none'" in text
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (written.parent / link).is_file()


def test_the_page_is_small_and_has_its_library_once(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    assert text.count("window.vegaEmbed=") == 1
    assert len(Page(text).scripts) == 3


def test_every_figure_has_a_chart_png_and_svg(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    data = json.loads(page.scripts[1])
    assert data["light"] == LIGHT.config()
    assert data["dark"] == DARK.config()
    assert len(data["specs"]) == len(FIGURES)
    for name, spec in data["specs"].items():
        assert name in page.ids
        assert spec["width"] == "container"
        png = (written.parent / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(png[16:20]) > 1000  # pixels across: scale 2
        svg = (written.parent / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert svg.startswith("<svg")
        assert "NaN" not in svg
        assert "undefined" not in svg


def test_the_page_says_what_was_found(written: Path) -> None:
    text = Page(written.read_text(encoding="utf-8")).text
    for words in (
        "Loss against size and data on Python source",
        "704k parameters on 4.7M tokens",
        "0.203 [0.17, 0.24]",
        "0.351 [0.30, inf)",
        "0.634 [0.58, 0.69]",
        "28% less",
        "diverged, left out",
        "n15k-d0.75m",
        "fewer than 5 runs lie on the frontier",
        "non-embedding",
        "the noise scale of the smallest size",
        "measured",
        "assumed",
        "Bits per byte",
        "scalelab run --budget 10m --out runs/python",
        "small-corpus",
    ):
        assert words in text


def test_the_headline_is_five_lines_that_count_right() -> None:
    lines = report.headline(study())
    assert [line.label for line in lines] == [
        "Prediction", "Exponents", "Allocation", "Saved", "Caveats"
    ]  # fmt: skip
    assert "\n" not in "".join(line.text for line in lines)
    assert "27 runs fitted" in lines[-1].text
    assert "4 inside" in lines[0].text


def test_one_held_out_run_outside_its_interval_is_said() -> None:
    held = HeldOut("big", 1e6, 1e7, 1.5, FakeEstimate(1.6, 1.55, 1.65))
    (line, *_) = report.headline(study(held_out=(held,)))
    assert "+6.7%" in line.text
    assert "outside the interval" in line.text


def test_text_from_outside_is_escaped() -> None:
    table = runs().with_columns((pl.lit(EVIL) + pl.col("run")).alias("run"))
    text = render_study(
        study(
            runs=table,
            title=EVIL,
            name=EVIL,
            corpus={EVIL: EVIL},
            conventions={"params": EVIL, "flops": EVIL},
            settings={"text": EVIL},
            machine={EVIL: EVIL},
            notices=(Notice(EVIL, EVIL),),
            choices=(Choice(EVIL, EVIL, EVIL, "assumed"),),
            missing={EVIL: EVIL},
            command=EVIL,
        )
    )
    page = Page(text)
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    json.loads(page.scripts[1])


def test_dollar_signs_are_no_placeholders() -> None:
    assert "${title} costs $5" in Page(render_study(study(name="${title} costs $5"))).text


def test_runs_of_designs_stand_among_all_runs() -> None:
    text = Page(render_study(study(runs=pl.DataFrame(), design_runs=runs()))).text
    assert "No run was made" not in text
    assert f"{runs().height} runs" in text


def render_study(result: StudyResult) -> str:
    return render(result, figures_of(result))


EMPTY = runs(status="diverged").with_columns(pl.lit(None, dtype=pl.Float64).alias("loss"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": (), "missing": {"held_out": "n704k is still running."}}, "still running"),
        ({"held_out": ()}, "no held-out run finished"),
        ({"fits": {}, "missing": {"chinchilla": "4 runs; 6 are needed"}}, "4 runs; 6 are needed"),
        ({"runs": EMPTY, "fits": {}, "held_out": ()}, "32 diverged, left out"),
        ({"runs": pl.DataFrame(), "curves": pl.DataFrame(), "held_out": ()}, "No run was made"),
        ({"savings": {}}, "nothing was saved"),
        ({"plan": (), "choices": (), "corpus": {}, "machine": {}}, "Not recorded"),
        ({"command": ""}, "not recorded"),
    ],
)
def test_missing_parts_are_named(changes: dict[str, Any], words: str) -> None:
    text = Page(render_study(study(**changes))).text
    assert words in text
    assert ".." not in text.replace("...", "")


def test_a_page_without_figures_needs_no_library() -> None:
    bare = study(runs=pl.DataFrame(), curves=pl.DataFrame(), held_out=(), fits={})
    assert "window.vegaEmbed=" not in render_study(bare)
    assert len(render_study(bare)) < 100_000


def test_numbers_that_are_not_finite_are_not_printed_as_numbers() -> None:
    table = runs().with_columns(pl.lit(math.nan).alias("lr"), pl.lit(0.0).alias("bytes_per_token"))
    assert "nan" not in Page(render_study(study(runs=table))).text


def test_writing_again_replaces_and_removes_what_no_longer_holds(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    assert report.write(study(), out) == out
    assert (out.parent / "figures" / "residuals.png").exists()
    report.write(study(fits={}, held_out=()), out)
    assert not (out.parent / "figures" / "residuals.png").exists()
    assert list(out.parent.glob(".*")) == []


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/report.html: the report cannot be written"):
        report.write(study(), tmp_path / "file")


def test_held_out_run_knows_its_error() -> None:
    held = HeldOut("a", 1e6, 1e7, 2.0, FakeEstimate(2.1, 1.9, None))
    assert held.relative_error == pytest.approx(0.05)
    assert held.covered
    assert not replace(held, measured=1.8).covered


def test_importing_the_report_is_cheap() -> None:
    code = (
        "import sys; import scalelab.report, scalelab.studies.result, scalelab.table; "
        "heavy = {'altair', 'vl_convert', 'polars', 'torch', 'scipy', 'numpy'}; "
        "print(*(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_curves_sample_is_in_the_schema() -> None:
    from scalelab.table import CURVE_COLUMNS

    assert set(curves(runs()).columns) <= {column.name for column in CURVE_COLUMNS}

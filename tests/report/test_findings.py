"""Conclusions on the page, on the terminal and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conclusions_sample import conclusions, estimate
from report_sample import study
from test_page import EVIL, Page

from scalelab import report
from scalelab.errors import Notice
from scalelab.fitting import Estimate
from scalelab.report import conclusion_json, findings
from scalelab.report.page import figures_of, render
from scalelab.studies.conclusion import Check, Conclusion, Finding, Number, Series
from scalelab.studies.result import StudyResult

FOUND = conclusions()
NO_LADDER: dict[str, Any] = {
    "fits": {}, "held_out": (), "curves": pl.DataFrame(), "missing": {}, "plan": (), "choices": ()
}  # fmt: skip


def designs_alone(**changes: Any) -> StudyResult:
    return study(**{"conclusions": FOUND, **NO_LADDER, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(designs_alone(), tmp_path_factory.mktemp("report"))


# --- the page ------------------------------------------------------------------------------------


def test_findings_come_first_and_every_link_leads_somewhere(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        found = link[1:] in page.ids if link.startswith("#") else (written.parent / link).is_file()
        assert found, link
    wanted = ["findings", *(f"design-{c.design}" for c in FOUND), "runs", "reproduce"]
    places = [page.ids.index(name) for name in wanted]
    assert places == sorted(places)
    for c in FOUND:
        assert f"#design-{c.design}" in page.links


def test_all_that_a_design_says_is_on_the_page(written: Path) -> None:
    text = Page(written.read_text(encoding="utf-8")).text
    assert "1 of 5 designs agrees with the paper, 1 differs, 3 cannot tell at this scale." in text
    for c in FOUND:
        for words in (c.title, c.statement, *c.left_out, *(n.message for n in c.notices)):
            assert words in text
        for finding in c.findings:
            assert finding.check.claim in text
            assert finding.check.source in text
            assert finding.why in text
        for picture in c.pictures:
            assert picture.title in text
            assert picture.paper in text
    for words in ("0.0803 [0.071, 0.089] (90%)", "0.076 ± 0.02", "4.7 (3.5 to 6.5)", "at most 0.02",
                  "at least 0.1", "0.12000 (-inf, inf)", "Nothing to draw"):  # fmt: skip
        assert words in text


def test_pictures_are_files_by_their_names(written: Path) -> None:
    folder = written.parent / "figures"
    names = {p.name for c in FOUND for p in c.pictures} - {"critical-batch"}  # nothing to draw
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }


def test_without_a_ladder_its_sections_are_left_out() -> None:
    page = Page(render_study(designs_alone(conclusions=FOUND[2:3])))
    assert {"figures", "held-out", "fits", "plan"} & set(page.ids) == set()
    assert "Predicted and measured" not in page.text
    both = Page(render_study(study(conclusions=FOUND[2:3])))
    assert {"findings", "figures", "held-out", "fits", "plan"} <= set(both.ids)
    alone = Page(render_study(study()))
    assert "findings" not in alone.ids


def render_study(result: StudyResult) -> str:
    return render(result, figures_of(result))


def test_text_of_designs_is_escaped() -> None:
    check = Check(EVIL, 1.0, 0.5, 1.5, EVIL, EVIL)
    evil = Conclusion(
        "evil",
        EVIL,
        EVIL,
        (Finding(check, None, EVIL),),
        {EVIL: Number(estimate(1, 0.1), EVIL, EVIL)},
        (
            replace(
                FOUND[3].pictures[0], title=EVIL, caption=EVIL, paper=EVIL, steps=[EVIL] * 7,
                series=(Series([1.0], [2.0], label=EVIL, tips=[EVIL]),),
            ),
        ),
        (Notice(EVIL, EVIL),),
        (EVIL,),
    )  # fmt: skip
    page = Page(render_study(designs_alone(conclusions=(evil,))))
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    json.loads(page.scripts[1])


@pytest.mark.parametrize(
    ("check", "paper", "region"),
    [
        (Check.about("n", 0.76, 0.1, "", ""), "0.76 ± 0.1", "0.66 to 0.86"),
        (Check("n", 5.0, 3.0, 8.0, "", ""), "5 (3 to 8)", "3 to 8"),
        (Check("n", 5.0, 3.0, math.inf, "", ""), "5 (at least 3)", "at least 3"),
        (Check.at_most("n", 0.03, "", ""), "at most 0.03", "at most 0.03"),
        (Check("n", None, -math.inf, math.inf, "", ""), "any number", "any number"),
    ],
)
def test_the_papers_side_in_words(check: Check, paper: str, region: str) -> None:
    assert findings.expected(check) == paper
    assert findings.region(check) == region


def test_ends_that_are_unknown_are_open() -> None:
    assert findings.shown(Estimate(0.5, math.nan, 0.75, 0.9)) == "0.50 (-inf, 0.8]"


# --- the terminal --------------------------------------------------------------------------------


def test_the_headline_has_a_line_for_each_design() -> None:
    lines = [str(line) for line in report.headline(designs_alone())]
    assert [line.split(":")[0] for line in lines] == [c.design for c in FOUND]
    said = replace(FOUND[0], statement="Cannot tell at this scale: wide.")
    bare = replace(FOUND[0], statement="two heads are enough")
    first = [report.headline(study(conclusions=[one]))[0].text for one in (said, bare)]
    assert said.verdict == "cannot tell"
    assert first == [said.statement, f"{bare.verdict}. {bare.statement}"]
    assert not any("\n" in line for line in lines)
    both = report.headline(study(conclusions=FOUND))
    assert [line.label for line in both[len(FOUND) :]] == [
        "Prediction", "Exponents", "Allocation", "Saved", "Caveats"
    ]  # fmt: skip


# --- JSON ----------------------------------------------------------------------------------------

V = {"value", "low", "high", "level"}


@pytest.mark.parametrize("found", FOUND, ids=lambda c: c.design)
def test_a_conclusion_keeps_the_contract_of_json(found: Conclusion, written: Path) -> None:
    answer = conclusion_json(found, written.parent / "figures")
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert set(answer) == {
        "design", "title", "statement", "verdict", "margin", "numbers", "checks", "figures",
        "left_out", "warnings",
    }  # fmt: skip
    assert answer["verdict"] in {"agrees", "differs", "cannot tell"}
    for number in answer["numbers"].values():
        assert set(number) == V | {"unit", "meaning"}
    for check in answer["checks"]:
        assert set(check) == {
            "name", "claim", "source", "paper", "low", "high", "value", "verdict", "why"
        }  # fmt: skip
        assert check["value"] is None or set(check["value"]) == V
    for path in answer["figures"]:
        assert Path(path).is_file()


def test_the_numbers_of_json() -> None:
    ladder, overfit, batch, shape, _ = (conclusion_json(c, Path("figures")) for c in FOUND)
    assert ladder["margin"] == pytest.approx(0.02)
    assert overfit["margin"] == pytest.approx(1.5)
    assert batch["margin"] is None  # a bound
    assert shape["margin"] is None
    assert conclusion_json(Conclusion("a", "A", "Nothing."), Path())["margin"] is None
    alpha = ladder["numbers"]["alpha_N"]
    assert (alpha["value"], alpha["unit"]) == (0.0803, "")
    assert ladder["numbers"]["alpha_D"]["low"] is None
    assert ladder["checks"][1]["value"] is None
    assert ladder["checks"][1]["why"].startswith("three subsets")
    assert shape["checks"][0] | {"low": None, "paper": None} == shape["checks"][0]
    assert overfit["warnings"][0]["code"] == "few-clusters"
    assert ladder["figures"] == ["figures/loss-by-size.png", "figures/all-learning-curves.png"]
    assert batch["figures"] == []

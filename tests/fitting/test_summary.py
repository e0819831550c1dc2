"""A fit in words: everything to know is there, as text and as HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from ladders import alone, ladder

from scalelab.errors import Notice
from scalelab.fitting import Fit, fit
from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import LAWS

NASTY = "<script>alert('N & D')</script>"


# Every law of the loss by what a ladder has.
LADDER_LAWS = [
    law.name
    for law in LAWS.values()
    if {*law.inputs} <= {"params", "tokens"} and law.response == "loss" and law.name != "m4"
]


@pytest.fixture(scope="module", params=LADDER_LAWS)
def found(request: pytest.FixtureRequest) -> Fit:
    table = ladder(between=0.006).with_columns(held_out=pl.col("trunk") == "n6")
    return fit(request.param, table, draws=100, conventions={"params": NASTY})


def facts(found: Fit) -> list[str]:
    """What a reader must find."""
    return [
        found.law.name,
        found.law.equation,
        found.law.reference,
        str(found.estimator),
        str(found.intervals),
        f"{found.runs} fitted, 3 held out",
        NASTY,
        *found.law.inputs,
        *(parameter.name for parameter in found.law.parameters),
        *(parameter.meaning for parameter in found.law.parameters),
        *(str(one) for one in found.parameters.values()),
        *(derived.name for derived in found.law.derived),
        *(str(one) for one in found.derived.values()),
    ]


class Cells(HTMLParser):
    """The text of a page, cell by cell, and which tags it has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_text_says_everything(found: Fit) -> None:
    text = found.summary()
    for fact in facts(found):
        assert fact in text
    assert found.diagnosis.warnings
    for notice in found.diagnosis.warnings:
        assert f"! {notice.code}: {notice.message}" in text
    assert "shared by a trunk" in text


def test_the_html_says_the_same_and_escapes_it(found: Fit) -> None:
    page = Cells()
    page.feed(found._repr_html_())
    assert page.open == []
    assert page.tags == {"div", "table", "tr", "th", "td", "ul", "li", "b"}
    for fact in facts(found):
        assert fact in page.text
    for notice in found.diagnosis.warnings:
        assert notice.code in page.text
        assert notice.message in page.text


def test_html_of_a_table_with_hostile_names_is_inert() -> None:
    table = alone(ladder(sizes=6, data=5)).with_columns(
        run=pl.when(pl.col("run") == "n2-d2").then(pl.lit(NASTY)).otherwise("run"),
        loss=pl.when(pl.col("run") == "n2-d2").then(pl.col("loss") * 1.1).otherwise("loss"),
    )
    found = fit("chinchilla", table, draws=100)
    assert NASTY in next(n.message for n in found.diagnosis.warnings if n.code == "outliers")
    shown = found._repr_html_()
    assert "<script" not in shown
    assert NASTY in unescape(shown)
    coded = replace(
        found,
        diagnosis=replace(found.diagnosis, warnings=(Notice("<b>", "a < b & c"),)),
    )
    assert "<li><b>&lt;b&gt;</b>: a &lt; b &amp; c</li>" in coded._repr_html_()


def test_without_warnings_there_is_no_list_of_them(found: Fit) -> None:
    calm = replace(found, diagnosis=replace(found.diagnosis, warnings=()))
    assert "<ul>" not in calm._repr_html_()
    assert not re.search("^!", calm.summary(), re.MULTILINE)


def test_columns_of_parameters_are_aligned(found: Fit) -> None:
    lines = found.summary().splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("parameter"))
    column = lines[head].index("meaning")
    for line, parameter in zip(lines[head + 1 :], found.law.parameters, strict=False):
        assert line.startswith(parameter.name)
        assert line[column:] == parameter.meaning


def test_what_is_held_is_in_the_equation() -> None:
    law = LAWS["chinchilla"].restrict({"E": 1.05}, {"beta": "alpha"}, {"alpha": (0.1, 0.5)})
    text = fit(law, ladder(), draws=100).summary()
    assert "B / D^beta, E = 1.05, beta = alpha, 0.1 <= alpha <= 0.5" in text
    assert not re.search("^(E|beta) ", text, re.MULTILINE)


def test_how_runs_were_weighed_is_said() -> None:
    found = fit("chinchilla", ladder(), weights="flops^0.5", raw=True, above=2.0, draws=100)
    assert (
        "sum of Huber(delta=0.001) of loss residuals, 2 times as much above the law as below, "
        "weights flops^0.5"
    ) in found.summary()


def test_a_law_over_lists_shows_the_ranges_of_its_numbers() -> None:
    lr = np.where(np.arange(2000) < 1000, 1e-3, 3e-4)
    table = schedule_columns(lr, np.array([200, 400, 800, 1200, 1600, 2000]))
    table = table.with_columns(loss=3 + pl.col("lr_sum") ** -0.5)
    text = fit("annealing", table, draws=100).summary()
    assert re.search(r"^lr_sum +0\.200 to 1\.30, 6 levels$", text, re.MULTILINE)
    assert re.search(r"^annealing +0 to ", text, re.MULTILINE)
    assert "lr_drops" not in text


def test_noise_that_no_trunk_shares_is_one_number() -> None:
    text = fit("chinchilla", alone(ladder()), draws=100).summary()
    assert "shared by" not in text
    assert re.search(r"noise \(sd\) +0\.\d\d% of loss$", text, re.MULTILINE)

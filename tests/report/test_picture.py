"""Pictures of designs: every one can be drawn, and what is drawn is what was measured."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conclusions_sample import LOSS, C, D, N, conclusions
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.report.export import page_spec, write_figure
from scalelab.report.figures import axes
from scalelab.report.figures.keys import keys
from scalelab.report.figures.picture import draw, drawable
from scalelab.report.figures.strokes import MOST_LINE, strokes
from scalelab.report.theme import COLOURS, DARK, LIGHT, PAPER, Theme
from scalelab.studies.conclusion import Axis, Picture, Series

PICTURES = [picture for conclusion in conclusions() for picture in conclusion.pictures]
PLAIN = Axis("Value", log=False)


def picture(*series: Series, x: Axis = N, y: Axis = LOSS, **more: Any) -> Picture:
    return Picture("name", "Title", "Caption.", x, y, series, **more)


def layers(drawn: Picture) -> list[dict[str, Any]]:
    """The layers of a picture's chart, checked against the Vega-Lite schema by altair."""
    spec = draw(drawn).chart.to_dict()
    json.dumps(spec, allow_nan=False)
    found: list[dict[str, Any]] = spec["layer"]
    for layer in found:  # data that all layers share stand above them, or by name beside them
        data = layer.get("data") or spec["data"]
        layer["data"] = data if "values" in data else {"values": spec["datasets"][data["name"]]}
    return found


def mark(layer: dict[str, Any]) -> str:
    return str(layer["mark"]["type"] if isinstance(layer["mark"], dict) else layer["mark"])


def rows(drawn: Picture, kind: str) -> list[dict[str, Any]]:
    return [
        row for layer in layers(drawn) if mark(layer) == kind for row in layer["data"]["values"]
    ]


def legends(drawn: Picture) -> list[dict[str, Any]]:
    found = [layer["encoding"].get("color", {}).get("legend") for layer in layers(drawn)]
    return [legend for legend in found if legend]


def label_of(encoding: dict[str, Any]) -> dict[float, Any]:
    """tick -> label of an axis or legend, read from its expression."""
    shape = re.fullmatch(r"(\[.*\])\[indexof\((\[.*\]), datum.value\)\]", encoding["labelExpr"])
    assert shape
    labels, values = json.loads(shape[1]), json.loads(shape[2])
    assert values == encoding["values"]
    return dict(zip(values, labels, strict=True))


# --- every picture can be drawn ------------------------------------------------------------------

ANY = st.floats(allow_nan=True, allow_infinity=True)
LIKELY = st.floats(1e-6, 1e15)
KINDS = st.sampled_from(["count", "power", "loss", "plain", "percent"])
AXES = st.builds(Axis, st.text(max_size=90), st.booleans(), KINDS)


@st.composite
def any_series(draw_value: st.DrawFn) -> Series:
    size = draw_value(st.sampled_from([0, 1, 2, 3, 7, 260]))
    values = draw_value(st.sampled_from([ANY, LIKELY, st.just(2.5), st.floats(-3, 3)]))

    def column() -> list[float]:
        few = draw_value(st.lists(values, min_size=1, max_size=5))
        return [few[i % len(few)] for i in range(size)]

    ends = draw_value(st.booleans())
    return Series(
        column(),
        column(),
        draw_value(st.sampled_from(["point", "hollow", "line", "dashed"])),
        draw_value(st.sampled_from(["", "a", "b", '"</script>\\']) | st.text(max_size=70)),
        draw_value(st.none() | ANY),
        column() if ends else (),
        column() if ends else (),
        ["tip"] * size if draw_value(st.booleans()) else (),
    )


@given(
    st.builds(
        Picture,
        st.just("name"),
        st.text(max_size=20),
        st.just("Caption."),
        AXES,
        AXES,
        st.lists(any_series(), max_size=4),
        steps=st.just(()) | st.lists(st.text(max_size=30), min_size=1, max_size=9),
    )
)
@settings(max_examples=40)
def test_every_picture_is_a_valid_chart_or_says_why_not(any_picture: Picture) -> None:
    figure = draw(any_picture)
    assert (figure.chart is not None) == drawable(any_picture)
    if figure.chart is None:
        assert "Nothing to draw" in figure.caption
        return
    for layer in layers(any_picture):
        for channel in ("x", "y"):
            if scale := layer["encoding"].get(channel, {}).get("scale"):
                low, high = scale["domain"]
                assert low < high
                assert scale["type"] == "linear" or low > 0
                ticks = layer["encoding"][channel]["axis"]["values"]
                assert len(set(ticks)) == len(ticks) <= 20


def test_a_bar_that_ends_before_it_begins_is_no_bar(tmp_path: Any) -> None:
    axis = Axis("x", log=False)
    for low, high in ((0.0, -np.inf), (np.inf, 1.0)):
        series = Series([0.0, 1.0], [0.0, 1.0], low=[low, 0.5], high=[high, 1.5])
        write_figure(draw(Picture("bar", "Bar", "Caption.", axis, axis, [series])), tmp_path)


@pytest.mark.parametrize("shown", [p for p in PICTURES if drawable(p)], ids=lambda p: p.name)
def test_pictures_of_designs_become_files(shown: Picture, tmp_path: Any) -> None:
    png, svg = write_figure(draw(shown), tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "undefined" not in text
    for series in shown.series:
        if series.label and series.level is None and "the paper's runs" not in series.label:
            assert series.label.replace("'", "&apos;") in text.replace("'", "&apos;")


def test_a_picture_without_a_finite_value_says_so() -> None:
    for nothing in (picture(), picture(Series([], [])), picture(Series([math.nan], [1.0]))):
        assert draw(nothing).chart is None
        assert draw(nothing).caption.startswith("Nothing to draw")


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw(picture(Series([1.0, 2.0], [1.0])))


# --- what is drawn is what was measured ----------------------------------------------------------


def test_points_are_the_finite_ones_with_their_bars_and_words() -> None:
    nan, inf = math.nan, math.inf
    series = Series(
        [10.0, 20.0, nan, 40.0, -1.0],
        [2.0, 3.0, 2.0, inf, 2.0],
        low=[1.9, -inf, 1, 1, 1],
        high=[2.1, 3.2, 3, 3, 3],
        tips=["ten", "twenty", "", "", ""],
    )
    found = rows(picture(series), "point")
    assert [(row["x"], row["y"], row["tip"]) for row in found] == [
        (10, 2, "ten"), (20, 3, "twenty")
    ]  # fmt: skip
    bars = rows(picture(series), "rule")
    (y,) = {tuple(la["encoding"]["y"]["scale"]["domain"]) for la in layers(picture(series))}
    assert (bars[0]["low"], bars[0]["high"]) == (1.9, 2.1)
    assert bars[1]["low"] == pytest.approx(y[0], rel=1e-5)  # open: it reaches the edge
    assert bars[1]["high"] == 3.2


def test_everything_measured_is_in_view_and_laws_do_not_widen_it_much() -> None:
    measured = Series([1e4, 1e6], [2.0, 4.0])
    law = Series(np.geomspace(1, 1e12, 50), np.geomspace(900, 0.01, 50), mark="dashed", label="law")
    (x,) = {tuple(la["encoding"]["x"]["scale"]["domain"])
            for la in layers(picture(measured, law)) if "x" in la["encoding"]}  # fmt: skip
    assert x[0] < 1e4 < 1e6 < x[1]
    assert x[1] / x[0] < (1e6 / 1e4) ** 2.5
    drawn = rows(picture(measured, law), "line")
    assert all(x[0] * 0.999 <= row["x"] <= x[1] * 1.001 for row in drawn)  # cut off at the sides
    for row in drawn:  # still the power law: 900 to 0.01 over twelve decades
        decades = math.log10(row["x"])
        assert math.log10(row["y"]) == pytest.approx(
            math.log10(900) - decades * math.log10(90_000) / 12, abs=1e-4
        )


def test_a_giant_bar_does_not_flatten_the_others() -> None:
    y = [2.0, 2.1, 2.2, 2.3]
    series = Series([1.0, 2.0, 3.0, 4.0], y, low=[1.9, 2.0, 2.1, 1e-9], high=[2.1, 2.2, 2.3, 1e9])
    (domain,) = {tuple(la["encoding"]["y"]["scale"]["domain"]) for la in layers(picture(series))}
    assert 0.5 < domain[0] < 1.9
    assert 2.3 < domain[1] < 10


def test_what_lies_outside_is_named() -> None:
    far = Series([1e12, 1e13], [2.0, 2.0], mark="dashed", label="the paper's runs")
    near = Series([1e4, 1e5], [2.0, 2.1], label="ours")
    caption = draw(picture(near, far)).caption
    assert caption == "Caption. Outside the figure: the paper's runs."
    assert "ours" in str(legends(picture(near, far)))
    assert "paper" not in str(legends(picture(near, far)))


def test_the_papers_figure_is_named() -> None:
    shown = picture(Series([1.0], [2.0]), paper="figure 9")
    assert draw(shown).caption == "Caption. After Kaplan et al. 2020, figure 9."


def test_long_lines_are_thinned_and_keep_their_shape() -> None:
    tokens = np.arange(1, 20_001) * 100.0
    loss = 1.5 + 20 / np.sqrt(tokens)
    found = rows(picture(Series(tokens, loss, mark="line"), x=D), "line")
    assert 50 < len(found) <= MOST_LINE
    assert (found[0]["x"], found[-1]["x"]) == (100, 2e6)
    at = np.interp(np.log(tokens), np.log([row["x"] for row in found]), [row["y"] for row in found])
    assert np.abs(at / loss - 1).max() < 0.005


def test_forty_learning_curves_stay_small() -> None:
    curves = next(p for p in PICTURES if p.name == "all-learning-curves")
    assert len(curves.series) == 40
    assert len(json.dumps(page_spec(draw(curves)))) < 250_000


def test_very_many_points_are_thinned_and_the_caption_says_so() -> None:
    cloud = picture(Series(np.arange(1, 5001), np.arange(1, 5001)))
    assert len(rows(cloud, "point")) == 500
    assert "evenly chosen" in draw(cloud).caption


def test_a_line_goes_through_its_places_in_their_order() -> None:
    back = Series([3.0, 1.0, 2.0], [1.0, 2.0, 3.0], mark="line")
    (line,) = [la for la in layers(picture(back)) if mark(la) == "line"]
    assert [row["x"] for row in line["data"]["values"]] == [3, 1, 2]
    assert line["encoding"]["order"] == {"value": 0}  # no sorting by x


# --- colours and legends -------------------------------------------------------------------------


def test_equal_labels_share_a_colour_and_a_reference_is_in_ink() -> None:
    x, y = [1.0, 2.0], [1.0, 2.0]
    found = keys(
        strokes(
            picture(
                Series(x, y, label="a"),
                Series(x, y, mark="line", label="a"),
                Series(x, y, mark="hollow", label="b"),
                Series(x, y, mark="dashed", label="paper"),
                Series(x, y, mark="dashed", label="other paper"),
                Series(x, y, mark="dashed"),
            )
        )
    )
    a, same, b, paper, other, plain = found.key
    assert a == same
    assert plain is None
    colours = [int(key or 0) % COLOURS for key in (a, b, paper, other)]
    assert len(set(colours)) == 4
    assert colours[2] == 0  # the ink
    assert [label for _, label, _ in found.entries] == ["a", "b", "paper", "other paper"]
    assert len({symbol for _, _, symbol in found.entries}) == 3  # joined points, ring, dashes twice


def test_what_has_no_label_has_one_colour_and_no_entry() -> None:
    x, y = [1.0, 2.0], [1.0, 2.0]
    bare, line, law = (
        Series(x, y),
        Series(x, y, mark="line"),
        Series(x, y, mark="dashed", label="a"),
    )
    found = keys(strokes(picture(bare, line, law, Series(x, y, label="b"))))
    first, same, ink, b = (int(key or 0) % COLOURS for key in found.key)
    assert (first, same, ink, b) == (1, 1, 0, 2)
    assert [label for _, label, _ in found.entries] == ["a", "b"]


def test_the_legend_lists_each_label_once() -> None:
    (legend,) = legends(PICTURES[0])
    assert [" ".join(words) for words in label_of(legend).values()] == [
        "this study", "Kaplan et al. 2020, exponent 0.076"
    ]  # fmt: skip


def test_levels_are_a_ramp_with_a_legend_of_its_own() -> None:
    series = [Series([1.0, 2.0], [2.0, 1.0], level=10.0**i, label="run") for i in range(3)]
    ramp, labels = legends(picture(*series, level_title="Batch"))
    assert ramp["title"] == "Batch"
    assert ramp["values"] == [1, 10, 100]
    assert list(label_of(labels).values()) == [["run"]]
    many = [Series([1.0], [2.0], level=10.0, label=f"run {i}") for i in range(9)]
    assert len(legends(picture(*many))) == 1  # names of runs are for tooltips


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(
    ("theme", "page"), [(LIGHT, "#ffffff"), (DARK, "#14181c"), (PAPER, "#ffffff")]
)
def test_hues_stand_out_from_the_page(theme: Theme, page: str) -> None:
    for colour in (theme.ink, *theme.hues):
        ends = sorted([luminance(colour), luminance(page)])
        assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 3, colour  # WCAG 2.1, 1.4.11
    assert len({theme.ink, *theme.hues}) == COLOURS
    assert theme.config()["range"]["category"] == [theme.ink, *theme.hues]


# Machado et al. 2009, severity 1, on linear RGB.
_SEEN = {
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
}  # fmt: skip


def lab(colour: str, eye: str) -> Any:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    linear = np.clip(_SEEN[eye] @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    t = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("eye", _SEEN)
def test_the_first_five_colours_can_be_told_apart_by_every_eye(theme: Theme, eye: str) -> None:
    shown = [lab(colour, eye) for colour in (theme.ink, *theme.hues[:4])]
    apart = [
        float(np.linalg.norm(a - b)) for i, a in enumerate(shown) for b in shown[:i]
    ]  # CIE 1976: 2.3 is just noticeable
    assert min(apart) > 10


# --- axes ----------------------------------------------------------------------------------------


def view_of(axis: Axis, values: list[float]) -> axes.View:
    return axes.view(axis, values)


@pytest.mark.parametrize(
    ("axis", "values", "labels"),
    [
        (N, [1e4, 1e6], ["10k", "100k", "1M"]),
        (C, [1e14, 1e16], ["10¹⁴", "10¹⁵", "10¹⁶"]),
        (Axis("", kind="percent"), [0.001, 0.1], ["0.1%", "1%", "10%"]),
        (Axis("", log=False, kind="percent"), [0.0, 0.05], ["0%", "1%", "2%", "3%", "4%", "5%"]),
        (Axis(""), [0.01, 1.0], ["0.01", "0.1", "1"]),
        (Axis("", log=False), [-1.0, 1.0], ["\u22121.0", "\u22120.5", "0.0", "0.5", "1.0"]),
        (Axis("", log=False, kind="count"), [0, 4e6], ["0", "1M", "2M", "3M", "4M"]),
    ],
)
def test_ticks_are_written_by_kind(axis: Axis, values: list[float], labels: list[str]) -> None:
    assert view_of(axis, values).labels == labels


def test_a_loss_axis_hugs_the_losses() -> None:
    found = view_of(LOSS, [1.52, 1.61])
    assert 1.5 < found.low < 1.52 < 1.61 < found.high < 1.63
    assert "1.56" in found.labels


@given(st.lists(st.floats(1e-80, 1e80), min_size=1, max_size=6), st.booleans(), KINDS)
def test_views_hold_their_values_and_have_distinct_labels(
    values: list[float], log: bool, kind: Any
) -> None:
    found = view_of(Axis("", log, kind), values)
    assert all(found.inside(value) for value in values)
    assert len(found.ticks) == len(found.labels) <= 20
    places = [found.place(value) for value in values]
    assert [found.place(found.value(place)) for place in places] == pytest.approx(places, abs=1e-9)


def steps_of(names: list[str]) -> dict[str, Any]:
    points = Series(range(len(names)), [1.0] * len(names))
    (layer,) = layers(picture(points, steps=names))
    x: dict[str, Any] = layer["encoding"]["x"]
    return x


def test_categories_are_named_places() -> None:
    x = steps_of(["LSTM", "Transformer", 'quite odd "name"'])
    assert label_of(x["axis"]) == {0: ["LSTM"], 1: ["Transformer"], 2: ["quite odd", '"name"']}
    assert x["scale"]["domain"] == [-0.5, 2.5]
    assert "labelAngle" not in x["axis"]
    assert steps_of(["a rather long name"] * 9)["axis"]["labelAngle"] == -35


def test_long_titles_are_broken() -> None:
    title = "Tokens to reach a loss relative to those that the compute-efficient size needs"
    (layer,) = layers(picture(Series([1.0], [1.0]), x=Axis(title)))
    lines = layer["encoding"]["x"]["axis"]["title"]
    assert " ".join(lines) == title
    assert max(map(len, lines)) <= axes.TITLE_LETTERS


def shown_tooltip(drawn: Picture) -> Any:
    return next(la["encoding"]["tooltip"] for la in layers(drawn) if mark(la) == "point")


def test_tooltips_are_the_designs_words_or_the_numbers() -> None:
    assert shown_tooltip(picture(Series([1.0], [2.0], tips=["said"])))["field"] == "tip"
    bare = shown_tooltip(picture(Series([1.0], [2.0], label="a", low=[1.0], high=[3.0])))
    assert [entry["field"] for entry in bare] == ["label", "x", "y", "low", "high"]


def every_value(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        for value in found.values():
            yield from every_value(value)
    elif isinstance(found, list):
        for value in found:
            yield from every_value(value)
    else:
        yield found


def test_a_page_loads_nothing_for_a_figure() -> None:
    spec = page_spec(draw(PICTURES[0]))
    assert not [text for text in every_value(spec) if isinstance(text, str) and "://" in text]

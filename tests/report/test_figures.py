"""Figures: what they show agrees with the study, and axes that can be read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_sample import DATA, SIZES, TRUTH, FakeEstimate, FakeFit, curves, runs, study

from scalelab.report.figures import FIGURES, base
from scalelab.report.figures.compute import cost_per_token, frontier
from scalelab.units import parse_count

FULL = study()


def encodings(spec: Any) -> Iterator[dict[str, Any]]:
    if isinstance(spec, dict):
        if "encoding" in spec:
            yield spec["encoding"]
        for part in spec.values():
            yield from encodings(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from encodings(part)


@pytest.mark.parametrize("make", FIGURES, ids=lambda make: make.__name__)
def test_every_figure_is_a_valid_chart_with_titles_and_log_axes(make: Any) -> None:
    figure = make(FULL)
    spec = figure.chart.to_dict()  # checked against the Vega-Lite schema by altair
    titles = {
        channel: encoding[channel]["axis"]["title"]
        for encoding in encodings(spec)
        for channel in ("x", "y")
        if encoding.get(channel, {}).get("axis")
    }
    assert titles.keys() == {"x", "y"}
    assert all(word.strip() for word in titles.values())
    assert figure.caption.endswith(".")
    assert "loss" in " ".join([*titles.values(), figure.caption]).lower()
    scales = [e["y"]["scale"] for e in encodings(spec) if "scale" in e.get("y", {})]
    assert all(scale.get("domain") for scale in scales)


def test_points_are_the_finished_runs_and_held_out_ones_are_marked() -> None:
    rows = base.points(FULL)
    assert len(rows) == len(SIZES) * len(DATA) - 1  # one diverged
    assert {row["params"] for row in rows if row["held_out"]} == {SIZES[-1]}


def test_points_that_cannot_stand_on_a_log_axis_are_left_out() -> None:
    table = runs().with_columns(
        pl.when(pl.col("params") == SIZES[0]).then(math.nan).otherwise("loss").alias("loss")
    )
    assert SIZES[0] not in {row["params"] for row in base.points(study(runs=table))}


def test_a_trunk_that_is_no_run_of_the_table_is_drawn_in_its_size() -> None:
    table = runs()
    trunk = curves(table).head(3).with_columns(pl.lit("n6k").alias("run"))
    rows = base.curve_points(trunk, table, "tokens")
    assert [row["params"] for row in rows] == [SIZES[0]] * 3
    start = trunk.with_columns(pl.lit(0.0).alias("tokens"))
    assert base.curve_points(start, table, "tokens") == []


def test_frontier_is_chinchillas_closed_form() -> None:
    rows = [
        {"params": size, "tokens": tokens, "flops": 6.0 * size * tokens}
        for size in SIZES
        for tokens in DATA
    ]
    found = frontier(FakeFit(), rows)
    t = TRUTH
    ratio = (t["alpha"] * t["A"] / (t["beta"] * t["B"])) ** (1 / (t["alpha"] + t["beta"]))
    step = (SIZES[-1] / SIZES[0] * 900) ** (1 / 120)  # of the grid of sizes
    for row in found:
        best = ratio * (row["flops"] / 6) ** (t["beta"] / (t["alpha"] + t["beta"]))
        assert abs(math.log(row["params"] / best)) <= math.log(step) / 2 * 1.001
        assert row["low"] < row["loss"] < row["high"]
    losses = [row["loss"] for row in found]
    assert losses == sorted(losses, reverse=True)


def test_cost_per_token_goes_through_the_runs_and_on_beyond() -> None:
    rows = [{"params": n, "tokens": 10.0, "flops": 60.0 * n} for n in (1e4, 1e5, 1e6)]
    cost = cost_per_token(rows)
    asked = np.array([1e3, 1e4, 3e4, 1e6, 1e8])
    assert cost(asked) == pytest.approx(6 * asked, rel=1e-12)
    assert cost_per_token(rows[:1])(asked) == pytest.approx(6 * asked, rel=1e-12)


@given(st.floats(0.5, 10), st.floats(1e-4, 8))
def test_loss_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    (start, end), ticks = base.loss_domain([low, low + span])
    assert start < low < low + span < end
    assert start > 0.85 * low
    assert 2 <= len(ticks) <= 12
    assert all(start <= tick <= end for tick in ticks)


@given(st.floats(1e3, 1e20), st.floats(1.0, 1e12))
def test_log_ticks_are_few_and_inside(low: float, factor: float) -> None:
    start, end = base.padded([low, low * factor])
    ticks = base.log_ticks(start, end)
    assert 3 <= len(ticks) <= 12
    assert len(set(ticks)) == len(ticks)
    assert all(start * 0.95 <= tick <= end * 1.05 for tick in ticks)


def test_labels_say_the_tick() -> None:
    expression = base._labels([1e3, 2e4, 1e9], powers=False)
    assert (
        expression == "({'1000': '1k', '20000': '20k', '1000000000': '1B'})[toString(datum.value)]"
    )
    assert parse_count("20k") == 2e4
    assert "'1e+21': '10²¹'" in base._labels([1e21], powers=True)
    assert "'200': '2·10²'" in base._labels([200.0], powers=True)


@pytest.mark.parametrize("make", FIGURES, ids=lambda make: make.__name__)
def test_one_run_alone_can_be_drawn(make: Any) -> None:
    table = runs().head(1)
    figure = make(study(runs=table, curves=curves(table).head(1), held_out=()))
    assert figure.chart is None or figure.chart.to_dict()


def test_an_unbounded_prediction_interval_is_drawn_without_its_end() -> None:
    held = FULL.held_out[0]
    free = type(held)(
        held.run, held.params, held.tokens, held.measured, FakeEstimate(2.0, 1.9, None)
    )
    assert free.covered
    figure = FIGURES[1](study(held_out=(free,)))
    assert "NaN" not in figure.chart.to_json()

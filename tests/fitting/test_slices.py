"""L(N), L(D) and L(C) through a ladder: which runs each takes, and which law it fits them with."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ladders import TRUTH, ladder

from scalelab.errors import FitError
from scalelab.fitting import SLICES
from scalelab.fitting.observations import observe
from scalelab.fitting.slices import FLOOR_NEEDS
from scalelab.laws import get_law


def mixed() -> pl.DataFrame:
    """A ladder without noise whose largest size is held out, and whose longest run diverged."""
    table = ladder(sizes=7, data=6, within=0.0)
    return table.with_columns(
        held_out=pl.col("trunk") == "n6",
        status=pl.when(pl.col("run") == "n0-d5")
        .then(pl.lit("diverged"))
        .otherwise(pl.lit("finished")),
    )


def fitted(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(~pl.col("held_out") & (pl.col("status") == "finished"))


def chosen(table: pl.DataFrame, column: str, *, floor: bool) -> str:
    """The fingerprint that the right runs would have."""
    law = get_law("power" if floor else "power-no-floor", column)
    return observe(law, table, "run").fingerprint


def test_size_is_fitted_at_the_most_data() -> None:
    table = mixed()
    found = SLICES["L(N)"](table)
    right = fitted(table).filter(pl.col("tokens") == table["tokens"].max())
    assert found.runs == len(right) == 5  # seven sizes less one held out and one diverged
    assert found.law.inputs == ("params",)
    assert found.fingerprint == chosen(right, "params", floor=True)
    assert found.conventions == {"params": "at D = 12M tokens, one epoch"}
    # The data term is constant there, and adds to the floor.
    floor = TRUTH["E"] + TRUTH["B"] / table["tokens"].max() ** TRUTH["beta"]  # type: ignore[operator]
    expected = {"E": floor, "A": TRUTH["A"], "alpha": TRUTH["alpha"]}
    assert found.values == pytest.approx(expected, rel=1e-6)


def test_data_is_fitted_at_the_largest_size_that_is_not_held_out() -> None:
    table = mixed()
    found = SLICES["L(D)"](table)
    right = table.filter(pl.col("trunk") == "n5")
    assert found.runs == 6
    assert found.fingerprint == chosen(right, "tokens", floor=True)
    assert found.conventions == {"tokens": "at N = 156k, one epoch"}
    floor = TRUTH["E"] + TRUTH["A"] / right["params"][0] ** TRUTH["alpha"]
    expected = {"E": floor, "A": TRUTH["B"], "alpha": TRUTH["beta"]}
    assert found.values == pytest.approx(expected, rel=1e-6)
    assert found.intervals.by == "run"  # all of them share a trunk


@pytest.mark.parametrize("name", ["L(N)", "L(D)", "L(C)"])
def test_held_out_and_unfinished_runs_change_nothing(name: str) -> None:
    table = mixed()
    with_ = SLICES[name](table)
    without = SLICES[name](fitted(table))
    spoilt = SLICES[name](
        table.with_columns(
            loss=pl.when(pl.col("held_out") | (pl.col("status") != "finished"))
            .then(0.5)
            .otherwise("loss")
        )
    )
    assert with_.fingerprint == without.fingerprint == spoilt.fingerprint
    assert with_.values == without.values == spoilt.values


def unbeaten(table: pl.DataFrame) -> set[str]:
    """Runs that no run of the same or less compute beats, by asking each of the others."""
    rows = fitted(table).select("run", "flops", "loss").rows()
    return {run for run, c, loss in rows if not any(o[1] <= c and o[2] < loss for o in rows)}


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), within=st.sampled_from([0.0, 0.01, 0.1]))
def test_the_frontier_is_exactly_the_runs_that_no_cheaper_run_beats(
    seed: int, within: float
) -> None:
    table = ladder(seed, sizes=7, data=6, within=within)
    # Equal compute and equal losses occur once both are rounded.
    table = table.with_columns(pl.col("flops").round_sig_figs(1), pl.col("loss").round_sig_figs(2))
    names = unbeaten(table)
    right = table.filter(pl.col("run").is_in(list(names)))
    assume(len(right) >= 4 and right["flops"].n_unique() >= 2)
    found = SLICES["L(C)"](table)
    assert found.runs == len(names)
    assert f"{len(names)} runs that none beats" in found.conventions["flops"]
    levels = right["flops"].n_unique()
    assert found.fingerprint == chosen(right, "flops", floor=levels >= FLOOR_NEEDS)


@pytest.mark.parametrize(("levels", "law"), [(3, "power-no-floor"), (4, "power-no-floor")])
def test_few_levels_are_fitted_without_a_floor(levels: int, law: str) -> None:
    table = ladder(sizes=levels, data=6)
    assert SLICES["L(N)"](table).law.name == law
    assert SLICES["L(D)"](table).law.name == "power"
    assert SLICES["L(D)"](ladder(sizes=6, data=levels)).law.name == law


def test_five_levels_are_fitted_with_a_floor() -> None:
    assert FLOOR_NEEDS == 5
    assert SLICES["L(N)"](ladder(sizes=5)).law.name == "power"


@pytest.mark.parametrize("name", ["L(N)", "L(D)", "L(C)"])
def test_nothing_finished_is_an_error_that_says_so(name: str) -> None:
    table = ladder()
    for empty in (
        table.with_columns(status=pl.lit("running")),
        table.with_columns(held_out=pl.lit(True)),
        table.clear(),
    ):
        with pytest.raises(FitError, match="no run that may be fitted has finished"):
            SLICES[name](empty)
    with pytest.raises(FitError, match="no run has finished"):
        SLICES[name](table.drop("loss"))


@pytest.mark.parametrize("name", ["L(N)", "L(D)", "L(C)"])
def test_a_table_of_another_house_needs_no_status_and_no_held_out(name: str) -> None:
    table = ladder(sizes=6, data=6)
    whole = SLICES[name](table)
    assert SLICES[name](table.drop("status", "held_out")).fingerprint == whole.fingerprint
    unknown = table.with_columns(held_out=pl.lit(None, dtype=pl.Boolean))
    assert SLICES[name](unknown).fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("name", "column"), [("L(N)", "tokens"), ("L(D)", "params"), ("L(C)", "flops")]
)
def test_the_column_that_chooses_the_runs_must_be_there(name: str, column: str) -> None:
    with pytest.raises(FitError, match=f"chosen by {column}; .* Rename or add {column}"):
        SLICES[name](ladder().drop(column))


@pytest.mark.parametrize("name", ["L(N)", "L(D)", "L(C)"])
def test_too_few_runs_are_refused(name: str) -> None:
    with pytest.raises(FitError):
        SLICES[name](ladder().head(2))


def test_a_slice_of_a_power_law_recovers_it_along_compute() -> None:
    """A ladder whose every run lies on L = 30 C^-.07."""
    table = ladder(within=0.0)
    table = table.with_columns(loss=30 * pl.col("flops") ** -0.07)
    found = SLICES["L(C)"](table)
    assert found.runs == len(table)  # each costlier run is better
    asked = np.geomspace(1e11, 1e14, 4)
    assert found.predict(flops=asked).value == pytest.approx(30 * asked**-0.07, rel=1e-6)

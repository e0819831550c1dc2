"""The one public function: what it records, and which options it refuses."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from ladders import ladder

from scalelab.errors import FitError, InputError, SpecError
from scalelab.fitting import fit
from scalelab.laws import Law, custom_law, get_law


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 90, math.nan])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(SpecError, match=f"level is {level}; it is a probability"):
        fit("chinchilla", ladder(), level=level)
    found = fit("chinchilla", ladder(), draws=100)
    with pytest.raises(SpecError, match=f"level is {level}; it is a probability"):
        found.predict(params=1e5, tokens=1e6, level=level)


@pytest.mark.parametrize("estimator", ["auto", "huber", "least-squares"])
@pytest.mark.parametrize("delta", [0.0, -1e-3, math.nan])
def test_delta_is_positive(estimator: str, delta: float) -> None:
    with pytest.raises(SpecError, match="delta of Huber's function is"):
        fit("chinchilla", ladder(), estimator=estimator, delta=delta)  # type: ignore[arg-type]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(SpecError, match="no law 'hoffmann'; known are chinchilla"):
        fit("hoffmann", ladder())
    with pytest.raises(SpecError, match="'ols'; expected auto, huber, least-squares or shared-"):
        fit("chinchilla", ladder(), estimator="ols")  # type: ignore[arg-type]


def test_these_errors_are_the_users_to_mend() -> None:
    assert issubclass(FitError, InputError)
    assert issubclass(SpecError, InputError)
    assert InputError.exit_code == 2


def test_what_was_done_is_recorded() -> None:
    table = ladder(between=0.006).with_columns(held_out=pl.col("trunk") == "n6")
    found = fit(
        get_law("chinchilla"),
        table,
        estimator="huber",
        delta=2e-3,
        clusters="trunk",
        intervals="wild",
        draws=123,
        level=0.8,
        conventions={"params": "non-embedding"},
        seed=9,
    )
    assert found.runs == 18
    assert found.left_out == {"held out": 3}
    assert (found.estimator.name, found.estimator.delta) == ("huber", 2e-3)
    assert str(found.estimator) == "sum of Huber(delta=0.002) of log-loss residuals"
    assert (found.intervals.method, found.intervals.by) == ("wild", "trunk")
    assert (found.intervals.clusters, found.intervals.draws) == (6, 123)
    assert len(found.draws) == len(found.draw_noise) == 123
    assert (found.level, found.seed) == (0.8, 9)
    assert found.conventions == {"params": "non-embedding"}
    assert found.ranges["tokens"] == pytest.approx((1.2e6, 1.2e7, 3))


NOISE_FALLS = 0.25


def test_noise_of_a_ladder_falls_with_size_up_to_the_largest() -> None:
    table = ladder(between=0.006)
    found = fit("chinchilla", table, draws=2000, falls=NOISE_FALLS)
    assert fit("chinchilla", table, draws=100).estimator.falls == 0
    assert found.estimator.falls == NOISE_FALLS
    np.testing.assert_allclose(
        found.estimator.spread(np.array([1 / 16, 1.0, 10.0])), [16**NOISE_FALLS, 1, 1]
    )
    # At the middle of the data the law is known so well that a new run's own luck decides.
    largest = float(table["params"].max())  # type: ignore[arg-type]
    at = {"params": np.array([largest / 16, largest]), "tokens": np.array([4e6, 4e6])}
    mean, new = found.predict(**at), found.predict(**at, new_run=True)
    luck = np.sqrt(np.log(new.high / new.low) ** 2 - np.log(mean.high / mean.low) ** 2)
    # Widths of quantiles of 2,000 draws of a noise that is itself drawn: to a sixth.
    assert luck[0] / luck[1] == pytest.approx(16**NOISE_FALLS, rel=0.16)


def test_many_independent_runs_have_one_noise() -> None:
    runs = ladder(sizes=25, within=0.005).drop("trunk")
    assert fit("chinchilla", runs, draws=100, falls=0.5).estimator.falls == 0


def test_hubers_delta_joins_the_two_other_estimators() -> None:
    """Far above every residual, the sum of Huber's function is the sum of half squares."""
    table = ladder(between=0.006)
    wide = fit("chinchilla", table, estimator="huber", delta=10.0, draws=100)
    square = fit("chinchilla", table, estimator="least-squares", draws=100)
    assert wide.objective == pytest.approx(square.objective, rel=1e-10)
    assert wide.values == pytest.approx(square.values, rel=1e-5)


def test_one_outlier_moves_huber_less_than_least_squares() -> None:
    clean = ladder(sizes=8, data=5)
    spoilt = clean.with_columns(
        loss=pl.when(pl.col("run") == "n7-d4").then(pl.col("loss") * 1.2).otherwise("loss")
    )
    moved = {}
    for name in ("huber", "least-squares"):
        one, two = (
            fit("chinchilla", table, estimator=name, draws=100)  # type: ignore[arg-type]
            for table in (clean, spoilt)
        )
        moved[name] = abs(two.values["alpha"] - one.values["alpha"])
    assert moved["huber"] < moved["least-squares"] / 5


def test_the_table_given_is_not_changed() -> None:
    table = ladder()
    before = table.clone()
    fit("chinchilla", table, draws=100)
    assert table.equals(before)


# --- what no fit can describe -----------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        get_law("chinchilla").restrict({"E": 90.0}),
        get_law("chinchilla").restrict(bounds={"E": (80.0, 90.0)}),
        get_law("power").restrict({"E": 90.0}),
    ],
)
def test_a_floor_above_every_run_is_refused(law: Law) -> None:
    with pytest.raises(FitError, match=r"is at least [89]0 everywhere, and every run lies below"):
        fit(law, ladder(), draws=100)


def test_a_law_that_can_fall_below_its_constant_is_not_refused() -> None:
    table = ladder()
    highest = float(table["loss"].to_numpy().max())
    found = fit(custom_law(f"{highest + 1} - A * N^alpha"), table, draws=100)
    assert found.values["A"] > 0


def test_one_wild_run_widens_no_interval() -> None:
    """Huber's fit does not follow it, so its noise is not that of the others."""
    clean = ladder(sizes=6, data=6, within=0.003).drop("trunk")
    wild = clean.with_columns(
        loss=pl.when(pl.int_range(pl.len()) == 8).then(1.6 * pl.col("loss")).otherwise("loss")
    )
    one, two = (fit("chinchilla", table, draws=200) for table in (clean, wild))
    for name in ("E", "alpha", "beta"):
        before, after = (f.parameters[name].high - f.parameters[name].low for f in (one, two))
        assert after < 2.5 * before, name
    assert two.noise[1] < 2.5 * one.noise[1]
    assert "outliers" in [notice.code for notice in two.diagnosis.warnings]


def test_two_sizes_leave_no_interval_of_what_they_cannot_tell_apart() -> None:
    found = fit("chinchilla", ladder(sizes=2, data=8).drop("trunk"), draws=100)
    for name in ("E", "A", "alpha"):
        assert found.parameters[name].high == math.inf, name
        assert found.parameters[name].low == next(
            p.low for p in found.law.parameters if p.name == name
        )
    assert {"E", "A", "alpha"} <= set(found.diagnosis.lost)

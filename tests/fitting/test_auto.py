"""Fits that know their own back-test: the best is chosen, and its error widens the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from frontier_runs import BIG, chinchilla, runs

from scalelab.fitting import Candidate, Fit, backtest, checked, fit, fit_auto
from scalelab.fitting.auto import AUTO_LAWS, WEIGHTS
from scalelab.fitting.backtest import ROLLS, split
from scalelab.laws import get_law

# --- the law and the weights that predict best ------------------------------------------------


def error_beyond(model: Fit) -> float:
    """Mean relative error of big, well-trained models that no run is near."""
    told = model.predict(params=BIG, tokens=20 * BIG).value
    return float(np.abs(told / chinchilla(BIG, 20 * BIG) - 1).mean())


@pytest.mark.parametrize("seed", range(3))
def test_runs_that_break_the_law_far_from_the_frontier_do_not_mislead(seed: int) -> None:
    table = runs(seed, far=0.03, below=3e20)
    auto, plain = fit_auto(table, draws=100), fit("chinchilla", table, draws=100)
    assert "frontier" in auto.estimator.weights
    assert auto.estimator.weights in WEIGHTS
    assert auto.law.name in AUTO_LAWS
    assert error_beyond(plain) > 0.007
    assert error_beyond(auto) < error_beyond(plain) / 2
    told = auto.predict(params=BIG, tokens=20 * BIG)
    truth = chinchilla(BIG, 20 * BIG)
    assert ((told.low <= truth) & (truth <= told.high)).all()


@pytest.mark.parametrize("far", [0.003, 0.03])
def test_what_was_chosen_is_what_back_tested_best(far: float) -> None:
    table, weights = runs(far=far), (None, "frontier(0.05)", "frontier(0.025)*flops^0.5")
    auto = fit_auto(table, ["chinchilla", "kaplan"], weights=weights, draws=100, seed=4)
    laws = (get_law("chinchilla"), get_law("kaplan"))
    tested = backtest(table, [Candidate(law, w) for w in weights for law in laws], draws=0)
    assert auto.backtest == tested.to_dict()
    best = min(tested.scores.values(), key=lambda score: score.near_error).candidate
    same = fit(best.law, table, weights=best.weights, draws=100, seed=4)
    np.testing.assert_array_equal(auto.theta, same.theta)
    np.testing.assert_array_equal(auto.draw_theta, same.draw_theta)


def test_options_reach_the_fit() -> None:
    auto = fit_auto(runs(), level=0.8, draws=150, seed=3, conventions={"params": "total"})
    assert auto.level == 0.8
    assert len(auto.draws) == 150
    assert auto.seed == 3
    assert auto.conventions == {"params": "total"}


def test_too_few_runs_are_fitted_without_a_test_and_it_is_said() -> None:
    few = runs().filter(pl.col("flops") < 2e17).head(9)
    auto = fit_auto(few, draws=100)
    codes = [notice.code for notice in auto.diagnosis.warnings]
    assert "not-backtested" in codes
    (notice,) = [n for n in auto.diagnosis.warnings if n.code == "not-backtested"]
    assert f"{AUTO_LAWS[0]} weighted by {WEIGHTS[0]} was taken without a test" in notice.message
    assert (auto.law.name, auto.estimator.weights) == (AUTO_LAWS[0], WEIGHTS[0])
    assert auto.reach is None
    assert auto.backtest == {}


# --- a fit that knows its own back-test -------------------------------------------------------


@pytest.fixture(scope="module")
def bare() -> Fit:
    return fit("chinchilla", runs(), draws=200)


@pytest.fixture(scope="module")
def known(bare: Fit) -> Fit:
    return checked(bare, runs())


def test_the_record_and_the_reach_are_those_of_the_back_test(known: Fit) -> None:
    tested = backtest(runs(), ["chinchilla"], draws=0)
    assert known.backtest == tested.to_dict()
    assert known.to_dict()["backtest"] == tested.to_dict()
    assert known.reach is not None
    assert known.reach.flops == runs()["flops"].to_numpy().max()
    assert known.reach.per_nd == pytest.approx(6)
    growth = tested.scores["chinchilla"].growth
    assert 0 < known.reach.error <= growth
    assert known.reach.at(known.reach.flops * np.array([0.1, 1, 8, 64])) == pytest.approx(
        known.reach.error * np.array([0, 0, 1, 2])
    )


def test_intervals_widen_beyond_the_runs_and_not_inside(bare: Fit, known: Fit) -> None:
    inside = {"params": np.array([1e6, 3e7, 1e9]), "tokens": np.array([1e8, 1e9, 1e12])}
    for new_run in (False, True):
        one, two = (f.predict(new_run=new_run, **inside) for f in (bare, known))
        for name in ("value", "low", "high"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        beyond = {"params": BIG, "tokens": 2000 * BIG}
        one, two = (f.predict(new_run=new_run, **beyond) for f in (bare, known))
        np.testing.assert_array_equal(one.value, two.value)
        wider = np.log(two.high / two.low) / np.log(one.high / one.low)
        assert (wider > 1.05).all()
    # Far out, the width is that of the growth: 3.29 standard deviations hold 90%.
    assert known.reach is not None
    alone, both = (f.predict(params=1e13, tokens=1e15) for f in (bare, known))
    sigma = known.reach.at(np.array([6e28]))[0]
    expected = np.hypot(3.29 * sigma, np.log(alone.high / alone.low))
    assert np.log(both.high / both.low) == pytest.approx(expected, rel=0.15)


def test_nothing_else_of_the_fit_changes(bare: Fit, known: Fit) -> None:
    np.testing.assert_array_equal(bare.theta, known.theta)
    assert bare.parameters == known.parameters
    assert bare.diagnosis == known.diagnosis
    assert bare.backtest == {}
    assert bare.reach is None


def test_weights_and_standard_deviations_are_those_of_the_fit() -> None:
    """1/std^2 with a std that is .2% of the loss is no weight at all."""
    table = runs().with_columns(std=0.002 * pl.col("loss"))
    plain = checked(fit("chinchilla", table, draws=100), table)
    by_std = checked(fit("chinchilla", table, std="std", draws=100), table)
    assert plain.reach is not None
    assert by_std.reach is not None
    assert by_std.reach.error == pytest.approx(plain.reach.error, rel=1e-3)
    weighted = checked(fit("chinchilla", table, weights="flops^0.5", draws=100), table)
    (record,) = weighted.backtest["laws"].values()
    assert record["weights"] == "flops^0.5"
    tested = backtest(table, [Candidate(get_law("chinchilla"), "flops^0.5")], draws=0)
    assert weighted.backtest == tested.to_dict()


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "least-squares"},
        {"raw": True},
        {"above": 3.0},
        {"delta": 0.1},
        {"std": "std"},
        {"std": "std", "raw": True},
    ],
)
def test_the_back_test_minimises_what_the_fit_did(options: dict[str, object]) -> None:
    rising = 0.001 * pl.col("params") ** 0.3
    table = runs(noise=0.01).with_columns(std=rising)
    model = checked(fit("chinchilla", table, draws=100, **options), table)  # type: ignore[arg-type]
    (told,) = model.backtest["laws"].values()
    largest = float(table["flops"].to_numpy().max())
    errors = []
    for roll in ROLLS:
        below, above = split(table, largest / 8 / roll, 8.0)
        again = fit("chinchilla", below, draws=100, **options)  # type: ignore[arg-type]
        asked = {name: above[name].to_numpy() for name in ("params", "tokens")}
        errors.append(np.abs(again.predict(**asked).value / above["loss"].to_numpy() - 1))
    assert told["mean_abs_rel_error"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-4)
    plain = checked(fit("chinchilla", table, draws=100), table)
    assert (
        told["mean_abs_rel_error"]
        != next(iter(plain.backtest["laws"].values()))["mean_abs_rel_error"]
    )


def test_options_that_move_the_optimum_hold_for_the_tests_of_auto() -> None:
    law = get_law("chinchilla")
    how = {"estimator": "least-squares", "raw": True}
    auto = fit_auto(runs(), [law], weights=[None], draws=100, **how)
    assert auto.backtest == backtest(runs(), [Candidate(law, how=how)], draws=0).to_dict()
    assert auto.estimator.raw
    assert auto.estimator.name == "least-squares"


def test_a_restricted_law_is_tested_as_it_was_fitted() -> None:
    law = get_law("chinchilla").restrict({"E": 1.2})
    model = checked(fit(law, runs(), draws=100), runs())
    right = checked(fit(get_law("chinchilla").restrict({"E": 1.69}), runs(), draws=100), runs())
    assert model.reach is not None
    assert right.reach is not None
    assert model.reach.error > 3 * right.reach.error


def test_a_table_that_cannot_be_cut_leaves_the_fit_with_a_notice() -> None:
    few = runs().filter(pl.col("flops") < 2e17).head(9)
    model = fit("chinchilla", few, draws=100)
    told = checked(model, few)
    assert [n.code for n in told.diagnosis.warnings[:-1]] == [
        n.code for n in model.diagnosis.warnings
    ]
    assert told.diagnosis.warnings[-1].code == "not-backtested"
    assert told.reach is None
    assert told.backtest == {}


def test_saved_and_loaded_it_is_the_same_to_the_bit(known: Fit, tmp_path: Path) -> None:
    loaded = Fit.load(known.save(tmp_path / "fit.json"))
    assert loaded.reach == known.reach
    assert loaded.backtest == known.backtest
    assert loaded.to_dict() == known.to_dict()
    asked = {"params": BIG, "tokens": 2000 * BIG}
    for new_run in (False, True):
        one, two = (f.predict(new_run=new_run, **asked) for f in (known, loaded))
        for name in ("value", "low", "high"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert loaded.save(tmp_path / "again.json").read_bytes() == (tmp_path / "fit.json").read_bytes()


def test_a_law_in_compute_alone_reaches_too() -> None:
    """The compute of a law that has flops among its inputs is that input."""
    N = np.geomspace(1e7, 1e10, 16)
    table = pl.DataFrame({"flops": 120 * N**2, "loss": chinchilla(N, 20 * N)})
    noise = np.exp(0.001 * np.random.default_rng(2).normal(size=16))
    table = table.with_columns(pl.col("loss") * pl.Series(noise))
    law = get_law("power", "flops")
    bare = fit(law, table, draws=100)
    told = checked(bare, table)
    assert told.reach is not None
    top = float(table["flops"].to_numpy().max())
    assert told.predict(flops=top).high == bare.predict(flops=top).high
    assert told.predict(flops=1e4 * top).high > bare.predict(flops=1e4 * top).high


def test_a_law_in_compute_alone_is_saved_with_its_reach(tmp_path: Path) -> None:
    """Runs of which nothing is known but compute and loss."""
    flops = np.geomspace(1e15, 1e21, 24)
    noise = np.exp(0.002 * np.random.default_rng(0).normal(size=24))
    table = pl.DataFrame({"flops": flops, "loss": (1.7 + 30 * flops**-0.1) * noise})
    told = checked(fit(get_law("power", "flops"), table, draws=100), table)
    loaded = Fit.load(told.save(tmp_path / "fit.json"))
    assert told.reach is not None
    assert loaded.reach is not None
    assert (loaded.reach.flops, loaded.reach.error) == (told.reach.flops, told.reach.error)
    one, two = (f.predict(flops=1e24) for f in (told, loaded))
    assert (one.low, one.high) == (two.low, two.high)


@pytest.mark.parametrize("column", ["tokens", "params"])
def test_a_law_that_does_not_know_compute_claims_no_reach(column: str) -> None:
    best = runs().filter(pl.col("flops").rank("dense") % 3 > 0)
    model = fit(get_law("power", column), best, draws=100)
    told = checked(model, best)
    assert told.backtest
    assert told.reach is None
    assert "beyond" not in told.summary()
    known = checked(fit("chinchilla", best, draws=100), best)
    assert "intervals add" in known.summary()

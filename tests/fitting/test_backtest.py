"""Back-tests: planted laws win, honest intervals hold, and what was learnt widens the answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalelab.errors import FitError, SpecError
from scalelab.fitting import Backtest, Candidate, Fit, backtest, checked, fit, fit_auto
from scalelab.fitting.backtest import AUTO_LAWS, NEAR, WEIGHTS, Score, split
from scalelab.laws import Array, get_law

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
BIG = np.array([3e9, 1e10, 3e10])
"""Sizes beyond the runs, each to be trained on 20 tokens per parameter."""


def chinchilla(N: Array, D: Array) -> Array:
    return TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]


def runs(
    seed: int = 0, *, noise: float = 0.001, far: float = 0.0, below: float = np.inf
) -> pl.DataFrame:
    """Eight sizes, each trained on 2 to 2,000 tokens per parameter.

    far: how much runs suffer that have far from 30 tokens per parameter. below: the compute limit.
    """
    generator = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(1e6, 1e9, 8), 8)
    ratio = np.tile(np.geomspace(2, 2000, 8), 8)
    D = N * ratio
    strayed = np.maximum(0, np.abs(np.log(ratio / 30)) - 1.2)
    loss = chinchilla(N, D) * np.exp(noise * generator.normal(size=64) + far * strayed**2)
    table = {"run": [f"r{i}" for i in range(64)], "params": N, "tokens": D, "flops": 6 * N * D}
    return pl.DataFrame({**table, "loss": loss}).filter(pl.col("flops") < below)


# --- which law predicts -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tested() -> Backtest:
    return backtest(runs(), ["kaplan", "chinchilla"], draws=200)


def test_the_law_that_the_runs_obey_wins(tested: Backtest) -> None:
    assert list(tested.scores) == ["chinchilla", "kaplan"]
    good, bad = tested.scores["chinchilla"], tested.scores["kaplan"]
    # The noise of a run is .1% of its loss, and the fit's own error about as much.
    assert good.mean_abs_rel_error < 0.003
    assert bad.mean_abs_rel_error > 0.03
    assert abs(good.bias) <= good.mean_abs_rel_error
    assert bad.bias < -0.03, "without a floor the loss falls too far"
    assert good.coverage is not None
    assert 0.75 <= good.coverage <= 1
    assert good.level == 0.9
    assert good.growth < bad.growth


def test_errors_are_of_fits_that_never_saw_the_runs(tested: Backtest) -> None:
    """Each error again, from the fit to the runs below the cut and nothing else."""
    table = runs()
    errors, reach, near = [], [], []
    for cut in tested.cuts:
        below = table.filter(pl.col("flops") < cut * (1 - 1e-6))
        above = table.filter(pl.col("flops").is_between(cut * (1 - 1e-6), 8.01 * cut))
        law = fit("chinchilla", below, draws=100)
        told = law.predict(params=above["params"].to_numpy(), tokens=above["tokens"].to_numpy())
        errors.append(np.log(told.value / above["loss"].to_numpy()))
        reach.append(above["flops"].to_numpy() / below["flops"].to_numpy().max())
        for row in above.iter_rows(named=True):
            cheaper = above.filter(pl.col("flops") <= row["flops"] * (1 + 1e-9))["loss"]
            near.append(np.log(row["loss"] / cheaper.to_numpy().min()) < NEAR)
    score = tested.scores["chinchilla"]
    np.testing.assert_allclose(score.errors, np.concatenate(errors), atol=1e-6)
    np.testing.assert_allclose(score.reach, np.concatenate(reach), rtol=1e-12)
    assert score.near.tolist() == near
    assert score.cuts == len(tested.cuts)
    assert score.mean_abs_rel_error == pytest.approx(np.abs(np.expm1(score.errors)).mean())
    assert score.bias == pytest.approx(np.expm1(score.errors).mean())
    assert score.near_error == pytest.approx(np.abs(score.errors[score.near]).mean())


def test_the_error_grows_with_the_logarithm_of_the_factor() -> None:
    """Errors of just that kind give back their standard deviation at eight times the compute."""
    reach = np.geomspace(1.5, 60, 4000)
    sigma = 0.01 * np.log(reach) / np.log(8)
    errors = sigma * np.random.default_rng(0).normal(size=len(reach))
    of, near = Candidate(get_law("kaplan")), np.ones(len(reach), dtype=bool)
    planted = Score(of, errors, reach, np.empty(0), near, 0.9, 1)
    assert planted.growth == pytest.approx(0.01, rel=0.05)
    assert planted.coverage is None
    nowhere = Score(of, errors, reach, np.empty(0), ~near, 0.9, 1)
    assert np.isnan(nowhere.growth)
    assert nowhere.near_error == np.inf


def test_the_default_cuts_roll_down_from_an_eighth_of_the_largest_compute(tested: Backtest) -> None:
    largest = runs()["flops"].to_numpy().max()
    assert tested.cuts == pytest.approx(largest / 8 / np.array([1, 2, 4, 8]))


def test_cuts_and_ratio_are_those_asked_for() -> None:
    found = backtest(runs(), ["chinchilla"], cuts=[1e19, 1e20], ratio=4, draws=0)
    assert found.cuts == (1e19, 1e20)
    table = runs()
    held = [table.filter(pl.col("flops").is_between(cut, 4 * cut)).height for cut in found.cuts]
    score = found.scores["chinchilla"]
    assert len(score.errors) == sum(held)
    assert score.cuts == 2
    # A cut below which too little is left is not used.
    assert backtest(runs(), ["chinchilla"], cuts=[1e13, 1e20], draws=0).cuts == (1e20,)


def test_a_run_at_the_cut_is_predicted_and_none_is_on_both_sides() -> None:
    table = pl.DataFrame({"flops": [1.0, 2.0, 4.0, 8.0, 8.1]})
    below, above = split(table, 2.0, 4.0)
    assert below["flops"].to_list() == [1.0]
    assert above["flops"].to_list() == [2.0, 4.0, 8.0]
    # The rounding of a cut that was computed does not move a run across it.
    below, above = split(table, 2.0 * (1 + 1e-12), 4.0)
    assert below["flops"].to_list() == [1.0]


def test_candidates_carry_their_weights() -> None:
    law, weights, table = get_law("chinchilla"), "frontier(0.05)", runs(far=0.03)
    candidates = [Candidate(law), Candidate(law, weights)]
    found = backtest(table, candidates, cuts=[1e20], draws=0)
    below, above = split(table, 1e20, 8.0)
    asked = {name: above[name].to_numpy() for name in law.inputs}
    for candidate, name in zip(
        candidates, ("chinchilla", "chinchilla weighted by frontier(0.05)"), strict=True
    ):
        model = fit(law, below, weights=candidate.weights, draws=100)
        expected = np.log(model.predict(**asked).value / above["loss"].to_numpy())
        np.testing.assert_allclose(found.scores[name].errors, expected, atol=1e-6)
        assert found.scores[name].to_dict()["weights"] == candidate.weights


def test_a_law_is_judged_by_what_it_describes() -> None:
    """A law of another loss is compared with that loss, one of a learning rate with the rate."""
    generator = np.random.default_rng(1)
    table = runs().with_columns(
        (0.3 + 1.5 * pl.col("loss")).alias("loss.code"),
        (1e3 * pl.col("params") ** -0.7 * pl.col("tokens") ** 0.3).alias("lr"),
    )
    luck = np.exp(0.002 * generator.normal(size=(2, len(table))))
    table = table.with_columns(
        pl.col("loss.code") * pl.Series(luck[0]), pl.col("lr") * pl.Series(luck[1])
    )
    for law in (get_law("transfer-affine", "loss.code"), get_law("optimal-lr")):
        for draws in (0, 100):
            (score,) = backtest(table, [law], draws=draws).scores.values()
            assert score.mean_abs_rel_error < 0.005, law.name
            if draws:
                assert score.coverage is not None
                assert score.coverage > 0.6


def test_a_candidate_without_an_answer_comes_last_and_says_why() -> None:
    found = backtest(
        runs(), [Candidate(get_law("chinchilla"), "quality"), "kaplan"], draws=0
    )  # no such column
    assert list(found.scores) == ["kaplan", "chinchilla weighted by quality"]
    last = found.scores["chinchilla weighted by quality"].to_dict()
    assert last["mean_abs_rel_error"] is None
    assert last["held_out"] == 0
    assert "there is no column 'quality'" in last["failed"][0]
    assert "there is no column 'quality'" in found.summary()
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_answer_is_strict_json_with_the_keys_of_the_contract(tested: Backtest) -> None:
    answer = json.loads(json.dumps(tested.to_dict(), allow_nan=False))
    assert list(answer["laws"]) == ["chinchilla", "kaplan"]
    for score in answer["laws"].values():
        assert {"mean_abs_rel_error", "coverage", "level", "held_out"} <= set(score)
        assert score["level"] == 0.9
        assert 0 <= score["coverage"] <= 1
        assert score["held_out"] == len(tested.scores["chinchilla"].errors)
    assert answer["cuts"] == list(tested.cuts)


def test_the_summary_has_a_line_for_each_law(tested: Backtest) -> None:
    text = tested.summary()
    for name, score in tested.scores.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert f"{score.mean_abs_rel_error:.2%}" in line
        assert f"{score.coverage:.0%} of 90%" in line
    assert text.index("chinchilla") < text.index("kaplan")


def test_compute_is_six_n_d_where_a_table_has_none(tested: Backtest) -> None:
    found = backtest(runs().drop("flops"), ["chinchilla"], draws=0)
    assert found.cuts == pytest.approx(tested.cuts)


def test_runs_that_are_held_out_or_unfinished_are_neither_fitted_nor_predicted() -> None:
    status = pl.when(pl.col("params") < 2e6).then(pl.lit("diverged")).otherwise(pl.lit("finished"))
    table = runs().with_columns(held_out=pl.col("params") > 5e8, status=status)
    kept = runs().filter(pl.col("params").is_between(2e6, 5e8))
    one, two = (backtest(t, ["chinchilla"], draws=0) for t in (table, kept))
    assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (runs().head(8), "leave too few below a 8th of that to fit"),
        (runs().drop("params"), "needs the columns flops, loss, params, tokens; params is missing"),
        (runs().drop("loss"), "loss is missing"),
        (runs().drop("flops", "tokens"), "flops is missing"),
    ],
)
def test_tables_that_cannot_be_cut_are_refused(table: pl.DataFrame, message: str) -> None:
    with pytest.raises(FitError, match=message):
        backtest(table, ["chinchilla"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0}, "ratio is 0"),
        ({"ratio": 1}, "ratio is 1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"level": 1.5, "draws": 0}, "level is 1.5"),
        ({"draws": 50}, "draws is 50"),
        ({"laws": ["chinchila"]}, "there is no law 'chinchila'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        backtest(runs(), **options)  # type: ignore[arg-type]


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

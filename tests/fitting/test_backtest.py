"""Back-tests: planted laws win, all are judged on the same runs, and honest intervals hold."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from frontier_runs import runs

from scalelab.errors import FitError, SpecError
from scalelab.fitting import Backtest, Candidate, backtest, fit
from scalelab.fitting.backtest import split
from scalelab.fitting.scores import NEAR, Score
from scalelab.laws import get_law

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
        (runs().drop("params"), "needs the column params, and the table has none"),
        (runs().drop("loss"), "needs the column loss"),
        (runs().drop("flops", "tokens"), "needs the column flops, and the table has none. It fits"),
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


# --- one comparison, one set of runs ----------------------------------------------------------


def test_all_are_judged_on_the_runs_that_all_predicted() -> None:
    """Nine runs lie below the lowest cut: enough for two parameters, too few for six."""
    table = runs()
    cuts = [1e20, 1e18, 1e15]
    alone = backtest(table, ["power-no-floor"], cuts=cuts, draws=0)
    both = backtest(table, ["power-no-floor", "coupled"], cuts=cuts, draws=0)
    assert alone.cuts == tuple(cuts)
    assert both.cuts == tuple(cuts[:2])
    one, two = both.scores["power-no-floor"], both.scores["coupled"]
    assert len(one.errors) == len(two.errors) < len(alone.scores["power-no-floor"].errors)
    np.testing.assert_array_equal(one.reach, two.reach)
    (notice,) = both.notices
    assert notice.code == "cuts-left-out"
    assert "1 of 3 cuts" in notice.message
    assert "coupled, below 1.00e+15 FLOP: 9 runs are too few for 6 parameters" in notice.message
    assert notice.message in both.summary()
    assert both.to_dict()["warnings"][0]["code"] == "cuts-left-out"


def test_a_candidate_without_an_answer_at_the_highest_cut_is_out() -> None:
    """Its weights are missing just where the highest cut would fit them."""
    table = runs().with_columns(
        quality=pl.when(pl.col("flops").is_between(1e18, 1e20)).then(None).otherwise(1.0)
    )
    law = get_law("chinchilla")
    found = backtest(table, [law, Candidate(law, "quality")], cuts=[1e20, 1e18], draws=0)
    assert found.cuts == (1e20, 1e18)
    assert list(found.scores) == ["chinchilla", "chinchilla weighted by quality"]
    out = found.scores["chinchilla weighted by quality"]
    assert not len(out.errors)
    assert "quality is" in out.failed[0]
    assert [notice.code for notice in found.notices] == ["not-compared"]


@pytest.mark.parametrize("draws", [0, 100])
def test_a_candidate_is_fitted_as_it_says(draws: int) -> None:
    """Least squares follows one bad run below the cut, Huber does not."""
    bad = pl.when(pl.col("run") == "r3").then(pl.col("loss") * 1.3).otherwise(pl.col("loss"))
    table = runs().with_columns(loss=bad)
    law = get_law("chinchilla")
    errors = {}
    for estimator in ("huber", "least-squares"):
        how = {"estimator": estimator}
        found = backtest(table, [Candidate(law, how=how)], cuts=[1e20], draws=draws)
        (score,) = found.scores.values()
        below, above = split(table, 1e20, 8.0)
        model = fit(law, below, estimator=estimator, draws=100)  # type: ignore[arg-type]
        asked = {name: above[name].to_numpy() for name in law.inputs}
        expected = np.log(model.predict(**asked).value / above["loss"].to_numpy())
        np.testing.assert_allclose(score.errors, expected, atol=1e-6)
        errors[estimator] = score.mean_abs_rel_error
    assert errors["least-squares"] > 2 * errors["huber"]


# --- inside the runs --------------------------------------------------------------------------


def aicc(table: pl.DataFrame, name: str, **options: object) -> float:
    return backtest(table, [Candidate(get_law(name), **options)]).scores[name].aicc  # type: ignore[arg-type]


def test_akaikes_criterion_of_least_squares_is_that_of_its_formula() -> None:
    how = {"estimator": "least-squares"}
    for name, p in (("chinchilla", 5), ("kaplan", 4)):
        model = fit(name, runs(), draws=100, estimator="least-squares")
        told = model.predict(params=runs()["params"], tokens=runs()["tokens"]).value
        squares = float((np.log(told / runs()["loss"].to_numpy()) ** 2).sum())
        k = p + 1
        expected = 64 * np.log(squares / 64) + 2 * k + 2 * k * (k + 1) / (64 - k - 1)
        assert aicc(runs(), name, how=how) == pytest.approx(expected, rel=1e-6)


def test_one_run_far_off_does_not_decide_akaikes_criterion() -> None:
    bad = pl.when(pl.col("run") == "r20").then(pl.col("loss") * 1.4).otherwise(pl.col("loss"))
    clean, spoiled = (
        aicc(table, "kaplan") - aicc(table, "chinchilla")
        for table in (runs(), runs().with_columns(loss=bad))
    )
    assert clean > 100
    assert spoiled == pytest.approx(clean, rel=0.1)


def test_akaikes_criterion_counts_no_run_that_weighs_nothing() -> None:
    counted = pl.int_range(pl.len()) % 3 < 2
    weighed = runs().with_columns(quality=pl.when(counted).then(1.0).otherwise(1e-9))
    law = get_law("chinchilla")
    (score,) = backtest(weighed, [Candidate(law, "quality")]).scores.values()
    assert score.aicc == pytest.approx(aicc(runs().filter(counted), "chinchilla"), rel=1e-3)


def test_akaikes_criterion_is_not_told_of_runs_that_share_a_trunk() -> None:
    table = runs().with_columns(trunk=pl.col("params").rank("dense").cast(pl.String))
    found = backtest(table, ["chinchilla"])
    score = found.scores["chinchilla"]
    assert np.isnan(score.aicc)
    assert score.to_dict()["aicc"] is None
    assert found.summary().splitlines()[2].split()[-1] == "-"
    assert np.isfinite(score.left_out)

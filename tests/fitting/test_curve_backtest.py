"""Laws of learning curves: what is tested on curves left out, and what the intervals make of it."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest

from scalelab.errors import FitError
from scalelab.fitting import Fit, backtest, checked, fit
from scalelab.fitting.curve_backtest import (
    CUTS,
    GROWTH,
    NEW,
    Answer,
    CurveTest,
    curve_backtest,
    part,
    progress_of,
)
from scalelab.fitting.observations import observe
from scalelab.fitting.result import CurveReach
from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import Array, custom_law, get_law

STEPS = 6000
SHAPES = ("cosine", "constant", "two-stage", "late decay", "line")


def rates(shape: str, steps: int) -> Array:
    step = np.arange(steps)
    done = np.clip((step - 500) / (steps - 500), 0, 1)
    shapes = {
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2,
        "constant": np.ones(steps),
        "two-stage": np.where(done < 0.5, 1, 0.3),
        "late decay": 1 - 0.9 * np.clip((done - 0.7) / 0.3, 0, 1),
        "line": 1 - 0.9 * done,
    }
    return np.asarray(1.2e-3 * np.where(step < 500, step / 500, shapes[shape]))


def curve(
    shape: str, steps: int, generator: np.random.Generator, bent: bool, noise: float = 3e-4
) -> pl.DataFrame:
    """bent: a floor that moves up late in training, and drops that pay more the later they come."""
    at = np.linspace(600, steps - 50, 10).astype(int)
    table = schedule_columns(rates(shape, steps), at)
    S, area = table["lr_sum"].to_numpy(), table["annealing"].to_numpy()
    loss = 2.7 + 0.6 * S**-0.45 - 0.1 * area
    if bent:
        loss = loss + 0.05 * np.log1p(S / 6) - 0.1 * area * np.minimum(1, S / 9)
    loss = loss * np.exp(generator.normal(0, noise) + generator.normal(0, noise, len(at)))
    return table.with_columns(loss=pl.Series(loss), curve=pl.lit(shape))


def curves(bent: bool = False, seed: int = 0, noise: float = 3e-4) -> pl.DataFrame:
    """Four curves of two lengths."""
    generator = np.random.default_rng(seed)
    lengths = zip(SHAPES[:4], (STEPS, STEPS, 4000, 3000), strict=True)
    return pl.concat(curve(shape, steps, generator, bent, noise) for shape, steps in lengths)


BENT = curves(bent=True)


@pytest.fixture(scope="module")
def bare() -> Fit:
    return fit("annealing", BENT, draws=200)


@pytest.fixture(scope="module")
def known(bare: Fit) -> Fit:
    return checked(bare, BENT)


def codes(model: Fit) -> set[str]:
    return {notice.code for notice in model.diagnosis.warnings}


def inputs(model: Fit, table: pl.DataFrame) -> dict[str, Array]:
    return {name: table[name].to_numpy() for name in model.law.inputs}


# --- what a fit says by itself ----------------------------------------------------------------


def test_a_fit_of_curves_says_that_it_was_not_tested(bare: Fit) -> None:
    assert bare.intervals.by == "curve"
    assert bare.intervals.clusters == 4
    assert {"not-backtested", "few-curves"} <= codes(bare)
    (message,) = (n.message for n in bare.diagnosis.warnings if n.code == "not-backtested")
    assert "40 rows are points of 4 curves (by curve)" in message
    assert "checked(model, table)" in message


def test_five_curves_are_not_few() -> None:
    generator = np.random.default_rng(5)
    more = curve("line", STEPS, generator, bent=False)
    assert "few-curves" not in codes(fit("annealing", pl.concat([curves(), more]), draws=100))


def test_rows_of_a_schedule_without_a_curve_are_said_to_be_taken_for_runs() -> None:
    model = fit("annealing", curves().drop("curve"), draws=100)
    assert model.intervals.by == "run"
    assert "curves-as-runs" in codes(model)
    assert "not-backtested" not in codes(model)


def test_a_trunk_goes_before_a_curve_and_any_column_may_be_named() -> None:
    trunks = dict(zip(SHAPES, "aabbb", strict=True))
    table = curves().with_columns(trunk=pl.col("curve").replace_strict(trunks))
    assert fit("annealing", table, draws=100).intervals.clusters == 2
    assert fit("annealing", table, clusters="curve", draws=100).intervals.clusters == 4


def test_points_of_one_run_in_a_run_column_are_pointed_to_the_curve_column() -> None:
    with pytest.raises(FitError, match=r"ids must differ.*along one run 'curve'"):
        fit("annealing", curves().rename({"curve": "run"}))


def test_laws_that_know_compute_are_tested_by_compute() -> None:
    """Branches of a trunk share it, and are no curves to leave out."""
    N, D = (
        grid.ravel() for grid in np.meshgrid(10.0 ** np.arange(6, 10), 10.0 ** np.arange(8, 12))
    )
    loss = 1.7 + 400 * N**-0.34 + 410 * D**-0.28
    table = pl.DataFrame({"params": N, "tokens": D, "loss": loss, "trunk": np.log10(N).astype(int)})
    model = fit("chinchilla", table, draws=100)
    assert not {"not-backtested", "few-curves", "curves-as-runs"} & codes(model)
    assert progress_of(observe(model.law, table)) is None
    assert "laws" in checked(model, table).backtest


# --- what is tested -----------------------------------------------------------------------------


def errors_by_hand(seen: pl.DataFrame, left: pl.DataFrame) -> Array:
    """Of a full fit by the public function."""
    model = fit("annealing", seen, draws=100)
    return model.predict(**inputs(model, left)).value / left["loss"].to_numpy() - 1


def test_the_record_holds_the_errors_of_full_fits_without_each_curve(known: Fit) -> None:
    told = known.backtest["curves"]
    assert (told["by"], told["progress"]) == ("curve", "lr_sum")
    found = []
    for name in BENT["curve"].unique(maintain_order=True):
        left = BENT.filter(pl.col("curve") == name).sort("lr_sum")
        found.append(errors_by_hand(BENT.filter(pl.col("curve") != name), left))
    every = np.concatenate(found)
    assert told["left_out"]["curves"] == 4
    assert told["left_out"]["points"] == 40
    assert told["left_out"]["mean_abs_rel_error"] == pytest.approx(np.abs(every).mean(), rel=0.02)
    assert told["left_out"]["bias"] == pytest.approx(every.mean(), rel=0.05)
    last = np.mean([abs(errors[-1]) for errors in found])
    assert told["left_out"]["last_point"] == pytest.approx(last, rel=0.02)


def test_the_record_holds_the_errors_of_full_fits_without_the_late_parts(known: Fit) -> None:
    highest = float(BENT["lr_sum"].to_numpy().max())
    later = known.backtest["curves"]["later"]
    assert [row["ratio"] for row in later] == list(CUTS)
    for row in later:
        below = pl.col("lr_sum") <= highest / row["ratio"]
        errors = errors_by_hand(BENT.filter(below), BENT.filter(~below))
        assert row["points"] == len(errors)
        assert row["mean_abs_rel_error"] == pytest.approx(np.abs(errors).mean(), rel=0.02)


def reach_of(*answers: Answer) -> CurveReach:
    """Points up to lr_sum 7 at constant rate, up to 4 where it has fallen by 1."""
    points = (np.log([2.0, 7.0, 1.0, 4.0]), np.array([0.0, 0.0, 0.5, 1.0]))
    return CurveTest("lr_sum", "annealing", "curve", points, answers, ()).reach()


def test_what_was_missed_becomes_the_error_of_unseen_curves() -> None:
    """By hand: half of what a fit expects of itself is taken off, the rest is the law's."""
    far = float(np.log(2.0))
    left = Answer(np.array([0.03, 0.03]), np.array([2e-4, 2e-4]), np.zeros(2))
    late = Answer(np.array([0.05]), np.array([4e-4]), np.array([far]), 2.0)
    found = reach_of(left, late)
    new = 0.03**2 - 1e-4
    growth = (0.05**2 - 2e-4 - new) / far**2
    assert found.new == pytest.approx(NEW * new**0.5)
    assert found.growth == pytest.approx(GROWTH * growth**0.5)


def test_beyond_is_beyond_points_at_which_the_rate_had_fallen_as_far() -> None:
    found = reach_of(Answer(np.array([0.03]), np.array([0.0]), np.zeros(1)))
    asked = [(1.0, 0.0), (7.0, 0.0), (14.0, 0.0), (8.0, 1.0), (4.0, 0.2), (3.0, 1.9), (3.0, 3.0)]
    x, fallen = np.array(asked).T
    named = {"lr_sum": np.log(x), "annealing": fallen}
    # Nothing has fallen half as far as the last: all of its training lies beyond the lowest, 1.
    assert found.factor(named) == pytest.approx([1, 1, 2, 2, 1, 1, 3])
    assert found.at(named) == pytest.approx(
        np.hypot(found.new, found.growth * np.log([1, 1, 2, 2, 1, 1, 3]))
    )


def test_no_error_beyond_the_expected_adds_nothing() -> None:
    sure = Answer(np.array([1e-3]), np.array([4e-6]), np.array([0.0]))
    late = Answer(np.array([1e-3]), np.array([4e-6]), np.array([1.0]), 3.0)
    found = reach_of(sure, late)
    assert (found.new, found.growth) == (0.0, 0.0)


def test_where_nothing_lay_beyond_the_error_grows_all_the_same() -> None:
    found = reach_of(Answer(np.array([0.03]), np.array([0.0]), np.zeros(1)))
    assert found.growth == pytest.approx(GROWTH * 0.03)


def test_long_curves_are_thinned_and_tell_the_same() -> None:
    generator = np.random.default_rng(3)

    def long(shape: str, steps: int) -> pl.DataFrame:
        at = np.linspace(600, steps - 50, 150).astype(int)
        table = schedule_columns(rates(shape, steps), at)
        S, area = table["lr_sum"].to_numpy(), table["annealing"].to_numpy()
        loss = 2.7 + 0.6 * S**-0.45 - 0.1 * area + 0.05 * np.log1p(S / 6)
        loss = loss * np.exp(generator.normal(0, 3e-4, len(at)))
        return table.with_columns(loss=pl.Series(loss), curve=pl.lit(shape))

    table = pl.concat([long("cosine", STEPS), long("constant", STEPS), long("two-stage", 4000)])
    model = fit("annealing", table, draws=100)
    observed = observe(model.law, table)
    found = curve_backtest(observed, model.estimator, model.theta).to_dict()["curves"]
    assert found["left_out"]["points"] <= 3 * 16
    left = table.filter(pl.col("curve") == "constant")
    by_hand = np.abs(errors_by_hand(table.filter(pl.col("curve") != "constant"), left))
    answers = curve_backtest(observed, model.estimator, model.theta).answers
    last = [a for a in answers if not a.ratio and len(a.errors) == 16 and a.beyond.max() > 0.5]
    assert any(
        np.abs(answer.errors).max() == pytest.approx(by_hand.max(), rel=0.1) for answer in last
    )


def test_a_part_of_the_rows_counts_its_clusters_and_weights_anew() -> None:
    observed = observe(get_law("annealing"), curves(), weights="lr_sum")
    kept = part(observed, observed.clusters != observed.clusters[0])
    assert kept.cluster_count == 3
    assert sorted(set(kept.clusters)) == [0, 1, 2]
    assert kept.weights.mean() == pytest.approx(1)
    assert len(kept.names) == len(kept.target) == len(kept.inputs[0]) == 30


# --- what is made of it -------------------------------------------------------------------------


def test_the_fit_stays_and_its_notice_goes(bare: Fit, known: Fit) -> None:
    assert codes(known) == codes(bare) - {"not-backtested"}
    np.testing.assert_array_equal(known.theta, bare.theta)
    np.testing.assert_array_equal(known.draw_theta, bare.draw_theta)
    assert checked(known, BENT).to_dict() == known.to_dict()  # twice is once


def test_intervals_widen_for_an_unseen_curve_and_more_beyond(bare: Fit, known: Fit) -> None:
    new = curve("line", 3 * STEPS, np.random.default_rng(9), bent=True)
    assert isinstance(known.reach, CurveReach)
    for new_run in (False, True):
        one, two = (m.predict(new_run=new_run, **inputs(m, new)) for m in (bare, known))
        np.testing.assert_array_equal(one.value, two.value)
        wider = np.log(two.high / two.low) / np.log(one.high / one.low)
        assert (wider > 1).all()
    logs, _ = known.law.log_inputs(inputs(known, new))
    sd = known.reach.at(dict(zip(known.law.inputs, logs, strict=True)))
    assert sd[-1] > 2 * sd[0] > 0


@pytest.mark.parametrize("bent", [False, True])
def test_intervals_of_unseen_curves_hold(bent: bool) -> None:
    """A schedule not fitted, and one that was, up to three times as long."""
    before, after, widths = [], [], []
    for seed in range(4):
        table = curves(bent, seed)
        one = fit("annealing", table, draws=200)
        two = checked(one, table)
        generator = np.random.default_rng([seed, 1])
        for shape, length in product(("line", "cosine"), (1, 2, 3)):
            new = curve(shape, length * STEPS, generator, bent)
            loss = new["loss"].to_numpy()
            for model, inside in ((one, before), (two, after)):
                told = model.predict(new_run=True, **inputs(model, new))
                inside.append(float(((told.low <= loss) & (loss <= told.high)).mean()))
            widths.append(float(np.log(told.high / told.low).mean()))
    assert np.mean(after) >= 0.85
    if bent:
        assert np.mean(before) < 0.7
    else:  # the law is exactly true, to a noise of .04%
        assert np.mean(widths) < 0.008


def test_an_inverse_knows_of_the_error_too() -> None:
    step = np.tile(np.geomspace(100, 10_000, 12), 3)
    bend = np.repeat([0.0, 0.02, -0.02], 12)
    loss = 2.0 + 9 * step**-0.4 + bend * np.log(step / 100) / 5
    table = pl.DataFrame({"step": step, "loss": loss, "curve": np.repeat(["a", "b", "c"], 12)})
    law = custom_law("E + A / step^alpha", inputs=["step"])
    one = fit(law, table, draws=200)
    two = checked(one, table)
    ends = [model.invert(2.2) for model in (one, two)]
    assert ends[0].value == ends[1].value
    assert ends[1].high / ends[1].low > ends[0].high / ends[0].low


def test_a_prediction_half_as_far_again_is_noted(bare: Fit, known: Fit) -> None:
    for model in (bare, known):
        for factor, noted in ((1.4, False), (1.6, True), (0.9, False)):
            told = model.predict(lr_sum=factor * model.ranges["lr_sum"][1], annealing=0.0)
            assert ("extrapolation" in {n.code for n in told.notices}) == noted
    # No curve had annealed so late: the back-test knows, a range of lr_sum alone does not.
    late = {"lr_sum": known.ranges["lr_sum"][1], "annealing": known.ranges["annealing"][1]}
    assert [n.code for n in known.predict(**late).notices] == ["extrapolation"]
    assert known.predict(**late).extrapolation["lr_sum"] > 1.5


def test_it_is_saved_and_said(known: Fit, tmp_path: object) -> None:
    again = Fit.load(known.save(f"{tmp_path}/fit.json"))
    assert again.reach == known.reach
    assert again.backtest == known.backtest
    new = curve("line", 2 * STEPS, np.random.default_rng(9), bent=True)
    one, two = (model.predict(**inputs(model, new)) for model in (known, again))
    np.testing.assert_array_equal(one.low, two.low)
    text = known.summary()
    assert "mean error on each of 4 curves left out" in text
    assert "up to 2 times the lr_sum fitted" in text
    assert "intervals add" in text


# --- other tables -------------------------------------------------------------------------------


def test_rows_that_share_no_curve_are_tested_on_their_later_part() -> None:
    """One curve, or final losses of runs of one size: nothing can be left out but what is late."""
    generator = np.random.default_rng(0)
    tokens = np.geomspace(1e7, 1e9, 24)
    loss = (2.0 + 90 * tokens**-0.3) * np.exp(generator.normal(0, 1e-3, 24))
    table = pl.DataFrame({"tokens": tokens, "loss": loss})
    model = checked(fit(get_law("power", "tokens"), table, draws=100), table)
    told = model.backtest["curves"]
    assert told["left_out"]["points"] == 0
    assert [row["ratio"] for row in told["later"]] == list(CUTS)
    assert isinstance(model.reach, CurveReach)
    assert model.reach.new == 0
    assert "back-test" in model.summary()


def test_curves_of_several_sizes_go_along_what_varies_in_each() -> None:
    steps, sizes = np.geomspace(100, 10_000, 8), 10.0 ** np.arange(5, 9)
    N, S = (grid.ravel() for grid in np.meshgrid(sizes, steps, indexing="ij"))
    table = pl.DataFrame({"params": N, "steps": S, "curve": N.astype(str)})
    table = table.with_columns(loss=pl.Series(1.5 + 20 * N**-0.3 + 9 * S**-0.4))
    law = custom_law("E + A / params^alpha + B / steps^beta", inputs=["params", "steps"])
    assert progress_of(observe(law, table)) == "steps"


def test_an_input_along_which_the_loss_does_not_fall_is_no_progress() -> None:
    table = curves().with_columns(other=1.1 * pl.col("loss"))
    law = custom_law("a + b * other", inputs=["other"])
    assert progress_of(observe(law, table)) is None


def test_two_curves_are_left_out_in_turn() -> None:
    table = curves().filter(pl.col("curve").is_in(["cosine", "two-stage"]))
    model = checked(fit("annealing", table, draws=100), table)
    assert model.backtest["curves"]["left_out"]["curves"] == 2
    assert "not-backtested" not in codes(model)


def test_points_that_cannot_be_cut_leave_the_fit_as_it_was_and_say_so() -> None:
    table = curves().filter(pl.col("curve") != "cosine").group_by("curve").tail(2)
    model = fit("annealing", table, draws=100)
    same = checked(model, table)
    assert same.reach is None
    assert not same.backtest
    (message,) = (n.message for n in same.diagnosis.warnings if n.code == "not-backtested")
    assert "cannot be cut for a back-test" in message


def test_a_parameter_that_a_cut_says_nothing_of_is_not_judged_there() -> None:
    """Before any fall of the rate nothing tells what a fall is worth."""
    table = curves().filter(pl.col("curve").is_in(["constant", "two-stage"]))
    model = fit("annealing", table, draws=100)
    found = curve_backtest(observe(model.law, table), model.estimator, model.theta)
    # Without the two-stage curve its points after the fall are left out; those before are asked.
    lengths = sorted(len(answer.errors) for answer in found.answers if not answer.ratio)
    assert lengths[-1] == 10
    assert lengths[0] < 10


def test_the_back_test_by_compute_names_the_one_of_curves() -> None:
    with pytest.raises(FitError, match=r"needs the column flops"):
        backtest(curves(), ["annealing"])

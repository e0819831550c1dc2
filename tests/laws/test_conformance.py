"""One suite that every law of the registry passes, over every column it is used with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_cases import CASES, Case, runs

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import LAWS, Array

every_law = pytest.mark.parametrize("case", CASES, ids=str)
estimators = pytest.mark.parametrize("estimator", ["huber", "least-squares"])

DRAWS = 100  # the fewest that are accepted: what is checked does not depend on how many there are
# A formula against the same formula in other words: 12 digits, of which logs as large as 50 and
# exponents as small as .05 may take away two.
ROUNDING = 1e-10


def nearby(case: Case, count: int, seed: int) -> Array:
    """Coordinates around the planted ones: each moved by up to a fifth."""
    move = np.random.default_rng(seed).uniform(0.8, 1.2, size=(count, len(case.planted)))
    return case.theta * move


def logs(case: Case, table: pl.DataFrame) -> tuple[Array, ...]:
    return tuple(np.log(values) for values in case.inputs(table))


def test_the_suite_covers_the_registry() -> None:
    assert {case.name for case in CASES} == set(LAWS)
    assert all(set(case.planted) == set(case.law.names) for case in CASES)


# --- the formula --------------------------------------------------------------------------------


@every_law
def test_the_formula_is_the_equation(case: Case) -> None:
    table = runs(case)
    theta = nearby(case, 5, seed=1)
    log_loss, _ = case.law.formula(theta, logs(case, table))
    for row, values in zip(log_loss, case.law.values(theta), strict=True):
        named = dict(zip(case.law.names, values, strict=True))
        expected = np.log(case.by_hand(named, *case.inputs(table)))
        np.testing.assert_allclose(row, expected, rtol=ROUNDING, atol=ROUNDING)


@every_law
def test_derivatives_are_those_of_the_formula(case: Case) -> None:
    inputs = logs(case, runs(case))
    theta = nearby(case, 7, seed=2)
    _, jacobian = case.law.formula(theta, inputs)
    assert jacobian.shape == (7, len(case.planted), len(inputs[0]))
    for j in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[:, j] = 1e-5 * np.abs(theta[:, j])
        above, below = (case.law.formula(theta + s, inputs)[0] for s in (step, -step))
        numerical = (above - below) / (2 * step[:, j, None])
        # Central differences of this step: truncation 1e-10 and rounding 1e-11 of the derivative's
        # scale, times up to (ln N / gamma)^3 for the curvature of the coupled law.
        scale = np.abs(jacobian[:, j]).max()
        np.testing.assert_allclose(jacobian[:, j], numerical, rtol=1e-6, atol=1e-6 * scale)


@every_law
@settings(deadline=None)
@given(data=st.data())
def test_changed_units_change_nothing_but_the_units(case: Case, data: st.DataObject) -> None:
    factor = st.floats(-20, 20)
    moves = tuple(data.draw(factor) for _ in case.law.inputs)
    loss_move = data.draw(st.floats(-2, 2))
    inputs = logs(case, runs(case, sizes=3, data=2))
    theta = nearby(case, 3, seed=3)
    moved = case.law.change_units(theta, moves, loss_move)
    elsewhere = tuple(values + move for values, move in zip(inputs, moves, strict=True))
    before, after = case.law.formula(theta, inputs)[0], case.law.formula(moved, elsewhere)[0]
    np.testing.assert_allclose(after, before + loss_move, atol=ROUNDING)
    for j, parameter in enumerate(case.law.parameters):
        if parameter.prior is not None:  # the law says that no choice of units changes it
            assert (moved[:, j] == theta[:, j]).all()


# --- fitting ------------------------------------------------------------------------------------


@every_law
@estimators
def test_planted_parameters_come_back_without_noise(case: Case, estimator: str) -> None:
    found = fit(case.law, runs(case), estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    # The objective can be met to 1e-16 in each residual; a condition number below 1e5 leaves 1e-11.
    assert found.values == pytest.approx(dict(case.planted), rel=1e-9)
    assert found.diagnosis.starts_agreeing > found.diagnosis.starts / 2


@every_law
@estimators
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_parameters_come_back_with_noise(case: Case, estimator: str, seed: int) -> None:
    noise = 0.003
    table = runs(case, noise=noise, seed=seed)
    found = fit(case.law, table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    # What theory says of least squares, from a numerical jacobian of the equation by hand.
    rows = []
    for j in range(len(case.planted)):
        ends = []
        for sign in (1, -1):
            theta = case.theta.copy()
            theta[j] *= 1 + sign * 1e-6
            values = dict(zip(case.law.names, case.law.values(theta), strict=True))
            ends.append(np.log(case.by_hand(values, *case.inputs(table))))
        rows.append((ends[0] - ends[1]) / (2e-6 * case.theta[j]))
    jacobian = np.array(rows)
    stderr = noise * np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    # Huber's function with delta noise/3 wastes up to a third of the runs: its errors are up to
    # sqrt(pi / 2) larger. Four such standard errors: missed by chance once in 16,000.
    away = np.abs(found.theta - case.theta) / (stderr * np.sqrt(np.pi / 2))
    assert (away < 4).all()


@every_law
@pytest.mark.parametrize("clusters", ["run", "trunk"])  # the second: noise shared within trunks
def test_the_order_of_rows_changes_not_one_bit(case: Case, clusters: str) -> None:
    table = runs(case, noise=0.01)
    first = fit(case.law, table, clusters=clusters, draws=DRAWS)
    again = fit(
        case.law, table.sample(fraction=1, shuffle=True, seed=5), clusters=clusters, draws=DRAWS
    )
    assert (again.theta == first.theta).all()
    assert (again.draw_theta == first.draw_theta).all()
    assert (again.draw_noise == first.draw_noise).all()
    assert again.to_dict() == first.to_dict()
    assert again.fingerprint == first.fingerprint


@every_law
@pytest.mark.parametrize("clusters", ["run", "trunk"])
def test_units_do_not_matter(case: Case, clusters: str) -> None:
    table = runs(case, noise=0.01)
    # N in millions, D in billions, C in petaFLOP, loss in bits.
    units = {"params": 1e-6, "tokens": 1e-9, "flops": 1e-15, "loss": 1 / np.log(2)}
    other = table.with_columns(pl.col(name) * factor for name, factor in units.items())
    asked = {name: np.geomspace(1e6, 1e9, 4) for name in case.law.inputs}
    here = fit(case.law, table, clusters=clusters, draws=DRAWS).predict(**asked)
    there = fit(case.law, other, clusters=clusters, draws=DRAWS).predict(
        **{name: values * units[name] for name, values in asked.items()}
    )
    # Rounding may end the search a step earlier: a fit is polished until 1e-13 of the objective,
    # draws until 1e-6, which moves an end by less than a hundredth of the interval.
    np.testing.assert_allclose(there.value * np.log(2), here.value, rtol=1e-6)
    width = here.high - here.low
    for end in ("low", "high"):
        moved = getattr(there, end) * np.log(2) - getattr(here, end)
        assert (np.abs(moved) < 0.01 * width).all()


@every_law
def test_saved_and_loaded_fits_are_equal_to_the_bit(case: Case, tmp_path: Path) -> None:
    found = fit(
        case.law, runs(case, noise=0.01), draws=DRAWS, conventions={"params": "of matrices"}
    )
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert loaded.law.name == case.name
    assert loaded.law.inputs == case.law.inputs
    assert loaded.values == found.values
    assert (loaded.draws == found.draws).all()
    assert loaded.to_dict() == found.to_dict()
    assert loaded.summary() == found.summary()
    asked = {name: np.geomspace(1e6, 1e9, 4) for name in case.law.inputs}
    for new_run in (False, True):
        one = found.predict(new_run=new_run, **asked)
        two = loaded.predict(new_run=new_run, **asked)
        for part in ("value", "low", "high"):
            assert (getattr(one, part) == getattr(two, part)).all()


@every_law
def test_answers_are_strict_json(case: Case) -> None:
    found = fit(case.law, runs(case, noise=0.01), draws=DRAWS)
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert answer["law"] == case.name
    assert list(answer["parameters"]) == list(case.law.names)
    for one in answer["parameters"].values():
        assert set(one) == {"value", "low", "high", "level", "stderr"}


@every_law
def test_predictions_have_the_shape_asked_for(case: Case) -> None:
    found = fit(case.law, runs(case, noise=0.01), draws=DRAWS)
    first, *rest = case.law.inputs
    row, column = np.geomspace(1e6, 1e8, 4), np.geomspace(1e6, 1e8, 3)[:, None]
    for inputs, shape in (
        ((1e6, 1e7), ()),
        ((row, 1e7), (4,)),
        (([1e6, 2e6], [1e7, 3e7]), (2,)),
        ((column, row if rest else 1.0), (3, 4) if rest else (3, 1)),
        ((np.array([]), 1e7), (0,)),
    ):
        asked = dict(zip(case.law.inputs, inputs, strict=False))
        predicted = found.predict(**asked)
        assert predicted.value.shape == predicted.low.shape == predicted.high.shape == shape
        assert (predicted.low <= predicted.high).all()
        assert case.law.loss(found.values, **asked).shape == shape
    if rest:  # broadcasting is the same as asking one by one
        together = found.predict(**{first: column, rest[0]: row}).value
        alone = found.predict(**{first: float(column[2, 0]), rest[0]: float(row[1])}).value
        assert together[2, 1] == pytest.approx(float(alone), rel=1e-15)


# --- what is noticed and what is refused --------------------------------------------------------


@every_law
def test_few_levels_are_noticed(case: Case) -> None:
    wide = runs(case, noise=0.01)
    for column in case.law.inputs:
        three = wide.filter(pl.col(column) <= wide[column].unique().sort()[2])
        # Seeds make enough runs of them, and no new level.
        again = pl.concat([three.with_columns(pl.col("run") + seed) for seed in ("a", "b", "c")])
        narrow = fit(case.law, again, draws=DRAWS)
        (notice,) = (n for n in narrow.diagnosis.warnings if n.code == "few-levels")
        assert notice.message.startswith(f"{column} takes 3 values")
    codes = {notice.code for notice in fit(case.law, wide, draws=DRAWS).diagnosis.warnings}
    assert "few-levels" not in codes


@every_law
def test_too_few_runs_are_refused(case: Case) -> None:
    least = len(case.planted) + 1
    table = runs(case, noise=0.01).sample(fraction=1, shuffle=True, seed=0)
    assert fit(case.law, table.head(least), draws=DRAWS).runs == least
    with pytest.raises(FitError, match=f"needs {least} finished runs or more.*has {least - 1}"):
        fit(case.law, table.head(least - 1), draws=DRAWS)


@every_law
def test_an_input_that_does_not_vary_is_refused(case: Case) -> None:
    for column in case.law.inputs:
        table = runs(case).with_columns(pl.lit(12345.0).alias(column))
        with pytest.raises(FitError, match=f"every run has {column} = 12345"):
            fit(case.law, table, draws=DRAWS)


@every_law
@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), float("inf"), None])
def test_values_that_cannot_be_are_refused_by_row_and_run(case: Case, value: float | None) -> None:
    table = runs(case)
    for column in (*case.law.inputs, "loss"):
        here = pl.int_range(pl.len()) == 4
        spoilt = table.with_columns(
            pl.when(here).then(pl.lit(value, dtype=pl.Float64)).otherwise(column).alias(column)
        )
        with pytest.raises(FitError, match=rf"row 5 \(run run4\): {column} is {value}") as caught:
            fit(case.law, spoilt, draws=DRAWS)
        assert "positive, finite" in str(caught.value)


@every_law
def test_a_missing_column_is_named(case: Case) -> None:
    for column in (*case.law.inputs, "loss"):
        with pytest.raises(FitError, match=f"Rename or add {column}"):
            fit(case.law, runs(case).drop(column), draws=DRAWS)

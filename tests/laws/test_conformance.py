"""One suite that every law of the registry passes, over every column it is used with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from law_cases import CASES, Case, runs

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import LAWS, Array

# A fit of the multi-power law, whose every run is a list of 64 drops, takes two seconds: it takes
# part wherever formulas are checked, once without noise, and in all that one fit can show.
QUICK = tuple(case for case in CASES if case.name != "multi-power")
FIRST = tuple({case.name: case for case in reversed(CASES)}.values())  # one case of each law
BRIEF = tuple(case for case in FIRST if case in QUICK)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_quick_case = pytest.mark.parametrize("case", QUICK, ids=str)
every_law = pytest.mark.parametrize("case", FIRST, ids=str)
every_quick_law = pytest.mark.parametrize("case", BRIEF, ids=str)
estimators = pytest.mark.parametrize("estimator", ["huber", "least-squares"])

DRAWS = 100  # the fewest that are accepted: what is checked does not depend on how many there are
# A formula against the same formula in other words: 12 digits, of which logs as large as 50 and
# exponents as small as .05 may take away two.
ROUNDING = 1e-10


def nearby(case: Case, count: int, seed: int) -> Array:
    """Coordinates around the planted ones: each moved by up to a fifth."""
    move = np.random.default_rng(seed).uniform(0.8, 1.2, size=(count, len(case.planted)))
    return case.theta * move


def inputs_of(case: Case, table: pl.DataFrame) -> tuple[Array, ...]:
    """As the formula takes them: logarithms, but what is in `raw`."""
    named = zip(case.law.inputs, case.inputs(table), strict=True)
    return tuple(a if name in case.law.raw else np.log(a) for name, a in named)


@cache
def noisy_fit(name: str) -> Fit:
    """A fit of the case of that name to noisy runs, made once: fits do not change."""
    (case,) = (case for case in CASES if str(case) == name)
    return fit(
        case.law, runs(case, noise=case.noise), draws=DRAWS, conventions={"params": "of matrices"}
    )


def test_the_suite_covers_the_registry() -> None:
    assert {case.name for case in CASES} == set(LAWS)
    assert all(set(case.planted) == set(case.law.names) for case in CASES)
    for name in ("power", "power-no-floor", "broken-power", "m4"):
        columns = {case.column for case in CASES if case.name == name}
        assert columns == {"params", "tokens", "flops", "position"}


# --- the formula --------------------------------------------------------------------------------


@every_case
def test_the_formula_is_the_equation(case: Case) -> None:
    table = runs(case)
    theta = nearby(case, 5, seed=1)
    log_loss, _ = case.law.formula(theta, inputs_of(case, table))
    for row, values in zip(log_loss, case.law.values(theta), strict=True):
        named = dict(zip(case.law.names, values, strict=True))
        expected = np.log(case.by_hand(named, *case.inputs(table)))
        np.testing.assert_allclose(row, expected, rtol=ROUNDING, atol=ROUNDING)


@every_case
def test_derivatives_are_those_of_the_formula(case: Case) -> None:
    inputs = inputs_of(case, runs(case))
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


@every_case
def test_the_value_alone_is_that_of_the_formula(case: Case) -> None:
    inputs = inputs_of(case, runs(case))
    theta = nearby(case, 3, seed=3)
    alone = case.law.log_value(theta, inputs)
    assert alone.shape == (3, len(inputs[0]))
    np.testing.assert_allclose(alone, case.law.formula(theta, inputs)[0], rtol=1e-13, atol=1e-13)


# --- fitting ------------------------------------------------------------------------------------


@every_quick_case
@estimators
def test_planted_parameters_come_back_without_noise(case: Case, estimator: str) -> None:
    found = fit(case.law, runs(case), estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    # The objective can be met to 1e-16 in each residual; a condition number below 1e5 leaves 1e-11.
    assert found.values == pytest.approx(dict(case.planted), rel=1e-9)
    # Where the start is felt for long or not at all, M4 bends alike: many starts stop elsewhere.
    if case.name != "m4":
        assert found.diagnosis.starts_agreeing > found.diagnosis.starts / 2


def test_planted_parameters_of_every_drop_come_back_without_noise() -> None:
    (case,) = (case for case in CASES if case not in QUICK)
    found = fit(case.law, runs(case), estimator="least-squares", draws=DRAWS)
    assert found.values == pytest.approx(dict(case.planted), rel=1e-9)
    assert found.diagnosis.starts_agreeing > found.diagnosis.starts / 2


def linear_theory(case: Case, table: pl.DataFrame) -> Array:
    """Derivatives (p, n) of the equation by hand at the planted values, numerically."""
    rows = []
    for j in range(len(case.planted)):
        ends = []
        for sign in (1, -1):
            theta = case.theta.copy()
            theta[j] *= 1 + sign * 1e-6
            values = dict(zip(case.law.names, case.law.values(theta), strict=True))
            ends.append(np.log(case.by_hand(values, *case.inputs(table))))
        rows.append((ends[0] - ends[1]) / (2e-6 * case.theta[j]))
    return np.array(rows)


@every_quick_law
@estimators
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_parameters_come_back_with_noise(case: Case, estimator: str, seed: int) -> None:
    table = runs(case, noise=case.noise, seed=seed)
    found = fit(case.law, table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    # What theory says of least squares.
    jacobian = linear_theory(case, table)
    stderr = case.noise * np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    # Huber's function with delta noise/3 wastes up to a third of the runs: its errors are up to
    # sqrt(pi / 2) larger. Four such standard errors: missed by chance once in 16,000.
    away = np.abs(found.theta - case.theta) / (stderr * np.sqrt(np.pi / 2))
    assert (away < 4).all()


@every_quick_law
@pytest.mark.parametrize("seed", [1, 2])
def test_what_noisy_runs_leave_open_does_not_harm_predictions(case: Case, seed: int) -> None:
    """Of M4 or of transfer, .003 of noise leaves no parameter; of losses it leaves everything."""
    noise = 0.003
    table = runs(case, noise=noise, seed=seed)
    found = fit(case.law, table, estimator="least-squares", draws=DRAWS)
    named = dict(zip(case.law.inputs, case.inputs(table), strict=True))
    true = case.by_hand(case.planted, *named.values())
    missed = (np.log(found.predict(**named).value / true) ** 2).sum() / noise**2
    # Least squares keeps of the noise its projection on p directions: chi-squared, missed by
    # chance once in 10,000.
    assert missed < scipy.stats.chi2(len(case.planted)).isf(1e-4)


@every_quick_law
@pytest.mark.parametrize("clusters", ["run", "trunk"])  # the second: noise shared within trunks
def test_the_order_of_rows_changes_not_one_bit(case: Case, clusters: str) -> None:
    table = runs(case, noise=case.noise)
    first = fit(case.law, table, clusters=clusters, draws=DRAWS)
    again = fit(
        case.law, table.sample(fraction=1, shuffle=True, seed=5), clusters=clusters, draws=DRAWS
    )
    assert (again.theta == first.theta).all()
    assert (again.draw_theta == first.draw_theta).all()
    assert (again.draw_noise == first.draw_noise).all()
    assert again.to_dict() == first.to_dict()
    assert again.fingerprint == first.fingerprint


# N in millions, D in billions, C in petaFLOP, loss in bits, rates in thousandths.
UNITS = {
    "params": 1e-6,
    "tokens": 1e-9,
    "unique_tokens": 1e-9,
    "flops": 1e-15,
    "position": 0.125,
    "steps_min": 1e-3,
    "loss": 1 / np.log(2),
    "loss.other": 1 / np.log(2),
    "lr": 1e3,
    "lr_sum": 1e3,
    "annealing": 1e3,
    "batch_tokens": 1e-6,
    "critical_batch": 1e-6,
}


@every_quick_law
@pytest.mark.parametrize("clusters", ["run", "trunk"])
def test_units_do_not_matter(case: Case, clusters: str) -> None:
    table = runs(case, noise=case.noise)
    factors = {name: UNITS[name] for name in (*case.law.inputs, case.law.response)}
    other = table.with_columns(pl.col(name) * factor for name, factor in factors.items())
    asked = case.asked()
    here = fit(case.law, table, clusters=clusters, draws=DRAWS).predict(**asked)
    there = fit(case.law, other, clusters=clusters, draws=DRAWS).predict(
        **{name: values * UNITS[name] for name, values in asked.items()}
    )
    back = 1 / UNITS[case.law.response]
    # Rounding may end the search a step earlier: a fit is polished until 1e-13 of the objective,
    # draws until 1e-6, which moves an end by less than a hundredth of the interval.
    np.testing.assert_allclose(there.value * back, here.value, rtol=1e-6)
    width = here.high - here.low
    for end in ("low", "high"):
        moved = getattr(there, end) * back - getattr(here, end)
        assert (np.abs(moved) < 0.01 * width).all()


# --- what a fit gives ---------------------------------------------------------------------------


@every_case
def test_saved_and_loaded_fits_are_equal_to_the_bit(case: Case, tmp_path: Path) -> None:
    found = noisy_fit(str(case))
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert loaded.law.name == case.name
    assert loaded.law.inputs == case.law.inputs
    assert loaded.law.response == case.law.response
    assert loaded.values == found.values
    assert (loaded.draws == found.draws).all()
    assert loaded.to_dict() == found.to_dict()
    assert loaded.summary() == found.summary()
    asked = case.asked()
    for new_run in (False, True):
        one = found.predict(new_run=new_run, **asked)
        two = loaded.predict(new_run=new_run, **asked)
        for part in ("value", "low", "high"):
            assert (getattr(one, part) == getattr(two, part)).all()


@every_law
def test_answers_are_strict_json(case: Case) -> None:
    found = noisy_fit(str(case))
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert answer["law"] == case.name
    assert list(answer["parameters"]) == list(case.law.names)
    for one in answer["parameters"].values():
        assert set(one) == {"value", "low", "high", "level", "stderr"}


@every_quick_law
def test_predictions_have_the_shape_asked_for(case: Case) -> None:
    found = noisy_fit(str(case))
    first, *rest = case.law.inputs
    rows = case.asked()
    one = {name: float(values[1]) for name, values in rows.items()}
    column = case.asked(3)[first][:, None]
    for asked, shape in (
        (one, ()),
        ({**one, first: rows[first]}, (4,)),
        ({name: values.tolist() for name, values in rows.items()}, (4,)),
        ({**(rows if rest else {}), first: column}, (3, 4) if rest else (3, 1)),
        ({**one, first: np.array([])}, (0,)),
    ):
        predicted = found.predict(**asked)  # type: ignore[arg-type]
        assert predicted.value.shape == predicted.low.shape == predicted.high.shape == shape
        assert (predicted.low <= predicted.high).all()
        assert case.law.loss(found.values, **asked).shape == shape  # type: ignore[arg-type]
    if rest:  # broadcasting is the same as asking one by one
        together = found.predict(**{**rows, first: column}).value
        alone = found.predict(**{**one, first: float(column[2, 0])}).value
        assert together[2, 1] == pytest.approx(float(alone), rel=1e-15)


def test_predictions_over_lists_are_one_for_each_row() -> None:
    (case,) = (case for case in CASES if case not in QUICK)
    found, rows = noisy_fit(str(case)), case.asked(3)
    predicted = found.predict(**rows)
    assert predicted.value.shape == predicted.low.shape == (3,)
    assert (predicted.low <= predicted.high).all()
    true = case.by_hand(case.planted, *rows.values())
    np.testing.assert_allclose(predicted.value, true, rtol=4 * case.noise)
    assert case.law.loss(found.values, **rows) == pytest.approx(predicted.value, rel=1e-12)


# --- what is noticed and what is refused --------------------------------------------------------


def flat(case: Case) -> list[str]:
    """Inputs that are one number for each run."""
    return [name for name in case.law.inputs if not case.table()[name].dtype.is_nested()]


@every_quick_law
def test_few_levels_are_noticed(case: Case) -> None:
    wide = runs(case, noise=case.noise)
    for column in flat(case):
        # A scale and an exponent for each input are checked by a third value, others by a fourth.
        few = 2 if len(case.law.parameters) <= 2 * len(case.law.inputs) else 3
        kept = wide.filter(pl.col(column) <= wide[column].unique().sort()[few - 1])
        # Seeds make enough runs of them, and no new level.
        again = pl.concat([kept.with_columns(pl.col("run") + seed) for seed in ("a", "b", "c")])
        narrow = fit(case.law, again, draws=DRAWS)
        messages = [n.message for n in narrow.diagnosis.warnings if n.code == "few-levels"]
        assert sum(text.startswith(f"{column} takes {few} values") for text in messages) == 1
    codes = {notice.code for notice in noisy_fit(str(case)).diagnosis.warnings}
    assert "few-levels" not in codes


@every_quick_law
def test_too_few_runs_are_refused(case: Case) -> None:
    least = len(case.planted) + 1
    table = runs(case, noise=case.noise).sample(fraction=1, shuffle=True, seed=0)
    assert fit(case.law, table.head(least), draws=DRAWS).runs == least
    with pytest.raises(FitError, match=f"needs {least} finished runs or more.*has {least - 1}"):
        fit(case.law, table.head(least - 1), draws=DRAWS)


@every_law
def test_an_input_that_does_not_vary_is_refused(case: Case) -> None:
    for column in flat(case):
        table = runs(case).with_columns(pl.lit(12345.0).alias(column))
        if column in case.law.raw:  # may be: nothing anneals along a constant schedule
            continue
        with pytest.raises(FitError, match=f"every run has {column} = 12345"):
            fit(case.law, table, draws=DRAWS)


@every_law
@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), float("inf"), None])
def test_values_that_cannot_be_are_refused_by_row_and_run(case: Case, value: float | None) -> None:
    table = runs(case)
    for column in (*flat(case), case.law.response):
        if value == 0 and column in case.law.raw:
            continue
        if value == -3 and column in case.law.signed:
            continue
        here = pl.int_range(pl.len()) == 4
        spoilt = table.with_columns(
            pl.when(here).then(pl.lit(value, dtype=pl.Float64)).otherwise(column).alias(column)
        )
        with pytest.raises(FitError, match=rf"row 5 \(run run4\): {column} is {value}") as caught:
            fit(case.law, spoilt, draws=DRAWS)
        assert "positive, finite" in str(caught.value)


@pytest.mark.parametrize("value", [[float("nan")], [0.1, float("inf")], [0.1, None], None])
def test_lists_that_cannot_be_are_refused_by_row_and_run(
    value: list[float | None] | None,
) -> None:
    (case,) = (case for case in CASES if case not in QUICK)
    for column in case.law.raw:
        table = runs(case)
        rows = table[column].to_list()
        rows[4] = value
        spoilt = table.with_columns(pl.Series(column, rows, dtype=pl.List(pl.Float64)))
        with pytest.raises(FitError, match=rf"row 5 \(run run4\): {column} is .* list of finite"):
            fit(case.law, spoilt, draws=DRAWS)


@every_law
def test_a_missing_column_is_named(case: Case) -> None:
    for column in (*case.law.inputs, case.law.response):
        with pytest.raises(FitError, match=f"Rename or add {column}"):
            fit(case.law, runs(case).drop(column), draws=DRAWS)

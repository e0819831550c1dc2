"""What the laws of annealing know of a schedule, against plain loops over its steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import FitError
from scalelab.fitting import backtest, fit
from scalelab.fitting.schedules import DROPS, annealing_area, schedule_columns
from scalelab.laws import Array, get_law

COLUMNS = ["lr_sum", "annealing", "lr_drops", "lr_levels", "lr_sum_after"]

rates = st.lists(st.sampled_from([0.0, 1e-4, 3e-4, 1e-3]), min_size=2, max_size=30).filter(any)


def warmed_up(steps: int, shape: Array) -> Array:
    """A schedule of that shape, (steps,), after a warm-up of 100 steps."""
    return 1e-3 * np.minimum(1, (np.arange(steps) + 1) / 100) * shape


def schedules(steps: int) -> dict[str, Array]:
    done = np.arange(steps) / steps
    return {
        "cosine": warmed_up(steps, 0.55 + 0.45 * np.cos(np.pi * done)),
        "cosine to nothing": warmed_up(steps, 0.5 + 0.5 * np.cos(np.pi * done)),
        "line to nothing": warmed_up(steps, 1 - done),
        "late decay": warmed_up(steps, 1 - 0.9 * np.clip(done - 0.8, 0, 0.2) / 0.2),
        "step": warmed_up(steps, np.where(done < 0.5, 1, 0.3)),
        "constant": warmed_up(steps, np.ones(steps)),
    }


def falls(lr: list[float] | Array) -> list[float]:
    """How far the rate falls at each step from its first fall on; a rise is a negative fall."""
    found, begun = [0.0], False
    for before, after in pairwise(lr):
        begun = begun or after < before
        found.append(before - after if begun else 0.0)
    return found


# --- sums ---------------------------------------------------------------------------------------


@given(lr=rates, momentum=st.floats(0, 0.999))
def test_columns_are_those_of_plain_loops(lr: list[float], momentum: float) -> None:
    steps = np.arange(1, len(lr) + 1)
    table = schedule_columns(np.array(lr), steps, momentum)
    assert table.columns == COLUMNS
    fall = falls(lr)
    total = area = moving = 0.0
    for step, row in zip(steps, table.iter_rows(named=True), strict=True):
        total += lr[step - 1]
        moving = momentum * moving + fall[step - 1]
        area += moving
        assert row["lr_sum"] == pytest.approx(total, rel=1e-12)
        assert row["annealing"] == pytest.approx(area, rel=1e-9, abs=1e-15)
        fallen = [i for i in range(step) if fall[i] != 0]
        if not fallen:
            assert row["lr_drops"] == [0.0]
            continue
        assert row["lr_drops"] == [fall[i] for i in fallen]
        # A level of zero has no power: a millionth of the peak stands for it.
        assert row["lr_levels"] == [max(lr[i], 1e-6 * max(lr)) for i in fallen]
        after = [sum(lr[i:step]) for i in fallen]
        assert row["lr_sum_after"] == pytest.approx(after, rel=1e-9, abs=1e-15)


@given(fall=st.lists(st.floats(-1, 1), min_size=1, max_size=40), momentum=st.floats(0, 0.999))
def test_the_annealing_area_is_the_sum_of_the_momentum(fall: list[float], momentum: float) -> None:
    found = annealing_area(np.array(fall), momentum)
    moving, area = 0.0, 0.0
    for i, one in enumerate(fall):
        moving = momentum * moving + one
        area += moving
        assert found[i] == pytest.approx(area, rel=1e-9, abs=1e-9)


def test_a_fall_is_felt_for_as_long_as_the_momentum_lasts() -> None:
    """Tissue et al. 2024: one step of fall h, t steps later, has gained h (1 - m^t) / (1 - m)."""
    lr = np.array([1.0] * 10 + [0.4] * 500)
    (row,) = schedule_columns(lr, np.array([10 + 300]), 0.99).iter_rows(named=True)
    assert row["annealing"] == pytest.approx(0.6 * (1 - 0.99**300) / 0.01, rel=1e-9)


def test_a_warm_up_is_no_annealing() -> None:
    lr = schedules(2000)["constant"]
    table = schedule_columns(lr, np.array([50, 100, 2000]))
    assert table["annealing"].to_list() == [0.0, 0.0, 0.0]
    assert table["lr_drops"].to_list() == [[0.0]] * 3
    assert table["lr_sum"].to_list() == pytest.approx([lr[:50].sum(), lr[:100].sum(), lr.sum()])


def test_steps_may_stand_in_any_order() -> None:
    lr = schedules(2000)["cosine"]
    forth, back = (schedule_columns(lr, np.array(at)) for at in ([500, 900], [900, 500]))
    assert forth.reverse().equals(back)


# --- drops --------------------------------------------------------------------------------------


def test_a_schedule_of_one_step_has_one_drop() -> None:
    lr = schedules(2000)["step"]
    before, after = schedule_columns(lr, np.array([1000, 1500])).iter_rows(named=True)
    assert before["lr_drops"] == [0.0]
    assert after["lr_drops"] == pytest.approx([0.7e-3])
    assert after["lr_levels"] == pytest.approx([0.3e-3])
    assert after["lr_sum_after"] == pytest.approx([500 * 0.3e-3])


@pytest.mark.parametrize("name", ["cosine", "line to nothing", "late decay"])
def test_many_drops_are_summed_into_a_few_of_equal_fall(name: str) -> None:
    lr = schedules(5000)[name]
    (row,) = schedule_columns(lr, np.array([5000])).iter_rows(named=True)
    drops, levels, after = (np.array(row[column]) for column in COLUMNS[2:])
    assert len(drops) == len(levels) == len(after) == DROPS == 64
    fallen = lr.max() - lr[-1]
    assert drops.sum() == pytest.approx(fallen, rel=1e-12)
    assert drops == pytest.approx(np.full(64, fallen / 64), rel=0.05)
    # Each is at its own mean level and has its own mean sum: in order, from the peak on.
    assert (np.diff(levels) < 0).all()
    assert (np.diff(after) < 0).all()
    assert after[0] < lr.sum()
    fall = np.array(falls(lr))
    means = [(fall * lr).sum(), (fall * (lr[::-1].cumsum()[::-1])).sum()]
    assert [(drops * levels).sum(), (drops * after).sum()] == pytest.approx(means, rel=1e-4)


def test_few_drops_are_kept_each() -> None:
    """As many as the list holds, of any sizes."""
    lr = np.repeat(np.linspace(1.0, 0.1, DROPS + 1) ** 2, 3)
    (row,) = schedule_columns(lr, np.array([len(lr)])).iter_rows(named=True)
    assert row["lr_drops"] == pytest.approx(-np.diff(lr[::3]), rel=1e-12)
    assert row["lr_levels"] == pytest.approx(lr[3::3], rel=1e-12)


def test_falls_before_a_higher_second_peak_count() -> None:
    """A second cycle may rise above the first, which has been annealing all the same."""
    lr = np.array([0.5, 1.0, 0.2, 0.2, 1.5, 0.1])
    (row,) = schedule_columns(lr, np.array([6]), 0.5).iter_rows(named=True)
    assert row["lr_drops"] == pytest.approx([0.8, -1.3, 1.4])
    assert row["annealing"] == pytest.approx(0.8 * 1.875 - 1.3 * 1.5 + 1.4)


def test_a_rise_after_the_peak_is_a_drop_upwards() -> None:
    lr = np.array([1.0, 0.5, 0.5, 0.8, 0.1])
    (row,) = schedule_columns(lr, np.array([5])).iter_rows(named=True)
    assert row["lr_drops"] == pytest.approx([0.5, -0.3, 0.7])
    assert row["lr_sum_after"] == pytest.approx([1.9, 0.9, 0.1])


EVERY_DROP = {
    "as planted elsewhere": {"B": 400.0, "C": 2.0, "beta": 0.5, "gamma": 0.5},
    "slow": {"B": 600.0, "C": 0.16, "beta": 0.9, "gamma": 0.56},
    "fast": {"B": 400.0, "C": 100.0, "beta": 1.0, "gamma": 0.6},
}


@pytest.mark.parametrize("values", EVERY_DROP.values(), ids=list(EVERY_DROP))
@pytest.mark.parametrize("name", list(schedules(1000)))
@pytest.mark.parametrize("length", [2000, 20_000])
def test_the_law_over_a_few_drops_is_the_law_over_every_step(
    values: dict[str, float], name: str, length: int
) -> None:
    """Luo et al. 2025, equations 1 and 2, with every step of the schedule written out."""
    law = get_law("multi-power")
    v = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, **values}
    lr = schedules(length)[name]
    steps = np.unique(np.geomspace(200, length, 8).astype(int))
    table = schedule_columns(lr, steps)
    width = max(map(len, table["lr_drops"]))
    inputs = {
        name: np.array([[*row, *([0.0] * (width - len(row)))] for row in table[name].to_list()])
        for name in COLUMNS[2:]
    }
    found = law.loss(v, lr_sum=table["lr_sum"].to_numpy(), **inputs)
    sums, fall = np.cumsum(lr), np.array(falls(lr))
    expected, paid = [], []
    for t in steps:
        k = np.flatnonzero(fall[:t])
        x = lr[k] ** -v["gamma"] * (sums[t - 1] - sums[k] + lr[k])
        paid.append(v["B"] * (fall[k] * (1 - (1 + v["C"] * x) ** -v["beta"])).sum())
        expected.append(v["L_0"] + v["A"] * sums[t - 1] ** -v["alpha"] - paid[-1])
    # What the docstring of DROPS promises; a schedule of few drops is summed exactly.
    exact = name in ("step", "constant")
    np.testing.assert_allclose(found, expected, rtol=1e-12 if exact else 3e-4)
    if not exact:
        before = v["L_0"] + v["A"] * sums[steps - 1] ** -v["alpha"]
        assert np.abs(before - found - paid).max() < 2e-3 * max(paid)


def test_lists_of_several_lengths_are_back_tested() -> None:
    """A run early in a schedule has fewer drops behind it than one late in it."""
    tables = []
    for name in ("cosine", "line to nothing", "step"):
        at = np.unique(np.geomspace(40, 4000, 16).astype(int))
        table = schedule_columns(schedules(4000)[name], at)
        tables.append(table.with_columns(flops=1e12 * at))
    table = pl.concat(tables)
    assert table["lr_drops"].list.len().n_unique() > 2
    law = get_law("multi-power")
    planted = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "B": 400.0, "C": 2.0, "beta": 0.5, "gamma": 0.5}
    loss = law.loss(planted, **{name: table[name].to_list() for name in law.inputs})
    table = table.with_columns(loss=pl.Series(loss))
    (score,) = backtest(table, [law], cuts=[5e14], draws=100).scores.values()
    assert len(score.errors) > 10
    assert score.mean_abs_rel_error < 1e-3
    # Rows alone say the same as rows beside longer ones.
    for i in (0, 20, 47):
        row = {name: table[name].to_list()[i : i + 1] for name in law.inputs}
        assert law.loss(planted, **row) == pytest.approx(loss[i : i + 1], rel=1e-12)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lr",
    [
        np.zeros(0),
        np.zeros(5),
        np.array([1e-3, -1e-3]),
        np.array([1e-3, np.nan]),
        np.array([1e-3, np.inf]),
        np.ones((2, 3)),
        np.array(1e-3),
    ],
)
def test_what_is_no_schedule_is_refused(lr: Array) -> None:
    with pytest.raises(FitError, match="a schedule is a list of learning rates, one a step"):
        schedule_columns(lr, np.array([1]))


@pytest.mark.parametrize(("first", "last"), [(0, 3), (-1, 3), (1, 6)])
def test_steps_outside_the_schedule_are_refused(first: int, last: int) -> None:
    with pytest.raises(FitError, match=f"steps run from {first} to {last}; the schedule has 5"):
        schedule_columns(np.ones(5), np.array([first, last]))


def test_no_steps_are_refused() -> None:
    with pytest.raises(FitError, match="no steps are given"):
        schedule_columns(np.ones(5), np.array([], dtype=int))


def test_columns_are_numbers_and_lists_of_numbers() -> None:
    table = schedule_columns(schedules(1000)["cosine"], np.array([200, 1000]))
    assert table.dtypes == [pl.Float64, pl.Float64, *([pl.List(pl.Float64)] * 3)]


def test_a_second_warm_up_takes_the_area_below_zero_and_is_fitted() -> None:
    """S_2 has no sign of its own: equation 1 of Tissue et al. 2024 takes a rise off the area."""
    rate = np.concatenate([np.full(500, 5e-4), np.full(500, 1e-4), np.full(1000, 1e-3)])
    table = schedule_columns(rate, np.unique(np.geomspace(50, 2000, 40).astype(int)))
    area = table["annealing"].to_numpy()
    assert area.min() < -0.1 < 0.1 < area.max()
    planted = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "C": 0.3}
    law = get_law("annealing")
    loss = law.loss(planted, lr_sum=table["lr_sum"].to_numpy(), annealing=area)
    found = fit(law, table.with_columns(loss=loss), draws=100)
    assert found.values == pytest.approx(planted, rel=1e-6)


def test_curves_whose_area_is_below_zero_are_fitted() -> None:
    """Areas that count the warm-up, as some logs do, begin below zero; the law comes back."""
    rates = [1e-3 * (1 - 0.9 * share * np.arange(2000) / 2000) for share in (0.0, 0.5, 1.0)]
    at = np.geomspace(100, 2000, 12).astype(int)
    table = pl.concat(schedule_columns(rate, at) for rate in rates)
    table = table.with_columns(pl.col("annealing") - 0.1)
    assert table["annealing"].to_numpy().min() < 0
    planted = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "C": 0.3}
    law = get_law("annealing")
    loss = law.loss(planted, **{name: table[name].to_numpy() for name in law.inputs})
    found = fit(law, table.with_columns(loss=loss), draws=100)
    assert found.values == pytest.approx(planted, rel=1e-6)

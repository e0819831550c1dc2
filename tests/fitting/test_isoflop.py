"""Best sizes per budget, against the optimum that a planted law has in closed form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.errors import FitError, SpecError
from scalelab.fitting import IsoFlop, isoflop, optima
from scalelab.fitting.budgets import group_budgets
from scalelab.laws import Array

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
A = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
"""The exponent of N_opt; that of D_opt is 1 - A."""
BUDGETS = np.geomspace(1e18, 1e21, 7)


def loss(N: Array, D: Array) -> Array:
    return TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]


def best_size(C: Array) -> Array:
    """N at which alpha A N^-alpha = beta B D^-beta with C = 6 N D: Hoffmann et al., equation 4."""
    ratio = TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"])
    return np.asarray(ratio ** (1 / (TRUTH["alpha"] + TRUTH["beta"])) * (C / 6) ** A)


def sweeps(
    low: float = 0.25,
    high: float = 4.0,
    *,
    sizes: int = 9,
    seeds: int = 1,
    budgets: Array = BUDGETS,
    drift: float = 0.0,
    jitter: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> pl.DataFrame:
    """Runs from `low` to `high` times the best size at each budget.

    drift: exponent of C by which the middle of a sweep strays from the best size; jitter: of
    compute about its budget, relative; noise: of log loss.
    """
    generator = np.random.default_rng(seed)
    C = np.repeat(budgets, sizes * seeds)
    stray = (C / np.exp(np.log(budgets).mean())) ** drift
    N = best_size(C) * stray * np.tile(np.geomspace(low, high, sizes), len(budgets) * seeds)
    C = C * np.exp(jitter * generator.uniform(-1, 1, size=len(C)))
    D = C / 6 / N
    losses = loss(N, D) * np.exp(noise * generator.normal(size=len(C)))
    return pl.DataFrame({"params": N, "tokens": D, "flops": C, "loss": losses})


# --- against the optimum in closed form -------------------------------------------------------

PLACES: dict[str, dict[str, Any]] = {
    "centred": {},
    "wide": {"low": 0.1, "high": 10.0, "sizes": 11},
    "mostly larger": {"low": 0.5, "high": 12.0},
    "mostly smaller": {"low": 1 / 12, "high": 2.0},
    "straying up": {"low": 0.2, "high": 5.0, "drift": 0.1},
    "straying down": {"low": 0.2, "high": 5.0, "drift": -0.1},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_every_method_finds_the_planted_exponents(place: dict[str, Any]) -> None:
    found = isoflop(sweeps(**place))
    assert found.method == "cubic"
    assert set(found.methods) == {"parabola", "cubic", "surface"}
    for name, tolerance in {"surface": 1e-6, "cubic": 0.003, "parabola": 0.02}.items():
        method = found.methods[name]
        assert method.N_opt_exponent.value == pytest.approx(A, abs=tolerance), name
        assert method.D_opt_exponent.value == pytest.approx(1 - A, abs=tolerance), name
    assert found.default is found.methods["cubic"]
    assert not found.missing
    assert not found.notices


@pytest.mark.parametrize(
    ("method", "tolerance"), [("surface", 1e-6), ("cubic", 5e-3), ("parabola", 1e-2)]
)
def test_every_budget_has_its_planted_optimum(method: str, tolerance: float) -> None:
    found = isoflop(sweeps(0.5, 12.0), method=method).default
    assert len(found.budgets) == len(BUDGETS)
    for one, C in zip(found.budgets, BUDGETS, strict=True):
        assert one.params is not None
        assert one.tokens is not None
        assert one.loss is not None
        assert one.flops == pytest.approx(C, rel=1e-9)
        assert one.points == 9
        N = float(best_size(C))
        assert one.params.value == pytest.approx(N, rel=tolerance)
        assert one.params.low <= one.params.value <= one.params.high
        assert one.tokens == pytest.approx(C / 6 / N, rel=tolerance)
        # At a minimum the loss hardly depends on where exactly it is.
        assert one.loss == pytest.approx(float(loss(np.array(N), np.array(C / 6 / N))), rel=1e-4)


def test_the_power_laws_go_through_the_optima_and_beyond() -> None:
    found = isoflop(sweeps())
    for C in (1e17, 3e19, 1e24):
        size, data = found.methods["surface"].allocation(C)
        assert size == pytest.approx(float(best_size(np.array(C))), rel=1e-4)
        assert 6 * size * data == pytest.approx(C, rel=1e-6)
        size, data = found.methods["cubic"].allocation(C)
        assert 6 * size * data == pytest.approx(C, rel=1e-3)


def test_compute_need_not_be_six_times_n_times_d() -> None:
    """The surface takes the table's own C over N D."""
    table = sweeps().with_columns(pl.col("flops") * 1.3)
    found = isoflop(table, method="surface").default
    for one, C in zip(found.budgets, BUDGETS, strict=True):
        assert one.params is not None
        assert one.flops == pytest.approx(1.3 * C, rel=1e-9)
        assert one.params.value == pytest.approx(float(best_size(C)), rel=1e-6)


def test_units_of_size_do_not_matter() -> None:
    table = sweeps(0.5, 12.0, noise=0.001)
    million = table.with_columns(pl.col("params") / 1e6, pl.col("tokens") * 1e6)
    one, two = isoflop(table), isoflop(million)
    for name in ("parabola", "cubic"):
        first, second = one.methods[name], two.methods[name]
        assert first.N_opt_exponent.value == pytest.approx(second.N_opt_exponent.value, abs=1e-6)
        assert first.N_opt_exponent.low == pytest.approx(second.N_opt_exponent.low, abs=1e-6)
        assert first.N_coefficient == pytest.approx(1e6 * second.N_coefficient, rel=1e-4)
        assert first.D_coefficient == pytest.approx(1e-6 * second.D_coefficient, rel=1e-4)


def test_order_of_rows_does_not_matter() -> None:
    table = sweeps(noise=0.001, jitter=0.01)
    mixed = table.sample(fraction=1.0, shuffle=True, seed=3)
    one, two = isoflop(table), isoflop(mixed)
    for name, first in one.methods.items():
        second = two.methods[name]
        assert first.N_opt_exponent.value == pytest.approx(second.N_opt_exponent.value, rel=1e-9)
        for mine, other in zip(first.budgets, second.budgets, strict=True):
            assert mine.params is not None
            assert other.params is not None
            assert mine.points == other.points
            assert mine.params.value == pytest.approx(other.params.value, rel=1e-9)
            assert mine.tokens == pytest.approx(other.tokens, rel=1e-9)


def test_intervals_hold_the_planted_sizes_and_exponents() -> None:
    """Of 12 noisy studies with 7 budgets each, nine in ten, within what chance allows of 84."""
    sizes = exponents = 0
    for seed in range(12):
        found = isoflop(sweeps(0.2, 5.0, sizes=11, noise=0.002, seed=seed)).default
        a = found.N_opt_exponent
        exponents += a.low <= A <= a.high
        for one, C in zip(found.budgets, BUDGETS, strict=True):
            assert one.params is not None
            sizes += one.params.low <= best_size(C) <= one.params.high
    assert 0.75 <= sizes / 84 <= 0.99
    assert exponents >= 8


def test_the_level_widens_the_intervals() -> None:
    table = sweeps(noise=0.002)
    narrow, wide = isoflop(table, level=0.5).default, isoflop(table, level=0.95).default
    assert narrow.N_opt_exponent.value == wide.N_opt_exponent.value
    assert wide.N_opt_exponent.low < narrow.N_opt_exponent.low
    assert narrow.N_opt_exponent.high < wide.N_opt_exponent.high
    one, two = narrow.budgets[0].params, wide.budgets[0].params
    assert one is not None
    assert two is not None
    assert two.low < one.low < one.high < two.high
    assert (one.level, two.level) == (0.5, 0.95)


def test_a_size_with_several_runs_is_one_size() -> None:
    """Three seeds of a coarse sweep: a parabola through one size alone has any minimum."""
    table = sweeps(0.003, 300.0, sizes=7, seeds=3, noise=0.001)
    found = isoflop(table)
    for name in ("parabola", "cubic"):
        assert found.methods[name].N_opt_exponent.value == pytest.approx(A, abs=0.02)
        for one, C in zip(found.methods[name].budgets, BUDGETS, strict=True):
            assert one.points == 21
            assert one.params is not None
            assert one.params.value == pytest.approx(float(best_size(C)), rel=0.25)


# --- which runs share a budget ----------------------------------------------------------------


def test_budgets_that_are_nearly_equal_are_one() -> None:
    table = sweeps(jitter=0.01)
    groups = group_budgets(table)
    assert [len(group) for group in groups] == [9] * 7
    for group, C in zip(groups, BUDGETS, strict=True):
        assert group["flops"].to_numpy() == pytest.approx(C, rel=0.011)
    found = isoflop(table).default
    assert found.N_opt_exponent.value == pytest.approx(A, abs=0.005)
    # Tokens follow the sizes, not the order in which their compute happens to lie.
    assert found.D_opt_exponent.value == pytest.approx(1 - A, abs=0.005)
    for one in found.budgets:
        assert one.params is not None
        assert one.tokens is not None
        assert 6 * one.params.value * one.tokens == pytest.approx(one.flops, rel=0.011)


@pytest.mark.parametrize(
    ("factor", "tolerance", "groups"),
    [(1.04, 0.05, 1), (1.06, 0.05, 2), (1.06, 0.1, 1), (1.0, 0.0, 1), (1.001, 0.0, 2)],
)
def test_the_tolerance_is_relative_to_the_neighbour(
    factor: float, tolerance: float, groups: int
) -> None:
    table = sweeps(budgets=np.array([1e19, 1e19 * factor]))
    found = group_budgets(table, tolerance)
    assert len(found) == groups
    assert sum(len(group) for group in found) == len(table)


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.3])
def test_scattered_runs_are_no_chain_of_neighbours(tolerance: float) -> None:
    """Chained, 400 runs made a budget of 3.7 times its least compute, and no word was said."""
    generator = np.random.default_rng(0)
    C, N = (np.exp(generator.uniform(*np.log(ends), 400)) for ends in ((1e18, 1e21), (1e7, 1e10)))
    D = C / 6 / N
    table = pl.DataFrame({"params": N, "tokens": D, "flops": C, "loss": loss(N, D)})
    groups = group_budgets(table, tolerance)
    assert sum(map(len, groups)) == 400
    for group in groups:
        compute = group["flops"].to_numpy()
        assert compute[-1] / compute[0] <= (1 + tolerance) ** 2 * (1 + 1e-9)
        assert (compute[1:] / compute[:-1] <= (1 + tolerance) * (1 + 1e-9)).all()
    found = isoflop(table, method="surface", tolerance=tolerance)
    assert "no-gaps" in {notice.code for notice in found.notices}


def test_sweeps_with_gaps_between_them_are_not_doubted() -> None:
    assert not isoflop(sweeps(jitter=0.04)).notices


def test_a_tolerance_that_is_none_is_refused() -> None:
    for tolerance in (-0.1, float("nan")):
        with pytest.raises(FitError, match="relative difference"):
            isoflop(sweeps(), tolerance=tolerance)


def test_runs_that_are_no_sweeps_are_refused() -> None:
    N, D = (side.ravel() for side in np.meshgrid(np.geomspace(1e6, 1e8, 5), [1e9, 1.7e9, 4e9]))
    C = 6 * N * D * np.geomspace(1, 2, len(N))
    table = pl.DataFrame({"params": N, "tokens": D, "flops": C, "loss": loss(N, D)})
    with pytest.raises(FitError, match="no two of 15 runs have equal compute within 5%"):
        isoflop(table)


# --- what is refused --------------------------------------------------------------------------


def test_a_budget_whose_minimum_is_outside_its_sweep_is_refused_with_the_side() -> None:
    """The cheapest budget was swept from twice the best size on, the dearest up to half of it."""
    table = pl.concat(
        [
            sweeps(2.0, 16.0, budgets=BUDGETS[:1]),
            sweeps(budgets=BUDGETS[1:-1]),
            sweeps(1 / 16, 0.5, budgets=BUDGETS[-1:]),
        ]
    )
    found = isoflop(table)
    first, *middle, last = found.default.budgets
    assert (
        first.refused == "the best size is the smallest of the sweep, so the minimum is outside it"
    )
    assert last.refused == "the best size is the largest of the sweep, so the minimum is outside it"
    for one in (first, last):
        assert (one.params, one.tokens, one.loss) == (None, None, None)
        assert one.to_dict()["N_opt"] is None
        assert one.to_dict()["refused"] == one.refused
    assert all(one.params is not None and not one.refused for one in middle)
    assert found.default.N_opt_exponent.value == pytest.approx(A, abs=0.003)
    (notice,) = found.notices
    assert notice.code == "budget-refused"
    assert "2 of 7 budgets give no optimum" in notice.message
    for words in ("smallest", "largest"):
        assert words in notice.message
        assert f"the {words} of the sweep" in found.summary()
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_budget_with_few_sizes_is_refused() -> None:
    table = pl.concat([sweeps(budgets=BUDGETS[:1], sizes=3), sweeps(budgets=BUDGETS[1:])])
    found = isoflop(table)
    assert found.methods["cubic"].budgets[0].refused == "fewer than 4 sizes"
    assert found.methods["parabola"].budgets[0].params is not None


def test_losses_that_bend_the_other_way_have_no_minimum() -> None:
    """Two low points with a hill between them: the best lies inside, on no valley."""
    N = best_size(BUDGETS[:1]) * np.geomspace(0.25, 4, 7)
    hill = np.array([2.99, 2.9, 3.1, 3.2, 3.1, 2.95, 2.91])
    odd = pl.DataFrame(
        {"params": N, "tokens": BUDGETS[0] / 6 / N, "flops": [BUDGETS[0]] * 7, "loss": hill}
    )
    found = isoflop(pl.concat([odd, sweeps(budgets=BUDGETS[1:])]), method="parabola")
    assert found.default.budgets[0].refused


def test_a_run_alone_at_its_budget_is_noticed() -> None:
    table = pl.concat([sweeps(), sweeps(1.0, 1.0, sizes=1, budgets=np.array([5e18]))])
    found = isoflop(table)
    assert {notice.code for notice in found.notices} == {"budget-refused", "single-runs"}
    assert "1 budgets have one run" in str(found.notices[-1])


@pytest.mark.parametrize("method", ["cubic", "parabola"])
def test_fewer_than_three_budgets_are_refused_with_the_reasons(method: str) -> None:
    with pytest.raises(FitError, match="2 of 2 budgets have a minimum inside their sweep; three"):
        isoflop(sweeps(budgets=BUDGETS[:2]), method=method)
    table = pl.concat([sweeps(budgets=BUDGETS[:2]), sweeps(2.0, 16.0, budgets=BUDGETS[2:])])
    with pytest.raises(FitError, match=r"2 of 7 budgets .* the best size is the smallest"):
        isoflop(table, method=method)


def test_the_surface_stands_where_the_others_cannot() -> None:
    """Every minimum lies outside its sweep, and still a law through all runs tells it."""
    found = isoflop(sweeps(1.5, 8.0), method="surface")
    assert found.default.N_opt_exponent.value == pytest.approx(A, abs=1e-6)
    assert set(found.missing) == {"cubic", "parabola"}
    assert all("0 of 7 budgets" in why for why in found.missing.values())
    assert "0 of 7 budgets" in found.summary()


def test_runs_held_out_or_unfinished_are_no_part_of_a_sweep() -> None:
    table = sweeps().with_columns(
        held_out=pl.int_range(pl.len()) % 9 == 4,
        status=pl.when(pl.int_range(pl.len()) % 9 == 5)
        .then(pl.lit("diverged"))
        .otherwise(pl.lit("finished")),
    )
    found = isoflop(table)
    for result in found.methods.values():
        assert [one.points for one in result.budgets] == [7] * 7


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_cannot_be_are_refused(value: float | None) -> None:
    here = pl.int_range(pl.len()) == 3
    for name in ("params", "tokens", "flops", "loss"):
        spoilt = sweeps().with_columns(pl.when(here).then(value).otherwise(name).alias(name))
        with pytest.raises(FitError, match=f"{name} has values that are not positive numbers"):
            isoflop(spoilt)
    with pytest.raises(FitError, match="no run that may be used"):
        isoflop(sweeps().head(0))


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(FitError, match="method is 'quartic'; expected parabola, cubic, surface"):
        isoflop(sweeps(), method="quartic")
    with pytest.raises(FitError, match="method is 'envelope'"):
        isoflop(sweeps(), method="envelope")
    with pytest.raises(FitError, match="needs the columns params, tokens, flops, loss; flops is"):
        isoflop(sweeps().drop("flops"))
    for level in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(SpecError, match="level is"):
            isoflop(sweeps(), level=level)


# --- the envelope of learning curves ----------------------------------------------------------

SIZES = np.geomspace(2e7, 2e10, 31)
STATUS = {True: "running", False: "finished"}


def curves(sizes: Array = SIZES, *, points: int = 120) -> pl.DataFrame:
    """Each size's loss along training, from 2 to 2,000 tokens per parameter."""
    N = np.repeat(sizes, points)
    D = N * np.tile(np.geomspace(2, 2000, points), len(sizes))
    return pl.DataFrame(
        {
            "run": [f"n{i}" for i in range(len(sizes)) for _ in range(points)],
            "params": N,
            "tokens": D,
            "flops": 6 * N * D,
            "loss": loss(N, D),
        }
    )


def test_the_envelope_finds_the_planted_exponents() -> None:
    found = isoflop(sweeps(), method="envelope", curves=curves())
    envelope = found.default
    assert envelope.N_opt_exponent.value == pytest.approx(A, abs=0.003)
    assert envelope.D_opt_exponent.value == pytest.approx(1 - A, abs=0.003)
    for one in envelope.budgets:
        assert one.params is not None
        assert one.tokens is not None
        # The best of all sizes at that compute, up to the step between two.
        at_this = loss(SIZES, one.flops / 6 / SIZES)
        step = SIZES[1] / SIZES[0]
        assert one.params.value == pytest.approx(SIZES[at_this.argmin()], rel=step - 0.99)
        assert one.loss == pytest.approx(at_this.min(), rel=1e-3)
        assert 6 * one.params.value * one.tokens == pytest.approx(one.flops, rel=0.01)
    ends = {SIZES[0], SIZES[-1]}
    assert not ends & {one.params.value for one in envelope.budgets if one.params is not None}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_points_without_a_possible_loss_are_no_part_of_the_envelope(value: float) -> None:
    """NaN is the least of all to argmin: one curve that diverged moved the exponent by .05."""
    these = curves()
    late = (these["run"] == "n12") & (these["tokens"] > 1e10)
    spoilt = these.with_columns(pl.when(late).then(value).otherwise("loss").alias("loss"))
    found = isoflop(sweeps(), method="envelope", curves=spoilt)
    assert found.default.N_opt_exponent.value == pytest.approx(A, abs=0.003)
    assert {n.code: n.message for n in found.notices}["points-left-out"].startswith(
        f"{int(late.sum())} points of 1 learning curves"
    )
    before = isoflop(sweeps(), method="envelope", curves=these.filter(~late))
    assert found.methods["envelope"] == before.methods["envelope"]
    assert not before.notices


def test_a_curve_may_begin_before_the_first_step() -> None:
    start = curves(points=1).with_columns(tokens=pl.lit(0.0), flops=pl.lit(0.0), loss=pl.lit(9.0))
    found = isoflop(sweeps(), method="envelope", curves=pl.concat([start, curves()]))
    assert found.default == isoflop(sweeps(), method="envelope", curves=curves()).default


def test_only_the_curves_of_runs_that_count_make_the_envelope() -> None:
    """By the id of a run or of its trunk; where the table names none of them, all do."""
    these = curves()
    best = these.with_columns(pl.when(run="n12").then(0.5 * pl.col("loss")).otherwise("loss"))
    ids = pl.Series([f"n{i % 31}" for i in range(len(sweeps()))])
    for wrong in ({"held_out": ids == "n12"}, {"status": (ids == "n12").replace_strict(STATUS)}):
        for name in ("run", "trunk"):
            own = {name: ids, **({} if name == "run" else {"run": "b" + ids}), **wrong}
            found = isoflop(sweeps().with_columns(**own), method="envelope", curves=best)
            assert (
                found.default
                == isoflop(
                    sweeps(), method="envelope", curves=these.filter(pl.col("run") != "n12")
                ).default
            )
            (notice,) = found.notices
            assert str(notice).startswith("curves-left-out: 1 of 31 learning curves")
    unnamed = sweeps().with_columns(run="row-" + pl.int_range(pl.len()).cast(pl.String))
    assert not isoflop(unnamed, method="envelope", curves=these).notices


def test_an_envelope_that_cannot_be_is_told_beside_the_others() -> None:
    for these, why in (
        (curves().drop("params"), "params is missing"),
        (curves(SIZES[:2]), "fewer than three sizes"),
        (curves(np.array([1e7, 1e8, 1e12])), "touch the envelope"),
    ):
        found = isoflop(sweeps(), curves=these)
        assert why in found.missing["envelope"]
        assert why in found.summary()
        assert found.default.N_opt_exponent.value == pytest.approx(A, abs=0.003)
        with pytest.raises(FitError, match=why):
            isoflop(sweeps(), curves=these, method="envelope")


# --- optima that are known already ------------------------------------------------------------


def known(noise: float = 0.0, seed: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    std = generator.uniform(0.02, 0.3, size=len(BUDGETS))
    N = best_size(BUDGETS) * np.exp(noise * std * generator.normal(size=len(BUDGETS)))
    return pl.DataFrame({"flops": BUDGETS, "params": N, "tokens": BUDGETS / 6 / N, "std": std})


@pytest.mark.parametrize("std", [None, "std"])
def test_known_optima_are_a_weighted_line_in_logarithms(std: str | None) -> None:
    table = known(noise=1.0)
    found = optima(table, std=std)
    weights = None if std is None else 1 / table["std"].to_numpy()
    for name, column in (("N_opt_exponent", "params"), ("D_opt_exponent", "tokens")):
        slope, intercept = np.polyfit(
            np.log(BUDGETS), np.log(table[column].to_numpy()), 1, w=weights
        )
        assert getattr(found, name).value == pytest.approx(slope, rel=1e-9)
        coefficient = getattr(found, f"{name[0]}_coefficient")
        assert coefficient == pytest.approx(np.exp(intercept), rel=1e-6)
    assert found.N_opt_exponent.low < A < found.N_opt_exponent.high
    assert found.name == "optima"


def test_known_optima_without_noise_give_the_exponents() -> None:
    table = known().with_columns(loss=loss(best_size(BUDGETS), BUDGETS / 6 / best_size(BUDGETS)))
    found = optima(table, std="std")
    assert found.N_opt_exponent.value == pytest.approx(A, abs=1e-9)
    assert found.D_opt_exponent.value == pytest.approx(1 - A, abs=1e-9)
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for i, one in enumerate(answer["budgets"]):
        assert one["flops"] == pytest.approx(BUDGETS[i])
        assert one["N_opt"] == pytest.approx(float(best_size(BUDGETS[i])))
        assert one["D_opt"] == pytest.approx(table["tokens"][i])
        assert one["loss"] == table["loss"][i]


@pytest.mark.parametrize(
    ("table", "std", "message"),
    [
        (known().head(2), None, "a line needs three points"),
        (known(), "error", "there is no column 'error'"),
        (known().drop("tokens"), None, "there is no column 'tokens'"),
        (known().with_columns(std=pl.lit(0.0)), "std", "std has values that are not positive"),
        (known().with_columns(std=pl.lit("wide")), "std", "std has values that are not positive"),
        (known().with_columns(params=None), None, "params has values that are not positive"),
    ],
)
def test_optima_that_cannot_be_used_are_refused(
    table: pl.DataFrame, std: str | None, message: str
) -> None:
    with pytest.raises(FitError, match=message):
        optima(table, std=std)


def test_a_level_of_optima_is_a_probability() -> None:
    with pytest.raises(SpecError, match="level is 2"):
        optima(known(), level=2.0)


# --- the answer -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy() -> IsoFlop:
    return isoflop(sweeps(noise=0.002), curves=curves(), conventions={"params": "non-embedding"})


def test_the_answer_is_strict_json_with_the_keys_of_the_contract(noisy: IsoFlop) -> None:
    answer = json.loads(json.dumps(noisy.to_dict(), allow_nan=False))
    assert answer["method"] == "cubic"
    assert answer["conventions"] == {"params": "non-embedding"}
    assert answer["warnings"] == []
    assert set(answer["methods"]) == {"parabola", "cubic", "surface", "envelope"}
    for part in (answer, *answer["methods"].values()):
        for name in ("N_opt_exponent", "D_opt_exponent"):
            value = part[name]
            assert {"value", "low", "high", "level"} <= set(value)
            assert value["low"] <= value["value"] <= value["high"]
            assert value["level"] == 0.9
        for one in part["budgets"]:
            assert {"flops", "N_opt", "D_opt", "loss"} <= set(one)
            assert all(one[name] > 0 for name in ("flops", "N_opt", "D_opt", "loss"))
    # Those at the top are the default method's.
    for name, value in answer["methods"]["cubic"].items():
        assert answer[name] == value


def test_the_summary_shows_every_budget_and_every_method(noisy: IsoFlop) -> None:
    lines = noisy.summary().splitlines()
    head = lines[0].split()
    assert head == ["C", "points", "N_opt", "D_opt", "D/N", "loss"]
    for one, line in zip(noisy.default.budgets, lines[1:8], strict=True):
        assert one.params is not None
        assert one.tokens is not None
        assert f"{one.flops:.2e}".replace("e+", "e") in line
        assert line.endswith(f"{one.tokens / one.params.value:>8.1f}{one.loss:>9.4f}")
    for name, method in noisy.methods.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert f" {method.N_opt_exponent} " in line
        assert f" {method.D_opt_exponent}" in line
        assert line.endswith("(default)") == (name == "cubic")

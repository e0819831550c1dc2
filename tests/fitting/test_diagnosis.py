"""Every notice, provoked by a table that deserves it, and absent from one that does not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from ladders import alone, ladder

from scalelab.fitting import Fit, fit
from scalelab.laws import Array, Law, custom_law, get_law

DRAWS = 100


def healthy(seed: int = 0) -> pl.DataFrame:
    """Thirty runs over three decades each of N and D."""
    return alone(
        ladder(seed, sizes=6, data=5, sizes_from=1e4, sizes_to=1e7, data_from=1e6, data_to=1e9)
    )


def notices(found: Fit) -> dict[str, str]:
    return {notice.code: notice.message for notice in found.diagnosis.warnings}


def test_a_healthy_table_gives_no_notice() -> None:
    found = fit("chinchilla", healthy(), draws=DRAWS)
    assert notices(found) == {}
    assert found.diagnosis.starts == 121
    assert found.diagnosis.starts_agreeing > 60


def test_left_out() -> None:
    table = healthy().with_columns(
        status=pl.when(pl.int_range(pl.len()) < 3)
        .then(pl.lit("diverged"))
        .otherwise(pl.lit("finished"))
    )
    found = fit("chinchilla", table, draws=DRAWS)
    assert notices(found)["left-out"] == "rows not fitted: 3 diverged."
    assert found.left_out == {"diverged": 3}
    assert found.runs == 27


@pytest.mark.parametrize(("sizes", "data", "named"), [(3, 8, "params"), (8, 3, "tokens")])
def test_few_levels(sizes: int, data: int, named: str) -> None:
    found = fit("chinchilla", alone(ladder(sizes=sizes, data=data)), draws=DRAWS)
    assert notices(found)["few-levels"].startswith(f"{named} takes 3 values")
    four = alone(ladder(sizes=max(sizes, 4), data=max(data, 4)))
    assert "few-levels" not in notices(fit("chinchilla", four, draws=DRAWS))


def test_a_law_without_a_floor_asks_for_three_levels() -> None:
    three = alone(ladder(sizes=3, data=1))
    assert "few-levels" in notices(fit("power", alone(ladder(sizes=3, data=2)), draws=DRAWS))
    assert "few-levels" not in notices(fit("power-no-floor", three, draws=DRAWS))


def test_few_clusters_only_of_a_bootstrap_that_draws_them() -> None:
    table = ladder(between=0.004)
    pairs = notices(fit("chinchilla", table, intervals="pairs", draws=DRAWS))
    assert pairs["few-clusters"].startswith("7 clusters by trunk are too few")
    components = notices(fit("chinchilla", table, intervals="components", draws=DRAWS))
    assert "few-clusters" not in components
    assert "7 clusters by trunk" in components["noise-model"]
    assert "hardly anything checks" not in components["noise-model"]
    # Seven trunks less the six parameters of the coupled law leave one; six leave none.
    none = notices(fit("coupled", ladder(sizes=6, between=0.004), draws=DRAWS))
    assert "hardly anything checks" in none["noise-model"]


def test_at_bound() -> None:
    N = np.geomspace(1e4, 1e8, 24)
    table = pl.DataFrame({"params": N, "loss": 9.0 * N**-0.2 - 0.15})
    found = fit("power", table, draws=DRAWS)
    assert found.values["E"] == 0
    assert notices(found)["at-bound"].startswith("E is at its bound 0: the runs would have it low")
    # Sizes and data that hide each other less than in a sum: gamma would have to exceed 1.
    D = np.tile(np.geomspace(1e6, 1e9, 5), 6)
    N = np.repeat(np.geomspace(1e4, 1e7, 6), 5)
    a, b = 5.4 * N**-0.25, 27 * D**-0.35
    more = pl.DataFrame({"params": N, "tokens": D, "loss": 1.0 + a + b + 0.8 * np.sqrt(a * b)})
    found = fit("coupled", more, draws=DRAWS)
    assert notices(found)["at-bound"].startswith(
        "gamma is at its bound 1: the runs would have it h"
    )


def test_outliers_are_named_worst_first() -> None:
    spoilt = {"n2-d3": 1.08, "n4-d0": 0.95}
    table = healthy().with_columns(
        loss=pl.col("loss") * pl.col("run").replace_strict(spoilt, default=1.0)
    )
    found = fit("chinchilla", table, draws=DRAWS)
    message = notices(found)["outliers"]
    assert message.startswith("2 runs lie far from the law")
    # Huber's function leaves them where they are.
    named = message[message.index("worst: ") + 7 :]
    first, second = (part.split() for part in named.split(").")[0].split(", "))
    assert (first[0], second[0]) == ("n2-d3", "n4-d0")
    assert float(first[1].rstrip("%")) == pytest.approx(8, abs=0.6)
    assert float(second[1].rstrip("%")) == pytest.approx(-5, abs=0.6)


def test_flat_direction() -> None:
    """Sizes within ten percent of each other: the floor cannot be told from what size leaves."""
    table = alone(ladder(sizes=6, data=5, sizes_from=1e5, sizes_to=1.1e5, within=1e-6))
    found = fit("chinchilla", table, draws=DRAWS)
    assert found.diagnosis.condition_number > 1e4
    message = notices(found)["flat-direction"]
    # N^-alpha hardly varies: its scale and its exponent do the same, and so does a floor.
    assert "A, alpha can move together" in message
    assert "beta" not in message


def test_not_identified() -> None:
    table = alone(ladder(sizes=6, data=5, sizes_from=1e5, sizes_to=1.3e5, within=0.01))
    found = fit("chinchilla", table, draws=200)
    alpha = found.parameters["alpha"]
    assert alpha.high > 4 * alpha.low
    assert "alpha" in notices(found)["not-identified"]


def test_a_product_of_powers_knows_what_inputs_that_go_together_leave_open() -> None:
    """A straight line in the logarithms: its draws are wide, and right, where a sum's are not."""
    generator = np.random.default_rng(0)
    N = np.geomspace(1e6, 1e9, 40)
    D = 20 * N * np.exp(0.05 * generator.normal(size=40))
    lr = 3 * N**-0.5 * D**0.2 * np.exp(0.02 * generator.normal(size=40))
    table = pl.DataFrame({"params": N, "tokens": D, "lr": lr})
    found = fit("optimal-lr", table, estimator="least-squares", draws=400)
    assert "collinear" in notices(found)
    X = np.stack([np.ones(40), np.log(N), np.log(D)], axis=1)
    expected = 0.02 * np.sqrt(np.linalg.inv(X.T @ X)[2, 2])
    assert found.parameters["b"].stderr == pytest.approx(expected, rel=0.35)
    assert np.isfinite(found.parameters["b"].high - found.parameters["b"].low)
    assert found.parameters["b"].low < 0.2 < found.parameters["b"].high < 1


def test_a_formula_is_warned_of_as_the_law_that_it_spells() -> None:
    formula = custom_law("E + A / N^alpha + B / D^beta")
    for table in (
        alone(ladder(sizes=6, data=5, sizes_from=1e5, sizes_to=1.3e5, within=0.01)),
        proportional(0),
    ):
        own, known = (fit(law, table, draws=200) for law in (formula, "chinchilla"))
        codes = {"not-identified", "collinear"} & set(notices(known))
        assert codes
        assert codes <= set(notices(own))
    # Of runs on one line, the last of the two, no exponent and no scale has an end.
    endless = {name for name, one in own.parameters.items() if np.isinf(one.high)}
    assert endless == {"A", "B", "alpha", "beta"}


def proportional(seed: int) -> pl.DataFrame:
    """D = 20 N throughout, as many published ladders have it: was it size, or was it data?"""
    N = np.geomspace(1e6, 1e9, 24)
    luck = 0.003 * np.random.default_rng(seed).normal(size=24)
    loss = (1.5 + 100 * N**-0.3 + 50 * (20 * N) ** -0.3) * np.exp(luck)
    return pl.DataFrame({"params": N, "tokens": 20 * N, "loss": loss})


@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "coupled"])
@pytest.mark.parametrize("seed", [0, 5])
def test_collinear(law: str, seed: int) -> None:
    """The exponents of such runs may come out with narrow intervals, and be wrong."""
    message = notices(fit(law, proportional(seed), draws=DRAWS))["collinear"]
    assert "params and tokens move together (correlation 1.000" in message
    # Falling together with rising is a line as well; a grid is none.
    slanted = proportional(seed).with_columns(pl.col("tokens") ** -0.5 * 1e12)
    assert "correlation -1.000" in notices(fit(law, slanted, draws=DRAWS))["collinear"]
    assert "collinear" not in notices(fit(law, healthy(), draws=DRAWS))


def test_an_exponent_that_may_be_negative_may_be_known_to_be_nothing() -> None:
    """The best rate of runs whose data did not matter."""
    table = healthy().with_columns(lr=pl.col("params") ** -0.5)
    found = fit("optimal-lr", table, draws=DRAWS)
    assert found.values["b"] == pytest.approx(0, abs=1e-3)
    assert "not-identified" not in notices(found)


def test_starts_disagree() -> None:
    found = fit("chinchilla", proportional(3), draws=DRAWS)
    agreeing = found.diagnosis.starts_agreeing
    assert agreeing < 60
    assert notices(found)["starts-disagree"].startswith(f"{agreeing} of 121 starts ended at")


@pytest.mark.parametrize(
    ("law", "over", "ignored"),
    [
        (get_law("power", "params"), "params", "tokens (1e+06 to 1e+09)"),
        (get_law("power-no-floor", "tokens"), "tokens", "params (1e+04 to 1e+07)"),
        (custom_law("E + A / N^alpha"), "params", "tokens (1e+06 to 1e+09)"),
    ],
    ids=["of size", "of data", "a formula"],
)
def test_column_ignored(law: Law, over: str, ignored: str) -> None:
    message = notices(fit(law, healthy(), draws=DRAWS))["column-ignored"]
    assert message.startswith(
        f"law {law.name} is over {over} alone, and these runs differ in {ignored}"
    )
    name = ignored.split()[0]
    one = healthy().filter(pl.col(name) == pl.col(name).max())
    assert "column-ignored" not in notices(fit(law, one, draws=DRAWS))
    assert "column-ignored" not in notices(fit(law, one.drop(name), draws=DRAWS))


def test_off_frontier() -> None:
    """A law in compute is that of the best runs: with nine in ten of them it is another."""
    law = get_law("power", "flops")
    message = notices(fit(law, healthy(), draws=DRAWS))["off-frontier"]
    assert "of the runs lose more than 2% to a run of no more compute" in message
    runs = healthy().sort("flops", "loss")
    best = runs.filter(pl.col("loss") <= pl.col("loss").cum_min())
    found = notices(fit(law, best, draws=DRAWS))
    assert not {"off-frontier", "column-ignored"} & set(found)


def test_std_too_small() -> None:
    """Runs scatter by .2% of their loss."""
    found = {
        said: notices(fit("chinchilla", table, std="std", draws=DRAWS))
        for said in (2e-4, 2e-3, 2e-2)
        for table in [healthy().with_columns(std=said * pl.col("loss"))]
    }
    assert "std-too-small" not in found[2e-3] | found[2e-2]
    message = found[2e-4]["std-too-small"]
    assert "times as far about the law as std says (reduced chi-square" in message
    # 25 degrees of freedom tell the scatter to 14%.
    assert float(message.split("scatter ")[1].split()[0]) == pytest.approx(10, rel=0.45)


def condition_by_hand(rows: Array) -> float:
    """Ratio of the singular values of derivatives scaled to length one."""
    return float(np.linalg.cond((rows / np.linalg.norm(rows, axis=1, keepdims=True)).T))


def test_the_condition_number_is_that_of_the_scaled_derivatives() -> None:
    """By the coordinates of the law in the table's units, and what numpy calls cond."""
    table = healthy()
    found = fit("chinchilla", table, estimator="least-squares", draws=DRAWS)
    v = found.values
    n = np.log(table["params"].to_numpy())
    d = np.log(table["tokens"].to_numpy())
    size, data = v["A"] * np.exp(-v["alpha"] * n), v["B"] * np.exp(-v["beta"] * d)
    rows = np.stack([np.ones_like(n), size, data, -n * size, -d * data]) / (v["E"] + size + data)
    # Less what their scales absorb of the exponents, which is all that units would change.
    scales = rows[[1, 2]]
    rows[3:] -= np.linalg.lstsq(scales.T, rows[3:].T, rcond=None)[0].T @ scales
    assert found.diagnosis.condition_number == pytest.approx(condition_by_hand(rows), rel=1e-6)


@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "coupled", "overtraining", "optimal-lr"])
def test_units_change_neither_the_condition_number_nor_what_moves_together(law: str) -> None:
    table = healthy().with_columns(lr=pl.col("params") ** -0.5 * pl.col("loss"))
    other = table.with_columns(pl.col("params") / 1e6, pl.col("tokens") / 1e9)
    one, two = (fit(law, runs, draws=DRAWS).diagnosis for runs in (table, other))
    assert two.condition_number == pytest.approx(one.condition_number, rel=1e-3)
    assert [n.code for n in one.warnings] == [n.code for n in two.warnings]
    flat = alone(ladder(sizes=6, data=5, sizes_from=1e5, sizes_to=1.1e5, within=1e-6))
    if law == "chinchilla":
        told = [
            notices(fit(law, runs, draws=DRAWS))["flat-direction"]
            for runs in (flat, flat.with_columns(pl.col("params") / 1e6))
        ]
        assert told[0] == told[1]


def test_prediction_far_beyond_the_runs_is_noted() -> None:
    found = fit("chinchilla", healthy(), draws=DRAWS)
    inside = found.predict(params=1e5, tokens=1e7)
    assert inside.extrapolation == {"params": 1.0, "tokens": 1.0}
    assert inside.notices == ()
    far = found.predict(params=[1e5, 1e9], tokens=[1e5, 1e7])
    assert far.extrapolation == pytest.approx({"params": 100.0, "tokens": 10.0}, rel=1e-9)
    codes = [(notice.code, notice.message.split()[0]) for notice in far.notices]
    assert ("extrapolation", "params") in codes
    assert found.predict(params=9e7, tokens=9e9).notices == ()  # up to ten times is not noted

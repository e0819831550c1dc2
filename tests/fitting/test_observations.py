"""Which rows are fitted, how they are weighed and clustered, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from ladders import alone, ladder

from scalelab.errors import FitError
from scalelab.fitting.observations import observe, select
from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import LAWS, Array, get_law

CHINCHILLA = LAWS["chinchilla"]


def spoilt() -> pl.DataFrame:
    """Twenty-one runs, of which six are not to be fitted and one is counted once for two faults."""
    table = ladder()
    status = ["finished"] * 21
    status[0], status[1], status[4], status[5] = "diverged", "diverged", "running", "failed"
    held_out = [False] * 21
    held_out[5], held_out[19], held_out[20] = True, True, True
    loss = table["loss"].to_list()
    loss[0], loss[1] = None, float("nan")  # what did not finish may have any loss
    return table.with_columns(
        status=pl.Series(status), held_out=pl.Series(held_out), loss=pl.Series(loss)
    )


def test_only_finished_rows_that_are_not_held_out_are_fitted() -> None:
    observed = observe(CHINCHILLA, spoilt())
    assert len(observed.target) == 15
    assert not {"n0-d0", "n0-d1", "n1-d1", "n1-d2", "n6-d1", "n6-d2"} & set(observed.names)
    assert observed.left_out == {"diverged": 2, "failed": 1, "running": 1, "held out": 2}
    kept, left_out = select(spoilt())
    assert sorted(kept["run"]) == sorted(observed.names)
    assert left_out == observed.left_out


def test_a_table_without_these_columns_is_fitted_whole() -> None:
    table = ladder().select("params", "tokens", "loss")
    observed = observe(CHINCHILLA, table)
    assert len(observed.target) == 21
    assert observed.left_out == {}
    assert observed.by == "run"


def test_an_empty_cell_is_not_held_out_and_no_status_is_not_finished() -> None:
    table = ladder().with_columns(
        held_out=pl.lit(None, dtype=pl.Boolean),
        status=pl.when(pl.int_range(pl.len()) > 2).then(pl.lit("finished")),
    )
    observed = observe(CHINCHILLA, table)
    assert len(observed.target) == 18
    assert observed.left_out == {"no status": 3}


def test_other_columns_of_any_name_are_in_nobodys_way() -> None:
    table = ladder()
    more = table.with_columns(position=1, row=2, index=3, literal=4, clusters=5, value=6)
    assert observe(CHINCHILLA, more).fingerprint == observe(CHINCHILLA, table).fingerprint


def test_what_is_fitted_are_logarithms_in_the_order_of_the_inputs() -> None:
    table = ladder()
    observed = observe(CHINCHILLA, table.reverse())
    ordered = table.sort("params", "tokens")
    assert observed.names == tuple(ordered["run"])
    columns = (*observed.inputs, observed.target)
    for values, name in zip(columns, ("params", "tokens", "loss"), strict=True):
        np.testing.assert_allclose(values, np.log(ordered[name].to_numpy()), rtol=1e-15)
    assert observed.ranges["params"] == (
        pytest.approx(6e3, rel=1e-12),
        pytest.approx(3e5, rel=1e-12),
        7,
    )
    assert observed.rows["loss"] == ordered["loss"].to_list()
    assert observed.relative_size == pytest.approx(ordered["params"].to_numpy() / 3e5, rel=1e-12)


# --- inputs as they are -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.linspace(1e9, 5e9, 2001), range(200, 323)),
        (np.repeat([1e9, 2e9, 4e9], 5) * np.tile([0.998, 0.999, 1.0, 1.001, 1.002], 3), [3]),
        (np.geomspace(1e9, 2e9, 15), [15]),
    ],
)
def test_levels_are_no_chain_of_neighbours(values: Array, levels: Sequence[int]) -> None:
    """2,001 values .2% apart and less were one level; ln 5 / ln 1.005 is 322."""
    ids = [f"r{i}" for i in range(len(values))]
    table = pl.DataFrame({"run": ids, "tokens": values, "loss": 2.0 + 400 / values**0.28})
    observed = observe(get_law("power", "tokens"), table.sample(fraction=1, shuffle=True, seed=0))
    *ends, found = observed.ranges["tokens"]
    assert ends == [values.min(), values.max()]
    assert found in levels


def annealed() -> pl.DataFrame:
    """Two schedules of the multi-power law, whose columns include lists of unlike lengths."""
    step = np.where(np.arange(900) < 400, 1e-3, 4e-4)
    line = np.linspace(1e-3, 1e-4, 900)
    parts = [schedule_columns(lr, np.array([300, 500, 700, 900])) for lr in (step, line)]
    return pl.concat(parts).with_columns(
        loss=pl.Series([3.0 - 0.01 * i for i in range(8)]), run=pl.int_range(8).cast(pl.String)
    )


def test_lists_are_padded_and_kept_with_their_rows() -> None:
    law, table = LAWS["multi-power"], annealed()
    observed = observe(law, table.reverse())
    assert set(observed.ranges) == {"lr_sum"}
    lengths = dict(zip(table["run"], table["lr_drops"].list.len(), strict=True))
    for name, values in zip(law.inputs[1:], observed.inputs[1:], strict=True):
        assert values.shape == (8, 64)
        rows = dict(zip(table["run"], table[name].to_list(), strict=True))
        for run, row in zip(observed.names, values, strict=True):
            assert row[: lengths[run]].tolist() == rows[run]
            assert not row[lengths[run] :].any()
    sums = dict(zip(table["run"], table["lr_sum"], strict=True))
    expected = np.log([sums[run] for run in observed.names])
    np.testing.assert_allclose(observed.inputs[0], expected, rtol=1e-15)


def test_lists_count_in_the_fingerprint() -> None:
    table = annealed()
    first = observe(LAWS["multi-power"], table).fingerprint
    assert observe(LAWS["multi-power"], table.reverse()).fingerprint == first
    nudged = table.with_columns(pl.col("lr_drops") * (1 + 1e-15))
    assert observe(LAWS["multi-power"], nudged).fingerprint != first


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_an_area_may_be_zero_below_zero_and_the_same_throughout(value: float) -> None:
    table = annealed().with_columns(annealing=pl.lit(value))
    observed = observe(LAWS["annealing"], table)
    assert (observed.inputs[1] == value).all()
    assert observed.ranges["annealing"] == (value, value, 1)
    with pytest.raises(FitError, match=r"row 1 \(run 0\): annealing is nan"):
        observe(LAWS["annealing"], table.with_columns(annealing=pl.lit(float("nan"))))


def test_the_response_is_the_laws_own() -> None:
    table = ladder().with_columns(lr=pl.col("params") ** -0.5)
    observed = observe(LAWS["optimal-lr"], table.drop("loss"))
    assert np.exp(observed.target) == pytest.approx(np.exp(observed.inputs[0]) ** -0.5)
    with pytest.raises(FitError, match=r"needs the columns params, tokens, lr; .* add lr"):
        observe(LAWS["optimal-lr"], ladder())


# --- weights ------------------------------------------------------------------------------------


def test_runs_weigh_alike_unless_they_are_told_apart() -> None:
    observed = observe(CHINCHILLA, ladder())
    assert (observed.weights == 1).all()
    assert (observed.error == 1).all()
    assert observed.unit(raw=True) is None


@pytest.mark.parametrize(
    ("weights", "power"), [("flops", 1.0), ("flops^0.5", 0.5), ("flops**-1", -1), ("flops ^ 2", 2)]
)
def test_weights_are_a_power_of_a_column(weights: str, power: float) -> None:
    observed = observe(CHINCHILLA, ladder(), weights=weights)
    flops = 6 * np.exp(observed.inputs[0] + observed.inputs[1])
    np.testing.assert_allclose(observed.weights, flops**power / (flops**power).mean(), rtol=1e-9)
    assert observed.weights.mean() == pytest.approx(1, rel=1e-12)
    assert observed.unit(raw=True) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_runs_far_above_the_frontier_weigh_little(seed: int) -> None:
    """exp(-excess / S), with the excess over the best run of no more compute, one by one."""
    table = ladder(seed, within=0.05).with_columns(pl.col("flops").round_sig_figs(1))
    observed = observe(CHINCHILLA, table, weights="frontier(0.1)")
    rows = {row["run"]: row for row in table.iter_rows(named=True)}
    weights = []
    for run in observed.names:
        own = rows[run]
        best = min(row["loss"] for row in rows.values() if row["flops"] <= own["flops"])
        weights.append((best / own["loss"]) ** (1 / 0.1))
    np.testing.assert_allclose(observed.weights, weights / np.mean(weights), rtol=1e-9)
    assert observed.weights.min() < 0.5 * observed.weights.max()  # else nothing is shown


def test_weights_are_multiplied() -> None:
    one, two, both = (
        observe(CHINCHILLA, ladder(), weights=weights).weights
        for weights in ("flops^0.5", "frontier(0.3)", "flops^0.5 * frontier(0.3)")
    )
    np.testing.assert_allclose(both, one * two / (one * two).mean(), rtol=1e-9)


def test_a_high_power_leaves_the_largest() -> None:
    observed = observe(CHINCHILLA, ladder(), weights="flops^900")
    assert np.isfinite(observed.weights).all()
    assert observed.weights[-1] == pytest.approx(21)


def test_a_standard_deviation_is_one_of_the_response() -> None:
    table = ladder().with_columns(std=0.01 * pl.col("params") ** -0.2)
    observed = observe(CHINCHILLA, table, std="std")
    std = 0.01 * np.exp(observed.inputs[0]) ** -0.2
    relative = std / np.exp(observed.target)
    # Of logarithms the relative error counts, of losses the error itself.
    for raw, error in ((False, relative), (True, std)):
        expected = error * np.sqrt((error**-2).mean())
        np.testing.assert_allclose(observed.unit(raw), expected, rtol=1e-9)
    np.testing.assert_allclose(observed.weights, observed.unit(False) ** -2.0, rtol=1e-9)
    np.testing.assert_allclose(
        observed.error / observed.error[0], relative / relative[0], rtol=1e-12
    )
    assert np.log(observed.error).mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("option", ["weights", "std"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), None])
def test_weights_that_cannot_be_are_refused_by_row_and_run(
    option: str, value: float | None
) -> None:
    here = pl.int_range(pl.len()) == 4
    table = ladder().with_columns(w=pl.when(here).then(pl.lit(value, pl.Float64)).otherwise(2.0))
    shown = "nan" if value is None else value
    with pytest.raises(FitError, match=rf"row 5 \(run n1-d1\): w is {shown}; a weight is made of"):
        observe(CHINCHILLA, table, **{option: "w"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("flops^x", "there is no column 'x' to weigh runs by"),
        ("flops^nan", "there is no column 'nan'"),
        ("frontier(x)", "there is no column 'x'"),
        ("flops*frontier(tokens)", "the scale of the frontier is a number"),
        ("frontier()", "frontier takes 1 in its parentheses and has 0"),
        ("", "weights '' is not understood: a number, a name or ( is missing at the end"),
        ("^2", "is missing before '^'"),
        ("2 flops", "a product is 2*flops"),
    ],
)
def test_weights_that_are_not_understood_are_refused(weights: str, words: str) -> None:
    with pytest.raises(FitError) as caught:
        observe(CHINCHILLA, ladder(), weights=weights)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()  # none of our own columns


@pytest.mark.parametrize(
    "weights",
    [
        "1 / (params + tokens)",
        "sqrt(flops) - params",
        "max(params, tokens)^2 * exp(-loss)",
        "C / N",  # a paper's symbol, where there is no such column
        "`val-w` / abs(0 - odd)",
        "(0 - odd) * (0 - odd)",  # no factor is positive, the product is
        "3",
    ],
)
def test_weights_are_any_expression_of_columns(weights: str) -> None:
    table = ladder().with_columns(
        (pl.col("params") ** 0.3).alias("val-w"),
        odd=(pl.int_range(pl.len()) + 2).cast(
            pl.String
        ),  # numbers of one's own, as a file has them
    )
    observed = observe(CHINCHILLA, table, weights=weights)
    kept = table.select("run", "flops", "val-w", pl.col("odd").cast(float))
    kept = pl.DataFrame({"run": observed.names}).join(kept, on="run", how="left")
    params, tokens = np.exp(observed.inputs)
    scope = {"params": params, "tokens": tokens, "N": params, "loss": np.exp(observed.target)}
    scope |= {"C": kept["flops"].to_numpy(), "flops": kept["flops"].to_numpy()}
    scope |= {"w": kept["val-w"].to_numpy(), "odd": kept["odd"].to_numpy()}
    functions = {"sqrt": np.sqrt, "exp": np.exp, "abs": np.abs, "max": np.maximum}
    text = weights.replace("`val-w`", "w").replace("^", "**")
    expected = np.broadcast_to(eval(text, functions, scope), params.shape)
    np.testing.assert_allclose(observed.weights, expected / expected.mean(), rtol=1e-9)


def test_sums_of_huge_powers_do_not_overflow() -> None:
    observed = observe(CHINCHILLA, ladder(), weights="flops^900 + 2*flops^900")
    assert observed.weights[-1] == pytest.approx(21)
    tiny = observe(CHINCHILLA, ladder(), weights="exp(-loss)^400 / frontier(0.0001)^-1")
    assert np.isfinite(tiny.weights).all()


def test_a_weight_below_zero_names_row_and_values() -> None:
    table = ladder().with_columns(w=pl.when(pl.int_range(pl.len()) == 4).then(-2.0).otherwise(2.0))
    with pytest.raises(
        FitError, match=r"row 5 \(run n1-d1\): w\*3 is -6.0 \(with w -2\); a weight"
    ):
        observe(CHINCHILLA, table, weights="w*3")
    with pytest.raises(FitError, match=r"is 0\.0 \(with w -2\)|is 0\.0 \(with w 2\)"):
        observe(CHINCHILLA, table, weights="w - w")


@pytest.mark.parametrize("scale", ["0", "-1"])
def test_the_scale_of_the_frontier_is_positive(scale: str) -> None:
    with pytest.raises(FitError, match="the scale of the frontier must be positive"):
        observe(CHINCHILLA, ladder(), weights=f"frontier({scale})")


def test_a_column_to_weigh_by_must_be_there() -> None:
    with pytest.raises(FitError, match="to weigh runs by; the table has run, ") as caught:
        observe(CHINCHILLA, ladder(), weights="seeds")
    assert str(caught.value).isprintable()  # none of our own columns
    with pytest.raises(FitError, match="no column 'error' to weigh runs by"):
        observe(CHINCHILLA, ladder(), std="error")


def test_words_weigh_nothing() -> None:
    with pytest.raises(FitError, match=r"row 1 .*: trunk is nan"):
        observe(CHINCHILLA, ladder(), weights="trunk")


def test_a_weight_comes_from_one_place() -> None:
    with pytest.raises(FitError, match="both weights and std are given"):
        observe(CHINCHILLA, ladder(), weights="flops", std="loss")


# --- clusters -----------------------------------------------------------------------------------


def test_clusters_are_trunks_where_there_are_any() -> None:
    observed = observe(CHINCHILLA, ladder())
    assert (observed.by, observed.cluster_count) == ("trunk", 7)
    trunks = dict(ladder().select("run", "trunk").iter_rows())
    pairs = {(trunks[n], int(g)) for n, g in zip(observed.names, observed.clusters, strict=True)}
    assert len(pairs) == len({trunk for trunk, _ in pairs}) == len({g for _, g in pairs}) == 7
    assert observe(CHINCHILLA, alone(ladder())).cluster_count == 21
    assert observe(CHINCHILLA, ladder(), "run").cluster_count == 21
    assert observe(CHINCHILLA, ladder(), "tokens").cluster_count == 3


def test_runs_without_a_trunk_stand_alone() -> None:
    own = pl.int_range(pl.len()) < 4
    table = ladder().with_columns(trunk=pl.when(~own).then("trunk"))
    # The last two runs of the second trunk and five whole trunks, and four runs alone.
    assert observe(CHINCHILLA, table).cluster_count == 6 + 4
    none = ladder().with_columns(trunk=pl.lit(None, dtype=pl.String))
    assert observe(CHINCHILLA, none).by == "run"
    # One trunk for all tells nothing apart.
    assert observe(CHINCHILLA, ladder().with_columns(trunk=pl.lit("one"))).by == "run"


def test_the_fingerprint_is_that_of_the_rows_fitted() -> None:
    table = ladder()
    first = observe(CHINCHILLA, table).fingerprint
    assert observe(CHINCHILLA, table.reverse()).fingerprint == first
    unseen = pl.concat([table, spoilt().head(1)]).with_columns(
        run=pl.int_range(pl.len()).cast(pl.String)
    )
    assert observe(CHINCHILLA, unseen).fingerprint == first
    nudged = table.with_columns(loss=pl.col("loss") * (1 + 1e-15))
    assert observe(CHINCHILLA, nudged).fingerprint != first
    assert observe(CHINCHILLA, table, "run").fingerprint != first


def test_too_few_runs_say_what_was_left_out() -> None:
    table = ladder().with_columns(status=pl.Series(["finished"] * 4 + ["diverged"] * 17))
    with pytest.raises(FitError, match="needs 6 finished runs or more; the table has 4, 17 left"):
        observe(CHINCHILLA, table)
    with pytest.raises(FitError, match="the table has 0"):
        observe(CHINCHILLA, table.clear())


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(FitError, match="run same stands in 21 rows"):
        observe(CHINCHILLA, ladder().with_columns(run=pl.lit("same")))


def test_words_are_not_numbers() -> None:
    with pytest.raises(FitError, match="column loss is String"):
        observe(CHINCHILLA, ladder().with_columns(pl.col("loss").cast(pl.String)))


def test_clusters_that_cannot_be_are_refused() -> None:
    with pytest.raises(FitError, match="no column 'seed' to cluster by; the table has run, ") as e:
        observe(CHINCHILLA, ladder(), "seed")
    assert str(e.value).isprintable()  # none of our own columns
    with pytest.raises(FitError, match="all 21 runs have the same status"):
        observe(CHINCHILLA, ladder(), "status")


def test_whole_numbers_are_read_as_they_stand() -> None:
    table = ladder().with_columns(pl.col("params", "tokens").cast(pl.Int64))
    observed = observe(CHINCHILLA, table)
    assert observed.ranges["tokens"][1] == 12_000_000

"""The best of each sweep: like is compared with like, and no optimum is above the best run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import FitError
from scalelab.fitting import fit, sweep_optima, sweeps
from scalelab.table import read_runs


def swept(factor_of_step: float = 2.0) -> pl.DataFrame:
    """Sweeps whose optimum obeys lr = 1.8 N^-.7 D^.3, a parabola in ln lr, off the grid."""
    rows = []
    for n in (1e7, 4e7, 1.6e8):
        for d in (1e9, 4e9):
            best = 1.8 * n**-0.7 * d**0.3
            for step in range(-3, 4):
                lr = best * 1.3 * factor_of_step**step
                rows.append((n, d, lr, 3.0 + 0.05 * np.log(lr / best) ** 2))
    return pl.DataFrame(rows, schema=["params", "tokens", "lr", "loss"], orient="row")


def test_the_optimum_of_each_sweep_is_found_between_its_values() -> None:
    found = sweep_optima(swept())
    assert len(found) == 6
    expected = 1.8 * found["params"].to_numpy() ** -0.7 * found["tokens"].to_numpy() ** 0.3
    np.testing.assert_allclose(found["lr"], expected, rtol=1e-9)
    np.testing.assert_allclose(found["loss"], 3.0)
    law = fit("optimal-lr", found, draws=100)
    assert law.values == pytest.approx({"c": 1.8, "a": -0.7, "b": 0.3}, rel=1e-6)


def test_a_sweep_that_ends_lowest_is_left_out() -> None:
    table = swept()
    first = (table["params"] == 1e7) & (table["tokens"] == 1e9)
    cut = table.filter(~first | (table["lr"] < 1.8 * 1e7**-0.7 * 1e9**0.3))
    assert len(sweep_optima(cut)) == 5
    with pytest.raises(FitError, match=r"no sweep of lr has .* 1 of 1 are of fewer than three"):
        sweep_optima(table.filter(first).sort("lr").head(2))


def test_replicates_count_by_their_mean() -> None:
    table = swept()
    noisy = pl.concat([table.with_columns(pl.col("loss") + e) for e in (0.01, -0.01)])
    np.testing.assert_allclose(sweep_optima(noisy)["lr"], sweep_optima(table)["lr"], rtol=1e-9)


@pytest.mark.parametrize("value", [None, float("nan"), 0.0, -1.0])
@pytest.mark.parametrize("column", ["lr", "loss"])
def test_a_sweep_of_what_is_no_positive_number_is_refused(column: str, value: float | None) -> None:
    here = pl.int_range(pl.len()) == 3
    spoilt = swept().with_columns(pl.when(here).then(value).otherwise(column).alias(column))
    with pytest.raises(FitError, match=f"{column} has values .* in 1 of 42 runs"):
        sweep_optima(spoilt)
    # What did not finish may have any.
    status = pl.when(here).then(pl.lit("diverged")).otherwise(pl.lit("finished"))
    assert len(sweep_optima(spoilt.with_columns(status=status))) == 6


def test_runs_held_out_are_no_part_of_a_sweep() -> None:
    found = sweep_optima(swept().with_columns(held_out=pl.col("params") == 1.6e8))
    assert sorted(set(found["params"])) == [1e7, 4e7]


# --- settings beside what is swept ---------------------------------------------------------------


def grid(noise: float = 0.0, seeds: int = 1, *, scaled: bool = False) -> pl.DataFrame:
    """Sizes x data x rates x batches about a Chinchilla law with E = 1.45 and B = 125.

    The best batch grows with the data, and the best rate with the batch.
    scaled: the rates tried do too, so that no two batches share one.
    """
    generator = np.random.default_rng(0)
    rows = []
    for n in np.geomspace(2e7, 2e9, 7):
        for d in np.geomspace(1e9, 5e10, 5):
            best_batch, best_lr = 0.3 * d**0.6, 1.8 * n**-0.35 * d**0.1
            for batch in 2.0 ** (np.round(np.log2(best_batch)) + np.arange(-2, 3)):
                follows = (batch / best_batch) ** 0.25
                for lr in best_lr * 2.0 ** (np.arange(-2, 3) + 0.3) * (follows if scaled else 1):
                    off = 0.01 * np.log(lr / best_lr / follows) ** 2
                    off += 0.008 * np.log(batch / best_batch) ** 2
                    for seed in range(seeds):
                        loss = (1.45 + 400 / n**0.34 + 125 / d**0.24) * (1 + off)
                        loss *= np.exp(noise * generator.normal())
                        rows.append((n, d, lr, batch, seed, loss))
    names = ["params", "tokens", "lr", "batch_tokens", "seed", "loss"]
    table = pl.DataFrame(rows, schema=names, orient="row")
    return table if seeds > 1 else table.drop("seed")


def codes(found: object) -> list[str]:
    return [notice.code for notice in found.notices]  # type: ignore[attr-defined]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("columns", [["lr"], ["batch_tokens"], ["lr", "batch_tokens"]])
def test_the_law_of_the_best_runs_comes_back_from_a_grid(columns: list[str], scaled: bool) -> None:
    table = grid(scaled=scaled)
    found = sweeps(table, columns)
    assert len(found.optima) == 35
    best = table.group_by("params", "tokens").agg(pl.col("loss").min().alias("best"))
    both = found.optima.join(best, on=["params", "tokens"], validate="1:1")
    assert (both["loss"] <= both["best"]).all()
    true = 1.45 + 400 / both["params"] ** 0.34 + 125 / both["tokens"] ** 0.24
    # A batch of the grid is at most half a factor of two off: .008 (ln 2 / 2)^2 = .1%.
    np.testing.assert_allclose(both["loss"], true, rtol=1e-3 if len(columns) < 2 else 1e-9)
    law = fit("chinchilla", found.optima, draws=100)
    if len(columns) > 1:
        assert law.values["E"] == pytest.approx(1.45, abs=1e-4)
        assert law.values["B"] == pytest.approx(125, rel=1e-3)
        np.testing.assert_allclose(both["batch_tokens"], 0.3 * both["tokens"] ** 0.6, rtol=1e-6)
    assert law.values["E"] == pytest.approx(1.45, abs=0.02)
    assert law.values["B"] == pytest.approx(125, rel=0.1)
    # Averaged over batches, as if these were replicates, every loss would lie above its best run.
    if columns == ["lr"]:
        assert codes(found) == ["sweeps-apart"]
        assert "175 sweeps at 35 (params, tokens)" in found.notices[0].message


def test_seeds_are_replicates_and_batches_are_not() -> None:
    found = sweeps(grid(noise=0.001, seeds=2))
    assert codes(found)[:2] == ["sweeps-apart", "sweeps-averaged"]
    assert "1750 runs are 875 settings: replicates of seed count by their mean" in str(
        found.notices[1]
    )
    law = fit("chinchilla", found.optima, draws=100)
    assert law.values["E"] == pytest.approx(1.45, abs=0.03)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_tokens", [65536, 131072]),
        ("schedule", ["cosine", "wsd"]),
        ("warmup_steps", [100, 1000]),
        ("weightDecay", [0.0, 0.1]),
        ("optimizer", ["adam", "muon"]),
        ("gradient_clipping", ["0.5", "1.0"]),
        ("qk_norm", [True, False]),  # of one's own, known by its values alone
        ("mup", ["0", "1"]),  # as a file has them
    ],
)
def test_any_setting_makes_sweeps_of_its_own(name: str, values: list[object]) -> None:
    worse = [
        swept().with_columns(pl.lit(value).alias(name), loss=pl.col("loss") + 0.2 * i)
        for i, value in enumerate(values)
    ]
    found = sweeps(pl.concat(worse))
    np.testing.assert_allclose(found.optima["loss"], 3.0)
    assert set(found.optima[name]) == {values[0]}
    assert f"{name} differs too" in found.notices[0].message
    assert "12 sweeps at 6 (params, tokens)" in found.notices[0].message


@pytest.mark.parametrize("name", ["seed", "data_seed", "replicate", "trial", "config.randomSeed"])
def test_replicates_are_known_by_name(name: str) -> None:
    table = swept()
    both = pl.concat(
        [table.with_columns(pl.lit(i).alias(name), loss=pl.col("loss") + e)
         for i, e in enumerate((0.01, -0.01))]
    )  # fmt: skip
    found = sweeps(both)
    assert codes(found) == ["sweeps-averaged"]
    np.testing.assert_allclose(found.optima["loss"], 3.0)


@pytest.mark.parametrize("name", ["val_acc", "train_loss", "gpu_hours", "grad_norm", "note"])
def test_what_a_run_ends_with_parts_no_sweep(name: str) -> None:
    generator = np.random.default_rng(0)
    table = pl.concat([swept(), swept()])
    table = table.with_columns(pl.Series(name, generator.integers(0, 3, len(table))))
    assert codes(sweeps(table)) == ["sweeps-averaged"]


def test_what_goes_along_with_the_rate_is_no_setting() -> None:
    table = swept().with_columns(min_lr=pl.col("lr") / 10, warmup_lr=pl.col("lr").log())
    found = sweeps(table)
    assert found.notices == ()
    assert len(found.optima) == 6


def test_where_settings_are_not_crossed_the_best_counts_and_it_is_said() -> None:
    """A rate of its own for each batch: no mean over batches, whichever of the two is swept."""
    found = sweeps(grid(scaled=True), ["batch_tokens"])
    assert codes(found) == ["sweeps-mixed"]
    assert "lr differs inside sweeps of batch_tokens" in found.notices[0].message


def test_tokens_rounded_by_the_batch_are_one_amount_of_data() -> None:
    table = grid().with_columns(
        tokens=(pl.col("tokens") / pl.col("batch_tokens")).ceil() * pl.col("batch_tokens")
    )
    assert len(sweeps(table).optima) == 35


def test_a_better_run_outside_every_sweep_leaves_its_size_out() -> None:
    """One run of another batch below the optimum of the sweep: the sweep has not found the best."""
    table = swept().with_columns(batch_tokens=65536.0)
    first = table.filter(params=1e7, tokens=1e9)
    lone = first.head(2).with_columns(batch_tokens=131072.0, loss=2.9)
    found = sweeps(pl.concat([table, lone]))
    assert len(found.optima) == 5
    assert codes(found) == ["sweeps-apart", "sweeps-left-out"]
    assert "1 of 6 are of fewer than three values" in found.notices[1].message
    assert "params 1e+07, tokens 1e+09" in found.notices[1].message
    # A worse one changes nothing.
    lone = lone.with_columns(loss=3.5)
    assert len(sweeps(pl.concat([table, lone])).optima) == 6


def test_a_neighbour_that_diverged_says_nothing_of_the_bend() -> None:
    """Through 3.01, 3.00 and 9 a parabola has its vertex at 2.27."""
    rows = [(1e7, 1e9, lr, loss) for lr, loss in ((1e-3, 3.01), (2e-3, 3.0), (4e-3, 9.0))]
    table = pl.DataFrame(rows, schema=["params", "tokens", "lr", "loss"], orient="row")
    found = sweeps(table)
    assert found.optima["loss"].to_list() == [3.0]
    assert found.optima["lr"].to_list() == pytest.approx([2e-3])
    assert codes(found) == ["sweeps-measured"]


def test_equal_losses_have_no_optimum() -> None:
    with pytest.raises(FitError, match="1 of 6 are flat") as raised:
        sweeps(swept().with_columns(loss=pl.when(params=1e7, tokens=1e9).then(3.0).otherwise("lr")))
    assert "5 of 6 are lowest at an end" in str(raised.value)


SWEEP = st.lists(
    st.tuples(st.floats(-8, -4), st.floats(2.0, 9.0), st.sampled_from([1, 2, 3])),
    min_size=1,
    max_size=24,
)


@given(SWEEP, st.sampled_from([["lr"], ["lr", "batch_tokens"]]))
def test_no_optimum_is_above_the_best_run_or_far_below(
    runs: list[tuple[float, float, int]], columns: list[str]
) -> None:
    """Whatever the losses: of replicates the mean counts, of everything else the lowest."""
    table = pl.DataFrame(
        [(1e7, 1e9, round(np.exp(x), 6), 2.0**batch, loss) for x, loss, batch in runs],
        schema=["params", "tokens", "lr", "batch_tokens", "loss"],
        orient="row",
    )
    table = table.unique(["lr", "batch_tokens"], keep="first", maintain_order=True)
    try:
        found = sweeps(table, columns).optima
    except FitError:
        return
    (loss,), best = found["loss"], table["loss"].min()
    noise = 1.0 if columns == ["lr"] else 1.05
    assert loss <= best * noise  # type: ignore[operator]
    assert loss >= best * 0.93  # type: ignore[operator]
    for name in columns:
        assert table[name].min() < found[name][0] < table[name].max()  # type: ignore[operator]


def test_the_lowest_run_comes_with_its_optimum() -> None:
    """What else a law may need stands beside it: compute, and the batch that was best."""
    table = grid().with_columns(
        flops=6 * pl.col("params") * pl.col("tokens"),
        run=pl.int_range(pl.len()).cast(pl.String),
        own=pl.col("params") ** 0.5,
    )
    found = sweep_optima(table, "lr")
    assert {"flops", "run", "own", "batch_tokens", "runs"} <= set(found.columns)
    np.testing.assert_allclose(found["own"], found["params"] ** 0.5)
    assert found["run"].n_unique() == 35


def test_what_a_law_takes_is_no_setting() -> None:
    """Runs of other numbers of experts are other runs where the law knows the number."""
    both = pl.concat([swept().with_columns(experts=float(k)) for k in (1, 8)])
    assert len(sweeps(both, by=["params", "tokens", "experts"]).optima) == 12
    assert len(sweeps(both).optima) == 6


def test_a_sweep_needs_its_columns() -> None:
    with pytest.raises(FitError, match="needs the columns params, tokens, wd, loss; wd is missing"):
        sweeps(swept(), ["wd"])


@pytest.mark.shared
def test_case_of_a_rate_by_batch_grid_at_each_size(shared: Path) -> None:
    """The law of the best run of each size: alpha .0756, A 9.40."""
    path = shared / "cases" / "C1-sweep-averages-batch" / "runs.csv"
    if not path.exists():
        pytest.skip("the published cases are absent")
    runs = read_runs(path).finished
    found = sweeps(runs)
    best = runs.group_by("params").agg(pl.col("loss").min()).sort("params")["loss"]
    np.testing.assert_allclose(found.optima.sort("params")["loss"], best, rtol=1e-3)
    law = fit("power-no-floor", found.optima, draws=100, estimator="least-squares")
    assert law.values["alpha"] == pytest.approx(0.0756, abs=0.0005)
    assert law.values["A"] == pytest.approx(9.40, abs=0.06)
    assert "At 2 of 3 the best batch_tokens is at an end" in found.notices[0].message

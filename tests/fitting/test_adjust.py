"""Runs at the best batch, and the best of a sweep."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from scalelab.errors import FitError
from scalelab.fitting import at_best_batch, fit, sweep_optima

CRITICAL = {"B_star": 2.0e8, "alpha_B": 0.21}


def test_kaplans_adjustment_is_his_equations() -> None:
    table = pl.DataFrame(
        {"loss": [3.0, 2.0], "batch_tokens": [5e5, 5e5], "steps": [1e5, 2e5], "flops": [1e18, 2e18]}
    )
    found = at_best_batch(table, CRITICAL)
    critical = 2.0e8 / np.array([3.0, 2.0]) ** (1 / 0.21)
    np.testing.assert_allclose(found["critical_batch"], critical)
    np.testing.assert_allclose(found["steps_min"], [1e5, 2e5] / (1 + critical / 5e5))
    np.testing.assert_allclose(found["flops_min"], [1e18, 2e18] / (1 + 5e5 / critical))


def test_at_the_critical_batch_steps_and_compute_are_twice_their_least() -> None:
    loss = 2.5
    batch = 2.0e8 / loss ** (1 / 0.21)
    table = pl.DataFrame(
        {"loss": [loss], "batch_tokens": [batch], "tokens": [1e9], "flops": [1e17]}
    )
    found = at_best_batch(table, CRITICAL)
    assert found["steps_min"][0] == pytest.approx(1e9 / batch / 2)
    assert found["flops_min"][0] == pytest.approx(5e16)


def test_adjustment_names_what_is_missing() -> None:
    with pytest.raises(FitError, match="needs batch_tokens"):
        at_best_batch(pl.DataFrame({"loss": [3.0]}), CRITICAL)
    with pytest.raises(FitError, match="must be positive"):
        at_best_batch(pl.DataFrame({"loss": [3.0], "batch_tokens": [0.0]}), CRITICAL)


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
    with pytest.raises(FitError, match="no sweep of lr has its lowest loss inside"):
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

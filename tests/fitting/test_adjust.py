"""Runs at the best batch."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from scalelab.errors import FitError
from scalelab.fitting import at_best_batch

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

"""Variants at their best rates, and the range of several noisy values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from scalelab.studies.analysis.variants import (
    RATES,
    Tuned,
    excess,
    not_bracketed,
    over_best,
    spread,
    spread_of,
    tune,
)
from scalelab.studies.evidence import Run


def runs(
    least: float, offset: float, noise: float, generator: np.random.Generator, curvature: float
) -> list[Run]:
    """Runs at RATES of a variant whose best is 2^offset, with that least log loss."""
    found = []
    for rate in RATES:
        log_loss = least + curvature * (np.log2(rate) - offset) ** 2
        value = float(np.exp(log_loss + noise * generator.standard_normal()))
        spec = SimpleNamespace(lr=rate)
        found.append(cast(Run, SimpleNamespace(spec=spec, finished=np.isfinite(value), loss=value)))
    return found


def tuned(
    truth: dict[str, tuple[float, float]], noise: float, seed: int = 0, curvature: float = 0.01
) -> Tuned[str]:
    generator = np.random.default_rng(seed)
    groups = {
        name: runs(least, offset, noise, generator, curvature)
        for name, (least, offset) in truth.items()
    }
    found = tune(groups, max(noise, 1e-6), seed)
    assert found is not None
    return found


def test_without_noise_every_variant_is_found_at_its_own_best_rate() -> None:
    truth = {"a": (0.5, 0.3), "b": (0.52, -0.6), "c": (0.49, 0.0)}
    found = tuned(truth, 0.0)
    assert found.names == ("a", "b", "c")
    assert found.log_loss == pytest.approx([0.5, 0.52, 0.49], abs=1e-9)
    assert np.log2(found.rates) == pytest.approx([0.3, -0.6, 0.0], abs=1e-6)
    assert found.ends == ()


def test_a_best_rate_outside_those_tried_is_named_and_not_extrapolated() -> None:
    found = tuned({"a": (0.5, 0.0), "b": (0.5, 1.5)}, 0.0)
    assert found.ends == ("b",)
    assert found.log_loss[1] == pytest.approx(0.5 + 0.01 * 0.25, abs=1e-9)
    assert found.lowest == pytest.approx([0.5, 0.5], abs=1e-9)
    assert not_bracketed(found, str)[0].code == "rate-not-bracketed"


def test_a_variant_far_above_its_best_at_all_other_rates_is_named() -> None:
    found = tuned({"a": (0.5, 0.0), "b": (0.5, 0.2), "far": (0.5, 5.0)}, 0.0)
    assert found.missing == ("far",)
    (notice,) = not_bracketed(found, str)
    assert notice.code == "variant-left-out"
    assert "far" in notice.message


def test_a_spread_reaches_to_where_a_loss_may_be_beyond_the_rates_tried() -> None:
    """All are equal; the last one's best rate is three times the highest tried."""
    truth = {name: (0.5, 0.1 * i) for i, name in enumerate("abc")} | {"far": (0.5, 2.6)}
    found = tuned(truth, 0.001)
    beyond = 0.01 * 1.6**2
    seen = spread_of(found, found.names, 0.9)
    assert seen.value == pytest.approx(np.expm1(beyond), abs=0.005)
    assert spread(*found.only(found.names), 0.9).low > 0.02
    assert seen.low < 0.005
    assert found.lowest[3] == pytest.approx(0.5, abs=0.005)
    above = excess(found, "far", ["a", "b", "c"], 0.9)
    assert above.low < 0.005 < 0.02 < above.value < above.high
    value, low, _ = over_best(found, found.names, 0.9)
    assert value[3] - low[3] > 0.02
    # Where every best rate is inside, nothing changes.
    inside = tuned({"a": (0.5, 0.0), "b": (0.56, 0.1), "c": (0.5, -0.2)}, 0.001)
    plain = spread(*inside.only(inside.names), 0.9)
    assert spread_of(inside, inside.names, 0.9) == plain


def test_a_worst_that_is_sure_stays_worst_beside_a_best_that_may_be_better() -> None:
    found = tuned({"a": (0.5, 2.0), "b": (0.6, 0.0), "c": (0.52, 0.1)}, 0.001)
    seen = spread_of(found, found.names, 0.9)
    assert seen.low > 0.06
    assert seen.high > np.expm1(0.6 - 0.5)


def test_minima_are_as_uncertain_as_their_errors_say() -> None:
    """Over 150 planted sets: standard deviation of the minima, and of the noise found."""
    truth = {str(i): (0.5, 0.4 * np.sin(i)) for i in range(8)}
    sets = [tuned(truth, 0.006, seed) for seed in range(150)]
    scatter = np.std([found.log_loss for found in sets], axis=0)
    claimed = np.mean([found.errors.std(axis=0) for found in sets], axis=0)
    assert claimed == pytest.approx(scatter, rel=0.25)
    assert np.mean([found.noise**2 for found in sets]) ** 0.5 == pytest.approx(0.006, rel=0.05)


def test_runs_far_from_their_best_are_not_part_of_a_parabola() -> None:
    groups = {name: runs(0.5, 0.0, 0.0, np.random.default_rng(0), 0.01) for name in ("a", "b", "c")}
    groups["c"][2] = cast(
        Run, SimpleNamespace(spec=SimpleNamespace(lr=2.0), finished=True, loss=9.0)
    )
    found = tune(groups, 1e-6)
    assert found is not None
    assert found.log_loss == pytest.approx([0.5] * 3, abs=1e-9)


def test_too_few_runs_are_no_comparison() -> None:
    ended = runs(0.5, 0.0, 0.0, np.random.default_rng(0), 0.01)
    assert tune({}, 0.01) is None
    assert tune({"a": [], "b": []}, 0.01) is None
    assert tune({"a": ended[:2], "b": ended[1:]}, 0.01) is None
    found = tune({"a": ended, "b": ended[:1], "c": ended[:2]}, 0.01)
    assert found is not None
    assert (found.names, found.missing) == (("a", "c"), ("b",))


@pytest.mark.parametrize(
    "truth",
    [
        np.zeros(6),
        np.array([0.0, 0.01, 0.01, 0.01, 0.01, 0.02]),
        np.array([0.0, 0, 0, 0, 0, 0.03]),
    ],
)
def test_the_range_of_noisy_values_is_not_that_of_the_noise(truth: Any) -> None:
    """Neither end misses in more than 5% of 200 draws of noise .5%; the middle is fair."""
    generator = np.random.default_rng(1)
    errors = 0.005 * generator.standard_normal((600, 6))
    found = [spread(truth + 0.005 * generator.standard_normal(6), errors, 0.9) for _ in range(200)]
    true = float(np.expm1(np.ptp(truth)))
    assert np.mean([one.low > true for one in found]) < 0.08  # 5% and what 200 draws allow
    assert np.mean([one.high < true for one in found]) < 0.08
    middle = np.median([one.value for one in found])
    raw = float(np.expm1(np.median([np.ptp(truth + e) for e in errors])))
    assert abs(middle - true) < max(0.004, 0.5 * (raw - true))
    assert all(one.low <= one.value <= one.high for one in found)


def test_a_range_without_noise_is_itself() -> None:
    found = spread(np.log([2.0, 2.1, 2.04]), np.zeros((200, 3)), 0.9)
    assert (found.value, found.high) == pytest.approx((0.05, 0.05), abs=2e-3)


def test_excess_is_over_the_geometric_mean() -> None:
    found = tuned({"a": (0.53, 0.0), "b": (0.5, 0.0), "c": (0.48, 0.0)}, 0.0)
    estimate = excess(found, "a", ["b", "c"], 0.9)
    assert estimate.value == pytest.approx(np.expm1(0.04), abs=1e-9)

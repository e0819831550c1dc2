"""Profile likelihood: exact where theory is, and against scipy where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.optimize
import scipy.stats
from ladders import alone, ladder

from scalelab.fitting import Fit, fit
from scalelab.laws import Parameter, custom_law, get_law

DRAWS = 100


def surface(within: float = 0.003, seed: int = 0) -> pl.DataFrame:
    """Forty runs over three decades of both inputs."""
    wide = {"sizes_from": 1e4, "sizes_to": 1e7, "data_from": 1e6, "data_to": 1e9}
    return alone(ladder(seed, sizes=8, data=5, within=within, **wide))


# --- where theory is exact --------------------------------------------------------------------

LINEAR = custom_law(
    "K * N^(-a) * D^(-b)",
    [
        Parameter("K", "scale", 0.0, np.inf, log=True),
        Parameter("a", "exponent of size", -2.0, 2.0),
        Parameter("b", "exponent of data", -2.0, 2.0),
    ],
)
"""A law whose logarithm is linear in ln K, a and b."""


def planes(seed: int, runs: int = 12) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    N, D = np.exp(generator.uniform(np.log(1e6), np.log(1e9), size=(2, runs)))
    loss = 30 * N**-0.1 * D**-0.05 * np.exp(0.02 * generator.normal(size=runs))
    return pl.DataFrame({"params": N, "tokens": D, "loss": loss})


@pytest.mark.parametrize(("seed", "level"), [(0, 0.9), (1, 0.5), (2, 0.99)])
def test_of_a_linear_law_it_is_the_exact_interval_of_regression(seed: int, level: float) -> None:
    table = planes(seed)
    found = fit(
        LINEAR, table, estimator="least-squares", profile=True, level=level, draws=DRAWS
    ).profile
    logs = (np.log(table[name].to_numpy()) for name in ("params", "tokens"))
    design = np.column_stack([np.ones(len(table)), *(-part for part in logs)])
    target = np.log(table["loss"].to_numpy())
    best, squares, _, _ = np.linalg.lstsq(design, target, rcond=None)
    freedom = len(table) - 3
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / freedom)
    half = scipy.stats.t.ppf(0.5 + level / 2, freedom) * errors
    for j, name in enumerate(("K", "a", "b")):
        low, high = found[name]
        if name == "K":
            low, high = np.log(low), np.log(high)
        assert (low, high) == pytest.approx((best[j] - half[j], best[j] + half[j]), rel=1e-5)


def test_runs_of_one_trunk_are_not_independent() -> None:
    """Of a linear law: the interval of regression, as much wider as the sandwich says."""
    generator = np.random.default_rng(2)
    N = np.repeat(np.geomspace(1e6, 1e9, 30), 4)
    D = np.tile(np.geomspace(1e8, 1e9, 4), 30)
    luck = np.repeat(0.02 * generator.normal(size=30), 4) + 0.005 * generator.normal(size=120)
    table = pl.DataFrame({"params": N, "tokens": D, "loss": 30 * N**-0.1 * D**-0.05 * np.exp(luck)})
    table = table.with_columns(trunk=pl.col("params").rank("dense").cast(pl.String))
    together, alone = (
        fit(
            LINEAR,
            table,
            estimator="least-squares",
            clusters=by,
            profile=True,
            draws=DRAWS,
        ).profile
        for by in ("trunk", "run")
    )
    design = np.column_stack([np.ones(120), -np.log(N), -np.log(D)])
    best, squares, _, _ = np.linalg.lstsq(design, np.log(table["loss"].to_numpy()), rcond=None)
    residual = np.log(table["loss"].to_numpy()) - design @ best
    inverse = np.linalg.inv(design.T @ design)
    moves = inverse @ design.T * residual
    shared = (moves.reshape(3, 30, 4).sum(axis=2) ** 2).sum(axis=1) * 30 / 27
    effect = np.maximum(1, shared / ((moves**2).sum(axis=1) * 120 / 117))
    errors = np.sqrt(np.diag(inverse) * squares[0] / 117 * effect)
    half = scipy.stats.t.ppf(0.95, 27) * errors
    for j, name in enumerate(("K", "a", "b")):
        low, high = np.log(together[name]) if name == "K" else together[name]
        assert (low, high) == pytest.approx((best[j] - half[j], best[j] + half[j]), rel=1e-5)
    # Sizes differ between trunks, data within them.
    wider = {n: np.ptp(together[n]) / np.ptp(alone[n]) for n in ("a", "b")}
    assert wider["a"] > 1.5
    assert wider["b"] == pytest.approx(1, abs=0.1)


def test_huber_with_a_wide_delta_is_least_squares() -> None:
    table = planes(3)
    options: dict[str, Any] = {"profile": True, "draws": DRAWS}
    squares = fit(LINEAR, table, estimator="least-squares", **options).profile
    huber = fit(LINEAR, table, estimator="huber", delta=10.0, **options).profile
    for name in LINEAR.names:
        assert huber[name] == pytest.approx(squares[name], rel=1e-4)


def test_the_interval_of_hubers_fit_covers_a_planted_exponent() -> None:
    """Noise with heavy tails, nine intervals in ten, within what chance allows of 60."""
    generator = np.random.default_rng(4)
    held = 0
    for _ in range(60):
        N = np.geomspace(1e6, 1e9, 24)
        loss = 30 * N**-0.1 * np.exp(0.01 * generator.standard_t(3, size=24))
        table = pl.DataFrame({"params": N, "loss": loss})
        law = custom_law("K * N^(-a)")
        low, high = fit(law, table, profile=True, draws=DRAWS).profile["a"]
        held += low <= 0.1 <= high
    assert 0.78 <= held / 60 <= 0.99


# --- against scipy ----------------------------------------------------------------------------


def least_squares_at(table: pl.DataFrame, name: str, value: float, near: Fit) -> float:
    """The least sum of squares of Chinchilla's law with one parameter held, by scipy."""
    n, d, y = (np.log(table[column].to_numpy()) for column in ("params", "tokens", "loss"))
    j = near.law.names.index(name)

    def residual(others: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = np.insert(others, j, value)
        return np.log(e + np.exp(a - alpha * n) + np.exp(b - beta * d)) - y

    start = np.delete(near.theta, j)
    found = scipy.optimize.least_squares(residual, start, x_scale="jac", xtol=1e-12, ftol=1e-12)
    return float(2 * found.cost)


def test_at_the_ends_the_sum_of_squares_has_risen_by_t_squared_s_squared() -> None:
    table = surface()
    found = fit("chinchilla", table, estimator="least-squares", profile=True, draws=DRAWS)
    least = 2 * found.objective
    freedom = len(table) - 5
    allowed = scipy.stats.t.ppf(0.95, freedom) ** 2 * least / freedom
    for name in ("E", "alpha", "beta"):
        low, high = found.profile[name]
        assert low < found.values[name] < high
        for end in (low, high):
            rise = least_squares_at(table, name, end, found) - least
            assert rise == pytest.approx(allowed, rel=0.1)


# --- the ends ---------------------------------------------------------------------------------


def test_the_ends_are_those_shown_and_surround_the_value() -> None:
    table = surface()
    found = fit("chinchilla", table, profile=True, draws=DRAWS)
    bare = fit("chinchilla", table, draws=DRAWS)
    assert bare.profile == {}
    assert set(found.profile) == set(found.law.names)
    for name, (low, high) in found.profile.items():
        one = found.parameters[name]
        assert (one.low, one.high) == (low, high)
        assert low < one.value < high
        # A profile moves no value and no draw.
        assert one.value == bare.parameters[name].value
        assert one.stderr == bare.parameters[name].stderr
        assert (low, high) != (bare.parameters[name].low, bare.parameters[name].high)


def test_a_higher_level_is_a_wider_interval() -> None:
    table = surface()
    narrow, wide = (
        fit("chinchilla", table, profile=True, level=level, draws=DRAWS).profile
        for level in (0.5, 0.95)
    )
    for name in narrow:
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]


def test_four_times_the_noise_is_a_wider_interval() -> None:
    quiet, loud = (
        fit("chinchilla", surface(within), estimator="least-squares", profile=True, draws=DRAWS)
        for within in (0.001, 0.004)
    )
    for name in ("E", "alpha", "beta"):
        widths = [np.subtract(*f.profile[name][::-1]) for f in (quiet, loud)]
        assert 3 < widths[1] / widths[0] < 6


def test_a_side_that_the_runs_do_not_limit_is_infinite(tmp_path: Path) -> None:
    """Runs of at most two epochs cannot tell how soon repeated data loses its worth."""
    law = get_law("repeated-data")
    truth = dict(law.preset("muennighoff2023-repeated").values)
    law = law.restrict({name: value for name, value in truth.items() if name != "R_D"})
    generator = np.random.default_rng(0)
    N = np.tile(np.geomspace(1e8, 1e9, 4), 6)
    U = np.repeat(np.geomspace(1e9, 1e10, 3), 8)
    epochs = np.tile(np.repeat([1.0, 2.0], 4), 3)
    inputs = {"params": N, "tokens": epochs * U, "unique_tokens": U}
    loss = get_law("repeated-data").loss(truth, **inputs) * np.exp(0.01 * generator.normal(size=24))
    table = pl.DataFrame({**inputs, "loss": loss})
    found = fit(law, table, profile=True, draws=DRAWS)
    assert set(found.profile) == {"R_D"}
    low, high = found.profile["R_D"]
    assert 0.1 < low < found.values["R_D"]
    assert high == np.inf
    assert found.to_dict()["parameters"]["R_D"]["high"] is None
    json.dumps(found.to_dict(), allow_nan=False)
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert loaded.profile == found.profile
    assert loaded.parameters == found.parameters


def test_a_bound_ends_the_interval() -> None:
    """alpha is .25; held at or below .2, the best is the bound and nothing lies beyond it."""
    law = get_law("chinchilla").restrict(bounds={"alpha": (0.1, 0.2)})
    found = fit(law, surface(), profile=True, draws=DRAWS)
    low, high = found.profile["alpha"]
    assert found.values["alpha"] == pytest.approx(0.2)
    assert high == pytest.approx(0.2)
    assert 0.1 <= low <= 0.2
    # Bounds that are far off change nothing.
    free, loose = (
        fit(law, surface(), profile=True, draws=DRAWS).profile
        for law in ("chinchilla", get_law("chinchilla").restrict(bounds={"alpha": (0.05, 0.9)}))
    )
    assert loose["alpha"] == pytest.approx(free["alpha"], rel=1e-3)


def test_a_floor_that_the_runs_do_not_show_ends_at_nothing() -> None:
    """A pure power law over two decades: the floor may be none, and no less."""
    N = np.geomspace(1e6, 1e8, 14)
    loss = 30 * N**-0.15 * np.exp(0.01 * np.random.default_rng(1).normal(size=14))
    found = fit(
        "power", pl.DataFrame({"params": N, "loss": loss}), profile=True, draws=DRAWS
    ).profile
    assert found["E"][0] == 0
    assert found["E"][1] > 0


def test_of_a_restricted_law_only_what_is_free_is_profiled_and_it_is_narrower() -> None:
    table = surface()
    free = fit("chinchilla", table, estimator="least-squares", profile=True, draws=DRAWS)
    law = get_law("chinchilla").restrict({"E": free.values["E"]})
    held = fit(law, table, estimator="least-squares", profile=True, draws=DRAWS)
    assert set(held.profile) == {"A", "B", "alpha", "beta"}
    for name in ("alpha", "beta"):
        assert free.profile[name][0] < held.profile[name][0]
        assert held.profile[name][1] < free.profile[name][1]
    law = get_law("chinchilla").restrict(tied={"beta": "alpha"})
    tied = fit(law, table, profile=True, draws=DRAWS)
    assert set(tied.profile) == {"E", "A", "B", "alpha"}


def test_a_ladder_of_trunks_is_profiled_in_units_of_its_own_noise() -> None:
    """Generalised least squares: noise of trunks is not averaged away over their branches."""
    table = ladder(between=0.006, within=0.001)
    shared = fit("chinchilla", table, profile=True, draws=DRAWS)
    assert shared.estimator.name == "shared-noise"
    single = fit("chinchilla", alone(table), estimator="least-squares", profile=True, draws=DRAWS)
    for name in ("alpha", "beta"):
        low, high = shared.profile[name]
        assert low < shared.values[name] < high
    # The exponent of size stands on seven trunks, not on twenty-one runs.
    widths = [np.subtract(*f.profile["alpha"][::-1]) for f in (shared, single)]
    assert widths[0] > 1.1 * widths[1]

"""Intervals: every method, reproducible, in the right order, and honest on simulated ladders."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from ladders import alone, chinchilla, ladder

from scalelab.errors import SpecError
from scalelab.fitting import Fit, fit
from scalelab.fitting.intervals import Method

METHODS: tuple[Method, ...] = ("pairs", "wild", "components")
every_method = pytest.mark.parametrize("method", METHODS)
# Sizes and data beyond the ladder, as a plan asks.
AHEAD = {"params": np.array([7.5e5, 7.5e5, 3e6]), "tokens": np.array([1.2e6, 1.2e7, 5e7])}


def widths(found: Fit, **options: object) -> np.ndarray:
    predicted = found.predict(**AHEAD, **options)  # type: ignore[arg-type]
    return predicted.high - predicted.low


@every_method
def test_the_same_seed_gives_the_same_bits(method: Method) -> None:
    table = ladder(between=0.006)
    one, two, other = (
        fit("chinchilla", table, intervals=method, draws=100, seed=seed) for seed in (3, 3, 4)
    )
    assert (one.draw_theta == two.draw_theta).all()
    assert (one.draw_noise == two.draw_noise).all()
    assert (one.theta == other.theta).all()  # luck is in the draws alone
    assert not (one.draw_theta == other.draw_theta).any(axis=1).all()
    for new_run in (False, True):
        assert (widths(one, new_run=new_run) == widths(two, new_run=new_run)).all()


@every_method
@pytest.mark.parametrize("estimator", ["huber", "least-squares", "shared-noise"])
def test_every_method_goes_with_every_estimator(method: Method, estimator: str) -> None:
    found = fit(
        "chinchilla",
        ladder(1, sizes=9, between=0.004),
        estimator=estimator,  # type: ignore[arg-type]
        intervals=method,
        draws=100,
    )
    assert found.intervals.method == method
    assert found.draws.shape == (100, 5)
    assert found.draw_noise.shape == (100, 2)
    for one in found.parameters.values():
        assert one.low <= one.high
        assert one.stderr > 0
    # A planted number lies within a few of its own standard errors.
    alpha = found.parameters["alpha"]
    assert abs(alpha.value - 0.25) < 5 * alpha.stderr


def test_what_is_chosen_depends_on_the_number_of_clusters() -> None:
    few = fit("chinchilla", ladder(between=0.006), draws=100)
    assert few.estimator.name == "shared-noise"
    assert (few.intervals.method, few.intervals.by) == ("components", "trunk")
    assert few.intervals.clusters == 7
    many = fit("chinchilla", ladder(sizes=20, between=0.006), draws=100)
    assert many.estimator.name == "huber"
    assert (many.intervals.method, many.intervals.clusters) == ("pairs", 20)
    single = fit("chinchilla", alone(ladder(sizes=6)), draws=100)
    assert single.estimator.name == "huber"  # eighteen runs, none of which shares a trunk
    assert single.intervals.method == "components"
    assert single.intervals.by == "run"


def test_runs_that_weigh_nothing_are_as_if_they_were_not_there() -> None:
    """Three runs in seven count: for the noise, for the spare runs, for the choice of method."""
    table = alone(ladder(sizes=12, data=5)).with_columns(quality=pl.lit(1.0))
    counted = pl.int_range(pl.len()) % 7 < 3
    weighed = table.with_columns(quality=pl.when(counted).then(1.0).otherwise(1e-9))
    for size, method in ((56, "pairs"), (42, "components")):
        few, many = (
            fit("chinchilla", runs, weights="quality", draws=1000)
            for runs in (table.head(size).filter(counted), weighed.head(size))
        )
        assert few.intervals.method == many.intervals.method == method
        assert many.noise == pytest.approx(few.noise, rel=0.01)
        # The sd of 1,000 draws is known to 2.2%.
        assert widths(many) == pytest.approx(widths(few), rel=0.15)


def test_the_noise_of_weighed_runs_is_that_of_the_runs() -> None:
    """A few runs that weigh much are no outliers, and leave fewer runs than there are rows."""
    found = []
    for seed in range(30):
        table = alone(ladder(seed, sizes=12, data=5, within=0.003))
        table = table.with_columns(quality=(pl.col("run").hash(1) % 1000 / 1000) ** 8 + 0.01)
        noise = fit("chinchilla", table, weights="quality", draws=100).noise[1]
        found.append((noise / 0.003) ** 2)
    # Some ten runs are spare in effect: the sd over 30 sets is known to 1 / sqrt(2 x 30 x 10), 4%.
    assert np.sqrt(np.mean(found)) == pytest.approx(1, abs=0.15)


def test_the_bootstrap_draws_clusters_and_never_single_runs() -> None:
    """A trunk whose one run is written down twice has still been trained once."""
    table = ladder(sizes=25, data=1, within=0.01)
    again = pl.concat([table.with_columns(pl.col("run") + mark) for mark in ("", "-again")])
    options = {"estimator": "least-squares", "intervals": "pairs", "draws": 200}
    once = fit("power", table, **options)  # type: ignore[arg-type]
    twice = fit("power", again, **options)  # type: ignore[arg-type]
    split = fit("power", again, clusters="run", **options)  # type: ignore[arg-type]
    assert twice.values == pytest.approx(once.values, rel=1e-6)
    ratio = twice.parameters["alpha"].stderr / once.parameters["alpha"].stderr
    # The same draws of the same clusters, up to the search's tolerance.
    assert ratio == pytest.approx(1, rel=0.05)
    # Runs counted as independent promise 1 / sqrt(2) of the error: what clusters are there to stop.
    assert split.parameters["alpha"].stderr < 0.85 * once.parameters["alpha"].stderr


def test_intervals_shrink_as_theory_says_on_a_linear_law() -> None:
    """Least squares of a line on log axes: the sd of the slope is sigma / |x - mean x|."""
    sigma = 0.01
    N = np.geomspace(1e4, 1e8, 60)
    luck = np.random.default_rng(2).normal(size=60)
    x = np.log(N) - np.log(N).mean()
    # Luck of exactly this size that the line cannot absorb.
    basis = np.linalg.qr(np.stack([np.ones(60), x], axis=1))[0]
    luck = luck - basis @ (basis.T @ luck)
    luck *= sigma * np.sqrt(58) / np.linalg.norm(luck)
    table = pl.DataFrame({"params": N, "loss": 9 * N**-0.1 * np.exp(luck)})
    expected = sigma / np.linalg.norm(x)
    for method in METHODS:
        found = fit(
            "power-no-floor", table, estimator="least-squares", intervals=method, draws=2000
        )
        # The sd of 2,000 draws is known to 1.6%; the bootstraps see 60 runs, not the law of luck.
        assert found.parameters["alpha"].stderr == pytest.approx(expected, rel=0.25), method
        assert found.noise[1] == pytest.approx(sigma, rel=1e-6)
        assert found.noise[0] == 0


def test_noise_that_trunks_share_widens_what_is_drawn_as_theory_says() -> None:
    """A line through 12 trunks of 3: the covariance of least squares, (X'X)^-1 X'V X (X'X)^-1."""
    table = ladder(4, sizes=12, between=0.02, within=0.004, data_from=5e6, data_to=5e6)
    found = fit(
        "power-no-floor", table, estimator="least-squares", intervals="components", draws=2000
    )
    between, within = found.noise
    assert between > 2 * within
    n = np.log(table["params"].to_numpy())
    X = np.stack([np.ones_like(n), -n], axis=1)
    trunks = table["trunk"].to_numpy()
    V = between**2 * (trunks[:, None] == trunks[None, :]) + within**2 * np.eye(len(n))
    bread = np.linalg.inv(X.T @ X)
    expected = np.sqrt((bread @ X.T @ V @ X @ bread)[1, 1])
    # The two variances are drawn as well: heavier tails than a normal distribution's.
    assert found.draw_theta[:, 1].std() == pytest.approx(expected, rel=0.15)


@every_method
def test_wider_levels_hold_narrower_ones(method: Method) -> None:
    found = fit("chinchilla", ladder(between=0.006), intervals=method, draws=200)
    levels = [found.predict(level=level, **AHEAD) for level in (0.5, 0.8, 0.9, 0.99)]
    for inner, outer in pairwise(levels):
        assert (outer.low <= inner.low).all()
        assert (outer.high >= inner.high).all()
        assert (inner.value == outer.value).all()


def test_the_level_of_a_fit_is_that_of_its_parameters() -> None:
    table = ladder(between=0.006)
    narrow, wide = (fit("chinchilla", table, level=level, draws=300) for level in (0.5, 0.95))
    for name in narrow.parameters:
        one, two = narrow.parameters[name], wide.parameters[name]
        assert (one.level, two.level) == (0.5, 0.95)
        assert two.low <= one.low <= one.high <= two.high


def test_a_new_run_is_less_certain_than_the_mean_of_such_runs() -> None:
    means, news = [], []
    for seed in range(6):
        found = fit("chinchilla", ladder(seed, between=0.006), draws=400, seed=seed)
        mean = found.predict(**AHEAD)
        new = found.predict(new_run=True, **AHEAD)
        assert (mean.value == new.value).all()
        means.append([np.log(mean.low), np.log(mean.high)])
        news.append([np.log(new.low), np.log(new.high)])
    (mean_low, mean_high), (new_low, new_high) = np.mean(means, axis=0), np.mean(news, axis=0)
    assert (new_low < mean_low).all()
    assert (new_high > mean_high).all()


def test_a_new_run_brings_its_own_luck() -> None:
    """Where the mean is known exactly, the interval of a new run is the noise of runs."""
    found = fit("chinchilla", ladder(sizes=40, data=5, between=0.006), draws=1000)
    here = {"params": 4e4, "tokens": 4e6}
    predicted = found.predict(level=0.6827, new_run=True, **here)
    half = (np.log(predicted.high) - np.log(predicted.low)) / 2
    between, within = found.noise
    # The sd of 1,000 draws is known to 2.2%; the mean itself is known ten times better.
    assert float(half) == pytest.approx(np.hypot(between, within), rel=0.1)
    # And what was estimated is what was planted: 40 trunks tell an sd to 11%.
    assert between == pytest.approx(0.006, rel=0.35)
    assert within == pytest.approx(0.002, rel=0.2)


def test_the_new_run_interval_of_a_larger_size_covers_as_it_says() -> None:
    """Sixty ladders of 7 sizes with 3 branches each; a size 2.5 times larger is trained."""
    studies, hits = 60, 0
    N, D = 2.5 * 3e5, 1.2e7
    for seed in range(studies):
        found = fit("chinchilla", ladder(seed, between=0.006, within=0.002), draws=100, seed=seed)
        predicted = found.predict(params=N, tokens=D, level=0.9, new_run=True)
        luck = np.random.default_rng(10_000 + seed).normal(size=2) @ np.array([0.006, 0.002])
        measured = float(chinchilla(np.array(N), np.array(D)) * np.exp(luck))
        hits += bool(predicted.low <= measured <= predicted.high)
    # Of 60 at .9, 54 are expected, with a standard deviation of 2.3.
    assert 0.75 <= hits / studies <= 0.99


@pytest.mark.parametrize("draws", [0, 99, -5])
def test_too_few_draws_are_refused(draws: int) -> None:
    with pytest.raises(SpecError, match=f"draws is {draws}; .* at least 100"):
        fit("chinchilla", ladder(), draws=draws)


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(SpecError, match="'jackknife'; expected auto, pairs, wild or components"):
        fit("chinchilla", ladder(), intervals="jackknife")  # type: ignore[arg-type]

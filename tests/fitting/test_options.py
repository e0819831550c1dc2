"""How runs are weighed and residuals are taken: each option against scipy on a formula by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import scipy.optimize
import scipy.special
from ladders import alone, ladder

from scalelab.errors import FitError, SpecError
from scalelab.fitting import Fit, fit
from scalelab.fitting.estimator import EstimatorName
from scalelab.laws import Array

DRAWS = 100
NO_HIGHER = 1 + 1e-9


def uneven() -> pl.DataFrame:
    """Forty runs with heavy tails, seeds from 1 to 5, and a standard deviation each."""
    wide = {"sizes_from": 1e4, "sizes_to": 1e7, "data_from": 1e6, "data_to": 1e9}
    table = alone(ladder(sizes=8, data=5, within=0.0, **wide))
    generator = np.random.default_rng(3)
    replicates = generator.integers(1, 6, size=40)
    std = 0.005 * generator.uniform(0.2, 3.0, size=40)
    luck = std * generator.standard_t(4, size=40)
    return table.with_columns(
        pl.Series("replicates", replicates),
        pl.Series("std", std),
        loss=pl.col("loss") + pl.Series(luck),
    )


def by_hand(table: pl.DataFrame) -> Callable[[Array], Array]:
    """Loss (n,) of Chinchilla's equation at E, ln A, ln B, alpha, beta."""
    n, d = np.log(table["params"].to_numpy()), np.log(table["tokens"].to_numpy())
    return lambda x: x[0] + np.exp(x[1] - x[3] * n) + np.exp(x[2] - x[4] * d)


def scipys(residual: Callable[[Array], Array], found: Fit) -> scipy.optimize.OptimizeResult:
    """Least squares from somewhere near: that of E and of the scales in other units."""
    start = found.theta * np.array([0.9, 1.02, 0.98, 1.05, 0.97])
    low, high = found.law.bounds
    return scipy.optimize.least_squares(
        residual, start, bounds=(low, high), x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14
    )


def same(found: Fit, theirs: scipy.optimize.OptimizeResult) -> None:
    assert found.objective <= theirs.cost * NO_HIGHER
    assert found.objective == pytest.approx(theirs.cost, rel=1e-7)
    np.testing.assert_allclose(found.theta, theirs.x, rtol=1e-4)


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "of"),
    [
        ("replicates", lambda t: t["replicates"]),
        ("flops^0.5", lambda t: t["flops"] ** 0.5),
        ("replicates * params**-0.2", lambda t: t["replicates"] / t["params"] ** 0.2),
    ],
    ids=["a column", "a power", "a product"],
)
@pytest.mark.parametrize("raw", [False, True])
def test_weights_are_those_of_least_squares(
    weights: str, of: Callable[[pl.DataFrame], pl.Series], raw: bool
) -> None:
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    weight = of(table).to_numpy()
    root = np.sqrt(weight / weight.mean())
    found = fit(
        "chinchilla", table, estimator="least-squares", weights=weights, raw=raw, draws=DRAWS
    )

    def residual(x: Array) -> Array:
        off = measured - loss(x) if raw else np.log(measured / loss(x))
        return root * off

    same(found, scipys(residual, found))
    assert found.estimator.weights == weights
    assert str(found.estimator).endswith(f"residuals, weights {weights}")
    plain = fit("chinchilla", table, estimator="least-squares", raw=raw, draws=DRAWS)
    assert plain.values["alpha"] != pytest.approx(found.values["alpha"], rel=1e-3)


def test_a_weight_of_two_is_a_run_written_twice() -> None:
    """Under Huber's function as well."""
    table = uneven().with_columns(w=pl.when(pl.int_range(pl.len()) % 3 == 0).then(2).otherwise(1))
    twice = pl.concat([table, table.filter(pl.col("w") == 2).with_columns(pl.col("run") + "again")])
    one = fit("chinchilla", table, weights="w", estimator="huber", draws=DRAWS)
    two = fit("chinchilla", twice, estimator="huber", draws=DRAWS)
    assert one.values == pytest.approx(two.values, rel=1e-5)
    # Weights have mean 1: an objective is that of as many runs as there are.
    assert one.objective / 40 == pytest.approx(two.objective / len(twice), rel=1e-9)


def test_weights_in_other_units_are_the_same_weights() -> None:
    table = uneven()
    one, two = (
        fit("chinchilla", each, weights="flops^0.5", draws=DRAWS)
        for each in (table, table.with_columns(pl.col("flops") * 1e-15))
    )
    # Rounding may end a search a step earlier: 1e-13 of the objective is its root of a parameter.
    assert one.values == pytest.approx(two.values, rel=1e-6)
    equal = fit("chinchilla", table.with_columns(w=7.0), weights="w", draws=DRAWS)
    assert equal.values == pytest.approx(fit("chinchilla", table, draws=DRAWS).values, rel=1e-6)


def test_the_bootstrap_weighs_too() -> None:
    """Runs of no weight are not missed: their luck widens no interval."""
    table = uneven().with_columns(w=pl.when(pl.col("tokens") > 2e6).then(1.0).otherwise(1e-9))
    kept = table.filter(pl.col("w") == 1)
    one, two = (
        fit("chinchilla", each, weights="w", intervals="pairs", draws=1000)
        for each in (table, kept)
    )
    assert one.values == pytest.approx(two.values, rel=1e-4)
    # Of 40 clusters some replicates draw fewer of those that count; errors are known to 5%.
    width = one.parameters["alpha"].stderr / two.parameters["alpha"].stderr
    assert width == pytest.approx(1, rel=0.2)


# --- standard deviations ------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
def test_known_errors_give_generalised_least_squares(raw: bool) -> None:
    """1 / std^2, of the loss or, relative, of its logarithm."""
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    error = table["std"].to_numpy() / (1.0 if raw else measured)
    found = fit("chinchilla", table, estimator="least-squares", std="std", raw=raw, draws=DRAWS)

    def residual(x: Array) -> Array:
        off = measured - loss(x) if raw else np.log(measured / loss(x))
        return off / error / np.sqrt((error**-2).mean())

    same(found, scipys(residual, found))
    assert (found.estimator.weights, found.estimator.std) == ("", "std")
    assert str(found.estimator).endswith("residuals, weights 1/std^2")
    # And not as in each other's terms.
    other = fit("chinchilla", table, estimator="least-squares", std="std", raw=not raw, draws=DRAWS)
    assert other.values["alpha"] != pytest.approx(found.values["alpha"], rel=1e-4)


@pytest.mark.parametrize("raw", [False, True])
def test_hubers_delta_is_one_number_of_standard_deviations(raw: bool) -> None:
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    error = table["std"].to_numpy() / (1.0 if raw else measured)
    error = error * np.sqrt((error**-2).mean())
    found = fit("chinchilla", table, estimator="huber", std="std", raw=raw, draws=DRAWS)
    x = found.theta
    off = measured - loss(x) if raw else np.log(measured / loss(x))
    expected = float(scipy.special.huber(1e-3, off / error).sum())
    assert found.objective == pytest.approx(expected, rel=1e-9)


def test_luck_is_drawn_as_large_as_it_is_said_to_be() -> None:
    """A line on log axes: the covariance of least squares is (X' V^-1 X)^-1."""
    N = np.geomspace(1e4, 1e8, 60)
    std = 0.02 * np.where(np.arange(60) < 30, 1.0, 0.1) * 9 * N**-0.1
    luck = np.random.default_rng(0).normal(size=60)
    table = pl.DataFrame({"params": N, "std": std, "loss": 9 * N**-0.1 + std * luck})
    found = fit(
        "power-no-floor",
        table,
        estimator="least-squares",
        std="std",
        intervals="components",
        draws=2000,
    )
    relative = std / table["loss"].to_numpy()
    X = np.stack([np.ones(60), -np.log(N)], axis=1) / relative[:, None]
    expected = np.sqrt(np.linalg.inv(X.T @ X)[1, 1])
    # 58 degrees of freedom tell the size of the luck to 9%.
    assert found.parameters["alpha"].stderr == pytest.approx(expected, rel=0.3)
    # That of runs of mean (geometric) error: .02 and .002 make .0063.
    assert found.noise[1] == pytest.approx(0.02 * 0.1**0.5, rel=0.3)


# --- residuals of the loss ----------------------------------------------------------------------


def test_raw_residuals_are_those_of_least_squares_of_the_loss() -> None:
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    found = fit("chinchilla", table, estimator="least-squares", raw=True, draws=DRAWS)
    same(found, scipys(lambda x: measured - loss(x), found))
    assert str(found.estimator) == "least squares of loss residuals"


def test_raw_residuals_go_with_hubers_function() -> None:
    """Its delta is then in nats."""
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    found = fit("chinchilla", table, estimator="huber", raw=True, delta=0.01, draws=DRAWS)

    def objective(x: Array) -> float:
        return 1e4 * float(scipy.special.huber(0.01, measured - loss(x)).sum())

    assert found.objective * 1e4 == pytest.approx(objective(found.theta), rel=1e-9)
    theirs = scipy.optimize.minimize(
        objective, found.theta, method="Nelder-Mead", options={"maxfev": 3000, "maxiter": 3000}
    )
    assert found.objective * 1e4 <= theirs.fun * NO_HIGHER
    assert str(found.estimator) == "sum of Huber(delta=0.01) of loss residuals"


# --- penalties on one side ----------------------------------------------------------------------


@pytest.mark.parametrize("above", [0.1, 1.0, 4.0])
def test_one_number_is_fitted_where_the_two_sides_balance(above: float) -> None:
    """Transfer by an offset, one parameter: an expectile (Newey and Powell 1987)."""
    generator = np.random.default_rng(0)
    loss = generator.uniform(2, 4, size=50)
    other = loss + 0.7 + 0.2 * generator.standard_exponential(size=50)
    table = pl.DataFrame({"loss": loss, "loss.other": other})
    found = fit(
        "transfer-offset", table, estimator="least-squares", raw=True, above=above, draws=DRAWS
    )

    def objective(K: float) -> float:
        r = other - loss - K
        return float((np.where(r > 0, above, 1.0) * r**2).sum() / 2)

    theirs = scipy.optimize.minimize_scalar(objective, (0.5, 1.5), tol=1e-10)
    assert found.values["K"] == pytest.approx(theirs.x, rel=1e-6)
    assert found.objective == pytest.approx(theirs.fun, rel=1e-10)
    # At the minimum the two sides pull alike.
    r = other - loss - found.values["K"]
    assert above * r[r > 0].sum() == pytest.approx(-r[r < 0].sum(), rel=1e-6)


def test_a_steep_penalty_below_is_the_lower_envelope() -> None:
    """Which is what a frontier of the best runs is: hardly any run lies below it."""
    table = uneven()
    shares = []
    for above in (1e-3, 1.0, 1e3):
        found = fit("chinchilla", table, estimator="least-squares", above=above, draws=DRAWS)
        at = {name: table[name].to_numpy() for name in ("params", "tokens")}
        shares.append((table["loss"].to_numpy() < found.predict(**at).value).mean())
    assert shares[0] < 0.25 < shares[1] < 0.75 < shares[2]


def test_hubers_function_may_have_two_sides() -> None:
    table = uneven()
    loss, measured = by_hand(table), table["loss"].to_numpy()
    found = fit("chinchilla", table, estimator="huber", above=3.0, draws=DRAWS)

    def objective(x: Array) -> float:
        r = np.log(measured / loss(x))
        return 1e4 * float((np.where(r > 0, 3.0, 1.0) * scipy.special.huber(1e-3, r)).sum())

    assert found.objective * 1e4 == pytest.approx(objective(found.theta), rel=1e-9)
    theirs = scipy.optimize.minimize(
        objective, found.theta, method="Nelder-Mead", options={"maxfev": 3000, "maxiter": 3000}
    )
    assert found.objective * 1e4 <= theirs.fun * NO_HIGHER
    assert "log-loss residuals, 3 times as much above the law as below" in str(found.estimator)


# --- what goes together and what does not -------------------------------------------------------


def test_options_take_the_place_of_noise_that_trunks_share() -> None:
    """Few trunks of several runs are weighed by their noise, unless they are weighed otherwise."""
    table = ladder(between=0.006).with_columns(std=pl.lit(0.01))
    assert fit("chinchilla", table, draws=DRAWS).estimator.name == "shared-noise"
    assert fit("chinchilla", table, delta=1e-3, draws=DRAWS).estimator.name == "huber"
    for options in ({"raw": True}, {"above": 2.0}, {"weights": "flops"}, {"std": "std"}):
        found = fit("chinchilla", table, draws=DRAWS, **options)  # type: ignore[arg-type]
        assert found.estimator.name == "huber"
        with pytest.raises(SpecError, match="shared-noise weighs log-loss residuals by their nois"):
            fit("chinchilla", table, estimator="shared-noise", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", ["least-squares", "shared-noise"])
def test_delta_is_hubers_alone(estimator: EstimatorName) -> None:
    with pytest.raises(SpecError, match=f"{estimator} has no delta, which is of Huber's function"):
        fit("chinchilla", ladder(), estimator=estimator, delta=0.01)


@pytest.mark.parametrize("estimator", ["least-squares", "huber"])
def test_how_noise_falls_is_of_shared_noise_alone(estimator: EstimatorName) -> None:
    with pytest.raises(SpecError, match=f"{estimator} has no falls, which is of shared-noise"):
        fit("chinchilla", ladder(), estimator=estimator, falls=0.25)


@pytest.mark.parametrize("above", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_is_positive(above: float) -> None:
    with pytest.raises(SpecError, match=f"above is {above}; the penalty above the law over that"):
        fit("chinchilla", ladder(), above=above)


def test_faults_of_weights_are_found_by_fit() -> None:
    with pytest.raises(FitError, match="no column 'seeds' to weigh runs by"):
        fit("chinchilla", ladder(), weights="seeds")
    with pytest.raises(FitError, match="both weights and std are given"):
        fit("chinchilla", ladder(), weights="flops", std="loss")
    with pytest.raises(FitError, match=r"row 1 \(run n0-d0\): held_out is 0\.0; a weight is made"):
        fit("chinchilla", ladder(), weights="held_out")

"""The global optimum: against scipy from many starts, and on published runs without noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.optimize
import scipy.special
from ladders import TRUTH, alone, ladder

from scalelab.fitting import fit
from scalelab.fitting.estimator import Estimator, optimise
from scalelab.fitting.objective import Objective
from scalelab.fitting.observations import observe
from scalelab.fitting.solver import minimise
from scalelab.laws import LAWS, Array, get_law, starts_of
from scalelab.table import read_runs

CHINCHILLA = LAWS["chinchilla"]
DRAWS = 100
# How far above scipy's best our objective may lie: a fit is polished until a step promises less
# than 1e-13 of it, and both sums round.
NO_HIGHER = 1 + 1e-9
# The laws of a loss by size and data.
LADDER_LAWS = [
    *("chinchilla", "chinchilla-tied", "overtraining", "kaplan", "coupled"),
    *("power", "power-no-floor"),
]


def noisy() -> pl.DataFrame:
    """Forty runs with heavy tails: Huber's function and the square disagree about them."""
    table = alone(ladder(sizes=8, data=5, within=0.0))
    luck = 0.004 * np.random.default_rng(11).standard_t(3, size=len(table))
    return table.with_columns(loss=pl.col("loss") * pl.Series(np.exp(luck)))


def chinchilla_by_hand(
    table: pl.DataFrame, rho: Callable[[Array], tuple[Array, Array]]
) -> Callable[[Array], tuple[float, Array]]:
    """Objective and gradient over E, ln A, ln B, alpha, beta. rho: value and slope."""
    n, d = np.log(table["params"].to_numpy()), np.log(table["tokens"].to_numpy())
    y = np.log(table["loss"].to_numpy())

    def objective(x: Array) -> tuple[float, Array]:
        size, data = np.exp(x[1] - x[3] * n), np.exp(x[2] - x[4] * d)
        loss = x[0] + size + data
        value, slope = rho(y - np.log(loss))
        rows = np.stack([np.ones_like(n), size, data, -n * size, -d * data]) / loss
        return float(value.sum()), -rows @ slope

    return objective


def huber(residual: Array) -> tuple[Array, Array]:
    return scipy.special.huber(1e-3, residual), np.clip(residual, -1e-3, 1e-3)


def square(residual: Array) -> tuple[Array, Array]:
    return residual**2 / 2, residual


# --- against scipy ------------------------------------------------------------------------------


@pytest.mark.parametrize(("estimator", "rho"), [("huber", huber), ("least-squares", square)])
def test_the_objective_is_no_higher_than_scipys_best(
    estimator: str, rho: Callable[[Array], tuple[Array, Array]]
) -> None:
    table = noisy()
    found = fit("chinchilla", table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    objective = chinchilla_by_hand(table, rho)
    ours, _ = objective(found.theta)
    # The number that is reported is the objective at the parameters that are reported.
    assert found.objective == pytest.approx(ours, rel=1e-9)
    generator = np.random.default_rng(0)
    best = np.inf
    for _ in range(30):
        alpha, beta = generator.uniform(0.1, 0.8, size=2)
        terms = generator.uniform(0.05, 1.0, size=2)  # of the loss at the geometric middle
        start = [
            generator.uniform(0.2, 1.8),
            np.log(terms[0]) + alpha * np.log(4e4),
            np.log(terms[1]) + beta * np.log(4e6),
            alpha,
            beta,
        ]
        # Scaled up, as L-BFGS otherwise stops at its absolute tolerance.
        end = scipy.optimize.minimize(
            lambda x: tuple(1e4 * part for part in objective(x)),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None), (None, None), (None, None), (0.005, 3), (0.005, 3)],
            options={"maxiter": 3000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-9},
        )
        best = min(best, end.fun / 1e4)
    assert ours <= best * NO_HIGHER
    # And scipy, begun at our end, finds nothing below it either.
    polished = scipy.optimize.minimize(
        lambda x: 1e4 * objective(x)[0], found.theta, method="Nelder-Mead", options={"maxfev": 500}
    )
    assert ours <= polished.fun / 1e4 * NO_HIGHER


@pytest.mark.parametrize("law", LADDER_LAWS)
def test_least_squares_is_scipys_curve_fit(law: str) -> None:
    """Levenberg-Marquardt from MINPACK, begun at our end, stays there."""
    observed = observe(LAWS[law], noisy())
    found = optimise(observed, Estimator("least-squares"))

    def residual(theta: Array) -> Array:
        return observed.target - LAWS[law].formula(theta[None], observed.inputs)[0][0]

    free = (found.theta > observed.law.bounds[0]) & (found.theta < observed.law.bounds[1])

    def of_free(part: Array) -> Array:
        theta = found.theta.copy()
        theta[free] = part
        return residual(theta)

    theirs = scipy.optimize.least_squares(of_free, found.theta[free], method="lm", xtol=1e-12)
    assert found.value <= theirs.cost * NO_HIGHER
    assert found.value == pytest.approx(theirs.cost, rel=1e-6)


def test_shared_noise_is_generalised_least_squares_with_the_prior() -> None:
    """Against scipy on the explicit covariance matrix of the noise that was estimated."""
    observed = observe(CHINCHILLA, ladder(3, between=0.006, within=0.002))
    found = optimise(observed, Estimator("shared-noise"))
    assert found.whitened is not None
    between, within = found.whitened
    assert between > within  # else this checks nothing that least squares does not
    same = observed.clusters[:, None] == observed.clusters[None, :]
    inverse = np.linalg.inv(between**2 * same + within**2 * np.eye(len(observed.target)))

    def objective(theta: Array) -> float:
        r = observed.target - CHINCHILLA.formula(theta[None], observed.inputs)[0][0]
        prior = ((np.log(theta[3:]) - np.log(0.25)) ** 2).sum()  # widths are 1
        return float(r @ inverse @ r + prior) / 2

    assert objective(found.theta) == pytest.approx(found.value, rel=1e-9)
    for factor in (0.9, 1.0, 1.1):
        start = found.theta * factor
        bounds = list(zip(*CHINCHILLA.bounds, strict=True))
        end = scipy.optimize.minimize(objective, start, method="L-BFGS-B", bounds=bounds)
        assert found.value <= end.fun * NO_HIGHER


@pytest.mark.parametrize("seed", [1, 2])
def test_of_several_valleys_the_deepest_is_found(seed: int) -> None:
    """Data nearly proportional to size: a start in the wrong valley stays there, in scipy too."""
    N = np.geomspace(1e6, 1e9, 24)
    D = 20 * N**1.2
    luck = 0.002 * np.random.default_rng(seed).normal(size=24)
    loss = (1.5 + 100 * N**-0.3 + 5e3 * D**-0.6) * np.exp(luck)
    observed = observe(CHINCHILLA, pl.DataFrame({"params": N, "tokens": D, "loss": loss}))
    found = optimise(observed, Estimator("least-squares"))

    def residual(theta: Array) -> Array:
        return observed.target - CHINCHILLA.formula(theta[None], observed.inputs)[0][0]

    low, high = CHINCHILLA.bounds
    ends = [
        scipy.optimize.least_squares(
            residual, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), max_nfev=60
        ).cost
        for start in starts_of(CHINCHILLA, observed.inputs, observed.target)[::4]
    ]
    assert found.value <= min(ends) * NO_HIGHER
    assert found.value < 0.99 * np.median(ends)  # else there is one valley, and nothing is shown
    assert found.agreeing < found.starts / 4


def test_a_parameter_at_its_bound_is_where_scipy_leaves_it() -> None:
    """Losses without a floor, bent the other way: E would have to be negative."""
    N = np.geomspace(1e4, 1e8, 12)
    table = pl.DataFrame({"params": N, "loss": 9.0 * N**-0.2 - 0.15})
    found = fit("power", table, estimator="least-squares", draws=DRAWS)
    assert found.values["E"] == 0.0

    def objective(x: Array) -> float:
        r = np.log(table["loss"].to_numpy()) - np.log(x[0] + np.exp(x[1] - x[2] * np.log(N)))
        return float(r @ r) * 50

    theirs = scipy.optimize.minimize(
        objective, [0.1, 2.0, 0.2], method="L-BFGS-B", bounds=[(0, None), (None, None), (0, 3)]
    )
    assert found.objective * 100 <= theirs.fun * NO_HIGHER
    assert theirs.x[0] == 0.0


# --- parameters that are held -------------------------------------------------------------------


Bounds = dict[str, tuple[float, float]]

HELD: dict[str, tuple[dict[str, float], dict[str, str], Bounds]] = {
    "a floor": ({"E": 1.0}, {}, {}),
    "a scale and an exponent": ({"A": 5.4, "beta": 0.35}, {}, {}),
    "one exponent": ({}, {"beta": "alpha"}, {}),
    "bounds that hold": ({}, {}, {"alpha": (0.3, 0.5), "E": (0.0, 1.0)}),
    "all of them": ({"E": 1.0}, {"beta": "alpha"}, {"alpha": (0.05, 0.2)}),
}


@pytest.mark.parametrize(("fixed", "tied", "bounds"), HELD.values(), ids=list(HELD))
@pytest.mark.parametrize(("estimator", "rho"), [("huber", huber), ("least-squares", square)])
def test_what_is_held_is_held_in_scipy_too(
    fixed: dict[str, float],
    tied: dict[str, str],
    bounds: Bounds,
    estimator: str,
    rho: Callable[[Array], tuple[Array, Array]],
) -> None:
    """The whole law's objective, written by hand, over the parameters that are left."""
    table = noisy()
    law = CHINCHILLA.restrict(fixed, tied, bounds)
    found = fit(law, table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    objective = chinchilla_by_hand(table, rho)
    # All coordinates are these, plus moves @ those that are left.
    held, moves = np.zeros(5), np.zeros((5, len(law.names)))
    for j, name in enumerate(CHINCHILLA.names):
        if name in fixed:
            held[j] = np.log(fixed[name]) if name in ("A", "B") else fixed[name]
        else:
            moves[j, law.names.index(tied.get(name, name))] = 1.0

    def of_part(part: Array) -> tuple[float, Array]:
        value, gradient = objective(held + moves @ part)
        return 1e4 * value, 1e4 * gradient @ moves

    ours = of_part(found.theta)[0]
    assert found.objective * 1e4 == pytest.approx(ours, rel=1e-9)
    generator = np.random.default_rng(1)
    for _ in range(8):
        start = found.theta + 0.1 * np.abs(found.theta) * generator.normal(size=len(found.theta))
        end = scipy.optimize.minimize(
            of_part,
            np.clip(start, *law.bounds),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(*law.bounds, strict=True)),
            options={"maxiter": 3000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-9},
        )
        assert ours <= end.fun * NO_HIGHER
    for name, (low, high) in bounds.items():
        assert low <= found.values[name] <= high
    if bounds:  # else they hold nothing, and nothing is shown
        assert "at-bound" in {notice.code for notice in found.diagnosis.warnings}
    # Nothing is gained by holding: the free law is no worse.
    free = fit("chinchilla", table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    assert free.objective <= found.objective * NO_HIGHER


@pytest.mark.parametrize("law", ["kaplan", "coupled"])
def test_laws_with_starts_of_their_own_may_be_held(law: str) -> None:
    """Where a parameter is fixed at its best value, the rest stay where they are."""
    free = fit(law, noisy(), estimator="least-squares", draws=DRAWS)
    for name in free.law.names:
        held = free.law.restrict(fixed={name: free.values[name]})
        found = fit(held, noisy(), estimator="least-squares", draws=DRAWS)
        assert found.objective == pytest.approx(free.objective, rel=1e-8)
        for other, value in found.values.items():
            assert value == pytest.approx(free.values[other], rel=1e-3)


def test_draws_stay_inside_bounds_and_know_what_is_fixed() -> None:
    law = CHINCHILLA.restrict(fixed={"E": 1.05}, bounds={"alpha": (0.2, 0.26)})
    found = fit(law, noisy(), draws=200)
    assert found.draws.shape == (200, 4)
    alpha, beta = (found.draws[:, law.names.index(name)] for name in ("alpha", "beta"))
    assert ((alpha >= 0.2) & (alpha <= 0.26)).all()
    assert found.parameters["alpha"].high <= 0.26
    # What is known of the floor is known of the exponents too: their errors shrink.
    free = fit("chinchilla", noisy(), draws=200)
    assert found.parameters["beta"].stderr < free.parameters["beta"].stderr
    # Of 200 draws the central nine tenths are the 10th to the 190th.
    exponent = np.sort(beta / (alpha + beta))
    one = found.derived["N_opt_exponent"]
    assert (one.low, one.high) == (exponent[9], exponent[189])


# --- starts and steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_every_start_of_a_convex_problem_ends_at_its_one_optimum(noise: float) -> None:
    """A straight line: steps across a kink of Huber's function once went to and fro for ever."""
    luck = noise * np.random.default_rng(0).normal(size=30)
    N = np.repeat(np.geomspace(1e5, 1e8, 6), 5)
    table = pl.DataFrame({"params": N, "loss": 20 * N**-0.1 * np.exp(luck)})
    found = fit("power-no-floor", table, estimator="huber", draws=DRAWS)
    assert found.diagnosis.starts_agreeing == found.diagnosis.starts
    assert "starts-disagree" not in {notice.code for notice in found.diagnosis.warnings}


def test_a_fit_in_a_batch_ends_where_it_ends_alone() -> None:
    observed = observe(CHINCHILLA, noisy())
    starts = starts_of(CHINCHILLA, observed.inputs, observed.target)[::30]

    def batch(k: int) -> Objective:
        target = np.broadcast_to(observed.target, (k, len(observed.target)))
        return Objective(CHINCHILLA, observed.inputs, target, np.ones_like(target), np.inf)

    together = minimise(batch(len(starts)), starts)
    assert together.converged.all()
    for i, start in enumerate(starts):
        single = minimise(batch(1), start[None])
        assert single.value[0] == pytest.approx(together.value[i], rel=1e-9)


def test_starts_outside_the_bounds_are_brought_inside() -> None:
    observed = observe(get_law("power"), noisy())
    target = observed.target[None]
    objective = Objective(observed.law, observed.inputs, target, np.ones_like(target), np.inf)
    found = minimise(objective, np.array([[-3.0, 0.0, 99.0]]))
    low, high = observed.law.bounds
    assert ((found.theta >= low) & (found.theta <= high)).all()
    assert found.value[0] == pytest.approx(
        optimise(observed, Estimator("least-squares")).value, rel=1e-6
    )


# --- published runs -----------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("estimator", ["huber", "least-squares"])
def test_the_surface_of_a_course_is_recovered(shared: Path, estimator: str) -> None:
    """Stanford's CS336, assignment 3: 72 points of an exact surface, losses without noise."""
    table = read_runs(shared / "data" / "cs336_isoflop" / "isoflops_curves.json").finished
    found = fit("chinchilla", table, estimator=estimator, draws=DRAWS)  # type: ignore[arg-type]
    # The file's README states its constants to five digits.
    assert found.values == pytest.approx(
        {"E": 2.69, "A": 1606.4, "B": 3210.7, "alpha": 0.34, "beta": 0.36}, rel=1e-5
    )
    assert found.derived["N_opt_exponent"].value == pytest.approx(0.36 / 0.70, abs=5e-7)
    assert found.diagnosis.starts_agreeing == found.diagnosis.starts
    assert found.runs == 72


def test_planted_truth_of_the_ladders() -> None:
    """The ladders that other tests draw on obey the law that they are fitted with."""
    assert fit("chinchilla", ladder(within=0.0), draws=DRAWS).values == pytest.approx(
        TRUTH, rel=1e-7
    )

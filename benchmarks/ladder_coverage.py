"""Do the intervals of a small ladder hold? Simulated studies, by method, truth and noise.

A study has a few training sizes, each one trunk with a few data sizes, and predicts the losses of
a size 2.5 times larger at the same data sizes. Printed for each method: the share of 90% intervals
that held the mean loss and the loss of a new run, their median widths, the median error, the bias.

    python benchmarks/ladder_coverage.py [--studies 20] [--sizes 7] [--data-sizes 3]
        [--methods NAME ...] [--truths NAME ...] [--noise NAME ...] [--draws 300] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from scalelab.fitting import Fit, fit
from scalelab.fitting.estimator import Estimator, batch, optimise
from scalelab.fitting.observations import observe
from scalelab.fitting.solver import minimise
from scalelab.laws import LAWS, Array

LEVEL = 0.9
NOISE = {
    "low": (0.002, 0.001, 0.0),
    "middle": (0.006, 0.002, 0.0),
    "high": (0.015, 0.004, 0.0),
    "falling": (0.005, 0.0015, 0.25),
}
"""Standard deviations in nats at the held-out size: shared by a trunk, added by a branch; and the
exponent with which both fall with N, as real ladders' do (.25: docs/LOG.md)."""

Truth = Callable[[Array, Array, np.random.Generator], Array]


# --- truths -------------------------------------------------------------------------------------


def additive(floor: float, size: float, alpha: float, data: float, beta: float) -> Truth:
    """Chinchilla's form; size and data are the terms' values at N = 6e3 and at D = 1.2e6."""
    return lambda N, D, _: floor + size * (N / 6e3) ** -alpha + data * (D / 1.2e6) ** -beta


_CHINCHILLA = additive(1.05, 0.62, 0.25, 0.2, 0.35)


def kaplan(N: Array, D: Array, _: np.random.Generator) -> Array:
    values = {"alpha_N": 0.06, "N_c": np.exp(18.03), "alpha_D": 0.08, "D_c": np.exp(18.9)}
    return LAWS["kaplan"].loss(values, params=N, tokens=D)


def between(N: Array, D: Array, _: np.random.Generator) -> Array:
    """Between Chinchilla's and Kaplan's."""
    gamma, size, data = 0.4, 0.9 * (N / 6e3) ** -0.22, 0.5 * (D / 1.2e6) ** -0.3
    return 0.8 + (size ** (1 / gamma) + data ** (1 / gamma)) ** gamma


def interaction(N: Array, D: Array, _: np.random.Generator) -> Array:
    """No law fitted here: a third term that both share."""
    size, data = 0.55 * (N / 6e3) ** -0.27, 0.16 * (D / 1.2e6) ** -0.4
    return 1.0 + size + data + 0.35 * np.sqrt(size * data)


def drift(N: Array, D: Array, _: np.random.Generator) -> Array:
    """No law fitted here: the exponent of size falls from .30 as sizes grow."""
    grown = np.log(N / 6e3)
    return 1.05 + 0.62 * np.exp(-(0.30 - 0.02 * grown) * grown) + 0.2 * (D / 1.2e6) ** -0.35


def wiggle(N: Array, D: Array, generator: np.random.Generator) -> Array:
    """Each size has a luck of its own (shape, learning rate), .005 nats, that seeds do not show."""
    sizes, which = np.unique(N, return_inverse=True)
    return _CHINCHILLA(N, D, generator) + generator.normal(0, 0.005, len(sizes))[which]


TRUTHS: Mapping[str, Truth] = {
    "chinchilla": _CHINCHILLA,
    "steep": additive(1.3, 0.6, 0.5, 0.2, 0.5),
    "shallow": additive(0.4, 1.2, 0.12, 0.25, 0.25),
    "kaplan": kaplan,
    "between": between,
    "interaction": interaction,
    "drift": drift,
    "wiggle": wiggle,
}


# --- methods ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Log losses predicted: value (m,), and intervals (2, m) of the mean and of a new run."""

    value: Array
    mean: Array
    new: Array


Method = Callable[[pl.DataFrame, Array, Array, int], Answer]


def fitted(law: str, **options: str) -> Method:
    """A call of scalelab.fitting.fit."""

    def answer(table: pl.DataFrame, N: Array, D: Array, draws: int) -> Answer:
        found = fit(law, table, draws=draws, **options)  # type: ignore[arg-type]
        mean = found.predict(params=N, tokens=D, level=LEVEL)
        new = found.predict(params=N, tokens=D, level=LEVEL, new_run=True)
        return Answer(
            np.log(mean.value),
            np.log(np.stack([mean.low, mean.high])),
            np.log(np.stack([new.low, new.high])),
        )

    return answer


def jackknife(table: pl.DataFrame, N: Array, D: Array, draws: int) -> Answer:
    """Leave out one trunk at a time; Student's t with trunks minus the 3 parameters of size."""
    del draws
    observed = observe(LAWS["chinchilla"], table)
    least_squares = Estimator("least-squares")
    best = optimise(observed, least_squares)
    trunks = observed.cluster_count
    weights = (1 - np.eye(trunks))[:, observed.clusters]
    target = np.broadcast_to(observed.target, weights.shape)
    objective = batch(observed, least_squares, target, weights=weights)
    left = minimise(objective, np.broadcast_to(best.theta, (trunks, 5)), tolerance=1e-9)
    points = (np.log(N), np.log(D))
    value = observed.law.formula(best.theta[None], points)[0][0]
    others = observed.law.formula(left.theta, points)[0]
    variance = (trunks - 1) / trunks * ((others - value) ** 2).sum(axis=0)
    t = stats.t.ppf(0.5 + LEVEL / 2, trunks - 3)
    shared, own = best.noise.estimate
    mean, new = t * np.sqrt(variance), t * np.sqrt(variance + shared**2 + own**2)
    return Answer(
        value, np.stack([value - mean, value + mean]), np.stack([value - new, value + new])
    )


def averaged(table: pl.DataFrame, N: Array, D: Array, draws: int) -> Answer:
    """Draws of Chinchilla and of Kaplan, weighted by exp(-BIC/2) under the shared noise."""
    fits = [fit(name, table, draws=draws) for name in ("chinchilla", "kaplan")]
    scores = np.array([_evidence(one, table) for one in fits])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    counts = np.round(weights * draws).astype(int)
    mean, new, value = [], [], np.zeros(len(N))
    generator = np.random.default_rng(0)
    for one, weight, count in zip(fits, weights, counts, strict=True):
        points = (np.log(N), np.log(D))
        drawn = one.law.formula(one.draw_theta[:count], points)[0]
        luck = (one.draw_noise[:count] * generator.normal(size=(count, 2))).sum(axis=1)
        value += weight * one.law.formula(one.theta[None], points)[0][0]
        mean.append(drawn)
        new.append(drawn + luck[:, None])
    ends = [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
    return Answer(value, *(np.quantile(np.vstack(parts), ends, axis=0) for parts in (mean, new)))


def _evidence(one: Fit, table: pl.DataFrame) -> float:
    """Log-likelihood minus half of BIC's penalty."""
    observed = observe(one.law, table)
    points = tuple(np.log(table[name].to_numpy()) for name in one.law.inputs)
    residual = np.log(table["loss"].to_numpy()) - one.law.formula(one.theta[None], points)[0][0]
    shared, own = one.noise
    same = table["trunk"].to_numpy()[:, None] == table["trunk"].to_numpy()[None, :]
    covariance = own**2 * np.eye(len(residual)) + shared**2 * same
    _, determinant = np.linalg.slogdet(covariance)
    likelihood = -0.5 * (residual @ np.linalg.solve(covariance, residual) + determinant)
    return float(likelihood - 0.5 * len(one.law.names) * np.log(len(observed.target)))


METHODS: Mapping[str, Method] = {
    "pairs, Huber": fitted("chinchilla", estimator="huber", intervals="pairs"),
    "pairs": fitted("chinchilla", estimator="least-squares", intervals="pairs"),
    "wild CR3": fitted("chinchilla", estimator="least-squares", intervals="wild"),
    "jackknife t": jackknife,
    "components": fitted("chinchilla", estimator="least-squares", intervals="components"),
    "shared chinchilla": fitted("chinchilla"),
    "shared kaplan": fitted("kaplan"),
    "shared average": averaged,
    "shared coupled": fitted("coupled"),
}


# --- the simulation -----------------------------------------------------------------------------


def study(
    truth: Truth, noise: tuple[float, float, float], sizes: int, data_sizes: int, seed: list[int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One simulated study: training runs and held-out runs, with ``mean`` beside ``loss``."""
    generator = np.random.default_rng(seed)
    N = 6e3 * (50 ** (1 / (sizes - 1))) ** np.arange(sizes)
    N = np.append(N, 2.5 * N[-1])
    trunk = np.repeat(np.arange(sizes + 1), data_sizes)
    D = np.tile(0.6e6 * 2.0 ** np.arange(data_sizes), sizes + 1)
    mean = truth(N[trunk], D, generator)
    shared, own, falls = noise
    luck = generator.normal(0, shared, sizes + 1)[trunk] + generator.normal(0, own, len(trunk))
    luck *= (N / N[-1])[trunk] ** -falls
    table = pl.DataFrame(
        {"params": N[trunk], "tokens": D, "loss": mean + luck, "mean": mean, "trunk": trunk}
    )
    return table.filter(pl.col("trunk") < sizes), table.filter(pl.col("trunk") == sizes)


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for t, truth in enumerate(arguments.truths):
        for n, noise in enumerate(arguments.noise):
            seen: dict[str, list[list[float]]] = {name: [] for name in arguments.methods}
            seconds = dict.fromkeys(arguments.methods, 0.0)
            for s in range(arguments.studies):
                table, held = study(
                    TRUTHS[truth],
                    NOISE[noise],
                    arguments.sizes,
                    arguments.data_sizes,
                    [arguments.seed, t, n, s],
                )
                N, D = held["params"].to_numpy(), held["tokens"].to_numpy()
                mean, loss = np.log(held["mean"].to_numpy()), np.log(held["loss"].to_numpy())
                for name in arguments.methods:
                    begin = time.perf_counter()
                    answer = METHODS[name](table, N, D, arguments.draws)
                    seconds[name] += time.perf_counter() - begin
                    seen[name].append(
                        [
                            float(np.mean((answer.mean[0] <= mean) & (mean <= answer.mean[1]))),
                            float(np.mean((answer.new[0] <= loss) & (loss <= answer.new[1]))),
                            float(np.mean(answer.mean[1] - answer.mean[0])),
                            float(np.mean(answer.new[1] - answer.new[0])),
                            float(np.mean(np.abs(answer.value - loss))),
                            float(np.mean(answer.value - mean)),
                        ]
                    )
            for name, values in seen.items():
                found = np.array(values)
                rows.append(
                    {
                        "method": name,
                        "truth": truth,
                        "noise": noise,
                        "studies": len(found),
                        "ours": found[:, 1].mean(),
                        "reference": LEVEL,
                        "ratio": found[:, 1].mean() / LEVEL,
                        "coverage_mean": found[:, 0].mean(),
                        "coverage_new": found[:, 1].mean(),
                        "width_mean": float(np.median(found[:, 2])),
                        "width_new": float(np.median(found[:, 3])),
                        "error": float(np.median(found[:, 4])),
                        "bias": found[:, 5].mean(),
                        "seconds": seconds[name] / len(found),
                    }
                )
                if not arguments.json:
                    print_row(rows[-1])
    return rows


def print_row(row: Mapping[str, object]) -> None:
    print(
        "{method:<18} {truth:<12} {noise:<7} mean {coverage_mean:5.0%}  new {coverage_new:5.0%}  "
        "width {width_mean:6.2%} {width_new:6.2%}  error {error:6.2%}  bias {bias:+6.2%}  "
        "{seconds:.2f} s".format(**row),
        flush=True,
    )


def print_overall(rows: list[dict[str, object]]) -> None:
    print("\nover all truths and noises (mean of coverages; median of median widths, errors)")
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        column = {key: [row[key] for row in mine] for key in mine[0]}
        print_row(
            column  # type: ignore[arg-type]
            | {"method": name, "truth": "all", "noise": "all"}
            | {k: np.mean(column[k]) for k in ("coverage_mean", "coverage_new", "bias", "seconds")}
            | {k: np.median(column[k]) for k in ("width_mean", "width_new", "error")}
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--sizes", type=int, default=7)
    parser.add_argument("--data-sizes", type=int, default=3)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=list(TRUTHS))
    parser.add_argument("--noise", nargs="+", choices=NOISE, default=list(NOISE))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measure(arguments)
    if arguments.json:
        print(json.dumps({"benchmark": "ladder_coverage", "rows": rows}))
    else:
        print_overall(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

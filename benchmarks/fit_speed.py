"""Speed of a global fit with intervals, against scipy's BFGS and the `chinchilla` package.

On 245 simulated runs of Chinchilla's law with noise and outliers, the sum of Huber(1e-3) of log
residuals: ours from 4,500 starts, a grid of the exponents with the coefficients solved out, and
4,000 refits of bootstrap samples; scipy.optimize.minimize(method="BFGS") with numerical derivatives
from a sample of the 4,500 starts of Hoffmann et al. 2022 and of the same refits, its time scaled
up. Where `chinchilla` 0.2.0 is installed (in the interpreter
that --chinchilla names), its own fit from its 3,125 starts stands beside. Then the time to read and
check a table of a million rows, and of `scalelab fit` on a small file, imports included.

    python benchmarks/fit_speed.py [--runs 245] [--starts 4500] [--refits 4000] [--sample 40]
        [--chinchilla PYTHON] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import scipy.optimize

from scalelab.fitting.objective import Objective
from scalelab.fitting.observations import observe
from scalelab.fitting.solver import descend, minimise
from scalelab.laws import LAWS, Array
from scalelab.laws.starts import projected
from scalelab.table import read_runs

LAW = LAWS["chinchilla"]
DELTA = 1e-3
TRUTH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def runs(count: int) -> pl.DataFrame:
    """Runs like Hoffmann et al.'s: sizes and data over two decades, noise .4%, a few outliers."""
    generator = np.random.default_rng(0)
    N = np.exp(generator.uniform(np.log(5e7), np.log(1.5e10), count))
    D = N * np.exp(generator.uniform(np.log(2), np.log(200), count))
    noise = 0.004 * generator.standard_t(4, count)
    return pl.DataFrame(
        {"params": N, "tokens": D, "loss": LAW.loss(TRUTH, params=N, tokens=D) * np.exp(noise)}
    )


def grid(count: int) -> Array:
    """Hoffmann et al. 2022, section D.2: 4,500 starts, the first `count` of a shuffle of them."""
    axes = (
        np.exp(np.arange(-1, 1.5, 0.5)),  # E, from its logarithm
        np.arange(0, 30, 5.0),
        np.arange(0, 30, 5.0),
        np.arange(0, 2.5, 0.5),
        np.arange(0, 2.5, 0.5),
    )
    points = np.array(list(itertools.product(*axes)))
    np.random.default_rng(1).shuffle(points)
    return np.resize(points, (count, 5))


def our_starts(table: pl.DataFrame, count: int) -> Array:
    """A grid of the two exponents, the three linear coefficients solved out at each point."""
    observed = observe(LAW, table)
    side = int(np.ceil(np.sqrt(count)))
    axis = np.geomspace(0.03, 2.5, side)
    points = np.array(list(itertools.product(axis, axis)))[:count]
    return projected(LAW, observed.inputs, observed.target, points)


def huber(residual: Array) -> Array:
    size = np.abs(residual)
    return np.where(size <= DELTA, 0.5 * residual**2, DELTA * (size - 0.5 * DELTA))


def scipy_fit(start: Array, log_n: Array, log_d: Array, log_loss: Array, weight: Array) -> float:
    def objective(x: Array) -> float:
        with np.errstate(all="ignore"):
            loss = np.exp(x[0]) + np.exp(x[1] - x[3] * log_n) + np.exp(x[2] - x[4] * log_d)
            return float((weight * huber(log_loss - np.log(loss))).sum())

    # The logarithm of E, as in the paper; the start may be 0.
    first = np.array([np.log(start[0]), *start[1:]])
    return float(scipy.optimize.minimize(objective, first, method="BFGS").fun)


CHINCHILLA = """
import json, sys, time, logging
import numpy as np, pandas as pd
from chinchilla import Chinchilla
from chinchilla._metrics import log_huber
rows = json.load(open(sys.argv[1]))
cc = Chinchilla(sys.argv[2], param_grid=dict(
    e=np.log(np.linspace(1, 2, 5)), a=np.linspace(1, 10, 5), b=np.linspace(1, 10, 5),
    alpha=np.linspace(0.1, 0.7, 5), beta=np.linspace(0.1, 0.7, 5)),
    seed_ranges=dict(C=(1e18, 1e20), N_to_D=(1, 200)), model_search_config=None,
    loss_fn=lambda y, p: log_huber(y, p, 1e-3), log_level=40)
cc.database.df = pd.DataFrame(rows)
begin = time.perf_counter()
cc.fit()
took = time.perf_counter() - begin
print("ANSWER", json.dumps({"seconds": took, "E": float(cc.E), "A": float(cc.A), "B": float(cc.B),
    "alpha": float(cc.alpha), "beta": float(cc.beta)}))
"""


def package(python: str, table: pl.DataFrame) -> dict[str, float] | None:
    """The `chinchilla` package's time and objective, None where it cannot be run."""
    with tempfile.TemporaryDirectory() as folder:
        rows = table.select(
            C=6 * pl.col("params") * pl.col("tokens"), N="params", D="tokens", loss="loss"
        )
        data = Path(folder) / "rows.json"
        data.write_text(json.dumps(rows.to_dict(as_series=False)))
        words = [python, "-c", CHINCHILLA, str(data), folder]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = [line for line in found.stdout.splitlines() if line.startswith("ANSWER")]
    if not lines:
        print(found.stderr[-400:], file=sys.stderr)
        return None
    answer = json.loads(lines[0].removeprefix("ANSWER"))
    values = {name: answer[name] for name in LAW.names}
    N, D = table["params"].to_numpy(), table["tokens"].to_numpy()
    residual = np.log(table["loss"].to_numpy()) - np.log(LAW.loss(values, params=N, tokens=D))
    return {"seconds": answer["seconds"], "objective": float(huber(residual).sum())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=245)
    parser.add_argument("--starts", type=int, default=4500)
    parser.add_argument("--refits", type=int, default=4000)
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("--chinchilla", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    table = runs(arguments.runs)
    observed = observe(LAW, table)
    log_n, log_d = observed.inputs
    starts = grid(arguments.starts)
    generator = np.random.default_rng(2)
    drawn = generator.multinomial(
        arguments.runs, np.full(arguments.runs, 1 / arguments.runs), arguments.refits
    ).astype(float)

    def batch(weights: Array) -> Objective:
        target = np.broadcast_to(observed.target, weights.shape)
        return Objective(LAW, observed.inputs, target, weights, DELTA)

    def plain(count: int) -> Objective:
        return batch(np.ones((count, arguments.runs)))

    begin = time.perf_counter()
    first = our_starts(table, arguments.starts)
    ends, counts = descend(plain, first)
    best = minimise(plain(1), ends.theta[[ends.value.argmin()]], tolerance=1e-13)
    middle = time.perf_counter()
    refits = minimise(batch(drawn), np.tile(best.theta, (arguments.refits, 1)), tolerance=1e-8)
    done = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    # The reference: the same starts and refits, a sample of each; a failed line search is common.
    pick = np.linspace(0, len(starts) - 1, arguments.sample).astype(int)
    begin_theirs = time.perf_counter()
    found = [
        scipy_fit(starts[i], log_n, log_d, observed.target, np.ones(arguments.runs)) for i in pick
    ]
    middle_theirs = time.perf_counter()
    at_best = np.array([*best.theta[0]])
    refit_values = [
        scipy_fit(at_best, log_n, log_d, observed.target, drawn[i]) for i in range(arguments.sample)
    ]
    done_theirs = time.perf_counter()
    scale = arguments.starts / arguments.sample, arguments.refits / arguments.sample
    theirs = (middle_theirs - begin_theirs) * scale[0] + (done_theirs - middle_theirs) * scale[1]
    ours = done - begin
    lower = np.array(refit_values) - refits.value[: arguments.sample]
    rows: list[dict[str, Any]] = [
        {
            "what": "global fit and refits",
            "ours": ours,
            "reference": theirs,
            "ratio": theirs / ours,
            "ours_starts": middle - begin,
            "ours_refits": done - middle,
            "reference_starts": (middle_theirs - begin_theirs) * scale[0],
            "reference_refits": (done_theirs - middle_theirs) * scale[1],
            "objective": float(best.value[0]),
            "reference_objective": min(found),
            "starts_at_best": counts[ends.value <= best.value[0] * 1.0001].sum() / len(first),
            "reference_starts_at_best": float((np.array(found) <= best.value[0] * 1.0001).mean()),
            "refits_no_higher": float((lower >= -1e-9).mean()),
            "memory_mb": memory,
        }
    ]
    if arguments.chinchilla and (answer := package(arguments.chinchilla, table)):
        rows.append(
            {
                "what": "chinchilla 0.2.0, 3,125 starts",
                "ours": middle - begin,
                "reference": answer["seconds"],
                "ratio": answer["seconds"] / (middle - begin),
                "objective": float(best.value[0]),
                "reference_objective": answer["objective"],
            }
        )
    rows += [million_rows(), small_file()]
    if arguments.json:
        print(json.dumps({"benchmark": "fit_speed", "rows": rows}))
        return 0
    first = rows[0]
    print(f"{'':<34}{'ours, s':>10}{'reference, s':>14}{'ratio':>8}")
    print(
        f"{arguments.starts:,} starts{'':<21}{first['ours_starts']:>10.2f}"
        f"{first['reference_starts']:>14.1f}"
        f"{first['reference_starts'] / first['ours_starts']:>8.0f}\n"
        f"{arguments.refits:,} refits{'':<21}{first['ours_refits']:>10.2f}"
        f"{first['reference_refits']:>14.1f}"
        f"{first['reference_refits'] / first['ours_refits']:>8.0f}\n"
        f"{'together':<34}{ours:>10.2f}{theirs:>14.1f}{theirs / ours:>8.0f}\n"
        f"objective {best.value[0]:.9g}, scipy's best {min(found):.9g}; starts that reach it "
        f"{first['starts_at_best']:.0%}, scipy's {first['reference_starts_at_best']:.0%}; refits "
        f"no higher than scipy's {first['refits_no_higher']:.0%}; memory {memory:.0f} MB"
    )
    for row in rows[1:]:
        shown = "" if row.get("reference") is None else f"{row['reference']:>14.1f}"
        shown += "" if row.get("ratio") is None else f"{row['ratio']:>8.0f}"
        print(f"{row['what']:<34}{row['ours']:>10.2f}{shown}")
        if "reference_objective" in row:
            print(f"   its objective {row['reference_objective']:.9g}")
    return 0


def million_rows() -> dict[str, Any]:
    """Seconds to read and check a million rows."""
    generator = np.random.default_rng(3)
    N = np.exp(generator.uniform(np.log(1e6), np.log(1e10), 1_000_000))
    D = 20 * N
    loss = LAW.loss(TRUTH, params=N, tokens=D)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        pl.DataFrame({"n_params": N, "n_tokens": D, "val_loss": loss}).write_csv(path)
        begin = time.perf_counter()
        read_runs(path)
        return {"what": "a million rows read and checked", "ours": time.perf_counter() - begin}


def small_file() -> dict[str, Any]:
    """Wall seconds of `scalelab fit` on 40 runs, a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        runs(40).write_csv(path)
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "scalelab", "fit", str(path)], check=True, capture_output=True
        )
        return {"what": "scalelab fit on a small file", "ours": time.perf_counter() - begin}


if __name__ == "__main__":
    raise SystemExit(main())

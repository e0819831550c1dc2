"""Is a user's formula fitted to its optimum? Random laws with planted parameters.

Each law is a sum of one to three terms: a power, a ratio in a power, a power with an offset, an
exponential, a logarithm, a sigmoid; some are multiplied by a factor with a column of the user's
own. Scales lie anywhere over many decades. A set has 20 to 60 runs with noise of .2% or .5%.

Printed, for scalelab and for `scipy.optimize.differential_evolution` followed by its own polish:
how often the objective of the planted parameters is reached or beaten (least squares of the log
residuals, so that both minimise the same), the median time, and, of those missed, how many carry a
warning. For scalelab also how often the 90% intervals of its default estimator hold the planted
values. scipy is given bounds of two decades around each planted scale and the planted signs, which
a user does not know; scalelab is given the formula alone.

    python benchmarks/formulas.py [--laws 200] [--seed 0] [--draws 400] [--scipy 200] [--json]

--scipy: how many of the laws, the first ones, scipy is given too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

WARNINGS = {
    *("starts-disagree", "not-converged", "at-bound", "flat-direction", "not-identified"),
    *("not-described", "worse-than-plain", "far-from-neighbours", "value-outside-interval"),
}
"""Notices that tell a user not to trust the values."""


@dataclass(frozen=True)
class Planted:
    """A law, its planted values, and runs of it. signs, scales: what scipy is told."""

    text: str
    values: dict[str, float]
    table: dict[str, list[float]]
    own: tuple[str, ...]
    noise: float


class Maker:
    """Makes one random law from a seed."""

    def __init__(self, seed: int) -> None:
        """seed: of the law, its runs and their noise."""
        self.rng = np.random.default_rng([7, seed])
        self.values: dict[str, float] = {}
        self.count = 0

    def name(self, stem: str, value: float) -> str:
        """A new parameter."""
        self.count += 1
        name = f"{stem}{self.count}"
        self.values[name] = float(value)
        return name

    def make(self) -> Planted:
        """The law, its planted values and its runs."""
        rng = self.rng
        n = int(rng.integers(20, 61))
        columns: dict[str, np.ndarray] = {}
        for column in ("N", "D", "gpus", "mix"):
            if column == "mix":
                columns[column] = np.round(rng.uniform(0.0, 1.0, n), 3)
                continue
            middle = {"N": rng.uniform(6, 10), "D": rng.uniform(8, 12), "gpus": rng.uniform(0, 3)}
            wide = rng.uniform(1.5, 3.5)
            logs = middle[column] + wide * (rng.uniform(size=n) - 0.5)
            columns[column] = 10**logs
        kinds = ["power", "ratio", "offset", "exponential", "logarithm", "sigmoid"]
        inputs = list(rng.permutation(["N", "D", "gpus"]))
        terms = int(rng.choice([1, 1, 2, 2, 3]))
        scale = 10 ** rng.uniform(-1, 1)  # of the response
        parts = []
        for i in range(terms):
            kind = str(rng.choice(kinds))
            parts.append(self.term(kind, inputs[i], columns[inputs[i]], scale))
        if rng.uniform() < 0.3:
            k = self.name("k", rng.choice([-1, 1]) * rng.uniform(0.2, 0.8))
            parts[0] = f"({parts[0]}) * (1 + {k}*mix)"
        if rng.uniform() < 0.85 and not parts[0].startswith("("):
            parts.insert(0, self.name("E", scale * rng.uniform(0.3, 1.5)))
        text = " + ".join(parts)
        used = [c for c in columns if c in _words(text)]
        scope = {**columns, **self.values, "exp": np.exp, "log": np.log}
        clean = eval(text.replace("^", "**"), scope)  # of text made above
        noise = float(rng.choice([0.002, 0.005]))
        spread = np.ptp(np.log(clean)) if (clean > 0).all() else 0.0
        if spread < 20 * noise:  # nothing to find: another law
            return Maker(int(rng.integers(2**31))).make()
        response = clean * np.exp(noise * rng.normal(size=n))
        names = {"N": "params", "D": "tokens"}
        table = {names.get(c, c): columns[c].tolist() for c in used}
        table["loss"] = response.tolist()
        own = tuple(c for c in used if c not in names)
        return Planted(text, self.values, table, own, noise)

    def term(self, kind: str, x: str, cells: np.ndarray, scale: float) -> str:
        """One term, worth about `scale` at the middle of its input."""
        rng = self.rng
        low, middle, high = np.exp(np.quantile(np.log(cells), [0, 0.5, 1]))
        worth = scale * rng.uniform(0.3, 2)
        alpha = rng.uniform(0.1, 0.9)
        match kind:
            case "power":
                return f"{self.name('A', worth * middle**alpha)}/{x}^{self.name('p', alpha)}"
            case "ratio":
                value = middle * worth ** (1 / alpha)
                return f"({self.name('X', value)}/{x})^{self.name('p', alpha)}"
            case "offset":
                shift = middle * 10 ** rng.uniform(-1, 0.5)
                size = worth * (middle + shift) ** alpha
                return (
                    f"{self.name('A', size)}/({x} + {self.name('X', shift)})^"
                    f"{self.name('p', alpha)}"
                )
            case "exponential":
                rate = rng.uniform(1, 4) / high
                return f"{self.name('A', worth)}*exp(-{self.name('r', rate)}*{x})"
            case "logarithm":
                slope = 0.8 * worth / np.log(high / low)
                constant = worth + slope * np.log(middle)
                return f"{self.name('c', constant)} - {self.name('s', slope)}*log({x})"
            case _:
                steep = rng.uniform(4, 10) / np.log(high / low)
                place = steep * np.log(low * (high / low) ** rng.uniform(0.3, 0.7))
                return (
                    f"{self.name('A', worth)}/(1 + exp({self.name('s', steep)}*log({x}) - "
                    f"{self.name('b', place)}))"
                )


def _words(text: str) -> set[str]:
    import re

    return set(re.findall(r"[A-Za-z_]\w*", text))


def squares(planted: Planted, values: dict[str, float]) -> float:
    """Half the sum of squared log residuals."""
    names = {"params": "N", "tokens": "D"}
    scope: dict[str, Any] = {
        names.get(c, c): np.array(cells) for c, cells in planted.table.items() if c != "loss"
    }
    with np.errstate(all="ignore"):
        value = eval(
            planted.text.replace("^", "**"), {**scope, **values, "exp": np.exp, "log": np.log}
        )
        residual = np.log(np.array(planted.table["loss"]) / value)
    return float(0.5 * (residual**2).sum()) if np.isfinite(residual).all() else float("inf")


def by_scipy(planted: Planted, seed: int) -> tuple[float, float]:
    """Objective and seconds of differential evolution over the logarithms of the sizes."""
    from scipy.optimize import differential_evolution

    names = list(planted.values)
    signs = np.sign(list(planted.values.values()))
    sizes = np.log(np.abs(list(planted.values.values())))
    shift = np.random.default_rng([9, seed]).uniform(-1, 1, len(names)) * np.log(10)
    reach = 2 * np.log(10)

    def objective(logs: np.ndarray) -> float:
        value = squares(planted, dict(zip(names, signs * np.exp(logs), strict=True)))
        return value if np.isfinite(value) else 1e12

    bounds = [
        (float(s + d - reach), float(s + d + reach)) for s, d in zip(sizes, shift, strict=True)
    ]
    begin = time.perf_counter()
    found = differential_evolution(objective, bounds, seed=seed, maxiter=1000, tol=1e-8)
    return float(found.fun), time.perf_counter() - begin


def one(task: tuple[int, int, bool]) -> dict[str, Any]:
    from scalelab.errors import ScalelabError
    from scalelab.fitting import fit
    from scalelab.laws import custom_law

    seed, draws, scipy_too = task
    planted = Maker(seed).make()
    target = squares(planted, planted.values)
    row: dict[str, Any] = {"law": planted.text, "seed": seed, "noise": planted.noise}
    row["runs"] = len(planted.table["loss"])
    row["planted"] = target
    frame = pl.DataFrame(planted.table)
    law = custom_law(planted.text, inputs=planted.own)
    begin = time.perf_counter()
    try:
        found = fit(law, frame, estimator="least-squares", draws=100)
        row["seconds"] = time.perf_counter() - begin
        row["ours"] = squares(planted, found.values)
        codes = {notice.code for notice in found.diagnosis.warnings}
        row["flagged"] = sorted(codes & WARNINGS)
        row["agree"] = [found.diagnosis.starts_agreeing, found.diagnosis.starts]
        robust = fit(law, frame, draws=draws)
        row["held"] = {
            name: bool(told.low <= planted.values[name] <= told.high)
            for name, told in robust.parameters.items()
        }
    except ScalelabError as error:
        row |= {"ours": float("inf"), "flagged": ["refused"], "error": str(error), "held": {}}
    row["reached"] = bool(row["ours"] <= target * (1 + 1e-6))
    if scipy_too:
        row["scipy"], row["scipy_seconds"] = by_scipy(planted, seed)
        row["scipy_reached"] = bool(row["scipy"] <= target * (1 + 1e-6))
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--laws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first law")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--scipy", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tasks = [
        (arguments.seed + i, arguments.draws, i < arguments.scipy) for i in range(arguments.laws)
    ]
    with get_context("spawn").Pool(arguments.workers) as pool:
        rows = pool.map(one, tasks, chunksize=1)
    if arguments.json:
        print(json.dumps({"benchmark": "formulas", "rows": rows}))
        return 0
    for row in rows:
        if not row["reached"]:
            print(
                f"missed: {row['law']} (seed {row['seed']}): {row['ours']:.6g} against "
                f"{row['planted']:.6g}, flagged {', '.join(row['flagged']) or 'no'}"
                f"{' ' + row['error'] if 'error' in row else ''}"
            )
    missed = [row for row in rows if not row["reached"]]
    held = [value for row in rows for value in row["held"].values()]
    print(f"{'':<34}{'reached or beaten':>18}{'seconds, median':>18}")
    reached = np.mean([row["reached"] for row in rows])
    seconds = np.median([row["seconds"] for row in rows if "seconds" in row])
    print(f"{'scalelab':<34}{reached:>18.1%}{seconds:>18.2f}")
    if both := [row for row in rows if "scipy" in row]:
        for name, key in (("scalelab", ""), ("differential_evolution", "scipy_")):
            reached = np.mean([row[f"{key}reached"] for row in both])
            seconds = np.median([row[f"{key}seconds"] for row in both if f"{key}seconds" in row])
            label = f"{name}, first {len(both)}"
            print(f"{label:<34}{reached:>18.1%}{seconds:>18.2f}")
    print(f"missed and flagged: {sum(bool(r['flagged']) for r in missed)} of {len(missed)}")
    alarms = np.mean([bool(r["flagged"]) for r in rows if r["reached"]])
    print(f"reached and flagged: {alarms:.1%}")
    print(f"90% intervals that hold the planted value: {np.mean(held):.1%} of {len(held)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

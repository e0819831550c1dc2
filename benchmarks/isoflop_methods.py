"""How near the methods of `isoflop` come to the true exponent of N_opt.

Planted: Chinchilla surfaces with random exponents, ten budgets over three decades of 7 to 13 sizes
each, off-centre and drifting, noise .1 to .6%. Printed for each method: root mean square error,
bias, and how often the 90% interval held the truth. Then Porian et al.'s ten published exponents,
where the data are at hand (SCALELAB_SHARED, default ../shared).

    python benchmarks/isoflop_methods.py [--studies 200] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from published import PORIAN_KEYS, porian_sweeps, shared
from scalelab.errors import FitError
from scalelab.fitting import isoflop


def planted(seed: int) -> tuple[float, pl.DataFrame]:
    """The true exponent of N_opt, and sweeps."""
    generator = np.random.default_rng(seed)
    alpha, beta = generator.uniform(0.25, 0.5, 2)
    a, b, floor = generator.uniform((200, 400, 1.5), (600, 2000, 2.2))
    exponent = beta / (alpha + beta)
    scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    noise = generator.choice([0.001, 0.003, 0.006])
    off, drift = generator.uniform(-0.8, 0.8), generator.uniform(-0.06, 0.06)
    step = generator.choice([0.35, 0.5, 0.7])
    parts = []
    for i, flops in enumerate(np.geomspace(1e16, 1e19, 10)):
        count = generator.integers(7, 14)
        middle = np.log(scale) + exponent * np.log(flops / 6) + off + drift * (i - 5)
        log_n = middle + step * (np.arange(count) - (count - 1) / 2)
        N = np.exp(log_n + generator.normal(0, 0.08, count))
        D = flops / 6 / N
        loss = floor + a / N**alpha + b / D**beta
        loss *= np.exp(noise * generator.normal(size=count))
        parts.append(pl.DataFrame({"params": N, "tokens": D, "flops": 6 * N * D, "loss": loss}))
    return float(exponent), pl.concat(parts)


def published(folder: Path) -> list[tuple[str, float, pl.DataFrame]]:
    """Porian et al.'s ten: name, published exponent, points."""
    fits = pl.read_csv(folder / "porian" / "published_fits.csv")
    found = []
    for names, table in porian_sweeps(folder):
        extra = names[4] == "attention" or names[:3] == ("rw", "tuned", "long")
        if not extra:
            chosen = [pl.col(key) == name for key, name in zip(PORIAN_KEYS, names, strict=True)]
            target = float(fits.filter(pl.all_horizontal(chosen))["a"][0])
            found.append(("-".join(map(str, names[:5])), target, table))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    errors: dict[str, list[float]] = {}
    held: dict[str, list[bool]] = {}
    for seed in range(arguments.studies):
        truth, table = planted(seed)
        try:
            answer = isoflop(table, method="surface")
        except FitError:
            continue
        for name, result in answer.methods.items():
            one = result.N_opt_exponent
            errors.setdefault(name, []).append(one.value - truth)
            held.setdefault(name, []).append(one.low <= truth <= one.high)
    rows: list[dict[str, Any]] = [
        {
            "set": "planted",
            "method": name,
            "studies": len(values),
            "rmse": float(np.sqrt(np.mean(np.square(values)))),
            "bias": float(np.mean(values)),
            "coverage": float(np.mean(held[name])),
        }
        for name, values in errors.items()
    ]
    if not arguments.json:
        print(f"{'planted':<10}{'studies':>8}{'rms error':>11}{'bias':>9}{'in interval':>13}")
        for row in rows:
            print(
                f"{row['method']:<10}{row['studies']:>8}{row['rmse']:>11.4f}{row['bias']:>+9.4f}"
                f"{row['coverage']:>13.0%}"
            )
    folder = shared("data")
    if (folder / "porian").exists():
        for name, target, table in published(folder):
            answer = isoflop(table)
            row = {"set": name, "published": target}
            row |= {m: result.N_opt_exponent.value for m, result in answer.methods.items()}
            rows.append(row)
            if not arguments.json:
                shown = "  ".join(
                    f"{m} {result.N_opt_exponent.value - target:+.3f}"
                    for m, result in answer.methods.items()
                )
                print(f"{name:<34} {target:.3f}  {shown}")
    if arguments.json:
        print(json.dumps({"benchmark": "isoflop_methods", "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

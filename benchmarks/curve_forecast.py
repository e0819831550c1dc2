"""Do intervals of unseen learning curves hold? Planted curves, by law fitted and by truth.

A set has three to five curves of 12,000 to 24,000 steps under different schedules; asked for are a
schedule that was not fitted and one that was, over 24,000, 48,000 and 72,000 steps. Printed: the
share of points of these curves inside their 90% interval for a new run, of all points at one, two
and three times the length and of the last points, and the median width, before the back-test
(`fit`) and after it (`checked`).

    python benchmarks/curve_forecast.py [--sets 40] [--laws annealing multi-power]
        [--truths NAME ...] [--noise NAME ...] [--draws 200] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Fit, checked, fit
from scalelab.fitting.schedules import schedule_columns
from scalelab.laws import Array, get_law

WARM_UP, PEAK = 2000, 3e-4
LENGTHS = (24_000, 48_000, 72_000)
SHAPES = ("cosine", "constant", "two-stage", "late decay", "line", "steps")
NOISE = {
    "white": (3e-4, 3e-4, 0.0),
    "along": (0.0, 2e-4, 5e-4),
    "between": (2e-3, 3e-4, 0.0),
}
"""Standard deviations of log loss: of a curve, of a point, and of what neighbours share (.8 to the
next)."""


# --- truths -------------------------------------------------------------------------------------


def _annealing(t: pl.DataFrame, C: float = 0.3) -> Array:
    return np.asarray(2.7 + 0.6 * t["lr_sum"].to_numpy() ** -0.45 - C * t["annealing"].to_numpy())


def _multi_power(t: pl.DataFrame) -> Array:
    law = get_law("multi-power")
    values = {"L_0": 2.5, "A": 0.6, "alpha": 0.5, "B": 400.0, "C": 2.0, "beta": 0.5, "gamma": 0.5}
    return law.loss(values, **{name: t[name].to_list() for name in law.inputs})


def _slowing(t: pl.DataFrame) -> Array:
    """The late part of training is slower than a power, and a drop pays more the later it comes."""
    S = t["lr_sum"].to_numpy()
    fallen = np.array([sum(drops) for drops in t["lr_drops"].to_list()])
    late = 0.05 * np.log1p(S / 6) - 420 * fallen * np.minimum(1, S / 9)
    return np.asarray(2.7 + 0.6 * S**-0.45 + late)


def _drifting(t: pl.DataFrame) -> Array:
    """The annealing law, with an end that moves up: nothing of it shows in short curves."""
    return _annealing(t) + 0.04 * np.log1p(t["lr_sum"].to_numpy() / 4)


def _coupled(t: pl.DataFrame) -> Array:
    """What annealing gains grows with training."""
    S = t["lr_sum"].to_numpy()
    return np.asarray(2.7 + 0.6 * S**-0.45 - 0.2 * t["annealing"].to_numpy() * S**0.25)


def _level(t: pl.DataFrame) -> Array:
    """The loss depends on the rate of the moment as well."""
    return _annealing(t, 0.1) - 0.05 + 0.06 * (t["rate"].to_numpy() / PEAK) ** 0.7


TRUTHS: Mapping[str, Callable[[pl.DataFrame], Array]] = {
    "annealing": _annealing,
    "multi-power": _multi_power,
    "slowing": _slowing,
    "drifting": _drifting,
    "coupled": _coupled,
    "level": _level,
}


# --- one set ------------------------------------------------------------------------------------


def rates(shape: str, steps: int, generator: np.random.Generator) -> Array:
    """The learning rate of every step."""
    step = np.arange(steps)
    done = np.clip((step - WARM_UP) / (steps - WARM_UP), 0, 1)
    at, low = generator.uniform(0.4, 0.8), generator.choice([0.1, 0.3, 0.5])
    shapes = {
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2,
        "constant": np.ones(steps),
        "two-stage": np.where(done < at, 1, low),
        "late decay": 1 - 0.9 * np.clip((done - at) / (1 - at), 0, 1),
        "line": 1 - 0.95 * done,
        "steps": np.where(done < 0.4, 1, np.where(done < 0.75, 0.4, 0.15)),
    }
    return np.asarray(PEAK * np.where(step < WARM_UP, step / WARM_UP, shapes[shape]))


def curve(
    truth: str, shape: str, steps: int, points: int, noise: str, generator: np.random.Generator
) -> pl.DataFrame:
    """Points of one curve, at equal steps."""
    lr = rates(shape, steps, generator)
    at = np.linspace(2500, steps - 100, points).astype(int)
    table = schedule_columns(lr, at).with_columns(rate=pl.Series(lr[at - 1]))
    shared, own, along = NOISE[noise]
    moving = generator.normal(0, along, points)
    for i in range(1, points):
        moving[i] = 0.8 * moving[i - 1] + 0.6 * moving[i]
    error = generator.normal(0, shared) + generator.normal(0, own, points) + moving
    return table.with_columns(loss=pl.Series(TRUTHS[truth](table) * np.exp(error)))


def measure(
    law: str, truth: str, noise: str, draws: int, seed: list[int]
) -> list[tuple[str, int, Array, Array, float]]:
    """For `fit` and `checked`, at each length: inside (m,), widths (m,), share of last points."""
    generator = np.random.default_rng(seed)
    shapes = generator.permutation(SHAPES)
    count = int(generator.choice([3, 4, 5]))
    lengths = generator.choice([12_000, 16_000, 24_000], count)
    train = pl.concat(
        curve(truth, shape, int(steps), 12, noise, generator).with_columns(curve=pl.lit(str(shape)))
        for shape, steps in zip(shapes, lengths, strict=False)
    )
    asked = [
        (steps, curve(truth, shape, steps, 10, noise, generator))
        for steps in LENGTHS
        for shape in (shapes[count], shapes[0])
    ]
    before = fit(law, train, draws=draws)
    found = []
    for name, model in (("fit", before), ("checked", checked(before, train))):
        for steps, table in asked:
            inside, width = _held(model, table)
            found.append((name, steps, inside, width, float(inside[-1])))
    return found


def _held(model: Fit, table: pl.DataFrame) -> tuple[Array, Array]:
    told = model.predict(new_run=True, **{name: table[name].to_list() for name in model.law.inputs})
    loss = table["loss"].to_numpy()
    return ((told.low <= loss) & (loss <= told.high)).astype(float), np.log(told.high / told.low)


# --- the table ----------------------------------------------------------------------------------


def rows_of(
    law: str, truth: str, noise: str, arguments: argparse.Namespace
) -> list[dict[str, object]]:
    found, failed, begin = [], 0, time.perf_counter()
    for s in range(arguments.sets):
        seed = [arguments.seed, list(TRUTHS).index(truth), list(NOISE).index(noise), s]
        try:
            found += measure(law, truth, noise, arguments.draws, seed)
        except FitError as error:
            failed += 1
            print(f"{law} {truth} set {s}: {error}", file=sys.stderr)
    rows: list[dict[str, object]] = []
    for name in ("fit", "checked"):
        own = [one for one in found if one[0] == name]
        row: dict[str, object] = {"law": law, "truth": truth, "noise": noise, "by": name}
        row |= {"sets": arguments.sets - failed}
        for steps in LENGTHS:
            at = [one for one in own if one[1] == steps]
            row[f"coverage_{steps}"] = float(np.mean([one[2].mean() for one in at]))
            row[f"width_{steps}"] = float(np.median(np.concatenate([one[3] for one in at])))
        row["coverage"] = float(np.mean([one[2].mean() for one in own]))
        row["last"] = float(np.mean([one[4] for one in own]))
        row["seconds"] = (time.perf_counter() - begin) / max(1, arguments.sets)
        rows.append(row)
    return rows


def print_row(row: Mapping[str, object]) -> None:
    covered = " ".join(f"{row[f'coverage_{steps}']:4.0%}" for steps in LENGTHS)
    widths = " ".join(f"{row[f'width_{steps}']:6.2%}" for steps in LENGTHS)
    print(
        f"{row['law']:<12} {row['truth']:<12} {row['noise']:<8} {row['by']:<8} "
        f"{row['sets']:>3} sets  holds {row['coverage']:4.0%} ({covered}; "
        f"last {row['last']:4.0%})  width {widths}  "
        f"{row['seconds']:.1f} s",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--laws", nargs="+", default=["annealing", "multi-power"])
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=list(TRUTHS))
    parser.add_argument("--noise", nargs="+", choices=NOISE, default=["white"])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # a law may end where a search steps
    rows = []
    for law in arguments.laws:
        for truth in arguments.truths:
            for noise in arguments.noise:
                rows += rows_of(law, truth, noise, arguments)
                if not arguments.json:
                    for row in rows[-2:]:
                        print_row(row)
    if arguments.json:
        print(json.dumps({"benchmark": "curve_forecast", "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does `fit --law auto` predict eight times the compute better than the plain global fit?

For each published set of runs: fitted below an eighth of the largest compute, asked for the runs
above it. Reference: Chinchilla's law, sum of Huber(1e-3) of log residuals, every run counting
alike. Each set is taken whole, and without the runs whose log loss lies more than .15 and .07 above
the best of no more compute. Defaults of `fit_auto` were chosen on the RefinedWeb sets of Porian et
al. (dev); the others are apart.

    python benchmarks/extrapolation.py [--draws 400] [--json]

Needs data/ in the folder that SCALELAB_SHARED names (default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from published import porian_sweeps, shared
from scalelab.fitting import fit, fit_auto
from scalelab.fitting.backtest import split
from scalelab.fitting.observations import frontier_excess

FILTERS = (np.inf, 0.15, 0.07)


def sets(folder: Path) -> dict[str, pl.DataFrame]:
    """Published runs by name, as params, tokens, flops and loss."""
    found = {}
    for names, table in porian_sweeps(folder):
        found["porian-" + "-".join(map(str, names[:-1]))] = table
    gadre = pl.read_csv(folder / "gadre" / "gadre_losses.csv")
    for (name,), group in gadre.group_by("dataset", maintain_order=True):
        for loss in ("loss_c4_val", "loss_openlm"):
            columns = {"N": "params", "D": "tokens", "C": "flops", loss: "loss"}
            found[f"gadre-{name}-{loss}"] = group.select(
                pl.col(old).cast(pl.Float64).alias(new) for old, new in columns.items()
            )
    ablations = pl.read_csv(folder / "datablations" / "c4_all_runs_with_seeds.csv")
    found["datablations-one-epoch"] = ablations.filter(pl.col("epochs") <= 1).select(
        params="N", tokens="D", flops=6 * pl.col("N") * pl.col("D"), loss="val_loss"
    )
    wanted = ["params", "tokens", "flops", "loss"]
    return {
        name: table.select(wanted).drop_nulls().filter(pl.col("loss") < 15)
        for name, table in found.items()
    }


def judge(table: pl.DataFrame, draws: int) -> dict[str, Any]:
    below, above = split(table, float(table["flops"].max()) / 8, 8.0)  # type: ignore[arg-type]
    asked = {name: above[name].to_numpy() for name in ("params", "tokens")}
    loss = above["loss"].to_numpy()
    row: dict[str, Any] = {"fitted": len(below), "asked": len(above)}
    models = {
        "ours": fit_auto(below, draws=draws),
        "reference": fit("chinchilla", below, draws=draws),
    }
    for name, model in models.items():
        told = model.predict(new_run=True, **asked)
        row[name] = float(np.abs(told.value / loss - 1).mean())
        row[f"{name}_coverage"] = float(((loss >= told.low) & (loss <= told.high)).mean())
        row[f"{name}_width"] = float(((told.high - told.low) / told.value).mean())
    row["law"] = f"{models['ours'].law.name} {models['ours'].estimator.weights}"
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = shared("data")
    if not folder.exists():
        print(f"no {folder}: set SCALELAB_SHARED to the folder with data/")
        return 2
    rows = []
    for limit in FILTERS:
        for name, table in sets(folder).items():
            excess = frontier_excess(table["flops"].to_numpy(), table["loss"].to_numpy())
            row = judge(table.filter(pl.Series(excess < limit)), arguments.draws)
            row |= {"set": name, "filter": None if np.isinf(limit) else limit}
            row["ratio"] = row["ours"] / row["reference"]
            rows.append(row)
            if not arguments.json:
                print(
                    f"{limit:>4.2g} {name:<46} plain {row['reference']:>6.2%} auto "
                    f"{row['ours']:>6.2%}  in interval {row['reference_coverage']:>4.0%} "
                    f"{row['ours_coverage']:>4.0%}  width {row['ours_width']:>5.1%}  {row['law']}",
                    flush=True,
                )
        if not arguments.json:
            these = rows[-len(sets(folder)) :]
            for label, chosen in (
                ("all", these),
                ("dev", [r for r in these if r["set"].startswith("porian-rw")]),
                ("others", [r for r in these if not r["set"].startswith("porian-rw")]),
            ):
                ours, plain = (np.mean([r[k] for r in chosen]) for k in ("ours", "reference"))
                held, held_plain = (
                    np.mean([r[k] for r in chosen]) for k in ("ours_coverage", "reference_coverage")
                )
                print(
                    f"     {label}: {len(chosen)} sets, mean error plain {plain:.2%}, auto "
                    f"{ours:.2%}, ratio {ours / plain:.2f}; in the 90% interval plain "
                    f"{held_plain:.0%}, auto {held:.0%}"
                )
    if arguments.json:
        print(json.dumps({"benchmark": "extrapolation", "rows": rows}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Do predictions of the held-out size hold? Many small studies on different texts and seeds.

Each study is `scalelab run` with a small budget; its largest size, which no fit has seen, is
predicted and compared. Printed: every study, then the share of 90% intervals that held the measured
loss, their median width, and the errors, for the run with the most data (the headline of the
report) and for all held-out runs. Each law alone stands beside for comparison.

    python benchmarks/heldout_studies.py [--budget 1e13flop] [--seeds 2] [--texts NAME ...]
        [--out FOLDER] [--json]

Texts are the embedded default (`python`) and the folders of ../shared/text (SCALELAB_SHARED).
Finished studies in FOLDER are used again, so the script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from published import shared
from scalelab import pipeline
from scalelab.execution.execute import Silent
from scalelab.fitting import fit
from scalelab.studies.conclude import check
from scalelab.studies.result import SURFACES, StudyResult
from scalelab.studies.settings import RunSettings

LEVEL = 0.9
AIM_COVERAGE, AIM_WIDTH = 0.8, 0.04


class Quiet(Silent):
    """Says nothing."""

    def stage(self, name: str, jobs: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def encoding(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""


def texts() -> dict[str, tuple[str, ...]]:
    folder = shared("text")
    found: dict[str, tuple[str, ...]] = {"python": ()}
    for path in sorted(folder.glob("*/")) if folder.is_dir() else []:
        found[path.name] = (str(path),)
    return found


def rows_of(text: str, seed: int, found: StudyResult) -> list[dict[str, Any]]:
    """One row a held-out run and law, the most data last."""
    rows = []
    for law in SURFACES:
        for held in check(found.fits.get(law) or fit(law, found.runs), found.runs):
            predicted = held.predicted
            rows.append(
                {
                    "text": text,
                    "seed": seed,
                    "law": law,
                    "params": held.params,
                    "tokens": held.tokens,
                    "ours": predicted.value,
                    "reference": held.measured,
                    "ratio": predicted.value / held.measured,
                    "covered": held.covered,
                    "width": (predicted.high - predicted.low) / held.measured,
                }
            )
    return rows


def falls_with_size(found: StudyResult) -> bool:
    """Whether, at every data size, each size has a lower loss than the one before."""
    for _, level in found.runs.group_by("tokens"):
        losses = level.sort("params")["loss"].to_numpy()
        if np.any(np.diff(losses) >= 0):
            return False
    return True


def summary(rows: list[dict[str, Any]]) -> str:
    errors = np.array([abs(row["ratio"] - 1) for row in rows])
    return (
        f"{len(rows):>3} runs, {np.mean([row['covered'] for row in rows]):.0%} in their 90% "
        f"interval, median width {np.median([row['width'] for row in rows]):.1%}, error median "
        f"{np.median(errors):.2%}, largest {errors.max():.2%}, bias "
        f"{np.mean([row['ratio'] - 1 for row in rows]):+.2%}"
    )


def main() -> int:
    known = texts()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="1e13flop")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--texts", nargs="+", choices=known, default=list(known))
    parser.add_argument("--out", default="runs/heldout-studies")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    monotone = []
    for seed in range(arguments.seeds):
        for text in arguments.texts:
            began = time.monotonic()
            settings = RunSettings(
                text=known[text],
                budget=arguments.budget,
                seed=seed,
                out=str(Path(arguments.out) / f"{text}-s{seed}"),
            )
            found, _ = pipeline.run(settings, Quiet())
            mine = rows_of(text, seed, found)
            rows += mine
            monotone.append(falls_with_size(found))
            if not arguments.json:
                last = [row for row in mine if row["law"] == SURFACES[0]][-1]
                print(
                    f"{text:<18} seed {seed}  N {last['params']:>9.3g} D {last['tokens']:>9.3g}  "
                    f"predicted {last['ours']:.4f}  measured {last['reference']:.4f}  "
                    f"{last['ratio'] - 1:+.2%}  width {last['width']:.1%}  "
                    f"{'in' if last['covered'] else 'OUT':<3}  "
                    f"{'falls' if monotone[-1] else 'not monotone':<12}  "
                    f"{time.monotonic() - began:.0f} s",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps({"benchmark": "heldout_studies", "rows": rows}))
        return 0
    print(f"\nloss falls with every size at every data size: {sum(monotone)} of {len(monotone)}")
    for law in SURFACES:
        mine = [row for row in rows if row["law"] == law]
        most = {(row["text"], row["seed"]): row for row in mine}
        print(f"{law}: most data  {summary(list(most.values()))}")
        print(f"{law}: all        {summary(mine)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

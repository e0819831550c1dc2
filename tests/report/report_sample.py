"""A realistic study with a planted Chinchilla truth, and a fake fit: no training, no fitting."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scalelab.errors import Notice
from scalelab.studies.result import Choice, HeldOut, PlannedRun, StudyResult

SIZES = (6_200, 15_800, 37_100, 83_400, 151_000, 241_000, 424_000, 704_000)
DATA = (0.3e6, 0.75e6, 1.9e6, 4.7e6)
TRUTH = {"E": 0.9, "A": 6.0, "B": 60.0, "alpha": 0.2, "beta": 0.35}


@dataclass(frozen=True)
class FakeEstimate:
    value: float
    low: float | None
    high: float | None
    level: float = 0.9
    stderr: float = 0.01


def truth(params: Any, tokens: Any) -> Any:
    t = TRUTH
    return t["E"] + t["A"] / params ** t["alpha"] + t["B"] / tokens ** t["beta"]


class FakeFit:
    """Chinchilla's form at the truth, with a band that widens away from the runs."""

    def __init__(self, name: str = "chinchilla", *, spread: float = 0.006) -> None:
        self.law = SimpleNamespace(name=name, inputs=("params", "tokens"))
        self.parameters = {
            "E": FakeEstimate(0.9042, 0.78, 1.01),
            "A": FakeEstimate(6.13, 4.4, 9.2),
            "B": FakeEstimate(60.9, 31.0, 118.0),
            "alpha": FakeEstimate(0.2031, 0.171, 0.236),
            "beta": FakeEstimate(0.3512, 0.301, None),
        }
        if name == "kaplan":
            self.parameters = {
                "alpha_N": FakeEstimate(0.0912, 0.08, 0.102),
                "alpha_D": FakeEstimate(0.1203, 0.11, 0.131),
            }
        self.derived = {"N_opt_exponent": FakeEstimate(0.634, 0.58, 0.69)}
        few = "28 runs have 7 sizes; five or more levels of N are needed to trust alpha."
        self.diagnosis = SimpleNamespace(
            warnings=(Notice("flat-profile", f"beta is unbounded above: {few}"),),
            starts=4500,
            starts_agreeing=4371,
            condition_number=812.0,
        )
        self.runs = 28
        self.objective = 1.2e-5
        self._spread = spread

    def predict(
        self,
        *,
        params: NDArray[np.float64],
        tokens: NDArray[np.float64],
        level: float = 0.9,
        new_run: bool = False,
    ) -> SimpleNamespace:
        assert level == 0.9
        value = truth(params, tokens)
        far = 1 + np.abs(np.log(params / 6e4)) / 2
        half = self._spread * far * value + (0.005 if new_run else 0)
        return SimpleNamespace(value=value, low=value - half, high=value + half)

    def summary(self) -> str:
        return f"{self.law.name}: L = E + A / N^alpha + B / D^beta\n28 runs <fitted>"


def runs(*, seed: int = 0, status: str = "finished") -> pl.DataFrame:
    noise = np.random.default_rng(seed)
    rows = []
    for size in SIZES:
        for tokens in DATA:
            cost = 6 * size + 24_000 + 3.1 * size**0.8
            rows.append(
                {
                    "run": f"n{size // 1000}k-d{tokens / 1e6:g}m",
                    "status": status,
                    "family": "transformer",
                    "params": size,
                    "tokens": tokens,
                    "flops": cost * tokens,
                    "batch_tokens": 1024,
                    "steps": int(tokens / 1024),
                    "lr": 0.008,
                    "seed": 0,
                    "trunk": f"n{size // 1000}k",
                    "held_out": size == SIZES[-1],
                    "loss": truth(size, tokens) * float(np.exp(0.004 * noise.standard_normal())),
                    "bytes_per_token": 1.0,
                    "tokenizer": "bytes",
                    "seconds": cost * tokens / 2e10,
                }
            )
    if status == "finished":
        rows[5] |= {"status": "diverged", "loss": None}
    return pl.DataFrame(rows)


def curves(table: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for run in table.rows(named=True):
        start = 1e4 if run["tokens"] == DATA[-1] else 0.8 * run["tokens"]
        for tokens in np.geomspace(start, run["tokens"], 14):
            decay = 1 - 0.06 * (run["tokens"] - tokens) / run["tokens"] if start > 1e4 else 0.985
            loss = truth(run["params"], tokens) * (2 - decay) * (1 + 2e4 / (tokens + 2e4))
            rows.append(
                {
                    "run": run["run"],
                    "trunk": run["trunk"],
                    "step": int(tokens / 1024),
                    "tokens": float(tokens),
                    "flops": float(tokens * run["flops"] / run["tokens"]),
                    "loss": float(loss),
                    "lr": 0.008,
                }
            )
    return pl.DataFrame(rows)


def study(**changes: Any) -> StudyResult:
    table = changes.pop("runs", None)
    table = runs() if table is None else table
    fit = FakeFit()
    held_out = []
    finished = table.filter("held_out", pl.col("loss").is_not_null()) if table.columns else table
    for run in finished.rows(named=True):
        params, tokens = np.array([run["params"]]), np.array([run["tokens"]])
        at = fit.predict(params=params, tokens=tokens, new_run=True)
        predicted = FakeEstimate(float(at.value[0]), float(at.low[0]), float(at.high[0]))
        held_out.append(HeldOut(run["run"], run["params"], run["tokens"], run["loss"], predicted))
    defaults: dict[str, Any] = {
        "name": "python-10m",
        "title": "Loss against size and data on Python source",
        "runs": table,
        "curves": curves(table) if table.columns else table,
        "fits": {
            "chinchilla": fit,
            "kaplan": FakeFit("kaplan"),
            "L(N)": FakeFit("power"),
        },
        "held_out": tuple(held_out),
        "missing": {"L(C)": "fewer than 5 runs lie on the frontier"},
        "plan": tuple(
            PlannedRun(r["run"], r["params"], r["tokens"], 1024, 0.008, r["flops"], 12.0, "grid")
            for r in table.rows(named=True)
        ),
        "choices": (
            Choice(
                "batch", "1,024 tokens",
                "the noise scale of the smallest size is 2,900 tokens", "measured",
            ),
            Choice("learning rate", "0.008", "optimum of a probe from 0.002 to 0.032", "measured"),
            Choice("schedule", "warm-up-stable-decay", "Hu et al. 2024", "paper"),
            Choice("vocabulary", "256", "bytes need no training", "assumed"),
        ),
        "corpus": {
            "text": "Python 3.11 standard library", "tokenizer": "bytes", "tokens": "24.1M",
            "fingerprint": "9f2c81d0",
        },
        "conventions": {
            "params": "non-embedding",
            "flops": "exact",
            "tokens": "tokens processed, one epoch",
            "loss": "nats per token on held-out documents",
        },
        "savings": {"tokens_trained": 44.2e6, "tokens_if_separate": 61.2e6},
        "settings": {"budget": "10m", "context": "128", "seed": "0"},
        "machine": {"processor": "2 cores", "torch": "2.13.0", "measured": "2.0e10 FLOP/s"},
        "notices": (Notice("small-corpus", "The corpus has 24.1M tokens."),),
        "command": "scalelab run --budget 10m --out runs/python",
    }  # fmt: skip
    return StudyResult(**{**defaults, **changes})

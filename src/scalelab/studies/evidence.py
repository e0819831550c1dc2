"""What a design sees when it concludes: its runs and everybody's, as they lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scalelab.counting import count_parameters, flops_per_token
from scalelab.errors import Notice

if TYPE_CHECKING:
    from scalelab.fitting import Estimate, Fit
    from scalelab.training.spec import TrainSpec

CURVE_SCHEMA = {
    "step": pl.Int64,
    "tokens": pl.Int64,
    "flops": pl.Float64,
    "loss": pl.Float64,
    "lr": pl.Float64,
}
OCTAVES_SCHEMA = {"step": pl.Int64, "position": pl.Float64, "loss": pl.Float64}
NOISE_SCHEMA = {"step": pl.Int64, "signal": pl.Float64, "noise": pl.Float64}
TRAINING_SCHEMA = {"step": pl.Int64, "loss": pl.Float64}


@dataclass(frozen=True)
class Run:
    """One run, ended or not.

    spec: what was trained. result: its row of the run table (None while it has not ended).
    curve: held-out loss along the way, by CURVE_SCHEMA; a branch's begins with its trunk's, and
    ``tokens`` counts from the trunk's start. noise: samples of the gradient noise scale of the run
    itself, by NOISE_SCHEMA. positions: final held-out loss at each position of the context (T,), or
    empty. training: training loss of the run itself, by TRAINING_SCHEMA, each the mean since the
    one before. octaves: held-out loss along the way in octaves of the context, by OCTAVES_SCHEMA.
    """

    spec: TrainSpec
    result: Mapping[str, Any] | None
    curve: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CURVE_SCHEMA))
    noise: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=NOISE_SCHEMA))
    positions: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    training: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TRAINING_SCHEMA))
    octaves: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OCTAVES_SCHEMA))

    @property
    def finished(self) -> bool:
        """Whether it ended well."""
        return self.result is not None and self.result["status"] == "finished"

    @property
    def loss(self) -> float:
        """Final held-out loss, nats per token; NaN where there is none (a trunk has none)."""
        value = None if self.result is None else self.result.get("loss")
        return float("nan") if value is None else float(value)

    @cached_property
    def params(self) -> int:
        """N, non-embedding parameters."""
        return count_parameters(self.spec.shape).non_embedding

    @property
    def tokens(self) -> int:
        """Tokens processed: those of the result where it ended early."""
        return int(self.result["tokens"]) if self.result is not None else self.spec.tokens

    @property
    def flops(self) -> float:
        """Training compute, every matrix product as executed."""
        return flops_per_token(self.spec.shape) * self.tokens

    def other_loss(self, name: str) -> float:
        """Final loss on another text, nats per token; NaN where it was not evaluated."""
        value = None if self.result is None else self.result.get(f"loss.{name}")
        return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Evidence:
    """All that a design may look at.

    own: the runs that it asked for, in its order (a run that another design asked for too is there
    all the same). ladder: the base ladder's trunks and branches; empty where no design asked for
    it. replicates: runs that differ in nothing but the seed, several seeds of each.
    everything: all runs of the study. critical_batch: B_star and alpha_B of the law
    ``critical-batch`` as this study measured it (by the design of that name where it ran, else from
    the noise scale of the ladder's trunks), or None. others: name -> facts of the other texts
    (``distance``: how far from the training text, see `scalelab.studies.analysis.nearness`;
    ``bytes_per_token``).
    level: of all intervals. seed: of bootstraps. allowed: what the design's budget left out.
    """

    own: Sequence[Run]
    ladder: Sequence[Run] = ()
    replicates: Sequence[Run] = ()
    everything: Sequence[Run] = ()
    critical_batch: Mapping[str, float] | None = None
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    bytes_per_token: float = 1.0
    level: float = 0.9
    seed: int = 0
    left_out: Sequence[str] = ()
    notices: Sequence[Notice] = ()

    @cached_property
    def trunks(self) -> list[Run]:
        """The ladder's trunks, smallest size first: at constant rate after warm-up."""
        return sorted(
            (run for run in self.ladder if run.spec.kind == "trunk"), key=lambda run: run.params
        )

    @cached_property
    def branches(self) -> list[Run]:
        """The ladder's finished runs, by size, then by data."""
        done = [run for run in self.ladder if run.spec.kind == "run" and run.finished]
        return sorted(done, key=lambda run: (run.params, run.tokens))

    @cached_property
    def scatter(self) -> Estimate | None:
        """Standard deviation of the log of the final loss from seed to seed, from the replicates.

        Pooled over groups of equal runs; the interval is that of a chi-square. None without any.
        """
        from scipy.stats import chi2

        from scalelab.fitting import Estimate

        groups: dict[Any, list[float]] = {}
        for run in self.replicates:
            if run.finished:
                key = (run.spec.shape, run.spec.tokens, run.spec.lr, run.spec.schedule)
                groups.setdefault(key, []).append(float(np.log(run.loss)))
        freedom = sum(len(group) - 1 for group in groups.values())
        if freedom < 1:
            return None
        squares = sum(float(((np.array(g) - np.mean(g)) ** 2).sum()) for g in groups.values())
        ends = chi2.ppf([0.5 + self.level / 2, 0.5 - self.level / 2], freedom)
        value = (squares / freedom) ** 0.5
        low, high = (float((squares / end) ** 0.5) for end in ends)
        return Estimate(value, low, high, self.level, value / (2 * freedom) ** 0.5)

    @cached_property
    def batch_laws(self) -> tuple[Fit | None, Fit | None]:
        """Fits of the critical batch's law that others use: see `critical_batch_law.best_fits`."""
        from scalelab.studies.analysis.critical_batch_law import best_fits

        return best_fits(self)

    @property
    def noise_level(self) -> float:
        """The scatter as a number: measured, else .007 (assumed; docs/LOG.md: .7% by seed)."""
        found = self.scatter
        return 0.007 if found is None else found.value


def table(runs: Iterable[Run]) -> pl.DataFrame:
    """Finished runs as a run table (`scalelab.table`), trunks left out."""
    rows = [
        dict(run.result) for run in runs if run.finished and run.spec.kind == "run" and run.result
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def best_of(runs: Iterable[Run], key: Callable[[Run], Any]) -> list[Run]:
    """Of runs with equal key the one of the lowest loss, in order of first appearance."""
    found: dict[Any, Run] = {}
    for run in runs:
        if run.finished and np.isfinite(run.loss):
            name = key(run)
            if name not in found or run.loss < found[name].loss:
                found[name] = run
    return list(found.values())

"""The grid of sizes and data sets: its cells, the reference of each size, where runs stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.attempt import Attempt
from scalelab.studies.evidence import Evidence
from scalelab.studies.steps_law import least_steps
from scalelab.studies.subsets import Limited

NO_LIMIT = 1e15
"""D of the reference: the trunk never sees a token twice."""


@dataclass(frozen=True)
class Grid:
    """Cells of the grid that say something, and the reference of each size."""

    cells: Sequence[Limited]
    reference: dict[int, float] = field(default_factory=dict)

    @cached_property
    def known(self) -> list[Limited]:
        """Cells whose loss had turned and whose size has a reference."""
        return [one for one in self.cells if one.turned and one.params in self.reference]

    def columns(self) -> tuple[Array, Array, Array, Array]:
        """N, D, L(N, D) and L(N, inf) of the known cells."""
        rows = [
            (one.params, one.unique, one.loss, self.reference[one.params]) for one in self.known
        ]
        n, d, loss, least = np.array(rows, dtype=float).reshape(-1, 4).T
        return n, d, loss, least

    def table(self) -> pl.DataFrame:
        """For Kaplan's law: the cells, and each size's reference at data without limit."""
        rows = [(one.run.spec.run, one.params, float(one.unique), one.loss) for one in self.known]
        sizes = sorted({one.params for one in self.known})
        rows += [(f"unlimited-{n}", n, NO_LIMIT, self.reference[n]) for n in sizes]
        columns = ("run", "params", "tokens", "loss")
        frame = pl.DataFrame(rows, schema=list(columns), orient="row") if rows else pl.DataFrame()
        # All runs of a size begin with the same parameters: what is luck in one is in all.
        return frame if not rows else frame.with_columns(pl.col("params").alias("trunk"))


@dataclass(frozen=True)
class Stop:
    """Where a run was stopped and how early it could have been, in steps S_min."""

    cell: Limited
    excess: float
    stop: float
    bound: float


def stops_of(grid: Grid, steps: Attempt, evidence: Evidence) -> list[Stop]:
    """Equation 5.7; L(N, inf) is the law's loss at convergence, and only runs above it count."""
    if steps.fit is None:
        return []
    p = steps.fit.values
    found = []
    for one in grid.known:
        excess = one.loss - (p["N_c"] / one.params) ** p["alpha_N"]
        # Where the loss is all but that of convergence the bound is anything.
        if excess <= evidence.noise_level * one.loss:
            continue
        batch = one.run.spec.batch_tokens
        stop = least_steps(
            np.array([float(one.step)]), np.array([one.loss]), batch, evidence.critical_batch
        )
        bound = p["S_c"] / excess ** (1 / p["alpha_S"])
        found.append(Stop(one, excess, float(stop[0]), float(bound)))
    return found

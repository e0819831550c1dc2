"""The grid of sizes and data sets: its cells, the reference of each size, where runs stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from scalelab.laws import Array
from scalelab.studies.analysis.attempt import Attempt
from scalelab.studies.analysis.steps_law import least_steps
from scalelab.studies.evidence import Evidence
from scalelab.studies.subsets import Limited, Lowest

NO_LIMIT = 1e15
"""D of the reference: the trunk never sees a token twice."""


@dataclass(frozen=True)
class Grid:
    """Cells of the grid, and the reference of each size: its trunk, in all that follows."""

    cells: Sequence[Limited]
    reference: Mapping[int, Lowest] = field(default_factory=dict)

    @cached_property
    def known(self) -> list[Limited]:
        """Cells that had turned, or trained as long as the trunk, and whose size has a reference.

        Others show what their training came to and not their data set; that they were ended is
        known from their sizes beforehand and not from their losses.
        """
        return [one for one in self.cells if one.turned and one.params in self.reference]

    @cached_property
    def least(self) -> dict[int, float]:
        """L(N, inf) by N."""
        return {params: lowest.loss for params, lowest in self.reference.items()}

    def columns(self) -> tuple[Array, Array, Array, Array]:
        """N, D, L(N, D) and L(N, inf) of the known cells."""
        rows = [(one.params, one.unique, one.loss, self.least[one.params]) for one in self.known]
        n, d, loss, least = np.array(rows, dtype=float).reshape(-1, 4).T
        return n, d, loss, least

    def table(self) -> pl.DataFrame:
        """For Kaplan's law: the cells, and each size's reference at data without limit."""
        rows = [(one.run.spec.run, one.params, float(one.unique), one.loss) for one in self.known]
        sizes = sorted({one.params for one in self.known})
        rows += [(f"unlimited-{n}", n, NO_LIMIT, self.least[n]) for n in sizes]
        columns = ("run", "params", "tokens", "loss")
        frame = pl.DataFrame(rows, schema=list(columns), orient="row") if rows else pl.DataFrame()
        # All runs of a size begin with the same parameters: what is luck in one is in all.
        return frame if not rows else frame.with_columns(pl.col("params").alias("trunk"))


@dataclass(frozen=True)
class Stop:
    """Where a run was stopped and how early it could have been, in steps S_min."""

    cell: Limited
    stop: float
    bound: float


def stops_of(grid: Grid, steps: Attempt, evidence: Evidence) -> list[Stop]:
    """Equation 5.7, S_stop >= S_c / [L(N, D) - L(N, inf)]^(1 / alpha_S), of every known cell.

    The reference is the trunk, whose loss is not yet L(N, inf): it still has
    (S_c / S)^alpha_S to fall from its own last step S, by the law whose S_c and alpha_S the bound
    takes. So L(N, inf) is the trunk's loss less that. The law's own (N_c / N)^alpha_N would put
    how it misses a size's level into the bound. (measured: 12 runs on books; the bound was within
    a factor of 1.5 of the step at which the trunk itself reached the loss)
    """
    if steps.fit is None:
        return []
    p = steps.fit.values
    found = []
    for one in grid.known:
        trunk, batch = grid.reference[one.params], one.run.spec.batch_tokens
        at = np.array([float(one.step), float(trunk.step)])
        loss = np.array([one.loss, trunk.loss])
        stop, end = least_steps(at, loss, batch, evidence.critical_batch)
        above = one.loss - trunk.loss + (p["S_c"] / end) ** p["alpha_S"]
        if above > 0:
            found.append(Stop(one, float(stop), float(p["S_c"] / above ** (1 / p["alpha_S"]))))
    return found

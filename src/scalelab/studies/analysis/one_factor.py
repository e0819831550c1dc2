"""Laws in one factor: through runs that differ in it alone, and of data alone in the joint form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scalelab.studies.analysis.attempt import attempt, line_through
from scalelab.studies.analysis.extent import LEAST_SETS, fit_extent
from scalelab.studies.analysis.frontier_exponents import union
from scalelab.studies.conclusion import Check, Finding, Number, Series
from scalelab.studies.evidence import Evidence
from scalelab.studies.subsets import Limited, references
from scalelab.units import format_count

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

SHORT = 2.0
"""D_0, as many tokens as cost as much as the size does, over the median data set: below it less
than two thirds of alpha_D show at the median, and the rest is what equation 1.5 makes of them."""


class Slice:
    """A law in one variable through runs: with and without a floor."""

    def __init__(self, column: str, runs: pl.DataFrame, evidence: Evidence) -> None:
        """runs: a run table with that column."""
        from scalelab.laws import get_law

        # Each run counts for itself: with one run a size there is nothing that they share.
        options = {
            "estimator": "least-squares",
            "clusters": "run",
            "level": evidence.level,
            "seed": evidence.seed,
        }
        self.column, self.runs = column, runs
        self.bare = attempt(get_law("power-no-floor", column), runs, **options)
        self.floor = attempt(get_law("power", column), runs, **options)

    def numbers(self, what: str) -> dict[str, Number]:
        """Exponents with and without a floor, and the floor."""
        key = f"alpha_{self.column}"
        wanted = (
            (key, self.bare, "alpha", "", f"exponent {what}, without a floor"),
            (f"{key}_above_floor", self.floor, "alpha", "", f"exponent {what}, above a floor"),
            (f"floor_{self.column}", self.floor, "E", "nats/token", f"the floor {what}"),
        )
        found = {}
        for name, one, parameter, unit, meaning in wanted:
            estimate = one.parameter(parameter)
            if estimate is not None:
                found[name] = Number(estimate, unit, meaning)
        return found

    def series(self) -> list[Series]:
        """The law as a line, with and without its floor."""
        found = []
        for label, one, mark in (
            ("power law", self.bare, "line"),
            ("with a floor", self.floor, "dashed"),
        ):
            if one.fit is not None:
                low, high, _ = one.fit.ranges[self.column]
                x, y = line_through(one, self.column, low, high)
                found.append(Series(x.tolist(), y.tolist(), mark, label))  # type: ignore[arg-type]
        return found


class ShortData:
    """Equation 1.5 through the data sets of one size and its trunk, which has data to spare.

    The trunk is not converged, so that the size seems to cost more than it does and the data less:
    this alpha_D is too large, if anything. A bare power law, which the paper fits to a size that
    costs next to nothing, finds too little wherever the size does cost something. The exponent
    lies somewhere in the two.
    """

    def __init__(self, cells: Sequence[Limited], evidence: Evidence) -> None:
        """cells: runs on data sets, all of one size of model."""
        spare = {params: lowest.loss for params, lowest in references(evidence.trunks).items()}
        self.cells = cells
        self.fitted = [one for one in cells if one.turned and one.params in spare]
        self.law = fit_extent(
            self.fitted, spare, evidence.noise_level, evidence.level, evidence.seed
        )
        self.bare = Slice("unique_tokens", self.table(), evidence)
        self.sets = [one.unique * evidence.bytes_per_token for one in self.fitted]

    @property
    def equal(self) -> Estimate | None:
        """D_0, tokens that cost as much as the size does."""
        return None if self.law is None else self.law.equal_data(self.fitted[0].params)

    @property
    def range(self) -> str:
        """The data sets in words."""
        return f"{format_count(self.sets[0])} to {format_count(self.sets[-1])} bytes"

    def finding(self, check: Check) -> Finding:
        """The exponent, where most of the data sets are short enough to show it."""
        bare = self.bare.bare.parameter("alpha")
        if self.law is None or self.equal is None or bare is None:
            why = (
                f"fewer than {LEAST_SETS} data sets whose runs had turned and whose size has its "
                "trunk, the reference"
            )
            return Finding(check, None, why)
        middle = float(np.median([one.unique for one in self.fitted]))
        if not self.equal.value > SHORT * middle:
            why = (
                f"data sets of {self.range}, no dropout, are not so small that data alone is "
                f"short: {self.equal} tokens cost as much as the size does, and their median is "
                f"{format_count(middle)}"
            )
            return Finding(check, None, why)
        return Finding(check, union(bare, self.law.exponent_of_data))

    def table(self) -> pl.DataFrame:
        """Runs that had turned, as a run table over unique_tokens."""
        runs = [one for one in self.cells if one.turned]
        return pl.DataFrame(
            {
                "run": [one.run.spec.run for one in runs],
                "unique_tokens": [float(one.unique) for one in runs],
                "loss": [one.loss for one in runs],
            }
        )


def at_most_tokens(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs of a run table with the most tokens."""
    return runs if runs.is_empty() else runs.filter(pl.col("tokens") == runs["tokens"].max())

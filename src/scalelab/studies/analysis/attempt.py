"""A fit that may not be possible: the fit, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelab.errors import FitError
from scalelab.laws import Array, Law
from scalelab.studies.conclusion import Check, Finding

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fitting import Estimate, Fit


@dataclass(frozen=True)
class Attempt:
    """fit: None where the runs do not allow it, and why says so."""

    fit: Fit | None
    why: str = ""

    def parameter(self, name: str) -> Estimate | None:
        """A parameter with its interval."""
        return None if self.fit is None else self.fit.parameters[name]

    def derived(self, name: str) -> Estimate | None:
        """A number that follows from the parameters, with its interval."""
        return None if self.fit is None else self.fit.derived[name]

    def of(self, formula: Callable[[dict[str, Array]], Array], level: float) -> Estimate | None:
        """A formula of the parameters, by name (k,), with the interval of its draws."""
        if self.fit is None:
            return None
        from scalelab.fitting.result import estimate

        names = self.fit.law.names
        with np.errstate(all="ignore"):  # a draw may leave where the formula is defined
            point = formula({name: np.array([self.fit.values[name]]) for name in names})
            draws = formula({name: self.fit.draws[:, j] for j, name in enumerate(names)})
        if not np.isfinite(point[0]) or np.isnan(draws).all():
            return None
        return estimate(float(point[0]), draws, level)

    def finding(self, check: Check, estimate: Estimate | None) -> Finding:
        """The check with a number of this fit."""
        return Finding(check, estimate, self.why or "the fit says nothing about it")


def attempt(law: Law | str, table: pl.DataFrame, **options: Any) -> Attempt:
    """Fit a law to a table, as `scalelab.fitting.fit` does; what cannot be fitted says why."""
    from scalelab.fitting import fit

    try:
        return Attempt(fit(law, table, **options))
    except FitError as error:
        return Attempt(None, str(error))


def line_through(found: Attempt, column: str, low: float, high: float) -> tuple[Array, Array]:
    """x and the fitted value at 60 places from low to high, for a law in that column alone."""
    assert found.fit is not None
    x = np.geomspace(low, high, 60)
    inputs: dict[str, Any] = {column: x}
    return x, found.fit.predict(**inputs).value

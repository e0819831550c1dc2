"""Laws fitted to trunks' curves: of size and steps, or of size and tokens.

L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S          (equation 5.6 of the paper)
L(N, S_min) = E + A / N^alpha + B / S_min^beta                   (the same with a floor)
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Fit, fit
from scalelab.laws import Array, Law, Parameter, custom_law, get_law
from scalelab.studies.evidence import Evidence

NO_FLOOR = get_law("kaplan-steps")
_SLOPES = (0.05, 0.12, 0.25, 0.4, 0.7, 1.1)
WITH_FLOOR: Law = custom_law(
    "E + A / N^alpha + B / steps_min^beta",
    (
        Parameter("E", "floor", 0.0, np.inf),
        Parameter("A", "coefficient of size", 0.0, np.inf, log=True),
        Parameter("alpha", "exponent of size", 0.001, 10.0, open=True, grid=_SLOPES),
        Parameter("B", "coefficient of steps", 0.0, np.inf, log=True),
        Parameter("beta", "exponent of steps", 0.001, 10.0, open=True, grid=_SLOPES),
    ),
    inputs=("params", "steps_min"),
    name="steps-with-floor",
)
FEWEST_SIZES = 4
DRAWS = 400


def through_trunks(
    law: Law, points: pl.DataFrame, evidence: Evidence, draws: int = DRAWS
) -> Fit | None:
    """A law through trunks' curves, None where there are too few or its inputs are not known.

    points: by `analysis.trunk_curves`. A curve strays from its law slowly, all its
    points together: the wild bootstrap turns whole trunks round, whatever the correlation within
    them.
    """
    if points["params"].n_unique() < FEWEST_SIZES or not {*law.inputs} <= {*points.columns}:
        return None
    try:
        return fit(
            law,
            points,
            estimator="least-squares",
            clusters="trunk",
            intervals="wild",
            draws=draws,
            level=evidence.level,
            seed=evidence.seed,
        )
    except FitError:
        return None


def values_of(found: Fit, name: str) -> Array:
    """A parameter at the fit and at its draws, (1 + k,)."""
    return np.concatenate([[found.values[name]], found.draws[:, found.law.names.index(name)]])

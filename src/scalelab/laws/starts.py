"""Where searches start: linear coefficients solved out over a grid of the other parameters."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import SpecError
from scalelab.laws.dual import Array
from scalelab.laws.law import Law

_SMALLEST = 1e-9  # of what a coefficient adds, relative to what the largest does


def starts_of(law: Law, inputs: tuple[Array, ...], log_response: Array) -> Array:
    """Coordinates to start from, (g, p), inside the law's bounds.

    inputs: as `Law.formula` takes them. log_response: (n,).
    """
    if law.starts is not None:
        found = law.starts(law.namespace(inputs), log_response)
    else:
        found = projected(law, inputs, log_response, law.grid(inputs))
    if not len(found):
        raise SpecError(_nowhere(law, inputs))
    return np.asarray(np.clip(found, *law.bounds))


def _nowhere(law: Law, inputs: tuple[Array, ...]) -> str:
    """Why there is no start: the run at which the law is finite under no parameters tried."""
    theta = np.zeros((1, len(law.names)))
    points = law.grid(inputs)
    if len(points):
        theta = np.zeros((len(points), len(law.names)))
        theta[:, [j for j, name in enumerate(law.names) if name not in law.linear]] = points
    with np.errstate(all="ignore"):
        finite = np.asarray(np.isfinite(law.log_value(theta, inputs)).any(axis=0))
    flat = [
        (name, values) for name, values in zip(law.inputs, inputs, strict=True) if values.ndim == 1
    ]
    if finite.all() or not flat:
        return f"law {law.name} says nowhere to start from: give its parameters grids."
    place = ", ".join(
        f"{name} = {values[~finite][0] if name in law.raw else np.exp(values[~finite][0]):g}"
        for name, values in flat
    )
    return (
        f"{law.equation!r} is not a positive number at {(~finite).sum()} of {len(finite)} runs, "
        f"whatever its parameters (one has {place}): is there a logarithm or a root of a negative "
        "number? Mend the formula, or leave these runs out."
    )


def projected(law: Law, inputs: tuple[Array, ...], log_response: Array, points: Array) -> Array:
    """One start for each point (g, q) of the parameters that are not linear, (g, p).

    The linear coefficients are those of least squares of the relative errors, none negative that
    may not be (variable projection: Golub and Pereyra 1973).
    """
    linear = [j for j, name in enumerate(law.names) if name in law.linear]
    others = [j for j in range(len(law.names)) if j not in linear]
    theta = np.empty((len(points), len(law.names)))
    theta[:, others] = points
    # Coefficients 1 where the coordinate is a logarithm, else 0: a difference might be negative.
    theta[:, linear] = 0.0
    ones = [i for i, j in enumerate(linear) if law.parameters[j].log]
    with np.errstate(all="ignore"):
        log_value, slopes = law.formula(theta, inputs)
        relative = np.exp(log_value - log_response)  # value over measured
        features = np.swapaxes(slopes[:, linear], 1, 2) * relative[:, :, None]
    # Less what is left when every coefficient is zero: the share of parameters that are held.
    target = 1.0 - (relative - features[:, :, ones].sum(axis=2))
    usable = np.isfinite(features).all(axis=(1, 2)) & np.isfinite(target).all(axis=1)
    theta, features, target = theta[usable], features[usable], target[usable]
    signed = np.array([law.parameters[j].low < 0 for j in linear], dtype=bool)
    coefficients = non_negative(features, target, signed)
    some = above_zero(coefficients, features)
    for i, j in enumerate(linear):
        theta[:, j] = np.log(some[:, i]) if law.parameters[j].log else coefficients[:, i]
    return np.asarray(theta)


def above_zero(coefficients: Array, rows: Array) -> Array:
    """Coefficients (g, m) none of which is zero, as their logarithms must exist.

    Small is what adds little: coefficients of rows (g, n, m) in other units do not compare.
    """
    scale = np.abs(rows).max(axis=1) + 1e-300
    adds = coefficients * scale
    floor = _SMALLEST * np.abs(adds).max(axis=1, initial=0.0, keepdims=True) + 1e-300
    return np.asarray(np.maximum(adds, floor) / scale)


def non_negative(rows: Array, target: Array, signed: NDArray[np.bool_] | None = None) -> Array:
    """Least squares of target (g, n) by rows (g, n, m) with coefficients (g, m) that are >= 0.

    Exact, by trying every subset of the columns (there are at most five). signed: columns whose
    coefficient may be negative.
    """
    g, _, m = rows.shape
    free = np.zeros(m, dtype=bool) if signed is None else signed
    scale = np.abs(rows).max(axis=1) + 1e-300
    rows = rows / scale[:, None, :]
    gram = np.swapaxes(rows, 1, 2) @ rows
    moment = np.einsum("gnm,gn->gm", rows, target)
    best, coefficients = np.full(g, np.inf), np.zeros((g, m))
    for count in range(m, 0, -1):
        for subset in combinations(range(m), count):
            pick = list(subset)
            block = gram[:, pick][:, :, pick]
            ridge = 1e-12 * np.trace(block, axis1=1, axis2=2)[:, None, None] * np.eye(count)
            found = np.linalg.solve(block + ridge, moment[:, pick, None])[:, :, 0]
            misfit = -(found * moment[:, pick]).sum(axis=1)
            better = ((found > 0) | free[pick]).all(axis=1) & (misfit < best)
            best[better] = misfit[better]
            coefficients[better] = 0.0
            coefficients[np.ix_(better, pick)] = found[better]
    return np.asarray(coefficients / scale)

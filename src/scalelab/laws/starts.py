"""Where searches start: linear coefficients solved out over a grid of the other parameters."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import SpecError
from scalelab.laws.dual import Array
from scalelab.laws.law import Law

_BLOCK = 2**19  # numbers of the derivatives worked on at once
_LARGEST = 1e150  # of a slope: its square must be finite
_SMALLEST = 1e-9  # of what a coefficient adds, relative to what the largest does


def starts_of(law: Law, inputs: tuple[Array, ...], target: Array) -> Array:
    """Coordinates to start from, (g, p), inside the law's bounds.

    inputs: as `Law.formula` takes them. target: the response on the law's scale, (n,).
    """
    if law.starts is not None:
        found = law.starts(law.namespace(inputs), target)
    else:
        found = projected(law, inputs, target, law.grid(inputs))
    if not len(found):
        raise SpecError(nowhere(law, inputs, law.grid(inputs)))
    return np.asarray(np.clip(found, *law.bounds))


def nowhere(law: Law, inputs: tuple[Array, ...], points: Array) -> str:
    """Why there is no start: the run at which the law is finite under no parameters tried.

    points: coordinates (g, q) of the parameters that are not linear.
    """
    # A logarithm of 0, and a value of 1, for what the law is linear in.
    plain = np.array([0.0 if parameter.log else 1.0 for parameter in law.parameters])
    theta = np.tile(plain, (max(1, len(points)), 1))
    if len(points):
        theta[:, [j for j, name in enumerate(law.names) if name not in law.linear]] = points
    with np.errstate(all="ignore"):
        finite = np.asarray(np.isfinite(law.log_value(theta, inputs)).any(axis=0))
    flat = [
        (name, values) for name, values in zip(law.inputs, inputs, strict=True) if values.ndim == 1
    ]
    if finite.all() or not flat:
        return (
            f"the search found no parameters at which {law.equation!r} is a number at every run. "
            "Give its parameters bounds (--bound NAME=LOW:HIGH) or values to start from."
        )
    place = ", ".join(
        f"{name} = {values[~finite][0] if name in law.raw else np.exp(values[~finite][0]):g}"
        for name, values in flat
    )
    kind = "positive number" if law.scale == "log" else "number"
    return (
        f"{law.equation!r} is not a {kind} at {(~finite).sum()} of {len(finite)} runs, "
        f"whatever its parameters (one has {place}): is there a logarithm or a root of a negative "
        "number? Correct the formula, or leave these runs out."
    )


def project_values(law: Law, inputs: tuple[Array, ...], target: Array, points: Array) -> Array:
    """One start for each point of a user's own law, (g, p), in the law's coordinates.

    As `projected`, for values (g, q) of the parameters that are not linear. The coefficients are
    those of least squares of the relative errors; on a linear scale, of the errors.
    """
    linear = [j for j, name in enumerate(law.names) if name in law.linear]
    values = np.zeros((len(points), len(law.names)))
    values[:, [j for j in range(len(law.names)) if j not in linear]] = points
    plain = law.over_values()
    response = law.off_scale(target)
    size = np.abs(response) if law.scale == "log" else np.ones(len(response))
    signed = np.array([law.parameters[j].low < 0 for j in linear], dtype=bool)
    logs = np.array([law.parameters[j].log for j in linear], dtype=bool)
    block = max(64, _BLOCK // (len(response) * len(law.names)))
    parts = [np.empty((0, len(law.names)))]
    for start in range(0, len(values), block):
        rows = values[start : start + block]
        with np.errstate(all="ignore"):
            value, slopes = plain.value_formula(rows, inputs)
            features = np.swapaxes(slopes[:, linear], 1, 2) / size[:, None]
            rest = (response - value) / size
            usable = np.isfinite(features).all(axis=(1, 2)) & np.isfinite(rest).all(axis=1)
            usable &= np.abs(features).max(axis=(1, 2), initial=0.0) < _LARGEST
        rows, features, rest = rows[usable], features[usable], rest[usable]
        if linear and len(rows):
            found = non_negative(features, rest, signed)
            rows[:, linear] = np.where(logs, above_zero(np.maximum(found, 0), features), found)
        parts.append(rows)
    theta = law.coordinates(np.concatenate(parts))
    return np.asarray(np.clip(theta[np.isfinite(theta).all(axis=1)], *law.bounds))


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
    with np.errstate(over="ignore"):  # of what adds nothing at all
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
            trace = np.trace(block, axis1=1, axis2=2)[:, None, None]
            ridge = np.maximum(1e-12 * trace, 1e-300) * np.eye(count)
            found = np.linalg.solve(block + ridge, moment[:, pick, None])[:, :, 0]
            with np.errstate(over="ignore", invalid="ignore"):
                misfit = -(found * moment[:, pick]).sum(axis=1)
            better = ((found > 0) | free[pick]).all(axis=1) & (misfit < best)
            best[better] = misfit[better]
            coefficients[better] = 0.0
            coefficients[np.ix_(better, pick)] = found[better]
    with np.errstate(over="ignore"):
        return np.asarray(coefficients / scale)

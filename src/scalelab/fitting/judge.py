"""Is the optimum of a user's own law to be believed? Comparisons that need no trust in the search.

Two yardsticks stand beside the fit. A plain law of the registry over the same inputs, where there
is one. And the neighbours: how far each run lies from a plane through the runs nearest to it, which
is the noise that the table shows whatever the law.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from scalelab.errors import FitError, Notice, SpecError
from scalelab.fitting.estimator import Estimator, Optimum, optimise
from scalelab.fitting.observations import Observations
from scalelab.laws import Array, Law, get_law
from scalelab.laws.power import power

_BETTER = 3.0  # times less scatter than the law: several times better (assumed)
_EXACT = 1e-6  # scatter below which a law describes runs exactly
_MOST_RUNS = 400  # looked at for their neighbours

_SEVERE = (
    *("worse-than-plain", "far-from-neighbours", "value-outside-interval", "not-converged"),
    *("not-described", "collinear"),
)
_SEVERE_OF_FORMULAS = ("starts-disagree", "at-bound")


def divided(law: Law, warnings: Sequence[Notice]) -> tuple[list[Notice], list[Notice]]:
    """The notices under which the values of a fit may be wrong, the gravest first; the others."""
    codes = (*_SEVERE, *(_SEVERE_OF_FORMULAS if law.written is not None else ()))
    severe = [notice for code in codes for notice in warnings if notice.code == code]
    return severe, [notice for notice in warnings if notice not in severe]


def judge(observed: Observations, optimum: Optimum) -> Iterator[Notice]:
    """Notices on the optimum of a user's own law; none for a law of the registry."""
    law = observed.law
    if law.written is None:
        return
    for parameter, value in zip(law.parameters, law.values(optimum.theta), strict=True):
        if parameter.meaning == "coefficient" and value < 0:
            yield Notice(
                "negative-coefficient",
                f"{parameter.name} is {value:.3g}, below zero. Above zero the formula describes "
                "the runs clearly worse. Check the sign of its term, or bound it: "
                f"--bound {parameter.name}=0:inf.",
            )
    if len(observed.target) < len(law.names) + 2:
        return
    scatter = _scatter(optimum.residual, len(law.names))
    if scatter < _EXACT:
        return
    plain = _plain(observed)
    if plain is not None:
        name, other = plain
        if scatter > _BETTER * other:
            yield Notice(
                "worse-than-plain",
                f"the runs scatter {shown(law, scatter)} about this formula and "
                f"{shown(law, other)} about the law {name}, which has the same inputs. The "
                "formula does not describe these runs, or the search missed its optimum. Do not "
                f"use the values. Fit --law {name}, or give the parameters bounds (--bound).",
            )
            return
    near = _neighbours(observed)
    if near is not None and scatter > _BETTER * near:
        yield Notice(
            "far-from-neighbours",
            f"the runs scatter {shown(law, scatter)} about this formula, and {shown(law, near)} "
            "about their nearest neighbours in the table. The formula does not describe these "
            "runs, or the search missed its optimum. Do not use the values. Give the parameters "
            "bounds (--bound), or try another formula.",
        )


def outside(law: Law, theta: Array, ends: Array) -> Iterator[Notice]:
    """Parameters whose value lies outside its own interval. ends: (2, p), in coordinates."""
    low, high = law.bounds
    room = 1e-9 * (np.abs(ends[1] - ends[0]) + np.abs(theta))
    wrong = ((theta < ends[0] - room) | (theta > ends[1] + room)) & (theta > low) & (theta < high)
    if wrong.any():
        names = ", ".join(name for name, out in zip(law.names, wrong, strict=True) if out)
        yield Notice(
            "value-outside-interval",
            f"the value of {names} lies outside its own interval: most refits of the drawn runs "
            "end elsewhere. The runs do not fix these values. Fix a parameter (--fix), or use "
            "--profile.",
        )


def shown(law: Law, scatter: float) -> str:
    """A scatter in words: a share of the response, or its own units on a linear scale."""
    return f"{scatter:.2%}" if law.scale == "log" else f"{scatter:.3g}"


def _scatter(residual: Array, parameters: int) -> float:
    """Robust standard deviation of residuals, corrected for the parameters fitted."""
    n = len(residual)
    return float(1.4826 * np.median(np.abs(residual)) * np.sqrt(n / max(n - parameters, 1)))


def _plain(observed: Observations) -> tuple[str, float] | None:
    """The plain law over the same inputs, and the scatter of the runs about it."""
    inputs = observed.law.inputs
    if observed.law.scale != "log" or set(inputs) & set(observed.law.raw):
        return None
    if set(inputs) == {"params", "tokens"}:
        law = get_law("chinchilla")
    elif len(inputs) == 1:
        law = power(inputs[0])
    else:
        return None
    columns = tuple(observed.inputs[inputs.index(name)] for name in law.inputs)
    if len(observed.target) < len(law.names) + 2:
        return None
    other = replace(
        observed, law=replace(law, response=observed.law.response), inputs=columns, std=None
    )
    try:
        best = optimise(other, Estimator("huber"), thin=2)
    except (FitError, SpecError):
        return None
    name = law.name if len(inputs) == 2 else f"{law.name} --over {inputs[0]}"
    return name, _scatter(best.residual, len(law.names))


def _neighbours(observed: Observations) -> float | None:
    """Scatter of the runs about planes through their nearest neighbours; None where too few.

    A run is predicted by a weighted plane through the others nearest to it in the ranks of the
    inputs; the error of the prediction is brought to that of one run.
    """
    columns = [c for c in observed.inputs if c.ndim == 1 and np.ptp(c) > 0]
    n, d = len(observed.target), len(columns)
    count = 2 * d + 2
    if not d or n < 3 * count:
        return None
    places = np.stack([(c - c.mean()) / c.std() for c in columns], axis=1)
    rows = np.unique(np.linspace(0, n - 1, min(n, _MOST_RUNS)).astype(int))
    errors = []
    for i in rows:
        distance = np.sqrt(((places - places[i]) ** 2).sum(axis=1))
        distance[i] = np.inf
        nearest = np.argsort(distance, kind="stable")[:count]
        weight = np.sqrt(
            1 / (1 + (distance[nearest] / (np.median(distance[nearest]) + 1e-12)) ** 2)
        )
        plane = np.column_stack([np.ones(count), places[nearest] - places[i]]) * weight[:, None]
        inverse = np.linalg.pinv(plane, rcond=1e-6)
        height = inverse[0] * weight  # the prediction at the run, as a sum over its neighbours
        error = observed.target[i] - height @ observed.target[nearest]
        errors.append(error / np.sqrt(1 + (height**2).sum()))
    return float(1.4826 * np.median(np.abs(errors)))

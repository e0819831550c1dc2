"""A user's own law: a formula and, where wanted, its parameters; everything else follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.errors import SpecError
from scalelab.expressions import parse
from scalelab.laws.dual import Array, jacobian, variables
from scalelab.laws.law import Law, Parameter

_ALIASES = {"N": "params", "D": "tokens", "C": "flops", "S": "steps", "U": "unique_tokens"}
_COLUMNS = (
    *("params", "tokens", "flops", "steps", "unique_tokens", "batch_tokens", "lr", "position"),
    *("n_layer", "d_model", "d_ff", "n_head", "context", "vocabulary"),
)
EXPONENTS = (0.05, 0.12, 0.25, 0.4, 0.7, 1.1)
"""Where the search starts for a parameter that the law is not linear in, unless it says itself."""


def custom_law(
    formula: str | Callable[[SimpleNamespace, SimpleNamespace], Any],
    parameters: Sequence[Parameter | str] = (),
    *,
    inputs: Sequence[str] = (),
    name: str = "custom",
    response: str = "loss",
    reference: str = "given by the user",
) -> Law:
    """A law from its formula.

    formula: text such as ``E + A / N^alpha + B / D^beta`` (the language of
    `scalelab.expressions`), or a function (p, x) -> response in plain numpy, where p has
    the parameters and x the inputs by name. parameters: names, or `Parameter` objects where bounds
    or starts are to be other than: above zero, in the logarithm for a coefficient, .001 to 10 for
    what the formula is not linear in. Text needs none: what is not an input is a parameter.
    inputs: columns of the run table; text knows N, D, C, S, U, params, tokens, flops and the other
    columns of the schema by themselves. response: the column described.

    Raises SpecError when the text cannot be read, or nothing in it is an input or a parameter.
    """
    if isinstance(formula, str):
        expression = parse(formula, (*_ALIASES, *_COLUMNS, *inputs))
        names = expression.names
        known = {**_ALIASES, **{c: c for c in (*_COLUMNS, *inputs)}}
        aliases = {n: known[n] for n in names if n in known}
        given = [p if isinstance(p, str) else p.name for p in parameters]
        aliases = {n: column for n, column in aliases.items() if n not in given}
        found = [n for n in names if n not in aliases]
        if response in names:
            raise SpecError(f"formula {formula!r} describes {response} and cannot contain it.")
        inputs = tuple(dict.fromkeys(aliases.values()))
        if unused := [n for n in given if n not in found]:
            raise SpecError(f"{unused[0]!r} is not in the formula {formula!r}.")
        by_name = {p if isinstance(p, str) else p.name: p for p in parameters}
        parameters = [by_name.get(n, n) for n in found]
        equation = formula

        def evaluated(p: SimpleNamespace, x: SimpleNamespace) -> Any:
            scope = {n: getattr(x, column) for n, column in aliases.items()}
            return expression.evaluate({**scope, **{n: getattr(p, n) for n in found}})

        response_of: Callable[[SimpleNamespace, SimpleNamespace], Any] = evaluated

    else:
        equation = getattr(formula, "__name__", "a function")
        response_of = formula
    if not inputs or not parameters:
        raise SpecError(
            f"law {name}: {equation!r} has inputs {', '.join(inputs) or 'none'} and parameters "
            f"{', '.join(str(p) for p in parameters) or 'none'}; at least one of each is needed. "
            f"Inputs known by themselves are {', '.join((*_ALIASES, *_COLUMNS))}."
        )
    law = Law(
        name=name,
        equation=f"{'L' if response == 'loss' else response} = {equation}",
        inputs=tuple(inputs),
        parameters=tuple(_positive(p) if isinstance(p, str) else p for p in parameters),
        log_response=_in_coordinates(response_of, tuple(inputs), parameters),
        reference=reference,
        response=response,
        text=formula if isinstance(formula, str) else "",
    )
    _check_effect(law, response_of)
    return _completed(law, [p for p in parameters if isinstance(p, str)], response_of)


def _positive(name: str) -> Parameter:
    return Parameter(name, "", 0.0, np.inf)


def _in_coordinates(
    response_of: Callable[[SimpleNamespace, SimpleNamespace], Any],
    inputs: tuple[str, ...],
    parameters: Sequence[Parameter | str],
) -> Callable[[SimpleNamespace, SimpleNamespace], Any]:
    """The user's formula over values, as the formula over coordinates that `Law` wants."""
    names = [p if isinstance(p, str) else p.name for p in parameters]

    def log_response(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        values = {
            name: getattr(p, name) if hasattr(p, name) else np.exp(getattr(p, f"log_{name}"))
            for name in names
        }
        columns = {name: np.exp(getattr(x, f"log_{name}")) for name in inputs}
        return np.log(response_of(SimpleNamespace(**values), SimpleNamespace(**columns)))

    return log_response


def _completed(
    law: Law, named: Sequence[str], response_of: Callable[[SimpleNamespace, SimpleNamespace], Any]
) -> Law:
    """Which parameters are linear, found by moving them; and what their kind asks for."""
    linear = _linear(law, response_of)
    parameters = []
    for parameter in law.parameters:
        if parameter.name in named and parameter.name in linear:
            constant, adds = _role(law, response_of, parameter.name)
            meaning = "a constant term" if constant else "a coefficient"
            # What is subtracted starts at 0, where the response is positive: no logarithm of it.
            parameter = replace(parameter, meaning=meaning, log=adds and not constant)
        elif parameter.name in named:
            parameter = Parameter(
                *(parameter.name, "an exponent, or another place that is not linear"),
                *(0.001, 10.0),
                open=True,
                grid=EXPONENTS,
            )
        elif parameter.name not in linear and not parameter.grid:
            low, high = max(parameter.low, 1e-3), min(parameter.high, 1e3)
            starts = np.geomspace(low, high, 7)[1:-1] if low < high else np.array([parameter.low])
            starts = np.log(starts) if parameter.log else starts
            parameter = replace(parameter, grid=tuple(float(s) for s in starts))
        parameters.append(parameter)
    return replace(
        law,
        parameters=tuple(parameters),
        linear=linear,
        log_response=_in_coordinates(response_of, law.inputs, law.parameters),
    )


_PROBES = 16
_Response = Callable[[SimpleNamespace, SimpleNamespace], Any]


def _places(law: Law, response_of: _Response) -> tuple[Array, ...]:
    """Log inputs, (7,) each, at which the formula is looked at: the range where most is finite.

    A formula may hold for large inputs alone, as (N - 1e8)^alpha does, or for small ones.
    """
    generator = np.random.default_rng(3)
    theta = generator.uniform(0.1, 0.9, size=(_PROBES, len(law.names)))
    best: tuple[Array, ...] = ()
    most = -1.0
    for low, high in ((2.0, 12.0), (12.0, 22.0), (22.0, 32.0), (-8.0, 2.0), (32.0, 60.0)):
        inputs = tuple(generator.uniform(low, high, size=7) for _ in law.inputs)
        finite = float(np.isfinite(_slopes(law, response_of, theta, inputs)).mean())
        if finite > most:
            best, most = inputs, finite
    return best


def _linear(law: Law, response_of: _Response) -> tuple[str, ...]:
    """The parameters that the response is linear in together: greedily, in order."""
    generator = np.random.default_rng(0)
    inputs = _places(law, response_of)
    base = generator.uniform(0.1, 0.9, size=(_PROBES, len(law.names)))
    chosen: list[int] = []
    for j in range(len(law.names)):
        together = [*chosen, j]
        moved = base.copy()
        moved[:, together] *= generator.uniform(1.5, 3.0, size=(_PROBES, len(together)))
        first, second = (
            _slopes(law, response_of, theta, inputs)[:, together] for theta in (base, moved)
        )
        scale = np.abs(first).max(axis=(0, 2), keepdims=True)
        # A coefficient that its own slope does not depend on; nan, an invalid place, says no.
        with np.errstate(invalid="ignore"):
            if (np.abs(first - second) <= 1e-9 * scale).all():
                chosen.append(j)
    return tuple(law.names[j] for j in chosen)


def _check_effect(law: Law, response_of: _Response) -> None:
    """Refuse a formula that is nowhere finite, or that a parameter does not change.

    Only what no inputs could mend is refused here; a formula that is not finite at the runs of a
    table is refused by its fit, which names them.
    """
    generator = np.random.default_rng(2)
    inputs = _places(law, response_of)
    slopes = _slopes(
        law, response_of, generator.uniform(0.1, 0.9, (_PROBES, len(law.names))), inputs
    )
    if not np.isfinite(slopes).any():
        raise SpecError(
            f"{law.equation!r} is nowhere finite: is there a division by zero, or the logarithm of "
            "a negative number?"
        )
    for j, name in enumerate(law.names):
        told = slopes[:, j][np.isfinite(slopes[:, j])]
        if len(told) and (told == 0).all():
            raise SpecError(f"{law.equation!r}: {name} does not change it; leave it out.")


def _role(law: Law, response_of: _Response, name: str) -> tuple[bool, bool]:
    """Of a linear parameter: whether no input changes its slope, and whether that is positive."""
    generator = np.random.default_rng(1)
    inputs = _places(law, response_of)
    theta = generator.uniform(0.1, 0.9, size=(2, len(law.names)))
    slope = _slopes(law, response_of, theta, inputs)[:, law.names.index(name)]
    constant = np.ptp(slope, axis=1).max() <= 1e-9 * np.abs(slope).max()
    return bool(constant), bool((slope >= 0).all())


def _slopes(law: Law, response_of: _Response, theta: Array, log_inputs: tuple[Array, ...]) -> Array:
    """Derivatives of the response itself by the parameters' values, (k, p, n)."""
    p = SimpleNamespace(**dict(zip(law.names, variables(theta), strict=True)))
    columns = (np.exp(values) for values in log_inputs)
    x = SimpleNamespace(**dict(zip(law.inputs, columns, strict=True)))
    with np.errstate(all="ignore"):
        return jacobian(response_of(p, x), theta.shape[1], len(log_inputs[0]))[1]

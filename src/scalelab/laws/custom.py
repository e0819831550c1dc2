"""A user's own law: a formula and, where wanted, its parameters; everything else follows."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.errors import SpecError
from scalelab.expressions import SYMBOLS, parse
from scalelab.laws.dual import Array
from scalelab.laws.law import Law, Parameter, Written

_COLUMNS = (
    *("params", "tokens", "flops", "steps", "unique_tokens", "batch_tokens", "lr", "position"),
    *("n_layer", "d_model", "d_ff", "n_head", "context", "vocabulary"),
)


def custom_law(
    formula: str | Callable[[SimpleNamespace, SimpleNamespace], Any],
    parameters: Sequence[Parameter | str] = (),
    *,
    inputs: Sequence[str] = (),
    columns: Sequence[str] = (),
    name: str = "custom",
    response: str = "loss",
    reference: str = "given by the user",
) -> Law:
    """A law from its formula.

    A fit searches the parameters over ranges that follow from the formula and from the runs: see
    `scalelab.fitting.search`. A floor and a coefficient are positive unless a negative one
    describes the runs clearly better. Any other parameter may have any value.

    Parameters
    ----------
    formula : str or callable
        Text such as ``E + A / N^alpha + B / D^beta``. The left side may name the response:
        ``accuracy = a + b * log(C)``. Or a function ``(p, x) -> response`` in plain numpy, where p
        has the parameters and x the inputs by name.
    parameters : sequence of Parameter or str
        Needed for a function. Text needs none: what is not an input is a parameter. A `Parameter`
        object sets bounds, which limit the search, and values to start from.
    inputs : sequence of str
        Columns of the run table. Text knows the columns of the schema, and N, D, C, S and U.
    columns : sequence of str
        Further columns, such as all those of a table. A name in the text that is one of them is an
        input, unless it is a usual name of a parameter: the fit then asks which one is meant.
    name, reference : str
        For summaries.
    response : str
        The column that the law describes.

    Returns
    -------
    Law

    Raises
    ------
    SpecError
        The text cannot be read, nothing in it is an input or a parameter, or a parameter does not
        change it.
    """
    if isinstance(formula, str):
        response, body = _left_side(formula, response, (*inputs, *columns))
        known = {**SYMBOLS, **{c: c for c in (*_COLUMNS, *inputs, *columns)}}
        expression = parse(body, known)
        names = expression.names
        given = [p if isinstance(p, str) else p.name for p in parameters]
        taken = {n: known[n] for n in names if n in known and n not in given}
        found = [n for n in names if n not in taken]
        if response in names:
            raise SpecError(f"formula {formula!r} describes {response} and cannot contain it.")
        said = frozenset((*given, *inputs))
        inputs = tuple(dict.fromkeys(taken.values()))
        if unused := [n for n in given if n not in found]:
            raise SpecError(f"{unused[0]!r} is not in the formula {formula!r}.")
        by_name = {p if isinstance(p, str) else p.name: p for p in parameters}
        parameters = [by_name.get(n, n) for n in found]
        equation = body.strip()
        written = Written(expression.tree, taken, said)

        def evaluated(p: SimpleNamespace, x: SimpleNamespace) -> Any:
            scope = {n: getattr(x, column) for n, column in taken.items()}
            return expression.evaluate({**scope, **{n: getattr(p, n) for n in found}})

        response_of: _Response = evaluated

    else:
        equation = getattr(formula, "__name__", "a function")
        written = Written()
        response_of = formula
    if not inputs or not parameters:
        raise SpecError(
            f"law {name}: {equation!r} has inputs {', '.join(inputs) or 'none'} and parameters "
            f"{', '.join(str(p) for p in parameters) or 'none'}; at least one of each is needed. "
            f"Inputs known by themselves are {', '.join((*SYMBOLS, *_COLUMNS))}."
        )
    value = _over_coordinates(response_of, tuple(inputs), parameters)
    law = Law(
        name=name,
        equation=f"{'L' if response == 'loss' else response} = {equation}",
        inputs=tuple(inputs),
        parameters=tuple(_free(p) if isinstance(p, str) else p for p in parameters),
        log_response=lambda p, x: np.log(value(p, x)),
        value=value,
        written=written,
        reference=reference,
        response=response,
        text=formula if isinstance(formula, str) else "",
    )
    _check_effect(law)
    return replace(law, linear=linear_parameters(law))


def _left_side(formula: str, response: str, columns: Collection[str]) -> tuple[str, str]:
    """The response that a formula names on its left side, and its right side."""
    match = re.fullmatch(r"([^=<>!]+)=(?!=)(.*)", formula, re.DOTALL)
    if match is None or match[1].count("(") != match[1].count(")"):
        return response, formula
    name = match[1].strip()
    if name.lower() in ("l", "loss"):
        return response, match[2]
    if name not in columns and not re.fullmatch(r"`[^`]+`|[^\W\d][\w.]*", name):
        raise SpecError(
            f"formula {formula!r}: the left side is {name!r}, and one name is expected: the column "
            "that the law describes. Move the rest to the right side."
        )
    name = name.strip("`")
    return (name if name in columns else SYMBOLS.get(name, name)), match[2]


def _free(name: str) -> Parameter:
    return Parameter(name, "", -np.inf, np.inf)


def _over_coordinates(
    response_of: Callable[[SimpleNamespace, SimpleNamespace], Any],
    inputs: tuple[str, ...],
    parameters: Sequence[Parameter | str],
) -> Callable[[SimpleNamespace, SimpleNamespace], Any]:
    """The user's formula over values, as a formula over coordinates."""
    names = [p if isinstance(p, str) else p.name for p in parameters]

    def plain(owner: SimpleNamespace, name: str) -> Any:
        return (
            getattr(owner, name) if hasattr(owner, name) else np.exp(getattr(owner, f"log_{name}"))
        )

    def value(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        return response_of(
            SimpleNamespace(**{name: plain(p, name) for name in names}),
            SimpleNamespace(**{name: plain(x, name) for name in inputs}),
        )

    return value


_PROBES = 16
_RANGES = ((2.0, 12.0), (12.0, 22.0), (22.0, 32.0), (-8.0, 2.0), (32.0, 60.0), (-1.0, 1.0))
"""Of the logarithm of an input: where formulas are tried. One may hold for large inputs alone, as
(N - 1e8)^alpha does, or for small ones."""
_Response = Callable[[SimpleNamespace, SimpleNamespace], Any]


def linear_parameters(law: Law) -> tuple[str, ...]:
    """The parameters that the response is linear in together: greedily, in order."""
    assert law.written is not None
    if law.written.tree is None:
        return _linear_by_slopes(law)
    same = law.restrictions.tied.items()
    chosen: tuple[str, ...] = ()
    for name in law.names:
        together = {*chosen, name}
        together |= {tied for tied, other in same if other in together}
        if _degree(law.written.tree, together) <= 1:
            chosen += (name,)
    return chosen


def _degree(node: ast.expr, names: Collection[str]) -> int:
    """The degree of an expression in the names: 0, 1, or 2 for all that is not linear."""
    match node:
        case ast.Name(id=name):
            return int(name in names)
        case ast.UnaryOp(operand=operand):
            return _degree(operand, names)
        case ast.BinOp(left=left, op=op, right=right):
            one, two = _degree(left, names), _degree(right, names)
            match op:
                case ast.Add() | ast.Sub():
                    return max(one, two)
                case ast.Mult():
                    return min(one + two, 2)
                case ast.Div() if two == 0:
                    return one
            return 2 * (one + two > 0)
        case ast.Call(args=args):
            return 2 * any(_degree(argument, names) for argument in args)
    return 0


def _linear_by_slopes(law: Law) -> tuple[str, ...]:
    """The same of a function: a coefficient's slope does not depend on the coefficient."""
    generator = np.random.default_rng(0)
    inputs = max(
        (_inputs(law, ends) for ends in _RANGES),
        key=lambda x: np.isfinite(_slopes(law, _values(law), x)).mean(),
    )
    base = _values(law)
    chosen: list[int] = []
    for j in range(len(law.names)):
        together = [*chosen, j]
        moved = base.copy()
        moved[:, together] *= generator.uniform(1.5, 3.0, size=(_PROBES, len(together)))
        first, second = (_slopes(law, values, inputs)[:, together] for values in (base, moved))
        scale = np.abs(first).max(axis=(0, 2), keepdims=True)
        # nan, an invalid place, says no.
        with np.errstate(invalid="ignore"):
            if (np.abs(first - second) <= 1e-9 * scale).all():
                chosen.append(j)
    return tuple(law.names[j] for j in chosen)


def _check_effect(law: Law) -> None:
    """Refuse a formula that is finite nowhere, or that a parameter does not change anywhere.

    A formula that is not finite at the runs of a table is refused by its fit, which names them.
    """
    slopes = np.concatenate([_slopes(law, _values(law), _inputs(law, ends)) for ends in _RANGES])
    if not np.isfinite(slopes).any():
        raise SpecError(
            f"{law.equation!r} is nowhere finite: is there a division by zero, or the logarithm of "
            "a negative number?"
        )
    for j, name in enumerate(law.names):
        finite = slopes[:, j][np.isfinite(slopes[:, j])]
        if len(finite) and (finite == 0).all():
            raise SpecError(f"{law.equation!r}: {name} does not change it; leave it out.")


def _values(law: Law) -> Array:
    """Values of the parameters at which a formula is tried, (_PROBES, p)."""
    return np.random.default_rng(2).uniform(0.1, 0.9, size=(_PROBES, len(law.names)))


def _inputs(law: Law, ends: tuple[float, float]) -> tuple[Array, ...]:
    """Log inputs at which a formula is tried, (7,) each."""
    generator = np.random.default_rng(3)
    return tuple(generator.uniform(*ends, size=7) for _ in law.inputs)


def _slopes(law: Law, values: Array, log_inputs: tuple[Array, ...]) -> Array:
    """Derivatives of the response by the parameters' values, (k, p, n)."""
    with np.errstate(all="ignore"):
        return law.over_values().value_formula(values, log_inputs)[1]

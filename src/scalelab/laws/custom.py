"""A user's own law: a formula and, where wanted, its parameters; everything else follows."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.errors import SpecError
from scalelab.laws.dual import Array
from scalelab.laws.law import SYMBOLS, Law, Parameter, Written

_COLUMNS = (
    *("params", "tokens", "flops", "steps", "unique_tokens", "batch_tokens", "lr", "position"),
    *("n_layer", "d_model", "d_ff", "n_head", "context", "vocabulary"),
)
_FUNCTIONS: Mapping[str, np.ufunc] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "tanh": np.tanh,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "min": np.minimum,
    "max": np.maximum,
}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


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
        response, body = _left_side(formula, response)
        tree, names = _parse(body)
        known = {**SYMBOLS, **{c: c for c in (*_COLUMNS, *inputs)}}
        columns = {n: known[n] for n in names if n in known}
        given = [p if isinstance(p, str) else p.name for p in parameters]
        columns = {n: column for n, column in columns.items() if n not in given}
        found = [n for n in names if n not in columns]
        if response in names:
            raise SpecError(f"formula {formula!r} describes {response} and cannot contain it.")
        inputs = tuple(dict.fromkeys(columns.values()))
        if unused := [n for n in given if n not in found]:
            raise SpecError(f"{unused[0]!r} is not in the formula {formula!r}.")
        by_name = {p if isinstance(p, str) else p.name: p for p in parameters}
        parameters = [by_name.get(n, n) for n in found]
        equation = body.strip()
        written = Written(tree, columns)

        def evaluated(p: SimpleNamespace, x: SimpleNamespace) -> Any:
            scope = {n: getattr(x, column) for n, column in columns.items()}
            return _evaluate(tree, {**scope, **{n: getattr(p, n) for n in found}})

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


def _left_side(formula: str, response: str) -> tuple[str, str]:
    """The response that a formula names on its left side, and its right side."""
    match = re.match(r"\s*([A-Za-z_][\w.]*)\s*=(?!=)(.*)", formula, re.DOTALL)
    if match is None:
        return response, formula
    if match[1].lower() in ("l", "loss"):
        return response, match[2]
    return match[1], match[2]


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


# --- text ---------------------------------------------------------------------------------------


def _parse(text: str) -> tuple[ast.expr, list[str]]:
    """The tree of a formula, and the names in it in order."""
    body = text.replace("^", "**")
    try:
        tree = ast.parse(body.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"formula {text!r} is not understood: {error.args[0]}.") from None
    names: dict[str, None] = {}
    called: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (
                not isinstance(node.func, ast.Name)
                or node.func.id not in _FUNCTIONS
                or node.keywords
            ):
                raise SpecError(
                    f"formula {text!r}: a function is not known; there are {', '.join(_FUNCTIONS)}."
                )
            called.add(node.func)
            takes = _FUNCTIONS[node.func.id].nin
            if len(node.args) != takes:
                raise SpecError(f"formula {text!r}: {node.func.id} takes {takes} in its brackets.")
            continue
        known = (
            (isinstance(node, ast.Constant) and isinstance(node.value, int | float))
            or (isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS)
            or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd))
            or isinstance(node, ast.Name | ast.operator | ast.unaryop | ast.expr_context)
        )
        if not known:
            raise SpecError(
                f"formula {text!r}: {type(node).__name__} is not arithmetic; numbers, names, "
                "+ - * / ^ and brackets are."
            )
    for node in sorted(
        (n for n in ast.walk(tree) if isinstance(n, ast.Name)), key=lambda n: n.col_offset
    ):
        if node in called:
            continue
        if node.id in _FUNCTIONS:
            raise SpecError(f"formula {text!r}: {node.id} is a function; call it, or rename it.")
        names[node.id] = None
    return tree, list(names)


def _evaluate(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return scope[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_evaluate(left, scope), _evaluate(right, scope))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, scope)
        case ast.UnaryOp(operand=operand):
            return _evaluate(operand, scope)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_evaluate(argument, scope) for argument in args))
    raise AssertionError(ast.dump(node))

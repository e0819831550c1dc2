"""How much runs count: an expression of a table's columns, evaluated in logarithms.

Products and powers of columns as large as C overflow, their logarithms do not: flops^900 leaves
the runs of the most compute, and frontier(0.001) * flops^2 is a number at every run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.errors import FitError, SpecError
from scalelab.expressions import SYMBOLS, Expression, parse
from scalelab.laws import Array

_FRONTIER = "frontier"


@dataclass(frozen=True)
class Weighing:
    """Weights as an expression of columns.

    expression: over columns of the table, and frontier(S) = exp(-excess / S), where the excess is
    the log loss of a run above the best of no more compute. columns: name in it -> column.
    """

    expression: Expression
    columns: Mapping[str, str]

    @staticmethod
    def of(text: str, columns: Sequence[str]) -> Weighing:
        """Read `text` over `columns`. Raises FitError for what is not understood or not there."""
        try:
            expression = parse(text, columns, {_FRONTIER: 1})
        except SpecError as error:
            raise FitError(
                f"weights {error} Such are a column (replicates), flops^0.5, or frontier(0.05)."
            ) from None
        known = {**SYMBOLS, **{name: name for name in columns}}
        for name in expression.names:
            if known.get(name) not in columns:
                raise FitError(
                    f"there is no column {name!r} to weigh runs by; the table has "
                    f"{', '.join(columns)}."
                )
        for scale in _scales(expression):
            if any(isinstance(node, ast.Name) for node in ast.walk(scale)):
                raise FitError(
                    f"weights {text!r}: the scale of the frontier is a number, as in "
                    "frontier(0.05), and the same for all runs."
                )
            if not _plain(scale, {}) > 0:
                raise FitError(f"weights {text!r}: the scale of the frontier must be positive.")
        return Weighing(expression, {name: known[name] for name in expression.names})

    @property
    def needs_frontier(self) -> bool:
        """Whether the excess over the frontier is needed."""
        return any(True for _ in _scales(self.expression))

    def logs(self, values: Mapping[str, Array], excess: Array) -> tuple[Array, Array]:
        """Log weights and weights, (n,), of columns' values and the excess over the frontier, (n,).

        A log weight is nan or infinite where the weight is not a positive, finite number.
        """
        scope: dict[str, Any] = {name: values[column] for name, column in self.columns.items()}
        scope[_FRONTIER] = lambda scale: np.exp(-excess / scale)
        with np.errstate(all="ignore"):
            plain = np.broadcast_to(self.expression.evaluate(scope), excess.shape)
            logs = np.broadcast_to(_log(self.expression.tree, scope, excess), excess.shape)
            # Factors may be negative, and their product positive.
            return np.where(np.isfinite(logs), logs, np.log(plain)), plain


def _scales(expression: Expression) -> Iterator[ast.expr]:
    """S of every frontier(S)."""
    for node in ast.walk(expression.tree):
        match node:
            case ast.Call(func=ast.Name(id="frontier"), args=[scale]):
                yield scale


def _plain(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    return Expression("", node, ()).evaluate(scope)


def _log(node: ast.expr, scope: Mapping[str, Any], excess: Array) -> Any:
    """The log of an expression: of products, powers and sums without what overflows."""

    def log(inner: ast.expr) -> Any:
        return _log(inner, scope, excess)

    extremes: Mapping[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return log(left) + log(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return log(left) - log(right)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _plain(right, scope) * log(left)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return np.logaddexp(log(left), log(right))
        case ast.Call(func=ast.Name(id="exp"), args=[inner]):
            return _plain(inner, scope)
        case ast.Call(func=ast.Name(id="sqrt"), args=[inner]):
            return 0.5 * log(inner)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[left, right]):
            return extremes[name](log(left), log(right))
        case ast.Call(func=ast.Name(id="frontier"), args=[scale]):
            return -excess / _plain(scale, {})
    return np.log(_plain(node, scope))

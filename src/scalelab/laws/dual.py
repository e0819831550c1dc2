"""Exact derivatives of formulas written in plain numpy: forward-mode automatic differentiation.

A `Dual` is an array together with its derivatives by some numbered parameters; every operation
carries both along by the chain rule. A formula of eight parameters costs about as much as its
hand-written derivatives would, and cannot contradict them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Partials = tuple[Any, ...]


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """An array and its derivatives: value (...), parts {parameter number: (...) derivative}.

    Supports arithmetic, the ufuncs of `_RULES`, indexing, and `sum` over an axis. Shapes broadcast
    as numpy's do; a derivative may have a smaller shape that broadcasts to the value's.
    """

    __slots__ = ("parts", "value")

    def __init__(self, value: Array, parts: dict[int, Any]) -> None:
        """value: the array. parts: its derivative by each parameter it depends on."""
        self.value = value
        self.parts = parts

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Apply a ufunc to value and, by its partial derivatives, to the parts."""
        rule = _RULES.get(ufunc)
        if method != "__call__" or kwargs or rule is None:
            known = ", ".join(sorted(known.__name__ for known in _RULES))
            raise TypeError(f"no derivative is known of {ufunc.__name__}; use {known}.")
        values = [item.value if isinstance(item, Dual) else item for item in inputs]
        result = ufunc(*values)
        if all(not isinstance(item, Dual) for item in inputs):
            return result
        parts: dict[int, Any] = {}
        for item, partial in zip(inputs, rule(result, *values), strict=True):
            if not isinstance(item, Dual):
                continue
            slope = partial() if callable(partial) else partial
            for number, derivative in item.parts.items():
                change = derivative if slope is None else slope * derivative
                parts[number] = parts[number] + change if number in parts else change
        return Dual(result, parts)

    def __getitem__(self, key: Any) -> Dual:
        """Index value and parts alike (the parts must have the value's dimensions)."""
        return Dual(
            self.value[key],
            {n: np.broadcast_to(part, self.value.shape)[key] for n, part in self.parts.items()},
        )

    def sum(self, axis: int) -> Dual:
        """Sum over an axis."""
        return Dual(
            self.value.sum(axis=axis),
            {
                n: np.broadcast_to(part, self.value.shape).sum(axis=axis)
                for n, part in self.parts.items()
            },
        )


def sums_of_rows(values: Dual | Array, rows: NDArray[np.intp], n: int) -> Dual | Array:
    """Sums (k, n) of values (k, g), the j-th of which belongs to row rows[j]; rows ascend.

    What lists of several lengths add up to, without a place for what the shorter ones lack.
    """
    if isinstance(values, Dual):
        whole = values.value.shape
        parts = {
            number: _sums_of_rows(np.broadcast_to(part, whole), rows, n)
            for number, part in values.parts.items()
        }
        return Dual(_sums_of_rows(values.value, rows, n), parts)
    return _sums_of_rows(values, rows, n)


def _sums_of_rows(values: Array, rows: NDArray[np.intp], n: int) -> Array:
    found = np.zeros((*values.shape[:-1], n))
    if len(rows):
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        found[..., rows[first]] = np.add.reduceat(values, first, axis=-1)
    return found


def variables(theta: Array, trailing: int = 1) -> list[Dual]:
    """The columns of theta (k, p) as Duals of shape (k, 1, ...) that each depend on themselves."""
    k = len(theta)
    shape = (k, *([1] * trailing))
    return [
        Dual(np.ascontiguousarray(theta[:, j]).reshape(shape), {j: 1.0})
        for j in range(theta.shape[1])
    ]


def jacobian(result: Dual | Array, p: int, n: int) -> tuple[Array, Array]:
    """Value (k, n) and derivatives (k, p, n) of what a formula returned."""
    if not isinstance(result, Dual):
        raise TypeError("the formula does not depend on its parameters.")
    k = np.shape(result.value)[0]
    slopes = np.zeros((k, p, n))
    for number, part in result.parts.items():
        slopes[:, number] = part
    value = np.broadcast_to(result.value, (k, n))
    return value, slopes


# Of each ufunc: partial derivatives by its inputs, from the result and the inputs; None stands for
# 1, and what may not be needed is a function.
_RULES: dict[np.ufunc, Callable[..., Partials]] = {
    np.add: lambda r, a, b: (None, None),
    np.subtract: lambda r, a, b: (None, -1.0),
    np.multiply: lambda r, a, b: (b, a),
    np.divide: lambda r, a, b: (lambda: 1 / b, lambda: -r / b),
    np.power: lambda r, a, b: (lambda: b * a ** (b - 1), lambda: _power_log(r, a)),
    np.negative: lambda r, a: (-1.0,),
    np.positive: lambda r, a: (None,),
    np.exp: lambda r, a: (r,),
    np.expm1: lambda r, a: (r + 1,),
    np.log: lambda r, a: (1 / a,),
    np.log1p: lambda r, a: (1 / (1 + a),),
    np.sqrt: lambda r, a: (0.5 / r,),
    np.square: lambda r, a: (2 * a,),
    np.tanh: lambda r, a: (1 - r * r,),
    np.logaddexp: lambda r, a, b: (lambda: np.exp(a - r), lambda: np.exp(b - r)),
    np.maximum: lambda r, a, b: (lambda: _first(a >= b), lambda: _first(a < b)),
    np.minimum: lambda r, a, b: (lambda: _first(a <= b), lambda: _first(a > b)),
    np.absolute: lambda r, a: (np.sign(a),),
}


def _power_log(power: Any, base: Any) -> Any:
    """a^b log a, which is 0 where a is 0 and b above it: an input may be zero."""
    if np.all(base):
        return power * np.log(base)
    return np.where(power == 0, 0.0, power * np.log(np.where(power == 0, 1.0, base)))


def _first(mask: NDArray[np.bool_]) -> Array:
    return np.asarray(mask, dtype=float)

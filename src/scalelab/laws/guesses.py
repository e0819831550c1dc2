"""Plausible values of a formula's parameters: from where each stands, and from the runs.

A parameter that is added to an input has that input's scale; one in an exponent of it is a number
around one; one beside a logarithm has the scale of the logarithm. The formula's tree shows which
is the case. From a node whose size is known, such as the response or a term with inputs alone, the
size of the parameter follows by inverting the operations on the way down to it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scalelab.expressions import evaluate
from scalelab.laws.dual import Array
from scalelab.laws.law import Law, Parameter

_Path = tuple[ast.expr, ...]
"""From the root of the tree down to one occurrence of a parameter."""
_EXACT = 0.35  # share of the guesses at which the formula equals one run's response (assumed)
_HUGE = 1e300


def guess(
    law: Law,
    columns: Mapping[str, Array],
    response: Array,
    count: int,
    generator: np.random.Generator,
    width: float = 1.0,
) -> Array:
    """Values of the parameters that the law is not linear in.

    Parameters
    ----------
    law : Law
        A user's own law, with the restrictions that hold.
    columns : mapping of str to array of shape (n,)
        The inputs' values, by column.
    response : array of shape (n,)
    count : int
        How many guesses.
    generator : numpy.random.Generator
    width : float
        Factor on the decades over which guesses scatter.

    Returns
    -------
    array of shape (count, q)
        One column for each parameter of `law.names` that is not in `law.linear`, in that order.
    """
    with np.errstate(all="ignore"):
        found = _Guesses(law, columns, response, count, generator, width).all()
    parameters = [p for p in law.parameters if p.name not in law.linear]
    values = np.empty((count, len(parameters)))
    for j, parameter in enumerate(parameters):
        values[:, j] = _allowed(parameter, found[parameter.name], generator)
    return values


def exponents(law: Law) -> frozenset[str]:
    """The parameters that are exponents of an input: numbers without a unit."""
    assert law.written is not None
    tree = law.written.tree
    if tree is None:
        return frozenset()
    inputs = set(law.written.columns)
    return frozenset(
        name
        for name in law.names
        if name not in law.linear and any(_bends(path, inputs) for path in _paths(tree, {name}))
    )


def _allowed(parameter: Parameter, values: Array, generator: np.random.Generator) -> Array:
    """Guesses inside the bounds of a parameter; many of its own grid, where it has one."""
    low, high = parameter.low, parameter.high
    count = len(values)
    values = np.where(np.isfinite(values), values, generator.normal(size=count))
    if np.isfinite(low) and np.isfinite(high):
        inside = _between(low, high, count, generator)
        wrong = (values < low) | (values > high) | (generator.uniform(size=count) < 0.5)
        values = np.where(wrong, inside, values)
    elif np.isfinite(low):
        values = low + np.abs(values - low)
    elif np.isfinite(high):
        values = high - np.abs(high - values)
    if parameter.grid and not callable(parameter.grid):
        grid = np.exp(parameter.grid) if parameter.log else np.array(parameter.grid)
        picked = generator.choice(grid, size=count)
        values = np.where(generator.uniform(size=count) < 0.5, picked, values)
    return np.asarray(np.clip(values, low, high))


def _between(low: float, high: float, count: int, generator: np.random.Generator) -> Array:
    """Between two bounds: even in the logarithm where they span decades."""
    place = generator.uniform(size=count)
    if low > 0 and high > 10 * low:
        return np.asarray(low * (high / low) ** place)
    return np.asarray(low + (high - low) * place)


class _Guesses:
    """Guesses of all parameters, each given those before it."""

    def __init__(
        self,
        law: Law,
        columns: Mapping[str, Array],
        response: Array,
        count: int,
        generator: np.random.Generator,
        width: float,
    ) -> None:
        assert law.written is not None
        self.law = law
        self.tree = law.written.tree
        self.count, self.generator, self.width = count, generator, width
        self.response = response
        self.row = generator.integers(len(response), size=count)  # the run that each one looks at
        self.whole = {n: columns[column][None] for n, column in law.written.columns.items()}
        self.here = {n: values[0][self.row] for n, values in self.whole.items()}
        self.known: dict[str, Array] = {
            name: np.full(count, value) for name, value in law.restrictions.fixed.items()
        }

    def all(self) -> dict[str, Array]:
        """Every parameter that is not linear, by name."""
        sought = [name for name in self.law.names if name not in self.law.linear]
        if self.tree is None:
            return {name: self._signed(-3.0, 3.0) for name in sought}
        first = exponents(self.law)
        # The scale of the others follows from the exponents, so these come first; once all are
        # known, those others are guessed again.
        for again, names in enumerate(
            ([n for n in sought if n in first], *2 * [[n for n in sought if n not in first]])
        ):
            for name in names:
                self._learn(name, self._one(name, exact=again > 0))
        return {name: self.known[name] for name in sought}

    def _learn(self, name: str, values: Array) -> None:
        (parameter,) = (p for p in self.law.parameters if p.name == name)
        values = _allowed(parameter, values, self.generator)
        for same in (name, *self._tied(name)):
            self.known[same] = values

    def _tied(self, name: str) -> list[str]:
        return [tied for tied, other in self.law.restrictions.tied.items() if other == name]

    def _one(self, name: str, *, exact: bool) -> Array:
        assert self.tree is not None
        places = _paths(self.tree, {name, *self._tied(name)})
        chosen = self.generator.integers(len(places), size=self.count)
        found = np.stack([self._at(path) for path in places])[chosen, np.arange(self.count)]
        if exact:
            solved = np.stack([self._solved(path) for path in places])
            take = self.generator.uniform(size=self.count) < _EXACT
            found = np.where(take, solved[chosen, np.arange(self.count)], found)
        return np.asarray(found * np.exp(0.1 * self.width * self._normal()))

    # --- where the size is known, and the way down ------------------------------------------------

    def _at(self, path: _Path) -> Array:
        """Guesses at one occurrence: from the nearest node above it whose size is known."""
        for i in range(len(path) - 2, -1, -1):
            size = self._anchor(path[i], path[i + 1])
            if size is not None:
                return self._down(path[i + 1 :], size)
        return self._down(path, self.response[self.row])

    def _solved(self, path: _Path) -> Array:
        """The value at which the formula gives the response of a run, the others as guessed."""
        return self._down(path, self.response[self.row])

    def _anchor(self, parent: ast.expr, child: ast.expr) -> Array | None:
        """What the child of a node may be worth, (count,), where the node shows it."""
        match parent:
            case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right):
                other = right if child is left else left
                value = self._value(other)
                if value is None or not self._tells(other):
                    return None
                return np.abs(value) * self._signed(-2.5, 2.5)
            case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
                other = right if child is left else left
                return self._signed(-1.0, 1.0) if self._value(other) is None else None
            case ast.BinOp(op=ast.Pow(), left=base, right=exponent) if child is exponent:
                return self._exponent(base)
            case ast.Call(func=ast.Name(id="exp" | "expm1" | "tanh" | "sigmoid")):
                return self._signed(-2.0, 1.5)
            case ast.Call(func=ast.Name(id="min" | "max"), args=[one, two]):
                value = self._value(two if child is one else one)
                return None if value is None else value * np.abs(self._signed(-1.0, 1.0))
        return None

    def _tells(self, node: ast.expr) -> bool:
        """Whether a term sets a scale: it has an input, or is a number of the formula."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return not names or not names.isdisjoint(self.whole)

    def _exponent(self, base: ast.expr) -> Array:
        """Usual exponents, and those that change a power of the base by a factor over the runs."""
        usual = self._signed(-1.6, 0.4)
        spans = self._span(base, logarithm=True)
        if spans is None:
            return usual
        fitted = self._signed(-1.0, 1.2) / np.maximum(spans, 1e-3)
        return np.where(self.generator.uniform(size=self.count) < 0.5, usual, fitted)

    def _down(self, path: _Path, wanted: Array) -> Array:
        """What the last node of a path must be for its first to be `wanted`."""
        for parent, child in pairwise(path):
            wanted = self._inverse(parent, child, wanted)
        return wanted

    def _inverse(self, parent: ast.expr, child: ast.expr, wanted: Array) -> Array:
        match parent:
            case ast.UnaryOp(op=ast.USub()):
                return -wanted
            case ast.BinOp(left=left, op=op, right=right):
                first = child is left
                other = self._value(right if first else left)
                return self._inverse_of(op, wanted, other, right if first else left, first=first)
            case ast.Call(func=ast.Name(id=name)):
                return _INVERSES[name](wanted) if name in _INVERSES else wanted
        return wanted

    def _inverse_of(
        self, op: ast.operator, wanted: Array, other: Array | None, node: ast.expr, *, first: bool
    ) -> Array:
        if other is None:
            return self._inverse_beside_unknown(op, wanted, first=first)
        match op:
            case ast.Add():
                return wanted - other
            case ast.Sub():
                return wanted + other if first else other - wanted
            case ast.Mult():
                return wanted / self._size(node, other)
            case ast.Div():
                return wanted * self._size(node, other) if first else other / wanted
        if first:  # the base of a power
            power = np.where(other == 0, 1.0, other)
            return np.clip(np.abs(wanted) ** (1 / power), 1 / _HUGE, _HUGE)
        return np.asarray(np.log(np.abs(wanted)) / np.log(np.abs(other)))

    def _inverse_beside_unknown(self, op: ast.operator, wanted: Array, *, first: bool) -> Array:
        """The same where the other operand holds a parameter that is not known."""
        match op:
            case ast.Add() | ast.Sub():  # which has a share of the sum
                share = wanted * self.generator.uniform(0.02, 1.0, size=self.count)
                return share if first or isinstance(op, ast.Add) else -share
            case ast.Mult() | ast.Div():
                return wanted if first or isinstance(op, ast.Mult) else 1 / wanted
        if first:
            return np.clip(np.abs(wanted) ** (1 / self._signed(-1.6, 0.4)), 1 / _HUGE, _HUGE)
        return self._signed(-1.6, 0.4)

    def _size(self, node: ast.expr, value: Array) -> Array:
        """A factor at one run; half of the time by how much it varies over all of them."""
        spans = self._span(node)
        if spans is None:
            return value
        use = (self.generator.uniform(size=self.count) < 0.5) & (spans > 0)
        return np.where(use, spans, value)

    # --- values of nodes --------------------------------------------------------------------------

    def _value(self, node: ast.expr) -> Array | None:
        """A node at the run looked at, (count,); None where a parameter in it is not known."""
        scope = {**self.here, **self.known}
        if any(isinstance(n, ast.Name) and n.id not in scope for n in _operands(node)):
            return None
        return np.broadcast_to(np.asarray(evaluate(node, scope), dtype=float), (self.count,))

    def _span(self, node: ast.expr, *, logarithm: bool = False) -> Array | None:
        """How far a node, or its logarithm, varies over the runs, (count,)."""
        scope = {**self.whole, **{name: value[:, None] for name, value in self.known.items()}}
        names = [n.id for n in _operands(node) if isinstance(n, ast.Name)]
        if any(name not in scope for name in names) or not any(n in self.whole for n in names):
            return None
        value = np.asarray(evaluate(node, scope), dtype=float)
        value = np.log(np.abs(value)) if logarithm else value
        return np.broadcast_to(np.ptp(value, axis=1), (self.count,))

    # --- chance -----------------------------------------------------------------------------------

    def _normal(self) -> Array:
        return np.asarray(self.generator.normal(size=self.count))

    def _signed(self, low: float, high: float) -> Array:
        """Numbers of either sign whose size is even over these decades, widened."""
        middle, half = (low + high) / 2, (high - low) / 2 * self.width
        sizes = 10 ** self.generator.uniform(middle - half, middle + half, size=self.count)
        signs: NDArray[np.float64] = self.generator.choice([-1.0, 1.0], size=self.count)
        return np.asarray(signs * sizes)


_INVERSES: Mapping[str, Callable[[Array], Array]] = {
    "exp": lambda y: np.log(np.abs(y)),
    "expm1": lambda y: np.log1p(np.abs(y)),
    "log": lambda y: np.exp(np.clip(y, -600, 600)),
    "ln": lambda y: np.exp(np.clip(y, -600, 600)),
    "log1p": lambda y: np.expm1(np.clip(y, -600, 600)),
    "log10": lambda y: 10 ** np.clip(y, -250, 250),
    "log2": lambda y: 2 ** np.clip(y, -800, 800),
    "sqrt": np.square,
    "tanh": lambda y: np.arctanh(np.clip(y, -0.999, 0.999)),
    "sigmoid": lambda y: np.log(np.clip(y, 1e-3, 0.999) / (1 - np.clip(y, 1e-3, 0.999))),
}


def _operands(node: ast.expr) -> list[ast.AST]:
    """The nodes of an expression but the names of its functions."""
    functions = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return [n for n in ast.walk(node) if id(n) not in functions]


def _paths(tree: ast.expr, names: set[str]) -> list[_Path]:
    """The paths from the root to every occurrence of the names."""
    found: list[_Path] = []

    def walk(path: _Path) -> None:
        node = path[-1]
        if isinstance(node, ast.Name) and node.id in names:
            found.append(path)
        children: list[ast.expr] = []
        match node:
            case ast.BinOp(left=left, right=right):
                children = [left, right]
            case ast.UnaryOp(operand=operand):
                children = [operand]
            case ast.Call(args=args):
                children = args
        for child in children:
            walk((*path, child))

    walk((tree,))
    return found


def _bends(path: _Path, inputs: set[str]) -> bool:
    """Whether the end of a path is an exponent: of a power, or beside a logarithm in exp."""
    beside_log = False
    for parent, child in zip(path[-2::-1], path[:0:-1], strict=True):
        match parent:
            case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
                return child is exponent and _has(base, inputs)
            case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
                other = right if child is left else left
                calls = [n for n in ast.walk(other) if isinstance(n, ast.Call)]
                beside_log |= any(
                    isinstance(n.func, ast.Name) and n.func.id.startswith(("log", "ln"))
                    for n in calls
                )
            case ast.Call(func=ast.Name(id=name)):
                return name == "exp" and beside_log
    return False


def _has(node: ast.expr, names: set[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))

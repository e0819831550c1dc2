"""What a scaling law is: one formula in plain numpy, from which everything else follows.

A law works in *coordinates*, in which a fit is well behaved: the logarithm of a parameter marked
``log``, the value itself of any other. Everything is batched: one call evaluates the law at many
parameter vectors, which is what makes a thousand bootstrap refits one array program.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product, zip_longest
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import SpecError
from scalelab.expressions import SYMBOLS
from scalelab.laws.dual import Array, jacobian, variables

Formula = Callable[[SimpleNamespace, SimpleNamespace], Any]
"""(p, x) -> log of the response. p has each parameter by name, ``log_NAME`` where it is marked log,
of shape (k, 1); x each input as ``log_NAME`` of shape (n,), or as it is where it is in `raw`."""

Starts = Callable[[SimpleNamespace, Array], Array]
"""(x, log response (n,)) -> coordinates to start from (g, p)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    low, high: bounds of the value. log: its coordinate is its logarithm. prior: for a number that
    no choice of units changes (an exponent): its typical value and the standard deviation of its
    logarithm in a weak log-normal prior, used only by the estimator for few trunks. open: the
    high bound is where the search ends, not where the law does, so an interval that reaches it
    has no end. grid: values to start from, for a parameter that the law is not linear in; a
    function of the inputs x where they depend on the data. bends: the parameter is an exponent, as
    far as the formula of a user shows it.
    """

    name: str
    meaning: str
    low: float
    high: float
    log: bool = False
    prior: tuple[float, float] | None = None
    open: bool = False
    grid: tuple[float, ...] | Callable[[SimpleNamespace], Sequence[float]] = ()
    bends: bool = False

    @property
    def end(self) -> float:
        """The highest value that the law allows, wherever the search ends."""
        return np.inf if self.open else self.high

    @property
    def scales(self) -> bool:
        """Whether it is a coefficient of a user's formula, whose unit follows from an exponent."""
        return self.meaning == "coefficient"

    @property
    def exponent(self) -> bool:
        """Whether it is a number without a unit that bends the law, and no scale or floor."""
        searched = bool(self.grid) and not callable(self.grid)
        return not self.log and (self.bends or self.prior is not None or searched)


@dataclass(frozen=True)
class Preset:
    """Published values of a law's parameters, with their source."""

    name: str
    values: Mapping[str, float]
    reference: str


@dataclass(frozen=True)
class Derived:
    """A number that follows from the parameters: meaning and formula over values (k,) each."""

    name: str
    meaning: str
    formula: Callable[[Mapping[str, Array]], Array]


@dataclass(frozen=True)
class Restrictions:
    """What a user holds of a law: fixed values, parameters equal to another, bounds."""

    fixed: Mapping[str, float] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self.fixed or self.tied or self.bounds)

    def __str__(self) -> str:
        """In words."""
        parts = [f"{name} = {value:g}" for name, value in self.fixed.items()]
        parts += [f"{name} = {other}" for name, other in self.tied.items()]
        parts += [f"{low:g} <= {name} <= {high:g}" for name, (low, high) in self.bounds.items()]
        return ", ".join(parts)


@dataclass(frozen=True)
class Written:
    """A formula as a user wrote it.

    tree: its syntax tree, None for a Python function. columns: name in the formula -> column.
    said: names of which the user said whether they are inputs or parameters.
    """

    tree: ast.expr | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    said: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Law:
    """A scaling law. Adding one is one file, and one line in `registry`.

    name: as users type it. equation: as people read it. inputs: columns of the run table, all
    positive but those in `raw`. parameters: in the order of the coordinates. log_response: the
    formula, see `Formula`. reference: paper and equation. linear: parameters that the response is
    linear in together, given the others: they are solved for, never guessed (variable projection,
    Golub and Pereyra 1973). starts: where to start instead, for a law that is not linear in
    anything. response: the column that the law describes. raw: inputs taken as they are, not by
    their logarithm: they may be zero, or lists. signed: those of `raw` that may be below zero.
    restrictions: what `restrict` held.

    Of a user's own law, further: written, the formula as it was given; value, the formula of the
    response itself; scale, ``linear`` where the response may be zero or negative, so that residuals
    are differences and not logarithms of ratios.
    """

    name: str
    equation: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    log_response: Formula
    reference: str
    linear: tuple[str, ...] = ()
    starts: Starts | None = None
    derived: tuple[Derived, ...] = ()
    presets: tuple[Preset, ...] = ()
    response: str = "loss"
    raw: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()
    restrictions: Restrictions = field(default_factory=Restrictions)
    text: str = ""
    written: Written | None = None
    value: Formula | None = None
    scale: Literal["log", "linear"] = "log"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest coordinates, (p,) each."""
        ends = np.array([[p.low, p.high] for p in self.parameters])
        return self.coordinates(ends[:, 0]), self.coordinates(ends[:, 1])

    def coordinates(self, values: Array) -> Array:
        """Coordinates (..., p) of parameter values (..., p)."""
        found = np.array(values, dtype=float)
        with np.errstate(divide="ignore"):  # a bound may be 0, whose logarithm is -inf
            found[..., self._log] = np.log(found[..., self._log])
        return found

    def values(self, coordinates: Array) -> Array:
        """Parameter values (..., p) of coordinates (..., p)."""
        found = np.array(coordinates, dtype=float)
        with np.errstate(over="ignore"):  # an unidentified scale may exceed the largest float
            found[..., self._log] = np.exp(found[..., self._log])
        return found

    @cached_property
    def _log(self) -> NDArray[np.bool_]:
        return np.array([parameter.log for parameter in self.parameters])

    @cached_property
    def _fields(self) -> tuple[str, ...]:
        return tuple(f"log_{p.name}" if p.log else p.name for p in self.parameters)

    # --- evaluation -------------------------------------------------------------------------------

    def formula(self, theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        """Log response (k, n) and its derivatives (k, p, n) at theta (k, p).

        inputs: one array for each of `inputs`, (n,) logarithms, or as it is where it is in `raw`.
        On a linear scale it is the response itself.
        """
        p = SimpleNamespace(**dict(zip(self._fields, variables(theta), strict=True)))
        result = self._scaled_formula(p, self.namespace(inputs))
        return jacobian(result, theta.shape[1], len(inputs[0]))

    def value_formula(self, theta: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        """As `formula`, of the response itself; only of a user's own law."""
        assert self.value is not None
        p = SimpleNamespace(**dict(zip(self._fields, variables(theta), strict=True)))
        result = self.value(p, self.namespace(inputs))
        return jacobian(result, theta.shape[1], len(inputs[0]))

    def log_value(self, theta: Array, inputs: tuple[Array, ...]) -> Array:
        """Log response (k, n) alone, or the response on a linear scale: a third of the work."""
        columns = np.ascontiguousarray(theta.T)[:, :, None]
        p = SimpleNamespace(**dict(zip(self._fields, columns, strict=True)))
        result = self._scaled_formula(p, self.namespace(inputs))
        return np.broadcast_to(np.asarray(result), (len(theta), len(inputs[0])))

    @property
    def _scaled_formula(self) -> Formula:
        if self.scale == "log":
            return self.log_response
        assert self.value is not None
        return self.value

    @property
    def label(self) -> str:
        """What tells the law from others: its name, or the formula of a law without one."""
        return self.text if self.text and self.name == "custom" else self.name

    def over_values(self) -> Law:
        """A user's own law whose coordinates are the parameters' values."""
        return replace(self, parameters=tuple(replace(p, log=False) for p in self.parameters))

    def on_scale(self, response: Array) -> Array:
        """The response as a fit sees it: its logarithm, or itself on a linear scale."""
        return np.log(response) if self.scale == "log" else np.asarray(response, dtype=float)

    def off_scale(self, value: Array) -> Array:
        """The inverse of `on_scale`."""
        return np.exp(value) if self.scale == "log" else np.asarray(value, dtype=float)

    def namespace(self, inputs: tuple[Array, ...]) -> SimpleNamespace:
        """Inputs by the names that the formula knows them by."""
        named = zip(self.inputs, inputs, strict=True)
        return SimpleNamespace(
            **{name if name in self.raw else f"log_{name}": values for name, values in named}
        )

    def loss(self, parameters: Mapping[str, float], **inputs: Array | float) -> Array:
        """The response at the inputs (any shapes that broadcast), for most laws nats per token.

        parameters: by name, all of them. inputs: by column name, positive. Raises SpecError for
        a parameter or an input that is missing, unknown or not positive.
        """
        if set(parameters) != set(self.names):
            raise SpecError(
                f"law {self.name} has parameters {', '.join(self.names)}; "
                f"given were {', '.join(parameters) or 'none'}. Give exactly those."
            )
        for parameter in self.parameters:
            self._check(parameter, parameters[parameter.name])
        logs, shape = self.log_inputs(inputs)
        theta = self.coordinates(np.array([parameters[name] for name in self.names]))
        return self.off_scale(self.log_value(theta[None], logs)[0]).reshape(shape)

    def _check(self, parameter: Parameter, value: float) -> None:
        # A floor or a scale may be 0; an exponent may not.
        if np.isfinite(value) and (parameter.low < 0 or value > 0 or value == parameter.low == 0):
            return
        raise SpecError(
            f"{parameter.name} is {value}; law {self.name} needs a positive, finite number."
        )

    def log_inputs(
        self, inputs: Mapping[str, Array | float]
    ) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        """Inputs as `formula` takes them, flat and broadcast to each other; their common shape.

        Of an input in `raw` also a list for each run, (n, m), or n lists of several lengths. A
        symbol, such as N, stands for its column.
        """
        inputs = self.by_column(inputs)
        if set(inputs) != set(self.inputs):
            raise SpecError(
                f"law {self.name} takes {' and '.join(self.inputs)}; given were "
                f"{', '.join(inputs) or 'none'}. Give exactly those."
            )
        arrays = [
            _padded(inputs[name]) if name in self.raw else np.asarray(inputs[name], dtype=float)
            for name in self.inputs
        ]
        for name, values in zip(self.inputs, arrays, strict=True):
            allowed = (values >= 0) if name in self.raw else (values > 0)
            if name in self.signed or (name in self.raw and values.ndim == 2):
                allowed = np.ones(values.shape, dtype=bool)  # a drop upwards is a rise
            bad = values[~(np.isfinite(values) & allowed)]
            if bad.size:
                raise SpecError(
                    f"{name} is {bad.flat[0]}; law {self.name} needs positive, finite numbers."
                )
        lists = [values.ndim for name, values in zip(self.inputs, arrays, strict=True)]
        if any(name in self.raw and n == 2 for name, n in zip(self.inputs, lists, strict=True)):
            return tuple(self._scaled(arrays)), (len(arrays[0]),)
        try:
            together = np.broadcast_arrays(*arrays)
        except ValueError:
            shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(self.inputs, arrays, strict=True))
            raise SpecError(f"shapes do not go together: {shapes}. Give equal shapes.") from None
        return tuple(self._scaled([part.ravel() for part in together])), together[0].shape

    def by_column(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs by column, where a symbol such as N may stand for one."""
        return {
            SYMBOLS[name]
            if name not in self.inputs and SYMBOLS.get(name) in self.inputs
            else name: values
            for name, values in inputs.items()
        }

    def _scaled(self, arrays: Sequence[Array]) -> list[Array]:
        return [
            values if name in self.raw else np.log(values)
            for name, values in zip(self.inputs, arrays, strict=True)
        ]

    # --- starts and restrictions ------------------------------------------------------------------

    def grid(self, inputs: tuple[Array, ...]) -> Array:
        """Every combination of the grids of the parameters that are not linear, (g, q)."""
        x = self.namespace(inputs)
        axes = [
            parameter.grid(x) if callable(parameter.grid) else parameter.grid
            for parameter in self.parameters
            if parameter.name not in self.linear
        ]
        points = list(product(*axes))
        return np.array(points, dtype=float).reshape(len(points), len(axes))

    def restrict(
        self,
        fixed: Mapping[str, float] | None = None,
        tied: Mapping[str, str] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> Law:
        """The same law with parameters held.

        fixed: name -> value. tied: name -> another parameter that it equals. bounds: name -> low
        and high. Raises SpecError for unknown names, values outside the law, a tie to a parameter
        that is itself held, or when nothing is left to fit.
        """
        held = Restrictions(dict(fixed or {}), dict(tied or {}), dict(bounds or {}))
        if not held:
            return self
        if self.restrictions:
            raise SpecError(f"law {self.name} is restricted already: {self.restrictions}.")
        self._check_restrictions(held)
        gone = {*held.fixed, *held.tied}
        kept = tuple(
            replace(p, low=held.bounds[p.name][0], high=held.bounds[p.name][1], open=False)
            if p.name in held.bounds
            else p
            for p in self.parameters
            if p.name not in gone
        )
        by_name = {p.name: p for p in self.parameters}
        fields = dict(zip(self.names, self._fields, strict=True))
        constants = {
            fields[name]: float(np.log(value)) if by_name[name].log else float(value)
            for name, value in held.fixed.items()
        }

        def completed_by(formula: Formula) -> Formula:
            def whole(p: SimpleNamespace, x: SimpleNamespace) -> Any:
                every = SimpleNamespace(**vars(p), **constants)
                for name, other in held.tied.items():
                    # The search decides later whether a parameter of a formula is a logarithm.
                    log = "log_" if hasattr(p, f"log_{other}") else ""
                    setattr(every, log + name, getattr(p, log + other))
                return formula(every, x)

            return whole

        positions = [j for j, p in enumerate(self.parameters) if p.name not in gone]
        whole_starts = self.starts

        def starts(x: SimpleNamespace, target: Array) -> Array:
            assert whole_starts is not None
            return whole_starts(x, target)[:, positions]

        def derived_of_all(derived: Derived) -> Derived:
            def formula(values: Mapping[str, Array]) -> Array:
                every = dict(values)
                one = np.ones_like(next(iter(values.values())))
                every |= {name: value * one for name, value in held.fixed.items()}
                every |= {name: values[other] for name, other in held.tied.items()}
                return derived.formula(every)

            return replace(derived, formula=formula)

        return replace(
            self,
            equation=f"{self.equation}, {held}",
            parameters=kept,
            log_response=completed_by(self.log_response),
            value=None if self.value is None else completed_by(self.value),
            linear=tuple(name for name in self.linear if name not in gone),
            starts=None if whole_starts is None else starts,
            derived=tuple(derived_of_all(derived) for derived in self.derived),
            presets=(),
            restrictions=held,
        )

    def _check_restrictions(self, held: Restrictions) -> None:
        by_name = {p.name: p for p in self.parameters}
        for name in (*held.fixed, *held.tied, *held.tied.values(), *held.bounds):
            if name not in by_name:
                raise SpecError(
                    f"law {self.name} has no parameter {name!r}; it has {', '.join(self.names)}."
                )
        for name, value in held.fixed.items():
            self._check(by_name[name], value)
            if value < by_name[name].low or value > by_name[name].end:
                raise SpecError(
                    f"{name} is held at {value:g}; law {self.name} has it between "
                    f"{by_name[name].low:g} and {by_name[name].end:g}."
                )
        for name, other in held.tied.items():
            if other in held.fixed or other in held.tied or name in held.fixed or name == other:
                raise SpecError(f"{name} is tied to {other}, and one of them is held otherwise.")
            alike = (name in self.linear) == (other in self.linear)
            if by_name[name].log != by_name[other].log or not alike:
                raise SpecError(f"{name} and {other} are not of one kind and cannot be equal.")
        for name, (low, high) in held.bounds.items():
            if name in held.fixed or name in held.tied:
                raise SpecError(f"{name} has bounds and is held as well; give one of the two.")
            if not by_name[name].low <= low < high <= by_name[name].end:
                raise SpecError(
                    f"bounds of {name} are {low:g} and {high:g}; low below high, and both between "
                    f"{by_name[name].low:g} and {by_name[name].end:g}, are expected."
                )
        if len(held.fixed) + len(held.tied) == len(self.parameters):
            raise SpecError(f"every parameter of law {self.name} is held: nothing is left to fit.")

    def preset(self, name: str) -> Preset:
        """The preset of that name; raises SpecError with the known ones."""
        for preset in self.presets:
            if preset.name == name:
                return preset
        known = ", ".join(preset.name for preset in self.presets) or "none"
        raise SpecError(f"law {self.name} has no preset {name!r}; it has {known}.")


def _padded(values: Any) -> Array:
    """Numbers as they are; lists of several lengths, zeros behind the shorter, as (n, longest)."""
    try:
        return np.asarray(values, dtype=float)
    except ValueError:
        return np.array(list(zip_longest(*values, fillvalue=0.0)), dtype=float).T

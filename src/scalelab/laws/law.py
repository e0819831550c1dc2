"""What a scaling law is: a formula for the log of the loss with exact derivatives.

A law works in *coordinates*, in which a fit is well behaved: the logarithm of a parameter marked
``log``, the value itself of any other. Everything is batched: one call evaluates the law at many
parameter vectors, which is what makes a thousand bootstrap refits one array program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalelab.errors import SpecError

Array = NDArray[np.float64]

Formula = Callable[[Array, tuple[Array, ...]], tuple[Array, Array]]
"""(coordinates (k, p), log inputs (n,) each) -> log loss (k, n), its derivatives (k, p, n)."""

ChangeUnits = Callable[[Array, tuple[float, ...], float], Array]
"""(coordinates (k, p), log factor of each input, log factor of the loss) -> coordinates (k, p)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    low, high: bounds of the value. log: its coordinate is its logarithm. prior: for a number that
    no choice of units changes (an exponent): its typical value and the standard deviation of its
    logarithm in a weak log-normal prior, used only by the estimator for few trunks. open: the
    high bound is where the search ends, not where the law does, so an interval that reaches it
    has no end.
    """

    name: str
    meaning: str
    low: float
    high: float
    log: bool = False
    prior: tuple[float, float] | None = None
    open: bool = False


@dataclass(frozen=True)
class Separable:
    """Where a law is linear: given its exponents, features x coefficients = target.

    exponents: their names. grid: the values to try of each. system: (exponents (g, q), log inputs,
    log loss (n,)) -> features (g, n, m) and target (g, n), both positive. assemble: (exponents
    (g, q), coefficients (g, m) > 0) -> coordinates (g, p). Variable projection (Golub and Pereyra
    1973) starts from here: no guess of a linear coefficient is ever needed.
    """

    exponents: tuple[str, ...]
    grid: tuple[tuple[float, ...], ...]
    system: Callable[[Array, tuple[Array, ...], Array], tuple[Array, Array]]
    assemble: Callable[[Array, Array], Array]

    @cached_property
    def points(self) -> Array:
        """Every combination of the grids, (g, q)."""
        axes = np.meshgrid(*(np.array(values) for values in self.grid), indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=1)


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
class Law:
    """A scaling law. Adding one is one file, and one line in `registry`.

    name: as users type it. equation: as people read it. inputs: columns of the run table, all
    positive. parameters: in the order of the coordinates. formula, change_units, separable: see
    their types. reference: paper and equation.
    """

    name: str
    equation: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    formula: Formula
    change_units: ChangeUnits
    separable: Separable
    reference: str
    derived: tuple[Derived, ...] = ()
    presets: tuple[Preset, ...] = field(default=())

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

    def loss(self, parameters: Mapping[str, float], **inputs: Array | float) -> Array:
        """Loss in nats per token at the inputs (any shapes that broadcast).

        parameters: by name, all of them. inputs: by column name, positive. Raises SpecError for
        a parameter or an input that is missing, unknown or not positive.
        """
        if set(parameters) != set(self.names):
            raise SpecError(
                f"law {self.name} has parameters {', '.join(self.names)}; "
                f"given were {', '.join(parameters) or 'none'}. Give exactly those."
            )
        for parameter in self.parameters:
            value = parameters[parameter.name]
            # A floor or a scale may be 0; an exponent may not.
            if not (np.isfinite(value) and (value > 0 or (value == 0 and parameter.low == 0))):
                raise SpecError(
                    f"{parameter.name} is {value}; law {self.name} needs a positive, finite number."
                )
        logs, shape = self.log_inputs(inputs)
        theta = self.coordinates(np.array([parameters[name] for name in self.names]))
        log_loss, _ = self.formula(theta[None], logs)
        return np.asarray(np.exp(log_loss[0]).reshape(shape))

    def log_inputs(
        self, inputs: Mapping[str, Array | float]
    ) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        """Logarithms of the inputs, flat and broadcast to each other, and their common shape."""
        if set(inputs) != set(self.inputs):
            raise SpecError(
                f"law {self.name} takes {' and '.join(self.inputs)}; given were "
                f"{', '.join(inputs) or 'none'}. Give exactly those."
            )
        arrays = [np.asarray(inputs[name], dtype=float) for name in self.inputs]
        for name, values in zip(self.inputs, arrays, strict=True):
            bad = values[~(np.isfinite(values) & (values > 0))]
            if bad.size:
                raise SpecError(
                    f"{name} is {bad.flat[0]}; law {self.name} needs positive, finite numbers."
                )
        try:
            together = np.broadcast_arrays(*arrays)
        except ValueError:
            shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(self.inputs, arrays, strict=True))
            raise SpecError(f"shapes do not go together: {shapes}. Give equal shapes.") from None
        return tuple(np.log(values).ravel() for values in together), together[0].shape

    def preset(self, name: str) -> Preset:
        """The preset of that name; raises SpecError with the known ones."""
        for preset in self.presets:
            if preset.name == name:
                return preset
        known = ", ".join(preset.name for preset in self.presets) or "none"
        raise SpecError(f"law {self.name} has no preset {name!r}; it has {known}.")

"""The one place that lists the laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from scalelab.errors import SpecError
from scalelab.laws.chinchilla import CHINCHILLA
from scalelab.laws.coupled import COUPLED
from scalelab.laws.kaplan import KAPLAN
from scalelab.laws.law import Law
from scalelab.laws.power import power, power_no_floor

_ONE_VARIABLE: Mapping[str, Callable[[str], Law]] = {
    "power": power,
    "power-no-floor": power_no_floor,
}

LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            CHINCHILLA,
            KAPLAN,
            COUPLED,
            *(make("params") for make in _ONE_VARIABLE.values()),
        )
    }
)
"""Every law by name; those in one variable stand here over ``params``."""


def get_law(name: str, column: str | None = None) -> Law:
    """The law of that name.

    column: for a law in one variable, the column of the run table that it is over (``params``,
    ``tokens``, ``flops``, ...). Raises SpecError for an unknown name, or for a column given to a
    law of several inputs.
    """
    if name not in LAWS:
        raise SpecError(f"there is no law {name!r}; known are {', '.join(LAWS)}.")
    if column is None:
        return LAWS[name]
    if name not in _ONE_VARIABLE:
        raise SpecError(
            f"law {name} is over {' and '.join(LAWS[name].inputs)}; a column can be chosen only "
            f"for {' and '.join(_ONE_VARIABLE)}."
        )
    return _ONE_VARIABLE[name](column)

"""The one place that lists the laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from scalelab.errors import SpecError
from scalelab.expressions import SYMBOLS
from scalelab.laws.chinchilla import CHINCHILLA, CHINCHILLA_TIED
from scalelab.laws.coupled import COUPLED
from scalelab.laws.hyperparameters import CRITICAL_BATCH, OPTIMAL_BATCH, OPTIMAL_LR
from scalelab.laws.kaplan import KAPLAN, KAPLAN_STEPS
from scalelab.laws.law import Law
from scalelab.laws.m4 import m4
from scalelab.laws.overtraining import OVERTRAINING
from scalelab.laws.power import broken_power, power, power_no_floor
from scalelab.laws.repeated import REPEATED
from scalelab.laws.schedule import ANNEALING, MULTI_POWER
from scalelab.laws.transfer import transfer, transfer_affine, transfer_offset

_BY_COLUMN: Mapping[str, tuple[Callable[[str], Law], str]] = {
    "power": (power, "params"),
    "power-no-floor": (power_no_floor, "params"),
    "broken-power": (broken_power, "params"),
    "m4": (m4, "params"),
    "transfer-offset": (transfer_offset, "loss.other"),
    "transfer-affine": (transfer_affine, "loss.other"),
    "transfer": (transfer, "loss.other"),
}
"""Laws over, or of, a column that the caller names: how each is made, and the column shown."""

LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            CHINCHILLA,
            CHINCHILLA_TIED,
            OVERTRAINING,
            KAPLAN,
            KAPLAN_STEPS,
            COUPLED,
            REPEATED,
            *(make(column) for make, column in _BY_COLUMN.values()),
            ANNEALING,
            MULTI_POWER,
            OPTIMAL_LR,
            OPTIMAL_BATCH,
            CRITICAL_BATCH,
        )
    }
)
"""Every law by name; those in one variable stand here over ``params``, those of transfer for a
column ``loss.other``."""


def get_law(name: str, column: str | None = None) -> Law:
    """The law of that name.

    column: for a law in one variable, the column of the run table that it is over (``params``,
    ``tokens``, ``flops``, ``position``, ..., or a symbol such as ``C``); for a
    law of transfer, the loss that it describes. Raises SpecError for an unknown name, or for a
    column given to a law that takes none.
    """
    if name not in LAWS:
        raise SpecError(f"there is no law {name!r}; known are {', '.join(LAWS)}.")
    if column is None:
        return LAWS[name]
    column = SYMBOLS.get(column, column)
    if name not in _BY_COLUMN:
        raise SpecError(
            f"law {name} is over {' and '.join(LAWS[name].inputs)}; a column can be chosen only "
            f"for {', '.join(_BY_COLUMN)}."
        )
    law = _BY_COLUMN[name][0](column)
    if law.response in law.inputs:
        raise SpecError(f"law {name} over {column} would describe {column} by itself.")
    return law


def column_of(law: Law) -> str | None:
    """The column that `get_law` made this law of, None for a law that takes none."""
    if law.name not in _BY_COLUMN:
        return None
    return law.response if law.name.startswith("transfer") else law.inputs[0]

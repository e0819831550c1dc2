"""The designs, in the order of the paper. A new one is a file here and a line in DESIGNS."""

from __future__ import annotations

from scalelab.errors import SpecError
from scalelab.studies.design import Design
from scalelab.studies.designs import overfitting, parameters_data_compute

DESIGNS: dict[str, Design] = {
    design.name: design
    for design in (
        # The paper's order.
        parameters_data_compute.DESIGN,
        overfitting.DESIGN,
    )
}

ALL = "kaplan"
"""The name under which all of them run with one budget."""


def get_designs(names: tuple[str, ...]) -> tuple[Design, ...]:
    """The designs of these names, in the paper's order; SpecError names what is unknown."""
    unknown = [name for name in names if name not in DESIGNS and name != ALL]
    if unknown:
        raise SpecError(
            f"there is no design {unknown[0]!r}; there are {', '.join(DESIGNS)}, and {ALL} for all."
        )
    return tuple(design for name, design in DESIGNS.items() if name in names or ALL in names)

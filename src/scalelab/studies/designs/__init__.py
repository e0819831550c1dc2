"""The designs, in the order of the paper. A new one is a file here and a line in DESIGNS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scalelab.errors import SpecError
from scalelab.studies.design import Design
from scalelab.studies.designs import (
    allocation,
    context,
    critical_batch,
    efficiency,
    embedding,
    learning_curves,
    overfitting,
    parameters_data_compute,
    recurrent,
    schedules,
    shape,
    transfer,
)
from scalelab.studies.divide import REPLICATES
from scalelab.studies.own_design import read_design

DESIGNS: dict[str, Design] = {
    design.name: design
    for design in (
        parameters_data_compute.DESIGN,
        overfitting.DESIGN,
        learning_curves.DESIGN,
        efficiency.DESIGN,
        critical_batch.DESIGN,
        allocation.DESIGN,
        shape.DESIGN,
        recurrent.DESIGN,
        context.DESIGN,
        transfer.DESIGN,
        embedding.DESIGN,
        schedules.DESIGN,
    )
}

ALL = "kaplan"
"""The name under which all of them run with one budget."""


def get_designs(names: Sequence[str]) -> tuple[Design, ...]:
    """The designs of these names, in the paper's order, then those of files of the user's own.

    A name that ends in .py is a file with a `Design` named DESIGN. SpecError names what is unknown.
    """
    files = list(dict.fromkeys(name for name in names if name.endswith(".py")))
    unknown = [name for name in names if name not in (*DESIGNS, *files, ALL)]
    if unknown:
        raise SpecError(
            f"there is no design {unknown[0]!r}; there are {', '.join(DESIGNS)}, {ALL} for all of "
            "them, and files MINE.py with a DESIGN of your own."
        )
    own = tuple(read_design(Path(name)) for name in files)
    chosen = tuple(d for name, d in DESIGNS.items() if name in names or ALL in names)
    taken = [ALL, REPLICATES, *DESIGNS]
    for file, design in zip(files, own, strict=True):
        if design.name in taken:
            raise SpecError(
                f"{file}: the name {design.name!r} is taken; choose another for DESIGN."
            )
        taken.append(design.name)
    return chosen + own

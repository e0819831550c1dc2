"""A table as it came, to one row a run or point."""

from __future__ import annotations

from scalelab.table.charts import unrolled
from scalelab.table.marks import unmarked
from scalelab.table.raw import Raw
from scalelab.table.sheets import tidied
from scalelab.table.wide import melted, refuse_wide_curves


def shaped(raw: Raw, *, curve: bool) -> Raw:
    """The table without what people and tools put around its cells.

    raw: a table whose cells are text, numbers or lists, and not objects. curve: whether points
    along training are wanted. What was decided is told in notices. Raises TableError where the
    table is of another kind, such as the chart of a tracker.
    """
    if raw.frame.is_empty():
        return raw
    raw = unrolled(tidied(unmarked(raw)), curve=curve)
    refuse_wide_curves(raw)
    return raw if curve else melted(raw)

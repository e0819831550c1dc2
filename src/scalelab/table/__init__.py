"""The run table: one typed schema, readers of files and frames, writers."""

from scalelab.table.curves import read_curves
from scalelab.table.read import RunTable, read_runs
from scalelab.table.schema import CURVE_COLUMNS, RUN_COLUMNS, STATUSES, Column
from scalelab.table.write import write_table

__all__ = [
    "CURVE_COLUMNS",
    "RUN_COLUMNS",
    "STATUSES",
    "Column",
    "RunTable",
    "read_curves",
    "read_runs",
    "write_table",
]

"""Anybody's learning curves: the loss along training, a row a point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.table import headers
from scalelab.table.cells import numbers
from scalelab.table.checks import Fault, describe
from scalelab.table.names import fits, only
from scalelab.table.own import read_own
from scalelab.table.raw import FILE, ROW
from scalelab.table.schema import CURVE_COLUMNS, RUN_COLUMNS
from scalelab.table.sources import load

if TYPE_CHECKING:
    import polars as pl


def read_curves(source: object, runs: pl.DataFrame | None = None) -> pl.DataFrame:
    """Read learning curves: run, step, tokens, flops, loss and whatever else the source has.

    source: as `read_runs` takes it. runs: a run table, from which the size of each run (or trunk)
    is taken where the curves do not hold params. Raises TableError when run or loss is missing, or
    a cell that is to be a number is none.
    """
    import polars as pl

    loaded = load(source, curve=True)
    file, raw = loaded.name, loaded.frame.drop(ROW, FILE)
    wanted = (*CURVE_COLUMNS, *(c for c in RUN_COLUMNS if c.name == "params"))
    known_as = {column.name: column.aliases for column in RUN_COLUMNS}
    mapping: dict[str, str] = {}
    for column in wanted:
        aliases = (*column.aliases, *known_as.get(column.name, ()))
        known = replace(column, aliases=aliases)
        found = [name for name in raw.columns if headers.names(name, known)]
        filled = [name for name in found if fits(raw[name], column)] or found
        if found and column.dtype != "str":
            mapping[column.name] = only(raw, file, column, filled, choose=False)
        elif found:
            mapping[column.name] = column.name if column.name in found else found[0]
    missing = [name for name in ("run", "loss") if name not in mapping]
    if missing:
        raise TableError(
            f"{file}: curves need the columns run and loss; it has {', '.join(raw.columns)}."
        )
    frame, faults = raw, []
    for column in wanted:
        if column.name in mapping and column.dtype != "str":
            source = mapping[column.name]
            cells, bad = numbers(raw[source], column)
            frame = frame.with_columns(cells.alias(source))
            faults.append(Fault(source, bad, raw[source], "expected a number"))
            if column.name == "loss":
                low = (cells <= 0).fill_null(value=False)
                faults.append(Fault(source, low, raw[source], "loss must be positive."))
    if any(fault.mask.any() for fault in faults):
        raise TableError(describe(loaded.frame, faults) + "\nMend them, or leave the cells empty.")
    taken = {source: name for name, source in mapping.items()}
    own = [name for name in frame.columns if name not in taken]
    frame = frame.with_columns(read_own(frame[name]).cells.alias(name) for name in own)
    beside = {n: f"source.{n}" for n in mapping if n in frame.columns and n not in taken}
    frame = frame.rename(beside | taken)
    if "params" in mapping or runs is None:
        return frame
    keys = [name for name in ("run", "trunk") if name in runs.columns]
    sizes = pl.concat([runs.select(pl.col(key).alias("run"), "params") for key in keys])
    return frame.join(sizes.drop_nulls().unique("run"), on="run", how="left")

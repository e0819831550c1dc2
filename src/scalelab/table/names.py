"""Which column of somebody's table is which column of the schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scalelab.errors import TableError
from scalelab.table.schema import RUN_COLUMNS, Column, normalized, run_column

if TYPE_CHECKING:
    import polars as pl

_OTHER_UNITS = {
    "perplexity": ("perplexity", "ppl", "valppl", "valperplexity", "testppl"),
    "bits per byte": ("bpb", "valbpb", "bitsperbyte"),
    "bits per token": ("bits", "bitspertoken", "valbits"),
}
_TO_NATS = {
    "perplexity": "its logarithm",
    "bits per byte": "bpb x ln 2 x bytes per token",
    "bits per token": "bits x ln 2",
}


def match_columns(
    frame: pl.DataFrame,
    file: str,
    chosen: Mapping[str, str] | None = None,
    *,
    need_loss: bool = True,
) -> dict[str, str]:
    """Map names of the schema to columns of `frame`.

    chosen: schema name -> column, the user's word, which overrides recognition. need_loss: whether
    a table without a loss is refused.

    Raises TableError when two columns with different values could be the same thing, when a
    chosen column does not exist, or when there is no loss or none of N, D and C.
    """
    chosen = dict(chosen or {})
    for name, source in chosen.items():
        if run_column(name) is None:
            raise TableError(f"{name!r} is not a column of the run table: {_schema_names()}.")
        if source not in frame.columns:
            raise TableError(f"{file} has no column {source!r}; it has {_list(frame.columns)}.")
    mapping = dict(chosen)
    taken = set(chosen.values())
    for column in RUN_COLUMNS:
        if column.name in chosen:
            continue
        candidates = [c for c in _candidates(frame, column) if c not in taken]
        if candidates:
            mapping[column.name] = _only(frame, file, column, candidates)
    for name in frame.columns:
        if name.startswith(("loss.", "loss/")) and name not in taken and len(name) > 5:
            mapping[f"loss.{name[5:]}"] = name
    _require(frame, file, mapping, need_loss=need_loss)
    return mapping


_SCALES = {
    **dict.fromkeys(("k", "thousand", "thousands"), 1e3),
    **dict.fromkeys(("m", "million", "millions"), 1e6),
    **dict.fromkeys(("b", "g", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "trillion", "trillions"), 1e12),
}
_IN_UNITS = re.compile(r"(.+?)(?:_| )?[(\[]?(?:in )?([a-z]+)[)\]]?", re.IGNORECASE)


def in_units(frame: pl.DataFrame) -> dict[str, tuple[str, float]]:
    """Schema name -> a column such as ``Params_B`` or ``tokens (millions)``, and its factor.

    Only counts whose plain name the table does not have, and only names with a mark between the
    name and the unit: ``D_B`` is data in billions, ``DB`` is not.
    """
    found: dict[str, tuple[str, float]] = {}
    for column in (c for c in RUN_COLUMNS if c.count and c.unit in ("parameters", "tokens")):
        if _candidates(frame, column):
            continue
        known = {normalized(name) for name in (column.name, *column.aliases)}
        for name in frame.columns:
            match = _IN_UNITS.fullmatch(name.strip())
            if match is None or match[2].lower() not in _SCALES or not _fits(frame[name], column):
                continue
            marked = len(match[0]) > len(match[1]) + len(match[2])
            if marked and normalized(match[1]) in known:
                found[column.name] = (name, _SCALES[match[2].lower()])
    return found


def _candidates(frame: pl.DataFrame, column: Column) -> list[str]:
    wanted = {normalized(name) for name in (column.name, *column.aliases)}
    names = [n for n in frame.columns if normalized(n) in wanted and not n.startswith("loss.")]
    # A column of words is not N, whatever its name (param_count = "kaplan").
    return [name for name in names if _fits(frame[name], column)]


def _fits(cells: pl.Series, column: Column) -> bool:
    import polars as pl

    filled = cells.drop_nulls()
    if filled.is_empty():
        return False
    if column.dtype == "str":
        return not cells.dtype.is_nested()
    if column.dtype == "bool" or cells.dtype.is_numeric():
        return True
    if cells.dtype != pl.String:
        return False
    digits = filled.str.contains(r"^\s*[-+]?[0-9.]").sum()
    return 2 * digits > len(filled)


def _only(frame: pl.DataFrame, file: str, column: Column, candidates: list[str]) -> str:
    exact = [name for name in candidates if name == column.name]
    first = (exact or candidates)[0]
    if all(frame[first].equals(frame[name], check_dtypes=False) for name in candidates):
        return first
    raise TableError(
        f"{file}: {_list(candidates)} could each be {column.name} ({column.meaning}) and differ. "
        f"Say which: --column {column.name}={candidates[0]}, or "
        f"columns={{{column.name!r}: {candidates[0]!r}}} in Python."
    )


def _require(
    frame: pl.DataFrame, file: str, mapping: Mapping[str, str], *, need_loss: bool
) -> None:
    if "loss" not in mapping and need_loss:
        for unit, names in _OTHER_UNITS.items():
            seen = [name for name in frame.columns if normalized(name) in names]
            if seen:
                raise TableError(
                    f"{file}: {seen[0]!r} is {unit}; the loss in nats per token is expected. "
                    f"Add a column loss = {_TO_NATS[unit]}."
                )
        _missing(frame, file, "loss", "held-out loss in nats per token", "val_loss")
    if not {"params", "tokens", "flops"} & mapping.keys():
        _missing(frame, file, "params", "N, D or C (params, tokens, flops)", "n_params")


def _missing(frame: pl.DataFrame, file: str, name: str, what: str, example: str) -> None:
    names = [f"{c} (empty)" if frame[c].null_count() == frame.height else c for c in frame.columns]
    raise TableError(
        f"{file}: no column for {what}; it has {_list(names)}. "
        f"Say which one it is: --column {name}=NAME, or rename it to {example}."
    )


def _list(names: list[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"


def _schema_names() -> str:
    return ", ".join(column.name for column in RUN_COLUMNS) + ", loss.NAME"

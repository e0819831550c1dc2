"""The same runs under other ways to count parameters and compute.

On one set of runs the exponent of N_opt was .37, .54 or .70 by the convention alone (nanochat), and
at width 64 6ND leaves out a fifth of the FLOP. So every table that holds parameters by part, or
shapes, can be counted anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scalelab.counting.flops import CONVENTIONS, flops_per_token
from scalelab.counting.parameters import GATES, count_parameters
from scalelab.counting.shape import RecurrentShape, Shape, TransformerShape
from scalelab.errors import ScalelabError, TableError
from scalelab.table import RunTable

if TYPE_CHECKING:
    import polars as pl

_MATRICES = ("params_attention", "params_feed_forward", "params_recurrent")
_PARTS = (*_MATRICES, "params_norm", "params_bias")
"""Of the layers."""
_OPTIONAL = {"params_recurrent", "params_bias"}
"""Counted where a table tells them."""
_RULES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "matrices": (_MATRICES, "non-embedding, the matrices of the layers (Kaplan et al. 2020)"),
    "with-norms": (_PARTS, "the matrices, norms and biases"),
    "with-output": ((*_PARTS, "output"), "with-norms and the output layer (Porian et al. 2024)"),
    "total": ((*_PARTS, "params_output", "params_embedding"), "every parameter"),
}
PARAMS = tuple(_RULES)
"""Ways to count N."""
_ALSO = {"non-embedding": "matrices"}
"""The N of scalelab's own runs, by the name that it has in papers: no way of its own."""
_SHAPE = ("n_layer", "d_model", "n_head", "d_ff", "context", "vocabulary")
_RECURRENT = ("n_layer", "d_model", "context", "vocabulary")
"""What a row of family lstm or gru must tell."""


def available(frame: pl.DataFrame) -> tuple[str, ...]:
    """The ways to count N that a table allows."""
    found = []
    for name in PARAMS:
        try:
            _params(frame, name)
        except TableError:
            continue
        found.append(name)
    return tuple(found)


def recount(table: RunTable, params: str | None = None, flops: str | None = None) -> RunTable:
    """The table with N, C or both counted anew.

    params: one of PARAMS, or non-embedding, which is matrices. flops: 6N (6 N D with N as it then
    stands), or kaplan, chinchilla, exact (see `scalelab.counting`), which need shapes. Raises
    TableError where the table does not tell.
    """
    frame, counted = table.frame, dict(table.counted)
    if params is not None:
        params = _ALSO.get(params, params)
        frame = frame.with_columns(_params(frame, params).alias("params"))
        counted["params"] = f"{params}: {_RULES[params][1]}"
    if flops is not None:
        frame = frame.with_columns(_flops(frame, flops).alias("flops"))
        counted["flops"] = flops
    return replace(table, frame=frame, counted=counted)


def _params(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in _RULES:
        raise TableError(f"N is counted as one of {', '.join((*PARAMS, *_ALSO))}, not {name!r}.")
    frame = _with_parts(frame)
    total = None
    for part in _RULES[name][0]:
        if part in _OPTIONAL and part not in frame.columns:
            continue
        # Biases are no column of the schema, and may be text.
        column = _output(frame) if part == "output" else frame[part].cast(float, strict=False)
        if part == "params_recurrent":
            column = column.fill_null(0.0)  # of a Transformer beside recurrent networks
        total = column if total is None else total + column
    assert total is not None
    if total.null_count():
        raise TableError(f"{total.null_count()} runs do not tell their parameters by part.")
    if not (total > 0).all():
        parts = ", ".join(part for part in _RULES[name][0] if part in frame.columns)
        raise TableError(
            f"counted as {name}, N is {float(total.to_numpy().min()):g} for some runs, and it must "
            f"be positive. Are {parts} right?"
        )
    return total


def _output(frame: pl.DataFrame) -> pl.Series:
    """A tied output layer costs its product, whoever owns the matrix."""
    if {"vocabulary", "d_model"} <= set(frame.columns):
        return (frame["vocabulary"] * frame["d_model"]).cast(float)
    if (frame["params_output"] == 0).any():
        raise TableError(
            "the output layer is tied to the embedding (params_output is 0); to count its product, "
            "a table needs vocabulary and d_model."
        )
    return frame["params_output"]


def _with_parts(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with parameters by part: its own columns, or counted from its shapes."""
    import polars as pl

    needed = (*_PARTS, "params_output", "params_embedding")
    if {*needed} - _OPTIONAL <= set(frame.columns):
        return frame
    counts = [count_parameters(shape).to_dict() for shape in _shapes(frame)]
    return frame.with_columns(
        pl.Series(name, [float(count[name.removeprefix("params_")]) for count in counts])
        for name in needed
    )


def _flops(frame: pl.DataFrame, name: str) -> pl.Series:
    import polars as pl

    if name not in CONVENTIONS:
        raise TableError(f"C is counted as one of {', '.join(CONVENTIONS)}, not {name!r}.")
    if name == "6N":
        return 6.0 * frame["params"] * frame["tokens"]
    column = f"flops_{name}"
    if column in frame.columns and not frame[column].null_count():
        return frame[column]
    per_token = [flops_per_token(shape, name) for shape in _shapes(frame)]
    return pl.Series(per_token, dtype=pl.Float64) * frame["tokens"]


def _shapes(frame: pl.DataFrame) -> list[Shape]:
    families = frame["family"].to_list() if "family" in frame.columns else [None] * frame.height
    needed = _RECURRENT if all(map(_is_recurrent, families)) and families else _SHAPE
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise TableError(
            f"to count anew, a table needs parameters by part, or shapes: {', '.join(needed)}; "
            f"{', '.join(missing)} is missing."
        )
    rows = frame.select(needed).iter_rows(named=True)
    try:
        return [_shape(family, row) for family, row in zip(families, rows, strict=True)]
    except ScalelabError as error:
        raise TableError(f"a shape of the table cannot be built: {error}") from error


def _is_recurrent(family: object) -> bool:
    return isinstance(family, str) and family.lower() in GATES


def _shape(family: str | None, row: dict[str, Any]) -> Shape:
    if family is not None and _is_recurrent(family):
        cell: Any = family.lower()
        return RecurrentShape(cell, **{name: row[name] for name in _RECURRENT})
    return TransformerShape(**row, positions="learned", bias=True)

"""The same runs under other ways to count parameters and compute.

On one set of runs the exponent of N_opt was .37, .54 or .70 by the convention alone (nanochat), and
at width 64 6ND leaves out a fifth of the FLOP. So N and C are recomputed for every table that holds
parameters by part, or shapes. The shapes are those of `table_shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from scalelab.counting.flops import CONVENTIONS, flops_per_token
from scalelab.counting.parameters import count_parameters
from scalelab.counting.table_shapes import Shapes, UncountableError, table_shapes
from scalelab.errors import Notice, TableError
from scalelab.table import RunTable

if TYPE_CHECKING:
    import polars as pl

_MATRICES = ("params_attention", "params_feed_forward", "params_recurrent")
_PARTS = (*_MATRICES, "params_norm", "params_bias")
"""Of the layers."""
_OPTIONAL = {"params_recurrent", "params_bias"}
"""Counted where a table has them."""
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
_OF_EXPERTS: Mapping[str, str] = {
    "active": "every parameter that a token uses",
    "active-matrices": "non-embedding, the matrices of the layers that a token uses",
}
"""Further ways to count N of a mixture of experts."""
_MATTER = {
    "matrices": {"gated", "n_kv_head", "head_dim", "d_ff", "d_expert"},
    "with-norms": {"norm", "bias", "qk_norm"},
    "total": {"positions", "tied"},
    "flops": {"sliding_window", "context"},
}
"""The assumptions on which a count depends, beside those of the ways before it."""
_FAR = 0.02
"""Relative difference between a table's N and its recount above which the shapes are in doubt
(assumed: norms and biases are less)."""


def available(frame: pl.DataFrame) -> tuple[str, ...]:
    """The ways to count N that a table allows.

    Raises TableError where its shapes are contradictory or of a kind that is not counted.
    """
    found = []
    for name in (*PARAMS, *_OF_EXPERTS):
        try:
            _params(frame, name)
        except UncountableError:
            continue
        found.append(name)
    return tuple(found)


def recount(table: RunTable, params: str | None = None, flops: str | None = None) -> RunTable:
    """The table with N, C or both recomputed.

    params: one of PARAMS, or non-embedding, which is matrices; of a mixture of experts also active
    and active-matrices, which leave out the experts that a token does not use. flops: 6N (6 N D
    with N as it then stands), or kaplan, chinchilla, exact (see `scalelab.counting`), which need
    shapes. What the shapes leave open is filled in by the rules of `described`, and said in a
    notice. Raises TableError where the table lacks a column, or has a shape that is not counted.
    """
    frame, counted, mapping = table.frame, dict(table.counted), dict(table.mapping)
    notices: list[Notice] = []
    used: dict[str, Shapes] = {}
    if params is not None:
        params = _ALSO.get(params, params)
        found, shapes = _params(frame, params)
        frame = frame.with_columns(found.alias("params"))
        rule = _RULES[params][1] if params in _RULES else _OF_EXPERTS[params]
        counted["params"] = f"{params}: {rule}"
        if shapes is not None:
            used[params] = shapes
            notices += _difference(table, shapes)
    if flops is not None:
        found, shapes = _flops(frame, flops)
        frame = frame.with_columns(found.alias("flops"))
        counted["flops"] = flops
        if shapes is not None:
            used[flops] = shapes
    for shapes in used.values():
        mapping |= shapes.read
    notices += [*_assumptions(used), *_experts(used, params, flops)]
    notices = [*table.notices, *notices]
    return replace(table, frame=frame, counted=counted, mapping=mapping, notices=tuple(notices))


# --- N ------------------------------------------------------------------------------------------


def _params(frame: pl.DataFrame, name: str) -> tuple[pl.Series, Shapes | None]:
    """N, and the shapes that it was counted from, if it was."""
    if name in _OF_EXPERTS:
        return _active(frame, name)
    if name not in _RULES:
        raise TableError(
            f"N is counted as one of {', '.join((*PARAMS, *_ALSO))}, not {name!r} (and as "
            f"{' or '.join(_OF_EXPERTS)}, of a mixture of experts)."
        )
    frame, shapes = _with_parts(frame)
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
        raise UncountableError(f"{total.null_count()} runs do not tell their parameters by part.")
    if not (total > 0).all():
        parts = ", ".join(part for part in _RULES[name][0] if part in frame.columns)
        raise UncountableError(
            f"counted as {name}, N is {float(total.to_numpy().min()):g} for some runs, and it must "
            f"be positive. Are {parts} right?"
        )
    return total, shapes


def _active(frame: pl.DataFrame, name: str) -> tuple[pl.Series, Shapes]:
    import polars as pl

    shapes = table_shapes(frame)
    if not shapes.experts:
        raise UncountableError(
            f"{name} counts a mixture of experts, and no run has n_expert above 1; count it as "
            f"one of {', '.join(PARAMS)}."
        )
    counts = [count_parameters(shape) for shape in shapes.each]
    if name == "active":
        found = [float(count.active) for count in counts]
    else:
        found = [float(count.non_embedding - count.inactive) for count in counts]
    return pl.Series(found), shapes


def _output(frame: pl.DataFrame) -> pl.Series:
    """A tied output layer costs its product, whoever owns the matrix."""
    if {"vocabulary", "d_model"} <= set(frame.columns):
        return (frame["vocabulary"] * frame["d_model"]).cast(float)
    if (frame["params_output"] == 0).any():
        raise UncountableError(
            "the output layer is tied to the embedding (params_output is 0); to count its product, "
            "a table needs vocabulary and d_model."
        )
    return frame["params_output"]


def _with_parts(frame: pl.DataFrame) -> tuple[pl.DataFrame, Shapes | None]:
    """The frame with parameters by part: its own columns, or counted from its shapes."""
    import polars as pl

    needed = (*_PARTS, "params_output", "params_embedding")
    if {*needed} - _OPTIONAL <= set(frame.columns):
        return frame, None
    shapes = table_shapes(frame)
    counts = [count_parameters(shape).to_dict() for shape in shapes.each]
    parts = [
        pl.Series(name, [float(count[name.removeprefix("params_")]) for count in counts])
        for name in needed
    ]
    return frame.with_columns(parts), shapes


# --- C ------------------------------------------------------------------------------------------


def _flops(frame: pl.DataFrame, name: str) -> tuple[pl.Series, Shapes | None]:
    """C, and the shapes that it was counted from, if it was."""
    import polars as pl

    if name not in CONVENTIONS:
        raise TableError(f"C is counted as one of {', '.join(CONVENTIONS)}, not {name!r}.")
    if name == "6N":
        return 6.0 * frame["params"] * frame["tokens"], None
    column = f"flops_{name}"
    if column in frame.columns and not frame[column].null_count():
        return frame[column], None
    shapes = table_shapes(frame)
    per_token = [flops_per_token(shape, name) for shape in shapes.each]
    return pl.Series(per_token, dtype=pl.Float64) * frame["tokens"], shapes


# --- what is said about it ----------------------------------------------------------------------


def _assumptions(used: Mapping[str, Shapes]) -> list[Notice]:
    """The rules on which these counts depend."""
    matter: set[str] = set()
    for way in used:
        matter |= _MATTER["matrices"]
        if way in CONVENTIONS:
            matter |= _MATTER["flops"]
        elif way not in ("matrices", "active-matrices"):
            matter |= _MATTER["with-norms"]
            if way in ("total", "active"):
                matter |= _MATTER["total"]
    rules = [rule for shapes in used.values() for rule in shapes.assumed if rule.field in matter]
    if not rules:
        return []
    styles = dict.fromkeys(style for shapes in used.values() for style in shapes.styles)
    texts = dict.fromkeys(rule.text for rule in rules)
    fields = dict.fromkeys(rule.field for rule in rules)
    message = (
        f"what the table does not say is assumed, as in {' and '.join(styles)}: "
        f"{'; '.join(texts)}. To change it, add columns {', '.join(fields)}."
    )
    return [Notice("shape-assumed", message)]


def _experts(used: Mapping[str, Shapes], params: str | None, flops: str | None) -> list[Notice]:
    """Which N a mixture of experts is counted by."""
    experts = next((shapes.experts for shapes in used.values() if shapes.experts), "")
    if not experts or params is None or params in _OF_EXPERTS:
        return []
    message = f"a token uses {experts} experts, and N counts them all"
    message += ", so that C = 6 N D is too large" if flops == "6N" else ""
    return [Notice("experts-counted", f"{message}. --params active counts those in use.")]


def _difference(table: RunTable, shapes: Shapes) -> list[Notice]:
    """Whether the table has an N of its own that no way to count its shapes comes near to."""
    import numpy as np

    if "params" not in table.mapping or "params" in table.counted:
        return []
    counts = [count_parameters(shape) for shape in shapes.each]
    with_norms = [count.non_embedding + count.norm + count.bias for count in counts]
    ways = [
        [count.non_embedding for count in counts],
        with_norms,
        [
            n + shape.vocabulary * shape.d_model
            for n, shape in zip(with_norms, shapes.each, strict=True)
        ],
        [count.total for count in counts],
        [count.active for count in counts],
        [count.non_embedding - count.inactive for count in counts],
        [count.total - count.embedding for count in counts],
    ]
    own = table.frame["params"].cast(float).to_numpy()
    off = [float(np.nanmedian(np.abs(np.array(way) / own - 1))) for way in ways]
    if not min(off) > _FAR:
        return []
    at = int(np.argmax(np.isfinite(own)))
    message = (
        f"the table's N ({table.mapping['params']}) is {own[at]:.4g} in row {at + 1}, and its "
        f"shape gives {counts[at].non_embedding:.4g} (matrices) to {counts[at].total:.4g} (total). "
        f"The nearest way to count is off by {min(off):.0%}. Is a column of the shape missing?"
    )
    return [Notice("count-differs", message)]

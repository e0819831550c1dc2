"""Columns that follow from others: D from steps or epochs, the third of N, D and C."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from scalelab.errors import Notice

if TYPE_CHECKING:
    import polars as pl

COMPUTE_CONVENTIONS = {"6ND": 6.0}
"""Training FLOP per parameter and token, by conventions that need nothing but N and D."""
THREE = ("params", "tokens", "flops")
"""Any two of them give the third."""
_PRODUCTS = {"tokens": (("unique_tokens", "epochs"), ("steps", "batch_tokens"))}


def sources(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Which of the columns `known` give `name`: itself, or those it is derived from, or none."""
    if found := _direct(name, known):
        return found
    others = [_direct(other, known) for other in THREE if other != name]
    return (*others[0], *others[1]) if name in THREE and all(others) else ()


def _direct(name: str, known: Collection[str]) -> tuple[str, ...]:
    if name in known:
        return (name,)
    return next((pair for pair in _PRODUCTS.get(name, ()) if set(pair) <= set(known)), ())


def completed(frame: pl.DataFrame, convention: str) -> tuple[pl.DataFrame, list[Notice]]:
    """The frame with the columns that follow from its own, and what was derived how."""
    import polars as pl

    notices = []
    for name, pairs in _PRODUCTS.items():
        pair = next((pair for pair in pairs if set(pair) <= set(frame.columns)), None)
        if pair is None or name in frame.columns:
            continue
        product = pl.col(pair[0]).cast(pl.Float64) * pl.col(pair[1])
        frame = frame.with_columns(product.alias(name))
        notices.append(Notice("derived-column", f"{name} was derived as {pair[0]} x {pair[1]}."))
    factor = COMPUTE_CONVENTIONS[convention]
    n, d, c = (pl.col(name) for name in THREE)
    formulas = {
        "params": (c / (factor * d), f"N = C / ({factor:g} D)"),
        "tokens": (c / (factor * n), f"D = C / ({factor:g} N)"),
        "flops": (factor * n * d, f"C = {factor:g} N D"),
    }
    absent = [name for name in THREE if name not in frame.columns]
    if len(absent) != 1:
        return frame, notices
    formula, shown = formulas[absent[0]]
    message = f"{absent[0]} was not given and was derived as {shown}, convention {convention}."
    frame = frame.with_columns(formula.alias(absent[0]))
    return frame, [*notices, Notice("derived-column", message)]

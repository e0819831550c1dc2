"""Columns of FLOP that are no training compute: the cost of one sample or token, or a rate."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from scalelab.errors import Notice
from scalelab.expressions import Expression
from scalelab.table.expressions import option
from scalelab.table.schema import NAMESPACES

Cost = Literal["sample", "token", "step", "second"]

_FLOP = re.compile(r"([kmgtpez]?)(?:flops?|flos)")
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
_RATE = {"s", "sec", "secs", "second", "seconds", "achieved", "peak", "throughput", "rate", "mfu"}
_STEP = {"step", "iter", "iteration", "batch"}
_SAMPLE = {"per", "forward", "fwd", "inference", "sample", "image", "example", "seq", "sequence"}
_WHOLE = {"train", "training", "total", "compute", "budget", "pretraining", "cumulative"}
_COUNTS: Mapping[Cost, tuple[str, ...]] = {
    "sample": ("samples", "examples", "images", "sequences"),
    "token": ("tokens",),
    "step": ("steps", "iterations"),
    "second": ("seconds", "time", "runtime"),
}
"""Words in the titles of columns that count what a cost is of."""
_FORWARD = 3  # the backward pass costs twice the forward pass (paper: Kaplan et al. 2020)


def cost_of(title: str) -> Cost | None:
    """What a title of FLOP says to be the cost of, or None where it may be that of a whole run.

    ``flops_per_token`` is of a token, ``tflops_per_s`` of a second; ``model_gflops`` and a bare
    ``gflops`` are what papers call the forward pass of one sample.
    """
    words = _words(title)
    units = [match[1] for word in words if (match := _FLOP.fullmatch(word))]
    if not units:
        return None
    others = {word for word in words if not _FLOP.fullmatch(word)}
    if others & _RATE:
        return "second"
    if "token" in others:
        return "token"
    if others & _STEP:
        return "step"
    if others & _SAMPLE:
        return "sample"
    if others & _WHOLE:
        return None
    if "model" in others:
        return "sample"
    # The unit alone: TFLOP are mostly those of a second, smaller ones those of a sample.
    if all(units) and others <= set(NAMESPACES):
        return "sample" if set(units) <= {"k", "m", "g"} else "second"
    return None


def _words(title: str) -> list[str]:
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", title).lower()
    return re.findall(r"[a-z]+|[0-9]+", split)


def compute_of(title: str, titles: Collection[str], mapping: Mapping[str, Expression]) -> str:
    """How training compute is made of a column that is a cost, in one sentence."""
    kind = cost_of(title)
    assert kind is not None
    taken = {"token": "tokens", "step": "steps", "second": "seconds"}.get(kind, "")
    count = (
        mapping[taken].text
        if taken in mapping and mapping[taken].is_name
        else next(
            (other for other in titles if set(_words(other)) & set(_COUNTS[kind])),
            _COUNTS[kind][0].upper(),
        )
    )
    scale = max(_SCALES[m[1]] for word in _words(title) if (m := _FLOP.fullmatch(word)))
    factor = scale if kind == "second" else scale * _FORWARD
    times = "" if factor == 1 else f"*{factor:g}".replace("e+0", "e").replace("e+", "e")
    made = option("flops", f"{title}*{count}{times}")
    if kind == "second":
        return f"Where it is a rate over the whole run, {made} makes C of it."
    return f"Where it is of a forward pass, {made} makes C of it: backward costs twice as much."


def told(titles: Collection[str], mapping: Mapping[str, Expression]) -> Iterator[Notice]:
    """Notices on columns that are no C for their names alone, where no column is C."""
    if "flops" in mapping:
        return
    for title in titles:
        if (kind := cost_of(title)) not in (None, "second"):
            yield Notice(
                "not-training-compute",
                f"column {title} was not taken for flops: its name says the cost of a {kind}, not "
                f"of a run. {compute_of(title, titles, mapping)}",
            )

"""Shapes of one N: depth against width, number of heads, feed-forward ratio."""

from __future__ import annotations

import math
from dataclasses import replace

from scalelab.counting import TransformerShape
from scalelab.studies.sizes import LEAST_HEADS, size_of

LAYERS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
HEADS = (1, 2, 4, 8, 16)
RATIOS = (0.5, 1.0, 2.0, 8.0)

NARROWEST = 2.0
"""Least aspect ratio d_model / n_layer trained."""

PAPER_FROM = 4.0
"""Least aspect ratio that the check takes in; narrower ones stand apart. Kaplan et al.'s figure 5
begins between 4 and 10; at these sizes 10 would leave two and three layers alone. (assumed)"""

LEAST_HEAD = 8
"""Least width of a head that the check takes in: their figure begins at about 10."""


def variants(base: TransformerShape) -> dict[str, list[TransformerShape]]:
    """Shapes of the size of `base` along each axis, `base` among them: aspect, heads, ratio."""
    sized = [_sized(base, n_layer, 4.0) for n_layer in LAYERS if n_layer != base.n_layer]
    deep = [s for s in sized if s and (s.n_layer == 1 or aspect(s) >= NARROWEST)]
    heads = [
        replace(base, n_head=count)
        for count in HEADS
        if count != base.n_head and base.d_model % (2 * count) == 0 and base.d_model >= 4 * count
    ]
    ratios = [_sized(base, base.n_layer, ratio) for ratio in RATIOS]
    return {
        "aspect": [base, *deep],
        "heads": [base, *heads],
        "ratio": [base, *(shape for shape in ratios if shape)],
    }


def aspect(shape: TransformerShape) -> float:
    """Aspect ratio d_model / n_layer."""
    return shape.d_model / shape.n_layer


def _sized(base: TransformerShape, n_layer: int, ratio: float) -> TransformerShape | None:
    """The shape of N = n_layer d_model (4 d_model + 2 d_ff) nearest to a feed-forward ratio.

    The width is one that heads of `base.head_dim` or so divide; d_ff, which may be any whole
    number, then makes up N to within a percent. None where no width comes near the ratio.
    """
    per_layer = size_of(base) / n_layer
    ideal = math.sqrt(per_layer / (4 + 2 * ratio))
    best: tuple[float, TransformerShape] | None = None
    for width in range(max(12, int(ideal * 0.8)), int(ideal * 1.25) + 2):
        heads = [h for h in range(LEAST_HEADS, width // 6 + 1) if width % (2 * h) == 0]
        d_ff = round((per_layer - 4 * width**2) / (2 * width))
        if not heads or d_ff < 1:
            continue
        head = min(heads, key=lambda h: abs(h - width / base.head_dim))
        off = abs(math.log(d_ff / width / ratio))
        if best is None or off < best[0]:
            shape = replace(base, n_layer=n_layer, d_model=width, n_head=head, d_ff=d_ff)
            best = off, shape
    return best[1] if best is not None and best[0] < math.log(1.5) else None


def place(axis: str, shape: TransformerShape) -> float:
    """Where a shape stands on an axis of figure 5."""
    if axis == "aspect":
        return aspect(shape)
    return shape.head_dim if axis == "heads" else shape.d_ff / shape.d_model


def counts(axis: str, shape: TransformerShape) -> bool:
    """Whether the check takes a shape in; others stand apart: one layer, one head, narrow ones.

    Kaplan et al. 2020, section 3.2: one-layer models fall off the trend of all others. So does one
    head a layer here, where a model has two layers, not dozens (measured: docs/LOG.md).
    """
    if axis == "aspect":
        return shape.n_layer > 1 and aspect(shape) >= PAPER_FROM
    return axis != "heads" or (shape.n_head >= LEAST_HEADS and shape.head_dim >= LEAST_HEAD)

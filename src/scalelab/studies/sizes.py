"""One dial sets the shape: the width. Depth, heads and feed-forward follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scalelab.counting import TransformerShape, count_parameters
from scalelab.counting.shape import Activation, Norm, Positions

WIDTHS = (
    *(8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512),
    *(640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 4096),
)
SMALL_DEPTH = 4
"""Layers up to width 256. One depth for all small sizes keeps the ladder smooth: with depth that
grows from 2, each jump of a layer leaves a step in the losses. (measured: docs/LOG.md)"""


@dataclass(frozen=True)
class Family:
    """What all sizes of a ladder share: see `TransformerShape` for each."""

    context: int
    vocabulary: int
    positions: Positions = "rotary"
    norm: Norm = "layernorm"
    activation: Activation = "gelu"
    tied: bool = True

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.positions} positions, {self.norm}, {self.activation}, "
            f"{'tied' if self.tied else 'untied'} output layer, context {self.context}, "
            f"vocabulary {self.vocabulary}"
        )


def shape_of_width(d_model: int, family: Family) -> TransformerShape:
    """The shape of a width: depth 4 up to width 256, then sqrt(d_model)/4; heads of about 16 to 64.

    The feed-forward layer is four times the width (paper: Kaplan et al. 2020 find the loss almost
    flat in the ratio). Aspect ratio d_model / n_layer stays between 4 and 180, where the paper
    finds losses within a few percent.
    """
    depth = max(SMALL_DEPTH, round(math.sqrt(d_model) / 4))
    head_dim = 16 if d_model <= 128 else 32 if d_model <= 512 else 64
    wanted = max(1, d_model // head_dim)
    heads = max(h for h in range(1, wanted + 1) if d_model % h == 0 and d_model // h % 2 == 0)
    return TransformerShape(
        n_layer=depth,
        d_model=d_model,
        n_head=heads,
        d_ff=4 * d_model,
        **asdict(family),
    )


def size_of(shape: TransformerShape) -> int:
    """N, non-embedding parameters."""
    return count_parameters(shape).non_embedding


def rungs(largest: int, family: Family, count: int, span: float) -> Sequence[TransformerShape]:
    """`count` shapes from about N/span to N, evenly spaced in log N as far as widths allow.

    largest: width of the top rung, of size N. span: its ratio to the lowest rung.
    """
    shapes = [shape_of_width(width, family) for width in WIDTHS if width <= largest]
    top = math.log(size_of(shapes[-1]))
    chosen: list[TransformerShape] = []
    for i in range(count):
        target = top - math.log(span) * (count - 1 - i) / (count - 1)
        best = min(shapes, key=lambda shape: abs(math.log(size_of(shape)) - target))
        if best not in chosen:
            chosen.append(best)
    return chosen

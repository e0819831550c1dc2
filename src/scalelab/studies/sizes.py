"""One dial sets the shape: the width. Depth is the ladder's; heads and the rest follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalelab.counting import Shape, TransformerShape, count_parameters
from scalelab.counting.shape import Activation, Norm, Positions
from scalelab.schema import Whole

WIDTHS = (
    *(12, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 208, 224, 256, 320, 384, 448, 512),
    *(640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 4096),
)
"""From 12: two heads of a width less would have hardly a dimension to tell positions by."""

LEAST_HEADS = 2
"""One head where the next size has two leaves a step of .06 nats. (measured: docs/LOG.md)"""


@dataclass(frozen=True)
class Family:
    """What all sizes of a ladder share, so that they differ in nothing but width.

    n_layer and head_dim follow from the largest size: see `up_to`. The rest is as in
    `TransformerShape`.
    """

    context: Whole
    vocabulary: Whole
    positions: Positions = "rotary"
    norm: Norm = "layernorm"
    activation: Activation = "gelu"
    tied: bool = True
    n_layer: Whole = 2
    head_dim: Whole = 16

    def up_to(self, d_model: int) -> Family:
        """The family for a ladder whose largest width is d_model.

        One depth for all sizes: with depth that grows along the ladder each jump leaves a step in
        the losses. Two layers up to width 224, then sqrt(d_model) / 6: at 200k and 600k parameters
        2, 3 and 4 layers were within .015 nats, and fewer are faster (measured: docs/LOG.md; paper:
        Kaplan et al. 2020, section 3.1, loss is almost flat in the shape).
        """
        return replace(
            self,
            n_layer=max(2, round(math.sqrt(d_model) / 6)),
            head_dim=16 if d_model <= 256 else 32 if d_model <= 512 else 64,
        )

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.n_layer} layers, heads of about {self.head_dim}, {self.positions} positions, "
            f"{self.norm}, {self.activation}, {'tied' if self.tied else 'untied'} output layer, "
            f"context {self.context}, vocabulary {self.vocabulary}"
        )


def shape_of_width(d_model: int, family: Family) -> TransformerShape:
    """The shape of a width; the feed-forward layer is four times as wide.

    Heads: as many as come nearest to d_model / head_dim and divide the width evenly.
    """
    fitting = [h for h in range(LEAST_HEADS, d_model) if d_model % h == 0 and d_model // h % 2 == 0]
    return TransformerShape(
        n_layer=family.n_layer,
        d_model=d_model,
        n_head=min(fitting, key=lambda h: abs(h - d_model / family.head_dim)),
        d_ff=4 * d_model,
        context=family.context,
        vocabulary=family.vocabulary,
        positions=family.positions,
        norm=family.norm,
        activation=family.activation,
        tied=family.tied,
    )


def size_of(shape: Shape) -> int:
    """N, non-embedding parameters."""
    return count_parameters(shape).non_embedding


def rungs(largest: int, family: Family, count: int, span: float) -> Sequence[TransformerShape]:
    """`count` shapes or fewer, up to size N, evenly spaced in log N as far as widths allow.

    largest: width of the top rung, of size N. span: its ratio to the lowest rung, at least where
    there are widths so small.
    """
    shapes = [shape_of_width(width, family) for width in WIDTHS if width <= largest]
    top = math.log(size_of(shapes[-1]))
    below = [shape for shape in shapes if size_of(shape) * span <= size_of(shapes[-1])]
    span = size_of(shapes[-1]) / size_of(below[-1] if below else shapes[0])
    chosen: list[TransformerShape] = []
    for i in range(count):
        target = top - math.log(span) * (count - 1 - i) / (count - 1)
        best = min(shapes, key=lambda shape: abs(math.log(size_of(shape)) - target))
        if best not in chosen:
            chosen.append(best)
    return chosen

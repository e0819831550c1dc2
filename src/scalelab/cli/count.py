"""``scalelab count``: what a model costs."""

from __future__ import annotations

from dataclasses import dataclass

from scalelab.cli.common import print_json, print_lines


@dataclass(frozen=True)
class Count:
    """Count a Transformer's parameters by part and its training FLOP per token by convention."""

    n_layer: int
    """Layers."""
    d_model: int
    """Width."""
    n_head: int = 1
    """Attention heads."""
    d_ff: int | None = None
    """Feed-forward width (default: four times the width)."""
    context: int = 1024
    """Tokens seen at once."""
    vocabulary: int = 50_257
    """Distinct tokens."""
    untied: bool = False
    """The output layer has a matrix of its own, not the embedding transposed."""
    json: bool = False
    """Print one JSON object."""


def count(command: Count) -> int:
    """`scalelab count`."""
    from scalelab.counting import CONVENTIONS, TransformerShape, count_parameters, flops_per_token

    shape = TransformerShape(
        n_layer=command.n_layer,
        d_model=command.d_model,
        n_head=command.n_head,
        d_ff=command.d_ff or 4 * command.d_model,
        context=command.context,
        vocabulary=command.vocabulary,
        tied=not command.untied,
    )
    parts = count_parameters(shape).to_dict()
    flops = {name: flops_per_token(shape, name) for name in CONVENTIONS}
    if command.json:
        print_json({"parameters": parts, "flops_per_token": flops})
    else:
        print_lines(
            [f"{name:<16}{number:>16,}" for name, number in parts.items()]
            + [f"FLOP/token {name:<12}{number:>9.3e}" for name, number in flops.items()]
        )
    return 0

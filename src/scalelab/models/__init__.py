"""The networks."""

from scalelab.counting import RecurrentShape, Shape
from scalelab.models.recurrent import Recurrent
from scalelab.models.state import State, join_rows, take_rows
from scalelab.models.transformer import Transformer

__all__ = [
    "LanguageModel",
    "Recurrent",
    "State",
    "Transformer",
    "build_model",
    "join_rows",
    "take_rows",
]

LanguageModel = Transformer | Recurrent


def build_model(shape: Shape, seed: int = 0) -> LanguageModel:
    """The network of a shape; the same shape and seed give the same parameters anywhere."""
    return Recurrent(shape, seed) if isinstance(shape, RecurrentShape) else Transformer(shape, seed)

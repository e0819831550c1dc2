"""The networks."""

from scalelab.counting import RecurrentShape, Shape
from scalelab.models.recurrent import Recurrent
from scalelab.models.transformer import Transformer

Model = Transformer | Recurrent


def build_model(shape: Shape, seed: int = 0) -> Model:
    """The network of a shape, initialised from a seed."""
    if isinstance(shape, RecurrentShape):
        return Recurrent(shape, seed)
    return Transformer(shape, seed)


__all__ = ["Model", "Recurrent", "Transformer", "build_model"]

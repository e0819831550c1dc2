"""The networks."""

from scalelab.models.transformer import Transformer

__all__ = ["Transformer"]

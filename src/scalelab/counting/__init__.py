"""What a model costs: parameters by part, training FLOP by convention, memory."""

from scalelab.counting.flops import CONVENTIONS, flops_per_token
from scalelab.counting.parameters import ParameterCount, count_parameters
from scalelab.counting.shape import Experts, ModelShape, RecurrentShape, Shape, TransformerShape

__all__ = [
    "CONVENTIONS",
    "Experts",
    "ModelShape",
    "ParameterCount",
    "RecurrentShape",
    "Shape",
    "TransformerShape",
    "count_parameters",
    "flops_per_token",
]

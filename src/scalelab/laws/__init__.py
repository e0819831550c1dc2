"""Scaling laws: one file each, listed in `registry`; a formula, and all else follows from it."""

from scalelab.laws.custom import custom_law
from scalelab.laws.dual import Array
from scalelab.laws.law import Derived, Law, Parameter, Preset
from scalelab.laws.registry import LAWS, column_of, get_law
from scalelab.laws.starts import starts_of

__all__ = [
    "LAWS",
    "Array",
    "Derived",
    "Law",
    "Parameter",
    "Preset",
    "column_of",
    "custom_law",
    "get_law",
    "starts_of",
]

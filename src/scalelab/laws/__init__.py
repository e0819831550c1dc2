"""Scaling laws: one file each, listed in `registry`; formulas with exact derivatives."""

from scalelab.laws.law import Array, Derived, Law, Parameter, Preset, Separable
from scalelab.laws.registry import LAWS, get_law

__all__ = ["LAWS", "Array", "Derived", "Law", "Parameter", "Preset", "Separable", "get_law"]

"""Run table and law in, fit out: global optimum, intervals, diagnosis."""

from scalelab.fitting.diagnosis import Diagnosis
from scalelab.fitting.engine import fit
from scalelab.fitting.estimator import Estimator
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.result import Estimate, Fit, Prediction
from scalelab.fitting.slices import SLICES

__all__ = [
    "SLICES",
    "Diagnosis",
    "Estimate",
    "Estimator",
    "Fit",
    "Intervals",
    "Prediction",
    "fit",
]

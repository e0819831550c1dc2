"""A run table and a law to a fit: global optimum, intervals, diagnosis, prediction, back-test."""

from scalelab.fitting.adjust import at_best_batch
from scalelab.fitting.auto import checked, fit_auto
from scalelab.fitting.backtest import backtest
from scalelab.fitting.diagnosis import Diagnosis
from scalelab.fitting.engine import fit
from scalelab.fitting.estimator import Estimator
from scalelab.fitting.growth import envelope, optima
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.isoflop import IsoFlop, isoflop
from scalelab.fitting.result import Estimate, Fit, Prediction
from scalelab.fitting.scores import Backtest, Candidate
from scalelab.fitting.slices import SLICES
from scalelab.fitting.sweeps import Sweeps, sweep_optima, sweeps

__all__ = [
    "SLICES",
    "Backtest",
    "Candidate",
    "Diagnosis",
    "Estimate",
    "Estimator",
    "Fit",
    "Intervals",
    "IsoFlop",
    "Prediction",
    "Sweeps",
    "at_best_batch",
    "backtest",
    "checked",
    "envelope",
    "fit",
    "fit_auto",
    "isoflop",
    "optima",
    "sweep_optima",
    "sweeps",
]

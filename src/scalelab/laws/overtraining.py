"""Gadre's law of over-training: loss by compute and by tokens per parameter."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.law import Law, Parameter, Preset

_GRID = (0.025, 0.05, 0.075, 0.1, 0.13, 0.17, 0.22, 0.3, 0.4, 0.55, 0.75)


def _log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    # M^eta C^-eta = 6^-eta N^-2eta and M^-eta C^-eta = 6^-eta D^-2eta, with C = 6 N D.
    size = np.exp(p.log_a - p.eta * (math.log(6) + 2 * x.log_params))
    data = np.exp(p.log_b - p.eta * (math.log(6) + 2 * x.log_tokens))
    return np.log(p.E + size + data)


def _preset(data: str, floor: float, a: float, b: float, eta: float) -> Preset:
    return Preset(
        f"gadre2024-{data}",
        {"E": floor, "a": a, "b": b, "eta": eta},
        "Gadre et al. 2024, arXiv 2403.08540, table 6, a and b rounded as printed",
    )


OVERTRAINING = Law(
    name="overtraining",
    equation="L = E + (a M^eta + b M^-eta) C^-eta, M = D / N, C = 6 N D",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("E", "irreducible loss, nats per token", 0.0, np.inf),
        Parameter("a", "scale that tokens per parameter raise", 0.0, np.inf, log=True),
        Parameter("b", "scale that tokens per parameter lower", 0.0, np.inf, log=True),
        Parameter(
            "eta", "exponent of compute", 0.0025, 1.5, prior=(0.12, 1.0), open=True, grid=_GRID
        ),
    ),
    log_response=_log_loss,
    linear=("E", "a", "b"),
    reference="Gadre et al. 2024, arXiv 2403.08540, equation 4: Chinchilla's form with "
    "alpha = beta = 2 eta",
    presets=(
        _preset("c4", 1.51, 141.0, 190.0, 0.121),
        _preset("redpajama", 1.84, 212.0, 367.0, 0.136),
        _preset("refinedweb", 1.73, 157.0, 246.0, 0.127),
    ),
)
"""L(C, M) = E + (a M^eta + b M^-eta) C^-eta: the loss falls with compute at every M = D/N alike."""

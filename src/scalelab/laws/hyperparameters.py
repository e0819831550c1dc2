"""Laws of hyper-parameters: the best learning rate and batch, the critical batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.law import Law, Parameter, Preset

_SLOPES = (-1.0, -0.5, 0.0, 0.5, 1.0)


def _log_lr(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    return p.log_c + p.a * x.log_params + p.b * x.log_tokens


OPTIMAL_LR = Law(
    name="optimal-lr",
    equation="lr = c N^a D^b",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("c", "scale", 0.0, np.inf, log=True),
        Parameter("a", "exponent of size", -5.0, 5.0, grid=_SLOPES),
        Parameter("b", "exponent of data", -5.0, 5.0, grid=_SLOPES),
    ),
    log_response=_log_lr,
    linear=("c",),
    response="lr",
    reference="Li et al. 2025 (Step Law), arXiv 2503.04715, equation 1",
    presets=(
        Preset(
            "steplaw2025-lr",
            {"c": 1.79, "a": -0.713, "b": 0.307},
            "Li et al. 2025: peak rate of AdamW, cosine to a fixed end",
        ),
    ),
)
"""The learning rate with the lowest loss, over runs that are each the best of their sweep."""

OPTIMAL_BATCH = Law(
    name="optimal-batch",
    equation="B = c D^b",
    inputs=("tokens",),
    parameters=(
        Parameter("c", "scale", 0.0, np.inf, log=True),
        Parameter("b", "exponent of data", -5.0, 5.0, grid=_SLOPES),
    ),
    log_response=lambda p, x: p.log_c + p.b * x.log_tokens,
    linear=("c",),
    response="batch_tokens",
    reference="Li et al. 2025 (Step Law), arXiv 2503.04715, equation 1",
    presets=(
        Preset("steplaw2025-batch", {"c": 0.58, "b": 0.571}, "Li et al. 2025: tokens per step"),
    ),
)
"""The batch with the lowest loss, in tokens, over runs that are each the best of their sweep."""

CRITICAL_BATCH = Law(
    name="critical-batch",
    equation="B_crit = B_star / L^(1 / alpha_B)",
    inputs=("loss",),
    parameters=(
        Parameter("B_star", "critical batch at a loss of 1 nat, tokens", 0.0, np.inf, log=True),
        Parameter(
            *("alpha_B", "exponent", 0.02, 5.0), open=True, grid=(0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
        ),
    ),
    log_response=lambda p, x: p.log_B_star - x.log_loss / p.alpha_B,
    linear=("B_star",),
    response="critical_batch",
    reference="Kaplan et al. 2020, arXiv 2001.08361, equation 5.3",
    presets=(
        Preset(
            "kaplan2020-batch",
            {"B_star": 2.1e8, "alpha_B": 0.21},
            "Kaplan et al. 2020, equation 5.3: BPE tokens of WebText2",
        ),
    ),
)
"""The batch at which reaching a loss takes twice the fewest steps, and twice the fewest tokens."""

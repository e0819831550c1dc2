"""The Chinchilla law: an irreducible loss, and one power law each for size and data."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.law import Derived, Law, Parameter, Preset, Restrictions

# Weak (assumed): nine exponents in ten of this form lie between .05 and 1.3.
_PRIOR = (0.25, 1.0)
GRID = (0.05, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.8, 1.1, 1.5)

N_OPT = Derived(
    "N_opt_exponent",
    "a in N_opt ~ C^a with C = 6 N D: beta / (alpha + beta)",
    lambda v: v["beta"] / (v["alpha"] + v["beta"]),
)
D_OPT = Derived(
    "D_opt_exponent",
    "b in D_opt ~ C^b with C = 6 N D: alpha / (alpha + beta)",
    lambda v: v["alpha"] / (v["alpha"] + v["beta"]),
)


def _log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    size = np.exp(p.log_A - p.alpha * x.log_params)
    data = np.exp(p.log_B - p.beta * x.log_tokens)
    return np.log(p.E + size + data)


CHINCHILLA = Law(
    name="chinchilla",
    equation="L = E + A / N^alpha + B / D^beta",
    inputs=("params", "tokens"),
    parameters=(
        Parameter("E", "irreducible loss, nats per token", 0.0, np.inf),
        Parameter("A", "scale of what size leaves, N in parameters", 0.0, np.inf, log=True),
        Parameter("B", "scale of what data leaves, D in tokens", 0.0, np.inf, log=True),
        Parameter("alpha", "exponent of size", 0.005, 3.0, prior=_PRIOR, open=True, grid=GRID),
        Parameter("beta", "exponent of data", 0.005, 3.0, prior=_PRIOR, open=True, grid=GRID),
    ),
    log_response=_log_loss,
    linear=("E", "A", "B"),
    reference="Hoffmann et al. 2022, arXiv 2203.15556, equation 2 and section 3.3 (approach 3)",
    derived=(N_OPT, D_OPT),
    presets=(
        Preset(
            "hoffmann2022",
            {"E": 1.69337368, "A": 406.401018, "B": 410.722827, "alpha": 0.33917084}
            | {"beta": 0.2849083},
            "Hoffmann et al. 2022, approach 3, unrounded from their LaTeX source",
        ),
        Preset(
            "besiroglu2024",
            {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
            "Besiroglu et al. 2024, arXiv 2404.10102, the same form fitted again",
        ),
    ),
)
"""L(N, D) = E + A / N^alpha + B / D^beta: N parameters, D tokens processed, L nats per token."""

CHINCHILLA_TIED = replace(
    CHINCHILLA.restrict(tied={"beta": "alpha"}),
    name="chinchilla-tied",
    equation="L = E + A / N^alpha + B / D^alpha",
    restrictions=Restrictions(),  # a law of its own, which a user may restrict
    reference="Muennighoff et al. 2023, arXiv 2305.16264, appendix A: one exponent",
    derived=(),
    presets=(
        Preset(
            "muennighoff2023",
            {"E": float(np.exp(0.6254804)), "A": float(np.exp(6.255414))}
            | {"B": float(np.exp(7.3049974)), "alpha": 0.3526596},
            "Muennighoff et al. 2023, one epoch of C4",
        ),
    ),
)
"""The same with one exponent: N_opt and D_opt then grow alike, as C^1/2."""

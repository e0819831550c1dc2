"""Loss on another distribution, from the loss on the training distribution."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from scalelab.laws.law import Law, Parameter

_ANY = (-np.inf, np.inf)


def transfer_offset(column: str = "loss.other") -> Law:
    """The law L' = L + K, where L' is that column."""
    return Law(
        name="transfer-offset",
        equation="L' = L + K",
        inputs=("loss",),
        parameters=(Parameter("K", "what the other distribution costs more, nats", *_ANY),),
        log_response=lambda p, x: np.log(np.exp(x.log_loss) + p.K),
        linear=("K",),
        response=column,
        reference="Kaplan et al. 2020, arXiv 2001.08361, section 3.2.2",
    )


def transfer_affine(column: str = "loss.other") -> Law:
    """The law L' = K + k L, where L' is that column."""
    return Law(
        name="transfer-affine",
        equation="L' = K + k L",
        inputs=("loss",),
        parameters=(
            Parameter("K", "offset, nats", *_ANY),
            Parameter("k", "slope", 0.0, np.inf, log=True),
        ),
        log_response=lambda p, x: np.log(p.K + np.exp(p.log_k + x.log_loss)),
        linear=("K", "k"),
        response=column,
        reference="the offset of Kaplan et al. 2020, section 3.2.2, with a slope",
    )


def transfer(column: str = "loss.other") -> Law:
    """The law L' = E_2 + k (L - E_1)^kappa, where L' is that column."""

    def log_loss(p: SimpleNamespace, x: SimpleNamespace) -> Any:
        above = np.exp(x.log_loss) - p.E_1
        return np.log(p.E_2 + np.exp(p.log_k + p.kappa * np.log(above)))

    def floors(x: SimpleNamespace) -> Sequence[float]:
        return tuple(np.exp(x.log_loss).min() * np.array([0.0, 0.4, 0.7, 0.9]))

    return Law(
        name="transfer",
        equation="L' = E_2 + k (L - E_1)^kappa",
        inputs=("loss",),
        parameters=(
            Parameter("E_1", "floor of the training distribution", 0.0, np.inf, grid=floors),
            Parameter("E_2", "floor of the other distribution", 0.0, np.inf),
            Parameter("k", "scale", 0.0, np.inf, log=True),
            Parameter(
                *("kappa", "1: the two fall together", 0.02, 10.0),
                open=True,
                grid=(0.6, 0.8, 1, 1.3, 2),
            ),
        ),
        log_response=log_loss,
        linear=("E_2", "k"),
        response=column,
        reference="Brandfonbrener et al. 2024, arXiv 2411.12925, equation 4",
    )

"""The joint law in several forms: what the form alone makes of a number belongs to its interval.

Bootstrap draws of one law say how far luck moves a number, not how far it would move under another
law that describes the same runs as well. So what follows from a joint law is asked of three:

    coupled     L(N, D) through the ladder's runs at the end of their decay
    chinchilla  E + A / N^alpha + B / D^beta through the same
    curves      the same form through the trunks' curves at constant rate

At the one batch of a ladder steps and tokens are one, so that the last is the paper's L(N, S) with
a floor. No critical batch is needed for it: the optimal size at a loss is the same whether C or
C_min is held, for at a loss the two differ by one factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scalelab.laws import Array, get_law
from scalelab.studies.analysis.curve_laws import through_trunks
from scalelab.studies.analysis.joint import DRAWS, Joint, joint_of, of_ladder
from scalelab.studies.analysis.trunk_curves import trunk_points
from scalelab.studies.evidence import Evidence, Run

MAIN = "coupled"

WORDS = {
    "coupled": "the joint law L(N, D) of decayed runs",
    "chinchilla": "E + A / N^alpha + B / D^beta of decayed runs",
    "curves": "a law with a floor of the trunks' curves at constant rate",
}


FORMS = {
    "coupled": "joint law of decayed runs",
    "chinchilla": "E + A/N^a + B/D^b of decayed runs",
    "curves": "law of the trunks' curves",
}
"""How legends name them."""


def forms(evidence: Evidence) -> dict[str, Joint]:
    """Every form that can be fitted, by name, the main one first; empty without the main one."""
    constant = constant_over_decayed(evidence)
    found = {
        "coupled": joint_of(evidence, "coupled", constant),
        "chinchilla": joint_of(evidence, "chinchilla", constant),
        "curves": of_curves(evidence),
    }
    if found[MAIN] is None:
        return {}
    return {name: joint for name, joint in found.items() if joint is not None}


def of_curves(evidence: Evidence) -> Joint | None:
    """The law of the trunks' curves, None where they are too few."""
    trunks = [run for run in evidence.trunks if run.result is not None]
    found = through_trunks(get_law("chinchilla"), trunk_points(trunks), evidence, DRAWS)
    return None if found is None else of_ladder(found, trunks)


def constant_over_decayed(evidence: Evidence) -> float:
    """Loss of a trunk over that of its branch after equal tokens: the median over branches.

    The largest data size has none: there the trunk ends where the decay begins. 1 where nothing
    tells.
    """
    trunks = {run.spec.run: run for run in evidence.trunks}
    ratios = [
        at / run.loss
        for run in evidence.branches
        if (trunk := trunks.get(str(run.spec.trunk))) is not None
        and np.isfinite(at := _loss_after(trunk, run.tokens))
    ]
    return float(np.median(ratios)) if ratios else 1.0


def _loss_after(trunk: Run, tokens: int) -> float:
    """Between evaluations of a trunk, NaN beyond them."""
    curve = trunk.curve.filter((trunk.curve["tokens"] > 0) & trunk.curve["loss"].is_finite())
    if curve.is_empty() or tokens > float(curve["tokens"].to_numpy().max()):
        return float("nan")
    x, y = (np.log(curve[name].to_numpy().astype(float)) for name in ("tokens", "loss"))
    return float(np.exp(np.interp(np.log(tokens), x, y)))


def pooled(ways: Sequence[Array]) -> Array:
    """One number (1 + k,) by several ways: their mean, then the draws of each in equal number."""
    count = min(len(way) for way in ways)
    with np.errstate(invalid="ignore"):
        value = np.mean([way[0] for way in ways])
    return np.concatenate([[value], *(way[1:count] for way in ways)])


def pooled_each(ways: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """`pooled` of every number that all ways name."""
    return {name: pooled([way[name] for way in ways]) for name in ways[0]}

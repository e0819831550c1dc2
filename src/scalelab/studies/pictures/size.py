"""Serial steps and tokens that each size needs at least to a loss (the paper's figure 19)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalelab.laws import Array, get_law
from scalelab.studies.analysis.critical_batch_law import measured_losses
from scalelab.studies.analysis.sample_efficiency import Reached
from scalelab.studies.analysis.trunk_curves import critical_batch
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Evidence
from scalelab.units import format_count

SIZE = Axis("Parameters, non-embedding", kind="count")


def size_pictures(found: Reached, evidence: Evidence) -> list[Picture]:
    """S_min and E_min against N, one line a loss; none where no critical batch was measured.

        E_min = E / (1 + B / B_crit(L)),   S_min = S / (1 + B_crit(L) / B)

    Below the critical batch E_min hardly depends on how well it is known; S_min is nothing else, so
    it is shown only at losses at which it was measured.
    """
    critical = critical_batch(evidence)
    if critical is None:
        return []
    batch = np.array([run.spec.batch_tokens for run in evidence.trunks], dtype=float)
    trained = float(np.median(batch))
    crit = np.asarray(get_law("critical-batch").loss(critical, loss=found.losses))
    tokens = found.tokens / (1 + trained / crit)
    steps = found.tokens / trained / (1 + crit / trained)
    ends = measured_losses(evidence)
    inside = np.zeros(len(crit), dtype=bool)
    if ends is not None:
        inside = (ends[0] <= found.losses) & (found.losses <= ends[1])
    return [
        Picture(
            "least-steps",
            "Least serial steps to a loss, by size",
            "S_min = S / (1 + B_crit(L) / B) along the trunks, at losses at which the critical "
            "batch was measured.",
            SIZE,
            Axis("S_min, steps", kind="count"),
            _lines(found, steps, inside),
            paper="figure 19, left",
            level_title="Loss, nats per token",
        ),
        Picture(
            "least-tokens",
            "Least tokens to a loss, by size",
            "E_min = tokens / (1 + B / B_crit(L)) along the trunks: what a batch far below the "
            "critical one would have needed.",
            SIZE,
            Axis("E_min, tokens", kind="count"),
            _lines(found, tokens, np.ones(len(crit), dtype=bool)),
            paper="figure 19, right",
            level_title="Loss, nats per token",
        ),
    ]


def _lines(found: Reached, needed: Array, shown: NDArray[np.bool_]) -> list[Series]:
    """needed: (s, l). A line for each loss that two sizes reached after their warm-up."""
    series = []
    for j, loss in enumerate(found.losses):
        known = np.isfinite(needed[:, j]) & ~found.early[:, j]
        if not shown[j] or known.sum() < 2:
            continue
        x, y = found.sizes[known].tolist(), needed[known, j].tolist()
        tips = [f"N = {format_count(n)}, {loss:.3f} nats" for n in x]
        series.append(Series(x, y, "point", level=float(loss), tips=tips))
        series.append(Series(x, y, "line", level=float(loss)))
    return series

"""The runs of a study of recurrent networks: a ladder of each family, and a control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scalelab.counting import RecurrentShape
from scalelab.studies.analysis.attempt import Attempt
from scalelab.studies.analysis.late_gain import Pair, pairs
from scalelab.studies.evidence import Run
from scalelab.studies.long_context import TEXT, UNROLL_SHARE, has_positions
from scalelab.units import format_count

TRANSFORMER = "transformer"
NAMES = {TRANSFORMER: "Transformer", "lstm": "LSTM", "gru": "GRU"}

GRADIENTS = f"about {TEXT / UNROLL_SHARE:.0f} bytes"
"""Through how much text the recurrent networks of the ladder are differentiated."""


@dataclass(frozen=True)
class Ladders:
    """The finished runs of each family, smallest first, and L(N) of each.

    control: the largest LSTM with longer gradients, losses by position known.
    """

    runs: Mapping[str, list[Run]]
    fits: Mapping[str, Attempt]
    control: Run | None

    @property
    def pairs(self) -> list[Pair]:
        """LSTMs with the Transformers beside them."""
        return pairs(self.runs[TRANSFORMER], self.runs["lstm"])

    @property
    def largest(self) -> dict[str, Run]:
        """Of each family the largest run whose losses by position are known, and the control."""
        found = {}
        for family, runs in self.runs.items():
            known = [run for run in runs if has_positions(run)]
            if known:
                found[family] = known[-1]
        if self.control is not None:
            found["control"] = self.control
        return found


def words(run: Run) -> str:
    """A run in a legend."""
    shape = run.spec.shape
    name = NAMES[shape.cell if isinstance(shape, RecurrentShape) else TRANSFORMER]
    through = f", gradients through {run.spec.unroll} tokens" if run.spec.unroll else ""
    return f"{name}, N = {format_count(run.params)}{through}"

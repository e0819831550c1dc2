"""``scalelab backtest``: which law predicts the dear runs from the cheap ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.cli.common import TableOptions, named_law, print_json, print_lines

if TYPE_CHECKING:
    from scalelab.laws import Law


@dataclass(frozen=True)
class Backtest(TableOptions):
    """Fit every law to the runs below a cut in compute and count what it says of those above."""

    law: tuple[str, ...] = ("chinchilla", "coupled", "kaplan")
    """Names of laws, or formulas."""
    weights: tuple[str, ...] = ()
    """Ways to weigh the runs, each tried with every law besides none: frontier(0.05), flops^0.5,
    ..."""
    ratio: float = 8.0
    """How far above the cut runs are predicted."""
    cut: tuple[float, ...] = ()
    """Cuts in FLOP (default: the largest compute over the ratio, and that over 2, 4 and 8)."""
    draws: int = 200
    """Refits for the intervals whose coverage is counted."""
    level: float = 0.9
    """Of the intervals."""
    seed: int = 0
    """Of the draws."""


def backtest(command: Backtest) -> int:
    """`scalelab backtest`."""
    from scalelab.fitting import Candidate
    from scalelab.fitting import backtest as test

    laws: list[Law] = []

    def needs(columns: Sequence[str]) -> list[str]:
        laws.extend(named_law(name, columns) for name in command.law)
        return [*(c for law in laws for c in (*law.inputs, law.response)), "flops"]

    table = command.table(needs)
    candidates = [Candidate(law, weight) for law in laws for weight in (None, *command.weights)]
    found = test(
        table.finished,
        candidates,
        ratio=command.ratio,
        cuts=command.cut or None,
        level=command.level,
        draws=command.draws,
        seed=command.seed,
    )
    if command.json:
        print_json(found.to_dict())
    else:
        print_lines([found.summary()])
    return 0

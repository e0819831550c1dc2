"""``scalelab isoflop``: the best size for a budget."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from scalelab.cli.common import TableOptions, print_json, print_lines
from scalelab.errors import SpecError


@dataclass(frozen=True)
class IsoFlop(TableOptions):
    """The best size at each compute budget, and how it grows: N_opt ~ C^a, D_opt ~ C^b."""

    method: Literal["cubic", "parabola", "surface", "envelope"] = "cubic"
    """Whose numbers stand first; the others stand beside them."""
    tolerance: float = 0.05
    """Runs whose compute is that near (relative) to their budget's middle share it."""
    curves: str | None = None
    """A table of learning curves (run, params, tokens, flops, loss), for the envelope."""
    optima: bool = False
    """The table holds the optima already, one row a budget (flops, params, tokens)."""
    std: str | None = None
    """With --optima: column with the standard error of ln N_opt; rows count as 1/std^2."""
    level: float = 0.9
    """Of the intervals."""


def isoflop(command: IsoFlop) -> int:
    """`scalelab isoflop`."""
    from scalelab.fitting import isoflop as find
    from scalelab.fitting import optima

    if command.std and not command.optima:
        raise SpecError("--std weighs known optima; give it with --optima.")
    if command.method == "envelope" and command.curves is None:
        raise SpecError("the envelope is that of learning curves; give them with --curves TABLE.")
    if command.optima:
        sought = [f for f in fields(command) if f.name in ("method", "tolerance", "curves")]
        if given := [f.name for f in sought if getattr(command, f.name) != f.default]:
            raise SpecError(f"--optima are known, nothing is sought; leave out --{given[0]}.")
        table = command.table(needs=("flops", "params", "tokens"))
        known = optima(table.finished, std=command.std, level=command.level)
        if command.json:
            print_json(known.to_dict())
        else:
            print_lines(
                [f"N_opt ~ C^a  {known.N_opt_exponent}", f"D_opt ~ C^b  {known.D_opt_exponent}"]
            )
        return 0
    table = command.table()
    curves = None
    if command.curves is not None:
        from scalelab.table import read_curves

        curves = read_curves(command.curves, table.frame)
    found = find(
        table.frame,  # which runs count is told there, to the curves too
        method=command.method,
        tolerance=command.tolerance,
        curves=curves,
        level=command.level,
        conventions=table.conventions,
    )
    if command.json:
        print_json(found.to_dict())
    else:
        print_lines([found.summary()])
    return 0

"""What the verbs share: how a table is given, and how answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scalelab.errors import SpecError

if TYPE_CHECKING:
    from scalelab.laws import Law
    from scalelab.table import RunTable
    from scalelab.table.needs import Needs


@dataclass(frozen=True)
class TableOptions:
    """Which runs are read, and what is taken for what."""

    runs: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUNS")]
    """A table of runs (CSV, TSV, JSON, JSONL, Parquet, also .gz, .zst, ...), the folder of a
    scalelab study, or a folder or quoted pattern of files with a run each."""
    column: tuple[str, ...] = ()
    """NAME=COLUMN: which column of the table is params, tokens, flops, loss, ... where its name
    does not say so; an expression of columns such as 'COLUMN*1e9', 'ln(COLUMN)', '10^COLUMN' or
    'TOTAL - EMBEDDING'; or a number that is the same for all runs."""
    where: tuple[str, ...] = ()
    """COLUMN=VALUE: take only the rows with that value (several: all must hold)."""
    ignore: tuple[str, ...] = ()
    """COLUMN: leave this column out before any is taken for params, tokens, flops, loss, ..."""
    drop_bad: bool = False
    """Leave out rows with missing or impossible values, and count them, instead of stopping."""
    last: bool = False
    """Of rows along one run's training (the same id), take the last one that has a loss."""
    params: str | None = None
    """Recount N: matrices (also called non-embedding), with-norms, with-output or total, and of a
    mixture of experts active or active-matrices (needs the table's parameters by part, or its
    shapes; see the guide to `count`)."""
    flops: str | None = None
    """Count C anew: 6N, kaplan, chinchilla or exact (the last three need shapes)."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""

    def table(self, needs: Needs = None, *, without: Collection[str] = ()) -> RunTable:
        """Read, select and check; what was taken for what goes to standard error.

        needs: see `scalelab.table.read_runs`. without: codes of notices that the command makes
        needless.
        """
        from scalelab.counting.recount import recount
        from scalelab.table import read_runs

        table = read_runs(
            self.runs,
            columns=pairs("column", self.column),
            where=pairs("where", self.where),
            drop_bad=self.drop_bad,
            last=self.last,
            needs=needs,
            ignore=self.ignore,
        )
        notices = tuple(notice for notice in table.notices if notice.code not in without)
        table = replace(table, notices=notices)
        if self.params or self.flops:
            table = recount(table, self.params, self.flops)
        print_lines(table.summary().splitlines(), error=True)
        return table


def pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """``("a=b", ...)`` as a mapping."""
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value:
            raise SpecError(f"--{option} {word!r} is not understood; write NAME=VALUE.")
        if name in found:
            raise SpecError(f"--{option} names {name} twice ({found[name]} and {value}).")
        found[name] = value
    return found


def numbers(option: str, words: Sequence[str]) -> dict[str, float]:
    """``("E=1.69", ...)`` as numbers by name."""
    found = {}
    for name, text in pairs(option, words).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise SpecError(f"--{option} {name}={text}: {text!r} is not a number.") from None
    return found


def ranges(option: str, words: Sequence[str]) -> dict[str, tuple[float, float]]:
    """``("alpha=0.1:0.5", ...)`` as low and high by name."""
    found = {}
    for name, text in pairs(option, words).items():
        low, _, high = text.partition(":")
        try:
            found[name] = (float(low), float(high))
        except ValueError:
            raise SpecError(f"--{option} {name}={text}: write LOW:HIGH.") from None
    return found


def named_law(
    text: str,
    columns: Sequence[str] = (),
    over: str | None = None,
    *,
    inputs: Sequence[str] = (),
    parameters: Sequence[str] = (),
) -> Law:
    """The law of a name, or of a formula.

    columns: of the table, which are inputs where the formula names them. inputs, parameters: names
    of which the user says what they are.
    """
    from scalelab.laws import custom_law, get_law

    if any(sign in text for sign in "+*/^(="):
        if over is not None:
            raise SpecError(f"a formula names its own columns; leave out --over {over}.")
        return custom_law(text, parameters, inputs=inputs, columns=columns)
    if inputs or parameters:
        raise SpecError("--input and --parameter are for the names in a formula; leave them out.")
    return get_law(text, over)


def print_json(value: Mapping[str, Any]) -> None:
    """One strict JSON object, whose numbers that are not finite are null."""
    from scalelab.units import finite

    sys.stdout.write(json.dumps(finite(value), allow_nan=False) + "\n")


def print_lines(lines: Sequence[str], *, error: bool = False) -> None:
    """Lines for people."""
    (sys.stderr if error else sys.stdout).write("\n".join(lines) + "\n")

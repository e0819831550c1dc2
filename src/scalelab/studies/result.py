"""What a study found: plain values that the report, the command line and tests read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scalelab.errors import Notice
from scalelab.studies.conclusion import Conclusion

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fitting import Estimate, Fit
    from scalelab.studies.conclusion import Conclusion

SURFACES = ("coupled", "chinchilla", "kaplan")
"""Laws of N and D that are fitted. The first predicts the held-out size and is drawn: it contains
the other two, and was no worse than the right one of them (measured: see the law's own file)."""


@dataclass(frozen=True)
class HeldOut:
    """A run that the fit has not seen: its measured loss beside the predicted one.

    measured, predicted: nats per token. params, tokens: N and D of the run.
    """

    run: str
    params: float
    tokens: float
    measured: float
    predicted: Estimate

    @property
    def relative_error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted.value / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the measured loss lies in the interval; an end of None is unbounded."""
        low, high = self.predicted.low, self.predicted.high
        return (low is None or low <= self.measured) and (high is None or self.measured <= high)


@dataclass(frozen=True)
class PlannedRun:
    """A run of the plan. batch_tokens: tokens per step. flops: FLOP. seconds: expected."""

    run: str
    params: float
    tokens: float
    batch_tokens: float
    lr: float
    flops: float
    seconds: float
    why: str


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen automatically, why, and where the reason comes from."""

    name: str
    value: str
    reason: str
    source: Literal["measured", "paper", "assumed"]


def _no_runs() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame()


@dataclass(frozen=True)
class StudyResult:
    """Everything that a finished study has to say.

    runs, curves: tables in the schema of `scalelab.table`.
    fits: ``coupled``, ``chinchilla``, ``kaplan`` over (params, tokens); slices ``L(N)``, ``L(D)``,
    ``L(C)``.
    missing: name of a fit or ``held_out`` -> why it could not be made.
    corpus, settings, machine: facts to print, by name.
    conventions: what ``params``, ``flops``, ``tokens``, ``loss`` count, by name of the column.
    savings: ``tokens_trained`` and ``tokens_if_separate`` of the stable trunk, in tokens.
    command: the command line that reproduces the study.
    conclusions: of the designs, in the paper's order. design_runs: their runs beside the ladder's,
    as a run table.
    """

    name: str
    title: str
    runs: pl.DataFrame
    curves: pl.DataFrame
    fits: Mapping[str, Fit] = field(default_factory=dict)
    held_out: tuple[HeldOut, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    plan: tuple[PlannedRun, ...] = ()
    choices: tuple[Choice, ...] = ()
    corpus: Mapping[str, str] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    savings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    command: str = ""
    conclusions: tuple[Conclusion, ...] = ()
    design_runs: pl.DataFrame = field(default_factory=_no_runs)

    @property
    def all_runs(self) -> pl.DataFrame:
        """The ladder's runs and those that designs asked for, as one run table."""
        import polars as pl

        tables = [table for table in (self.runs, self.design_runs) if not table.is_empty()]
        return pl.concat(tables, how="diagonal_relaxed") if tables else self.runs

    @property
    def has_ladder(self) -> bool:
        """Whether it has a base ladder to report: a study of designs may do without."""
        return not self.conclusions or bool(self.fits or self.held_out or self.curves.height)

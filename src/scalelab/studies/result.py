"""What a study found: plain values that the report, the command line and tests read.

Fits are named by what is used of them, so that a result knows nothing of the fitting engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from scalelab.errors import Notice

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


class Estimate(Protocol):
    """A number with its interval; an end that is None or infinite is unbounded."""

    @property
    def value(self) -> float:
        """The point estimate."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""

    @property
    def level(self) -> float:
        """Coverage of the interval, for example 0.9."""


class Prediction(Protocol):
    """Predicted losses (nats per token) with their intervals, one entry per point asked."""

    @property
    def value(self) -> NDArray[np.float64]:
        """The point predictions."""

    @property
    def low(self) -> NDArray[np.float64]:
        """Lower ends."""

    @property
    def high(self) -> NDArray[np.float64]:
        """Upper ends."""


class NamedLaw(Protocol):
    """A law as far as a report names it."""

    @property
    def name(self) -> str:
        """Its name in the registry."""


class Diagnosis(Protocol):
    """What a fit says of itself."""

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """Named warnings."""


class Fit(Protocol):
    """A fitted law as far as a report uses it."""

    @property
    def law(self) -> NamedLaw:
        """The law."""

    @property
    def parameters(self) -> Mapping[str, Estimate]:
        """Fitted parameters by name."""

    @property
    def derived(self) -> Mapping[str, Estimate]:
        """Quantities that follow from the parameters, such as ``N_opt_exponent``."""

    @property
    def diagnosis(self) -> Diagnosis:
        """How well the parameters are known."""

    def predict(self, *args: Any, **kwargs: Any) -> Prediction:
        """``predict(params=array, tokens=array, level=0.9)``: losses there, with intervals."""

    def summary(self) -> str:
        """The fit as plain text."""


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


@dataclass(frozen=True)
class StudyResult:
    """Everything that a finished study has to say.

    runs, curves: tables in the schema of `scalelab.table`.
    fits: ``chinchilla``, ``kaplan`` over (params, tokens); slices ``L(N)``, ``L(D)``, ``L(C)``.
    missing: name of a fit or ``held_out`` -> why it could not be made.
    corpus, settings, machine: facts to print, by name.
    conventions: what ``params``, ``flops``, ``tokens``, ``loss`` count, by name of the column.
    savings: ``tokens_trained`` and ``tokens_if_separate`` of the stable trunk, in tokens.
    command: the command line that reproduces the study.
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

"""What to train: everything that decides the numbers of one run, and nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from scalelab.counting import RecurrentShape, Shape, TransformerShape
from scalelab.errors import RecordError, SpecError
from scalelab.training.records import read_json
from scalelab.training.schedules import SCHEDULES

_NUMBERS: dict[str, tuple[type | UnionType, str]] = {
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
}


@dataclass(frozen=True)
class TrainSpec:
    """One run of training. On a CPU two equal specs give bitwise equal results.

    run: id. corpus: folder of the prepared corpus. batch_tokens: tokens per optimizer step.
    steps: optimizer steps at the end of the schedule. lr: peak rate. schedule: constant, cosine,
    linear or wsd (warm-up, stable, decay over the last `decay_fraction` of the steps).
    final_lr: rate at the end as a fraction of the peak. micro_tokens: tokens of one forward pass
    (0: the whole batch). seed: initial parameters and order of the data.

    trunk and fork_step: a branch starts from the checkpoint of run `trunk` at `fork_step`, counted
    in the branch's own steps; trunk_step: the same place in the trunk's steps, where the branch has
    another batch (None: equal to fork_step); both have then processed the same tokens. stop_step: a
    trunk stops here, still at its constant rate; it keeps checkpoints at `fork_steps`.

    unique_tokens: size of the data set, a fixed subset of the training split that is the same for
    every run and contains every smaller one (0: the whole split). patience: the run stops when the
    held-out loss has not fallen for so many evaluations along the way, and its result is that of
    the model at the lowest of them (0: it runs to its last step). unroll: tokens through which a
    recurrent network is differentiated at once; its state is carried on (0: the context).

    others: (name, folder) of prepared corpora on which the final model is also evaluated, on
    others_tokens tokens each.

    eval_tokens: held-out tokens of the final evaluation; curve_tokens: of those along the way;
    curve_points: how many along the way, log-spaced. noise_every: steps between measurements of
    the gradient noise scale (0: never); noise_parts: micro-batches that measure it.
    """

    run: str
    shape: Shape
    corpus: str
    batch_tokens: int
    steps: int
    lr: float
    schedule: str = "wsd"
    warmup_steps: int = 50
    decay_fraction: float = 0.25
    final_lr: float = 0.0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    seed: int = 0
    micro_tokens: int = 0
    trunk: str | None = None
    fork_step: int = 0
    fork_steps: tuple[int, ...] = ()
    stop_step: int | None = None
    eval_tokens: int = 131_072
    curve_tokens: int = 16_384
    curve_points: int = 16
    noise_every: int = 32
    noise_parts: int = 4
    checkpoint_seconds: float = 20.0
    kind: Literal["run", "trunk", "speed"] = "run"
    trunk_step: int | None = None
    unique_tokens: int = 0
    patience: int = 0
    unroll: int = 0
    others: tuple[tuple[str, str], ...] = ()
    others_tokens: int = 32_768

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind, what = _NUMBERS.get(str(field.type), (object, ""))
            if not isinstance(value, kind):
                raise SpecError(f"run {self.run}: {field.name} is {value!r}; {what} is expected.")
        length = "unroll" if self.unroll else "context"
        if self.unroll < 0 or (self.unroll and isinstance(self.shape, TransformerShape)):
            raise SpecError(
                f"run {self.run}: unroll is {self.unroll}; a positive number of tokens for a "
                "recurrent network, 0 for a Transformer, is expected."
            )
        if self.batch_tokens < 1 or self.batch_tokens % self.row_tokens:
            raise SpecError(
                f"batch of {self.batch_tokens} tokens is not a whole number of sequences of "
                f"{self.row_tokens} tokens; choose a multiple of the {length}."
            )
        if self.micro_tokens and (
            self.micro_tokens % self.row_tokens or self.batch_tokens % self.micro_tokens
        ):
            raise SpecError(
                f"micro-batch of {self.micro_tokens} tokens must be a multiple of the {length} "
                f"({self.row_tokens}) that divides the batch ({self.batch_tokens})."
            )
        if self.unique_tokens < 0 or 0 < self.unique_tokens < self.shape.context:
            raise SpecError(
                f"run {self.run}: unique_tokens is {self.unique_tokens}; one sequence has "
                f"{self.shape.context}. Ask for at least that, or 0 for the whole text."
            )
        if self.patience and (self.patience < 0 or self.kind == "trunk" or self.curve_points < 1):
            raise SpecError(
                f"run {self.run}: patience {self.patience} with {self.curve_points} evaluations "
                f"along the way of a {self.kind}; early stopping needs evaluations, and a trunk "
                "does not stop early."
            )
        names = [name for name, _ in self.others]
        if len(set(names)) < len(names):
            raise SpecError(f"run {self.run}: two other texts have one name in {names}.")
        if self.schedule not in SCHEDULES:
            raise SpecError(
                f"schedule is {self.schedule!r}; one of {', '.join(SCHEDULES)} is expected."
            )
        if not (self.lr > 0 and self.steps >= 1 and 0 < self.decay_fraction <= 1):
            raise SpecError(
                f"run {self.run}: lr {self.lr}, steps {self.steps}, decay_fraction "
                f"{self.decay_fraction}; all must be positive and decay_fraction at most 1."
            )

    @property
    def tokens(self) -> int:
        """Tokens processed at the end of the run (for a branch, its trunk's part included)."""
        return self.batch_tokens * self.last_step

    @property
    def last_step(self) -> int:
        """The step at which this run ends."""
        return self.steps if self.stop_step is None else self.stop_step

    @property
    def decay_start(self) -> int:
        """The step at which the decay of a wsd schedule begins."""
        if self.trunk is not None:
            return self.fork_step
        return self.steps - round(self.decay_fraction * self.steps)

    @property
    def sequences(self) -> int:
        """Sequences per optimizer step: rows of a batch."""
        return self.batch_tokens // self.row_tokens

    @property
    def row_tokens(self) -> int:
        """Tokens of one row of a batch."""
        return self.unroll or self.shape.context

    @property
    def forks_at(self) -> int:
        """The step of the trunk at which this run branches off."""
        return self.fork_step if self.trunk_step is None else self.trunk_step

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `run.json` holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSpec:
        """The inverse of `to_dict`; raises SpecError on unknown or missing names."""
        try:
            values = dict(values)
            dimensions = values.pop("shape")
            kind = RecurrentShape if "cell" in dimensions else TransformerShape
            fork_steps = tuple(values.pop("fork_steps", ()))
            others = tuple((name, folder) for name, folder in values.pop("others", ()))
            return cls(shape=kind(**dimensions), fork_steps=fork_steps, others=others, **values)
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(f"this does not describe a run: {error!r}") from error


def read_spec(path: Path) -> TrainSpec:
    """What a run.json says is to be trained; RecordError, by name, when it says nothing usable."""
    try:
        return TrainSpec.from_dict(read_json(path))
    except SpecError as error:
        raise RecordError(f"{path}: {error}; delete it and run the same command again.") from error

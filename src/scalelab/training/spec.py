"""What to train: everything that decides the numbers of one run, and nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from scalelab import schema
from scalelab.counting import Shape, TransformerShape, count_parameters
from scalelab.errors import DamagedRecordError, SpecError
from scalelab.schema import (
    Count,
    Matching,
    MismatchError,
    NotNegative,
    Positive,
    Share,
    Whole,
    Within,
)
from scalelab.training.records import checksum, read_json
from scalelab.training.schedules import SCHEDULES

MOST_STEPS = 10**12
"""A thousand steps a second for thirty years."""
MOST_LAYERS = 1_000
MOST_PARAMETERS = 10**12
"""Of a model that one machine trains: in single precision its state alone takes 16 TB."""
MOST_SEED = 2**63 - 1
"""The largest that torch takes."""

Steps = Annotated[int, Within(1, MOST_STEPS)]
RunId = Annotated[str, Matching(r"(?!\.\.?$)[\w.+-]*", "letters, digits, '-', '+', '_' and '.'")]
"""It becomes the name of a folder. Empty where a run gets its id later."""


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

    run: RunId
    shape: Shape
    corpus: str
    batch_tokens: Count
    steps: Steps
    lr: Positive
    schedule: str = "wsd"
    warmup_steps: Count = 50
    decay_fraction: Share = 0.25
    final_lr: Share = 0.0
    weight_decay: NotNegative = 0.1
    beta1: Share = 0.9
    beta2: Share = 0.95
    clip: NotNegative = 1.0
    seed: Annotated[int, Within(0, MOST_SEED)] = 0
    micro_tokens: Count = 0
    trunk: RunId | None = None
    fork_step: Count = 0
    fork_steps: tuple[Count, ...] = ()
    stop_step: Whole | None = None
    eval_tokens: Whole = 131_072
    curve_tokens: Whole = 16_384
    curve_points: Annotated[int, Within(0, 1_000_000)] = 16
    noise_every: Count = 32
    noise_parts: Whole = 4
    checkpoint_seconds: NotNegative = 20.0
    kind: Literal["run", "trunk", "speed"] = "run"
    trunk_step: Count | None = None
    unique_tokens: Count = 0
    patience: Count = 0
    unroll: Count = 0
    others: tuple[tuple[str, str], ...] = ()
    others_tokens: Whole = 32_768

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        try:
            schema.check_fields(self)
        except MismatchError as error:
            raise SpecError(f"run {self.run}: {error}.") from error
        if self.shape.n_layer > MOST_LAYERS:
            raise SpecError(
                f"run {self.run}: n_layer is {self.shape.n_layer:,}; at most {MOST_LAYERS:,} are "
                "trained."
            )
        if (size := count_parameters(self.shape).total) > MOST_PARAMETERS:
            raise SpecError(
                f"run {self.run}: its model has {size:,} parameters; at most {MOST_PARAMETERS:,} "
                "are trained."
            )
        length = "unroll" if self.unroll else "context"
        if self.unroll and isinstance(self.shape, TransformerShape):
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
        if 0 < self.unique_tokens < self.shape.context:
            raise SpecError(
                f"run {self.run}: unique_tokens is {self.unique_tokens}; one sequence has "
                f"{self.shape.context}. Ask for at least that, or 0 for the whole text."
            )
        if self.patience and (self.kind == "trunk" or self.curve_points < 1):
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
        if not self.decay_fraction > 0:
            raise SpecError(
                f"run {self.run}: decay_fraction is {self.decay_fraction}; a number above 0 and at "
                "most 1 is expected."
            )
        self._check_fork()

    def _check_fork(self) -> None:
        if self.stop_step is not None and self.stop_step > self.steps:
            raise SpecError(
                f"run {self.run}: it stops at step {self.stop_step}, behind its last step, "
                f"{self.steps}."
            )
        if self.trunk is not None and self.fork_step > self.last_step:
            raise SpecError(
                f"run {self.run}: it branches off at step {self.fork_step}; at most its last "
                f"step, {self.last_step}, is expected."
            )
        if self.trunk is None and (self.fork_step or self.trunk_step is not None):
            raise SpecError(
                f"run {self.run}: it branches off at step {self.fork_step} of no run; give trunk."
            )
        if self.trunk is not None and self.trunk == self.run:
            raise SpecError(f"run {self.run}: it branches off itself.")
        if self.fork_steps and max(self.fork_steps) > self.last_step:
            raise SpecError(
                f"run {self.run}: it keeps a checkpoint at step {max(self.fork_steps)}, behind "
                f"its end at step {self.last_step}."
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

    @property
    def fingerprint(self) -> str:
        """What the run's files are checked against: equal for runs that train the same.

        Left out are folders, which may move, when checkpoints are written, and fields at their
        default, so that a field that a later version adds changes nothing.
        """
        free = ("corpus", "fork_steps", "checkpoint_seconds")
        own = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in free and getattr(self, field.name) != field.default
        }
        own["shape"] = [type(self.shape).__name__, dataclasses.asdict(self.shape)]
        own["others"] = [name for name, _ in self.others]
        return checksum(own)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `run.json` holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> TrainSpec:
        """The inverse of `to_dict`; raises SpecError on unknown, missing or impossible values."""
        try:
            return schema.read(cls, values)
        except MismatchError as error:
            raise SpecError(f"this does not describe a run: {error}") from error


def read_spec(path: Path) -> TrainSpec:
    """What a run.json says is to be trained; DamagedRecordError when it says nothing usable."""
    values = read_json(path, "Delete it and run the same command again.")
    try:
        return TrainSpec.from_dict(values)
    except SpecError as error:
        raise DamagedRecordError(
            f"{path} is damaged: {error}. Delete it and run the same command again."
        ) from error

"""One run of training, from its folder's run.json to its result.json."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scalelab.corpus import Corpus
from scalelab.counting import RecurrentShape
from scalelab.errors import TrainingError
from scalelab.models import State, build_model, join_rows, take_rows
from scalelab.training.checkpoint import (
    Say,
    load_checkpoint,
    save_checkpoint,
    usable_checkpoints,
)
from scalelab.training.data import Batches
from scalelab.training.evaluate import Evaluator, octaves, other_text
from scalelab.training.flat import FlatParameters
from scalelab.training.milestones import curve_steps, log_every
from scalelab.training.noise import NoiseSample, noise_sample
from scalelab.training.records import (
    EvalLine,
    JsonLines,
    MetricsLine,
    NoiseLine,
    checkpoints,
    cut_lines,
    drop_checkpoints,
    note,
)
from scalelab.training.result import write_positions, write_result
from scalelab.training.resume import misfit, misplaced
from scalelab.training.schedules import lr_factor
from scalelab.training.spec import TrainSpec, read_spec
from scalelab.training.stopping import EarlyStopping
from scalelab.training.streams import Streams

Status = Literal["finished", "diverged", "interrupted"]
Progress = Callable[[int, float, float], None]
"""Called with (step, training loss, tokens per second) about twice a second."""

FAR_ABOVE = 4.0
"""A training loss this many nats above the uniform guess means that the run has diverged; runs
start up to 2 above it (measured, width 160 of bytes). One that ends above that guess has too."""

SAVING = 0.05
"""Share of a run's time that checkpoints between forks may take: a gigabyte takes seconds."""


class ForkLostError(TrainingError):
    """The checkpoint of the trunk that a branch begins from is missing or damaged."""


class Trainer:
    """Training of one run, resumable at every step, bitwise so on a CPU."""

    def __init__(
        self, spec: TrainSpec, folder: Path, device: torch.device, say: Say = lambda _: None
    ) -> None:
        """Build model, optimizer and data; load the checkpoint of `folder` or of the trunk.

        say: is told of each checkpoint that is damaged, and where the run goes on instead.
        """
        self.spec, self.folder, self.device, self.say = spec, folder, device, say
        self.model = build_model(spec.shape, spec.seed).to(device)
        self.flat = FlatParameters(self.model)
        self.optimizer = self.flat.optimizer(spec.lr, (spec.beta1, spec.beta2), spec.weight_decay)
        self.corpus = Corpus.load(Path(spec.corpus))
        context = spec.shape.context
        self.batches = make_batches(spec, self.corpus)
        self.state: State = self.model.start(spec.sequences)
        held_out = self.corpus.valid.array()
        self.curve_evaluator = Evaluator(held_out, context, spec.curve_tokens, device)
        self.final_evaluator = Evaluator(held_out, context, spec.eval_tokens, device)
        self.other_evaluators = {
            name: Evaluator(
                other_text(name, Path(other), self.corpus), context, spec.others_tokens, device
            )
            for name, other in (spec.others if spec.kind == "run" else ())
        }
        self.curve_steps = curve_steps(spec)
        self.stopping = EarlyStopping(spec.patience) if spec.patience else None
        # Under autocast cuDNN's recurrent layers run in float16, which needs a scaled loss.
        bfloat16 = device.type == "cuda" and not isinstance(spec.shape, RecurrentShape)
        self.autocast = torch.autocast("cuda", dtype=torch.bfloat16) if bfloat16 else nullcontext()
        self.parts = spec.batch_tokens // spec.micro_tokens if spec.micro_tokens else 1
        self.step, self.seconds = spec.fork_step, 0.0
        self.owner = spec.fingerprint
        self.text = self.corpus.fingerprint
        self.losses: list[Tensor] = []
        """Of the steps since the last line of metrics.jsonl."""
        self._load()

    def _load(self) -> None:
        state = self._resume()
        own = state is not None
        if state is None and self.spec.trunk is not None:
            state = self._fork(self.folder.parent / self.spec.trunk)
        if state is None:
            return
        for name, flat in self.flat.named():
            flat.data.copy_(state[name])
        self._load_optimizer(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        carried = tuple(part.to(self.device) for part in state.get("state", ()))
        # A branch with another number of rows reads other streams: its state begins anew.
        if [part.shape for part in carried] == [part.shape for part in self.state]:
            self.state = carried
        if own and "losses" in state:
            self.losses = list(state["losses"].to(self.device))
        if self.stopping is not None and "stopping" in state:
            self.stopping.load(state["stopping"], self.flat.values)

    def _resume(self) -> dict[str, Any] | None:
        """The newest of the run's own checkpoints that it can go on from.

        A trunk goes back before the first fork whose checkpoint is gone: a branch needs it.
        """

        def unfit(state: dict[str, Any]) -> str | None:
            return misfit(state, self._owner(self.owner), self.flat) or misplaced(
                state, self.spec, self.folder, self.state
            )

        damaged: list[str] = []
        folder, found = self.folder / "checkpoint", None
        for state in usable_checkpoints(folder, None, unfit, damaged.append):
            there = {step for _, step in checkpoints(folder)}
            lost = [step for step in self.spec.fork_steps if step not in there]
            if not lost or state["step"] < min(lost):
                found = state
                break
        for text in damaged:
            self._tell(self.folder, text)
        if damaged:
            place = "its beginning" if found is None else f"step {found['step']}"
            self._tell(self.folder, f"it goes on from {place}")
        return found

    def _owner(self, run: str) -> str:
        return f"{run} {self.text}"

    def _tell(self, folder: Path, text: str) -> None:
        note(folder, text)
        self.say(f"{folder.name}: {text}")

    def _fork(self, trunk: Path) -> dict[str, Any]:
        """The trunk's checkpoint where this branch leaves it, in the branch's own steps."""
        spec = self.spec

        def unfit(state: dict[str, Any]) -> str | None:
            record = trunk / "run.json"
            if not record.exists():
                return misfit(state, state.get("owner", ""), self.flat)
            return misfit(state, self._owner(read_spec(record).fingerprint), self.flat)

        state = load_checkpoint(
            trunk / "checkpoint", spec.forks_at, unfit, partial(self._tell, trunk)
        )
        if state is None:
            raise ForkLostError(
                f"{spec.run} branches off {spec.trunk} at step {spec.forks_at}, and that "
                f"checkpoint is missing or damaged. Delete {trunk} and run the same command again."
            )
        there = state.get("tokens", spec.fork_step * spec.batch_tokens)
        if there != spec.fork_step * spec.batch_tokens:
            raise TrainingError(
                f"{spec.run} branches off {spec.trunk} at its step {spec.forks_at}, after {there} "
                f"tokens; {spec.fork_step} steps of {spec.batch_tokens} tokens are "
                f"{spec.fork_step * spec.batch_tokens}. Fork where both have processed the same."
            )
        # The trunk's time is the trunk's.
        return state | {"step": spec.fork_step, "seconds": 0.0}

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        own = [dict(group) for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, asked in zip(self.optimizer.param_groups, own, strict=True):
            # A branch may differ from its trunk in these.
            group |= {name: asked[name] for name in ("betas", "weight_decay")}

    def save(self, *records: JsonLines) -> None:
        """Write a checkpoint of this step, after the records of all steps before it."""
        for lines in records:
            lines.sync()
        state: dict[str, Any] = {name: flat.data for name, flat in self.flat.named()}
        state |= {
            "owner": self._owner(self.owner),
            "losses": torch.stack(self.losses) if self.losses else torch.empty(0),
            "step": self.step,
            "tokens": self.step * self.spec.batch_tokens,
            "seconds": self.seconds,
            "optimizer": self.optimizer.state_dict(),
            "state": list(self.state),
        }
        if self.stopping is not None:
            state["stopping"] = self.stopping.state()
        save_checkpoint(self.folder / "checkpoint", self.step, state, self.spec.fork_steps)

    def train(self, progress: Progress, should_stop: Callable[[], bool]) -> Status:
        """Train from where the checkpoint stands to the end, and write result.json.

        should_stop is asked at every step; when it says yes, a checkpoint is written and
        "interrupted" returned. A loss that is not finite, or far above where it started, ends the
        run as "diverged".
        """
        cut_lines(self.folder / "metrics.jsonl", MetricsLine, self.owner, self.step)
        cut_lines(self.folder / "evals.jsonl", EvalLine, self.owner, self.step)
        cut_lines(self.folder / "noise.jsonl", NoiseLine, self.owner, self.step)
        with (
            closing(JsonLines(self.folder / "metrics.jsonl", self.owner)) as metrics,
            closing(JsonLines(self.folder / "evals.jsonl", self.owner)) as evals,
            closing(JsonLines(self.folder / "noise.jsonl", self.owner)) as noise,
        ):
            return self._train(metrics, evals, noise, progress, should_stop)

    def _train(
        self,
        metrics: JsonLines,
        evals: JsonLines,
        noise: JsonLines,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> Status:
        spec = self.spec
        every = log_every(spec)
        uniform = math.log(spec.shape.vocabulary)
        before, resumed_at = self.seconds, self.step
        began = saved = time.monotonic()
        pause = spec.checkpoint_seconds
        told = -math.inf  # the first step is told at once
        while self.step < spec.last_step and not (self.stopping and self.stopping.over):
            if should_stop():
                self.save(metrics, evals, noise)
                return "interrupted"
            rate = self.lr
            loss, norm, sample = self.optimizer_step()
            self.step += 1
            self.losses.append(loss)
            now = time.monotonic()
            self.seconds = before + now - began
            speed = (self.step - resumed_at) * spec.batch_tokens / max(1e-9, now - began)
            # Reading a loss makes a GPU wait, so it is read only where a line is due.
            if self.step % every == 0 or self.step == spec.last_step:
                mean = float(torch.stack(self.losses).mean())
                self.losses.clear()
                if not math.isfinite(mean) or mean > uniform + FAR_ABOVE:
                    return self._end("diverged", mean)
                metrics.append(
                    step=self.step,
                    tokens=self.step * spec.batch_tokens,
                    loss=mean,
                    lr=rate,
                    grad_norm=float(norm),
                    tokens_per_second=speed,
                )
            if sample is not None:
                noise.append(step=self.step, signal=sample.signal, noise=sample.noise)
            if self.step in self.curve_steps:
                positions = self.evaluate(self.curve_evaluator)
                held_out = float(positions.mean())
                evals.append(
                    step=self.step,
                    tokens=self.step * spec.batch_tokens,
                    loss=held_out,
                    octaves=octaves(positions),
                )
                if self.stopping is not None:
                    self.stopping.see(self.step, held_out, self.flat.values)
            if self.step in spec.fork_steps or now - saved > pause:
                asked = time.monotonic()
                self.save(metrics, evals, noise)
                saved = time.monotonic()
                pause = max(spec.checkpoint_seconds, (saved - asked) / SAVING)
            if now - told > 0.5:
                progress(self.step, float(loss), speed)
                told = now
        if spec.kind == "trunk":
            return self._end("finished", None)
        return self._conclude(uniform)

    def optimizer_step(self) -> tuple[Tensor, Tensor, NoiseSample | None]:
        """One step of AdamW -> training loss, gradient norm before clipping, noise sample.

        A batch that a GPU's memory does not hold is from then on taken in twice as many parts.
        """
        spec = self.spec
        inputs, targets = self.batches(self.step)
        if self.device.type == "cuda":
            inputs = inputs.pin_memory().to(self.device, non_blocking=True)
            targets = targets.pin_memory().to(self.device, non_blocking=True)
        measured = spec.noise_every > 0 and (self.step + 1) % spec.noise_every == 0
        while True:
            least = min(spec.noise_parts, spec.sequences) if measured else 1
            parts = max(self.parts, least)
            try:
                loss, part_norms, state = self._gradient(
                    inputs, targets, parts, measured=measured and parts > 1
                )
                break
            except torch.OutOfMemoryError:
                if parts >= spec.sequences:
                    raise
                self.parts = min(2 * parts, spec.sequences)
        self.state = state
        norm = self.flat.norm()
        sample = None
        if part_norms:
            sample = noise_sample(part_norms, float(norm) ** 2, spec.batch_tokens)
        if spec.clip > 0:
            self.flat.scale_grad((spec.clip / (norm + 1e-6)).clamp(max=1.0))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        return loss, norm, sample

    def _gradient(
        self, inputs: Tensor, targets: Tensor, parts: int, *, measured: bool
    ) -> tuple[Tensor, list[tuple[float, float]], State]:
        """Gradient of a batch, one part of its rows after the other -> its loss, state after it.

        measured: each part's share of the batch and squared gradient norm are returned too.
        """
        self.flat.zero_grad()
        loss = torch.zeros((), device=self.device)
        part_norms: list[tuple[float, float]] = []
        states: list[State] = []
        row = 0
        for part_inputs, part_targets in zip(
            inputs.chunk(parts), targets.chunk(parts), strict=True
        ):
            state = take_rows(self.state, row, row + len(part_inputs))
            row += len(part_inputs)
            # A part's own gradient is what it adds to the sum: before and after, subtracted.
            before = self.flat.grad_copy() if measured else None
            share = len(part_inputs) / len(inputs)
            with self.autocast:
                mean, after = self.model.carried(part_inputs, part_targets, state)
                part_loss: Tensor = mean * share
            part_loss.backward()  # type: ignore[no-untyped-call]
            states.append(after)
            loss += part_loss.detach()
            if before is not None:
                part_norms.append((share, self.flat.squared_norm_since(before) / share**2))
        return loss, part_norms, join_rows(states)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.spec.lr * lr_factor(self.step, self.spec)

    def evaluate(self, evaluator: Evaluator) -> NDArray[np.float64]:
        """Held-out loss of the model as it stands at each position (T,), nats per token."""
        with self.autocast:
            return evaluator.by_position(self.model)

    def _conclude(self, uniform: float) -> Status:
        """Evaluate the final model, or the best one where the run was to stop early."""
        stopping, at = self.stopping, self.step
        if stopping is not None and stopping.parameters:
            for flat, best in zip(self.flat.values, stopping.parameters, strict=True):
                flat.data.copy_(best)
            at = stopping.step
        positions = self.evaluate(self.final_evaluator)
        with self.autocast:
            others = {
                f"loss.{name}": evaluator(self.model)
                for name, evaluator in self.other_evaluators.items()
            }
        write_positions(self.folder, self.spec, positions)
        loss = float(positions.mean())
        learned = math.isfinite(loss) and loss < uniform
        stopped = {"stopped_at_step": self.step} if stopping is not None else {}
        return self._end("finished" if learned else "diverged", loss, at, **others, **stopped)

    def _end(
        self,
        status: Literal["finished", "diverged"],
        loss: float | None,
        step: int | None = None,
        **more: float,
    ) -> Status:
        write_result(
            self.folder,
            self.spec,
            self.corpus,
            status=status,
            step=self.step if step is None else step,
            loss=loss,
            seconds=self.seconds,
            unique_tokens=self.batches.unique_tokens,
            more=more,
        )
        if self.spec.kind != "trunk":
            drop_checkpoints(self.folder / "checkpoint")
        return status


def make_batches(spec: TrainSpec, corpus: Corpus) -> Batches | Streams:
    """The order of a run's data: windows for a Transformer, streams for a recurrent network."""
    tokens, context = corpus.train.array(), spec.shape.context
    if isinstance(spec.shape, RecurrentShape):
        return Streams(
            tokens, context, spec.sequences, spec.row_tokens, spec.seed, spec.unique_tokens
        )
    return Batches(tokens, context, spec.sequences, spec.seed, spec.unique_tokens)

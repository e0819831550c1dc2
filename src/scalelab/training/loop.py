"""One run of training, from its folder's run.json to its result.json."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from scalelab.corpus import Corpus
from scalelab.errors import CorpusError, TrainingError
from scalelab.models import Recurrent, build_model
from scalelab.models.recurrent import State
from scalelab.training.checkpoint import load_checkpoint, save_checkpoint
from scalelab.training.data import Batches, Streams
from scalelab.training.evaluate import Evaluator
from scalelab.training.flat import FlatParameters
from scalelab.training.noise import NoiseSample, noise_sample
from scalelab.training.records import JsonLines, drop_checkpoints, read_lines, write_json
from scalelab.training.result import write_result
from scalelab.training.schedules import lr_factor
from scalelab.training.spec import TrainSpec

Status = Literal["finished", "diverged", "interrupted"]
Progress = Callable[[int, float, float], None]
"""Called with (step, training loss, tokens per second) about twice a second."""

FAR_ABOVE = 4.0
"""A training loss this many nats above the uniform guess means that the run has diverged; runs
start up to 2 above it (measured, width 160 of bytes). One that ends above that guess has too."""


class Trainer:
    """Training of one run, resumable at every step, bitwise so on a CPU."""

    def __init__(self, spec: TrainSpec, folder: Path, device: torch.device) -> None:
        """Build model, optimizer and data; load the checkpoint of `folder` or of the trunk."""
        self.spec, self.folder, self.device = spec, folder, device
        self.model = build_model(spec.shape, seed=spec.seed).to(device)
        self.flat = FlatParameters(self.model)
        self.optimizer = self.flat.optimizer(spec.lr, (spec.beta1, spec.beta2), spec.weight_decay)
        self.corpus = Corpus.load(Path(spec.corpus))
        context = spec.shape.context
        kind = Streams if isinstance(self.model, Recurrent) else Batches
        self.batches = kind(
            self.corpus.train.array(),
            spec.row_tokens,
            spec.sequences,
            spec.seed,
            spec.unique_tokens,
        )
        held_out = self.corpus.valid.array()
        self.curve_evaluator = Evaluator(held_out, context, spec.curve_tokens, device)
        self.final_evaluator = Evaluator(held_out, context, spec.eval_tokens, device)
        self.curve_steps = set(log_spaced(spec.last_step, spec.curve_points))
        self.autocast = (
            torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
        )
        self.others = {name: self._other(name, Path(folder)) for name, folder in spec.others}
        self.step, self.seconds = 0, 0.0
        self.state: State | None = None
        self._load()
        # Behind the checkpoint lines are written again, so they do not count yet.
        self.seen = [
            (line["step"], line["loss"])
            for line in read_lines(folder / "evals.jsonl")
            if line["step"] <= self.step
        ]

    def _other(self, name: str, folder: Path) -> Evaluator:
        other = Corpus.load(folder)
        if other.tokenizer != self.corpus.tokenizer:
            raise CorpusError(
                f"the text {name} is in tokens of {other.tokenizer}, the training text in tokens "
                f"of {self.corpus.tokenizer}; losses need the same. Prepare it with that one."
            )
        context, limit = self.spec.shape.context, self.spec.others_tokens
        return Evaluator(other.valid.array(), context, limit, self.device)

    def _load(self) -> None:
        state = load_checkpoint(self.folder / "checkpoint")
        if state is None and self.spec.trunk is not None:
            trunk = self.folder.parent / self.spec.trunk
            state = load_checkpoint(trunk / "checkpoint", self.spec.trunk_at)
            if state is None:
                raise TrainingError(
                    f"{self.spec.run} branches off {self.spec.trunk} at step "
                    f"{self.spec.trunk_at}, and that checkpoint is missing or damaged. Delete "
                    f"{trunk} and run the same command again."
                )
            self._check_fork(state["step"] * state.get("batch_tokens", self.spec.batch_tokens))
            # The trunk's time is the trunk's; steps are counted in this run's batches.
            state |= {"seconds": 0.0, "step": self.spec.fork_step}
        if state is not None:
            for name, flat in self.flat.named():
                flat.data.copy_(state[name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            carried = tuple(part.to(self.device) for part in state.get("state", ()))
            # Another batch has other rows: they begin with a state of zeros.
            if carried and carried[0].shape[1] == self.spec.sequences:
                self.state = carried

    def _check_fork(self, trunk_tokens: int) -> None:
        here = self.spec.fork_step * self.spec.batch_tokens
        if here != trunk_tokens:
            raise TrainingError(
                f"{self.spec.run} begins at {here} tokens ({self.spec.fork_step} steps of "
                f"{self.spec.batch_tokens}), step {self.spec.trunk_at} of its trunk "
                f"{self.spec.trunk} is at {trunk_tokens}: both must be the same place."
            )

    def save(self) -> None:
        """Write a checkpoint of this step."""
        state: dict[str, Any] = {name: flat.data for name, flat in self.flat.named()}
        state |= {
            "step": self.step,
            "seconds": self.seconds,
            "optimizer": self.optimizer.state_dict(),
            "state": self.state or (),
            "batch_tokens": self.spec.batch_tokens,
        }
        save_checkpoint(self.folder / "checkpoint", self.step, state, self.spec.fork_steps)

    def train(self, progress: Progress, should_stop: Callable[[], bool]) -> Status:
        """Train from where the checkpoint stands to the end, and write result.json.

        should_stop is asked at every step; when it says yes, a checkpoint is written and
        "interrupted" returned. A loss that is not finite, or far above where it started, ends the
        run as "diverged".
        """
        with (
            closing(JsonLines(self.folder / "metrics.jsonl")) as metrics,
            closing(JsonLines(self.folder / "evals.jsonl")) as evals,
            closing(JsonLines(self.folder / "noise.jsonl")) as noise,
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
        log_every = max(1, min(64, spec.last_step // 50))
        uniform = math.log(spec.shape.vocabulary)
        before, resumed_at = self.seconds, self.step
        began = saved = time.monotonic()
        told = -math.inf  # the first step is told at once
        losses: list[Tensor] = []
        while self.step < spec.last_step:
            if should_stop():
                self.save()
                return "interrupted"
            loss, norm, sample = self.optimizer_step()
            self.step += 1
            losses.append(loss)
            now = time.monotonic()
            self.seconds = before + now - began
            speed = (self.step - resumed_at) * spec.batch_tokens / max(1e-9, now - began)
            # Reading a loss makes a GPU wait, so it is read only where a line is due.
            if self.step % log_every == 0 or self.step == spec.last_step:
                mean = float(torch.stack(losses).mean())
                losses.clear()
                if not math.isfinite(mean) or mean > uniform + FAR_ABOVE:
                    return self._end("diverged", mean)
                metrics.append(
                    step=self.step,
                    tokens=self.step * spec.batch_tokens,
                    loss=mean,
                    lr=self.lr,
                    grad_norm=float(norm),
                    tokens_per_second=speed,
                )
            if sample is not None:
                noise.append(step=self.step, signal=sample.signal, noise=sample.noise)
            if self.step in self.curve_steps:
                held_out = self.evaluate(self.curve_evaluator)
                evals.append(step=self.step, tokens=self.step * spec.batch_tokens, loss=held_out)
                self.seen.append((self.step, held_out))
                if self.turned:
                    break
            if self.step in spec.fork_steps or now - saved > spec.checkpoint_seconds:
                self.save()
                saved = now
            if now - told > 0.5:
                progress(self.step, float(loss), speed)
                told = now
        if spec.kind == "trunk":
            return self._end("finished", None)
        with self.autocast:
            by_position = self.final_evaluator.by_position(self.model)
            others = {name: one(self.model) for name, one in self.others.items()}
        loss_at_end = float(by_position.mean())
        if spec.patience and self.seen:
            loss_at_end = self.best[1]
        learned = math.isfinite(loss_at_end) and loss_at_end < uniform
        write_json(self.folder / "positions.json", by_position.tolist())
        return self._end("finished" if learned else "diverged", loss_at_end, others)

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the lowest evaluation along the way."""
        return min(self.seen, key=lambda item: item[1])

    @property
    def turned(self) -> bool:
        """Whether the held-out loss has not fallen for `patience` evaluations."""
        if not self.spec.patience:
            return False
        since = [step for step, _ in self.seen if step > self.best[0]]
        return len(since) >= self.spec.patience

    def optimizer_step(self) -> tuple[Tensor, Tensor, NoiseSample | None]:
        """One step of AdamW -> training loss, gradient norm before clipping, noise sample."""
        spec = self.spec
        inputs, targets = self.batches(self.step)
        if self.device.type == "cuda":
            inputs = inputs.pin_memory().to(self.device, non_blocking=True)
            targets = targets.pin_memory().to(self.device, non_blocking=True)
        parts = spec.batch_tokens // spec.micro_tokens if spec.micro_tokens else 1
        measured = spec.noise_every > 0 and (self.step + 1) % spec.noise_every == 0
        if measured:
            parts = max(parts, min(spec.noise_parts, spec.sequences))
        measured = measured and parts > 1
        self.flat.zero_grad()
        loss = torch.zeros((), device=self.device)
        part_norms: list[float] = []
        states = self._states(len(inputs), parts)
        carried: list[State] = []
        for part_inputs, part_targets, state in zip(
            inputs.chunk(parts), targets.chunk(parts), states, strict=True
        ):
            # A part's own gradient is what it adds to the sum: before and after, subtracted.
            before = self.flat.grad_copy() if measured else None
            share = len(part_inputs) / len(inputs)
            with self.autocast:
                if isinstance(self.model, Recurrent):
                    part_loss, after = self.model.carry(part_inputs, part_targets, state)
                    carried.append(after)
                else:
                    part_loss = self.model(part_inputs, part_targets)
                part_loss = part_loss * share
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.detach()
            if before is not None:
                part_norms.append(self.flat.squared_norm_since(before) / share**2)
        if carried:
            self.state = tuple(torch.cat(each, dim=1) for each in zip(*carried, strict=True))
        norm = self.flat.norm()
        sample = None
        if measured:
            sample = noise_sample(part_norms, float(norm) ** 2, spec.batch_tokens)
        if spec.clip > 0:
            self.flat.scale_grad((spec.clip / (norm + 1e-6)).clamp(max=1.0))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        return loss, norm, sample

    def _states(self, rows: int, parts: int) -> list[State | None]:
        """The carried state of each part of a batch, whose rows are cut as `chunk` cuts them."""
        if self.state is None:
            return [None] * len(torch.empty(rows, 0).chunk(parts))
        each = ([part.contiguous() for part in whole.chunk(parts, dim=1)] for whole in self.state)
        return list(zip(*each, strict=True))

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.spec.lr * lr_factor(self.step, self.spec)

    def evaluate(self, evaluator: Evaluator) -> float:
        """Held-out loss of the model as it stands, nats per token."""
        with self.autocast:
            return evaluator(self.model)

    def _end(
        self,
        status: Literal["finished", "diverged"],
        loss: float | None,
        others: Mapping[str, float] | None = None,
    ) -> Status:
        stopped = self.spec.patience > 0 and bool(self.seen)
        write_result(
            self.folder,
            self.spec,
            self.corpus,
            status=status,
            step=self.best[0] if stopped and status == "finished" else self.step,
            stopped_at=self.step,
            loss=loss,
            others=others or {},
            seconds=self.seconds,
        )
        if self.spec.kind != "trunk":
            drop_checkpoints(self.folder / "checkpoint")
        return status


def log_spaced(last: int, points: int) -> list[int]:
    """Whole steps from about 1% of `last` to `last`, evenly spaced in the logarithm."""
    if points < 1:
        return []
    first = max(1.0, last / 100)
    ratio = (last / first) ** (1 / max(1, points - 1))
    return sorted({min(last, round(first * ratio**i)) for i in range(points)})

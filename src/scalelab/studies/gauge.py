"""Measurements that a design's plan asks for: speed and learning rate of shapes off the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scalelab.counting import Shape
from scalelab.execution.execute import Job, Observer, Silent
from scalelab.execution.pool import Pool
from scalelab.studies import probe
from scalelab.studies.design import same_run
from scalelab.training.spec import TrainSpec

SPEED_SECONDS = 0.4
"""Of a measurement of speed: within 5% of a longer one. (measured, on two quiet cores)"""

RATE_SHARE = 8
"""A run's learning rate is found by runs of this share of its steps: the best rate hardly depends
on the length (measured: docs/LOG.md)."""

LEAST_STEPS = 60


class MeasuredGauge:
    """Asks the machine, and keeps what it said in a folder of probes."""

    def __init__(self, folder: Path, corpus: str, pool: Pool, observer: Observer) -> None:
        """folder: of the probes. corpus: folder of the prepared text."""
        self.folder, self.corpus, self.pool, self.observer = folder, corpus, pool, observer
        self._speeds: dict[tuple[Shape, int, int], float] = {}

    def speed(self, shape: Shape, batch_tokens: int, unroll: int) -> float:
        """Tokens per second of one process, all processes at the same work."""
        key = (shape, batch_tokens, unroll)
        if key not in self._speeds:
            spec = TrainSpec(
                run="",
                shape=shape,
                corpus=self.corpus,
                batch_tokens=batch_tokens,
                unroll=unroll,
                steps=1_000_000,
                lr=1e-3,
                noise_every=0,
                kind="speed",
            )
            name = f"speed-{same_run(spec)}"
            jobs = [
                Job(replace(spec, run=f"{name}-{i}"), SPEED_SECONDS) for i in range(self.pool.size)
            ]
            # Half a second each and a hundred of them: nobody wants a line of each.
            probe.run_all(self.folder, jobs, self.pool, Silent())
            found = [probe.outcome(self.folder, job.spec)["tokens_per_second"] for job in jobs]
            self._speeds[key] = sum(found) / len(found)
        return self._speeds[key]

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        """The best rate of each run, bracketed by short runs of the same recipe."""
        short = [shortened(spec) for spec in specs]
        once = {spec.run: spec for spec in short}
        speeds = [self.speed(s.shape, s.batch_tokens, s.unroll) for s in once.values()]
        tried = probe.bracket(self.folder, list(once.values()), speeds, self.pool, self.observer)
        best = {run: probe.best_rate(each) for run, each in zip(once, tried, strict=True)}
        return [best[spec.run] for spec in short]


class DryGauge(MeasuredGauge):
    """For a dry run: speeds are measured, learning rates are assumed."""

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        """The rates that the runs have already."""
        return [spec.lr for spec in specs]


def shortened(spec: TrainSpec) -> TrainSpec:
    """A short run of the same recipe, that does nothing but train and evaluate at its end."""
    steps = min(spec.steps, max(LEAST_STEPS, spec.steps // RATE_SHARE))
    short = replace(
        spec,
        run="",
        steps=steps,
        stop_step=None if spec.stop_step is None else max(1, spec.stop_step * steps // spec.steps),
        warmup_steps=min(spec.warmup_steps, max(10, steps // 10)),
        trunk=None,
        fork_step=0,
        trunk_step=None,
        fork_steps=(),
        kind="run",
        patience=0,
        noise_every=0,
        curve_points=0,
        eval_tokens=32_768,
        others=(),
    )
    return replace(short, run=f"lr-{same_run(short)}")

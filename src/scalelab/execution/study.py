"""A study's folder: what its runs are and how far they have come, read from disk alone.

STUDY/study.json     the resolved settings, versions, command
STUDY/RUN/...        one folder a run: see scalelab.training.records
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scalelab.counting import flops_per_token
from scalelab.errors import Notice, RecordError
from scalelab.training.records import (
    EvalLine,
    MetricsLine,
    NoiseLine,
    has_checksum,
    read_lines,
    write_json,
)
from scalelab.training.result import read_positions, read_result
from scalelab.training.resume import metrics_gap, record_gaps
from scalelab.training.spec import TrainSpec, read_spec


def register(study: Path, spec: TrainSpec) -> Path:
    """The folder of a run with its run.json; RecordError when another spec stands there."""
    folder = study / spec.run
    _make_folder(folder)
    path = folder / "run.json"
    if path.exists():
        there = read_spec(path)
        if there != spec:
            raise _other_run(folder, there, spec)
    else:
        write_json(path, spec.to_dict())
    return folder


def _other_run(folder: Path, there: TrainSpec, spec: TrainSpec) -> RecordError:
    differs = ", ".join(
        f"{name} {getattr(there, name)!r}, wanted is {getattr(spec, name)!r}"
        for name in spec.to_dict()
        if getattr(there, name) != getattr(spec, name)
    )
    return RecordError(
        f"{folder} holds a run with other settings ({differs}); choose another --out or delete it."
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"cannot make the folder {folder}: {error.strerror or error}. Choose another --out."
        ) from error


def specs(study: Path) -> Iterator[TrainSpec]:
    """Every run registered in a study, in order of name."""
    for path in sorted(study.glob("*/run.json")):
        yield read_spec(path)


def result(study: Path, spec: TrainSpec) -> dict[str, Any] | None:
    """The result of a run; None while it has not ended.

    Raises DamagedRecordError where it is damaged, RecordError where it is that of another run.
    """
    return read_result(study / spec.run, spec)


def check_spec(study: Path, spec: TrainSpec) -> None:
    """Refuse the folder of an ended run that another run.json stands in; its corpus may have moved.

    Raises RecordError. Runs of older versions, whose results have no checksum, pass.
    """
    folder = study / spec.run
    path = folder / "run.json"
    if not path.exists() or not _of_this_version(folder):
        return
    there = read_spec(path)
    if there.fingerprint != spec.fingerprint:
        raise _other_run(folder, there, spec)


def _of_this_version(folder: Path) -> bool:
    try:
        return has_checksum(folder / "result.json")
    except RecordError:  # damaged: found by whoever reads it
        return True


def check_records(study: Path, spec: TrainSpec) -> None:
    """Refuse the records of an ended run that lack what its numbers are made from.

    Raises RecordError. Lines of older versions, which have no checksum, are refused where one is
    damaged and no later line replaces it.
    """
    folder = study / spec.run
    values = result(study, spec)
    if values is None or spec.kind == "speed":
        return
    there = has_checksum(folder / "result.json")
    positions = read_positions(folder, spec)
    if there and spec.kind == "run" and values["status"] == "finished" and not len(positions):
        raise RecordError(
            f"{folder / 'positions.json'} is missing, though the run has ended. Delete {folder} "
            "and run the same command again: the run is trained again."
        )
    until = values.get("stopped_at_step") or values["steps"]
    if values["status"] == "diverged":
        until -= 1  # it ended before the lines of that step
    gap = next(record_gaps(folder, spec, until), None)
    if gap is not None and (there or "damaged" in gap):
        raise RecordError(
            f"{folder}: {gap}. Delete {folder} and run the same command again: the run is trained "
            "again."
        )


def metrics_notices(study: Path, runs: Iterable[TrainSpec]) -> tuple[Notice, ...]:
    """What the records of ended runs lack that only pictures show."""
    found = []
    for spec in runs:
        values = None if spec.kind == "speed" else result(study, spec)
        if values is None or not has_checksum(study / spec.run / "result.json"):
            continue
        until = values.get("stopped_at_step") or values["steps"]
        gap = metrics_gap(study / spec.run, spec, until - (values["status"] == "diverged"))
        if gap is not None:
            found.append(f"{spec.run}: {gap}")
    if not found:
        return ()
    more = f" So do {len(found) - 3} further runs." if len(found) > 3 else ""
    return (
        Notice(
            "metrics-damaged",
            "Curves of the training loss, which decide no number, lack points. "
            f"{'; '.join(found[:3])}.{more}",
        ),
    )


@contextmanager
def locked(study: Path) -> Iterator[None]:
    """Make a study's folder and hold it for one process; RecordError while another one holds it.

    Nothing in the folder may be written before: a second process with other settings would replace
    the record of the first. For the same reason the lock is on a file of its own, which is never
    renamed over. It goes with the process, however that ends. Where the system has no such locks
    (Windows, some network file systems) there is none.
    """
    _make_folder(study)
    try:
        lock = (study / "lock").open("a")
    except OSError as error:
        raise RecordError(
            f"cannot write into {study}: {error.strerror or error}. Choose another --out."
        ) from error
    with lock as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecordError(
                f"another process is running the study {study}. Wait for it, or choose another "
                "--out."
            ) from None
        except (ImportError, OSError):
            pass
        yield


def run_table(
    study: Path,
    runs: Iterable[TrainSpec],
    held_out: Collection[str],
    failed: Collection[str] = (),
) -> pl.DataFrame:
    """The run table of a study: a row for each run that has ended or begun, trunks left out.

    held_out: ids of the runs that fits must not see. failed: of those that could not go on.
    """
    rows: list[dict[str, Any]] = []
    for spec in runs:
        if spec.kind != "run":
            continue
        values = result(study, spec)
        if values is None:
            status = "failed" if spec.run in failed else "running"
            values = {"run": spec.run, "status": status, "trunk": spec.trunk or spec.run}
        rows.append(values | {"held_out": spec.run in held_out})
    return pl.DataFrame(rows, infer_schema_length=None)


def curve_table(study: Path, runs: Iterable[TrainSpec], flops: dict[str, float]) -> pl.DataFrame:
    """Learning curves, long form: held-out loss at log-spaced steps, and what training logged.

    A branch's curve begins with its trunk's. flops: training FLOP per token of each run. `loss` is
    held-out; `train_loss`, lr, grad_norm and noise_scale are those logged nearest before.
    """
    rows = [
        {
            "run": spec.run,
            "trunk": spec.trunk or spec.run,
            "step": line.step,
            "tokens": line.tokens,
            "flops": line.tokens * flops[spec.run],
            "loss": line.loss,
            "train_loss": None if near is None else near.loss,
            "lr": None if near is None else near.lr,
            "grad_norm": None if near is None else near.grad_norm,
        }
        for spec in runs
        if spec.kind == "run"
        for line, near in _curve(study, spec)
    ]
    schema = {
        "run": pl.String,
        "trunk": pl.String,
        "step": pl.Int64,
        "tokens": pl.Int64,
        "flops": pl.Float64,
        "loss": pl.Float64,
        "train_loss": pl.Float64,
        "lr": pl.Float64,
        "grad_norm": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _curve(study: Path, spec: TrainSpec) -> Iterator[tuple[EvalLine, MetricsLine | None]]:
    """Held-out evaluations along a run, its trunk's part first, each with what was logged then."""
    folders: list[tuple[Path, str | None, int | None]] = [
        (study / spec.run, spec.fingerprint, None)
    ]
    if spec.trunk is not None:
        # Tokens, not steps: a branch may have another batch than its trunk.
        trunk = study / spec.trunk
        folders.insert(0, (trunk, _owner(trunk), spec.fork_step * spec.batch_tokens))
    for folder, owner, until in folders:
        logged = list(read_lines(folder / "metrics.jsonl", MetricsLine, owner).lines)
        for line in read_lines(folder / "evals.jsonl", EvalLine, owner).lines:
            if until is not None and line.tokens > until:
                break
            while len(logged) > 1 and logged[1].step <= line.step:
                logged.pop(0)
            yield line, logged[0] if logged else None


def _owner(folder: Path) -> str | None:
    """The fingerprint of the run of a folder, where its run.json is readable."""
    try:
        return read_spec(folder / "run.json").fingerprint
    except RecordError:
        return None


class RunRecord(NamedTuple):
    """What one run has left on disk so far.

    result: its row of the run table, None while it has not ended. curve: held-out loss along the
    way: step, tokens, flops (training FLOP, every product as executed), loss, lr; a branch's begins
    with its trunk's, whose rows have the trunk's steps; ``tokens`` counts from the trunk's start.
    noise: samples behind the gradient noise scale, of this run alone: step, signal (|G|^2), noise
    (tr(Sigma)). positions: final held-out loss at each position of the context (T,), or empty.
    training: training loss of this run alone: step, loss (mean of the steps since the row before).
    octaves: held-out loss along the way over positions 1, 2, 3 to 4, 5 to 8, ... of the context:
    step, position (their geometric middle), loss; empty where an older version trained.
    """

    result: dict[str, Any] | None
    curve: pl.DataFrame
    noise: pl.DataFrame
    positions: NDArray[np.float64]
    training: pl.DataFrame
    octaves: pl.DataFrame


def read_run(study: Path, spec: TrainSpec) -> RunRecord:
    """What run `spec` has left in a study's folder; empty tables where it has not begun."""
    per_token = flops_per_token(spec.shape)
    curve = [
        (
            line.step,
            line.tokens,
            line.tokens * per_token,
            line.loss,
            None if near is None else near.lr,
        )
        for line, near in _curve(study, spec)
    ]
    folder = study / spec.run
    noise = [
        (line.step, line.signal, line.noise)
        for line in read_lines(folder / "noise.jsonl", NoiseLine, spec.fingerprint).lines
    ]
    training = [
        (line.step, line.loss)
        for line in read_lines(folder / "metrics.jsonl", MetricsLine, spec.fingerprint).lines
    ]
    # Without a result the run goes on, and writes its positions again.
    values = result(study, spec)
    positions = np.empty(0) if values is None else read_positions(folder, spec)
    return RunRecord(
        values,
        pl.DataFrame(
            curve,
            schema={
                "step": pl.Int64,
                "tokens": pl.Int64,
                "flops": pl.Float64,
                "loss": pl.Float64,
                "lr": pl.Float64,
            },
            orient="row",
        ),
        pl.DataFrame(
            noise,
            schema={"step": pl.Int64, "signal": pl.Float64, "noise": pl.Float64},
            orient="row",
        ),
        positions,
        pl.DataFrame(training, schema={"step": pl.Int64, "loss": pl.Float64}, orient="row"),
        pl.DataFrame(
            list(_octaves(study, spec)),
            schema={"step": pl.Int64, "position": pl.Float64, "loss": pl.Float64},
            orient="row",
        ),
    )


def _octaves(study: Path, spec: TrainSpec) -> Iterator[tuple[int, float, float | None]]:
    """Step, position and loss of every octave at every evaluation of the run itself."""
    for line in read_lines(study / spec.run / "evals.jsonl", EvalLine, spec.fingerprint).lines:
        for k, loss in enumerate(line.octaves):
            first, last = 2 ** (k - 1) + 1 if k else 1, min(2**k, spec.shape.context)
            yield line.step, math.sqrt(first * last), loss

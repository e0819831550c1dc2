"""Damage the files of a study at random, give the same command again, and look at what comes out.

    python benchmarks/fuzz_study.py --seconds 120 --seed 1

A tiny study is trained in a temporary folder, to its end and to several stops before it. Each case
takes a copy, damages one or two files (values, types, bytes, length, lines, files of other runs and
of another study), and runs the study again in this process. Either the numbers equal those of the
undisturbed study, or the error is one of scalelab's own. Anything else is printed with the seed of
its case, and the last lines are a table of outcomes.

Where an error says which folder or file to delete, that is done, and the study must then end equal.
A record whose checksum was removed may be changed on purpose: there only tracebacks count.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import torch

from scalelab import pipeline
from scalelab.errors import ScalelabError
from scalelab.execution.execute import Silent
from scalelab.execution.pool import Event
from scalelab.execution.study import read_run
from scalelab.execution.worker import attempt
from scalelab.studies.decide import Decisions, ladder_of
from scalelab.studies.divide import StudyPlan
from scalelab.studies.record import Record, open_study, recall, write_plan
from scalelab.studies.settings import RunSettings
from scalelab.studies.sizes import Family
from scalelab.training.loop import Trainer
from scalelab.training.spec import read_spec

LIMIT = 120
"""Seconds of one case: a study takes two, on a busy machine ten times that."""
ACCEPTED = ("equal", "refused", "refused, then equal", "said of a run", "without checksum")


class Watcher(Silent):
    """An observer that shows nothing of a whole study."""

    def stage(self, name: str, jobs: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def encoding(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""


class InlinePool:
    """A Pool that trains in this process; `steps` are left until it is interrupted."""

    steps = 10**9
    size, idle, threads = 1, 1, 1
    device_name = torch_version = "cpu"

    def __init__(self, _workers: int | None = None) -> None:
        """Nothing waits yet."""
        self.waiting: deque[Event] = deque()

    def __enter__(self) -> Self:
        """Start nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop nothing."""

    def submit(self, folder: Path, _seconds: float = 1.0) -> None:
        """Train a run to its end."""
        status, error = attempt(partial(self._train, folder))
        if status == "interrupted":
            raise KeyboardInterrupt
        self.waiting.append(Event("end", folder, status=status, error=error))

    def _train(self, folder: Path) -> str:
        trainer = Trainer(read_spec(folder / "run.json"), folder, torch.device("cpu"))
        return trainer.train(lambda *_: None, self._stop)

    def _stop(self) -> bool:
        InlinePool.steps -= 1
        return InlinePool.steps < 0

    def events(self, wait: float) -> Iterator[Event]:  # noqa: ARG002 - nothing to wait for
        """What has happened."""
        while self.waiting:
            yield self.waiting.popleft()


@dataclass(frozen=True)
class Tiny:
    """A study that trains in seconds. settings: with its folder as --out."""

    settings: RunSettings

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.settings.folder()

    def plan(self, seed: int = 0, steps: int = 28) -> None:
        """Write what a real study measures first: three sizes, two data sizes, one further run."""
        open_study(self.settings)
        corpus = pipeline.prepare_corpus(self.settings, Watcher())
        decisions = Decisions(
            widths=(12, 16, 24), speeds=(1e5, 9e4, 8e4), rates=(1e-2, 9e-3, 8e-3),
            family=Family(8, corpus.vocabulary), steps=steps, batch_tokens=64, data_sizes=2,
            corpus_tokens=corpus.train.tokens, seed=seed, workers=1, choices=(), notices=(),
            curve_points=4,
        )  # fmt: skip
        ladder = ladder_of(decisions, str(corpus.folder))
        more = next(job for job in ladder.jobs if job.spec.trunk is None)
        values = more.spec.to_dict() | {
            "run": "more", "kind": "run", "stop_step": None, "fork_steps": (), "steps": 12,
            "patience": 2, "noise_every": 2,
        }  # fmt: skip
        job = type(more)(type(more.spec).from_dict(values), 1.0, "an early stop")
        plan = StudyPlan({"more": job}, {"replicates": ("more",)}, {}, {})
        write_plan(self.folder, Record(decisions, plan, (), corpus.fingerprint))

    def run(self, steps: int = 10**9) -> str:
        """Train what is left and read every number, as text.

        steps: after so many it is interrupted. Fits and pictures, functions of the numbers, are not
        made.
        """
        InlinePool.steps = steps
        with ExitStack() as stack:
            stack.enter_context(patch("scalelab.pipeline.Pool", InlinePool))
            stack.enter_context(patch("scalelab.studies.conclude._fits", lambda _: ({}, {})))
            stack.enter_context(patch("scalelab.report.write", lambda _, path: path))
            found, _ = pipeline.run(self.settings, Watcher())
        failed = [str(notice) for notice in found.notices if notice.code == "run-failed"]
        if failed:
            raise RunFailedError(failed[0])
        return self.numbers(found.runs.drop("seconds"), found.curves["loss"])

    def numbers(self, *tables: Any) -> str:
        """Everything that conclusions are made from."""
        record = recall(self.folder)
        assert record is not None
        ladder = ladder_of(record.decisions, "", record.others)
        parts = [repr(table.to_dict(as_series=False)) if hasattr(table, "to_dict") else
                 repr(table.to_list()) for table in tables]  # fmt: skip
        for job in (*ladder.jobs, *record.plan.jobs.values()):
            left = read_run(self.folder, job.spec)
            values = {k: v for k, v in (left.result or {}).items() if k != "seconds"}
            curve = left.curve.drop("lr").rows()
            parts.append(repr((values, curve, left.noise.rows(), left.positions.tolist(),
                               left.octaves.rows())))  # fmt: skip
        return "\n".join(parts)


class RunFailedError(Exception):
    """A run of the study could not be trained; its reason."""


# --- damage ---------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, "text", "", -1, 0, 1, -0.5, 1.5, 1e308, -1e308, 10**19, -(10**19), 2**63, 10**400, True,
    float("nan"), float("inf"), [], [1], {}, {"a": 1}, "../../x", "/", "\x00", "x" * 10_000,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        outer = stack.pop()
        keys = list(outer) if isinstance(outer, dict) else range(len(outer))
        for key in keys:
            found.append((outer, key))
            if isinstance(outer[key], dict | list):
                stack.append(outer[key])
    return found


def change_value(value: Any, draw: random.Random) -> Any:
    """One field of a JSON value changed, removed, added or repeated."""
    inside = places(value) if isinstance(value, dict | list) else []
    if not inside:
        return draw.choice(ODD)
    outer, key = draw.choice(inside)
    kind = draw.choice(["odd", "odd", "near", "remove", "add", "deep", "whole"])
    old = outer[key]
    if kind == "odd":
        outer[key] = draw.choice(ODD)
    elif kind == "near" and isinstance(old, int | float) and not isinstance(old, bool):
        outer[key] = draw.choice([old + 1, -old, old * 2, old * 1.001, float(old), str(old)])
    elif kind == "near" and isinstance(old, list) and old:
        outer[key] = draw.choice([old[:-1], [*old, old[0]], old[::-1], [old]])
    elif kind == "remove":
        del outer[key]
    elif kind == "add" and isinstance(outer, dict):
        outer[draw.choice(["more", "loss.x", "params_x", "x"])] = draw.choice(ODD)
    elif kind == "deep":
        for _ in range(draw.choice([3, 40, 5000])):
            old = [old]
        outer[key] = 0
        return json.dumps(value).replace(": 0", ": " + "[" * 2000 + "]" * 2000, 1)
    else:
        return draw.choice(ODD)
    return value


def as_json(text: str, draw: random.Random) -> tuple[str, bool]:
    """A JSON text with one change, and whether it lost its checksum."""
    value = json.loads(text)
    bare = isinstance(value, dict) and "checksum" in value and draw.random() < 0.3
    if bare:
        del value["checksum"]
    changed = change_value(value, draw)
    text = changed if isinstance(changed, str) and draw.random() < 0.8 else json.dumps(changed)
    return text, bare or (isinstance(changed, dict) and "checksum" not in changed)


def as_lines(text: str, draw: random.Random) -> tuple[str, bool]:
    """Lines with one of them changed, dropped, repeated, cut or moved."""
    lines = text.splitlines()
    if not lines:
        return draw.choice(["{}\n", "x", "\n\n"]), False
    i = draw.randrange(len(lines))
    kind = draw.choice(["json", "json", "drop", "repeat", "cut", "swap", "first"])
    bare = False
    if kind == "json":
        lines[i], bare = as_json(lines[i], draw)
    elif kind == "drop":
        del lines[i]
    elif kind == "repeat":
        lines.insert(draw.randrange(len(lines)), lines[i])
    elif kind == "cut":
        lines[i] = lines[i][: draw.randrange(len(lines[i]))]
    elif kind == "swap":
        draw.shuffle(lines)
    else:
        lines = lines[:i]
    return "\n".join(lines) + draw.choice(["\n", "\n", ""]), bare


def as_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut off, added or set to zero."""
    kind = draw.choice(["flip", "flip", "cut", "add", "zero", "empty", "noise"])
    data = bytearray(content)
    if not data or kind == "empty":
        return b""
    i = draw.randrange(len(data))
    if kind == "flip":
        for _ in range(draw.choice([1, 1, 8])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[i:]
    elif kind == "add":
        data[i:i] = draw.randbytes(draw.choice([1, 16, 4096]))
    elif kind == "zero":
        data[i : i + 512] = bytes(len(data[i : i + 512]))
    else:
        data = bytearray(draw.randbytes(len(data)))
    return bytes(data)


def refit(path: Path, draw: random.Random) -> None:
    """A checkpoint with the right hash and a wrong content."""
    import hashlib

    state = torch.load(path, weights_only=True)
    name = draw.choice(sorted(state))
    state[name] = draw.choice([None, 7, -1, "x", torch.zeros(1), torch.zeros(3, 3), [], {}])
    if draw.random() < 0.2:
        del state[name]
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    path.replace(path.with_name(f"{path.name.split('.')[0]}.{digest}.pt"))


def damage(study: Path, foreign: Path, draw: random.Random) -> tuple[str, bool]:
    """Damage a file of a study -> what was done, and whether a record lost its checksum."""
    left_out = ("lock", "notes.txt", "runs.csv", "curves.csv", "report.html")
    files = sorted(p for p in study.rglob("*") if p.is_file() and p.name not in left_out)
    path = draw.choice(files)
    if draw.random() < 0.25:  # few of the files, and the most important
        path = draw.choice([p for p in files if p.name in ("plan.json", "study.json")])
    name = str(path.relative_to(study))
    kind = draw.choice(["values", "values", "values", "bytes", "delete", "foreign", "folder"])
    if kind == "values" and path.suffix in (".json", ".jsonl"):
        change = as_json if path.suffix == ".json" else as_lines
        with suppress(ValueError, RecursionError):  # damaged before
            text, bare = change(path.read_text(), draw)
            path.write_text(text)
            return f"{name}: values", bare
    if kind == "values" and path.suffix == ".pt":
        with suppress(Exception):  # damaged before
            refit(path, draw)
            return f"{name}: content", False
    if kind == "delete":
        path.unlink()
    elif kind == "foreign":
        same = [p for p in (*files, *foreign.rglob("*")) if p.suffix == path.suffix and p.is_file()]
        other = draw.choice(same)
        name += f" <- {other.name}"
        path.write_bytes(other.read_bytes())
    elif kind == "folder" and draw.random() < 0.3:
        path.unlink()
        path.mkdir()
    else:
        kind = "bytes"
        path.write_bytes(as_bytes(path.read_bytes(), draw))
    return f"{name}: {kind}", False


# --- cases ----------------------------------------------------------------------------------------


class Bench:
    """The undisturbed study, copies of it at several stops, and another study."""

    def __init__(self, home: Path, stops: tuple[int, ...] = (10, 60, 100, 150)) -> None:
        """home: an empty folder. stops: steps after which a copy was interrupted."""
        words = home / "text"
        words.mkdir(parents=True)
        draw = random.Random(0)
        for number in range(30):
            text = " ".join(draw.choices(["loss", "falls", "with", "size", "and", "data"], k=400))
            (words / f"doc{number:02d}.txt").write_text(f"{number} {text}\n")
        self.home = home
        settings = RunSettings(text=(str(words),), context=8, out=str(home / "work"))
        self.tiny = Tiny(settings)
        other = Tiny(RunSettings(text=(str(words),), context=8, seed=1, out=str(home / "other")))
        other.plan(seed=1, steps=12)
        other.run()
        self.foreign = other.folder
        self.copies: list[Path] = []
        for i, steps in enumerate((*stops, 10**9)):
            shutil.rmtree(self.tiny.folder, ignore_errors=True)
            self.tiny.plan()
            with suppress(KeyboardInterrupt):
                self.whole = self.tiny.run(steps)
            self.copies.append(home / f"copy{i}")
            shutil.copytree(self.tiny.folder, self.copies[-1])

    def case(self, seed: int) -> tuple[str, str]:
        """One case -> its outcome, and what was done and said."""
        draw = random.Random(seed)
        study = self.tiny.folder
        shutil.rmtree(study, ignore_errors=True)
        shutil.copytree(draw.choice([*self.copies, self.copies[-1]]), study)
        done, bare = zip(
            *(damage(study, self.foreign, draw) for _ in range(draw.choice([1, 1, 2]))), strict=True
        )
        outcome, said = self._outcome(any(bare))
        return outcome, f"seed {seed}: {'; '.join(done)}: {said}"

    def _outcome(self, bare: bool) -> tuple[str, str]:
        try:
            outcome, said = self._run(bare)
            advice = re.search(r"[Dd]elete (\S+) and run the same command", said)
            if outcome == "refused" and advice and not bare:
                path = Path(advice[1])
                if path.is_dir():
                    shutil.rmtree(path)
                    again, more = self._run(bare)
                    if again == "equal":
                        return "refused, then equal", said
                    # Where two files were damaged the second is refused next.
                    outcome = "refused" if again == "refused" else again
                    said += f" ... then: {more}"
        except TooLongError:
            return "time", f"more than {LIMIT} seconds"
        except Exception:  # the very thing that is looked for
            return "traceback", traceback.format_exc(limit=-4)
        return outcome, said

    def _run(self, bare: bool) -> tuple[str, str]:
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LIMIT)
        try:
            same = self.tiny.run() == self.whole
        except ScalelabError as error:
            return "refused", str(error)
        except RunFailedError as error:
            odd = re.search(r"[A-Z]\w+Error: ", str(error))
            return ("traceback" if odd else "said of a run"), str(error)
        finally:
            signal.alarm(0)
        if same:
            return "equal", ""
        return ("without checksum" if bare else "different"), ""


class TooLongError(BaseException):
    """A case takes too long; no handler of the study's catches it."""


def _too_long(*_: object) -> None:
    raise TooLongError


def fuzz(
    bench: Bench, seeds: Iterator[int], go_on: Callable[[], bool], *, show: bool = False
) -> Counter[str]:
    """Run cases; print those that ended badly, with `show` all."""
    outcomes: Counter[str] = Counter()
    while go_on():
        outcome, said = bench.case(next(seeds))
        outcomes[outcome] += 1
        if show or outcome not in ACCEPTED:
            print(f"{outcome}: {said}", flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the rest count on")
    parser.add_argument("--case", type=int, help="run this case alone and print what it said")
    parser.add_argument("--show", action="store_true", help="print every case")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as home,
        patch.dict("os.environ", {"SCALELAB_CACHE": f"{home}/cache"}),
    ):
        bench = Bench(Path(home))
        if asked.case is not None:
            print(*bench.case(asked.case))
            return 0
        end = time.monotonic() + asked.seconds
        seeds = iter(range(asked.seed, sys.maxsize))
        outcomes = fuzz(bench, seeds, lambda: time.monotonic() < end, show=asked.show)
    print("\noutcome                cases")
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome:<22} {count:>5}{'' if outcome in ACCEPTED else '  <-- not accepted'}")
    return int(any(outcome not in ACCEPTED for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

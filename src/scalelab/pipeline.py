"""The main job: prepare text, measure, plan, train, fit, check on the held-out size, report.

Everything is kept in one folder, and what is decided is written down before it is acted on: the
same call on the same folder goes on where it was stopped.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.errors import InputError, RecordError
from scalelab.execution.execute import Observer, execute
from scalelab.execution.pool import Pool
from scalelab.execution.study import locked
from scalelab.paths import real_path
from scalelab.studies.conclude import conclude
from scalelab.studies.decide import Decisions, decide, ladder_of, sketch
from scalelab.studies.ladder import Ladder
from scalelab.studies.result import StudyResult
from scalelab.studies.settings import RunSettings
from scalelab.table import write_table
from scalelab.training.records import read_json, write_json
from scalelab.units import format_count, format_duration, format_flop, parse_budget
from scalelab.version import __version__


class Watcher(Observer, Protocol):
    """An observer that is also told of stages and of what was decided."""

    def stage(self, name: str, jobs: int) -> None:
        """A stage of `jobs` runs begins."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def encoding(self, what: str, done: int, total: int | None) -> None:
        """The corpus is being prepared."""


def run(settings: RunSettings, watcher: Watcher) -> tuple[StudyResult, Path]:
    """The main job -> what was found, and the path of the report.

    Raises an InputError for settings that cannot be used; leaves on KeyboardInterrupt with every
    run's checkpoint written.
    """
    began = time.monotonic()
    study = settings.folder()
    with locked(study):
        open_study(settings)
        return _run(settings, study, watcher, lambda: time.monotonic() - began)


def _run(
    settings: RunSettings, study: Path, watcher: Watcher, elapsed: Callable[[], float]
) -> tuple[StudyResult, Path]:
    from scalelab.report import write

    budget = parse_budget(settings.budget)
    corpus = prepare_corpus(settings, watcher)
    with Pool(settings.workers) as pool:
        decisions = _recall(study)
        if decisions is None:
            watcher.note(f"measuring on {pool.size} x {pool.device_name}")
            decisions = decide(
                study / "probes",
                corpus,
                budget,
                settings,
                pool,
                watcher,
                elapsed,
            )
            write_json(study / "plan.json", decisions.to_dict())
        ladder = ladder_of(decisions, str(corpus.folder))
        for line in describe(decisions, ladder):
            watcher.note(line)
        watcher.stage("training", len(ladder.jobs))
        failures = execute(study, ladder.jobs, pool, watcher)
        machine = machine_facts(pool)
    watcher.stage("fitting", 0)
    found = conclude(
        study,
        ladder,
        decisions,
        corpus,
        failures=failures,
        settings={key: str(value) for key, value in asdict(settings).items()},
        machine=machine,
        command=command_of(settings),
    )
    keep(found, study)
    return found, write(found, study / "report.html")


def plan(settings: RunSettings, watcher: Watcher) -> tuple[Decisions, Ladder]:
    """What `run` would do, with the speed measured and the rest assumed; nothing is kept."""
    import tempfile

    budget = parse_budget(settings.budget)
    corpus = prepare_corpus(settings, watcher)
    with tempfile.TemporaryDirectory() as folder, Pool(settings.workers) as pool:
        decisions = sketch(Path(folder), corpus, budget, settings, pool, watcher)
    return decisions, ladder_of(decisions, str(corpus.folder))


def prepare_corpus(settings: RunSettings, watcher: Watcher) -> Corpus:
    """The corpus of the settings, prepared now or before."""
    spec = CorpusSpec(
        paths=settings.text,
        hf=settings.hf,
        tokenizer=settings.tokenizer,
        text_field=settings.text_field,
        separator=settings.separator,
    )
    corpus = prepare(spec, cache_folder(), watcher.encoding)
    for notice in corpus.notices:
        watcher.note(f"note: {notice}")
    return corpus


def cache_folder() -> Path:
    """Where prepared corpora are kept: SCALELAB_CACHE, else the user's cache folder."""
    named = os.environ.get("SCALELAB_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scalelab"


def open_study(settings: RunSettings) -> Path:
    """The study's folder with its study.json; RecordError when other settings stand there."""
    study = settings.folder()
    record = study / "study.json"
    wanted = {
        key: value for key, value in asdict(settings).items() if key not in ("out", "workers")
    }
    wanted["text"] = [str(real_path(path)) for path in settings.text]
    if record.exists():
        # Settings that an older version did not know had the default.
        there = asdict(RunSettings()) | _recorded_settings(record)
        changed = sorted(key for key in wanted if there.get(key) != wanted[key])
        if not changed:
            return study
        if (study / "plan.json").exists():
            differences = ", ".join(f"{key} {there.get(key)!r}" for key in changed)
            raise RecordError(
                f"{study} holds a study with {differences}; asked for now: "
                + ", ".join(f"{key} {wanted[key]!r}" for key in changed)
                + ". Choose another --out, or delete that folder."
            )
        # Nothing was decided there yet: a study that failed early, with other settings.
        shutil.rmtree(study / "probes", ignore_errors=True)
    try:
        study.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"cannot make the folder {study}: {error.strerror or error}. Choose another --out."
        ) from error
    write_json(
        record,
        {
            "settings": wanted,
            "scalelab": __version__,
            "python": platform.python_version(),
            "argv": sys.argv,
        },
    )
    return study


def _recorded_settings(record: Path) -> dict[str, Any]:
    values = read_json(record)
    settings = values.get("settings") if isinstance(values, dict) else None
    if not isinstance(settings, dict):
        raise RecordError(
            f"{record} is no record of a study. Choose another --out, or delete {record.parent}."
        )
    return settings


def keep(found: StudyResult, study: Path) -> None:
    """Write the run table, the curves and the fits, for anyone to go on from."""
    write_table(found.runs, study / "runs.csv")
    write_table(found.curves, study / "curves.csv")
    folder = study / "fits"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make {folder}: {error.strerror or error}.") from error
    for name, model in found.fits.items():
        model.save(folder / f"{name.replace('(', '-').replace(')', '')}.json")


def _recall(study: Path) -> Decisions | None:
    path = study / "plan.json"
    if not path.exists():
        return None
    try:
        decisions = Decisions.from_dict(read_json(path))
        ladder_of(decisions, "")
        return decisions
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        seen = "not readable" if isinstance(error, InputError) else repr(error)
        raise RecordError(
            f"{path} is damaged or of another version ({seen}). Choose another --out, or delete "
            f"{study}."
        ) from error


def describe(decisions: Decisions, ladder: Ladder) -> list[str]:
    """The plan as lines: every choice with its reason, then sizes, tokens, cost."""
    lines = [f"{c.name}: {c.value} - {c.reason} ({c.source})" for c in decisions.choices]
    lines += [f"note: {notice}" for notice in decisions.notices]
    runs = sum(job.spec.kind == "run" for job in ladder.jobs)
    lines.append(
        f"plan: {runs} runs, {format_count(ladder.trained_tokens)} tokens "
        f"({format_count(ladder.separate_tokens)} as separate runs), "
        f"{format_flop(ladder.flops)}, about {format_duration(ladder.seconds)}"
    )
    return lines


def machine_facts(pool: Pool) -> dict[str, str]:
    """What trained: for the report."""
    return {
        "device": pool.device_name,
        "processes": f"{pool.size} with {pool.threads} thread(s) each",
        "torch": pool.torch_version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def command_of(settings: RunSettings) -> str:
    """The command line that asks for these settings."""
    default = RunSettings()
    words = ["scalelab", "run"]
    for name, value in asdict(settings).items():
        if value == getattr(default, name):
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, tuple):
            words += [flag, *map(str, value)]
        elif str(value).startswith("-"):  # apart from its flag it would be taken for one
            words.append(f"{flag}={value}")
        else:
            words += [flag, str(value)]
    return shlex.join(words)

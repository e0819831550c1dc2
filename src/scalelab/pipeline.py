"""The main job: prepare text, measure, plan, train, fit, check on the held-out size, report.

Everything is kept in one folder, and what is decided is written down before it is acted on: the
same call on the same folder goes on where it was stopped.
"""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.errors import RecordError
from scalelab.execution.execute import execute
from scalelab.execution.pool import Pool
from scalelab.execution.study import locked, metrics_notices, run_table
from scalelab.paths import real_path
from scalelab.studies import planned as planning
from scalelab.studies.conclude import conclude
from scalelab.studies.design import Design
from scalelab.studies.designs import get_designs
from scalelab.studies.gather import Gathered
from scalelab.studies.planned import Others, Planned, describe, make_plan
from scalelab.studies.record import open_study
from scalelab.studies.result import StudyResult
from scalelab.studies.settings import RunSettings
from scalelab.table import write_table

__all__ = ["Planned", "Watcher", "cache_folder", "describe", "plan", "prepare_corpus", "run"]


class Watcher(planning.Watcher, Protocol):
    """An observer that is told of everything."""

    def encoding(self, what: str, done: int, total: int | None) -> None:
        """The corpus is being prepared."""


def run(settings: RunSettings, watcher: Watcher) -> tuple[StudyResult, Path]:
    """The main job -> what was found, and the path of the report.

    Raises an InputError for settings that cannot be used; leaves on KeyboardInterrupt with every
    run's checkpoint written.
    """
    began = time.monotonic()
    get_designs(settings.design)  # a name that is none is told before anything is written
    study = settings.folder()
    with locked(study):
        open_study(settings)
        return _run(settings, study, watcher, lambda: time.monotonic() - began)


def _run(
    settings: RunSettings, study: Path, watcher: Watcher, elapsed: Callable[[], float]
) -> tuple[StudyResult, Path]:
    from scalelab.report import write

    corpus = prepare_corpus(settings, watcher)
    with Pool(settings.workers) as pool:
        others = partial(prepare_others, settings, corpus, watcher)
        planned = make_plan(settings, study, corpus, others, pool, watcher, elapsed, dry=False)
        for line in describe(planned):
            watcher.note(line)
        watcher.stage("training", len(planned.jobs))
        failures = execute(study, planned.jobs, pool, watcher)
        machine = machine_facts(pool)
    watcher.stage("fitting", 0)
    found = conclude(
        study,
        planned.ladder,
        planned.decisions,
        corpus,
        failures=failures,
        settings={key: str(value) for key, value in asdict(settings).items()},
        machine=machine,
        command=command_of(settings),
    )
    if planned.designs:
        found = with_designs(found, study, planned, corpus, failures)
    keep(found, study)
    return found, write(found, study / "report.html")


def plan(settings: RunSettings, watcher: Watcher) -> Planned:
    """What `run` would do, with the speed measured and the rest assumed; nothing is kept."""
    import tempfile

    corpus = prepare_corpus(settings, watcher)
    with tempfile.TemporaryDirectory() as folder, Pool(settings.workers) as pool:
        others = partial(prepare_others, settings, corpus, watcher)
        return make_plan(
            settings, Path(folder), corpus, others, pool, watcher, lambda: 0.0, dry=True
        )


def with_designs(
    found: StudyResult,
    study: Path,
    planned: Planned,
    corpus: Corpus,
    failures: Mapping[str, str],
) -> StudyResult:
    """The result with what the designs concluded, and with the runs that they asked for.

    failures: why runs could not go on, by id.
    """
    gathered = Gathered(
        study,
        planned.plan,
        planned.ladder,
        corpus,
        planned.others,
        planned.decisions.seed,
    )
    return replace(
        found,
        conclusions=gathered.conclusions(planned.designs),
        design_runs=run_table(
            study, [job.spec for job in planned.plan.jobs.values()], (), failures
        ),
        plan=planned.runs(),
        notices=(
            *found.notices,
            *metrics_notices(study, [job.spec for job in planned.plan.jobs.values()]),
        ),
        corpus=dict(found.corpus)
        | ({"other texts": ", ".join(planned.others)} if planned.others else {}),
    )


def prepare_others(
    settings: RunSettings, corpus: Corpus, watcher: Watcher, designs: Sequence[Design]
) -> Others:
    """The other texts, in the tokens of the study's text, by name.

    Those of the settings; where there are none and a design needs some, the text of the Python
    installation, unless the study is of that. A text equal to the study's is left out.
    """
    paths: list[tuple[str, ...]] = [(path,) for path in settings.transfer]
    own = settings.text or settings.hf
    if not paths and own and any(design.others for design in designs):
        paths = [()]
    tokenizer = corpus.folder / "tokenizer.json"
    found: dict[str, Corpus] = {}
    for path in paths:
        spec = CorpusSpec(
            paths=path,
            tokenizer=str(tokenizer) if tokenizer.exists() else settings.tokenizer,
            text_field=settings.text_field,
            separator=settings.separator,
        )
        other = prepare(spec, cache_folder(), watcher.encoding)
        if other.fingerprint == corpus.fingerprint:
            watcher.note(f"note: {path[0] if path else 'python'} is the study's own text: left out")
            continue
        base = real_path(path[0]).name.split(".")[0] if path else "python"
        name, i = base, 2
        while name in found:
            name, i = f"{base}-{i}", i + 1
        found[name] = other
    return tuple(found.items())


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


def keep(found: StudyResult, study: Path) -> None:
    """Write the run table, the curves and the fits, for anyone to go on from."""
    for table, name in (
        (found.runs, "runs"),
        (found.curves, "curves"),
        (found.design_runs, "design_runs"),
    ):
        if not table.is_empty():
            write_table(table, study / f"{name}.csv")
    folder = study / "fits"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make {folder}: {error.strerror or error}.") from error
    for name, model in found.fits.items():
        model.save(folder / f"{name.replace('(', '-').replace(')', '')}.json")


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

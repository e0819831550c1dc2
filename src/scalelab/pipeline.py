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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import flops_per_token
from scalelab.errors import RecordError
from scalelab.execution.execute import Job, Observer, execute
from scalelab.execution.pool import Pool
from scalelab.execution.study import locked, run_table
from scalelab.studies.conclude import conclude, planned_run, why
from scalelab.studies.decide import (
    LADDER_ALONE,
    Decisions,
    decide,
    ladder_of,
    remaining,
    rungs_of,
    sketch,
)
from scalelab.studies.design import Bench, Design, Gauge
from scalelab.studies.designs import DESIGNS, get_designs
from scalelab.studies.divide import StudyPlan, aim_of, divided
from scalelab.studies.gather import Gathered
from scalelab.studies.gauge import DryGauge, MeasuredGauge
from scalelab.studies.ladder import Ladder, makespan, own_tokens
from scalelab.studies.result import PlannedRun, StudyResult
from scalelab.studies.settings import RunSettings
from scalelab.table import write_table
from scalelab.training.records import read_json, write_json
from scalelab.units import Budget, format_count, format_duration, format_flop, parse_budget
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
    study = open_study(settings)
    with locked(study):
        return _run(settings, study, watcher, lambda: time.monotonic() - began)


@dataclass(frozen=True)
class Planned:
    """A study before it is trained.

    ladder: None where none of its designs looks at one. designs: asked for now or before, in the
    paper's order. others: other texts by name, on which the ladder is evaluated too.
    """

    decisions: Decisions
    ladder: Ladder | None
    plan: StudyPlan
    designs: tuple[Design, ...]
    others: Mapping[str, Corpus]

    @property
    def jobs(self) -> list[Job]:
        """Every run, the ladder's first."""
        ladder = [] if self.ladder is None else list(self.ladder.jobs)
        return [*ladder, *self.plan.jobs.values()]

    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run with its cost and why, the ladder's first."""
        ladder = () if self.ladder is None else self.ladder.jobs
        held = frozenset[str]() if self.ladder is None else self.ladder.held_out
        asked: dict[str, list[str]] = {}
        for design, runs in self.plan.runs.items():
            for run in runs:
                asked.setdefault(run, []).append(design)
        return (
            *(planned_run(job, why(job.spec.run, held, job.spec.kind)) for job in ladder),
            *(
                planned_run(job, f"{', '.join(asked[run])}: {job.why}")
                for run, job in self.plan.jobs.items()
            ),
        )

    @property
    def cost(self) -> tuple[float, float]:
        """Expected wall seconds, and training FLOP by the exact convention."""
        seconds = makespan(self.jobs, self.decisions.workers)
        flops = sum(flops_per_token(j.spec.shape) * own_tokens(j.spec) for j in self.jobs)
        return seconds, flops


def _run(
    settings: RunSettings, study: Path, watcher: Watcher, elapsed: Callable[[], float]
) -> tuple[StudyResult, Path]:
    from scalelab.report import write

    corpus = prepare_corpus(settings, watcher)
    with Pool(settings.workers) as pool:
        planned = _plan(settings, study, corpus, pool, watcher, elapsed, dry=False)
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
        found = with_designs(found, study, planned, corpus)
    keep(found, study)
    return found, write(found, study / "report.html")


def plan(settings: RunSettings, watcher: Watcher) -> Planned:
    """What `run` would do, with the speed measured and the rest assumed; nothing is kept."""
    import tempfile

    corpus = prepare_corpus(settings, watcher)
    with tempfile.TemporaryDirectory() as folder, Pool(settings.workers) as pool:
        return _plan(settings, Path(folder), corpus, pool, watcher, lambda: 0.0, dry=True)


def _plan(
    settings: RunSettings,
    study: Path,
    corpus: Corpus,
    pool: Pool,
    watcher: Watcher,
    elapsed: Callable[[], float],
    *,
    dry: bool,
) -> Planned:
    """The plan of a study: what stands in plan.json, and what is asked for beyond it.

    dry: only speeds are measured, batch and rates are assumed.
    """
    budget = parse_budget(settings.budget)
    probes = study / "probes"
    asked = get_designs(settings.design)
    record = None if dry else _recall(study)
    if record is None:
        others = prepare_others(settings, asked, corpus, watcher)
        watcher.note(f"measuring on {pool.size} x {pool.device_name}")
        aim = aim_of(asked) if asked else LADDER_ALONE
        if dry:
            decisions = sketch(probes, corpus, budget, settings, pool, watcher, aim)
        else:
            decisions = decide(probes, corpus, budget, settings, pool, watcher, elapsed, aim)
        record = Record(decisions, StudyPlan(), tuple((n, str(c.folder)) for n, c in others))
        if not dry:
            _write_plan(study, record)
    decisions = record.decisions
    before = tuple(name for name in record.plan.runs if name in DESIGNS)
    designs = get_designs((*settings.design, *before))
    ladder = None
    if not designs or any(design.ladder for design in designs):
        ladder = ladder_of(decisions, str(corpus.folder), record.others)
    plan = record.plan
    if any(design.name not in plan.runs for design in designs):
        gauge = (DryGauge if dry else MeasuredGauge)(probes, str(corpus.folder), pool, watcher)
        bench = bench_of(decisions, ladder, corpus, record.others, pool.size, gauge)
        recorded = list(plan.jobs.values())

        def left() -> Budget:
            whole = remaining(budget, probes, elapsed())
            cost = bench.cost(recorded)
            if ladder is not None:
                cost += ladder.seconds if whole.unit == "seconds" else ladder.flops
            return Budget(whole.unit, max(0.0, whole.amount - cost))

        bench = replace(bench, allowance=left())
        watcher.stage("planning the designs", 0)
        plan = divided(plan, designs, bench, left)
        if not dry:
            _write_plan(study, replace(record, plan=plan))
    corpora = {name: Corpus.load(Path(folder)) for name, folder in record.others}
    return Planned(decisions, ladder, plan, designs, corpora)


def bench_of(
    decisions: Decisions,
    ladder: Ladder | None,
    corpus: Corpus,
    others: tuple[tuple[str, str], ...],
    workers: int,
    gauge: Gauge,
) -> Bench:
    """What designs plan with; the allowance is set for each."""
    rungs = rungs_of(decisions)
    return Bench(
        corpus=corpus,
        family=decisions.family,
        sizes=[rung.shape for rung in rungs],
        rates=[rung.lr for rung in rungs],
        speeds=[rung.speed for rung in rungs],
        ladder=ladder,
        batch_tokens=decisions.batch_tokens,
        allowance=Budget("seconds", 0.0),
        workers=workers,
        seed=decisions.seed,
        gauge=gauge,
        others=others,
    )


def with_designs(found: StudyResult, study: Path, planned: Planned, corpus: Corpus) -> StudyResult:
    """The result with what the designs concluded, and with the runs that they asked for."""
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
        design_runs=run_table(study, [job.spec for job in planned.plan.jobs.values()], ()),
        plan=planned.runs(),
        corpus=dict(found.corpus)
        | ({"other texts": ", ".join(planned.others)} if planned.others else {}),
    )


def prepare_others(
    settings: RunSettings, designs: Sequence[Design], corpus: Corpus, watcher: Watcher
) -> tuple[tuple[str, Corpus], ...]:
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
        base = Path(path[0]).resolve().name.split(".")[0] if path else "python"
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


def open_study(settings: RunSettings) -> Path:
    """The study's folder with its study.json; RecordError when other settings stand there."""
    study = settings.folder()
    record = study / "study.json"
    # A study may be asked for more designs; they are added to its plan.
    free = ("out", "workers", "design")
    wanted = {key: value for key, value in asdict(settings).items() if key not in free}
    for name in ("text", "transfer"):
        wanted[name] = [str(Path(path).resolve()) for path in getattr(settings, name)]
    if record.exists():
        # Settings that an older version did not know had the default.
        there = asdict(RunSettings()) | {"text": [], "transfer": []} | _recorded_settings(record)
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


@dataclass(frozen=True)
class Record:
    """What plan.json holds. others: (name, folder) of the other texts."""

    decisions: Decisions
    plan: StudyPlan
    others: tuple[tuple[str, str], ...]


def _write_plan(study: Path, record: Record) -> None:
    designs = {"others": [list(pair) for pair in record.others], **record.plan.to_dict()}
    write_json(study / "plan.json", record.decisions.to_dict() | {"designs": designs})


def _recall(study: Path) -> Record | None:
    path = study / "plan.json"
    if not path.exists():
        return None
    try:
        values = dict(read_json(path))
        designs = values.pop("designs", None)
        decisions = Decisions.from_dict(values)
        if designs is None:  # of a version without designs
            return Record(decisions, StudyPlan(), ())
        others = tuple((name, folder) for name, folder in designs["others"])
        return Record(decisions, StudyPlan.from_dict(designs), others)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(
            f"{path} is damaged or of another version ({error!r}). Choose another --out, or delete "
            f"{study}."
        ) from error


def describe(planned: Planned) -> list[str]:
    """The plan as lines: every choice with its reason, then sizes, tokens, cost."""
    decisions, ladder = planned.decisions, planned.ladder
    lines = [f"{c.name}: {c.value} - {c.reason} ({c.source})" for c in decisions.choices]
    lines += [f"note: {notice}" for notice in decisions.notices]
    if ladder is not None:
        runs = sum(job.spec.kind == "run" for job in ladder.jobs)
        lines.append(
            f"ladder: {runs} runs, {format_count(ladder.trained_tokens)} tokens "
            f"({format_count(ladder.separate_tokens)} as separate runs), "
            f"{format_flop(ladder.flops)}, about {format_duration(ladder.seconds)}"
        )
    for name, runs_of in planned.plan.runs.items():
        own = [planned.plan.jobs[run] for run in runs_of if run in planned.plan.jobs]
        busy = sum(job.seconds for job in own) / decisions.workers
        lines.append(
            f"{name}: {len(own)} runs of its own, about {format_duration(busy)}"
            if own
            else f"{name}: looks at the ladder's runs"
            if not runs_of
            else f"{name}: its {len(runs_of)} runs are trained already for others"
        )
        lines += [f"left out of {name}: {why}" for why in planned.plan.left_out.get(name, ())]
    seconds, flops = planned.cost
    lines.append(
        f"plan: {len(planned.jobs)} runs, {format_flop(flops)}, about {format_duration(seconds)}"
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

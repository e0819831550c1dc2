"""What a study's folder holds beside its runs: study.json, what was asked; plan.json, what was
decided and planned. Both are written before they are acted on.
"""

from __future__ import annotations

import platform
import shutil
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalelab import schema
from scalelab.errors import DamagedRecordError, RecordError, SpecError
from scalelab.paths import real_path
from scalelab.schema import MismatchError
from scalelab.studies.decide import Decisions, ladder_of
from scalelab.studies.divide import StudyPlan
from scalelab.studies.ladder import Ladder
from scalelab.studies.settings import RunSettings
from scalelab.training.records import CHECKSUM, read_object, unseal, write_json, write_sealed
from scalelab.version import __version__


def open_study(settings: RunSettings) -> Path:
    """The study's folder with its study.json; RecordError when other settings stand there."""
    study = settings.folder()
    record = study / "study.json"
    # A study may be asked for more designs; they are added to its plan.
    free = ("out", "workers", "design")
    wanted = {key: value for key, value in asdict(settings).items() if key not in free}
    for name in ("text", "transfer"):
        wanted[name] = [str(real_path(path)) for path in getattr(settings, name)]
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
            "id": uuid.uuid4().hex,
            "settings": wanted,
            "scalelab": __version__,
            "python": platform.python_version(),
            "argv": sys.argv,
        },
    )
    return study


def _recorded_settings(record: Path) -> dict[str, Any]:
    settings = _record(record).get("settings")
    if not isinstance(settings, dict):
        raise RecordError(
            f"{record} is no record of a study. Choose another --out, or delete {record.parent}."
        )
    return settings


def _record(path: Path) -> dict[str, Any]:
    return read_object(path, f"Choose another --out, or delete {path.parent}.")


@dataclass(frozen=True)
class Record:
    """What plan.json holds. others: (name, folder) of the other texts.

    corpus: fingerprint of the text that the plan is for ("" in plans of older versions).
    """

    decisions: Decisions
    plan: StudyPlan
    others: tuple[tuple[str, str], ...]
    corpus: str = ""


def write_plan(study: Path, record: Record) -> None:
    """Write plan.json."""
    designs = {"others": [list(pair) for pair in record.others], **record.plan.to_dict()}
    values = {**record.decisions.to_dict(), "designs": designs, "corpus": record.corpus}
    write_sealed(study / "plan.json", values, _identity(study))


def _identity(study: Path) -> str:
    """What a plan belongs to: the id in study.json."""
    record = study / "study.json"
    return str(_record(record).get("id", "")) if record.exists() else ""


def recall(study: Path) -> Record | None:
    """What plan.json says; None where there is none yet.

    Raises RecordError where it is damaged, of another study, or plans what cannot be trained.
    """
    path = study / "plan.json"
    if not path.exists():
        return None
    then = f"Choose another --out, or delete {study}."
    try:
        values = read_object(path, then)
        found = _parsed({name: item for name, item in values.items() if name != CHECKSUM})
        _check_ladder(found.decisions)
        ladder = ladder_of(found.decisions, "", found.others)
        _check_runs(ladder, found.plan)
    except (MismatchError, SpecError, DamagedRecordError) as error:
        seen = str(error).removesuffix(then).strip().rstrip(".")
        seen = seen.removeprefix(f"{path} is damaged: ")
        raise RecordError(f"{path} is damaged or of another version ({seen}). {then}") from error
    try:
        unseal(path, values, _identity(study), then)
    except DamagedRecordError:
        raise RecordError(
            f"{path} was changed after it was written, or belongs to another study: its values do "
            "not match its checksum. Put the file back. Where you changed it on purpose, delete "
            f'its line "checksum". Else choose another --out, or delete {study}.'
        ) from None
    return found


def _parsed(values: dict[str, Any]) -> Record:
    """Types and ranges; raises MismatchError."""
    designs = values.pop("designs", None)
    corpus = schema.read(str, values.pop("corpus", ""), "corpus")
    decisions = Decisions.from_dict(values)
    if designs is None:  # of a version without designs
        return Record(decisions, StudyPlan(), (), corpus)
    designs = dict(schema.read(dict[str, Any], designs, "designs"))
    others = schema.read(tuple[tuple[str, str], ...], designs.pop("others", None), "designs.others")
    return Record(decisions, StudyPlan.from_dict(designs), others, corpus)


def _check_ladder(decisions: Decisions) -> None:
    """What must agree among the decisions; raises MismatchError."""
    count = len(decisions.widths)
    for name in ("speeds", "rates"):
        if len(getattr(decisions, name)) != count:
            raise MismatchError(
                f"{name} has {len(getattr(decisions, name))} values; {count} are expected, one for "
                "each of widths"
            )
    if not count or list(decisions.widths) != sorted(set(decisions.widths)):
        raise MismatchError(
            f"widths is {schema.shown(list(decisions.widths))}; rising widths are expected"
        )
    odd = [width for width in decisions.widths if width % 4]
    if odd:
        raise MismatchError(f"widths holds {odd[0]}; multiples of 4 are expected")
    tokens = decisions.steps * decisions.batch_tokens
    if tokens > decisions.corpus_tokens:
        raise MismatchError(
            f"steps is {decisions.steps}; with batches of {decisions.batch_tokens} tokens at most "
            f"{decisions.corpus_tokens // decisions.batch_tokens} are expected, one pass of the "
            "text"
        )


def _check_runs(ladder: Ladder, plan: StudyPlan) -> None:
    """Branches have trunks that keep their checkpoints, designs have runs; raises MismatchError."""
    runs = {job.spec.run: job.spec for job in ladder.jobs}
    for run, job in plan.jobs.items():
        if run in runs:
            raise MismatchError(f"the run {run!r} is planned twice, by the ladder and by a design")
        runs[run] = job.spec
    for spec in runs.values():
        if spec.trunk is None:
            continue
        trunk = runs.get(spec.trunk)
        if trunk is None:
            raise MismatchError(f"the trunk of {spec.run}, {spec.trunk!r}, is no run of the plan")
        if trunk.kind != "trunk" or spec.forks_at not in trunk.fork_steps:
            steps = ", ".join(map(str, trunk.fork_steps)) or "none"
            raise MismatchError(
                f"{spec.run} branches off {trunk.run} at step {spec.forks_at}; that run keeps "
                f"checkpoints at {steps}"
            )
        if spec.shape != trunk.shape:
            raise MismatchError(f"{spec.run} has another shape than its trunk {trunk.run}")
    for design, names in plan.runs.items():
        for name in names:
            if name not in runs:
                raise MismatchError(f"designs.runs.{design} names {name!r}, which is no run")

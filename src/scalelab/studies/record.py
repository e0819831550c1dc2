"""What a study's folder holds beside its runs: study.json, what was asked; plan.json, what was
decided and planned. Both are written before they are acted on.
"""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalelab.errors import InputError, RecordError
from scalelab.paths import real_path
from scalelab.studies.decide import Decisions, ladder_of
from scalelab.studies.divide import StudyPlan
from scalelab.studies.settings import RunSettings
from scalelab.training.records import read_json, write_json
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


@dataclass(frozen=True)
class Record:
    """What plan.json holds. others: (name, folder) of the other texts."""

    decisions: Decisions
    plan: StudyPlan
    others: tuple[tuple[str, str], ...]


def write_plan(study: Path, record: Record) -> None:
    """Write plan.json."""
    designs = {"others": [list(pair) for pair in record.others], **record.plan.to_dict()}
    write_json(study / "plan.json", record.decisions.to_dict() | {"designs": designs})


def recall(study: Path) -> Record | None:
    """What plan.json says; None where there is none yet, RecordError where it is damaged."""
    path = study / "plan.json"
    if not path.exists():
        return None
    try:
        values = dict(read_json(path))
        designs = values.pop("designs", None)
        decisions = Decisions.from_dict(values)
        ladder_of(decisions, "")
        if designs is None:  # of a version without designs
            return Record(decisions, StudyPlan(), ())
        others = tuple((name, folder) for name, folder in designs["others"])
        return Record(decisions, StudyPlan.from_dict(designs), others)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        seen = "not readable" if isinstance(error, InputError) else repr(error)
        raise RecordError(
            f"{path} is damaged or of another version ({seen}). Choose another --out, or delete "
            f"{study}."
        ) from error

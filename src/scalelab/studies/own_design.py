"""A design in a file of the user's own: what is wrong with it is said in one line, with its line.

The package's designs are typed and tested; a file that somebody writes in an hour is neither. So
whatever its code raises, and whatever its functions return that is no plan and no conclusion, ends
in a SpecError that names the file, not in a traceback through the package.
"""

from __future__ import annotations

import re
import runpy
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from scalelab.errors import FitError, Notice, ScalelabError, SpecError, TrainingError
from scalelab.execution.execute import Job
from scalelab.studies.conclusion import Conclusion, Finding, Kind, Mark, Number, Picture
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence

_NAME = re.compile(r"[\w.-]+")
"""Names of designs, runs and pictures: they become names of files and of parts of a page."""


def read_design(path: Path) -> Design:
    """The DESIGN of a file, with a plan and a conclude that fail by SpecError.

    Raises SpecError for a file that cannot be run or that has no usable DESIGN.
    """
    try:
        found = runpy.run_path(str(path)).get("DESIGN")
    except (Exception, SystemExit) as error:  # the file's own code: it may raise anything
        where = _line(error, path)
        unread = None if where or not isinstance(error, OSError) else error.strerror
        raise SpecError(
            f"cannot read the design {path}{where}: {unread or _said(error)}"
        ) from error
    if not isinstance(found, Design):
        raise SpecError(f"{path} defines no DESIGN; a scalelab.studies.design.Design is expected.")
    _check_design(found, path)

    def plan(bench: Bench) -> Plan:
        with _named(path, "plan"):
            return _checked_plan(found.plan(bench))

    def conclude(evidence: Evidence) -> Conclusion:
        then = " The runs are kept: mend it and give the same command again."
        with _named(path, "conclude", then):
            return replace(_checked_conclusion(found.conclude(evidence)), design=found.name)

    return replace(found, plan=plan, conclude=conclude)


@contextmanager
def _named(path: Path, function: str, then: str = "") -> Iterator[None]:
    try:
        yield
    except (FitError, TrainingError):  # of the runs and of the machine, not of the file
        raise
    except Exception as error:  # the file's own code: it may raise anything
        said = _said(error).removesuffix(".")
        raise SpecError(f"{path}{_line(error, path)}, in {function}: {said}.{then}") from error


def _line(error: BaseException, path: Path) -> str:
    """The last line of the file that was running."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f", line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
    """The error as Python prints it, with what it proposes; ours and those of syntax without."""
    if isinstance(error, ScalelabError | SyntaxError):
        return str(error)
    return traceback.format_exception_only(error)[-1].strip()


def _check_design(design: Design, path: Path) -> None:
    seen: Mapping[str, Any] = vars(design)
    if not (isinstance(seen["name"], str) and _NAME.fullmatch(seen["name"])):
        raise SpecError(
            f"{path}: the name of DESIGN is {seen['name']!r}; letters, digits, '-', '_' and '.' "
            "are expected."
        )
    if not isinstance(seen["weight"], int | float) or not 0 <= seen["weight"] < float("inf"):
        raise SpecError(
            f"{path}: the weight of DESIGN is {seen['weight']!r}; a number of at least 0 is "
            "expected: 1 for a usual share of the budget."
        )
    for name in ("plan", "conclude"):
        if not callable(seen[name]):
            raise SpecError(f"{path}: {name} of DESIGN is {seen[name]!r}; a function is expected.")


def _checked_plan(made: Any) -> Plan:
    if not isinstance(made, Plan):
        raise SpecError(f"it returns {_kind(made)}; a Plan is expected, Plan(jobs)")
    _all_are("jobs", made.jobs, Job, "a Job, made by bench.job(spec, why),")
    for job in made.jobs:
        if not _NAME.fullmatch(job.spec.run):
            raise SpecError(
                f"a run is named {job.spec.run!r}; letters, digits, '-', '_' and '.' are expected"
            )
    _all_are("left_out", made.left_out, str)
    _all_are("notices", made.notices, Notice)
    return made


def _checked_conclusion(made: Any) -> Conclusion:
    from scalelab.fitting import Estimate

    if not isinstance(made, Conclusion):
        raise SpecError(f"it returns {_kind(made)}; a Conclusion is expected")
    _all_are("findings", made.findings, Finding)
    _all_are("pictures", made.pictures, Picture)
    _all_are("notices", made.notices, Notice)
    _all_are("left_out", made.left_out, str)
    numbers: Any = made.numbers
    if not isinstance(numbers, Mapping):
        raise SpecError(f"numbers is {_kind(numbers)}; a dict of Number by name is expected")
    _all_are("numbers", list(numbers.values()), Number)
    found = [finding.estimate for finding in made.findings if finding.estimate is not None]
    estimates = [*found, *(number.estimate for number in made.numbers.values())]
    _all_are("what was estimated", estimates, Estimate, "Estimate(value, low, high, level)")
    for picture in made.pictures:
        _check_picture(picture)
    return made


def _check_picture(picture: Picture) -> None:
    name = picture.name
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"a picture is named {name!r}; letters, digits, '-', '_' and '.' are expected"
        )
    for axis in (picture.x, picture.y):
        _one_of(f"picture {name}: the kind of an axis", axis.kind, get_args(Kind))
    for series in picture.series:
        _one_of(f"picture {name}: the mark of a series", series.mark, get_args(Mark))
        count = len(series.x)
        for column in ("y", "low", "high", "tips"):
            length = len(getattr(series, column))
            if length != count and (length or column == "y"):
                raise SpecError(
                    f"picture {name}: a series has {count} x and {length} {column}; as many are "
                    "expected"
                )


def _all_are(name: str, items: Any, kind: type, how: str = "") -> None:
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise SpecError(f"{name} is {_kind(items)}; a list of {kind.__name__} is expected")
    for item in items:
        if not isinstance(item, kind):
            raise SpecError(f"{name} holds {_kind(item)}; {how or kind.__name__} is expected")


def _one_of(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise SpecError(f"{what} is {value!r}; one of {', '.join(known)} is expected")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

"""``scalelab run``: the main job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scalelab.cli.common import print_json, print_lines
from scalelab.studies.settings import RunSettings

if TYPE_CHECKING:
    from rich.console import Console

    from scalelab.pipeline import Planned
    from scalelab.studies.result import StudyResult


@dataclass(frozen=True)
class Run(RunSettings):
    """Train a ladder of small models, fit the scaling laws, predict the largest size, report.

    The same command on the same folder goes on where it stopped.
    """

    study: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[STUDY.toml]")] = None
    """A TOML file with any of the settings below; flags override it."""
    dry_run: bool = False
    """Print every run of the plan with its cost and why; train nothing."""
    json: bool = False
    """Print one JSON object on standard output, and nothing else there."""

    def settings(self) -> RunSettings:
        """The settings without what concerns the command line."""
        names = [field.name for field in dataclasses.fields(RunSettings)]
        return RunSettings(**{name: getattr(self, name) for name in names})


def run(command: Run) -> int:
    """`scalelab run`."""
    from scalelab import pipeline
    from scalelab.view import View

    settings = command.settings()
    with View(_console(to_stderr=command.json)) as view:
        if command.dry_run:
            planned = pipeline.plan(settings, view)
        else:
            found, report = pipeline.run(settings, view)
    if command.dry_run:
        if command.json:
            print_json(plan_json(planned))
        else:
            print_lines([*pipeline.describe(planned), *plan_lines(planned)])
        return 0
    from scalelab.report import headline

    if command.json:
        print_json(run_json(found, report))
    else:
        print_lines(["", *map(str, headline(found)), f"report: {report}"])
    return 0 if found.held_out or found.conclusions else 1


def run_json(found: StudyResult, report: Path) -> dict[str, Any]:
    """The answer of `scalelab run --json`."""
    from scalelab.report import conclusion_json

    held_out = [
        {
            "run": item.run,
            "measured": item.measured,
            "predicted": {
                "value": item.predicted.value,
                "low": item.predicted.low,
                "high": item.predicted.high,
                "level": item.predicted.level,
            },
        }
        for item in found.held_out
    ]
    return {
        "study": found.name,
        "report": str(report),
        "runs": [
            {name: row.get(name) for name in ("run", "status", "params", "tokens", "loss")}
            for table in (found.runs, found.design_runs)
            for row in table.iter_rows(named=True)
        ],
        "fits": {name: model.to_dict() for name, model in found.fits.items()},
        "held_out": held_out[-1] if held_out else None,
        "held_out_runs": held_out,
        "missing": dict(found.missing),
        "conclusions": [conclusion_json(c, report.parent / "figures") for c in found.conclusions],
        "warnings": [dataclasses.asdict(notice) for notice in found.notices],
    }


def plan_json(planned: Planned) -> dict[str, Any]:
    """The answer of `scalelab run --dry-run --json`."""
    seconds, flops = planned.cost
    return {
        "runs": [dataclasses.asdict(run) for run in planned.runs()],
        "left_out": {name: list(why) for name, why in planned.plan.left_out.items()},
        "flops": flops,
        "seconds": seconds,
    }


def plan_lines(planned: Planned) -> list[str]:
    """The runs of a plan, one a line."""
    from scalelab.units import format_count, format_duration, format_flop

    runs = planned.runs()
    wide = max(len(run.run) for run in runs) + 2
    head = f"{'run':<{wide}}{'N':>8}{'D':>8}{'lr':>10}{'FLOP':>16}{'time':>8}  why"
    return [head] + [
        f"{run.run:<{wide}}{format_count(run.params):>8}{format_count(run.tokens):>8}"
        f"{run.lr:>10.2e}{format_flop(run.flops):>16}{format_duration(run.seconds):>8}"
        f"  {run.why}"
        for run in runs
    ]


def _console(*, to_stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr)

"""The command line: one thin function per verb, each a call of one public function.

Exit codes: 0 done, 1 failure, 2 bad input (one clear message, no traceback), 130 stopped by Ctrl-C
(the same command goes on where it stopped).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scalelab.errors import ScalelabError, SpecError
from scalelab.studies.settings import RunSettings, read_toml
from scalelab.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from scalelab.studies.ladder import Ladder
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


@dataclass(frozen=True)
class Count:
    """Count a Transformer's parameters by part and its training FLOP per token by convention."""

    n_layer: int
    """Layers."""
    d_model: int
    """Width."""
    n_head: int = 1
    """Attention heads."""
    d_ff: int | None = None
    """Feed-forward width (default: four times the width)."""
    context: int = 1024
    """Tokens seen at once."""
    vocabulary: int = 50_257
    """Distinct tokens."""
    untied: bool = False
    """The output layer has a matrix of its own, not the embedding transposed."""
    json: bool = False
    """Print one JSON object."""


Command = (
    Annotated[Run, tyro.conf.subcommand("run")] | Annotated[Count, tyro.conf.subcommand("count")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `scalelab` command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        sys.stdout.write(f"scalelab {__version__}\n")
        return
    try:
        command = _parse(words)
        status = run(command) if isinstance(command, Run) else count(command)
    except ScalelabError as error:
        sys.stderr.write(f"scalelab: {error}\n")
        status = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("scalelab: stopped; the same command goes on from here.\n")
        status = 130
    except BrokenPipeError:
        status = 0
    sys.exit(status)


def _parse(words: list[str], default: Any = tyro.MISSING) -> Run | Count:
    command: Run | Count = tyro.cli(
        Command,
        prog="scalelab",
        description="Turn a handful of cheap training runs into a decision about a big one.",
        args=words,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if isinstance(command, Count) or command.study is None or default is not tyro.MISSING:
        return command
    if not command.study.endswith(".toml"):
        raise SpecError(
            f"{command.study!r} is not a TOML file; text is given with --text {command.study}"
        )
    # Read again over the file's settings, so that flags override them wherever the file is named.
    return _parse(words, Run(study=command.study, **read_toml(Path(command.study))))


def run(command: Run) -> int:
    """`scalelab run`."""
    from scalelab import pipeline
    from scalelab.view import View

    settings = command.settings()
    with View(_console(to_stderr=command.json)) as view:
        if command.dry_run:
            decisions, ladder = pipeline.plan(settings, view)
        else:
            found, report = pipeline.run(settings, view)
    if command.dry_run:
        if command.json:
            _print_json(plan_json(ladder))
        else:
            _print_lines([*pipeline.describe(decisions, ladder), *plan_lines(ladder)])
        return 0
    from scalelab.report import headline

    if command.json:
        _print_json(run_json(found, report))
    else:
        _print_lines(["", *map(str, headline(found)), f"report: {report}"])
    return 0 if found.held_out else 1


def count(command: Count) -> int:
    """`scalelab count`."""
    from scalelab.counting import CONVENTIONS, TransformerShape, count_parameters, flops_per_token

    shape = TransformerShape(
        n_layer=command.n_layer,
        d_model=command.d_model,
        n_head=command.n_head,
        d_ff=command.d_ff or 4 * command.d_model,
        context=command.context,
        vocabulary=command.vocabulary,
        tied=not command.untied,
    )
    parts = count_parameters(shape).to_dict()
    flops = {name: flops_per_token(shape, name) for name in CONVENTIONS}
    if command.json:
        _print_json({"parameters": parts, "flops_per_token": flops})
    else:
        _print_lines(
            [f"{name:<16}{number:>16,}" for name, number in parts.items()]
            + [f"FLOP/token {name:<12}{number:>9.3e}" for name, number in flops.items()]
        )
    return 0


def run_json(found: StudyResult, report: Path) -> dict[str, Any]:
    """The answer of `scalelab run --json`."""
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
            for row in found.runs.iter_rows(named=True)
        ],
        "fits": {name: model.to_dict() for name, model in found.fits.items()},
        "held_out": held_out[-1] if held_out else None,
        "held_out_runs": held_out,
        "missing": dict(found.missing),
        "warnings": [dataclasses.asdict(notice) for notice in found.notices],
    }


def plan_json(ladder: Ladder) -> dict[str, Any]:
    """The answer of `scalelab run --dry-run --json`."""
    from scalelab.counting import flops_per_token
    from scalelab.studies.conclude import why
    from scalelab.studies.ladder import own_tokens
    from scalelab.studies.sizes import size_of

    return {
        "runs": [
            {
                "run": job.spec.run,
                "params": size_of(job.spec.shape),
                "tokens": job.spec.tokens,
                "batch_tokens": job.spec.batch_tokens,
                "lr": job.spec.lr,
                "flops": flops_per_token(job.spec.shape) * own_tokens(job.spec),
                "seconds": job.seconds,
                "why": why(job.spec.run, ladder, job.spec.kind),
            }
            for job in ladder.jobs
        ],
        "flops": ladder.flops,
        "seconds": ladder.seconds,
    }


def plan_lines(ladder: Ladder) -> list[str]:
    """The runs of a plan, one a line."""
    from scalelab.units import format_count, format_duration, format_flop

    head = f"{'run':<22}{'N':>8}{'D':>8}{'lr':>10}{'FLOP':>16}{'time':>8}  why"
    return [head] + [
        f"{run['run']:<22}{format_count(run['params']):>8}{format_count(run['tokens']):>8}"
        f"{run['lr']:>10.2e}{format_flop(run['flops']):>16}{format_duration(run['seconds']):>8}"
        f"  {run['why']}"
        for run in plan_json(ladder)["runs"]
    ]


def _console(*, to_stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr)


def _print_json(value: Any) -> None:
    from scalelab.training.records import finite

    sys.stdout.write(json.dumps(finite(value), allow_nan=False) + "\n")


def _print_lines(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

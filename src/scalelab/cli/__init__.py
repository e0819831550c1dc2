"""The command line: one file per verb, each a thin call of one public function.

Exit codes: 0 done, 1 failure, 2 bad input (one clear message, no traceback), 130 stopped by Ctrl-C
(the same command goes on where it stopped).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from scalelab.cli.backtest import Backtest, backtest
from scalelab.cli.count import Count, count
from scalelab.cli.fit import Fit, fit
from scalelab.cli.isoflop import IsoFlop, isoflop
from scalelab.cli.laws import Laws, laws
from scalelab.cli.run import Run, run
from scalelab.errors import ScalelabError, SpecError
from scalelab.studies.settings import read_toml
from scalelab.version import __version__

Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Count, tyro.conf.subcommand("count")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Backtest, tyro.conf.subcommand("backtest")]
    | Annotated[IsoFlop, tyro.conf.subcommand("isoflop")]
    | Annotated[Laws, tyro.conf.subcommand("laws")]
)

VERBS: Mapping[type[Any], Callable[[Any], int]] = {
    Run: run,
    Count: count,
    Fit: fit,
    Backtest: backtest,
    IsoFlop: isoflop,
    Laws: laws,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `scalelab` command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--version"], ["-V"]):
        sys.stdout.write(f"scalelab {__version__}\n")
        return
    try:
        command = _parse(words)
        status = VERBS[type(command)](command)
    except ScalelabError as error:
        sys.stderr.write(f"scalelab: {error}\n")
        status = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("scalelab: stopped; the same command goes on from here.\n")
        status = 130
    except BrokenPipeError:
        status = 0
    sys.exit(status)


def _gathered(words: list[str]) -> list[str]:
    """The words with every option of several values given once.

    ``--fix E=1 --fix A=2`` means both; the parser would keep the last alone.
    """
    command = next((kind for kind in VERBS if words[:1] == [kind.__name__.lower()]), None)
    if command is None:
        return words
    several = {
        "--" + field.name.replace("_", "-")
        for field in fields(command)
        if isinstance(field.default, tuple)
    }
    kept: list[str] = []
    values: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        option, equals, value = word.partition("=")
        if option.replace("_", "-") in several:
            current = values.setdefault(option.replace("_", "-"), [])
            current += [value] if equals else []
        elif word.startswith("--") or current is None:
            current = None
            kept.append(word)
        else:
            current.append(word)
    return kept + [part for option, given in values.items() for part in (option, *given)]


def _parse(words: list[str], default: Any = tyro.MISSING) -> Any:
    words = _gathered(words)
    for option, after in zip(words, [*words[1:], "--"], strict=False):
        if option in ("--text", "--transfer") and after.startswith("--"):
            raise SpecError(f"{option} is given without a file or folder; name at least one.")
        if option == "--design" and after.startswith("--"):
            raise SpecError("--design is given without a name; `kaplan` is all designs.")
    command = tyro.cli(
        Command,
        prog="scalelab",
        description="Turn a handful of cheap training runs into a decision about a big one.",
        args=words,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if not isinstance(command, Run) or command.study is None or default is not tyro.MISSING:
        return command
    if not command.study.endswith(".toml"):
        raise SpecError(
            f"{command.study!r} is not a TOML file; text is given with --text {command.study}"
        )
    # Read again over the file's settings, so that flags override them wherever the file is named.
    return _parse(words, Run(study=command.study, **read_toml(Path(command.study))))

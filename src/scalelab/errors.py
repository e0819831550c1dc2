"""One tree of errors, and the named notices that results carry.

    ScalelabError                  anything that scalelab raises on purpose (exit code 1)
      InputError                   the user can mend it (exit code 2, no traceback)
        SpecError                  a setting, a TOML file or a command-line value
        CorpusError                text, tokenizer or token shards
        TableError                 a table of runs: file, row and column are named
        FitError                   the runs cannot be fitted by that law
        RecordError                a study folder on disk
      TrainingError                a run could not go on (not a divergence: that is a result)

Every message says what was seen, what was expected, and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


class ScalelabError(Exception):
    """Base of every error that scalelab raises on purpose."""

    exit_code = 1


class InputError(ScalelabError):
    """Bad input that the user can mend; the command line exits with 2 and prints no traceback."""

    exit_code = 2


class SpecError(InputError):
    """A setting, a study file or a command-line value cannot be used."""


class CorpusError(InputError):
    """Text, a tokenizer or token shards cannot be used."""


class TableError(InputError):
    """A table of runs cannot be used; the message names file, row and column."""


class FitError(InputError):
    """The runs given cannot be fitted by the law asked for."""


class RecordError(InputError):
    """A study folder on disk cannot be read or written."""


class DamagedRecordError(RecordError):
    """A file of a run is damaged; whoever schedules the run can train it again."""


class TrainingError(ScalelabError):
    """A run could not go on for a reason other than divergence."""


@dataclass(frozen=True)
class Notice:
    """A named warning that a result carries: it never stops the work, it teaches.

    code: stable, lower-case with hyphens, for example ``few-levels``.
    message: what was seen, why it matters, what to do.
    """

    code: str
    message: str

    def __str__(self) -> str:
        """``code: message``."""
        return f"{self.code}: {self.message}"

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"code": self.code, "message": self.message}

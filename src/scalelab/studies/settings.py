"""What a study is asked for: the fields are the command line, the TOML file and the record."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from scalelab.counting.shape import Activation, Norm, Positions
from scalelab.errors import SpecError
from scalelab.paths import home_path, real_path
from scalelab.units import parse_budget

MOST_DATA_SIZES = 32
"""Over a factor of four or more these still differ in the three digits by which runs are named."""
MOST_SIZES = 64
"""More than there are widths to choose from."""
MOST_CONTEXT = 2**20
"""Attention over as many tokens takes terabytes."""
MOST_WORKERS = 4096
MOST_SEED = 2**63 - 1
"""The largest that torch takes."""


@dataclass(frozen=True)
class RunSettings:
    """A study: text, budget and folder. Every default is explained by `scalelab run --dry-run`."""

    text: tuple[str, ...] = ()
    """Files and folders of text (.txt .md .py ..., .gz, .zst, .jsonl, .parquet). Default: the
    source and documentation of the Python installation that runs this."""
    hf: str | None = None
    """A data set of the Hugging Face hub by name, instead of --text."""
    budget: str = "8m"
    """What the whole study may spend: wall time (10m, 1h30m) or training compute (1e15flop)."""
    design: tuple[str, ...] = ()
    """Findings of Kaplan et al. 2020 to measure on this text, by name, or kaplan for all of them
    (see the guide to designs). A file MINE.py with a DESIGN of your own is one too."""
    transfer: tuple[str, ...] = ()
    """Other texts, each a file or folder, on which every run of the ladder is evaluated too."""
    out: str | None = None
    """Folder of the study. The same command on the same folder goes on where it stopped."""
    text_field: str = "text"
    """Where .jsonl, .parquet and hub records hold their text."""
    separator: str | None = None
    """The line between documents of one file (default: <|doc|> or <|endoftext|>)."""
    tokenizer: str = "bytes"
    """bytes, bpe:SIZE (trained on the text), or a tokenizer.json."""
    context: int = 128
    """Tokens that a model sees at once."""
    positions: Positions = "rotary"
    """How a model knows where a token stands."""
    norm: Norm = "layernorm"
    """The normalisation layers."""
    activation: Activation = "gelu"
    """The feed-forward layer's nonlinearity."""
    untied: bool = False
    """Give the output layer a matrix of its own, not the embedding transposed."""
    sizes: int = 8
    """Sizes of the ladder; the largest is held out and predicted."""
    data_sizes: int = 4
    """Data sizes of each size, branching off one trunk, over a factor of four or more."""
    seed: int = 0
    """Of the initial parameters and the order of the data."""
    workers: int | None = None
    """Processes that train at the same time (default: one per core; on a GPU one)."""

    def folder(self) -> Path:
        """Where the study is kept."""
        if self.out is not None:
            return home_path(self.out)
        source = self.hf or (real_path(self.text[0]).name if self.text else "python")
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in source)
        designs = "".join(f"-{Path(design).stem}" for design in self.design)
        return Path("runs") / f"{name}{designs}-{self.budget.replace(' ', '')}"

    def __post_init__(self) -> None:
        """Refuse what no study can do."""
        for name, least in (("context", 8), ("sizes", 5), ("data_sizes", 3), ("seed", 0)):
            if getattr(self, name) < least:
                raise SpecError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}; at least {least} is "
                    "needed."
                )
        for name, most in (
            ("context", MOST_CONTEXT),
            ("sizes", MOST_SIZES),
            ("data_sizes", MOST_DATA_SIZES),
            ("seed", MOST_SEED),
        ):
            if getattr(self, name) > most:
                raise SpecError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}; at most {most} can be."
                )
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise SpecError(
                f"workers is {self.workers}; at least 1 and at most {MOST_WORKERS} are expected."
            )
        if self.text and self.hf:
            raise SpecError("both --text and --hf are given; a study reads one of them.")
        for name, kind in (("positions", Positions), ("norm", Norm), ("activation", Activation)):
            if getattr(self, name) not in get_args(kind):
                raise SpecError(
                    f"{name} is {getattr(self, name)!r}; expected {', '.join(get_args(kind))}."
                )
        parse_budget(self.budget)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file; SpecError names what is unknown or of the wrong type."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not TOML: {error}") from error
    known = {field.name: field for field in dataclasses.fields(RunSettings)}
    settings: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise SpecError(f"{path}: unknown setting {key!r}; known are {', '.join(known)}.")
        if isinstance(known[name].default, tuple):
            value = [value] if isinstance(value, str) else value
            if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                what = "a name" if name == "design" else "a path"
                raise SpecError(
                    f"{path}: {key} is {value!r}; {what} or a list of them is expected."
                )
            value = tuple(value)
        default = known[name].default
        kind = type(default) if default is not None else int if name == "workers" else str
        if type(value) is not kind:
            raise SpecError(f"{path}: {key} is {value!r}; {kind.__name__} is expected.")
        settings[name] = value
    return settings

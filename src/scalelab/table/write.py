"""A run table or curves to CSV, JSONL or Parquet."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.errors import TableError

if TYPE_CHECKING:
    import polars as pl

_FORMATS = (".csv", ".jsonl", ".parquet")


def write_table(frame: pl.DataFrame, path: str | Path) -> Path:
    """Write `frame` in the format that the suffix of `path` names, aside and then renamed.

    Numbers keep their full precision; in JSONL what is not finite is null. Returns the path.
    Raises TableError when the suffix is not .csv, .jsonl or .parquet, or it cannot be written.
    """
    import polars as pl
    import polars.selectors as cs

    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise TableError(f"{path}: a table is written as one of {', '.join(_FORMATS)}.")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match path.suffix.lower():
            case ".csv":
                frame.write_csv(aside)
            case ".jsonl":
                floats = cs.float()
                finite = pl.when(floats.is_finite()).then(floats)
                frame.with_columns(finite.name.keep()).write_ndjson(aside)
            case _:
                frame.write_parquet(aside)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise TableError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return path

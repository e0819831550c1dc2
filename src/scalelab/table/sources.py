"""Files and frames to a raw polars frame, cells untouched. Text cells stay text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.errors import TableError

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
_NULLS = ["", "NA", "N/A", "null", "NULL", "None", "-"]


def load(source: object) -> tuple[str, pl.DataFrame]:
    """A name for messages and the raw frame of a path, frame, mapping or list of rows.

    source: a path to CSV, TSV, JSON, JSONL or Parquet; a polars frame; anything with the Arrow
    stream interface; a pandas frame; a mapping of columns; a sequence of rows (mappings).

    Raises TableError when it cannot be read or has no rows.
    """
    name, frame = (
        (Path(source).name, _from_file(Path(source)))
        if isinstance(source, str | Path)
        else ("the table", _from_object(source))
    )
    if frame.is_empty():
        raise TableError(f"{name} has no rows; one row per run is expected.")
    repeated = [column for column in frame.columns if column.endswith("_duplicated_0")]
    if repeated:
        column = repeated[0].removesuffix("_duplicated_0")
        raise TableError(f"{name}: two columns are named {column!r}. Rename or remove one.")
    return name, frame


def _from_file(path: Path) -> pl.DataFrame:
    import polars as pl

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TableError(
            f"{path}: a table of runs is one of {', '.join(SUFFIXES)}; seen {suffix or 'no suffix'}"
        )
    try:
        data = path.read_bytes()
        if suffix == ".parquet":
            return pl.read_parquet(data)
        if not data.strip():
            raise TableError(f"{path.name} is empty; a header and one row per run are expected.")
        text = data.decode("utf-8-sig")
        if suffix in (".csv", ".tsv"):
            return pl.read_csv(
                text.encode(),
                infer_schema=False,
                separator=_separator(text.partition("\n")[0], suffix),
                null_values=_NULLS,
            )
        return _from_json(path.name, text, lines=suffix != ".json")
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path.name}: byte {error.start} is not UTF-8. Save the table as UTF-8."
        ) from error
    except pl.exceptions.PolarsError as error:
        detail = str(error).partition("\n")[0]
        raise TableError(f"{path.name}: not a readable {suffix[1:]} table ({detail}).") from error


def _separator(header: str, suffix: str) -> str:
    if suffix == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _from_json(name: str, text: str, *, lines: bool) -> pl.DataFrame:
    import polars as pl

    if lines:
        try:  # fast; does not know NaN, which Python writes
            return pl.read_ndjson(text.encode(), infer_schema_length=None)
        except pl.exceptions.PolarsError:
            return _from_object(_json_lines(name, text))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise TableError(f"{name} line {error.lineno}: not JSON ({error.msg}).") from error
    if isinstance(content, dict) and isinstance(content.get("runs"), list):
        content = content["runs"]
    if not isinstance(content, list | dict):
        raise TableError(
            f"{name}: seen {type(content).__name__}; a list of runs, each an object, is expected."
        )
    return _from_object(content, name)


def _json_lines(name: str, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(f"{name} line {number}: not JSON ({error.msg}).") from error
        if not isinstance(row, dict):
            raise TableError(f"{name} line {number}: seen {line[:40]!r}; an object is expected.")
        rows.append(row)
    return rows


def _from_object(source: object, name: str = "the table") -> pl.DataFrame:
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    try:
        if isinstance(source, Mapping):
            return pl.DataFrame(dict(source), strict=False)
        if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
            return pl.DataFrame(list(source), infer_schema_length=None, strict=False)
        if hasattr(source, "__arrow_c_stream__"):
            try:
                return pl.DataFrame(source)
            except ImportError:  # pandas offers the interface but needs pyarrow for it
                pass
        if hasattr(source, "columns") and hasattr(source, "__getitem__"):
            columns = {str(name): source[name].tolist() for name in source.columns}
            return pl.DataFrame(columns, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise TableError(f"{name}: the columns do not make a table ({error}).") from error
    raise TableError(
        f"{type(source).__name__} is not a table of runs. Give a path, a polars or pandas frame, "
        "anything with the Arrow interface, a dict of columns or a list of rows."
    )

"""Files, folders and frames to raw cells. Text cells stay text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.errors import TableError
from scalelab.table.documents import by_name, check_depth, flat, read_json, read_lines
from scalelab.table.evaluations import events, told
from scalelab.table.files import BINARY, DELIMITED, JSON_LINES, TEXT, decoded, read_bytes
from scalelab.table.folders import files_of, joined, names_of
from scalelab.table.frames import from_indexed, is_indexed
from scalelab.table.raw import Raw, check_width, numbered
from scalelab.table.settle import settled
from scalelab.table.shapes import shaped
from scalelab.table.texts import read_text

if TYPE_CHECKING:
    import polars as pl


_MOST_CELLS = 200_000_000  # of a Parquet file (assumed)


def load(source: object, *, curve: bool = False) -> Raw:
    """The raw cells of a path, folder, pattern, frame, mapping or list of rows.

    source: a path to CSV and its kin, JSON, JSONL, Parquet or Arrow, compressed or not, or to a
    text with a table or a log in it; a folder or a pattern (``runs/*/result.json``) of such; a
    polars frame; anything with the Arrow stream interface; a pandas frame or series; a mapping of
    columns; a sequence of rows (mappings). curve: whether the record of runs along training (a log,
    a chart) is wanted as its points.

    Raises TableError when it cannot be read or has no rows.
    """
    if isinstance(source, str | Path):
        named = names_of(files_of(Path(source)))
        parts = []
        for name, file in named.items():
            with _breakage_told(name):
                raw = _from_file(file, name, curve=curve)
                parts.append(shaped(_plainly(raw), curve=curve))
        raw = joined(str(source), parts)
    else:
        with _breakage_told("the table"):
            raw = shaped(_plainly(_from_given(source)), curve=curve)
    if raw.frame.is_empty():
        raise TableError(f"{raw.name} has no rows; one row per run is expected.")
    return raw


def _plainly(raw: Raw) -> Raw:
    frame, notices = settled(raw.name, raw.frame)
    return replace(raw, frame=frame, notices=(*raw.notices, *notices))


@contextmanager
def _breakage_told(name: str) -> Iterator[None]:
    """What breaks a library on the way is told as the file's fault.

    A damaged file makes polars panic, which is no Exception; what it holds may be larger than the
    memory, or deeper than the stack.
    """
    import polars as pl

    try:
        yield
    except pl.exceptions.PanicException as error:
        detail = str(error).partition("\n")[0][:200]
        raise TableError(
            f"{name}: reading it broke polars ({detail}). Is the file whole? Write it again, as "
            "CSV or Parquet."
        ) from error
    except pl.exceptions.PolarsError as error:
        detail = str(error).partition("\n")[0][:200]
        raise TableError(f"{name}: its columns cannot be read ({detail}).") from error
    except MemoryError as error:
        raise TableError(f"{name}: it is larger than the memory. Leave out columns.") from error
    except RecursionError as error:
        raise TableError(f"{name}: objects in objects, too deep to be a table of runs.") from error


def _from_given(source: object) -> Raw:
    """A frame or rows that a program gave."""
    import polars as pl

    name = "the table"
    if isinstance(source, pl.DataFrame | pl.LazyFrame | Mapping) or not is_indexed(source):
        return Raw(name, numbered(name, _from_object(source)))
    frame, notices = from_indexed(source, name)
    return Raw(name, numbered(name, frame), notices=notices)


def _from_file(path: Path, name: str, *, curve: bool) -> Raw:
    import polars as pl

    suffix, data = read_bytes(path)
    try:
        if suffix in BINARY:
            return Raw(name, numbered(name, _binary(name, suffix, data)))
        text = decoded(name, data)
        if suffix in (*DELIMITED, *TEXT):
            return read_text(name, text, suffix, curve=curve)
        # What it is says the first character, whatever the name says.
        if (suffix in JSON_LINES and not text.lstrip().startswith("[")) or _is_lines(text):
            return _from_lines(name, text)
        rows = read_json(name, text, curve=curve)
        return Raw(name, numbered(name, _from_object(rows, name)), notices=told(name, rows))
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        detail = str(error).partition("\n")[0]
        raise TableError(f"{name}: not a readable {suffix[1:]} table ({detail}).") from error


def _binary(name: str, suffix: str, data: bytes) -> pl.DataFrame:
    import polars as pl

    if suffix != ".parquet":
        return pl.read_ipc(data)
    # A run length of a few bytes may stand for more rows than the memory holds.
    lazy = pl.scan_parquet(io.BytesIO(data))
    cells = lazy.select(pl.len()).collect().item() * len(lazy.collect_schema())
    if cells > _MOST_CELLS:
        raise TableError(
            f"{name}: {cells:,} cells; at most {_MOST_CELLS:,} are read. A table of runs has one "
            "row a run."
        )
    return pl.read_parquet(data)


def _is_lines(text: str) -> bool:
    """Whether a text is one object a line, two at least."""
    first, _, rest = text.strip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and rest.startswith("{")


def _from_lines(name: str, text: str) -> Raw:
    import polars as pl

    check_depth(name, text, lines=True)
    if '"final_report"' in text and (row := events(read_lines(name, text)[0])):
        return Raw(name, numbered(name, _from_object(row, name)), notices=told(name, row))
    try:  # fast; does not know NaN, which Python writes
        frame = pl.read_ndjson(text.encode(), infer_schema_length=None)
        return Raw(name, numbered(name, frame))
    except pl.exceptions.PolarsError:
        rows, broken = read_lines(name, text)
    frame = numbered(name, _from_object(rows, name))
    return Raw(name, frame, {(name, row): why for row, why in broken.items()})


def _from_object(source: object, name: str = "the table") -> pl.DataFrame:
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    try:
        if isinstance(source, Mapping) and all(isinstance(c, Mapping) for c in source.values()):
            named = {str(key): flat(cells) for key, cells in source.items()}
            return _from_rows(by_name(named))
        if isinstance(source, Mapping):
            return pl.DataFrame(
                {str(key): _plain(cells) for key, cells in source.items()}, strict=False
            )
        if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
            return _from_rows(source)
        if hasattr(source, "__arrow_c_stream__"):
            try:
                return pl.DataFrame(source)
            except (ImportError, TypeError, ValueError):
                # pandas offers the interface, needs pyarrow for it, and that takes no mixed cells
                if not hasattr(source, "columns"):
                    raise
        if hasattr(source, "columns") and hasattr(source, "__getitem__"):
            titles = [str(name) for name in source.columns]
            if twice := [title for title in titles if titles.count(title) > 1]:
                raise TableError(f"{name}: two columns are named {twice[0]!r}. Rename one.")
            columns = {str(name): source[name].tolist() for name in source.columns}
            return pl.DataFrame(columns, strict=False)
    except (
        *(TypeError, ValueError, AttributeError, OverflowError),
        pl.exceptions.PolarsError,
    ) as error:
        raise TableError(f"{name}: the columns do not make a table ({error}).") from error
    raise TableError(
        f"{type(source).__name__} is not a table of runs. Give a path, a polars or pandas frame, "
        "anything with the Arrow interface, a dict of columns or a list of rows."
    )


def _plain(cells: Any) -> Any:
    """An array of Python objects as the list that it is."""
    return cells.tolist() if str(getattr(cells, "dtype", "")) == "object" else cells


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    import polars as pl

    flattened = [flat(row) for row in rows]
    check_width("the table", len({key for row in flattened for key in row}))
    return pl.DataFrame(flattened, infer_schema_length=None, strict=False)

"""What trackers export of a chart: the loss of several runs along training."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from scalelab.errors import Notice, TableError
from scalelab.table.cells import numbers
from scalelab.table.expressions import listed
from scalelab.table.files import run_of
from scalelab.table.raw import FILE, ROW, Raw
from scalelab.table.schema import CURVE_COLUMNS, STEPS, normalized

if TYPE_CHECKING:
    pass

_ENDS = ("__MIN", "__MAX")
_AXES = (
    *STEPS,
    "walltime",
    "relativetime",
    "relativetimeprocess",
    "relativetimewall",
    "timestamp",
    "epoch",
)
_LOSS = next(column for column in CURVE_COLUMNS if column.name == "loss")


def unrolled(raw: Raw, *, curve: bool) -> Raw:
    """A chart of Weights & Biases or TensorBoard as rows run, step, loss; other tables as they are.

    Raises TableError where a chart stands for a table of runs, unless a curve is wanted.
    """
    titles = [title for title in raw.frame.columns if title not in (ROW, FILE)]
    if columns := _series(titles):
        return _weights_and_biases(raw, titles[0], columns, curve=curve)
    if [normalized(title) for title in titles] == ["walltime", "step", "value"]:
        return _tensorboard(raw, titles, curve=curve)
    return raw


def _series(titles: list[str]) -> dict[str, tuple[str, str]]:
    """Title -> run and metric, where every column but the first is ``RUN - METRIC``."""
    found = {}
    for title in titles[1:]:
        run, separator, metric = title.rpartition(" - ")
        if not separator:
            return {}
        found[title] = (run, metric)
    bounds = any(title.removesuffix("__MIN") in found for title in found if title.endswith("__MIN"))
    axis = bool(titles) and normalized(titles[0]) in _AXES
    return found if bounds or axis else {}


def _weights_and_biases(
    raw: Raw, axis: str, columns: dict[str, tuple[str, str]], *, curve: bool
) -> Raw:
    import polars as pl

    plain = {title: pair for title, pair in columns.items() if not title.endswith(_ENDS)}
    metrics = list(dict.fromkeys(metric for _, metric in plain.values() if metric != "_step"))
    runs = list(dict.fromkeys(run for run, _ in plain.values()))
    if not curve or len(metrics) != 1:
        raise TableError(_not_runs(raw, axis, plain, metrics, runs, curve=curve))
    steps = axis if normalized(axis) in STEPS else ""
    parts = []
    for run in runs:
        of_run = {metric: title for title, (name, metric) in plain.items() if name == run}
        if metrics[0] not in of_run:
            continue
        point = [pl.lit(run).alias("run"), pl.col(of_run[metrics[0]]).alias("loss"), ROW, FILE]
        own = of_run.get("_step", "")
        if steps or own:
            point.append(pl.col(steps or own).alias("step"))
        if not steps:
            point.append(pl.col(axis))
        parts.append(raw.frame.select(point))
    frame = pl.concat(parts, how="diagonal_relaxed").filter(pl.col("loss").is_not_null())
    bounds = len(columns) - len(plain)
    message = (
        f"{raw.name} is a chart of {len(runs)} runs and was read as rows: run, {axis}, and "
        f"{metrics[0]} as the loss; {frame.height} points"
        + (f", {bounds} columns of __MIN and __MAX left out." if bounds else ".")
    )
    return replace(raw, frame=frame, notices=(*raw.notices, Notice("chart-read", message)))


def _not_runs(
    raw: Raw,
    axis: str,
    plain: dict[str, tuple[str, str]],
    metrics: list[str],
    runs: list[str],
    *,
    curve: bool,
) -> str:
    seen = (
        f"{raw.name} is a chart of {len(runs)} run{'s' if len(runs) > 1 else ''} along training: "
        f"{' and '.join(metrics)} of {listed(runs, 4)} against {axis}."
    )
    if curve:
        return f"{seen} Curves need one metric, the loss; export the chart of that alone."
    ends = [
        f"{run} {values[-1]}"
        for title, (run, metric) in plain.items()
        if metric == metrics[0] and (values := raw.frame[title].drop_nulls().to_list())
    ]
    return (
        f"{seen} A table with one row a run is expected: a CSV file with the columns run, params, "
        f"tokens and loss. The last {metrics[0]} here: {listed(ends, 6)}. The sizes and the "
        "tokens of the runs are not in a chart; the tracker's table of runs has them, exported "
        "with config and summary. As learning curves the chart can be read beside it: scalelab "
        f"isoflop RUNS --curves {raw.name}"
    )


def _tensorboard(raw: Raw, titles: list[str], *, curve: bool) -> Raw:
    """One scalar of one run, named in the file: ``run-10M-tag-val_loss.csv``."""
    import polars as pl

    stem = run_of(PurePosixPath(raw.name).name)
    match = re.fullmatch(r"(?:run-)?(.*?)-?tag-(.+)", stem)
    run, tag = (match[1].strip("-."), match[2]) if match else ("", "")
    run = run or run_of(raw.name)
    if not curve:
        last = raw.frame[titles[2]].drop_nulls().to_list()[-1:]
        raise TableError(
            f"{raw.name} is a TensorBoard chart: {tag or 'a value'} of one run along "
            f"{raw.frame.height} steps, the last {' '.join(map(str, last))}. A table with one row "
            "a run is expected: a CSV file with the columns run, params, tokens and loss. The "
            "size and the tokens of the run are not in a chart. As a learning curve it can be "
            f"read beside such a table: scalelab isoflop RUNS --curves {raw.name}"
        )
    value = "loss" if not tag or re.search("loss|nll|xent|entropy", tag.lower()) else tag
    found, bad = numbers(raw.frame[titles[2]], _LOSS)
    frame = raw.frame.rename({titles[0]: "wall_time", titles[1]: "step", titles[2]: value})
    frame = frame.with_columns(pl.lit(run).alias("run"))
    message = (
        f"{raw.name} was read as the curve of run {run}: {len(found) - int(bad.sum())} points of "
        f"{tag or 'a value without a tag'}" + (", taken for the loss." if value == "loss" else ".")
    )
    return replace(raw, frame=frame, notices=(*raw.notices, Notice("chart-read", message)))

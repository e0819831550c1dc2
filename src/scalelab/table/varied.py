"""What differs among runs of one size and one amount of data: settings, and replicates.

Runs are compared with like runs. At equal N and D a run of another learning rate or batch has
another setting, and one of another seed is a replicate. Which column is which follows from its name
and, for columns that a user adds, from how its values go across the others:

- a replicate has a name such as ``seed``, ``replicate`` or ``trial``;
- a hyper-parameter has a name such as ``lr``, ``batch_tokens``, ``warmup`` or ``optimizer``;
- another column is a setting where it is crossed with what is swept: most runs share its value with
  runs of other swept values, and most swept values occur with several of its values;
- one that is not crossed is a setting where it has few values, each of several runs, and does not
  rise or fall with what is swept;
- what a run ends with (a loss, an accuracy, a time) or where it ran is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.errors import Notice
from scalelab.table.raw import FILE, ROW

if TYPE_CHECKING:
    import polars as pl

_ALIKE = 0.005  # relative difference of sizes and data that count as equal (assumed)
_MOST = 0.75  # share of runs that show how a column goes across another (assumed)
_HALF = 0.5  # the same for what is a hyper-parameter by its name (assumed)
_ACCIDENT = 0.05  # share of runs below which equal N and D are an accident (assumed)
_FEW = 12  # values that a setting of one's own has at most (assumed)
_REPLICATES = frozenset(("seed", "seeds", "replicate", "replica", "rep", "repeat", "trial"))
_HYPER = frozenset(
    (
        *("lr", "learning", "batch", "bs", "bsz", "batchsize", "warmup", "wd", "decay", "dropout"),
        *("schedule", "scheduler", "optimizer", "optim", "momentum", "beta", "beta1", "beta2"),
        *("betas", "clip", "clipping", "eps", "epsilon", "cooldown", "accum", "accumulation"),
    )
)
_OUTCOMES = frozenset(
    (
        *("loss", "losses", "acc", "accuracy", "ppl", "perplexity", "bpb", "byte", "bytes", "nll"),
        *("entropy", "error", "err", "stderr", "score", "metric", "mfu", "hfu", "throughput"),
        *("speed", "flops", "noise", "time", "timestamp", "date", "seconds", "hours", "days"),
        *("memory", "mem", "host", "hostname", "node", "device", "gpu", "gpus", "machine", "job"),
        *("user", "path", "dir", "file", "commit", "git", "url", "note", "notes", "tags", "id"),
        *("created", "updated", "run", "group", "status"),
    )
)
_WEAK_OUTCOMES = frozenset(("name", "step", "steps", "grad", "gradient"))
"""The same, but beside the word of a hyper-parameter: ``warmup_steps``, ``gradient_clipping``."""
_NEVER = frozenset(
    (
        ROW,
        FILE,
        "run",
        "status",
        "trunk",
        "held_out",
        "seconds",
        "bytes_per_token",
        "critical_batch",
    )
)
_GROUPS = frozenset(("family", "tokenizer", "vocabulary", "unique_tokens", "epochs"))
"""Columns with notices of their own."""
AT = ("params", "tokens", "flops")
"""What runs are compared at equal values of."""


@dataclass(frozen=True)
class Varied:
    """What differs among runs that are equal otherwise.

    settings: columns that part runs into sweeps of their own. replicates: columns of seeds and
    their like. mixed: settings that differ too, and whose values have too few runs each for sweeps.
    """

    settings: tuple[str, ...]
    replicates: tuple[str, ...]
    mixed: tuple[str, ...]


def cells(frame: pl.DataFrame, by: Sequence[str]) -> pl.Series:
    """A number for each row: rows of one have equal values of `by`, within half a percent."""
    return together([alike(frame[name]) for name in by], len(frame))


def alike(column: pl.Series) -> pl.Series:
    """A number for each value; numbers within half a percent of the lowest of them have one.

    So steps times batch is one amount of data, whatever the batch rounds it to.
    """
    import polars as pl

    values = _plain(column)
    if not values.dtype.is_float():
        return values.rank("dense").fill_null(0).cast(pl.Int64)
    distinct = values.drop_nulls().drop_nans().unique().sort().to_numpy()
    numbers, number, lowest = {}, 0, 0.0
    for value in distinct.tolist():
        if not number or value > lowest + _ALIKE * abs(lowest):
            number, lowest = number + 1, value
        numbers[value] = number
    return values.replace_strict(numbers, default=0, return_dtype=pl.Int64)


def varied(frame: pl.DataFrame, swept: Sequence[str], by: Sequence[str]) -> Varied:
    """What differs, beside the columns `swept`, among rows with equal values of `by`."""
    cell, at = cells(frame, by), together([exact(frame[name]) for name in swept], len(frame))
    settings: list[str] = []
    replicates, mixed = [], []
    names = [name for name in frame.columns if name not in {*swept, *by, *AT, *_NEVER}]
    # The columns of the schema come first, so that of two that go together it is theirs that part.
    for name in sorted(names, key=lambda name: not _words(name) & _HYPER):
        if (kind := _kind(name)) == "outcome" or frame[name].dtype.is_nested():
            continue
        keys = [frame[one] for one in settings]
        if not _varies(frame[name], cell, keys):
            continue
        if kind == "replicate":
            replicates.append(name)
            continue
        shared, crossed = _across(exact(frame[name]), at, cell)
        parts = shared >= _HALF if kind == "hyper-parameter" else min(shared, crossed) >= _MOST
        if parts:
            settings.append(name)
        elif (kind == "hyper-parameter" or _own_setting(frame[name])) and not _goes_with(
            frame[name], frame, swept, cell
        ):
            mixed.append(name)
    return Varied(tuple(settings), tuple(replicates), tuple(mixed))


def together(labels: Sequence[pl.Series], rows: int) -> pl.Series:
    """A number for each combination of labels, (rows,)."""
    import polars as pl

    found = pl.Series([0] * rows, dtype=pl.Int64)
    for one in labels:
        found = (found * (one.max() + 1) + one).rank("dense").cast(found.dtype)  # type: ignore[operator]
    return found


def exact(column: pl.Series) -> pl.Series:
    """A number for each value; numbers that agree to six digits have one."""
    import polars as pl

    values = _plain(column)
    values = values.round_sig_figs(6) if values.dtype.is_float() else values
    return values.rank("dense").fill_null(0).cast(pl.Int64)


def settings_vary(runs: pl.DataFrame) -> Iterator[Notice]:
    """The notice that runs of equal N and D differ in a setting, and all count alike."""
    import polars as pl

    by = [name for name in AT[:2] if name in runs.columns]
    if not by or "loss" not in runs.columns:
        return
    cell = cells(runs, by)
    differ = [name for name in hyper_parameters(runs) if _varies(runs[name], cell, ())]
    if not differ:
        return
    values = pl.DataFrame([cell.alias(ROW), *(exact(runs[name]).alias(name) for name in differ)])
    groups = values.group_by(ROW).agg(
        pl.len().alias(FILE), *(pl.col(name).n_unique() for name in differ)
    )
    here = groups.filter(pl.any_horizontal(pl.col(name) > 1 for name in differ))
    if here[FILE].sum() < _ACCIDENT * len(runs):
        return
    several = len(differ) > 1
    parts = ", ".join(f"{name} ({_values(runs[name])} values)" for name in differ)
    swept = next((name for name in differ if _plain(runs[name]).dtype.is_float()), None)
    advice = (
        f"--sweep {swept} fits the best of each sweep of {swept}."
        if swept
        else f"--where {differ[0]}=VALUE takes one."
    )
    yield Notice(
        "settings-vary",
        f"{parts} differ{'' if several else 's'} among runs of equal {' and '.join(by)}, at "
        f"{here.height} of {groups.height} values of these. A law without "
        f"{'them' if several else differ[0]} takes these {len(runs)} runs as equally well trained. "
        + advice,
    )


def hyper_parameters(runs: pl.DataFrame) -> list[str]:
    """Columns that are settings by their name, or by few values that return among all runs."""
    found = []
    # Where D is not known, it may be what a column of one's own stands for.
    named = {"params", "tokens"} <= set(runs.columns)
    for name in runs.columns:
        if name in {*AT, *_NEVER, *_GROUPS} or runs[name].dtype.is_nested():
            continue
        kind, count = _kind(name), _values(runs[name])
        own = (
            kind == "own"
            and named
            and _plain(runs[name]).dtype.is_float()
            and _own_setting(runs[name])
        )
        if count > 1 and (kind == "hyper-parameter" or own):
            found.append(name)
    return sorted(found, key=lambda name: (name != "lr", name != "batch_tokens"))


def _own_setting(column: pl.Series) -> bool:
    counts = exact(column).alias("value").value_counts()["count"]
    return len(counts) <= _FEW and bool((counts >= 2).all()) and 3 * len(counts) <= len(column)


def _kind(name: str) -> str:
    words = _words(name)
    if words & _REPLICATES:
        return "replicate"
    if words & _OUTCOMES:
        return "outcome"
    if words & _HYPER:
        return "hyper-parameter"
    # Components of N follow from the shape.
    return "outcome" if words & _WEAK_OUTCOMES or name.startswith("params_") else "own"


def _words(name: str) -> frozenset[str]:
    """The words of a name, such as ``config.batchSize`` or ``weight_decay``."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return frozenset(word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word)


def _plain(column: pl.Series) -> pl.Series:
    """Numbers as such, also where a file gives them as text; anything else as text."""
    import polars as pl

    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    text = column.cast(pl.String, strict=False)
    numbers = text.str.strip_chars().cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == text.null_count() else text


def _values(column: pl.Series) -> int:
    return exact(column).n_unique()


def _varies(column: pl.Series, cell: pl.Series, keys: Sequence[pl.Series]) -> bool:
    """Whether a column differs among rows of one cell and one value of every key."""
    import polars as pl

    groups = [cell.alias("cell"), *(exact(key).alias(f"key {i}") for i, key in enumerate(keys))]
    frame = pl.DataFrame([*groups, exact(column).alias("value")])
    counts = frame.group_by([one.name for one in groups]).agg(pl.col("value").n_unique())
    return bool((counts["value"] > 1).any())


def _across(column: pl.Series, at: pl.Series, cell: pl.Series) -> tuple[float, float]:
    """How a column goes across what is swept, in the cells where it varies.

    The share of runs whose value runs of another swept value have too; and the share of swept
    values that occur with several of the column's.
    """
    import polars as pl

    frame = pl.DataFrame({"cell": cell, "at": at, "value": column})
    frame = frame.filter(pl.col("value").n_unique().over("cell") > 1)
    shared = frame.select((pl.col("at").n_unique().over("cell", "value") > 1).mean()).item()
    points = frame.group_by("cell", "at").agg(pl.col("value").n_unique())
    return float(shared or 0.0), float((points["value"] > 1).mean() or 0.0)  # type: ignore[arg-type]


def _goes_with(
    column: pl.Series, frame: pl.DataFrame, swept: Sequence[str], cell: pl.Series
) -> bool:
    """Whether a column rises or falls with one that is swept, in every cell."""
    import numpy as np

    values = _plain(column)
    if not values.dtype.is_float():
        return False
    numbers = values.to_numpy()
    for name in swept:
        other = _plain(frame[name])
        if not other.dtype.is_float():
            continue
        along = other.to_numpy()
        steps = []
        for one in cell.unique():
            here = (cell == one).to_numpy()
            order = np.argsort(along[here], kind="stable")
            steps.append(np.sign(np.diff(numbers[here][order])))
        signs = np.concatenate(steps)
        if (signs >= 0).all() or (signs <= 0).all():
            return True
    return False

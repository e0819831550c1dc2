"""What looks doubtful in a table that can be read: named notices, none of which stops the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scalelab.errors import Notice
from scalelab.table.checks import LARGEST_LOSS
from scalelab.table.missing import is_of_loss
from scalelab.table.varied import hyper_parameters, settings_vary

if TYPE_CHECKING:
    import polars as pl

_STEPS = ("step", "steps", "_step", "global_step", "iteration", "iter")
_CHECKPOINTS = 5  # rows of one size, growing with the step, that make a curve (assumed)
_MANY = 15  # data sizes of one size that no grid of runs has (assumed)
_FAR = 100  # how far below the others no loss is (assumed)
_STARVED = 0.1  # tokens per parameter (assumed; the smallest set published lies above 1)
_EPOCHS = 1.5  # passes over the data that make them repeated (assumed)
_GROUPS = (2, 12)  # values of a column of words that may name families or data sets
_COUNT = r"^\s*[-+]?[0-9.,]+(e[-+]?[0-9]+)?\s*[kKmMbBgGtT]?\s*$"
_OWN = ("run", "status", "trunk", "curve", "schedule", "tokenizer")


def doubts(frame: pl.DataFrame, mapping: Mapping[str, str]) -> list[Notice]:
    """Notices on the rows that may be fitted, and on those that may not.

    mapping: schema name -> the source's column that was taken for it.
    """
    finished = frame.filter(frame["status"] == "finished")
    notices = [*_response(finished, mapping.get("loss", "loss"))]
    if finished.height < frame.height:
        counts = frame["status"].value_counts(sort=True).rows()
        listed = ", ".join(f"{count} {status}" for status, count in counts)
        notices.append(Notice("unfinished-runs", f"{listed}; only finished runs are fitted."))
    if finished.height:
        checks = (_conventions, _tokenizers, _curves, _groups, _repeated, _rising)
        for doubt in (*checks, _outlying, _starved, _epochs, settings_vary):
            notices += doubt(finished)
    return notices


def _response(runs: pl.DataFrame, title: str) -> Iterator[Notice]:
    """A loss of the user's choice that no loss in nats per token can be."""
    highest = runs["loss"].max() if "loss" in runs.columns else None
    if isinstance(highest, float) and highest > LARGEST_LOSS and not is_of_loss(title):
        yield Notice(
            "not-a-loss",
            f"column {title} was taken for the loss and reaches {highest:.6g}, above any loss in "
            "nats per token: it is fitted in its own unit. ln(COLUMN) turns a perplexity into "
            "nats.",
        )


def _conventions(runs: pl.DataFrame) -> Iterator[Notice]:
    if not {"params", "tokens", "flops"} <= set(runs.columns):
        return
    per = (runs["flops"] / runs["params"] / runs["tokens"]).drop_nulls()
    low, high = per.quantile(0.05), per.quantile(0.95)
    if low is not None and high is not None and high > 1.25 * low:
        yield Notice(
            "mixed-conventions",
            f"C / (N D) runs from {low:.3g} to {high:.3g}: C counts more than 6 N D does, or the "
            "runs count N or C in different ways. Exponents in C and in N D differ; --flops 6N "
            "counts C anew.",
        )


def _tokenizers(runs: pl.DataFrame) -> Iterator[Notice]:
    for column in ("tokenizer", "vocabulary"):
        if column in runs.columns and runs[column].n_unique() > 1:
            yield Notice(
                "mixed-tokenizers",
                f"the runs have {runs[column].n_unique()} values of {column}: losses in nats per "
                "token are comparable only with one tokenizer. Fit each alone.",
            )
            return


def _curves(runs: pl.DataFrame) -> Iterator[Notice]:
    """Checkpoints of a run, given as if each were a run."""
    import polars as pl

    if not {"params", "tokens"} <= set(runs.columns) or "trunk" in runs.columns:
        return
    steps = [
        name for name in runs.columns if name.lower() in _STEPS and runs[name].dtype.is_numeric()
    ]
    per_size = runs.group_by("params").agg(pl.col("tokens").n_unique().alias("levels"))["levels"]
    many = 2 * int((per_size > _MANY).sum()) > len(per_size)
    if steps:
        name = steps[0]
        tied = runs.group_by("params").agg(
            pl.col("tokens").n_unique().alias("levels"),
            pl.corr(pl.col(name).cast(pl.Float64, strict=False), "tokens").alias("together"),
        )
        like = (tied["levels"] >= _CHECKPOINTS) & (tied["together"].fill_nan(0.0) > 0.999)
        many = many or 2 * int(like.sum()) > len(tied)
    if many:
        yield Notice(
            "curves-as-runs",
            f"{len(runs)} rows of {len(per_size)} sizes look like checkpoints along training, not "
            "like runs: points of one run share its luck, and intervals that take them for "
            "independent are too narrow. Keep the last row of each run, or say which rows belong "
            "together: --clusters COLUMN.",
        )


def _groups(runs: pl.DataFrame) -> Iterator[Notice]:
    import polars as pl

    for name in runs.columns:
        if name in _OWN or runs[name].dtype != pl.String:
            continue
        cells = runs[name].drop_nulls()
        if cells.str.contains(_COUNT).any():
            continue  # numbers, which a file gives as text
        if "params" in runs.columns and _one_to_one(runs, name):
            continue  # the sizes by their names
        values = cells.unique().sort().to_list()
        if _GROUPS[0] <= len(values) <= min(_GROUPS[1], len(runs) // 3):
            yield Notice(
                "mixed-groups",
                f"column {name} has the values {', '.join(values[:6])}"
                + (", ..." if len(values) > 6 else "")
                + f"; their runs are taken together. --where {name}=VALUE takes one.",
            )


def _one_to_one(runs: pl.DataFrame, name: str) -> bool:
    pairs = runs.select(name, "params").drop_nulls().unique()
    return pairs[name].n_unique() == pairs["params"].n_unique() == pairs.height


def _repeated(runs: pl.DataFrame) -> Iterator[Notice]:
    names = [name for name in ("params", "tokens", "flops", "loss") if name in runs.columns]
    # Runs of other settings are other runs, though their losses agree.
    settings = hyper_parameters(runs)
    again = int(runs.select(*names, *settings).is_duplicated().sum())
    if "loss" in names and again:
        yield Notice(
            "repeated-rows",
            f"{again} rows agree with another in {', '.join(names)} to the last digit: the same "
            "run twice is not two runs. Remove the copies.",
        )


def _rising(runs: pl.DataFrame) -> Iterator[Notice]:
    import polars as pl

    if not {"flops", "loss"} <= set(runs.columns) or len(runs) < 6:
        return
    known = runs.select("flops", "loss").drop_nulls()
    if known["flops"].n_unique() < 3 or known["loss"].n_unique() < 3:
        return
    together = known.select(pl.corr("flops", "loss", method="spearman")).item()
    if together is not None and together > 0.5:
        yield Notice(
            "loss-rises",
            "the loss rises with compute. Is the column an accuracy, or are the large runs broken? "
            "No law of the registry describes that; a formula may.",
        )


def _outlying(runs: pl.DataFrame) -> Iterator[Notice]:
    """A loss that no run beside the others has: a zero from a crash, a typing error."""
    middle = runs["loss"].median() if "loss" in runs.columns else None
    if not isinstance(middle, float):
        return
    low = runs.filter(runs["loss"] < middle / _FAR)
    if 0 < len(low) <= len(runs) // 10:
        one = low.row(0, named=True)
        yield Notice(
            "outlying-loss",
            f"{len(low)} runs have a loss below a {_FAR}th of the middle one ({middle:.4g}), such "
            f"as run {one['run']} with {one['loss']:.4g}. Is it one? --where chooses rows.",
        )


def _starved(runs: pl.DataFrame) -> Iterator[Notice]:
    if not {"params", "tokens"} <= set(runs.columns):
        return
    ratio = (runs["tokens"] / runs["params"]).median()
    if isinstance(ratio, float) and ratio < _STARVED:
        yield Notice(
            "few-tokens",
            f"half of the runs have less than {ratio:.2g} tokens a parameter, far below what is "
            "trained. Are the tokens counted in thousands or millions, or are they sequences?",
        )


def _epochs(runs: pl.DataFrame) -> Iterator[Notice]:
    if not {"tokens", "unique_tokens"} <= set(runs.columns):
        return
    most = (runs["tokens"] / runs["unique_tokens"]).max()
    if isinstance(most, float) and most > _EPOCHS:
        yield Notice(
            "repeated-data",
            f"data are seen up to {most:.3g} times. Laws of tokens take every pass as new text; "
            "--law repeated-data does not.",
        )

"""Transfer: loss on another text is the loss on the training text's own kind plus an offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scalelab.laws import Array, get_law
from scalelab.studies.attempt import Attempt, attempt
from scalelab.studies.conclusion import (
    Axis,
    Check,
    Conclusion,
    Finding,
    Number,
    Picture,
    Series,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, table
from scalelab.studies.log_linear import beside_loss

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

NAME = "transfer"

SLOPE_MARGIN = 0.15
"""Of the slope of L' on L in nats. An offset that is the same at every loss is a slope of 1 in
nats, not in logarithms; with this margin the offset changes by at most 15% of what training brings.
(assumed)"""

EFFECT_MARGIN = 0.01
"""Of the loss, for ten times the size or the data at equal loss on the training distribution: about
the luck of a seed. (measured: docs/LOG.md, .7%)"""

SOURCE = "section 3.2.2, figure 8"
LEAST_TEXTS = 4
"""With fewer, no rank correlation tells anything: three texts are in order by luck every sixth
time."""

ALL_TEXTS = "loss on all texts"


def slope_check(name: str) -> Check:
    """The claim for one text."""
    return Check.about(
        f"slope on {name}", 1.0, SLOPE_MARGIN, SOURCE, "loss there is the loss here plus an offset"
    )


SIZE = Check.about(
    "effect_of_size",
    0.0,
    EFFECT_MARGIN,
    SOURCE,
    "at equal loss on the training distribution the size does not matter",
)
LENGTH = Check.about(
    "effect_of_data",
    0.0,
    EFFECT_MARGIN,
    SOURCE,
    "at equal loss on the training distribution the length of training does not matter",
)


def plan(bench: Bench) -> Plan:
    """Nothing of its own: the ladder's runs are evaluated on the other texts when they end."""
    if bench.others:
        return Plan()
    return Plan((), ("no other text was given: name some with --transfer.",))


@dataclass(frozen=True)
class _Text:
    """What the ladder's losses on one other text say.

    offset: L' = L + K. affine: L' = K + k L. size, length: effects per decade at equal loss.
    """

    name: str
    runs: pl.DataFrame
    offset: Attempt
    affine: Attempt
    size: Estimate | None
    length: Estimate | None


def conclude(evidence: Evidence) -> Conclusion:
    """Slope and offset for each text, the effects of size and length, the order by nearness."""
    runs = table(evidence.branches)
    names = [column.removeprefix("loss.") for column in runs.columns if column[:5] == "loss."]
    texts = [_text(name, runs, evidence) for name in names]
    pooled = _pooled(texts, runs, evidence)
    findings = [
        text.affine.finding(slope_check(text.name), text.affine.parameter("k")) for text in texts
    ]
    if not texts:
        findings = [Finding(slope_check("other texts"), None, "no run was evaluated on any")]
    effects = (pooled.size, pooled.length) if pooled else (None, None)
    for check, estimate in zip((SIZE, LENGTH), effects, strict=True):
        findings.append(Finding(check, estimate, "too few runs on other texts"))
    order = _order(texts, evidence)
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, texts, order),
        findings,
        _numbers(texts, findings, order),
        _pictures(texts, runs),
        evidence.notices,
        evidence.left_out,
    )


def _text(name: str, runs: pl.DataFrame, evidence: Evidence) -> _Text:
    column = f"loss.{name}"
    known = runs.filter(pl.col(column).is_finite())
    options = {"level": evidence.level, "seed": evidence.seed}
    return _Text(
        name,
        known,
        attempt(get_law("transfer-offset", column), known, **options),
        attempt(get_law("transfer-affine", column), known, **options),
        _effect(column, "params", known, evidence),
        _effect(column, "tokens", known, evidence),
    )


def _effect(column: str, by: str, runs: pl.DataFrame, evidence: Evidence) -> Estimate | None:
    """What ten times `by` does to the loss there at equal loss here, as a share of it."""
    found = attempt(beside_loss(column, by), runs, level=evidence.level, seed=evidence.seed)
    return found.of(lambda p: 10 ** p["b"] - 1, evidence.level)


def _pooled(texts: Sequence[_Text], runs: pl.DataFrame, evidence: Evidence) -> _Text | None:
    """The geometric mean of the losses on all texts as if it were one text's."""
    if not texts:
        return None
    columns = [pl.col(f"loss.{text.name}").log() for text in texts]
    mean = pl.mean_horizontal(columns, ignore_nulls=False).exp().alias(f"loss.{ALL_TEXTS}")
    return _text(ALL_TEXTS, runs.with_columns(mean), evidence)


# --- order by nearness ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Order:
    """Rank correlation of offset and distance; chance: of one as high if texts were shuffled."""

    correlation: Estimate
    chance: float


def _order(texts: Sequence[_Text], evidence: Evidence) -> _Order | None:
    known = [
        (evidence.others[text.name]["distance"], estimate.value)
        for text in texts
        if (estimate := text.offset.parameter("K")) is not None
        and "distance" in evidence.others.get(text.name, {})
    ]
    if len(known) < LEAST_TEXTS:
        return None
    distances, offsets = np.array(known).T
    return rank_correlation(distances, offsets, evidence.level, evidence.seed)


def rank_correlation(x: Array, y: Array, level: float, seed: int) -> _Order:
    """Spearman's correlation with Bonett and Wright's interval (2000) and a permutation test."""
    from statistics import NormalDist

    from scipy.stats import rankdata

    from scalelab.fitting import Estimate

    m = len(x)
    a, b = (rankdata(values) - (m + 1) / 2 for values in (x, y))
    scale = float(np.sqrt((a @ a) * (b @ b))) or 1.0
    found = float(a @ b) / scale
    # Perfect order among m texts is known no better than to half a swap of neighbours.
    inside = float(np.clip(found, -1 + 6 / (m * (m**2 - 1)), 1 - 6 / (m * (m**2 - 1))))
    error = np.sqrt((1 + inside**2 / 2) / (m - 3))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    low, high = (float(np.tanh(np.arctanh(inside) + move)) for move in (-half, half))
    if m <= 8:
        orders = np.array(list(permutations(range(m))))
    else:
        generator = np.random.default_rng([seed, 5])
        orders = np.array([generator.permutation(m) for _ in range(20_000)])
    shuffled = b[orders] @ a / scale
    chance = float((shuffled >= found - 1e-12).mean())
    return _Order(Estimate(found, min(low, found), max(high, found), level, float(error)), chance)


# --- words, numbers, pictures ---------------------------------------------------------------------


def _numbers(
    texts: Sequence[_Text], findings: Sequence[Finding], order: _Order | None
) -> dict[str, Number]:
    numbers: dict[str, Number] = {}
    wanted: Mapping[str, tuple[str, str]] = {
        "offset": ("nats/token", "K in L' = L + K"),
        "size": ("", "change of the loss there for ten times the size, at equal loss here"),
        "data": ("", "change of the loss there for ten times the data, at equal loss here"),
    }
    for text in texts:
        parts = (text.offset.parameter("K"), text.size, text.length)
        for (key, (unit, meaning)), estimate in zip(wanted.items(), parts, strict=True):
            if estimate is not None:
                numbers[f"{key} on {text.name}"] = Number(estimate, unit, meaning)
    for finding in findings:
        if finding.estimate is not None:
            numbers[finding.check.name] = Number(finding.estimate, "", finding.check.claim)
    if order is not None:
        numbers["order_by_distance"] = Number(
            order.correlation,
            "",
            "rank correlation of the offset with the distance of the text (excess cross-entropy of "
            f"an n-gram model); by luck so high with probability {order.chance:.2g}",
        )
    return numbers


def _statement(findings: Sequence[Finding], texts: Sequence[_Text], order: _Order | None) -> str:
    if not texts:
        return f"{phrase(findings)}: no run was evaluated on another text."
    slopes = findings[: len(texts)]
    inside = sum(finding.verdict == "agrees" for finding in slopes)
    outside = [f.check.name.removeprefix("slope on ") for f in slopes if f.verdict == "differs"]
    text = (
        f"{phrase(findings)}: on {inside} of {len(texts)} other texts the loss is the loss on "
        f"the training distribution plus an offset (slope within {SLOPE_MARGIN:g} of 1)"
    )
    if outside:
        text += f", on {', '.join(outside)} it is not"
    size, length = findings[len(texts) :]
    if size.estimate is not None and length.estimate is not None:
        text += (
            f"; at equal loss ten times the size changes the loss there by {_percent(size)} and "
            f"ten times the data by {_percent(length)} (within {EFFECT_MARGIN:.0%}: "
            f"{size.verdict}, {length.verdict})"
        )
    if order is not None:
        text += (
            f"; the offset orders by how near the text is with rank correlation "
            f"{order.correlation} (chance {order.chance:.2g})"
        )
    return text + "."


def _percent(finding: Finding) -> str:
    found = finding.estimate
    assert found is not None
    return f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"


def _pictures(texts: Sequence[_Text], runs: pl.DataFrame) -> list[Picture]:
    if not texts:
        return []
    there = Axis("Loss on the text (nats per token)", kind="loss")
    most = runs.filter(pl.col("tokens") == runs["tokens"].max()).sort("params")
    by_size = [_line("training distribution", most, "params", "loss")]
    against: list[Series] = []
    for text in texts:
        column = f"loss.{text.name}"
        by_size.append(_line(text.name, most, "params", column))
        known = text.runs.sort("loss")
        against.append(_line(text.name, known, "loss", column, "point"))
        offset = text.offset.parameter("K")
        if offset is not None and not known.is_empty():
            x = [float(known["loss"][0]), float(known["loss"][-1])]
            against.append(Series(x, [one + offset.value for one in x], "dashed", text.name))
    return [
        Picture(
            f"{NAME}-size",
            "Loss on other texts against size",
            "The ladder's runs at its largest data size.",
            Axis("Parameters, non-embedding", kind="count"),
            there,
            [one for one in by_size if len(one.x)],
            "figure 8, left",
        ),
        Picture(
            f"{NAME}-loss",
            "Loss on other texts against loss on the training distribution",
            "Every run of the ladder, of any size and length; dashed: the same loss plus an "
            "offset.",
            Axis("Loss on the training distribution (nats per token)", kind="loss"),
            there,
            [one for one in against if len(one.x)],
            "figure 8, right",
        ),
    ]


def _line(label: str, runs: pl.DataFrame, x: str, y: str, mark: str = "line") -> Series:
    known = runs.filter(pl.col(y).is_finite())
    return Series(known[x].to_list(), known[y].to_list(), mark, label)  # type: ignore[arg-type]


DESIGN = Design(
    name=NAME,
    title="Transfer to other texts",
    paper="figure 8, section 3.2.2",
    varies="the text on which the ladder's runs are evaluated; through the ladder, size and data",
    holds="the training text and the recipe",
    concludes="slope and offset of the loss on each text against the loss on the training "
    "distribution, and whether anything but that loss matters",
    weight=0.0,
    plan=plan,
    conclude=conclude,
    others=True,
)

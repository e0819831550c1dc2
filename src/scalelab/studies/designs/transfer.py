"""Transfer: the loss on another text follows from the loss on the training text's own kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scalelab.laws import get_law
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.log_linear import beside_loss
from scalelab.studies.analysis.other_texts import Order, rank_correlation, scatter, slope
from scalelab.studies.conclusion import (
    Axis,
    Check,
    Conclusion,
    Finding,
    Number,
    Picture,
    Series,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, table

if TYPE_CHECKING:
    from scalelab.fitting import Estimate

NAME = "transfer"
SOURCE = "section 3.2.2, figure 8"

MARGIN = 0.02
"""Of the loss on another text. Figure 8 shows points of about .05 nats on losses of 2.5 to 5: what
stays within 2% it calls a dependence on the training loss "almost exclusively"."""

SLOPE_MARGIN = 0.15
"""Of the slope of L' on L: the offset changes by at most 15% of what training brings. (assumed: the
paper's offset is "small and very slowly growing")"""

COMPARABLE = 1.25
"""Ratio of bytes per token, here to there, within which a nat per token is as much. (assumed)"""

LEAST_TEXTS = 4
"""With fewer, no rank correlation tells anything: three texts are in order by luck every sixth
time."""

ALL_TEXTS = "all texts"
RATIO = "tokens_per_parameter"

SCATTER = Check.at_most(
    "scatter about a line in the training loss",
    MARGIN,
    SOURCE,
    "the loss on another text is a straight line in the loss on the training distribution",
    "the paper's other texts resemble its training text; on one that does not (code, another "
    "language) a small model's loss hangs on bytes that it has hardly seen, by luck",
)
EFFECT = Check.about(
    "effect of ten times the tokens per parameter",
    0.0,
    MARGIN,
    SOURCE,
    "at equal loss on the training distribution it does not matter whether size or data brought it",
    "a small model trained long on one narrow text can specialise in it at equal loss; the paper's "
    "training text is a broad sample of the web and its other texts resemble it",
)
SLOPE = Check.about(
    "slope on other texts",
    1.0,
    SLOPE_MARGIN,
    SOURCE,
    "in nats per token of one tokenizer the loss there is the loss here plus an offset",
    "another tokenizer weighs other texts differently",
)
PER_BYTE = (
    "slopes in nats per byte are not compared with 1: a slope of 1 per token of the paper is, per "
    "byte, the bytes of a token here over those there, 1.4 to 1.7 for code or another language"
)


def plan(bench: Bench) -> Plan:
    """Nothing of its own: the ladder's runs are evaluated on the other texts when they end."""
    if bench.others:
        return Plan()
    return Plan((), ("no other text was given: name some with --transfer.",))


@dataclass(frozen=True)
class _Text:
    """What the ladder's losses on one other text say.

    offset: L' = L + K. slope: k in L' = K + k L. effect: of ten times the tokens per parameter at
    equal loss here. scatter: about the line.
    """

    name: str
    runs: pl.DataFrame
    offset: Attempt
    slope: Estimate | None
    effect: Estimate | None
    scatter: Estimate | None


def conclude(evidence: Evidence) -> Conclusion:
    """Scatter about a line, the effect beside the loss, slopes and offsets, order by nearness."""
    runs = table(evidence.branches)
    names = [column.removeprefix("loss.") for column in runs.columns if column[:5] == "loss."]
    if names:
        runs = runs.with_columns((pl.col("tokens") / pl.col("params")).alias(RATIO))
    texts = [_text(name, runs, evidence) for name in names]
    known = [text for text in texts if text.scatter is not None]
    why = "too few runs on other texts" if names else "no run was evaluated on another text"
    columns = [f"loss.{text.name}" for text in known]
    findings = [
        Finding(SCATTER, scatter(runs, columns, evidence.level) if known else None, why),
        Finding(EFFECT, _pooled_effect(known, runs, evidence), why),
    ]
    if evidence.bytes_per_token > 1:
        findings.append(_slope(known, runs, evidence))
    order = _order(texts, evidence)
    return Conclusion(
        NAME,
        DESIGN.title,
        _statement(findings, texts, order, evidence),
        findings,
        _numbers(texts, findings, order),
        _pictures(texts, runs),
        left_out=[PER_BYTE] if known and evidence.bytes_per_token <= 1 else (),
    )


def _text(name: str, runs: pl.DataFrame, evidence: Evidence) -> _Text:
    column = f"loss.{name}"
    known = runs.filter(pl.col(column).is_finite())
    law = get_law("transfer-offset", column)
    return _Text(
        name,
        known,
        attempt(law, known, level=evidence.level, seed=evidence.seed),
        slope(known, column, evidence.level),
        _effect(column, known, evidence),
        scatter(known, [column], evidence.level),
    )


def _effect(column: str, runs: pl.DataFrame, evidence: Evidence) -> Estimate | None:
    """What ten times the tokens per parameter do to the loss there at equal loss here, a share.

    At equal loss more tokens mean fewer parameters, so size and data have one effect, not two: a
    move along the line of equal loss.
    """
    found = attempt(beside_loss(column, RATIO), runs, level=evidence.level, seed=evidence.seed)
    return found.of(lambda p: 10 ** p["b"] - 1, evidence.level)


def _pooled_effect(
    texts: Sequence[_Text], runs: pl.DataFrame, evidence: Evidence
) -> Estimate | None:
    """The effect on the geometric mean of the losses on all texts."""
    if not texts:
        return None
    logs = [pl.col(f"loss.{text.name}").log() for text in texts]
    mean = pl.mean_horizontal(logs, ignore_nulls=False).exp().alias(f"loss.{ALL_TEXTS}")
    found = runs.with_columns(mean).filter(pl.col(f"loss.{ALL_TEXTS}").is_finite())
    return _effect(f"loss.{ALL_TEXTS}", found, evidence)


def _slope(texts: Sequence[_Text], runs: pl.DataFrame, evidence: Evidence) -> Finding:
    """The mean slope over texts whose tokens are as long as the training text's."""
    near = []
    for text in texts:
        there = evidence.others.get(text.name, {}).get("bytes_per_token", float("nan"))
        if abs(np.log(there / evidence.bytes_per_token)) <= np.log(COMPARABLE):
            near.append(pl.col(f"loss.{text.name}"))
    if not near:
        return Finding(SLOPE, None, "no other text has tokens as long as the training text's")
    column = f"loss.{ALL_TEXTS}"
    mean = pl.mean_horizontal(near, ignore_nulls=False).alias(column)
    found = runs.with_columns(mean).filter(pl.col(column).is_finite())
    return Finding(SLOPE, slope(found, column, evidence.level), "too few runs on other texts")


def _order(texts: Sequence[_Text], evidence: Evidence) -> Order | None:
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


# --- words, numbers, pictures ---------------------------------------------------------------------


def _numbers(
    texts: Sequence[_Text], findings: Sequence[Finding], order: Order | None
) -> dict[str, Number]:
    numbers = {
        finding.check.name: Number(finding.estimate, "", finding.check.claim)
        for finding in findings
        if finding.estimate is not None
    }
    wanted: Mapping[str, tuple[str, str]] = {
        "scatter": ("", "root mean square of ln L' about L' = K + k L"),
        "effect": (
            "",
            "change of the loss there for ten times the tokens per parameter, at equal loss here",
        ),
        "slope": ("", "k in L' = K + k L; per byte it depends on how long a token is there"),
        "offset": ("nats/token", "K in L' = L + K"),
    }
    for text in texts:
        parts = (
            text.scatter,
            text.effect,
            text.slope,
            text.offset.parameter("K"),
        )
        for (key, (unit, meaning)), estimate in zip(wanted.items(), parts, strict=True):
            if estimate is not None:
                numbers[f"{key} on {text.name}"] = Number(estimate, unit, meaning)
    if order is not None:
        numbers["order_by_distance"] = Number(
            order.correlation,
            "",
            "rank correlation of the offset with the distance of the text (excess cross-entropy of "
            f"an n-gram model); by luck so high with probability {order.chance:.2g}",
        )
    return numbers


def _statement(
    findings: Sequence[Finding], texts: Sequence[_Text], order: Order | None, evidence: Evidence
) -> str:
    line, effect = (finding.estimate for finding in findings[:2])
    if line is None:
        return f"{phrase(findings)}: {findings[0].why}."
    words = [
        f"on {len(texts)} other texts the loss is K + k L, K and k free, to within "
        f"{line.value:.1%} [{line.low:.1%}, {line.high:.1%}] (root mean square; at most "
        f"{MARGIN:.0%}, runs scatter by {evidence.noise_level:.1%} from seed to seed on their own "
        f"text){_ends(texts)}"
    ]
    if effect is not None:
        each = [text.effect.value for text in texts if text.effect is not None]
        alike = sum(one > 0 for one in each) if effect.value > 0 else sum(one < 0 for one in each)
        words.append(
            f"at equal loss ten times the tokens per parameter change the loss there by "
            f"{effect.value:+.1%} [{effect.low:+.1%}, {effect.high:+.1%}] (within {MARGIN:.0%}; "
            f"{'up' if effect.value > 0 else 'down'} on {alike} of {len(each)} texts)"
        )
        if effect.low > 0:
            words[-1] += ", as if longer training on one text made a model a specialist in it"
    slopes = {text.name: text.slope for text in texts if text.slope is not None}
    if len(findings) > 2 and findings[2].estimate is not None:
        words.append(f"the mean slope on texts with tokens as long is {findings[2].estimate}")
    elif slopes:
        each = [one.value for one in slopes.values()]
        words.append(
            f"slopes k lie between {min(each):.2g} and {max(each):.2g} per byte, which says nothing"
            " of a slope of 1 per token"
        )
    rising = [name for name, one in slopes.items() if one.high < 0]
    if rising:
        words.append(f"on {', '.join(rising)} the loss rises as that on the training text falls")
    if order is not None:
        words.append(
            "offsets order by how near the text is with rank correlation "
            f"{order.correlation} (chance {order.chance:.2g})"
        )
    return f"{phrase(findings)}: {'; '.join(words)}.{because(findings)}"


def _ends(texts: Sequence[_Text]) -> str:
    """The texts of the least and of the greatest scatter."""
    each = sorted((text.scatter.value, text.name) for text in texts if text.scatter is not None)
    if len(each) < 2:
        return ""
    (least, near), (most, far) = each[0], each[-1]
    return f", from {least:.1%} on {near} to {most:.1%} on {far}"


def _pictures(texts: Sequence[_Text], runs: pl.DataFrame) -> list[Picture]:
    if not texts:
        return []
    there = Axis("Loss on the text (nats per token)", kind="loss")
    most = runs.filter(pl.col("tokens") == runs["tokens"].max()).sort("params")
    largest = runs.filter(pl.col("params") == runs["params"].max()).sort("tokens")
    by_size: list[Series] = []
    against: list[Series] = []
    for text in texts:
        column = f"loss.{text.name}"
        by_size.append(_line(text.name, most, "params", column))
        against.append(_line(text.name, text.runs.sort("loss"), "loss", column, "point"))
        if largest.height > 1:
            against.append(_line(text.name, largest, "loss", column, "dashed"))
    by_size.append(_line("training distribution", most, "params", "loss"))
    return [
        Picture(
            f"{NAME}-size",
            "Loss on other texts against size",
            "The ladder's runs at its largest data size.",
            Axis("Parameters (non-embedding)", kind="count"),
            there,
            [one for one in by_size if len(one.x)],
            "figure 8, left",
        ),
        Picture(
            f"{NAME}-loss",
            "Loss on other texts against loss on the training distribution",
            "Points: every run of the ladder at its end. Dashed: runs of the largest size alone, "
            "on more and more data, where the paper has one large model as it trains: losses on "
            "other texts are final losses, and not recorded along the way.",
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
    concludes="how far the loss on other texts scatters about a line in the loss on the training "
    "distribution, and whether tokens per parameter matter at equal loss",
    weight=0.0,
    plan=plan,
    conclude=conclude,
    others=True,
)

"""Shape: at one N, depth against width, heads, and the feed-forward ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from scalelab.counting import TransformerShape, count_parameters
from scalelab.execution.execute import Job
from scalelab.fitting import Estimate
from scalelab.studies.analysis.shapes import PAPER_FROM, aspect, counts, place, variants
from scalelab.studies.analysis.variants import (
    RATES,
    Tuned,
    excess,
    noise_estimate,
    not_bracketed,
    over_best,
    percent,
    spread_of,
    tune,
)
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
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.sizes import shape_of_width, size_of
from scalelab.units import format_count

WIDTHS = (256, 192, 160, 128, 96, 64, 48)
"""Of the shape from which the others depart; N is 24 times the square with two layers."""

AXES = ("aspect", "heads", "ratio")
CHOICES = (
    *((width, AXES) for width in WIDTHS),
    (48, AXES[:1]),
    (32, AXES),
    (32, AXES[:1]),
    (24, AXES[:1]),
)
"""Width and what is compared there, the best first; the first that the allowance pays for."""

LEAST_SPAN = 5.0
"""Ratio of the largest aspect ratio to the least below which nothing is said of the paper's 40."""

TOKENS_PER_PARAMETER = (10.0, 40.0)
"""The largest N that gets the first; what is then left goes to more tokens, up to the second."""

LEAST_STEPS = 300

SHORT_STEPS = 1000
SHORT = 1.4
"""Fewer steps than the first want a rate so many times the ladder's law. (measured: 55.3k
parameters, books, 540 to 630 steps of 1,024 tokens; of 14 shapes at .5, 1 and 2 times the law 7
were best at the highest)"""

THIN = 1.4
THIN_RATE = 0.5
"""Feed-forward ratios below the first, those of 1/2 and 1, want so many times the law. (measured:
there, ratios of .4 and 1 were best at the lowest rate, 1.8 at the middle one)"""

MARGIN = 0.03
"""Kaplan et al. 2020, section 3.1: "loss varies only a few percent over a wide range of shapes";
figure 5: (6 layers, 4288 wide) within 3% of (48, 1600)."""

ALPHA_N = 0.07
"""Slope of log loss against log N by which losses are moved to one N, from which these shapes
differ by a percent. (assumed: .04 to .1 were measured on byte tokens, docs/LOG.md)"""

ALPHA_C = 0.050
"""Kaplan et al. 2020, equation 1.3: 1% of loss is 22% of compute."""

CHECKS = {
    "aspect": Check.at_most(
        "greatest loss increase over aspect ratios",
        MARGIN,
        "section 3.1, figure 5",
        f"at one N, depth against width moves the loss by at most {MARGIN:.0%}",
        "at equal N a deep narrow shape has the smaller embedding, so fewer parameters in all, and "
        "in models this small that is a large part",
    ),
    "heads": Check.at_most(
        "greatest loss increase over numbers of heads",
        MARGIN,
        "figure 5",
        f"at one N, the number of heads moves the loss by at most {MARGIN:.0%}",
        "in models this narrow many heads have no more than 8 or so dimensions each",
    ),
    "ratio": Check.at_most(
        "greatest loss increase over feed-forward ratios",
        MARGIN,
        "figure 5",
        f"at one N, feed-forward ratios of about 1/2 to 8 move the loss by at most {MARGIN:.0%}",
        "in models this small the least ratio leaves a layer a few dozen feed-forward units, the "
        "greatest a narrow model with a small embedding",
    ),
}


PAPER_SPAN = 40
"""Factor over which aspect ratios vary in the paper's figure 5, as its caption says."""

WORDS = {
    "ratio": ("feed-forward ratio", "Feed-forward ratio (d_ff / d_model)", "figure 5, left"),
    "aspect": ("aspect ratio", "Aspect ratio (d_model / n_layer)", "figure 5, middle"),
    "heads": (
        "head dimension", "Attention head dimension (d_model / n_head)", "figure 5, right"
    ),
}  # fmt: skip


def plan(bench: Bench) -> Plan:
    """The largest N at which the allowance pays for every axis, else for depth alone."""
    for width, axes in CHOICES:
        base = shape_of_width(width, replace(bench.family, n_layer=2))
        shapes = _distinct(variants(base), axes)
        least, most = (size_of(base) * ratio for ratio in TOKENS_PER_PARAMETER)
        least = max(least, LEAST_STEPS * bench.batch_tokens)
        if least > bench.corpus.train.tokens or _out_of_reach(bench, shapes, least):
            continue
        jobs = bench.largest(partial(_jobs, bench, shapes), least, most)
        if jobs is not None:
            return Plan(jobs, left_out=_left_out(axes, base))
    smallest = format_count(24 * CHOICES[-1][0] ** 2)
    return Plan(
        left_out=(
            f"shapes: even models of {smallest} parameters at {len(RATES)} rates each cost more "
            f"than {bench.allowance}; a larger budget compares them",
        )
    )


def _distinct(
    found: dict[str, list[TransformerShape]], axes: Sequence[str]
) -> list[TransformerShape]:
    return list(dict.fromkeys(shape for axis in axes for shape in found[axis]))


def _out_of_reach(bench: Bench, shapes: Sequence[TransformerShape], tokens: float) -> bool:
    """Whether even at the ladder's speeds, which deep models fall short of, it is too dear."""
    if bench.allowance.unit != "seconds":
        return False
    sizes = np.log([size_of(shape) for shape in bench.sizes])
    speed = math.exp(np.interp(math.log(size_of(shapes[0])), sizes, np.log(bench.speeds)))
    return len(shapes) * len(RATES) * tokens / speed / bench.workers > bench.allowance.amount


def _jobs(bench: Bench, shapes: Sequence[TransformerShape], tokens: int) -> list[Job]:
    """Every shape at every rate, with another seed at each rate."""
    jobs = []
    for shape in shapes:
        lr = _guess(bench, shape, tokens)
        for i, factor in enumerate(RATES):
            name = f"shape-l{shape.n_layer}-w{shape.d_model}-h{shape.n_head}-f{shape.d_ff}-r{i}"
            spec = bench.spec(name, shape, tokens, lr=factor * lr, seed=bench.seed + i)
            why = (
                f"{shape.n_layer} layers of width {shape.d_model}, {shape.n_head} heads, "
                f"feed-forward {shape.d_ff}, at {factor:g} times its guessed rate"
            )
            jobs.append(bench.job(spec, why))
    return jobs


def _guess(bench: Bench, shape: TransformerShape, tokens: int) -> float:
    """The ladder's law in N: at one N one, two, four and eight layers had one best rate to within
    a factor of 1.3 (measured: 25k parameters, 250k bytes of books)."""
    if shape.d_ff < THIN * shape.d_model:
        return THIN_RATE * bench.rate(shape)
    return (SHORT if tokens < SHORT_STEPS * bench.batch_tokens else 1.0) * bench.rate(shape)


def _left_out(axes: Sequence[str], base: TransformerShape) -> tuple[str, ...]:
    lines = [
        f"aspect ratios from {PAPER_FROM:g} up span a factor of {_span(base):.1f} at N = "
        f"{format_count(size_of(base))}; the paper's factor of 40 needs N above two million"
    ]
    if "heads" not in axes:
        lines.append("heads and feed-forward ratio: this budget pays for depth against width alone")
    return tuple(lines)


def _span(base: TransformerShape) -> float:
    inside = [aspect(shape) for shape in variants(base)["aspect"] if counts("aspect", shape)]
    return max(inside) / min(inside)


def conclude(evidence: Evidence) -> Conclusion:
    """Greatest loss increase along each axis, every shape at its best rate."""
    groups: dict[TransformerShape, list[Run]] = {}
    for run in evidence.own:
        if isinstance(run.spec.shape, TransformerShape):
            groups.setdefault(run.spec.shape, []).append(run)
    tuned = tune(groups, evidence.noise_level, evidence.seed)
    if tuned is None:
        why = "too few runs have finished" if groups else "there are no runs"
        return Conclusion(
            DESIGN.name,
            DESIGN.title,
            f"{phrase()} whether shape matters little: {why}.",
            [Finding(CHECKS["aspect"], None, why)],
        )
    base = max(groups, key=lambda s: len(set(_distinct(variants(s), AXES)) & set(groups)))
    tuned = _at_one_size(tuned, base)
    # In the order of the axis, finished ones alone; an axis that nothing was asked of is not there.
    found = {
        axis: sorted((s for s in shapes if s in tuned.names), key=partial(place, axis))
        for axis, shapes in variants(base).items()
        if any(shape in groups for shape in shapes[1:])
    }
    findings = [_finding(axis, shapes, tuned, evidence.level) for axis, shapes in found.items()]
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(dict(zip(found, findings, strict=True)), found, tuned, base),
        findings,
        _numbers(dict(zip(found, findings, strict=True)), found, tuned, evidence.level),
        [_picture(axis, s, tuned, evidence.level) for axis, s in found.items() if len(s) > 1],
        not_bracketed(tuned, _tip),
    )


def _at_one_size(tuned: Tuned[TransformerShape], base: TransformerShape) -> Tuned[TransformerShape]:
    """Log losses moved to the N of `base` by the assumed slope."""
    off = np.log([size_of(shape) / size_of(base) for shape in tuned.names])
    moved = ALPHA_N * off
    return replace(tuned, log_loss=tuned.log_loss + moved, lowest=tuned.lowest + moved)


def _finding(
    axis: str, shapes: Sequence[TransformerShape], tuned: Tuned[TransformerShape], level: float
) -> Finding:
    inside = [shape for shape in shapes if counts(axis, shape)]
    if len(inside) < 3:
        return Finding(CHECKS[axis], None, f"only {len(inside)} of the shapes compared finished")
    span = place(axis, inside[-1]) / place(axis, inside[0])
    if axis == "aspect" and span < LEAST_SPAN:
        why = f"aspect ratios of the shapes compared span a factor of {span:.1f} alone"
        return Finding(CHECKS[axis], None, why)
    return Finding(CHECKS[axis], spread_of(tuned, inside, level))


def _numbers(
    findings: Mapping[str, Finding],
    found: Mapping[str, Sequence[TransformerShape]],
    tuned: Tuned[TransformerShape],
    level: float,
) -> dict[str, Number]:
    numbers = {}
    for axis, finding in findings.items():
        if (rise := finding.estimate) is None:
            continue
        numbers[f"loss_increase_{axis}"] = Number(
            rise, "", f"greatest loss over the least along the axis {axis}, minus 1"
        )
        value, low, high = ((1 + end) ** (1 / ALPHA_C) for end in (rise.value, rise.low, rise.high))
        numbers[f"compute_{axis}"] = Number(
            Estimate(value, low, high, level),
            "",
            f"compute that makes up for it by the paper's L(C_min), exponent {ALPHA_C:g}",
        )
    for axis, shapes in found.items():
        inside = [shape for shape in shapes if counts(axis, shape)]
        for shape in shapes:
            if inside and not counts(axis, shape):
                layers = f"{shape.n_layer} layer{'s' if shape.n_layer > 1 else ''}"
                heads = f"{shape.n_head} head{'s' if shape.n_head > 1 else ''}"
                words = layers if axis == "aspect" else heads
                numbers[words.replace(" ", "_")] = Number(
                    excess(tuned, shape, inside, level),
                    "",
                    f"loss with {words}, which stand apart, over the mean of the shapes compared, "
                    "minus 1",
                )
    numbers["noise"] = Number(
        noise_estimate(tuned, level), "", "standard deviation of log loss from run to run"
    )
    return numbers


def _statement(
    findings: Mapping[str, Finding],
    found: Mapping[str, Sequence[TransformerShape]],
    tuned: Tuned[TransformerShape],
    base: TransformerShape,
) -> str:
    words = []
    for axis, finding in findings.items():
        inside = [place(axis, shape) for shape in found[axis] if counts(axis, shape)]
        if finding.estimate is None:
            words.append(f"{WORDS[axis][0]}: {finding.why}")
            continue
        beside = (
            f" (a factor of {max(inside) / min(inside):.1f}, the paper's: {PAPER_SPAN})"
            if axis == "aspect"
            else ""
        )
        words.append(
            f"{WORDS[axis][0]} {min(inside):.3g} to {max(inside):.3g}{beside} move the loss by "
            f"{percent(finding.estimate)}"
        )
    deep = [shape for shape in found.get("aspect", ()) if counts("aspect", shape)]
    if len(deep) > 1:
        whole = [count_parameters(shape).total for shape in (deep[0], deep[-1])]
        words.append(
            f"at equal N the deepest and narrowest of these has {format_count(whole[0])} parameters"
            f" with its embedding, the widest {format_count(whole[1])}"
        )
    unsure = (
        f" ({len(tuned.ends)} of {len(tuned.names)} are best at the lowest or highest: intervals "
        "reach to where their parabolas say they may be beyond)"
        if tuned.ends
        else ""
    )
    told = list(findings.values())
    return (
        f"{phrase(told)}: at N = {format_count(size_of(base))}, every shape at the best of "
        f"{len(RATES)} rates{unsure}, {'; '.join(words)}; the paper's few percent are taken as at "
        f"most {MARGIN:.0%}, and runs scatter by {tuned.noise:.1%}.{because(told)}"
    )


def _picture(
    axis: str, shapes: Sequence[TransformerShape], tuned: Tuned[TransformerShape], level: float
) -> Picture:
    value, low, high = over_best(tuned, shapes, level)
    series = []
    for mark, label, wanted in (("point", "compared", True), ("hollow", "apart", False)):
        here = [i for i, shape in enumerate(shapes) if counts(axis, shape) == wanted]
        if here:
            series.append(
                Series(
                    x=[place(axis, shapes[i]) for i in here],
                    y=[value[i] for i in here],
                    low=[low[i] for i in here],
                    high=[high[i] for i in here],
                    mark=mark,  # type: ignore[arg-type]
                    label=label,
                    tips=[_tip(shapes[i]) for i in here],
                )
            )
    span = [place(axis, shape) for shape in shapes]
    edge = [MARGIN] * 2
    series.append(Series([min(span), max(span)], edge, "dashed", f"margin of {MARGIN:.0%}"))
    name, title, figure = WORDS[axis]
    deep = " Deep narrow shapes have smaller embeddings." if axis == "aspect" else ""
    return Picture(
        f"shape-{axis}",
        f"Loss increase against {name}",
        f"At N = {format_count(size_of(shapes[0]))}, each shape at the best of its learning rates; "
        f"above the best of them. Long bars down: it may be lower beyond the rates tried.{deep}",
        Axis(title),
        Axis("Loss increase", log=False, kind="percent"),
        series,
        paper=figure,
    )


def _tip(shape: TransformerShape) -> str:
    return (
        f"{shape.n_layer} layers, width {shape.d_model}, {shape.n_head} heads, feed-forward "
        f"{shape.d_ff}, N {format_count(size_of(shape))}"
    )


DESIGN = Design(
    name="shape",
    title="Shape matters little",
    paper="figure 5, section 3.1",
    varies="depth against width, number of heads, feed-forward ratio",
    holds="N to within a percent, tokens, batch; the learning rate is tuned for every shape",
    concludes="how much the loss rises along each at most, and what compute makes up for it",
    weight=1.4,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

"""Loss per token of the context: a power law in the position, and what larger models gain there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Estimate
from scalelab.fitting.line import fit_line
from scalelab.laws import Array, get_law
from scalelab.studies.attempt import Attempt, attempt, line_through
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
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.long_context import ended, has_positions, largest_ladder, planned, tuned
from scalelab.studies.positions import Binned, binned
from scalelab.units import format_count

EXPONENT = Check(
    "exponent of the position at the largest N",
    0.55,
    0.3,
    0.8,
    "appendix D.7, figure 20",
    "the loss falls with the position T as E + A T^-alpha, alpha .47 to .62",
)
"""The region is that of the paper's six models, .47 to .62, made wider by .18 on either side:
bytes are not its tokens, and its text is not this one. (assumed)"""

GROWS = Check.at_least(
    "exponent in N late in the context less early",
    0.0,
    "appendix D.7, figure 21",
    "the exponent of L(N) is larger late in the context than early",
)

EARLY = (4.0, 16.0)
"""Bytes of text before the token: one to a few tokens of the paper's. (assumed)"""

TOKEN = 4.0
"""Bytes of one token of the paper: the law in the position begins there, as theirs does."""

LATE = 0.5
"""Share of the context from which on it is late."""

LEAST_SIZES = 4
DRAWS = 500


def plan(bench: Bench) -> Plan:
    """The Transformers with a long context: those planned already, else what is paid for."""
    if there := planned(bench):
        return Plan(there)
    found = largest_ladder(bench, ())
    if found is None:
        return Plan(
            left_out=(
                f"the smallest Transformers with a long context cost more than {bench.allowance}; "
                "a larger budget trains them",
            )
        )
    return Plan(tuned(bench, *found))


def conclude(evidence: Evidence) -> Conclusion:
    """A power law in the position for each size; exponents in N early and late."""
    runs = [run for run in ended(evidence.own, "transformer") if has_positions(run)]
    if runs:
        runs = [run for run in runs if len(run.positions) == len(runs[-1].positions)]
    bins = [binned(run.positions) for run in runs]
    fits = [_position_law(found, evidence) for found in bins]
    alpha = fits[-1].parameter("alpha") if fits else None
    why = fits[-1].why if fits else "no run with losses by position has finished"
    grows, why_not = _grows(runs, evidence)
    findings = [Finding(EXPONENT, alpha, why), Finding(GROWS, grows, why_not)]
    numbers = {}
    for run, fit in zip(runs, fits, strict=True):
        if (found := fit.parameter("alpha")) is not None:
            numbers[f"alpha_T_n{run.params}"] = Number(
                found, "", f"exponent of the position at N = {format_count(run.params)}"
            )
    if grows is not None:
        numbers["alpha_N_late_less_early"] = Number(
            grows, "", "exponent of L(N) in the last half of the context less that at its beginning"
        )
    by_place = [_at(runs, edge, evidence) for edge in _places(runs, evidence)]
    for name, fit in by_place:
        if (found := fit.parameter("alpha")) is not None:
            numbers[f"alpha_N_{name}"] = Number(
                found, "", f"exponent of L(N), no floor, {name.replace('_', ' ')} of the context"
            )
    pictures = (
        []
        if not runs
        else [_against_place(runs, bins, fits, evidence), _against_size(runs, evidence)]
    )
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(findings, runs),
        findings,
        numbers,
        pictures,
    )


def _position_law(found: Binned, evidence: Evidence) -> Attempt:
    """E + A T^-alpha through the bins of one size, which count as 1 / error^2."""
    inside = found.first >= TOKEN / evidence.bytes_per_token
    frame = pl.DataFrame(
        {
            "run": [f"bin {i}" for i in np.flatnonzero(inside)],
            "position": found.position[inside],
            "loss": found.loss[inside],
            "std": found.error[inside],
        }
    )
    return attempt(
        get_law("power", "position"),
        frame,
        std="std",
        clusters="run",
        draws=DRAWS,
        level=evidence.level,
        seed=evidence.seed,
    )


def _grows(runs: Sequence[Run], evidence: Evidence) -> tuple[Estimate | None, str]:
    """alpha_N late less alpha_N early: the slope of log(L early / L late) against log N.

    All sizes are evaluated on the same text, and a run's luck moves all its positions alike: both
    leave the ratio alone.
    """
    if len(runs) < LEAST_SIZES:
        return None, f"{len(runs)} sizes have finished with losses by position"
    ratio = []
    for run in runs:
        early = run.positions[_early(evidence)].mean()
        late = run.positions[int(LATE * len(run.positions)) :].mean()
        ratio.append(np.log(early / late))
    params = np.log([run.params for run in runs])
    try:
        return fit_line(params, np.array(ratio), level=evidence.level).slope, ""
    except FitError as error:
        return None, str(error)


def _early(evidence: Evidence) -> slice:
    first, last = (max(1, round(edge / evidence.bytes_per_token)) for edge in EARLY)
    return slice(first - 1, max(first, last))


def _places(runs: Sequence[Run], evidence: Evidence) -> list[tuple[str, slice]]:
    """Parts of the context at which L(N) is shown: figure 21."""
    if not runs:
        return []
    length = len(runs[-1].positions)
    shares = ((1 / 64, 1 / 32), (1 / 16, 1 / 8), (1 / 4, 1 / 2), (1 / 2, 1.0))
    found = [("early", _early(evidence))]
    for low, high in shares:
        first, last = int(low * length), int(high * length)
        found.append((f"tokens_{first}_to_{last}", slice(first, last)))
    return found


def _at(runs: Sequence[Run], place: tuple[str, slice], evidence: Evidence) -> tuple[str, Attempt]:
    name, part = place
    frame = pl.DataFrame(
        {
            "run": [run.spec.run for run in runs],
            "params": [float(run.params) for run in runs],
            "loss": [float(run.positions[part].mean()) for run in runs],
        }
    )
    if len(runs) < LEAST_SIZES:
        return name, Attempt(None, f"{len(runs)} sizes")
    law = get_law("power-no-floor", "params")
    return name, attempt(
        law, frame, clusters="run", draws=DRAWS, level=evidence.level, seed=evidence.seed
    )


def _statement(findings: Sequence[Finding], runs: Sequence[Run]) -> str:
    words = []
    alpha, grows = (finding.estimate for finding in findings)
    if alpha is None:
        words.append(f"no power law in the position was found ({findings[0].why})")
    else:
        words.append(
            f"at N = {format_count(runs[-1].params)} the loss falls with the position as "
            f"E + A T^-alpha, alpha {alpha} (the paper's tokens: .47 to .62)"
        )
    if grows is None:
        words.append(f"exponents in N early and late are not known ({findings[1].why})")
    else:
        words.append(
            f"the exponent of L(N) is {grows} larger in the last half of the context than at its "
            "beginning (the paper: it grows)"
        )
    return f"{phrase(findings)}: {'; '.join(words)}."


def _against_place(
    runs: Sequence[Run], bins: Sequence[Binned], fits: Sequence[Attempt], evidence: Evidence
) -> Picture:
    """Figure 20, left: loss against the position, a line for each size."""
    series = []
    for run, found, fit in zip(runs, bins, fits, strict=True):
        reach = _reach(evidence) * found.error
        series.append(
            Series(
                found.position.tolist(),
                found.loss.tolist(),
                "point",
                level=float(run.params),
                low=(found.loss - reach).tolist(),
                high=(found.loss + reach).tolist(),
            )
        )
        if fit.fit is not None:
            first = fit.fit.ranges["position"][0]
            x, y = line_through(fit, "position", first, found.position[-1])
            series.append(Series(x.tolist(), y.tolist(), "line", level=float(run.params)))
    return Picture(
        "context-position",
        "Loss against the position in the context",
        "Lines: E + A / T^alpha for each size. Bars: the noise of the text, which all sizes share.",
        Axis("Position in the context (tokens)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 20",
    )


def _reach(evidence: Evidence) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + evidence.level / 2)


def _against_size(runs: Sequence[Run], evidence: Evidence) -> Picture:
    """Figure 21: loss at given positions against N."""
    series = []
    params: Array = np.array([float(run.params) for run in runs])
    for name, part in _places(runs, evidence):
        loss = [float(run.positions[part].mean()) for run in runs]
        middle = float(np.sqrt((part.start + 1) * part.stop))
        series.append(Series(params.tolist(), loss, "point", level=middle))
        _, fit = _at(runs, (name, part), evidence)
        if fit.fit is not None:
            x, y = line_through(fit, "params", params[0], params[-1])
            series.append(Series(x.tolist(), y.tolist(), "line", level=middle))
    return Picture(
        "context-size",
        "Loss at parts of the context against N",
        "Lines: A / N^alpha at each part.",
        Axis("Parameters (non-embedding)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 21",
        level_title="Position",
    )


DESIGN = Design(
    name="context",
    title="Loss per token of the context",
    paper="figures 20 and 21, appendix D.7",
    varies="N; the position in the context",
    holds="text, tokens, batch, context",
    concludes="the power law in the position, and whether larger models gain more late in it",
    weight=0.4,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

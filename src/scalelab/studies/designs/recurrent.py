"""Transformer against recurrent networks: loss against N, and against the position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import cast

import numpy as np

from scalelab.counting import Shape, TransformerShape
from scalelab.counting.shape import Cell
from scalelab.execution.execute import Job
from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
from scalelab.laws import get_law
from scalelab.studies.analysis.attempt import Attempt, attempt
from scalelab.studies.analysis.late_gain import gain_of, lead
from scalelab.studies.analysis.positions import STOPPED, binned, stops_improving
from scalelab.studies.analysis.recurrent_ladders import (
    GRADIENTS,
    NAMES,
    TRANSFORMER,
    Ladders,
    words,
)
from scalelab.studies.analysis.variants import percent
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Number,
    because,
    phrase,
)
from scalelab.studies.design import Bench, Design, Plan
from scalelab.studies.evidence import Evidence, Run, table
from scalelab.studies.long_context import (
    CONTROL_SHARES,
    control,
    ended,
    has_positions,
    job,
    largest_ladder,
    planned,
    spender_of,
    tuned,
    twin,
    what_would,
)
from scalelab.studies.pictures.recurrent import places, sizes
from scalelab.studies.sizes import size_of
from scalelab.units import format_count

GAP = Check.at_least(
    "loss of the LSTM over the Transformer's, minus 1",
    0.0,
    "section 3.2.1, figure 7 left",
    "at the largest N the LSTM ends above the Transformer",
    "in figure 7 the two begin together at small N and part as it grows, and these networks are at "
    f"its small end, trained on few tokens and with gradients through {GRADIENTS}",
)
LATE = Check.at_least(
    "improvement late in the context, Transformer less LSTM",
    0.0,
    "section 3.2.1, figure 7 right",
    "from about 400 bytes to the end of the context the LSTM improves less than the Transformer",
    "a small Transformer trained on few tokens hardly learns to use the end of its context, and "
    f"LSTMs of the ladder have gradients through {GRADIENTS}",
)
"""Both claims are of a sign, so the regions begin at nothing; how large the differences are beside
the noise from run to run, and in parameters, is said with them."""

LEAST_SIZES = 4
GRU_FROM = 2e5
"""N of the largest size from which a GRU ladder is preferred to a larger top size. (assumed)"""

CHOICES: tuple[tuple[tuple[Cell, ...], bool], ...] = (
    (("lstm", "gru"), True),
    (("lstm",), True),
    (("lstm",), False),
)
"""What is trained beside the Transformers, and whether with a control, the best first."""


def plan(bench: Bench) -> Plan:
    """Ladders of Transformers, LSTMs and, where the allowance pays for them, GRUs; one control."""
    if there := planned(bench):
        return _beside(bench, there)
    cells: tuple[Cell, ...]
    found = None
    for cells, controlled in CHOICES:
        found = largest_ladder(bench, cells, controlled=controlled)
        if found is not None and ("gru" not in cells or size_of(found[0][-1]) >= GRU_FROM):
            break
    if found is None:
        return Plan(left_out=(what_would(bench, ("lstm",)),))
    shapes, tokens = found
    jobs = tuned(bench, shapes, tokens)
    beside: list[Job] = []
    for cell in cells:
        beside += tuned(bench, [twin(shape, cell) for shape in shapes], tokens)
    jobs += beside
    longer = _control(bench, beside[len(shapes) - 1], jobs, reserved=controlled)
    return Plan([*jobs, *longer], left_out=_left_out(bench, shapes, tokens, cells, longer))


def _beside(bench: Bench, there: Sequence[Job]) -> Plan:
    """LSTMs beside Transformers that another design trains: as many as are paid for."""
    tokens = there[0].spec.tokens
    shapes = [cast(TransformerShape, one.spec.shape) for one in there]
    for count in range(len(shapes), LEAST_SIZES - 1, -1):
        twins: list[Shape] = [twin(shape, "lstm") for shape in shapes[:count]]
        if bench.cost([job(bench, shape, tokens) for shape in twins]) <= bench.allowance.amount:
            own = tuned(bench, twins, tokens)
            longer = _control(bench, own[-1], own)
            left_out = _left_out(bench, shapes, tokens, ("lstm",), longer)
            return Plan([*there, *own, *longer], left_out=left_out)
    return Plan(
        left_out=(
            f"LSTMs beside the Transformers with a long context cost more than {bench.allowance}; "
            "a larger budget trains them",
        )
    )


def _control(
    bench: Bench, largest: Job, own: Sequence[Job], *, reserved: bool = False
) -> list[Job]:
    """The largest LSTM once more, with the longest gradients that the rest of the allowance pays.

    own: what the design spends on already. reserved: beside the shortest control.
    """
    spender = spender_of(bench)
    for share in CONTROL_SHARES:
        longer = control(bench, largest, share)
        if spender.cost([*own, longer]) <= spender.allowance.amount:
            return [longer]
    return [control(bench, largest, CONTROL_SHARES[-1])] if reserved else []


def _left_out(
    bench: Bench,
    shapes: Sequence[TransformerShape],
    tokens: int,
    cells: Sequence[str],
    longer: Sequence[Job],
) -> tuple[str, ...]:
    unit = "s" if bench.allowance.unit == "seconds" else " FLOP"
    lines = []
    if not longer:
        lines.append(
            "the largest LSTM once more with gradients through half of the context or more, without"
            " which what the end of the context brings an LSTM is not judged; a larger budget pays"
        )
    if "gru" not in cells:
        cost = bench.cost([job(bench, twin(shape, "gru"), tokens) for shape in shapes])
        lines.append(f"GRUs beside the LSTMs: another {cost:.3g}{unit} at these sizes and tokens")
    return tuple(lines)


# --- conclude -------------------------------------------------------------------------------------


def conclude(evidence: Evidence) -> Conclusion:
    """The gap at the largest N, and what the end of the context brings each family."""
    runs = {family: ended(evidence.own, family) for family in NAMES}
    law = get_law("power-no-floor", "params")
    fits = {
        family: attempt(law, table(own), clusters="run", level=evidence.level, seed=evidence.seed)
        if len(own) >= 3
        else Attempt(None, f"{len(own)} {NAMES[family]} runs have finished")
        for family, own in runs.items()
    }
    longer = [
        run
        for run in ended(evidence.own, "lstm", controls=True)
        if has_positions(run) and runs["lstm"] and run.spec.shape == runs["lstm"][-1].spec.shape
    ]
    ladders = Ladders(runs, fits, max(longer, key=lambda run: run.spec.unroll, default=None))
    gap = {cell: _gap(ladders, cell, evidence) for cell in ("lstm", "gru")}
    late, why_late = lead(ladders.pairs, ladders.control, evidence.level)
    why = next((f.why for f in (fits[TRANSFORMER], fits["lstm"]) if f.fit is None), "")
    findings = [Finding(GAP, gap["lstm"], why), Finding(LATE, late, why_late)]
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(findings, ladders, evidence),
        findings,
        _numbers(ladders, gap, late, evidence),
        [picture for picture in (sizes(ladders), places(ladders, evidence)) if picture],
    )


def _gap(ladders: Ladders, cell: str, evidence: Evidence) -> Estimate | None:
    """Loss of a recurrent network over the Transformer's at the largest N of both, minus 1.

    By the laws of both; the LSTM's is moved to that of its control where that is better.
    """
    fits = [ladders.fits[cell].fit, ladders.fits[TRANSFORMER].fit]
    if None in fits:
        return None
    params = min(ladders.runs[family][-1].params for family in (cell, TRANSFORMER))
    values, draws = [], []
    for fit in fits:
        assert fit is not None
        logs, _ = fit.law.log_inputs({"params": float(params)})
        values.append(float(fit.law.log_value(fit.theta[None], logs)[0, 0]))
        draws.append(fit.law.log_value(fit.draw_theta, logs)[:, 0])
    generator = np.random.default_rng([evidence.seed, 3])
    # Both fits were drawn with one seed: shuffled, their draws are independent. Four runs may lie
    # on a line by luck: each network's luck counts once besides.
    apart = draws[0] - generator.permutation(draws[1])
    apart = apart + 2**0.5 * evidence.noise_level * generator.standard_normal(len(apart))
    moved = min(0.0, _moved(ladders)) if cell == "lstm" else 0.0
    value = float(np.expm1(values[0] - values[1] + moved))
    return estimate(value, np.expm1(apart + moved), evidence.level)


def _moved(ladders: Ladders) -> float:
    """Log loss of the control less that of the LSTM with short gradients."""
    if ladders.control is None:
        return 0.0
    return float(np.log(ladders.control.loss / ladders.runs["lstm"][-1].loss))


def _numbers(
    ladders: Ladders,
    gap: Mapping[str, Estimate | None],
    late: Estimate | None,
    evidence: Evidence,
) -> dict[str, Number]:
    numbers = {}
    for family, fit in ladders.fits.items():
        if (alpha := fit.parameter("alpha")) is not None:
            numbers[f"alpha_N_{family}"] = Number(
                alpha, "", f"exponent of L(N) of the {NAMES[family]}s, no floor"
            )
    for cell, found in gap.items():
        if found is not None:
            numbers[f"gap_{cell}"] = Number(
                found, "", f"loss of the {NAMES[cell]} over the Transformer's at the largest N, "
                "minus 1, noise from run to run included",
            )  # fmt: skip
    if (control := ladders.control) is not None:
        moved, reach = _moved(ladders), NormalDist().inv_cdf(0.5 + evidence.level / 2)
        reach *= 2**0.5 * evidence.noise_level
        value, low, high = (float(np.expm1(moved + by)) for by in (0.0, -reach, reach))
        numbers["longer_gradients"] = Number(
            Estimate(value, low, high, evidence.level),
            "",
            f"loss of the largest LSTM with gradients through {control.spec.unroll} tokens over "
            "that with those of the ladder, minus 1: same rate, and fewer rows in a batch",
        )
    if late is not None:
        numbers["late_improvement"] = Number(
            late, "nats per token", "what the end of the context brings the Transformer more"
        )
    for name, run in ladders.largest.items():
        name_of = words(run)
        numbers[f"stops_improving_{name}"] = Number(
            _stops(run, evidence),
            "bytes",
            f"context from which on the {name_of} is within {STOPPED:.0%} of its least loss",
        )
        numbers[f"late_{name}"] = Number(
            gain_of(run, evidence.level),
            "nats per token",
            f"improvement of the {name_of} late in the context, noise of the text included",
        )
    return numbers


def _stops(run: Run, evidence: Evidence) -> Estimate:
    """Bytes of context from which on a network is within `STOPPED` of its least loss."""
    found = stops_improving(binned(run.positions), STOPPED, evidence.level, evidence.seed)
    scale = evidence.bytes_per_token
    value, low, high = (scale * end for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, evidence.level, scale * found.stderr)


def _statement(findings: Sequence[Finding], ladders: Ladders, evidence: Evidence) -> str:
    gap, late = (finding.estimate for finding in findings)
    said = []
    if gap is not None:
        lstm = ladders.runs["lstm"][-1]
        unrolls = [run.spec.unroll for run in (lstm, ladders.control) if run is not None]
        through = [f"{unroll * evidence.bytes_per_token:.0f}" for unroll in unrolls]
        better = ", whichever is better" if len(through) > 1 else ""
        said.append(
            f"at N = {format_count(lstm.params)} the LSTM's loss, with gradients through "
            f"{' or '.join(through)} bytes{better}, is {percent(gap)} above the Transformer's by "
            f"the laws of both{_in_parameters(gap, ladders)} (sizes scatter about the laws by "
            f"{_scatter(ladders, TRANSFORMER):.1%} and {_scatter(ladders, 'lstm'):.1%}, runs by "
            f"{evidence.noise_level:.1%} from seed to seed)"
        )
    else:
        said.append(f"there is no gap at one N: {findings[0].why}")
    if late is not None:
        taught = ladders.control or ladders.pairs[-1][1]
        said.append(
            "from about 400 bytes of context to its end the Transformer improves by "
            f"{late.value:.3f} [{late.low:.3f}, {late.high:.3f}] nats more than the LSTM with "
            f"gradients through {taught.spec.unroll * evidence.bytes_per_token:.0f} bytes"
        )
    else:
        said.append(f"late in the context: {findings[1].why}")
    stops = {name: _stops(run, evidence) for name, run in ladders.largest.items()}
    if "lstm" in stops:
        said.append(
            f"within {STOPPED:.0%} of its least loss the LSTM is from {stops['lstm']} bytes on"
            + (f", the Transformer from {stops[TRANSFORMER]}" if TRANSFORMER in stops else "")
            + " (the paper: an LSTM from 100 tokens, about 400 bytes)"
        )
    return f"{phrase(findings)}: {'; '.join(said)}.{because(findings)}"


def _in_parameters(gap: Estimate, ladders: Ladders) -> str:
    """The gap as the size of the Transformer that does no better."""
    alpha = ladders.fits[TRANSFORMER].parameter("alpha")
    if alpha is None or alpha.value <= 0 or gap.low <= 0:
        return ""
    return f", which one of 1/{(1 + gap.value) ** (1 / alpha.value):.2g} of its parameters ties"


def _scatter(ladders: Ladders, family: str) -> float:
    """Root mean square of the log losses of the sizes about the family's L(N)."""
    fit, runs = ladders.fits[family].fit, ladders.runs[family]
    assert fit is not None
    predicted = fit.predict(params=np.array([float(run.params) for run in runs])).value
    off = np.log([run.loss for run in runs]) - np.log(predicted)
    return float(np.sqrt((off**2).sum() / (len(runs) - 2)))


DESIGN = Design(
    name="recurrent",
    title="Transformers outperform recurrent networks",
    paper="figure 7, section 3.2.1",
    varies="the network (Transformer, LSTM, GRU) and N; once, through how much text gradients go",
    holds="text, tokens, batch and context; the learning rate is tuned for each kind",
    concludes="the gap at the largest N, and what the end of the context brings each kind",
    weight=1.5,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

"""Transformer against recurrent networks: loss against N, and against the position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from scalelab.counting import Shape, TransformerShape
from scalelab.counting.shape import Cell
from scalelab.execution.execute import Job
from scalelab.fitting import Estimate
from scalelab.fitting.result import estimate
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
from scalelab.studies.evidence import Evidence, Run, table
from scalelab.studies.long_context import (
    ended,
    has_positions,
    job,
    largest_ladder,
    planned,
    tuned,
    twin,
)
from scalelab.studies.positions import Binned, binned, mean_between, noise_of, stops_improving
from scalelab.studies.sizes import size_of
from scalelab.studies.variants import percent
from scalelab.units import format_count

GAP = Check.at_least(
    "loss of the LSTM over the Transformer's, minus 1",
    0.0,
    "section 3.2.1, figure 7 left",
    "at the largest N the LSTM ends above the Transformer",
)
LATE = Check.at_least(
    "improvement late in the context, Transformer less LSTM",
    0.0,
    "section 3.2.1, figure 7 right",
    "from about 400 bytes to the end of the context the LSTM improves less than the Transformer",
)

MIDDLE = (0.25, 0.5)
END = (0.75, 1.0)
"""Shares of a context of about 1,000 bytes: 256 to 512 (about 400) and the last quarter."""

STOPPED = 0.01
"""A network has stopped improving where its loss is within this share of its least. (assumed: it
is about what a doubling of the context brings a Transformer of these sizes)"""

LEAST_SIZES = 4
GRU_FROM = 2e5
"""N of the largest size from which a GRU ladder is preferred to a larger top size. (assumed)"""

TRANSFORMER = "transformer"
NAMES = {TRANSFORMER: "Transformer", "lstm": "LSTM", "gru": "GRU"}


def plan(bench: Bench) -> Plan:
    """Ladders of Transformers, LSTMs and, where the allowance pays for them, GRUs."""
    if there := planned(bench):
        return _beside(bench, there)
    found = largest_ladder(bench, ("lstm", "gru"))
    cells: tuple[Cell, ...] = ("lstm", "gru")
    if found is None or size_of(found[0][-1]) < GRU_FROM:
        cells = ("lstm",)
        found = largest_ladder(bench, cells)
    if found is None:
        return Plan(
            left_out=(
                f"the smallest ladders of Transformers and LSTMs with a long context cost more "
                f"than {bench.allowance}; a larger budget compares them",
            )
        )
    shapes, tokens = found
    jobs = tuned(bench, shapes, tokens)
    for cell in cells:
        jobs += tuned(bench, [twin(shape, cell) for shape in shapes], tokens)
    return Plan(jobs, left_out=_left_out(bench, shapes, tokens, cells))


def _beside(bench: Bench, there: Sequence[Job]) -> Plan:
    """LSTMs beside Transformers that another design trains: as many as are paid for."""
    tokens = there[0].spec.tokens
    shapes = [cast(TransformerShape, one.spec.shape) for one in there]
    for count in range(len(shapes), LEAST_SIZES - 1, -1):
        twins: list[Shape] = [twin(shape, "lstm") for shape in shapes[:count]]
        if bench.cost([job(bench, shape, tokens) for shape in twins]) <= bench.allowance.amount:
            jobs = [*there, *tuned(bench, twins, tokens)]
            return Plan(jobs, left_out=_left_out(bench, shapes, tokens, ("lstm",)))
    return Plan(
        left_out=(
            f"LSTMs beside the Transformers with a long context cost more than {bench.allowance}; "
            "a larger budget trains them",
        )
    )


def _left_out(
    bench: Bench, shapes: Sequence[TransformerShape], tokens: int, cells: Sequence[str]
) -> tuple[str, ...]:
    if "gru" in cells:
        return ()
    cost = bench.cost([job(bench, twin(shape, "gru"), tokens) for shape in shapes])
    unit = "s" if bench.allowance.unit == "seconds" else " FLOP"
    return (f"GRUs beside the LSTMs: another {cost:.3g}{unit} at these sizes and tokens",)


# --- conclude -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ladders:
    """The finished runs of each family, smallest first, and L(N) of each."""

    runs: Mapping[str, list[Run]]
    fits: Mapping[str, Attempt] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[Run, Run] | None:
        """The largest LSTM and the Transformer beside it, positions known."""
        known = {
            family: [run for run in runs if has_positions(run)]
            for family, runs in self.runs.items()
        }
        for lstm in reversed(known["lstm"]):
            for other in known[TRANSFORMER]:
                near = abs(np.log(other.params / lstm.params)) < 0.2
                if near and len(lstm.positions) == len(other.positions):
                    return lstm, other
        return None


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
    ladders = Ladders(runs, fits)
    gap = {cell: _gap(ladders, cell, evidence) for cell in ("lstm", "gru")}
    late, why_late = _late(ladders, evidence.level)
    why = next((f.why for f in (fits[TRANSFORMER], fits["lstm"]) if f.fit is None), "")
    findings = [Finding(GAP, gap["lstm"], why), Finding(LATE, late, why_late)]
    return Conclusion(
        DESIGN.name,
        DESIGN.title,
        _statement(findings, ladders, evidence),
        findings,
        _numbers(ladders, gap, late, evidence),
        [picture for picture in (_sizes(ladders), _places(ladders, evidence)) if picture],
    )


def _gap(ladders: Ladders, cell: str, evidence: Evidence) -> Estimate | None:
    """Loss of a recurrent network over the Transformer's at the largest N of both, minus 1."""
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
    # Both fits were drawn with one seed: shuffled, their draws are independent.
    apart = draws[0] - np.random.default_rng([evidence.seed, 3]).permutation(draws[1])
    value = float(np.expm1(values[0] - values[1]))
    return estimate(value, np.expm1(apart), evidence.level)


def _late(ladders: Ladders, level: float) -> tuple[Estimate | None, str]:
    """How much more of the loss the Transformer loses late in the context, in nats.

    The difference of two runs on the same text: what stands at a position cancels.
    """
    if (pair := ladders.pair) is None:
        return None, "no LSTM and Transformer of one size have finished with losses by position"
    apart = pair[0].positions - pair[1].positions
    (middle, error), (end, other) = (mean_between(apart, *part) for part in (MIDDLE, END))
    return _normal(end - middle, float(np.hypot(error, other)), level), ""


def _normal(value: float, error: float, level: float) -> Estimate:
    from statistics import NormalDist

    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Estimate(value, value - half, value + half, level, error)


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
                "minus 1",
            )  # fmt: skip
    if late is not None:
        numbers["late_improvement"] = Number(
            late, "nats per token", "what the end of the context brings the Transformer more"
        )
    for family, run in _largest(ladders).items():
        scale = evidence.bytes_per_token
        found = stops_improving(binned(run.positions), STOPPED, evidence.level, evidence.seed)
        value, low, high, stderr = (
            scale * end for end in (found.value, found.low, found.high, found.stderr)
        )
        numbers[f"stops_improving_{family}"] = Number(
            Estimate(value, low, high, evidence.level, stderr),
            "bytes",
            f"context from which on the largest {NAMES[family]} is within {STOPPED:.0%} of its "
            "least loss",
        )
        middle, end = (mean_between(run.positions, *part)[0] for part in (MIDDLE, END))
        error = noise_of(run.positions) / np.sqrt(len(run.positions) / 4) * np.sqrt(2)
        numbers[f"late_{family}"] = Number(
            _normal(middle - end, float(error), evidence.level),
            "nats per token",
            f"improvement of the largest {NAMES[family]} late in the context, noise of the text "
            "included",
        )
    return numbers


def _largest(ladders: Ladders) -> dict[str, Run]:
    """Of each family the largest run whose losses by position are known."""
    found = {}
    for family, runs in ladders.runs.items():
        known = [run for run in runs if has_positions(run)]
        if known:
            found[family] = known[-1]
    return found


def _statement(findings: Sequence[Finding], ladders: Ladders, evidence: Evidence) -> str:
    gap, late = (finding.estimate for finding in findings)
    words = []
    if gap is not None:
        params = format_count(ladders.runs["lstm"][-1].params)
        words.append(f"at N = {params} the LSTM's loss is {percent(gap)} above the Transformer's")
    else:
        words.append(f"there is no gap at one N: {findings[0].why}")
    if late is not None and (pair := ladders.pair) is not None:
        stops = stops_improving(binned(pair[0].positions), STOPPED, evidence.level, evidence.seed)
        words.append(
            "from about 400 bytes of context to its end the Transformer improves by "
            f"{late.value:.3f} [{late.low:.3f}, {late.high:.3f}] nats more than the LSTM, which "
            f"stops improving at about {stops.value * evidence.bytes_per_token:.0f} bytes (the "
            "paper: 100 tokens)"
        )
    else:
        words.append(findings[1].why)
    return f"{phrase(findings)}: {'; '.join(words)}."


def _sizes(ladders: Ladders) -> Picture | None:
    """Figure 7, left."""
    series = []
    for family, runs in ladders.runs.items():
        if not runs:
            continue
        params = [float(run.params) for run in runs]
        series.append(Series(params, [run.loss for run in runs], "point", NAMES[family]))
        if ladders.fits[family].fit is not None:
            x, y = line_through(ladders.fits[family], "params", min(params), max(params))
            series.append(Series(x.tolist(), y.tolist(), "line", NAMES[family]))
    if not series:
        return None
    return Picture(
        "recurrent-size",
        "Transformers and recurrent networks against N",
        "The same text, tokens and context; recurrent networks by truncated back-propagation.",
        Axis("Parameters (non-embedding)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 7",
    )


def _places(ladders: Ladders, evidence: Evidence) -> Picture | None:
    """Figure 7, right."""
    series = [
        _line(binned(run.positions), f"{NAMES[family]}, N = {format_count(run.params)}", evidence)
        for family, run in _largest(ladders).items()
    ]
    if not series:
        return None
    return Picture(
        "recurrent-position",
        "Loss against the position in the context",
        "The largest network of each kind; bars: the noise of the text, which they share.",
        Axis("Position in the context (bytes)", kind="count"),
        Axis("Loss (nats per token)", kind="loss"),
        series,
        paper="figure 7",
    )


def _line(found: Binned, label: str, evidence: Evidence) -> Series:
    from statistics import NormalDist

    reach: Array = NormalDist().inv_cdf(0.5 + evidence.level / 2) * found.error
    return Series(
        (found.position * evidence.bytes_per_token).tolist(),
        found.loss.tolist(),
        "point",
        label,
        low=(found.loss - reach).tolist(),
        high=(found.loss + reach).tolist(),
    )


DESIGN = Design(
    name="recurrent",
    title="Transformers outperform recurrent networks",
    paper="figure 7, section 3.2.1",
    varies="the network (Transformer, LSTM, GRU) and N",
    holds="text, tokens, batch and context; the learning rate is tuned for each kind",
    concludes="the gap at the largest N, and what the end of the context brings each kind",
    weight=1.2,
    plan=plan,
    conclude=conclude,
    ladder=False,
)

"""How the critical batch is measured on a budget: a sweep of batches, a trunk, its branches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.studies.analysis.batch_branches import PREFIX as FORK
from scalelab.studies.analysis.batch_sweep import PREFIX as SWEEP
from scalelab.studies.analysis.critical_batch_law import TRUNK
from scalelab.studies.design import Bench, Plan
from scalelab.studies.ladder import own_tokens, run_seconds
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import format_count

LOWEST = 4
"""The smallest batch is the ladder's over this: the ladder's is about a quarter of the noise scale
(`scalelab.studies.probe.NOISE_PER_BATCH`), where a quarter of it saves hardly a token more."""

GUESS = 2.0
"""Critical batch expected, in batches of the ladder, by which tokens are dealt out so that all
batches end near one loss. (measured: on books 4,096 tokens were too many where the noise scale
chose 1,024; docs/LOG.md)"""

WARMUP = 0.03
"""Share of a run's steps: the same for all batches, so that no batch has an advantage."""

CURVE_POINTS = 40

BRANCH_POINTS = 64
"""Along a branch's whole length: ten of them lie in its own half of the tokens."""

CONSTANT = 0.55
"""The best rate without a decay over the ladder's, which has one. (measured: 13.8k parameters,
books and wikipedia, batches of 128 to 8,192 tokens: of .14, .28, .56 and 1.1 times the ladder's the
least losses came soonest at the third, higher ones at the fourth, none at the first)"""

FACTORS = {4: (0.5, 1.0, 2.0, 4.0), 3: (0.7, 1.4, 2.8), 2: (1.0, 2.0)}
"""Learning rates tried for each batch, times the square-root rule: to a high loss a high rate is
fastest, to a low one a low rate."""


@dataclass(frozen=True)
class Scheme:
    """What is measured.

    shapes: of the sweep; the last is that of the branches too. batches: tokens, smallest first.
    rates: learning rates for each. forks: checkpoints that branches start from. least: tokens of a
    small batch's run, fewer of which would not be worth it.
    """

    shapes: tuple[TransformerShape, ...]
    batches: tuple[int, ...]
    rates: int
    forks: int
    least: int


def plan(bench: Bench) -> Plan:
    """The richest scheme that the allowance pays for; without any, the ladder's noise scale."""
    for scheme in _schemes(bench):
        if not _promising(bench, scheme):
            continue
        jobs = bench.largest(
            lambda tokens, scheme=scheme: jobs_of(bench, scheme, tokens),  # type: ignore[misc]
            scheme.least,
            bench.corpus.train.tokens / _share(bench, scheme.batches[-1]),
        )
        if jobs is not None:
            return Plan(jobs, _left_out(scheme))
    return Plan(
        left_out=(
            "the sweep of batch sizes and the branch runs: the allowance does not pay for one size "
            "at six batches; only the gradient noise scale is shown",
        )
    )


def _left_out(scheme: Scheme) -> tuple[str, ...]:
    left = []
    if len(scheme.shapes) < 2:
        left.append("the sweep at a second size: a larger budget shows it")
    if scheme.forks < 3:
        left.append(
            f"branches from {'three' if scheme.forks else 'any'} checkpoints (there are "
            f"{scheme.forks}): a larger budget shows them"
        )
    return tuple(left)


def _schemes(bench: Bench) -> list[Scheme]:
    """From the richest to the poorest; tokens enough to learn, for the size and in steps."""
    batch = bench.batch_tokens
    lowest = max(1, batch // LOWEST // bench.family.context) * bench.family.context
    seven = tuple(lowest * 2**i for i in range(7))

    def least(shape: TransformerShape, steps: int) -> int:
        # 20 tokens a parameter (paper: Hoffmann et al. 2022): well into the power law.
        return max(steps * batch, 20 * size_of(shape))

    shapes = list(bench.sizes)
    pairs = [
        Scheme((shapes[i - 2], shapes[i]), seven, 4, 3, least(shapes[i], 1000))
        for i in reversed(range(2, len(shapes)))
    ]
    single = [Scheme((shape,), seven, 4, 3, least(shape, 800)) for shape in reversed(shapes)]
    poor = [
        Scheme((shape,), seven[:6], rates, forks, least(shape, 400))
        for rates, forks in ((4, 2), (3, 2), (2, 2), (2, 0))
        for shape in reversed(shapes[: max(1, len(shapes) // 2)])
    ]
    return [*pairs, *single, *poor]


def _promising(bench: Bench, scheme: Scheme) -> bool:
    """Whether a scheme may be affordable, by the ladder's own speeds: no measurement is spent."""
    if bench.allowance.unit != "seconds":
        return True
    seconds = 0.0
    for shape in scheme.shapes:
        speed = dict(zip(bench.sizes, bench.speeds, strict=True))[shape]
        for spec in _specs(bench, scheme, shape, scheme.least):
            # Small batches are slower than the ladder's. (assumed: by a fifth in all)
            seconds += 1.2 * own_tokens(spec) / speed
    return seconds / bench.workers <= bench.allowance.amount


def jobs_of(bench: Bench, scheme: Scheme, tokens: int) -> list[Job]:
    """The runs of a scheme. tokens: that a batch far below the critical one is trained on."""
    jobs = []
    for shape in scheme.shapes:
        for spec in _specs(bench, scheme, shape, tokens):
            # Larger batches are made of the ladder's, one after the other, at its cost a token.
            speed = bench.speed(shape, min(spec.batch_tokens, bench.batch_tokens))
            jobs.append(Job(spec, run_seconds(spec, speed), _why(spec)))
    return jobs


def _why(spec: TrainSpec) -> str:
    if spec.kind == "trunk":
        return "constant rate: noise scale, and checkpoints that batches branch from"
    if spec.trunk is not None:
        return f"loss after the same tokens at a batch of {format_count(spec.batch_tokens)}"
    return f"steps to fixed losses at a batch of {format_count(spec.batch_tokens)}"


def _specs(bench: Bench, scheme: Scheme, shape: TransformerShape, tokens: int) -> list[TrainSpec]:
    specs = _sweep(bench, scheme, shape, tokens)
    if scheme.forks and shape == scheme.shapes[-1]:
        specs += _branches(bench, scheme, shape, tokens)
    return specs


def _share(bench: Bench, batch: int) -> float:
    """Tokens that a batch needs over those of a small one: 1 + B / B_crit."""
    return 1 + batch / (GUESS * bench.batch_tokens)


def _sweep(bench: Bench, scheme: Scheme, shape: TransformerShape, tokens: int) -> list[TrainSpec]:
    found = []
    for batch in scheme.batches:
        own = tokens * _share(bench, batch)
        for number, factor in enumerate(FACTORS[scheme.rates]):
            found.append(
                bench.spec(
                    f"{SWEEP}-n{format_count(size_of(shape))}-b{batch}-r{number}",
                    shape,
                    own,
                    **_common(bench, shape, batch, tokens),
                    lr=_rate(bench, shape, batch) * factor,
                    warmup_steps=max(10, round(WARMUP * own / batch)),
                    noise_every=0,
                )
            )
    return found


def _branches(
    bench: Bench, scheme: Scheme, shape: TransformerShape, tokens: int
) -> list[TrainSpec]:
    """The trunk, and from each checkpoint one branch a batch over as many tokens as before it."""
    name = f"{TRUNK}-n{format_count(size_of(shape))}"
    trunk_batch = bench.batch_tokens
    # A fork is a whole number of steps of every batch.
    whole = math.lcm(scheme.batches[-1], trunk_batch)
    parts = sorted({max(1, round(tokens / 2**k / whole)) * whole for k in range(scheme.forks)})
    steps = parts[-1] // trunk_batch
    trunk = bench.spec(
        name,
        shape,
        steps * trunk_batch,
        **_common(bench, shape, trunk_batch, tokens),
        kind="trunk",
        stop_step=steps,
        fork_steps=tuple(part // trunk_batch for part in parts),
        lr=_rate(bench, shape, trunk_batch),
        warmup_steps=max(10, round(WARMUP * steps)),
        noise_every=16,
    )
    branches = [
        bench.spec(
            f"{FORK}-n{format_count(size_of(shape))}-at{part}-b{batch}",
            shape,
            2 * part,
            **(_common(bench, shape, batch, tokens) | {"curve_points": BRANCH_POINTS}),
            lr=_rate(bench, shape, batch),
            trunk=name,
            fork_step=part // batch,
            trunk_step=part // trunk_batch,
            warmup_steps=1,
            noise_every=0,
        )
        for part in parts
        for batch in scheme.batches
    ]
    return [trunk, *branches]


def _rate(bench: Bench, shape: TransformerShape, batch: int) -> float:
    """At a constant rate, by the square-root rule (paper: Malladi et al. 2022 for Adam)."""
    return CONSTANT * bench.rate(shape) * math.sqrt(batch / bench.batch_tokens)


def _common(bench: Bench, shape: TransformerShape, batch: int, tokens: int) -> dict[str, object]:
    return {
        "batch_tokens": batch,
        "schedule": "constant",
        "micro_tokens": bench.batch_tokens if batch % bench.batch_tokens == 0 else 0,
        "curve_points": CURVE_POINTS,
        # So many evaluations cost a tenth of the shortest run at most.
        "curve_tokens": min(65_536, max(8 * shape.context, tokens // 150)),
        "eval_tokens": min(bench.eval_tokens, 65_536),
    }

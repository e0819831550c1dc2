"""The ladder: which runs there are, what they cost, and what a budget buys."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scalelab.counting import flops_per_token
from scalelab.errors import SpecError
from scalelab.execution.execute import Job
from scalelab.studies.ladder import (
    DATA_SPAN,
    DECAY,
    MIN_STEPS,
    LadderSpec,
    Rung,
    build,
    fit_budget,
    largest_true,
    makespan,
    own_tokens,
    run_seconds,
    smallest,
)
from scalelab.studies.sizes import Family, rungs, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget

FAMILY = Family(context=32, vocabulary=256)
SPEC = LadderSpec(
    corpus="corpus", corpus_tokens=10**9, batch_tokens=128, data_sizes=3, seed=3, workers=2
)
SIZES = [
    Rung(shape, speed=2e9 / flops_per_token(shape), lr=0.1 / shape.d_model)
    for shape in rungs(96, FAMILY, 6, 60.0)
]
LEAST = smallest(SIZES, SPEC).tokens[-1] // SPEC.batch_tokens


# --- which runs there are -------------------------------------------------------------------------


@given(st.integers(LEAST, 10 * LEAST), st.integers(3, 5))
def test_every_size_is_a_trunk_with_a_branch_for_each_data_size(
    steps: int, data_sizes: int
) -> None:
    ladder = build(SIZES, steps, replace(SPEC, data_sizes=data_sizes))
    by_trunk: dict[str, list[TrainSpec]] = defaultdict(list)
    trunks = {job.spec.run: job.spec for job in ladder.jobs if job.spec.kind == "trunk"}
    for job in ladder.jobs:
        if job.spec.kind == "run":
            assert job.spec.trunk is not None
            by_trunk[job.spec.trunk].append(job.spec)
    assert len({job.spec.run for job in ladder.jobs}) == len(ladder.jobs)
    assert set(by_trunk) == set(trunks)
    assert len(trunks) == len(SIZES)
    for name, branches in by_trunk.items():
        trunk = trunks[name]
        assert [branch.tokens for branch in branches] == list(ladder.tokens)
        assert trunk.fork_steps == tuple(branch.fork_step for branch in branches)
        assert trunk.last_step == max(trunk.fork_steps)
        assert trunk.warmup_steps < min(trunk.fork_steps)
        for branch in branches:
            assert 0 < branch.fork_step < branch.steps
            assert abs(branch.steps - branch.fork_step - DECAY * branch.steps) <= 0.5
            # A branch goes on where its trunk stood: nothing but the schedule may differ.
            fields = {"run": "", "kind": "run", "steps": 9, "trunk": None, "fork_step": 0}
            rest = {"fork_steps": (), "stop_step": None}
            assert replace(branch, **fields) == replace(trunk, **fields, **rest)


@given(st.integers(LEAST, 50 * LEAST), st.integers(3, 6))
def test_data_sizes_are_even_in_the_logarithm_over_the_span_allowed(
    steps: int, data_sizes: int
) -> None:
    tokens = build(SIZES, steps, replace(SPEC, data_sizes=data_sizes)).tokens
    levels = [count / SPEC.batch_tokens for count in tokens]
    assert levels[-1] == steps
    assert len(levels) == data_sizes
    assert all(level.is_integer() for level in levels)
    assert levels[0] >= MIN_STEPS - 0.5, "fewer are a transient"
    # A level is rounded to a whole step, which moves the span by half a step of the smallest.
    span, off = levels[-1] / levels[0], 0.5 / levels[0] + 1e-9
    assert DATA_SPAN[0] * (1 - off) <= span <= DATA_SPAN[1] * (1 + off)
    ratio = span ** (1 / (data_sizes - 1))
    for less, more in itertools.pairwise(levels):
        assert more / less == pytest.approx(ratio, rel=1.1 / less)


def test_every_run_of_the_largest_size_is_held_out_and_no_other() -> None:
    ladder = build(SIZES, LEAST, SPEC)
    largest = max(size_of(rung.shape) for rung in SIZES)
    expected = {
        job.spec.run
        for job in ladder.jobs
        if size_of(job.spec.shape) == largest and job.spec.kind == "run"
    }
    assert ladder.held_out == expected
    assert len(expected) == SPEC.data_sizes
    shuffled = build(SIZES[::-1], LEAST, SPEC)
    assert shuffled.held_out == ladder.held_out


def test_runs_hold_what_the_ladder_fixes() -> None:
    for job in build(SIZES, LEAST, SPEC).jobs:
        spec = job.spec
        rung = next(rung for rung in SIZES if rung.shape == spec.shape)
        assert (spec.lr, spec.seed, spec.corpus) == (rung.lr, SPEC.seed, SPEC.corpus)
        assert (spec.batch_tokens, spec.schedule) == (SPEC.batch_tokens, "wsd")
        assert spec.eval_tokens >= spec.curve_tokens > 0


@given(st.integers(LEAST, 10 * LEAST))
def test_costs_count_a_trunk_once(steps: int) -> None:
    ladder = build(SIZES, steps, SPEC)
    levels = [tokens // SPEC.batch_tokens for tokens in ladder.tokens]
    decays = [max(1, round(DECAY * level)) for level in levels]
    per_size = SPEC.batch_tokens * (levels[-1] - decays[-1] + sum(decays))
    assert ladder.trained_tokens == len(SIZES) * per_size
    assert ladder.separate_tokens == len(SIZES) * SPEC.batch_tokens * sum(levels)
    assert ladder.trained_tokens < ladder.separate_tokens
    flops = sum(flops_per_token(rung.shape) for rung in SIZES) * per_size
    assert ladder.flops == pytest.approx(flops, rel=1e-12)


def test_a_runs_seconds_are_its_own_tokens_over_its_speed_and_a_little() -> None:
    ladder = build(SIZES, LEAST, SPEC)
    for job in ladder.jobs:
        speed = next(rung.speed for rung in SIZES if rung.shape == job.spec.shape)
        bare = own_tokens(job.spec) / speed
        assert job.seconds == run_seconds(job.spec, speed)
        assert bare < job.seconds
        slower = run_seconds(job.spec, speed / 10)
        assert slower > 5 * (job.seconds - 1)


# --- what a budget buys ---------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.floats(1.01, 300.0), st.sampled_from(["seconds", "flop"]))
def test_a_ladder_keeps_to_its_budget(times: float, unit: str) -> None:
    least = smallest(SIZES, SPEC)
    cheapest = least.seconds if unit == "seconds" else least.flops
    budget = Budget(unit, cheapest * times)  # type: ignore[arg-type]
    ladder = fit_budget(SIZES, budget, SPEC)
    assert ladder is not None
    assert not ladder.capped
    assert (ladder.seconds if unit == "seconds" else ladder.flops) <= budget.amount
    assert ladder.tokens[-1] >= least.tokens[-1]
    if unit == "flop":  # one step more would be too much: no budget is left lying about
        more = build(SIZES, ladder.tokens[-1] // SPEC.batch_tokens + 1, SPEC)
        assert more.flops > budget.amount


@pytest.mark.parametrize("unit", ["seconds", "flop"])
def test_more_budget_never_buys_less(unit: str) -> None:
    least = smallest(SIZES, SPEC)
    cheapest = least.seconds if unit == "seconds" else least.flops
    bought = []
    for step in range(20):
        ladder = fit_budget(SIZES, Budget(unit, cheapest * 1.4**step), SPEC)  # type: ignore[arg-type]
        assert ladder is not None
        bought.append(ladder.tokens[-1])
    assert bought == sorted(bought)
    assert bought[-1] > 10 * bought[0]


@pytest.mark.parametrize("unit", ["seconds", "flop"])
def test_too_small_a_budget_buys_nothing(unit: str) -> None:
    least = smallest(SIZES, SPEC)
    cheapest = least.seconds if unit == "seconds" else least.flops
    assert fit_budget(SIZES, Budget(unit, cheapest * 0.99), SPEC) is None  # type: ignore[arg-type]
    exact = fit_budget(SIZES, Budget(unit, cheapest), SPEC)  # type: ignore[arg-type]
    assert exact is not None
    assert exact.tokens == least.tokens


def test_one_pass_of_the_corpus_is_the_most() -> None:
    corpus_tokens = 3 * LEAST * SPEC.batch_tokens + 77
    ladder = fit_budget(SIZES, Budget("flop", 1e30), replace(SPEC, corpus_tokens=corpus_tokens))
    assert ladder is not None
    assert ladder.capped
    assert ladder.tokens[-1] == 3 * LEAST * SPEC.batch_tokens <= corpus_tokens


def test_a_corpus_too_small_for_any_ladder_is_refused_with_advice() -> None:
    needed = LEAST * SPEC.batch_tokens
    small = replace(SPEC, corpus_tokens=needed - 1)
    with pytest.raises(SpecError, match=r"training tokens; .*needs at least .*--text"):
        fit_budget(SIZES, Budget("flop", 1e30), small)
    assert fit_budget(SIZES, Budget("flop", 1e30), replace(small, corpus_tokens=needed))


@given(st.integers(-50, 50), st.integers(0, 100), st.integers(0, 100))
def test_largest_true_finds_the_edge(low: int, width: int, edge: int) -> None:
    edge = low + min(edge, width)
    assert largest_true(lambda x: x <= edge, low, low + width) == edge


# --- how long it takes ----------------------------------------------------------------------------


def job(name: str, seconds: float, trunk: Job | None = None, share: float = 1.0) -> Job:
    """A run of so many seconds; a branch of `trunk` at that share of its steps."""
    spec = TrainSpec(
        run=name, shape=SIZES[0].shape, corpus="", batch_tokens=32, steps=1000, lr=1.0,
        trunk=None if trunk is None else trunk.spec.run,
        fork_step=0 if trunk is None else round(share * trunk.spec.last_step),
    )  # fmt: skip
    return Job(spec, seconds)


TRUNK = job("trunk", 10.0)
EARLY, LATE = job("early", 6.0, TRUNK, 0.2), job("late", 5.0, TRUNK, 1.0)


@pytest.mark.parametrize(
    ("jobs", "workers", "expected"),
    [
        ([job("a", 3), job("b", 4)], 1, 7.0),
        ([job("a", 3), job("b", 4)], 2, 4.0),
        ([job("a", 3), job("b", 4), job("c", 5)], 2, 7.0),  # 5 | 4 + 3
        ([TRUNK, LATE], 2, 15.0),
        ([TRUNK, EARLY], 2, 10.0),  # 2 to 8 beside the trunk
        ([TRUNK, EARLY, LATE], 2, 15.0),
        ([TRUNK, EARLY, LATE], 1, 21.0),
        ([TRUNK, EARLY, job("x", 9)], 2, 15.0),  # x 0-9, trunk 0-10, early 9-15
        ([TRUNK, LATE, job("x", 14)], 2, 15.0),  # the trunk weighs 15: it is not kept waiting
        ([TRUNK, LATE, job("x", 16)], 1, 31.0),
        ([TRUNK, EARLY, LATE, job("x", 1)], 2, 15.0),  # x fits before the fork at 2
        ([TRUNK, EARLY, LATE, job("x", 1)], 9, 15.0),
    ],
)
def test_makespan_by_hand(jobs: list[Job], workers: int, expected: float) -> None:
    assert makespan(jobs, workers) == pytest.approx(expected)


def simulated(jobs: list[Job], workers: int) -> float:
    """The same policy minute by minute: whoever is free takes the heaviest run that may start."""
    weight = {
        job.spec.run: job.seconds
        + max((b.seconds for b in jobs if b.spec.trunk == job.spec.run), default=0.0)
        for job in jobs
    }
    began: dict[str, int] = {}
    ends: dict[str, float] = {}
    for minute in itertools.count():
        if len(ends) == len(jobs):
            return max(ends.values())
        free = workers - sum(end > minute for end in ends.values())
        for job in sorted(jobs, key=lambda job: -weight[job.spec.run]):
            spec, trunk = job.spec, job.spec.trunk
            if free == 0 or spec.run in began:
                continue
            if trunk is not None:
                if trunk not in began:
                    continue
                whole = next(other for other in jobs if other.spec.run == trunk)
                passed = (minute - began[trunk]) / whole.seconds * whole.spec.last_step
                if passed < spec.fork_step - 1e-6:
                    continue
            began[spec.run] = minute
            ends[spec.run] = minute + job.seconds
            free -= 1
    raise AssertionError("unreachable")


@st.composite
def ladders(draw: st.DrawFn) -> list[Job]:
    """Trunks of 10, 20, ... minutes that fork at tenths, so that all happens at whole minutes."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    # Weights that are all different, since the two schedulers may break a tie in two ways.
    seconds = draw(st.permutations([2**k for k in range(8)]))
    jobs: list[Job] = []
    for i, length in enumerate(lengths):
        trunk = job(f"t{i}", 10.0 * length)
        forks = draw(st.lists(st.integers(1, 10), min_size=2, max_size=2, unique=True))
        jobs.append(trunk)
        jobs += [
            job(f"b{i}{fork}", float(seconds[2 * i + k]), trunk, fork / 10)
            for k, fork in enumerate(sorted(forks))
        ]
    return jobs


@given(ladders(), st.integers(1, 4))
def test_makespan_agrees_with_a_simulation_minute_by_minute(jobs: list[Job], workers: int) -> None:
    weights = [
        item.seconds + max(b.seconds for b in jobs if b.spec.trunk == item.spec.run)
        for item in jobs
        if item.spec.trunk is None
    ]
    assume(len(set(weights)) == len(weights))
    assert makespan(jobs, workers) == pytest.approx(simulated(jobs, workers))


@given(ladders(), st.integers(1, 20))
def test_makespan_lies_between_what_no_schedule_beats_and_one_process(
    jobs: list[Job], workers: int
) -> None:
    total = sum(item.seconds for item in jobs)
    seconds = {item.spec.run: item.seconds for item in jobs}
    chains = [item.seconds for item in jobs if item.spec.trunk is None]
    for item in jobs:
        if item.spec.trunk is not None:
            chains.append(seconds[item.spec.trunk] * item.spec.fork_step / 1000 + item.seconds)
    found = makespan(jobs, workers)
    assert found >= max(total / workers, *chains) - 1e-9
    assert found <= total + 1e-9
    if workers == 1:
        assert found == pytest.approx(total)
    if workers >= len(jobs):
        assert found == pytest.approx(max(chains))

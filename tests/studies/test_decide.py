"""Decisions: what a budget is turned into on a machine of known speed, and that they are kept.

The machine is planted: its speed, noise scale and best rates are answered by functions here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scalelab.corpus import Corpus
from scalelab.counting import TransformerShape, flops_per_token
from scalelab.errors import SpecError, TrainingError
from scalelab.execution.pool import Pool
from scalelab.execution.study import register
from scalelab.studies import decide as module
from scalelab.studies import probe
from scalelab.studies.decide import (
    TOKENS_PER_PARAMETER,
    TWO_DECADES,
    Aim,
    Decisions,
    decide,
    ladder_of,
    sketch,
)
from scalelab.studies.settings import RunSettings
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget, parse_budget

SETTINGS = RunSettings(context=32, sizes=6, data_sizes=3)
MACHINE = 4e9  # FLOP per second of one process


class Told:
    """A watcher that remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, _jobs: int) -> None:
        self.stages.append(name)


def corpus_of(tokens: int) -> Corpus:
    """What decisions read of a corpus."""
    stub = SimpleNamespace(
        folder=Path("corpus"), vocabulary=256, tokenizer="bytes",
        train=SimpleNamespace(tokens=tokens),
    )  # fmt: skip
    return cast(Corpus, stub)


POOL = cast(Pool, SimpleNamespace(size=2))
LARGE = corpus_of(10**9)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    def speeds(_: Path, shapes: list[TransformerShape], *__: Any) -> dict[int, float]:
        return {shape.d_model: MACHINE / flops_per_token(shape) for shape in shapes}

    def tried(_: Path, shapes: list[TransformerShape], *__: Any) -> dict[int, Any]:
        """The best rate is 3 / sqrt(N)."""
        return {
            shape.d_model: [
                (3 / size_of(shape) ** 0.5 * 2.0**k, 2 + 0.1 * k * k) for k in (-1, 0, 1)
            ]
            for shape in shapes
        }

    monkeypatch.setattr(probe, "measure_speeds", speeds)
    monkeypatch.setattr(probe, "measure_noise_scale", lambda *_, **__: 2000.0)
    monkeypatch.setattr(probe, "probe_learning_rates", tried)


def sketched(budget: str, corpus: Corpus = LARGE, settings: RunSettings = SETTINGS) -> Decisions:
    return sketch(Path("none"), corpus, parse_budget(budget), settings, POOL, cast(Any, Told()))


def decided(tmp_path: Path, budget: str, elapsed: float = 0.0, corpus: Corpus = LARGE) -> Decisions:
    return decide(
        tmp_path, corpus, parse_budget(budget), SETTINGS, POOL, cast(Any, Told()),
        elapsed=lambda: elapsed,
    )  # fmt: skip


def test_decisions_come_back_from_json_equal(tmp_path: Path) -> None:
    for decisions in (sketched("20m"), decided(tmp_path, "1e15flop")):
        back = Decisions.from_dict(json.loads(json.dumps(decisions.to_dict())))
        assert back == decisions
        assert ladder_of(back, "c") == ladder_of(decisions, "c")


@pytest.mark.parametrize("budget", ["10m", "1h", "1e14flop", "1e15flop"])
def test_the_plan_keeps_to_the_budget(tmp_path: Path, budget: str) -> None:
    amount = parse_budget(budget).amount
    for decisions in (sketched(budget), decided(tmp_path, budget, elapsed=60.0)):
        ladder = ladder_of(decisions, "c")
        cost = ladder.flops if "flop" in budget else ladder.seconds
        assert 0.3 * amount < cost < amount


def test_time_gone_by_is_taken_from_what_is_left(tmp_path: Path) -> None:
    early, late = (decided(tmp_path, "2h", elapsed) for elapsed in (60.0, 1200.0))
    assert late.widths == early.widths
    assert ladder_of(late, "c").seconds < 6000.0
    assert late.steps < early.steps


@pytest.mark.parametrize("unit", ["s", "flop"])
def test_more_budget_never_makes_a_smaller_ladder(unit: str) -> None:
    base = 200.0 if unit == "s" else 1e13
    ladders = [ladder_of(sketched(f"{base * 3.0**k}{unit}"), "c") for k in range(7)]
    tops = [max(size_of(job.spec.shape) for job in ladder.jobs) for ladder in ladders]
    costs = [ladder.flops for ladder in ladders]
    assert tops == sorted(tops)
    assert costs == sorted(costs)
    assert tops[-1] > 5 * tops[0]


def test_sizes_span_two_decades_where_they_can_and_say_so_where_not() -> None:
    for budget in ("100s", "10m", "2h"):
        decisions = sketched(budget)
        sizes = sorted({size_of(job.spec.shape) for job in ladder_of(decisions, "c").jobs})
        codes = [notice.code for notice in decisions.notices]
        assert ("narrow-ladder" in codes) == (sizes[-1] / sizes[0] < TWO_DECADES)
        assert 5 <= len(sizes) <= SETTINGS.sizes
    assert "narrow-ladder" not in codes


@pytest.mark.parametrize("budget", ["2s", "1e10flop"])
def test_too_small_a_budget_is_refused_with_what_would_do(budget: str) -> None:
    with pytest.raises(SpecError, match=r"the smallest ladder needs (.*) on this machine\. Give a"):
        sketched(budget)


def test_a_ladder_that_is_not_trained_needs_no_budget_and_is_not_spoken_of() -> None:
    yardstick = Aim(trained=False)
    decisions = sketch(
        Path("none"), LARGE, parse_budget("2s"), SETTINGS, POOL, cast(Any, Told()), yardstick
    )
    assert len(decisions.widths) >= 5
    assert "narrow-ladder" in [notice.code for notice in decisions.notices]
    told = decisions.without_ladder()
    assert not told.notices
    assert {c.name for c in decisions.choices} - {c.name for c in told.choices} == {"data sizes"}


def test_what_a_refusal_says_is_needed_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what training needs; a budget that leaves that is taken."""
    found: list[Budget] = []
    real = module.fit_budget

    def remember(rungs: Any, budget: Budget, spec: Any) -> Any:
        found.append(budget)
        return real(rungs, budget, spec)

    monkeypatch.setattr(module, "fit_budget", remember)
    with pytest.raises(SpecError) as caught:
        sketched("1e10flop")
    share = found[0].amount / 1e10
    needed = parse_budget(str(caught.value).split("needs ")[1].split(" on this")[0])
    enough = needed.amount / share * 1.01
    assert ladder_of(sketched(f"{enough}flop"), "c").flops <= enough
    with pytest.raises(SpecError):
        sketched(f"{enough / 1.1}flop")


def test_what_measuring_has_cost_is_not_thrown_away(tmp_path: Path) -> None:
    decisions = decided(tmp_path, "10m", elapsed=595.0)
    assert [notice.code for notice in decisions.notices].count("over-budget") == 1
    least = decisions.steps * decisions.batch_tokens
    assert least == ladder_of(decisions, "c").tokens[-1]
    assert "over-budget" not in [n.code for n in decided(tmp_path, "20m").notices]


def test_a_small_corpus_is_the_limit_and_a_tiny_one_is_refused() -> None:
    decisions = sketched("10h", corpus_of(2_000_000))
    ladder = ladder_of(decisions, "c")
    assert "corpus-is-the-limit" in [notice.code for notice in decisions.notices]
    assert ladder.tokens[-1] <= 2_000_000 < ladder.tokens[-1] + 2 * decisions.batch_tokens
    with pytest.raises(SpecError, match=r"the corpus has 5k training tokens; .*--text"):
        sketched("10h", corpus_of(5_000))


def test_what_a_sketch_takes_of_a_small_corpus_is_enough_for_the_plan(tmp_path: Path) -> None:
    """The least batch that is worth its overhead is given up before the text is refused."""
    small = corpus_of(600 * 2 * SETTINGS.context + 100)
    assert sketched("1e14flop", small).batch_tokens == 2 * SETTINGS.context
    decisions = decided(tmp_path, "1e14flop", corpus=small)
    assert decisions.batch_tokens == 2 * SETTINGS.context
    assert ladder_of(decisions, "c").tokens[-1] <= small.train.tokens


def test_measured_choices_are_in_the_plan_with_why_and_where_from(tmp_path: Path) -> None:
    decisions = decided(tmp_path, "20m")
    ladder = ladder_of(decisions, "c")
    for job in ladder.jobs:
        assert job.spec.lr == pytest.approx(3 / size_of(job.spec.shape) ** 0.5, rel=1e-6)
        assert job.spec.batch_tokens == decisions.batch_tokens
    asked = 2000.0 / probe.NOISE_PER_BATCH
    assert 0.5 <= decisions.batch_tokens / asked <= 2
    sources = {choice.name: choice.source for choice in decisions.choices}
    assert sources["batch"] == sources["learning rate"] == "measured"
    assert {choice.source for choice in decisions.choices} <= {"measured", "paper", "assumed"}
    assert all(choice.value and choice.reason for choice in decisions.choices)
    dry = {choice.name: choice.source for choice in sketched("20m").choices}
    assert dry["batch"] == dry["learning rate"] == "assumed", "a dry run has not measured them"
    assert set(dry) == set(sources)


def test_probes_are_paid_from_a_compute_budget(tmp_path: Path) -> None:
    free = ladder_of(decided(tmp_path, "1e14flop"), "c")
    shape = free.jobs[0].spec.shape
    steps = round(3e13 / flops_per_token(shape) / 128)
    probe_run = TrainSpec(run="lr", shape=shape, corpus="c", batch_tokens=128, steps=steps, lr=0.1)
    register(tmp_path, probe_run)
    register(tmp_path, replace(probe_run, run="speed", kind="speed", steps=10**9))
    paid = ladder_of(decided(tmp_path, "1e14flop"), "c")
    assert paid.flops <= 7e13
    assert paid.flops == pytest.approx(7e13, rel=0.02), "measuring speed costs time, not compute"


# --- a GPU ----------------------------------------------------------------------------------------

KERNELS = 1e-3  # seconds of a step for each layer, however small
GPU = 2e14  # FLOP per second


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A machine on which small models wait for the next call, and the batch is all but free."""

    def speeds(
        _: Path, shapes: list[TransformerShape], _corpus: str, batch: int, *__: Any
    ) -> dict[int, float]:
        return {
            shape.d_model: batch / (KERNELS * shape.n_layer + batch * flops_per_token(shape) / GPU)
            for shape in shapes
        }

    monkeypatch.setattr(probe, "measure_speeds", speeds)
    monkeypatch.setattr(probe, "measure_noise_scale", lambda *_, **__: 64_000.0)
    return cast(Pool, SimpleNamespace(size=1))


def tokens_per_parameter(decisions: Decisions) -> float:
    ladder = ladder_of(decisions, "c")
    return ladder.tokens[-1] / max(size_of(job.spec.shape) for job in ladder.jobs)


@pytest.mark.parametrize("budget", ["8m", "12h"])
def test_sizes_fit_the_speed_of_a_gpu_at_the_batch_that_is_trained(
    tmp_path: Path, gpu: Pool, budget: str
) -> None:
    """A larger batch means more tokens in the same time, and so larger models."""
    whole = parse_budget(budget)
    corpus, told = corpus_of(10**12), cast(Any, Told())
    settings = replace(SETTINGS, context=128, sizes=8, data_sizes=4)
    first = sketch(tmp_path, corpus, whole, settings, gpu, told)
    found = decide(tmp_path, corpus, whole, settings, gpu, told, elapsed=lambda: 60.0)
    assert first.batch_tokens == 1024
    assert found.batch_tokens == 16_384
    assert found.widths[-1] > first.widths[-1]
    for decisions in (first, found):
        assert tokens_per_parameter(decisions) > 0.9 * TOKENS_PER_PARAMETER
        assert ladder_of(decisions, "c").seconds < whole.amount
    # One width more, with a layer more, has 2.8 times fewer; what probes might cost is left too.
    assert tokens_per_parameter(found) < 30
    assert not found.notices


def test_one_pass_of_the_text_limits_what_a_gpu_trains_and_the_plan_says_so(
    tmp_path: Path, gpu: Pool
) -> None:
    corpus = corpus_of(20_000_000)
    found = decide(
        tmp_path, corpus, parse_budget("2h"), SETTINGS, gpu, cast(Any, Told()), lambda: 60.0
    )
    assert [notice.code for notice in found.notices] == ["corpus-is-the-limit"]
    assert 8 < tokens_per_parameter(found) < 16, "models that one pass is enough for, none larger"
    assert ladder_of(found, "c").seconds < 0.5 * 7200


def test_sizes_end_where_the_memory_does_and_the_plan_says_so(
    tmp_path: Path, gpu: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = probe.measure_speeds

    def limited(folder: Path, shapes: list[TransformerShape], *rest: Any) -> dict[int, float]:
        if shapes[-1].d_model > 1500:
            raise TrainingError("the measurement failed: OutOfMemoryError")
        return fast(folder, shapes, *rest)

    monkeypatch.setattr(probe, "measure_speeds", limited)
    found = decide(
        tmp_path, corpus_of(10**12), parse_budget("30d"), SETTINGS, gpu, cast(Any, Told()),
        elapsed=lambda: 60.0,
    )  # fmt: skip
    assert found.widths[-1] == 1024
    (notice,) = found.notices
    assert notice.code == "too-wide"
    assert "end at width 1024, because at 2048 the measurement failed: OutOfMem" in notice.message

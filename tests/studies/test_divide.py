"""One budget among designs: shares, leftovers, equal runs trained once, designs that come later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scalelab.errors import SpecError
from scalelab.execution.execute import Job
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.design import Bench, Design, Plan, nothing, same_run
from scalelab.studies.divide import (
    LADDER_WEIGHT,
    MOST_TO_LADDER,
    REPLICATES,
    REPLICATES_WEIGHT,
    StudyPlan,
    aim_of,
    divided,
)
from scalelab.studies.evidence import Evidence
from scalelab.studies.ladder import LadderSpec, Rung, build
from scalelab.studies.sizes import Family, rungs, size_of
from scalelab.training.spec import TrainSpec
from scalelab.units import Budget

FAMILY = Family(context=128, vocabulary=256).up_to(128)
SHAPES = rungs(128, FAMILY, 6, 100.0)
BATCH = 1024


class FixedGauge:
    """Every shape trains at 1e12 FLOP a second over its FLOP per token; rates are as given."""

    def speed(self, shape: Any, _batch_tokens: int, _unroll: int) -> float:
        return 1e10 / size_of(shape)

    def rates(self, specs: Sequence[TrainSpec]) -> list[float]:
        return [spec.lr for spec in specs]


def bench(*, ladder: bool = True, tokens: int = 10**11) -> Bench:
    sizes = [Rung(shape, 1e10 / size_of(shape), 1e-2) for shape in SHAPES]
    spec = LadderSpec("corpus", tokens, BATCH, 4, 0, 2)
    corpus = SimpleNamespace(folder="corpus", train=SimpleNamespace(tokens=tokens))
    return Bench(
        corpus=cast(Any, corpus),
        family=FAMILY,
        sizes=SHAPES,
        rates=[1e-2] * len(SHAPES),
        speeds=[rung.speed for rung in sizes],
        ladder=build(sizes, 2000, spec) if ladder else None,
        batch_tokens=BATCH,
        allowance=Budget("seconds", 100.0),
        workers=2,
        seed=0,
        gauge=FixedGauge(),
    )


def spender(name: str, weight: float, *, share: float = 1.0, prefix: str = "") -> Design:
    """A design that spends a share of its allowance on runs of one shape."""

    def plan(bench: Bench) -> Plan:
        def make(tokens: int) -> list[Job]:
            return [
                bench.job(bench.spec(f"{prefix or name}-{i}", SHAPES[2], tokens, seed=i), "a run")
                for i in range(2)
            ]

        small = replace(bench, allowance=Budget("seconds", bench.allowance.amount * share))
        return Plan(small.largest(make, BATCH, 1e11) or (), left_out=(f"{name} wants more",))

    def conclude(evidence: Evidence) -> Conclusion:
        return Conclusion(name, name, f"{len(evidence.own)} runs")

    return Design(name, name, "", "", "", "", weight, plan, conclude)


def spend(amount: float, unit: Any = "seconds") -> tuple[Callable[[], Budget], Budget]:
    """What is left, and the whole budget."""
    return lambda: Budget(unit, amount), Budget(unit, 1000.0)


def cost(plan: StudyPlan, name: str) -> float:
    return sum(plan.jobs[run].seconds for run in plan.runs[name]) / 2


def test_each_design_spends_what_its_weight_gives_it() -> None:
    designs = (spender("a", 1.0), spender("b", 3.0))
    plan = divided(StudyPlan(), designs, bench(), *spend(400.0, "seconds"))
    total = 4.0 + REPLICATES_WEIGHT
    assert cost(plan, "a") == pytest.approx(400 / total, rel=0.05)
    assert cost(plan, "b") == pytest.approx(1200 / total, rel=0.05)
    assert sum(job.seconds for job in plan.jobs.values()) / 2 <= 400.0


def test_what_a_design_leaves_goes_to_those_behind_it() -> None:
    thrifty = (spender("a", 1.0, share=0.1), spender("b", 1.0))
    plan = divided(StudyPlan(), thrifty, bench(), *spend(400.0, "seconds"))
    spent = cost(plan, REPLICATES) + cost(plan, "a")
    assert cost(plan, "b") == pytest.approx(400 - spent, rel=0.05)


def test_equal_runs_are_trained_once() -> None:
    def plan(bench: Bench) -> Plan:
        return Plan([bench.job(bench.spec("mine", SHAPES[1], 5e5), "shared")])

    def other(bench: Bench) -> Plan:
        return Plan([bench.job(bench.spec("yours", SHAPES[1], 5e5), "shared")])

    first = replace(spender("a", 1.0), plan=plan)
    second = replace(spender("b", 1.0), plan=other)
    found = divided(StudyPlan(), (first, second), bench(), *spend(400.0, "seconds"))
    assert found.runs["a"] == found.runs["b"] == ("mine",)
    assert "yours" not in found.jobs


def test_a_run_of_the_ladder_is_not_trained_again() -> None:
    there = bench()
    assert there.ladder is not None
    job = next(job for job in there.ladder.jobs if job.spec.kind == "trunk")

    def plan(_bench: Bench) -> Plan:
        return Plan([replace(job, spec=replace(job.spec, run="again"))])

    design = replace(spender("a", 1.0), plan=plan)
    found = divided(StudyPlan(), (design,), there, *spend(400.0, "seconds"))
    assert found.runs["a"] == (job.spec.run,)
    assert job.spec.run not in found.jobs


def test_branches_follow_a_trunk_that_has_another_name() -> None:
    def trunk(name: str, bench: Bench) -> list[Job]:
        trunk = bench.spec(
            f"{name}-trunk", SHAPES[1], 5e5, kind="trunk", stop_step=400, fork_steps=(400,)
        )
        branch = bench.spec(f"{name}-branch", SHAPES[1], 5e5, trunk=trunk.run, fork_step=400)
        return [bench.job(trunk, "trunk"), bench.job(branch, "branch")]

    first = replace(spender("a", 1.0), plan=lambda b: Plan(trunk("a", b)))
    second = replace(spender("b", 1.0), plan=lambda b: Plan(trunk("b", b)))
    found = divided(StudyPlan(), (first, second), bench(), *spend(400.0, "seconds"))
    assert found.runs["b"] == ("a-trunk", "a-branch")


def test_a_design_asked_for_later_leaves_what_was_planned_alone() -> None:
    first = divided(StudyPlan(), (spender("a", 1.0),), bench(), *spend(400.0, "seconds"))
    both = divided(first, (spender("a", 9.0), spender("b", 1.0)), bench(), *spend(0.0, "seconds"))
    assert both.runs["a"] == first.runs["a"]
    assert {run: both.jobs[run] for run in first.jobs} == dict(first.jobs)
    # Nothing is left, and the newcomer spends its usual share of the whole.
    beside = 1000.0 * (1 - aim_of((spender("a", 9.0), spender("b", 1.0))).share)
    assert cost(both, "b") == pytest.approx(beside / (REPLICATES_WEIGHT + 10.0), rel=0.05)


def test_a_plan_comes_back_from_its_record() -> None:
    plan = divided(StudyPlan(), (spender("a", 1.0),), bench(), *spend(400.0, "seconds"))
    import json

    assert StudyPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_budget_too_small_for_replicates_says_so() -> None:
    design = replace(spender("a", 0.0), plan=nothing)
    plan = divided(StudyPlan(), (design,), bench(), *spend(1e-3, "seconds"))
    assert plan.runs[REPLICATES] == ()
    assert "assumed" in plan.left_out[REPLICATES][0]


def test_replicates_differ_in_their_seed_alone() -> None:
    design = replace(spender("a", 0.0), plan=nothing)
    plan = divided(StudyPlan(), (design,), bench(), *spend(400.0, "seconds"))
    specs = [plan.jobs[run].spec for run in plan.runs[REPLICATES]]
    assert len({same_run(replace(spec, seed=0)) for spec in specs}) == 2
    assert {spec.seed for spec in specs} == {1, 2, 3}


def test_the_ladder_keeps_its_share() -> None:
    aim = aim_of((spender("a", 4.0), spender("b", 5.0)))
    assert aim.share == pytest.approx(LADDER_WEIGHT / (LADDER_WEIGHT + 9.0 + REPLICATES_WEIGHT))


def test_a_study_of_one_design_is_for_that_design() -> None:
    assert aim_of((spender("a", 1.0),)).share == MOST_TO_LADDER
    assert aim_of((spender("a", 1.0),)).trained
    assert not aim_of((replace(spender("a", 1.0), ladder=False),)).trained
    # One that looks at the ladder alone leaves everything to it, but for replicates.
    alone = LADDER_WEIGHT / (LADDER_WEIGHT + REPLICATES_WEIGHT)
    assert aim_of((spender("a", 0.0),)).share == pytest.approx(alone)


def test_flop_budgets_are_divided_in_flop() -> None:
    there = replace(bench(), allowance=Budget("flop", 1.0))
    plan = divided(StudyPlan(), (spender_flop(),), there, *spend(1e14, "flop"))
    assert 0.5e14 < there.cost([plan.jobs[run] for run in plan.runs["f"]]) <= 1e14


def spender_flop() -> Design:
    def plan(bench: Bench) -> Plan:
        def make(tokens: int) -> list[Job]:
            return [bench.job(bench.spec("f-0", SHAPES[2], tokens), "a run")]

        return Plan(bench.largest(make, BATCH, 1e11) or ())

    return replace(spender("f", 3.0), plan=plan)


@pytest.mark.parametrize("taken", ["twin", "a-0"])
def test_two_different_runs_of_one_name_are_refused(taken: str) -> None:
    """The second would be lost, and the first be counted for both."""

    def plan(bench: Bench) -> Plan:
        specs = [bench.spec(name, SHAPES[2], 5e5, seed=9) for name in ("twin", taken)]
        return Plan([bench.job(replace(s, seed=9 + i), "a run") for i, s in enumerate(specs)])

    later = replace(spender("b", 1.0), plan=plan)
    with pytest.raises(SpecError, match=f"'b' plans a run named '{taken}', which is the name of"):
        divided(StudyPlan(), [spender("a", 1.0), later], bench(), *spend(1000.0, "seconds"))


def test_a_design_sees_what_is_planned_already() -> None:
    seen: list[set[str]] = []

    def plan(bench: Bench) -> Plan:
        seen.append({job.spec.run for job in bench.planned})
        return Plan(bench.planned)

    later = replace(spender("b", 1.0), plan=plan)
    found = divided(StudyPlan(), [spender("a", 1.0), later], bench(), *spend(1000.0, "seconds"))
    assert {"a-0", "a-1"} <= seen[0]
    assert set(found.runs["b"]) == seen[0] == set(found.jobs)

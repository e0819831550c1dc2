"""Schedules: what is planned, and what planted runs conclude."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from planted import finished
from planted_bench import bench, replicates

from scalelab.studies.analysis.variants import RATES
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.schedules import KINDS, Kind, conclude, kind_of, plan
from scalelab.studies.evidence import Evidence, Run
from scalelab.training.schedules import lr_factor

Law = Callable[[Kind], float]
"""Log loss of a schedule at its best rate."""


def alike(kind: Kind) -> float:
    return 0.5 + (0.0 if kind.decays else 0.05)


def unlike(kind: Kind) -> float:
    return 0.5 + (0.1 if kind.name == "linear" else 0.0) + (0.0 if kind.decays else 0.05)


def free(kind: Kind) -> float:
    """Not decaying is better."""
    return 0.5 - (0.0 if kind.decays else 0.05)


def study(law: Law, noise: float = 0.002, amount: float = 300.0, seed: int = 0) -> list[Run]:
    generator = np.random.default_rng(seed)
    jobs = plan(bench(amount)).jobs
    best = 1.2 * jobs[len(RATES)].spec.lr
    found = []
    for job in jobs:
        kind = kind_of(job.spec)
        assert kind is not None
        log_loss = law(kind) + 0.004 * np.log2(job.spec.lr / best) ** 2
        found.append(finished(job.spec, float(np.exp(log_loss + noise * generator.normal()))))
    return found


def concluded(runs: list[Run], noise: float = 0.004) -> Conclusion:
    return conclude(Evidence(runs, replicates=replicates(noise)))


def test_every_schedule_is_told_from_the_others() -> None:
    for job in plan(bench()).jobs:
        kind = kind_of(job.spec)
        assert kind is not None
        assert KINDS.index(kind) == int(job.spec.run.split("-")[1][1:])


def test_rates_of_a_step_have_the_same_sum_for_all_that_decay() -> None:
    sums: dict[str, set[float]] = {}
    for job in plan(bench()).jobs:
        kind, spec = kind_of(job.spec), job.spec
        assert kind is not None
        if kind.guess == 1:
            area = spec.lr * sum(lr_factor(step, spec) for step in range(spec.last_step))
            sums.setdefault(spec.run.split("-")[2], set()).add(area)
    assert len(sums) == 3
    for areas in sums.values():
        assert max(areas) == pytest.approx(min(areas), rel=0.01)


def test_what_is_cut_is_trained_as_long_as_the_others() -> None:
    jobs = plan(bench()).jobs
    assert len({job.spec.last_step for job in jobs}) == 1
    cut = [job.spec for job in jobs if job.spec.stop_step is not None]
    assert {spec.steps for spec in cut} == {2 * cut[0].last_step}
    ends = [lr_factor(spec.last_step - 1, spec) for spec in cut]
    assert ends == pytest.approx([0.5] * len(cut), abs=0.03)
    whole = [spec for spec in (job.spec for job in jobs) if (k := kind_of(spec)) and k.decays]
    # The last step is the one before zero: 1 - sqrt falls to .07 there, a cosine to nothing.
    assert max(lr_factor(spec.last_step - 1, spec) for spec in whole) < 0.1


@pytest.mark.parametrize("amount", [10.0, 60.0, 240.0, 3000.0])
def test_a_plan_keeps_to_its_allowance_and_is_the_same_again(amount: float) -> None:
    one = bench(amount)
    jobs = plan(one).jobs
    assert one.cost(jobs) <= amount
    assert jobs == plan(bench(amount)).jobs
    assert len({job.spec.run for job in jobs}) == len(jobs)
    pairs = {(job.spec.lr, job.spec.schedule, job.spec.warmup_steps, job.spec.decay_fraction,
              job.spec.stop_step, job.spec.seed) for job in jobs}  # fmt: skip
    assert len(pairs) == len(jobs)


def test_what_cannot_be_paid_is_said() -> None:
    assert "larger budget" in plan(bench(1.0)).left_out[0]
    assert any("second seed" in line for line in plan(bench(60.0)).left_out)
    assert plan(bench(240.0)).left_out == ()
    assert not plan(bench(tokens=10_000)).jobs


def test_schedules_alike_agree() -> None:
    found = concluded(study(alike))
    assert found.verdict == "agrees"
    assert found.numbers["constant"].estimate.value == pytest.approx(np.expm1(0.05), abs=0.01)
    assert [p.name for p in found.pictures] == [
        "schedules-rates", "schedules-sums", "schedules-compared",
    ]  # fmt: skip
    assert [p.paper for p in found.pictures] == ["figure 22, left", "figure 22, right", ""]
    assert len(found.pictures[2].steps) == len(KINDS)
    assert "do not reach zero" in found.statement


@pytest.mark.parametrize("law", [unlike, free])
def test_schedules_unlike_differ(law: Law) -> None:
    assert concluded(study(law)).verdict == "differs"


def test_noise_cannot_tell() -> None:
    """It never agrees; one of six may differ by luck, as an end of a 90% interval may."""
    verdicts = [concluded(study(alike, noise=0.03, seed=s), 0.03).verdict for s in range(6)]
    assert "agrees" not in verdicts
    assert verdicts.count("cannot tell") >= 5


def test_runs_that_are_missing_leave_less_to_say_but_no_error() -> None:
    runs = study(alike)
    unfinished = [Run(run.spec, None) for run in runs]
    for kept in (0, 1, 5, 12):
        found = concluded(runs[:kept] + unfinished[kept:])
        assert found.verdict == "cannot tell"
        assert found.statement
    assert concluded([]).verdict == "cannot tell"
    half = concluded(runs[: len(runs) // 2] + unfinished[len(runs) // 2 :])
    assert half.findings[0].estimate is not None
    assert half.findings[1].estimate is None

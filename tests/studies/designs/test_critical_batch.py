"""Critical batch: planted by equation 5.1, by another exponent, with noise, with runs missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted import kaplan
from planted_batch import batch_runs, bench, critical, noisy_ladder

from scalelab.fitting import Estimate
from scalelab.studies.analysis.batch_branches import read_branches
from scalelab.studies.analysis.batch_sweep import read_sweep
from scalelab.studies.analysis.critical_batch_law import above_floor, local_batch, measured
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.critical_batch import DESIGN
from scalelab.studies.evidence import Evidence, Run

PAPER = critical(40_000, 0.21)
OTHER = critical(5_000, 0.6)


@pytest.fixture(scope="module")
def sweep() -> list[Run]:
    return batch_runs(PAPER)


@pytest.fixture(scope="module")
def trunks() -> list[Run]:
    # Data matter as much as size, or loss and size would be one.
    return noisy_ladder(PAPER, law=kaplan(d_c=1e7))


@pytest.fixture(scope="module")
def concluded(sweep: list[Run], trunks: list[Run]) -> Conclusion:
    return DESIGN.conclude(Evidence(own=sweep, ladder=trunks, everything=[*sweep, *trunks]))


def findings(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


# --- the plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [0.3, 1.0, 5.0, 40.0])
def test_plan_stays_within_the_allowance(minutes: float) -> None:
    made = bench(minutes)
    jobs = DESIGN.plan(made).jobs
    assert jobs
    assert 0.8 * made.allowance.amount < made.cost(jobs) <= made.allowance.amount
    ids = [job.spec.run for job in jobs]
    assert len(set(ids)) == len(ids)
    assert [job.spec for job in jobs] == [job.spec for job in DESIGN.plan(bench(minutes)).jobs]


def test_plan_in_flop_and_on_a_short_text() -> None:
    made = bench(20.0, unit="flop")
    jobs = DESIGN.plan(made).jobs
    assert jobs
    assert made.cost(jobs) <= made.allowance.amount
    short = bench(40.0, corpus_tokens=10_000_000)
    assert max(job.spec.tokens for job in DESIGN.plan(short).jobs) <= 10_000_000


def test_without_money_nothing_is_planned_and_it_is_said() -> None:
    plan = DESIGN.plan(bench(0.01))
    assert not plan.jobs
    assert "noise scale" in plan.left_out[0]


def test_branches_begin_where_their_trunk_keeps_a_checkpoint() -> None:
    jobs = DESIGN.plan(bench(5.0)).jobs
    trunks = {job.spec.run: job.spec for job in jobs if job.spec.kind == "trunk"}
    branches = [job.spec for job in jobs if job.spec.trunk is not None]
    assert len({spec.batch_tokens for spec in branches}) >= 6
    for spec in branches:
        trunk = trunks[str(spec.trunk)]
        assert spec.trunk_step in trunk.fork_steps
        assert spec.trunk_step is not None
        assert spec.trunk_step * trunk.batch_tokens == spec.fork_step * spec.batch_tokens
        assert spec.tokens == 2 * spec.fork_step * spec.batch_tokens
        ratio = spec.batch_tokens / trunk.batch_tokens
        assert spec.lr == pytest.approx(trunk.lr * ratio**0.5)


def test_the_sweep_reaches_far_below_the_ladders_rate_and_above_it() -> None:
    """The best constant rate was .28 to .56 of the ladder's, early on 1.1 or more."""
    made = bench(5.0)
    jobs = [job.spec for job in DESIGN.plan(made).jobs if "sweep" in job.spec.run]
    for batch in {spec.batch_tokens for spec in jobs}:
        shapes = {spec.shape for spec in jobs}
        for shape in shapes:
            tried = [s.lr for s in jobs if s.shape == shape and s.batch_tokens == batch]
            rule = made.rate(shape) * (batch / made.batch_tokens) ** 0.5
            assert len(tried) == 4
            assert min(tried) < 0.3 * rule
            assert max(tried) > 2 * rule


# --- what it measures -----------------------------------------------------------------------------


def test_sweep_planted_by_equation_5_1_gives_its_critical_batch(sweep: list[Run]) -> None:
    found = read_sweep(sweep)
    assert found is not None
    assert len(found.levels) == 6
    for _, loss, fitted in found.levels:
        one = fitted.derived["B_crit"]
        assert one.value == pytest.approx(PAPER(loss), rel=0.15)
    assert found.joint is not None
    assert found.joint.parameters["alpha_B"].value == pytest.approx(0.21, rel=0.05)


def test_where_the_law_is_of_the_moment_all_ways_find_it() -> None:
    runs = batch_runs(PAPER, local=True)
    found = read_sweep(runs)
    assert found is not None
    assert found.joint is not None
    local = local_batch(found.joint, found.crossings)
    assert local is not None
    losses, (value, _) = local
    assert np.exp(value) == pytest.approx([PAPER(loss) for loss in losses], rel=0.3)
    # All the way from the start the batch is smaller: the beginning holds it down.
    assert all(fit.derived["B_crit"].value < 0.5 * PAPER(loss) for _, loss, fit in found.levels)
    for one in read_branches(runs):
        assert one.critical.value == pytest.approx(PAPER(one.loss), rel=0.35)


def test_paper_planted_agrees(concluded: Conclusion) -> None:
    verdicts = findings(concluded)
    assert verdicts["alpha_B"] == "agrees"
    assert verdicts["size_exponent"] == "agrees"
    assert "to losses of 1.90 to 2.71 nats" in concluded.statement
    assert {picture.paper for picture in concluded.pictures} >= {"figure 10", "figure 18"}
    assert concluded.numbers["branches_over_sweep"].estimate.low > 0.2


def test_noise_scale_is_compared_where_it_is_read(trunks: list[Run]) -> None:
    # A law of the moment: all the way to a loss its batch is less than half of what it is there.
    runs = batch_runs(PAPER, local=True)
    found = DESIGN.conclude(Evidence(own=runs, ladder=trunks))
    assert findings(found)["noise_scale_over_sweep"] == "agrees"
    assert found.numbers["noise_over_sweep"].estimate.low > 2
    value = found.findings[2].estimate
    assert value is not None
    assert value.value == found.numbers["noise_over_sweep_local"].estimate.value


def test_a_power_of_the_loss_above_a_floor_is_found_and_why_that_of_the_loss_is_steeper() -> None:
    runs = batch_runs(lambda loss: 600.0 / (loss - 0.8) ** (1 / 0.4))
    floor = Estimate(0.8, 0.79, 0.81, 0.9)
    sweep = read_sweep(runs)
    assert sweep is not None
    assert sweep.joint is not None
    alpha = above_floor(sweep.crossings, floor)
    assert alpha is not None
    assert alpha.low < 0.4 < alpha.high
    assert sweep.joint.parameters["alpha_B"].high < 0.3
    lowest = float(sweep.crossings["loss"].to_numpy().min())
    assert above_floor(sweep.crossings, replace(floor, high=lowest)) is None


def slow_at_low_losses(runs: list[Run]) -> list[Run]:
    """Small batches lose up to a third of their steps by their lowest loss, at all rates but the
    lowest, which is the best one from there on: as where the sweep of rates is too narrow."""
    found = []
    for run in runs:
        curve = run.curve
        if "sweep" in run.spec.run and run.spec.batch_tokens <= 512 and len(curve):
            late = np.clip((2.9 - curve["loss"].to_numpy()) / 0.9, 0.0, 1.0)
            lost = 0.32 if run.spec.run.endswith("r0") else 0.4
            loss = curve["loss"].to_numpy()
            # -d ln L / d ln S is about .12 there.
            curve = curve.with_columns(pl.Series("loss", loss * np.exp(0.12 * lost * late)))
        found.append(replace(run, curve=curve))
    return found


def test_rates_at_the_edge_widen_the_interval(sweep: list[Run]) -> None:
    runs = slow_at_low_losses(sweep)
    read = read_sweep(runs)
    assert read is not None
    assert read.joint is not None
    assert read.sound is not None
    assert 0 < read.crossings["edge"].mean() < 0.5  # type: ignore[operator]
    bent, rest = (fit.parameters["alpha_B"] for fit in (read.joint, read.sound))
    assert bent.value < rest.value
    alpha = DESIGN.conclude(Evidence(own=runs)).findings[0].estimate
    assert alpha is not None
    assert (alpha.low, alpha.high) == (min(bent.low, rest.low), max(bent.high, rest.high))


def test_where_no_rate_lies_between_others_alpha_is_not_told(sweep: list[Run]) -> None:
    two = [run for run in sweep if "sweep" not in run.spec.run or run.spec.run[-1] in "01"]
    found = DESIGN.conclude(Evidence(own=two))
    assert found.findings[0].estimate is None
    assert "lowest or the highest tried" in found.findings[0].why


def test_another_exponent_differs_and_so_does_a_misleading_noise_scale() -> None:
    runs = batch_runs(OTHER)
    trunks = noisy_ladder(OTHER, factor=6.0)
    found = DESIGN.conclude(Evidence(own=runs, ladder=trunks))
    verdicts = findings(found)
    assert verdicts["alpha_B"] == "differs"
    assert verdicts["noise_scale_over_sweep"] == "differs"
    assert found.verdict == "differs"
    assert "What may be behind it: alpha_B: one small size" in found.statement


def test_a_noise_scale_that_grows_with_size_differs() -> None:
    trunks = noisy_ladder(PAPER, size_exponent=0.4)
    found = DESIGN.conclude(Evidence(own=(), ladder=trunks))
    assert findings(found)["size_exponent"] == "differs"


def test_much_noise_cannot_tell() -> None:
    runs = batch_runs(PAPER, noise=0.03, luck=0.05, minutes=1.0)
    found = DESIGN.conclude(Evidence(own=runs, ladder=()))
    assert findings(found)["alpha_B"] == "cannot tell"


@pytest.mark.parametrize("kept", [0, 1, 5, 14])
def test_missing_runs_are_said_not_raised(sweep: list[Run], kept: int) -> None:
    found = DESIGN.conclude(Evidence(own=sweep[:kept]))
    assert found.verdict == "cannot tell"
    assert all(finding.estimate or finding.why for finding in found.findings)
    unfinished = [replace(run, result=None, curve=run.curve.clear()) for run in sweep]
    assert DESIGN.conclude(Evidence(own=unfinished)).verdict == "cannot tell"


# --- what others use ------------------------------------------------------------------------------


def test_measured_takes_the_sweep_else_the_noise_scale(sweep: list[Run], trunks: list[Run]) -> None:
    by_sweep = measured(Evidence(own=(), everything=[*sweep, *trunks], ladder=trunks))
    other = noisy_ladder(PAPER, factor=3.0)
    by_noise = measured(Evidence(own=(), ladder=other))
    assert by_sweep is not None
    assert by_noise is not None
    law = critical(by_sweep["B_star"], by_sweep["alpha_B"])
    assert law(2.3) == pytest.approx(PAPER(2.3), rel=0.1)
    proxy = critical(by_noise["B_star"], by_noise["alpha_B"])
    assert proxy(1.8) == pytest.approx(3 * PAPER(1.8), rel=0.25)
    assert measured(Evidence(own=())) is None

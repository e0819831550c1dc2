"""Transformer against recurrent networks: what is planned, and what planted runs conclude."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import finished
from planted_bench import bench, replicates, with_positions

from scalelab.counting import RecurrentShape
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs import context
from scalelab.studies.designs.recurrent import conclude, plan
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.long_context import is_control
from scalelab.studies.sizes import size_of


def cell_of(run: Any) -> str:
    shape = run.spec.shape
    return shape.cell if isinstance(shape, RecurrentShape) else "transformer"


def study(
    *,
    gap: float = 0.06,
    stops: float = 150.0,
    taught: float = 150.0,
    noise: float = 0.003,
    text: float = 0.02,
    seed: int = 0,
) -> list[Run]:
    """Transformers that use all of the context, LSTMs above them that stop at a position.

    taught: where the control stops, which has longer gradients.
    """
    generator = np.random.default_rng(seed)
    shared = text * generator.standard_normal(1024)
    found = []
    for job in plan(bench()).jobs:
        lstm = isinstance(job.spec.shape, RecurrentShape)
        level = 3.2 * size_of(job.spec.shape) ** -0.07 * np.exp(noise * generator.normal())
        level *= 1 + gap * lstm

        end = taught if is_control(job.spec) else stops

        def law(place: Any, level: float = level, lstm: bool = lstm, end: float = end) -> Any:
            seen = np.minimum(place, end) if lstm else place
            return level * (0.8 + seen**-0.3)

        run = finished(job.spec, 1.0)
        run = with_positions(run, law, shared, 0.2 * text, seed)
        loss = float(run.positions.mean())
        found.append(replace(run, result={**(run.result or {}), "loss": loss}))
    return found


def concluded(runs: list[Run]) -> Conclusion:
    return conclude(Evidence(runs))


@pytest.mark.parametrize("amount", [150.0, 400.0, 1500.0])
def test_a_plan_keeps_to_its_allowance_and_is_the_same_again(amount: float) -> None:
    one = bench(amount)
    jobs = plan(one).jobs
    assert jobs
    assert one.cost(jobs) <= amount
    assert jobs == plan(bench(amount)).jobs
    assert len({job.spec.run for job in jobs}) == len(jobs)


def test_families_have_the_same_sizes_tokens_and_context() -> None:
    jobs = [job for job in plan(bench(400.0)).jobs if not is_control(job.spec)]
    assert len({job.spec.tokens for job in jobs}) == 1
    assert {job.spec.shape.context for job in jobs} == {1024}
    assert {job.spec.eval_tokens for job in jobs} == {jobs[0].spec.eval_tokens}
    sizes: dict[str, list[int]] = {}
    for job in jobs:
        sizes.setdefault(cell_of(job), []).append(size_of(job.spec.shape))
    assert set(sizes) >= {"transformer", "lstm"}
    assert len(sizes["lstm"]) == len(sizes["transformer"]) == 4
    assert sizes["lstm"] == pytest.approx(sizes["transformer"], rel=0.1)
    unrolled = {job.spec.unroll for job in jobs if cell_of(job) != "transformer"}
    assert unrolled == {128}


def test_the_control_is_the_largest_lstm_with_longer_gradients_alone() -> None:
    jobs = plan(bench(400.0)).jobs
    (longer,) = [job.spec for job in jobs if is_control(job.spec)]
    lstms = [job.spec for job in jobs if cell_of(job) == "lstm" and not is_control(job.spec)]
    assert longer.unroll >= 512
    assert replace(longer, run=lstms[-1].run, unroll=128) == lstms[-1]


def test_a_control_that_is_not_paid_for_is_named() -> None:
    first = context.plan(bench(200.0)).jobs
    own = [job for job in plan(replace(bench(200.0), planned=first)).jobs if job not in first]
    lstms = [job for job in own if not is_control(job.spec)]
    poor = replace(bench(1.05 * bench().cost(lstms)), planned=first)
    found = plan(poor)
    assert not any(is_control(job.spec) for job in found.jobs)
    assert "gradients through half of the context" in found.left_out[0]


def test_grus_come_with_money_and_are_left_out_by_name_without() -> None:
    rich, poor = plan(bench(6000.0)), plan(bench(100.0))
    assert "gru" in {cell_of(job) for job in rich.jobs}
    assert rich.left_out == ()
    assert "gru" not in {cell_of(job) for job in poor.jobs}
    assert "GRU" in poor.left_out[-1]
    assert "larger budget" in plan(bench(1.0)).left_out[0]


def test_transformers_that_are_planned_already_are_shared_either_way() -> None:
    first = context.plan(bench(200.0)).jobs
    later = replace(bench(200.0), planned=first)
    own = plan(later).jobs
    assert list(own[: len(first)]) == list(first)
    assert {cell_of(job) for job in own[len(first) :]} == {"lstm"}
    assert later.cost(own[len(first) :]) <= 200.0
    back = context.plan(replace(bench(200.0), planned=own)).jobs
    assert list(back) == list(first)
    assert not plan(replace(bench(1.0), planned=first)).jobs


def test_a_gap_and_a_plateau_agree() -> None:
    found = concluded(study())
    assert [finding.verdict for finding in found.findings] == ["agrees", "agrees"]
    gap = found.numbers["gap_lstm"].estimate
    place = np.arange(1, 1025.0)
    plateau = (0.8 + np.minimum(place, 150) ** -0.3).mean() / (0.8 + place**-0.3).mean()
    assert gap.low <= 1.06 * plateau - 1 <= gap.high
    stop = found.numbers["stops_improving_lstm"].estimate
    assert stop.low <= 150
    assert 100 <= stop.high < 300
    assert found.numbers["stops_improving_transformer"].estimate.low > stop.high
    assert found.numbers["alpha_N_lstm"].estimate.value == pytest.approx(0.07, abs=0.02)
    late = found.numbers["late_improvement"].estimate
    assert late.low > 0
    assert "gradients through 128 or 1024 bytes" in found.statement
    assert "of its parameters ties" in found.statement
    assert [picture.paper for picture in found.pictures] == ["figure 7, left", "figure 7, right"]
    assert {series.mark for series in found.pictures[0].series} == {"point", "line", "hollow"}


def test_an_lstm_that_longer_gradients_teach_to_use_its_context_is_not_judged() -> None:
    late = concluded(study(taught=1e9)).findings[1]
    assert late.estimate is None
    assert "more than a third" in late.why


def test_without_a_control_the_end_of_the_context_is_not_judged() -> None:
    runs = [run for run in study() if not is_control(run.spec)]
    found = concluded(runs)
    assert found.findings[0].verdict == "agrees"
    assert found.findings[1].estimate is None
    assert "no control" in found.statement


def test_a_gap_within_the_noise_from_seed_to_seed_cannot_tell() -> None:
    runs = study(gap=0.0, stops=1e9, taught=1e9, noise=0.0)
    wide = conclude(Evidence(runs, replicates=replicates(0.02))).findings[0].estimate
    assert wide is not None
    # Two networks, each with its luck; four runs on one line do not take it away.
    assert (wide.high - wide.low) / 2 == pytest.approx(1.645 * 2**0.5 * 0.02, rel=0.1)


def test_a_better_lstm_that_uses_its_context_differs() -> None:
    found = concluded(study(gap=-0.06, stops=1e9))
    assert found.findings[0].verdict == "differs"
    assert found.verdict == "differs"


def tilted(runs: list[Run], cell: str, by: list[float]) -> list[Run]:
    """Losses of one family that rise along the context by so much, each run in turn."""
    place, left = np.linspace(0, 1, 1024), iter(by)
    return [
        replace(run, positions=run.positions + next(left) * place) if cell_of(run) == cell else run
        for run in runs
    ]


def test_an_lstm_that_gains_more_late_differs() -> None:
    found = concluded(tilted(study(text=0.005), "lstm", [-0.3] * 6))
    assert found.findings[1].verdict == "differs"
    assert "hardly learns to use the end" in found.statement


def test_leads_that_scatter_from_size_to_size_cannot_tell() -> None:
    """The text's noise is nothing; the noise from run to run is as large as the lead."""
    late = concluded(tilted(study(text=0.0), "transformer", [0.1, -0.1, -0.1, 0.1, 0.0]))
    assert late.findings[1].estimate is not None
    assert late.findings[1].verdict == "cannot tell"


def test_a_transformer_that_does_not_use_its_context_has_no_lead() -> None:
    late = concluded(tilted(study(), "transformer", [0.3] * 5)).findings[1]
    assert late.estimate is None
    assert "neither network uses the end of its context" in late.why


def test_noise_cannot_tell() -> None:
    """Networks that are alike, one of which luck favours."""
    alike = {"gap": 0.0, "stops": 1e9, "taught": 1e9}
    verdicts = [
        concluded(study(**alike, noise=0.05, text=2.0, seed=seed)).verdict for seed in range(4)
    ]
    assert "agrees" not in verdicts
    assert verdicts.count("cannot tell") >= 3


def test_runs_that_are_missing_leave_less_to_say_but_no_error() -> None:
    runs = study()
    unfinished = [Run(run.spec, None) for run in runs]
    for kept in (0, 1, 3, 5, 7):
        found = concluded(runs[:kept] + unfinished[kept:])
        assert found.verdict == "cannot tell"
        assert found.statement
    assert concluded([]).verdict == "cannot tell"
    without = [replace(run, positions=np.empty(0)) for run in runs]
    found = concluded(without)
    assert found.findings[0].estimate is not None
    assert found.findings[1].estimate is None
    assert found.findings[1].why

"""Loss per token of the context: what is planned, and what planted runs conclude."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import finished
from planted_bench import bench, with_positions

from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.context import conclude, plan
from scalelab.studies.evidence import OCTAVES_SCHEMA, Evidence, Run
from scalelab.studies.sizes import size_of


def study(
    *,
    alpha: float = 0.55,
    grows: float = 0.03,
    noise: float = 0.003,
    text: float = 0.02,
    seed: int = 0,
) -> list[Run]:
    """L(N, T) = N^-.05 (1.2 + 2 T^-alpha) with a floor that falls faster, by N^-grows."""
    generator = np.random.default_rng(seed)
    shared = text * generator.standard_normal(1024)
    found = []
    for job in plan(bench()).jobs:
        params = size_of(job.spec.shape) / 1e5
        luck = np.exp(noise * generator.normal())

        def law(place: Any, params: float = params, luck: float = luck) -> Any:
            return (
                luck
                * (params / 1e5) ** -0.05
                * (1.2 * (params / 1e5) ** -grows + 2 * place**-alpha)
            )

        run = with_positions(finished(job.spec, 1.5), law, shared, 0.1 * text, seed)
        found.append(run)
    return found


def concluded(runs: list[Run]) -> Conclusion:
    return conclude(Evidence(runs))


@pytest.mark.parametrize("amount", [60.0, 240.0, 1500.0])
def test_a_plan_keeps_to_its_allowance_and_is_the_same_again(amount: float) -> None:
    one = bench(amount)
    jobs = plan(one).jobs
    assert len(jobs) == 4
    assert one.cost(jobs) <= amount
    assert jobs == plan(bench(amount)).jobs
    assert len({job.spec.run for job in jobs}) == len(jobs)


def test_what_cannot_be_paid_is_said() -> None:
    assert "larger budget" in plan(bench(1.0)).left_out[0]


def test_a_power_law_in_the_position_that_larger_models_follow_further_agrees() -> None:
    found = concluded(study())
    assert [finding.verdict for finding in found.findings] == ["agrees", "agrees"]
    alpha = found.findings[0].estimate
    assert alpha is not None
    assert alpha.low <= 0.55 <= alpha.high
    names = set(found.numbers)
    assert sum(name.startswith("alpha_T_n") for name in names) == 4
    early = found.numbers["alpha_N_early"].estimate.value
    late = found.numbers["alpha_N_positions_513_to_1024"].estimate.value
    assert late > early
    assert [picture.paper for picture in found.pictures] == ["figure 20, left", "figure 21"]
    assert "No run with a short context" in found.pictures[1].caption
    assert "rank correlation with it 0." in found.numbers[names_of_largest(names)].meaning


def names_of_largest(names: set[str]) -> str:
    return max(
        (name for name in names if name.startswith("alpha_T_n")), key=lambda name: int(name[9:])
    )


@pytest.mark.parametrize("planted", [{"alpha": 1.4}, {"grows": -0.03}])
def test_another_truth_differs(planted: dict[str, float]) -> None:
    assert concluded(study(**planted)).verdict == "differs"  # type: ignore[arg-type]


def test_the_interval_holds_the_exponents_of_laws_that_begin_elsewhere() -> None:
    """A law that bends at its first bytes is as uncertain as where it begins."""
    runs = study(text=0.0)
    bent = [
        replace(run, positions=run.positions - np.exp(-np.arange(1, 1025.0) / 3)) for run in runs
    ]
    straight, found = (concluded(one).findings[0].estimate for one in (runs, bent))
    assert straight is not None
    assert found is not None
    assert found.high - found.low > 3 * (straight.high - straight.low)


def ladder_with(context: int, tokens: float, better: float) -> list[Run]:
    """Runs of the ladder, which has a short context, lower by a share at every position."""
    found = []
    for run in study(text=0.0):
        steps = round(tokens * run.spec.steps)
        spec = replace(run.spec, shape=replace(run.spec.shape, context=context), steps=steps)
        short = finished(replace(spec, run=f"ladder-{run.params}"), 1.5)
        found.append(replace(short, positions=(1 - better) * run.positions[:context]))
    return found


def test_runs_with_a_short_context_are_dashed_where_sizes_and_tokens_agree() -> None:
    short = ladder_with(128, 1.2, 0.04)
    found = conclude(Evidence(study(text=0.0), ladder=short))
    dashed = [series for series in found.pictures[1].series if series.mark == "dashed"]
    assert len(dashed) == 3  # bytes 4 to 16, 17 to 32, 65 to 128
    assert all(len(series.x) == 4 for series in dashed)
    assert "context of 128 tokens, trained on 1.2 times" in found.pictures[1].caption
    early = found.numbers["short_context_early"].estimate
    assert early.value == pytest.approx(-0.04)
    other = conclude(Evidence(study(text=0.0), ladder=ladder_with(128, 4.0, 0.04)))
    assert "short_context_early" not in other.numbers


def test_losses_along_the_way_are_drawn_where_they_were_recorded() -> None:
    runs = study()
    rows = [(step, 2.0**k, 3 / step**0.1 - 0.1 * k) for step in (8, 16, 32) for k in range(4)]
    octaves = pl.DataFrame(rows, schema=OCTAVES_SCHEMA, orient="row")
    runs[-1] = replace(runs[-1], octaves=octaves)
    picture = concluded(runs).pictures[1]
    assert picture.paper == "figure 20, right"
    assert [series.level for series in picture.series] == [1, 2, 4, 8]
    assert list(picture.series[0].x) == [8, 16, 32]


def test_noise_cannot_tell() -> None:
    verdicts = [
        concluded(study(grows=0.0, noise=0.02, text=1.0, seed=seed)).verdict for seed in range(2)
    ]
    assert "agrees" not in verdicts
    assert "cannot tell" in verdicts


def test_runs_that_are_missing_leave_less_to_say_but_no_error() -> None:
    runs = study()
    unfinished = [Run(run.spec, None) for run in runs]
    for kept in (0, 1, 2, 3):
        found = concluded(runs[:kept] + unfinished[kept:])
        assert found.verdict == "cannot tell"
        assert found.findings[1].estimate is None
        assert found.statement
    assert concluded([]).verdict == "cannot tell"
    assert concluded([replace(run, positions=np.empty(0)) for run in runs]).verdict == "cannot tell"

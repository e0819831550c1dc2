"""L(N), L(D), L(C): planted exponents are found, and only those of the paper agree with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import chinchilla, kaplan, ladder
from planted_bench import planted_bench, replicates
from planted_subsets import turning

from scalelab.studies.conclusion import Conclusion, Finding
from scalelab.studies.designs.parameters_data_compute import DESIGN, LEVELS
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.sizes import size_of
from scalelab.training.spec import TrainSpec


def power(exponent: float, scale: float) -> Any:
    return lambda n, _d: float((scale / n) ** exponent)


CONSTANT = 1.04  # the loss at constant rate over the decayed one, as planted ladders have it


def of_data(exponent: float, alpha_n: float = 0.076, equal: float = 3e5) -> Any:
    """Data sets of `equal` tokens cost as much as the size does."""
    return lambda n, d: CONSTANT * power(alpha_n, 1e8)(n, d) * float((1 + equal / d) ** exponent)


def specs() -> list[TrainSpec]:
    return [job.spec for job in DESIGN.plan(planted_bench(900.0)).jobs]


def study(alpha_n: float, alpha_d: float, noise: float = 0.001) -> Conclusion:
    """A ladder without any effect of data, and data-limited runs without any of size."""
    evidence = Evidence(
        own=turning(specs(), of_data(alpha_d, alpha_n), noise=noise),
        ladder=ladder(power(alpha_n, 1e8), noise=noise, shared=noise),
    )
    return DESIGN.conclude(evidence)


def verdicts(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


# --- plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [5.0, 60.0, 300.0, 3000.0])
def test_a_plan_keeps_to_its_allowance_and_uses_a_larger_size_for_more(amount: float) -> None:
    bench = planted_bench(amount)
    plan = DESIGN.plan(bench)
    assert bench.cost(plan.jobs) <= amount
    assert bool(plan.jobs) or plan.left_out
    assert len({job.spec.run for job in plan.jobs}) == len(plan.jobs)
    assert DESIGN.plan(bench) == plan
    more = DESIGN.plan(planted_bench(4 * amount))
    sizes = [max((job.spec.shape.d_model for job in p.jobs), default=0) for p in (plan, more)]
    assert sizes[0] <= sizes[1]


def test_a_budget_in_flop_is_kept_too() -> None:
    bench = planted_bench(1e14, "flop")
    jobs = DESIGN.plan(bench).jobs
    assert jobs
    assert bench.cost(jobs) <= 1e14


def test_the_data_sets_span_a_decade_and_a_half_and_the_runs_stop_by_themselves() -> None:
    found = specs()
    sets = [spec.unique_tokens for spec in found]
    assert len(sets) >= LEVELS
    assert np.log10(sets[-1] / sets[0]) >= 1.5
    bench = planted_bench(900.0)
    assert bench.ladder is not None
    trunks = {job.spec.shape: job.spec for job in bench.ladder.jobs if job.spec.kind == "trunk"}
    for spec in found:
        trunk = trunks[spec.shape]
        assert spec.patience > 0
        assert spec.schedule == "constant"
        assert spec.tokens <= trunk.tokens
        assert (spec.lr, spec.seed, spec.curve_tokens, spec.batch_tokens) == (
            trunk.lr,
            trunk.seed,
            trunk.curve_tokens,
            trunk.batch_tokens,
        )


@pytest.mark.parametrize("amount", [120.0, 300.0, 600.0, 900.0, 3000.0])
def test_the_data_sets_are_so_small_that_data_and_not_size_is_short(amount: float) -> None:
    """Nine tenths of a token a parameter cost as much as the size; the median is below half."""
    plan = DESIGN.plan(planted_bench(amount))
    sets = [job.spec.unique_tokens for job in plan.jobs]
    (params,) = {size_of(job.spec.shape) for job in plan.jobs}  # type: ignore[arg-type]
    assert np.median(sets) < 0.9 * params / 2
    if len(sets) < LEVELS:
        assert f"{len(sets)} data sets; {LEVELS}, a decade and a half" in plan.left_out[0]


def test_too_small_a_budget_says_how_much_too_small() -> None:
    plan = DESIGN.plan(planted_bench(0.5))
    assert not plan.jobs
    assert "times this design's budget" in plan.left_out[0]


# --- conclusions ----------------------------------------------------------------------------------


def test_the_papers_exponents_agree_with_the_paper() -> None:
    found = study(0.076, 0.095)
    assert verdicts(found)["alpha_N"] == "agrees"
    assert verdicts(found)["alpha_D"] == "agrees"
    assert found.numbers["alpha_params"].estimate.value == pytest.approx(0.076, abs=0.002)
    assert found.numbers["alpha_N_converged"].estimate.value == pytest.approx(0.076, abs=0.004)
    at_one_size = found.numbers["alpha_D_at_one_size"].estimate
    assert at_one_size.value == pytest.approx(0.095, abs=0.004)
    bare = found.numbers["alpha_unique_tokens"].estimate
    assert 0.05 < bare.value < 0.085, "a power law where the size costs something finds less"
    both = of(found, "alpha_D").estimate
    assert both is not None
    assert (both.low, both.high) == (bare.low, at_one_size.high)
    assert "8.19k to" in found.statement
    assert "no dropout" in found.statement


def test_other_exponents_differ() -> None:
    found = study(0.15, 0.2)
    assert verdicts(found)["alpha_N"] == "differs"
    assert verdicts(found)["alpha_D"] == "differs"
    assert found.verdict == "differs"
    assert found.statement.startswith("Differs from the paper")
    assert "What may be behind it: alpha_N: models far smaller" in found.statement


def test_noise_makes_it_undecided() -> None:
    assert verdicts(study(0.076, 0.095, noise=0.15))["alpha_N"] == "cannot tell"


def of(conclusion: Conclusion, name: str) -> Finding:
    return next(f for f in conclusion.findings if f.check.name == name)


def test_the_exponent_of_size_is_that_of_the_slice_and_that_at_convergence() -> None:
    # With little data to the largest sizes the slice is flatter than what they converge to.
    found = DESIGN.conclude(Evidence((), ladder(kaplan(), noise=0.001, shared=0.001)))
    sliced, end = (found.numbers[n].estimate for n in ("alpha_params", "alpha_N_converged"))
    assert end.value == pytest.approx(0.076, abs=0.01)
    assert sliced.value < end.value
    both = of(found, "alpha_N").estimate
    assert both is not None
    assert (both.low, both.high) == (min(sliced.low, end.low), max(sliced.high, end.high))


def test_the_frontier_gives_the_exponent_of_compute() -> None:
    # On the frontier of E = 0 and equal exponents both terms fall as C^-(alpha/2).
    runs = ladder(chinchilla(0.0, 3.0, 6.0, 0.12, 0.12), noise=0.0005, shared=0.0005)
    found = DESIGN.conclude(Evidence((), runs))
    assert verdicts(found)["alpha_C"] == "agrees"
    assert found.numbers["alpha_C"].estimate.value == pytest.approx(0.06, abs=0.003)
    # Small models spend more than 6 N a token, so that C spans less in them.
    assert found.numbers["alpha_C_exact"].estimate.value > 0.06
    steep = ladder(chinchilla(0.0, 30.0, 60.0, 0.3, 0.3), noise=0.0005, shared=0.0005)
    assert verdicts(DESIGN.conclude(Evidence((), steep)))["alpha_C"] == "differs"


def test_least_compute_is_a_second_test_only_where_the_batch_is_not_far_below_the_critical() -> (
    None
):
    runs = ladder(chinchilla(0.0, 3.0, 6.0, 0.12, 0.12), noise=0.0005, shared=0.0005)
    far = {"B_star": 1e9, "alpha_B": 0.2}
    same = DESIGN.conclude(Evidence((), runs, critical_batch=far))
    assert of(same, "alpha_C_min").estimate is None
    assert "not a second test" in of(same, "alpha_C_min").why
    assert same.numbers["alpha_C_min"].estimate.value == pytest.approx(
        same.numbers["alpha_C"].estimate.value, abs=2e-3
    )
    near = {"B_star": 3e4, "alpha_B": 0.2}
    second = DESIGN.conclude(Evidence((), runs, critical_batch=near))
    assert of(second, "alpha_C_min").estimate is not None
    # B_crit grows as the loss falls, so that C_min grows faster than C and the exponent is smaller.
    assert second.numbers["alpha_C_min"].estimate.value < same.numbers["alpha_C"].estimate.value


def test_where_no_size_of_the_ladder_is_the_best_nothing_is_said_of_compute() -> None:
    # Data costs next to nothing: the largest size is too small at all compute.
    runs = ladder(chinchilla(0.0, 3.0, 6e-4, 0.12, 0.12), noise=0.0005, shared=0.0005)
    found = DESIGN.conclude(Evidence((), runs))
    assert verdicts(found)["alpha_C"] == "cannot tell"
    assert "decades of compute" in of(found, "alpha_C").why


def test_data_sets_that_hardly_limit_the_loss_say_nothing_of_the_exponent_of_data() -> None:
    law = of_data(0.095, equal=2e4)
    found = DESIGN.conclude(
        Evidence(turning(specs(), law, noise=0.001), ladder(power(0.076, 1e8), shared=0.0))
    )
    assert of(found, "alpha_D").estimate is None
    assert "not so small that data alone is" in of(found, "alpha_D").why


def test_the_luck_of_the_reference_is_in_the_interval_of_the_exponent_of_data() -> None:
    own = turning(specs(), of_data(0.095), noise=0.001)
    runs = ladder(power(0.076, 1e8), noise=0.001, shared=0.001)
    widths = []
    for noise in (0.001, 0.01):
        seeds = replicates(noise)
        estimate = (
            DESIGN.conclude(Evidence(own, runs, seeds)).numbers["alpha_D_at_one_size"].estimate
        )
        widths.append(estimate.high - estimate.low)
    assert widths[1] > 3 * widths[0]


def test_one_factor_alone_is_a_bottleneck_where_the_law_couples_them() -> None:
    coupled = verdicts(DESIGN.conclude(Evidence((), ladder(kaplan(), noise=0.001, shared=0.001))))
    assert coupled["size_where_data_is_short"] == "agrees"
    assert coupled["data_where_size_is_short"] == "agrees"
    apart = ladder(lambda n, d: 20 * n**-0.07 * d**-0.07, noise=0.001, shared=0.001)
    free = DESIGN.conclude(Evidence((), apart))
    ratio = free.numbers["size_where_data_is_short"].estimate
    assert ratio.low < 1 < ratio.high
    assert ratio.value == pytest.approx(1.0, abs=0.1)


def test_a_run_that_has_not_turned_is_shown_and_not_fitted() -> None:
    law = of_data(0.095)
    early = turning(specs()[:1], lambda n, d: 3 * law(n, d), stop=False)
    runs = [*early, *turning(specs()[1:], law)]
    found = DESIGN.conclude(Evidence(runs, ladder(power(0.076, 1e8), shared=0.0)))
    assert found.numbers["alpha_D_at_one_size"].estimate.value == pytest.approx(0.095, abs=0.01)
    picture = next(p for p in found.pictures if p.paper == "figure 1, middle")
    assert [series.mark for series in picture.series[:2]] == ["point", "hollow"]


def failed(run: Run) -> Run:
    return replace(run, result={**(run.result or {}), "status": "diverged", "loss": None})


def test_missing_runs_say_why_and_raise_nothing() -> None:
    runs = ladder(kaplan())
    own = turning(specs(), of_data(0.095))
    unended = [replace(run, result=None) for run in own]
    for evidence in (
        Evidence(()),
        Evidence([failed(run) for run in own], [failed(run) for run in runs]),
        Evidence(unended, runs),
        Evidence(own[:2], [run for run in runs if run.params == runs[0].params]),
    ):
        found = DESIGN.conclude(evidence)
        assert found.verdict in ("cannot tell", "differs")
        assert all(f.estimate is not None or f.why for f in found.findings)
        assert found.statement


def test_pictures_are_those_of_the_paper() -> None:
    found = study(0.076, 0.095)
    assert [picture.paper for picture in found.pictures] == [
        "figure 1, right",
        "figure 1, middle",
        "figure 1, left",
        "",  # one pass over the data is no figure of the paper
    ]
    for picture in found.pictures:
        for series in picture.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()

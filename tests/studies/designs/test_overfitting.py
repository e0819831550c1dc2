"""Over-fitting: planted exponents, collapse and bound are found; others differ from the paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted import BATCH, Law, kaplan, ladder
from planted_bench import planted_bench
from planted_subsets import turning

from scalelab.counting import count_parameters
from scalelab.studies.analysis.extent import fit_extent
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.overfitting import DESIGN
from scalelab.studies.evidence import TRAINING_SCHEMA, Evidence, Run
from scalelab.studies.subsets import Limited
from scalelab.training.spec import TrainSpec

N_C, S_C, ALPHA_S = 2e6, 3.0, 0.76
SPECS = [job.spec for job in DESIGN.plan(planted_bench(900.0)).jobs]
NO_RUN = Run(SPECS[0], None)


def along(alpha_n: float) -> Law:
    """A trunk at constant rate: equation 1.6, so that its end is nearly (N_c / N)^alpha_N."""
    return lambda n, d: float((N_C / n) ** alpha_n + (S_C / (d / BATCH)) ** ALPHA_S)


def study(
    alpha_n: float = 0.076,
    alpha_d: float = 0.103,
    noise: float = 0.001,
    later: float = 1.3,
    law: Law | None = None,
) -> Conclusion:
    """later: steps of the lowest loss over those that equation 5.7 allows."""
    truth = law or kaplan(alpha_n, alpha_d, N_C)

    def turn(spec: TrainSpec) -> float:
        n = count_parameters(spec.shape).non_embedding
        excess = max(1e-3, truth(n, spec.unique_tokens) - (N_C / n) ** alpha_n)
        return float(min(later * S_C / excess ** (1 / ALPHA_S), spec.last_step / 2))

    runs = ladder(along(alpha_n), constant=1.0, noise=noise, shared=noise)
    return DESIGN.conclude(Evidence(turning(SPECS, truth, noise=noise, turn=turn), runs))


def verdicts(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


# --- plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "unit"), [(5, "seconds"), (120, "seconds"), (1e14, "flop")])
def test_a_plan_is_of_several_sizes_and_data_sets_within_its_allowance(
    amount: float, unit: str
) -> None:
    bench = planted_bench(amount, unit)
    plan = DESIGN.plan(bench)
    assert bench.cost(plan.jobs) <= amount
    assert DESIGN.plan(bench) == plan
    assert len({job.spec.run for job in plan.jobs}) == len(plan.jobs)
    if plan.jobs:
        sizes = {job.spec.shape for job in plan.jobs}
        sets = {job.spec.unique_tokens for job in plan.jobs}
        assert len(plan.jobs) >= 10
        assert len(sizes) >= 3
        assert len(sets) >= 4
    else:
        assert plan.left_out


def test_a_few_minutes_buy_a_grid_that_over_fits() -> None:
    jobs = DESIGN.plan(planted_bench(300.0)).jobs
    ratios = [j.spec.unique_tokens / count_parameters(j.spec.shape).non_embedding for j in jobs]
    assert min(ratios) < 1
    assert max(ratios) <= 8
    assert len(jobs) >= 10


def test_no_run_is_longer_than_the_trunk_and_each_is_its_recipe() -> None:
    bench = planted_bench(900.0)
    assert bench.ladder is not None
    trunks = {job.spec.shape: job.spec for job in bench.ladder.jobs if job.spec.kind == "trunk"}
    for spec in SPECS:
        trunk = trunks[spec.shape]
        assert spec.tokens <= trunk.tokens
        assert (spec.lr, spec.seed, spec.curve_tokens) == (trunk.lr, trunk.seed, trunk.curve_tokens)
        assert spec.warmup_steps <= trunk.warmup_steps


def test_a_text_too_short_for_a_grid_says_so() -> None:
    plan = DESIGN.plan(replace(planted_bench(900.0, corpus_tokens=60_000), ladder=None))
    assert not plan.jobs
    assert "4 and 3 that over-fit are needed" in plan.left_out[0]


# --- conclusions ----------------------------------------------------------------------------------


def test_the_papers_law_agrees_with_the_paper() -> None:
    found = study()
    assert verdicts(found) == {
        "data_for_8_times_the_model": "agrees",
        "exponent_of_size_in_overfitting": "agrees",
        "runs_within_the_bound": "agrees",
    }
    assert found.verdict == "agrees"
    assert found.numbers["data_exponent"].estimate.value == pytest.approx(0.738, abs=0.05)
    by_extent = found.numbers["exponent_of_size_in_overfitting"].estimate
    assert by_extent.value == pytest.approx(0.738, abs=0.1)
    assert found.numbers["alpha_N"].estimate.value == pytest.approx(0.076, abs=0.004)
    assert "What may be behind it" not in found.statement


def test_the_coefficient_of_the_data_needed_is_that_of_the_law() -> None:
    found = study(noise=0.0)
    n_c, d_c, ratio = N_C, 3e6, 0.076 / 0.103
    noise = Evidence(()).noise_level
    expected = d_c * n_c**-ratio / ((1 + noise) ** (1 / 0.103) - 1)
    assert found.numbers["data_without_overfitting"].estimate.value == pytest.approx(
        expected, rel=0.25
    )


def test_another_ratio_of_exponents_differs() -> None:
    found = study(alpha_n=0.15, alpha_d=0.103)
    assert verdicts(found)["data_for_8_times_the_model"] == "differs"
    assert verdicts(found)["exponent_of_size_in_overfitting"] == "differs"
    assert found.numbers["data_exponent"].estimate.value == pytest.approx(1.456, abs=0.15)
    assert found.statement.startswith("Differs from the paper")
    assert "no dropout (the paper 10%)" in found.statement


def test_extents_that_do_not_depend_on_size_differ_however_the_loss_falls_with_it() -> None:
    found = study(law=lambda n, d: float((N_C / n) ** 0.076 * (1 + 4e4 / d) ** 0.103))
    assert verdicts(found)["exponent_of_size_in_overfitting"] == "differs"
    estimate = found.numbers["exponent_of_size_in_overfitting"].estimate
    assert estimate.value == pytest.approx(0.0, abs=0.1)


def test_what_no_combination_of_size_and_data_orders_scatters_about_the_curve() -> None:
    base = kaplan(0.076, 0.103, N_C)
    generator = np.random.default_rng(1)
    luck = {spec.run: 0.12 * generator.random() for spec in SPECS}
    at = {(count_parameters(s.shape).non_embedding, s.unique_tokens): luck[s.run] for s in SPECS}

    def law(n: float, d: float) -> float:
        return base(n, 1e15) * (1.06 + at[int(n), int(d)])

    found = study(law=law)
    assert verdicts(found)["exponent_of_size_in_overfitting"] != "agrees"
    assert found.numbers["scatter_about_one_curve"].estimate.low > 0.02


def test_stopping_before_the_bound_differs() -> None:
    found = study(later=0.4)
    assert verdicts(found)["runs_within_the_bound"] == "differs"


def test_a_bound_far_below_all_runs_tells_nothing() -> None:
    found = study(later=40.0)
    finding = next(f for f in found.findings if f.check.name == "runs_within_the_bound")
    assert finding.estimate is None
    assert "says nothing" in finding.why
    assert found.numbers["step_over_bound"].estimate.value > 10
    assert "too far from it to test it" in found.statement


def test_cells_that_do_not_over_fit_are_fitted_too() -> None:
    """Noise that hides small extents moves r no way: nothing is left out for what it answers."""
    truth = kaplan(0.076, 0.103, N_C)
    references = {n: truth(n, 1e15) for n in (4_000, 20_000, 100_000)}
    generator = np.random.default_rng(2)
    drawn = []
    for seed in range(8):
        cells = []
        for n in references:
            for d in (16_384, 65_536, 262_144, 1_048_576):
                loss = truth(n, d) * float(np.exp(0.01 * generator.standard_normal()))
                cells.append(Limited(NO_RUN, n, d, loss, 1, turned=True))
        found = fit_extent(cells, references, 0.01, 0.9, seed)
        assert found is not None
        drawn.append(found.exponent_of_size)
    assert np.median([one.value for one in drawn]) == pytest.approx(0.738, abs=0.08)
    assert np.mean([one.low <= 0.738 <= one.high for one in drawn]) >= 0.8


def test_noise_makes_it_undecided() -> None:
    found = verdicts(study(noise=0.15))
    assert found["data_for_8_times_the_model"] == "cannot tell"
    assert found["exponent_of_size_in_overfitting"] == "cannot tell"
    assert verdicts(study(noise=0.15))["data_for_8_times_the_model"] == "cannot tell"


def failed(run: Run) -> Run:
    return replace(run, result={**(run.result or {}), "status": "diverged", "loss": None})


def test_missing_runs_say_why_and_raise_nothing() -> None:
    runs = ladder(along(0.076), constant=1.0)
    own = turning(SPECS, kaplan(0.076, 0.103, N_C))
    one_size = [run for run in own if run.spec.shape == own[0].spec.shape]
    shorter = [replace(spec, steps=spec.steps // 2) for spec in SPECS]  # than the trunks
    early = turning(shorter, kaplan(0.076, 0.103, N_C), stop=False)
    for evidence in (
        Evidence(()),
        Evidence(own),
        Evidence([failed(run) for run in own], runs),
        Evidence([replace(run, result=None) for run in own], runs),
        Evidence(one_size, runs),
        Evidence(early, runs),
        Evidence(own[:3], [failed(run) for run in runs]),
    ):
        found = DESIGN.conclude(evidence)
        assert verdicts(found)["data_for_8_times_the_model"] == "cannot tell"
        assert all(f.estimate is not None or f.why for f in found.findings)
        assert found.statement


def test_pictures_are_those_of_the_paper() -> None:
    found = study()
    assert [picture.paper for picture in found.pictures] == [
        "figure 4, left",
        "figure 9, left",
        "figure 9, right",
        "figure 16, left",
        "figure 16, right",
    ]
    for picture in found.pictures:
        for series in picture.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()


def test_the_training_loss_is_drawn_beside_the_held_out_loss() -> None:
    runs = ladder(along(0.076), constant=1.0)
    rows = {"step": [1, 400, 800], "loss": [5.0, 2.0, 1.0]}
    training = pl.DataFrame(rows, schema=TRAINING_SCHEMA)
    own = [replace(run, training=training) for run in turning(SPECS, kaplan(0.076, 0.103, N_C))]
    curves = DESIGN.conclude(Evidence(own, runs)).pictures[-1]
    assert curves.paper == "figure 16, right"
    dashed = [series for series in curves.series if series.mark == "dashed"]
    assert dashed
    assert {tuple(series.y) for series in dashed} <= {(2.0, 1.0), (5.0, 2.0, 1.0)}

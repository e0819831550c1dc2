"""Counting: planted exponents under each convention, figure 6 and Porian's walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from planted import chinchilla, curve_of, finished, kaplan, ladder
from planted_bench import planted_bench, replicates
from scipy.optimize import minimize_scalar

from scalelab.counting import count_parameters
from scalelab.studies.analysis.conventions import fit_counted, growth
from scalelab.studies.analysis.depths import LEAST_ASPECT, figure_six
from scalelab.studies.analysis.porian import SHORT_WARMUP, is_walk, walk
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.embedding import DESIGN
from scalelab.studies.evidence import Evidence, Run, table
from scalelab.training.spec import TrainSpec

Truth = Callable[[TrainSpec, float], float]
"""(run, tokens) -> loss."""

SPECS = [job.spec for job in DESIGN.plan(planted_bench(400.0)).jobs]
RICH = [job.spec for job in DESIGN.plan(planted_bench(8000.0)).jobs]


def trained(
    specs: Sequence[TrainSpec], truth: Truth, noise: float = 0.001, seed: int = 5
) -> list[Run]:
    generator = np.random.default_rng(seed)
    runs = []
    for spec in specs:
        luck = float(np.exp(noise * generator.standard_normal()))
        curve = curve_of(spec, lambda t, s=spec, k=luck: truth(s, t) * k)  # type: ignore[misc]
        runs.append(finished(spec, truth(spec, spec.tokens) * luck, curve))
    return runs


def bare(spec: TrainSpec) -> int:
    return count_parameters(spec.shape).non_embedding


def whole(spec: TrainSpec) -> int:
    return count_parameters(spec.shape).total


def by(size: Callable[[TrainSpec], int], law: Any = None) -> Truth:
    law = law or kaplan()
    return lambda spec, tokens: law(size(spec), tokens)


def verdicts(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


def study(truth: Truth, noise: float = 0.001) -> Conclusion:
    runs = ladder(kaplan(), noise=noise, shared=noise)
    # The ladder's own runs under the same truth, so that they are one of the depths.
    runs = [
        run if run.spec.kind == "trunk" else trained([run.spec], truth, noise)[0] for run in runs
    ]
    return DESIGN.conclude(Evidence(trained(SPECS, truth, noise), runs, replicates(noise)))


@cache
def plain() -> Conclusion:
    """The paper's claim: losses follow N without embeddings."""
    return study(by(bare))


# --- plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "unit"), [(10, "seconds"), (200, "seconds"), (8000, "seconds"), (3e14, "flop")]
)
def test_a_plan_keeps_to_its_allowance(amount: float, unit: str) -> None:
    bench = planted_bench(amount, unit)
    plan = DESIGN.plan(bench)
    assert bench.cost(plan.jobs) <= amount
    assert DESIGN.plan(bench) == plan
    assert len({job.spec.run for job in plan.jobs}) == len(plan.jobs)
    assert bool(plan.jobs) or plan.left_out


def test_depths_share_sizes_and_a_data_size_of_the_ladder_whose_runs_are_one_depth() -> None:
    bench = planted_bench(400.0)
    assert bench.ladder is not None
    depths = {spec.shape.n_layer for spec in SPECS}
    assert {spec.tokens for spec in SPECS} <= {min(bench.ladder.tokens)}
    assert depths == {1, 3, 6}  # the ladder's has two
    assert bench.family.n_layer == 2
    ends = {
        depth: (min(sizes), max(sizes))
        for depth in depths
        for sizes in [[bare(spec) for spec in SPECS if spec.shape.n_layer == depth]]
    }
    lows, highs = zip(*ends.values(), strict=True)
    assert max(highs) < 1.6 * min(highs)
    assert max(lows) < 4 * min(lows)  # six layers of width 12 are larger than one
    together = figure_six(Evidence(trained(SPECS, by(bare)), ladder(kaplan())))
    assert {run.spec.shape.n_layer for run in together} == {1, 2, 3, 6}


def test_what_the_walk_costs_is_said_where_it_is_left_out_and_it_runs_where_it_is_paid() -> None:
    poor, rich = DESIGN.plan(planted_bench(400.0)), DESIGN.plan(planted_bench(8000.0))
    assert "Porian's walk" in poor.left_out[0]
    assert not any(is_walk(job.spec) for job in poor.jobs)
    assert not rich.left_out
    assert {1, 3, 6} <= {job.spec.shape.n_layer for job in rich.jobs if not is_walk(job.spec)}
    steps = [spec for spec in RICH if is_walk(spec)]
    shapes = {spec.shape for spec in steps}
    assert len(shapes) == 7
    largest = max(shapes, key=lambda shape: shape.d_model)
    # One long warm-up and four lengths each; the last step tunes the rate of all but the largest.
    assert len(steps) == 7 + 7 * 4 + 6 * 4
    common = {spec.lr for spec in steps if spec.shape == largest}
    assert len(common) == 1
    short = [spec for spec in steps if spec.warmup_steps < 0.1 * spec.steps]
    assert all(
        spec.warmup_steps == pytest.approx(SHORT_WARMUP * spec.steps, abs=4) for spec in short
    )


# --- figure 6 -------------------------------------------------------------------------------------


def test_losses_that_follow_n_without_embeddings_agree() -> None:
    found = plain()
    assert verdicts(found)["scatter_by_total_over_without"] == "agrees"
    assert abs(found.numbers["one_layer_excess"].estimate.value) < 0.01
    assert [p.paper for p in found.pictures[:2]] == ["figure 6, left", "figure 6, right"]
    for picture in found.pictures:
        for series in picture.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()


def test_losses_that_follow_all_parameters_differ() -> None:
    assert verdicts(study(by(whole)))["scatter_by_total_over_without"] == "differs"


def test_what_slender_models_lose_by_their_shape_is_not_put_down_to_embeddings() -> None:
    """Deep and narrow ones have fewest embeddings: to count these would seem to explain it."""
    law = kaplan()

    def truth(spec: TrainSpec, tokens: float) -> float:
        narrow = spec.shape.d_model < LEAST_ASPECT * spec.shape.n_layer
        return law(bare(spec), tokens) * (1.1 if narrow else 1.0)

    found = study(truth)
    name = "scatter_by_total_over_without"
    ratios = [one.numbers[name].estimate.value for one in (found, plain())]
    assert ratios[0] == ratios[1]
    for picture in found.pictures[:2]:
        hollow = [x for series in picture.series if series.mark == "hollow" for x in series.x]
        assert len(hollow) == sum(s.shape.d_model < LEAST_ASPECT * s.shape.n_layer for s in SPECS)
        assert hollow


def test_where_depth_moves_the_loss_more_than_counting_does_nothing_is_decided() -> None:
    law = kaplan()

    def truth(spec: TrainSpec, tokens: float) -> float:
        return law(bare(spec), tokens) * (1.04 if spec.shape.n_layer == 6 else 1.0)

    found = study(truth)
    finding = found.findings[0]
    assert finding.estimate is None
    assert "depth and luck would decide" in finding.why
    assert "scatter_by_total_over_without" in found.numbers


def test_the_statement_says_how_small_the_embedding_is() -> None:
    for found in (plain(), study(by(bare), noise=0.3)):
        assert "256 rows, the paper's 50,257" in found.statement


def test_noise_makes_it_undecided() -> None:
    found = verdicts(study(by(bare), noise=0.3))
    assert found["scatter_by_total_over_without"] == "cannot tell"


def test_one_layer_models_that_fall_off_are_seen() -> None:
    law = kaplan()

    def truth(spec: TrainSpec, tokens: float) -> float:
        return law(bare(spec), tokens) * (1.05 if spec.shape.n_layer == 1 else 1.0)

    estimate = study(truth).numbers["one_layer_excess"].estimate
    assert estimate.value == pytest.approx(np.log(1.05), abs=0.01)
    assert estimate.low <= np.log(1.05) + 0.002


# --- exponents by convention ----------------------------------------------------------------------


def test_exponents_by_convention_are_those_of_the_planted_law() -> None:
    law = chinchilla(0.8, 6.0, 60.0, 0.3, 0.35)
    runs = [run for run in ladder(law, noise=0.0, shared=0.0) if run.spec.kind == "run"]
    frame, shapes = table(runs), [run.spec.shape for run in runs]
    plain = growth(fit_counted(frame, "matrices", 0.9, 0), frame, shapes, "matrices", "6N")
    assert plain is not None
    assert plain.exponent.value == pytest.approx(0.35 / 0.65, abs=0.01)
    exact = growth(fit_counted(frame, "matrices", 0.9, 0), frame, shapes, "matrices", "exact")
    assert exact is not None

    def optimum(flops: float) -> float:
        # N = 24 d^2; every product: 6 (N + 256 d) + 12 * 2 * 128 d a token.
        def loss(log_d: float) -> float:
            d = np.exp(log_d)
            return law(24 * d**2, flops / (6 * (24 * d**2 + 256 * d) + 12 * 2 * 128 * d))

        return 2 * float(minimize_scalar(loss, bounds=(1, 8), method="bounded").x)

    spent = np.array([run.flops for run in runs])
    low, high = np.quantile(spent, [0.2, 0.9])
    budgets = np.geomspace(low, high, 7)
    slope = np.polyfit(np.log(budgets), [optimum(c) for c in budgets], 1)[0]
    assert exact.exponent.value == pytest.approx(slope, abs=0.01)
    assert exact.exponent.value != pytest.approx(plain.exponent.value, abs=0.002)


def test_the_step_of_counting_the_output_layer_is_a_number_beside_what_counting_makes_it() -> None:
    found = study(by(bare, chinchilla()))
    assert "output_layer_step" not in verdicts(found), "the exponent has to fall: it is no test"
    estimate = found.numbers["output_layer_step"].estimate
    assert estimate.low < estimate.value < estimate.high
    told = [found.numbers[f"N_opt {how} 6N"].estimate.value for how in ("matrices", "with-output")]
    assert estimate.value == pytest.approx(told[0] - told[1])
    # Losses that follow N without embeddings: all of the step is counting.
    alone = found.numbers["output_layer_step_by_counting_alone"].estimate
    assert alone.value == pytest.approx(estimate.value, abs=0.02)
    assert alone.value > 0.03


def test_counting_alone_takes_the_optima_of_the_law_as_they_are() -> None:
    law = chinchilla(0.8, 6.0, 60.0, 0.3, 0.35)
    runs = [run for run in ladder(law, noise=0.0, shared=0.0) if run.spec.kind == "run"]
    frame, shapes = table(runs), [run.spec.shape for run in runs]
    fitted = fit_counted(frame, "matrices", 0.9, 0)
    alone = growth(fitted, frame, shapes, "matrices", "6N", told="with-output")
    assert alone is not None

    def counted(log_d: float) -> float:
        d = float(np.exp(log_d))
        return 24 * d**2 + 256 * d  # and norms, of 10 d or so

    def optimum(flops: float) -> float:
        def loss(log_d: float) -> float:
            return law(24 * np.exp(2 * log_d), flops / (6 * counted(log_d)))

        return float(np.log(counted(minimize_scalar(loss, bounds=(1, 8), method="bounded").x)))

    spent = np.array([6 * counted(np.log(run.spec.shape.d_model)) * run.tokens for run in runs])
    budgets = np.geomspace(*np.quantile(spent, [0.2, 0.9]), 7)
    slope = np.polyfit(np.log(budgets), [optimum(c) for c in budgets], 1)[0]
    assert alone.exponent.value == pytest.approx(slope, abs=0.01)


# --- Porian's walk --------------------------------------------------------------------------------


def test_the_walk_finds_what_each_switch_does() -> None:
    law = chinchilla(0.8, 6.0, 60.0, 0.3, 0.3)
    steps = [spec for spec in RICH if is_walk(spec)]

    def with_output(spec: TrainSpec) -> float:
        count = count_parameters(spec.shape)
        return count.non_embedding + count.norm + spec.shape.vocabulary * spec.shape.d_model

    largest = max(with_output(spec) for spec in steps)
    common = next(spec.lr for spec in steps if with_output(spec) == largest)

    def truth(spec: TrainSpec, tokens: float) -> float:
        # A warm-up wastes its tokens; a rate too low for a small model wastes tokens too.
        used = max(1e4, tokens - 0.8 * spec.warmup_steps * spec.batch_tokens)
        if spec.lr == common:
            used *= (with_output(spec) / largest) ** 0.15
        return law(with_output(spec), used)

    found = DESIGN.conclude(Evidence(trained(steps, truth)))
    ends = walk(trained(steps, truth), 0.9, 0)
    assert set(ends) == {"kaplan", "output-layer", "warm-up", "cosine", "tuned"}
    assert ends["tuned"].exponent.value == pytest.approx(0.5, abs=0.04)
    assert ends["tuned"].exponent.value < ends["cosine"].exponent.value
    assert ends["warm-up"].exponent.value < ends["output-layer"].exponent.value
    assert verdicts(found)["walk_end"] == "agrees"
    assert found.numbers["walk kaplan"].estimate == ends["kaplan"].exponent
    assert any(picture.steps for picture in found.pictures)


def test_a_walk_that_ends_elsewhere_differs() -> None:
    law = chinchilla(0.8, 6.0, 60.0, 0.2, 0.5)
    steps = [spec for spec in RICH if is_walk(spec)]
    found = DESIGN.conclude(Evidence(trained(steps, by(whole, law))))
    assert verdicts(found)["walk_end"] == "differs"


def test_missing_runs_say_why_and_raise_nothing() -> None:
    runs = ladder(kaplan())
    own = trained(RICH, by(bare))
    gone = [replace(run, result=None) for run in own]
    diverged = [
        replace(run, result={**(run.result or {}), "status": "diverged", "loss": None})
        for run in own
    ]
    one_size = [run for run in runs if run.params == runs[0].params]
    for evidence in (
        Evidence(()),
        Evidence(gone, runs),
        Evidence(diverged, one_size),
        Evidence(own[:3], runs),
        Evidence([run for run in own if is_walk(run.spec)][:4]),
    ):
        found = DESIGN.conclude(evidence)
        assert found.findings
        assert found.verdict in ("cannot tell", "differs")
        assert all(f.estimate is not None or f.why for f in found.findings)
        assert found.statement

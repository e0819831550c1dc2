"""Shape at one N: what is planned, and what planted runs conclude."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from planted import finished
from planted_bench import FAMILY, bench, replicates

from scalelab.counting import TransformerShape
from scalelab.studies.analysis.shapes import aspect, counts, place, variants
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.shape import CHOICES, DESIGN, conclude, plan
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.sizes import shape_of_width, size_of

Law = Callable[[TransformerShape], float]
"""Log loss of a shape at its best rate."""


def flat(shape: TransformerShape) -> float:
    """Few percent over all shapes; one layer and one head fall off."""
    rise = 0.002 * np.log(aspect(shape) / 10) ** 2
    return float(0.5 + rise + 0.06 * (shape.n_layer == 1) + 0.05 * (shape.n_head == 1))


def steep(shape: TransformerShape) -> float:
    """A tenth worse for every factor of e in the aspect ratio."""
    return float(0.5 + 0.1 * abs(np.log(aspect(shape) / 20)))


def study(law: Law, noise: float = 0.003, amount: float = 600.0, seed: int = 0) -> list[Run]:
    generator = np.random.default_rng(seed)
    found = []
    for job in plan(bench(amount)).jobs:
        shape = job.spec.shape
        assert isinstance(shape, TransformerShape)
        best = 4.0 / size_of(shape) ** 0.5
        log_loss = law(shape) + 0.01 * np.log2(job.spec.lr / best) ** 2
        found.append(finished(job.spec, float(np.exp(log_loss + noise * generator.normal()))))
    return found


def concluded(runs: list[Run], noise: float = 0.004) -> Conclusion:
    return conclude(Evidence(runs, replicates=replicates(noise)))


@pytest.mark.parametrize("width", sorted({width for width, _ in CHOICES}))
def test_variants_have_one_size_and_span_the_axes(width: int) -> None:
    base = shape_of_width(width, FAMILY)
    found = variants(base)
    for shapes in found.values():
        assert shapes[0] == base
        assert len(set(shapes)) == len(shapes) >= 3
        for shape in shapes:
            assert size_of(shape) == pytest.approx(size_of(base), rel=0.01)
    assert {shape.n_layer for shape in found["aspect"]} >= {1, 2, 3, 4}
    ratios = [shape.d_ff / shape.d_model for shape in found["ratio"]]
    assert min(ratios) < 0.75
    assert max(ratios) > 7


@pytest.mark.parametrize("amount", [20.0, 60.0, 240.0, 3000.0])
def test_a_plan_keeps_to_its_allowance_and_is_the_same_again(amount: float) -> None:
    one = bench(amount)
    jobs = plan(one).jobs
    assert one.cost(jobs) <= amount
    assert jobs == plan(bench(amount)).jobs
    assert len({job.spec.run for job in jobs}) == len(jobs)
    assert all(job.why for job in jobs)
    assert not jobs or one.cost(jobs) > 0.3 * amount


def test_more_money_buys_larger_models_and_less_buys_depth_alone() -> None:
    sizes = []
    for amount in (60.0, 300.0, 3000.0):
        jobs = plan(bench(amount)).jobs
        sizes.append(size_of(jobs[0].spec.shape))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2 * sizes[0]
    small = plan(bench(20.0))
    assert any("heads" in line for line in small.left_out)
    nothing = plan(bench(1.0))
    assert not nothing.jobs
    assert "larger budget" in nothing.left_out[0]
    assert not plan(bench(3000.0, tokens=50_000)).jobs


def test_every_shape_is_tried_at_three_rates_with_other_seeds() -> None:
    tried: dict[TransformerShape, list[tuple[float, int]]] = {}
    for job in plan(bench()).jobs:
        assert isinstance(job.spec.shape, TransformerShape)
        tried.setdefault(job.spec.shape, []).append((job.spec.lr, job.spec.seed))
    for pairs in tried.values():
        rates, seeds = zip(*sorted(pairs), strict=True)
        assert [rate / rates[0] for rate in rates] == pytest.approx([1, 2, 4])
        assert len(set(seeds)) == 3


@pytest.mark.parametrize(("amount", "factor"), [(80.0, 1.4), (600.0, 1.0)])
def test_short_runs_are_tried_at_higher_rates_and_thin_layers_at_lower_ones(
    amount: float, factor: float
) -> None:
    one = bench(amount)
    middle = [job.spec for job in plan(one).jobs if job.spec.run.endswith("r1")]
    assert {spec.steps < 1000 for spec in middle} == {factor > 1}
    thin = 0
    for spec in middle:
        assert isinstance(spec.shape, TransformerShape)
        own = 0.5 if place("ratio", spec.shape) < 1.2 else factor
        thin += own == 0.5
        assert spec.lr == pytest.approx(own * one.rate(spec.shape))
    assert thin == 2


def test_a_flat_truth_agrees_and_says_what_falls_off() -> None:
    found = concluded(study(flat))
    assert found.verdict == "agrees"
    assert found.statement.startswith("Agrees with the paper")
    assert found.numbers["1_layer"].estimate.low > 0.02
    assert found.numbers["1_head"].estimate.low > 0.02
    rise = found.numbers["loss_increase_aspect"].estimate
    shapes = [s for s in variants(_base(study(flat)))["aspect"] if counts("aspect", s)]
    true = np.expm1(np.ptp([flat(shape) for shape in shapes]))
    assert rise.low <= true <= rise.high
    compute = found.numbers["compute_aspect"].estimate
    assert compute.value == pytest.approx((1 + rise.value) ** 20)
    assert [(picture.name, picture.paper) for picture in found.pictures] == [
        ("shape-aspect", "figure 5, middle"),
        ("shape-heads", "figure 5, right"),
        ("shape-ratio", "figure 5, left"),
    ]
    top = max(y for series in found.pictures[0].series for y in series.y)
    assert 0.02 < top < 0.2, "a share, not percent"


def _base(runs: list[Run]) -> TransformerShape:
    shape = runs[0].spec.shape
    assert isinstance(shape, TransformerShape)
    return shape


def test_a_truth_that_depends_on_shape_differs() -> None:
    found = concluded(study(steep))
    assert found.verdict == "differs"
    assert found.findings[0].verdict == "differs"
    assert "smaller embedding" in found.statement
    assert "the paper's: 40" in found.statement


def test_a_shape_whose_best_rate_was_not_tried_does_not_differ() -> None:
    """One shape is best at a 23rd of the rates of all others, and no worse there."""
    found = []
    for run in study(flat, noise=0.0):
        shape = run.spec.shape
        assert isinstance(shape, TransformerShape)
        if shape.d_ff < shape.d_model:
            away = np.log2(run.spec.lr * 22.6 / (4.0 / size_of(shape) ** 0.5))
            run = finished(run.spec, float(np.exp(flat(shape) + 0.009 * away**2)))
        found.append(run)
    ratio = concluded(found).findings[-1]
    assert ratio.verdict == "cannot tell"
    assert "intervals reach to where" in concluded(found).statement


def test_noise_cannot_tell() -> None:
    """It never agrees; one of six may differ by luck, as an end of a 90% interval may."""
    verdicts = [concluded(study(flat, noise=0.04, seed=s), 0.04).verdict for s in range(6)]
    assert "agrees" not in verdicts
    assert verdicts.count("cannot tell") >= 5


def test_flat_truths_are_hardly_ever_called_different() -> None:
    """Six planted studies with the noise of real ones: the maximum of noisy values is high."""
    verdicts = [
        concluded(study(lambda _: 0.5, noise=0.007, seed=s), 0.007).verdict for s in range(6)
    ]
    assert "differs" not in verdicts


def test_a_narrow_span_says_nothing_of_the_papers() -> None:
    """At 25k parameters two, three and four layers alone are as wide as the paper's."""
    runs = study(flat, amount=45.0)
    assert size_of(_base(runs)) < 30_000
    found = concluded(runs)
    assert found.findings[0].estimate is None
    assert "factor of" in found.findings[0].why
    assert found.numbers["8_layers"].estimate.value < 0.05


def test_runs_that_are_missing_leave_less_to_say_but_no_error() -> None:
    runs = study(flat)
    assert concluded([]).verdict == "cannot tell"
    unfinished = [Run(run.spec, None) for run in runs]
    assert concluded(unfinished).verdict == "cannot tell"
    for kept in (1, 2, 3, 7):
        found = concluded(runs[:kept] + unfinished[kept:])
        assert found.verdict == "cannot tell"
        assert found.statement
    half = concluded(runs[: len(runs) // 2] + unfinished[len(runs) // 2 :])
    assert half.findings[0].estimate is not None
    assert half.verdict == "cannot tell"


def test_it_is_registered_as_one_that_needs_no_ladder() -> None:
    assert not DESIGN.ladder
    assert DESIGN.weight > 0

"""Transfer: planted offsets and slopes are found, and effects beside the loss are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import chinchilla, ladder
from planted_bench import planted_bench
from scipy.stats import spearmanr

from scalelab.counting import Shape, count_parameters
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.transfer import DESIGN, rank_correlation
from scalelab.studies.evidence import Evidence, Run

Other = Callable[[float, Shape], float]
"""(loss, shape) -> loss on another text."""

DISTANCES = {"near": 0.1, "close": 0.4, "far": 1.0, "alien": 3.0}


def runs_on(others: Mapping[str, Other], noise: float = 0.001) -> list[Run]:
    generator = np.random.default_rng(3)

    def more(shape: Shape, loss: float) -> dict[str, Any]:
        return {
            f"loss.{name}": other(loss, shape) * float(np.exp(noise * generator.standard_normal()))
            for name, other in others.items()
        }

    return ladder(chinchilla(), more=more)


def study(others: Mapping[str, Other], noise: float = 0.001) -> Conclusion:
    facts = {name: {"distance": DISTANCES.get(name, 2.0)} for name in others}
    return DESIGN.conclude(Evidence((), runs_on(others, noise), others=facts))


def offset(k: float, slope: float = 1.0) -> Other:
    return lambda loss, _shape: k + slope * loss


FOUR = {name: offset(0.3 * distance) for name, distance in DISTANCES.items()}


def verdicts(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


@pytest.fixture(scope="module")
def found() -> Conclusion:
    """Of four texts that each cost an offset."""
    return study(FOUR)


def test_a_constant_offset_agrees_and_is_found(found: Conclusion) -> None:
    assert found.verdict == "agrees"
    assert found.statement.startswith("Agrees with the paper: on 4 of 4 other texts")
    for name, distance in DISTANCES.items():
        estimate = found.numbers[f"offset on {name}"].estimate
        assert estimate.value == pytest.approx(0.3 * distance, abs=0.003)
        assert estimate.low <= 0.3 * distance <= estimate.high
    assert found.numbers["order_by_distance"].estimate.value == 1.0
    assert "probability 0.042" in found.numbers["order_by_distance"].meaning  # 1 of 24 orders


def test_a_text_whose_loss_falls_half_as_fast_differs() -> None:
    found = study({"near": offset(0.1), "slow": offset(1.5, 0.5)})
    assert verdicts(found)["slope on slow"] == "differs"
    assert found.numbers["slope on slow"].estimate.value == pytest.approx(0.5, abs=0.02)
    assert "on slow it is not" in found.statement
    assert verdicts(found)["slope on near"] == "agrees"


def test_an_effect_of_size_at_equal_loss_differs() -> None:
    def larger_is_worse(loss: float, shape: Shape) -> float:
        return (0.5 + loss) * (count_parameters(shape).non_embedding / 1e5) ** 0.013

    found = study({"a": larger_is_worse, "b": larger_is_worse})
    effect = found.numbers["effect_of_size"].estimate
    assert effect.value == pytest.approx(10**0.013 - 1, abs=0.004)
    assert verdicts(found)["effect_of_size"] == "differs"
    assert verdicts(study({"a": offset(0.5)}))["effect_of_size"] == "agrees"


def test_noise_makes_it_undecided() -> None:
    found = study({"near": offset(0.2)}, noise=0.3)
    assert set(verdicts(found).values()) == {"cannot tell"}


def test_texts_that_do_not_order_by_distance_have_no_correlation() -> None:
    shuffled = dict(zip(DISTANCES, (0.6, 0.1, 0.9, 0.3), strict=True))
    found = study({name: offset(k) for name, k in shuffled.items()})
    estimate = found.numbers["order_by_distance"].estimate
    expected = spearmanr(list(DISTANCES.values()), list(shuffled.values())).statistic
    assert estimate.value == pytest.approx(expected)
    assert estimate.low < 0 < estimate.high


@pytest.mark.parametrize("m", [4, 8, 12])
def test_rank_correlation_is_scipys_and_its_chance_that_of_permutations(m: int) -> None:
    generator = np.random.default_rng(m)
    x = generator.standard_normal(m)
    y = x + generator.standard_normal(m)
    found = rank_correlation(x, y, 0.9, 0)
    assert found.correlation.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.correlation.low < found.correlation.value <= found.correlation.high <= 1
    p = spearmanr(x, y, alternative="greater").pvalue
    assert found.chance == pytest.approx(p, abs=0.06)


def test_missing_runs_and_texts_say_why_and_raise_nothing() -> None:
    runs = runs_on({"near": offset(0.1)})
    diverged = [
        replace(run, result={**(run.result or {}), "status": "diverged", "loss": None})
        for run in runs
    ]
    partly = [
        replace(run, result={**(run.result or {}), "loss.near": None}) if i % 2 else run
        for i, run in enumerate(runs)
    ]
    one_size = [run for run in runs if run.params == runs[0].params]
    for evidence in (
        Evidence(()),
        Evidence((), ladder(chinchilla())),
        Evidence((), diverged),
        Evidence((), one_size),
        Evidence((), partly),
    ):
        found = DESIGN.conclude(evidence)
        assert found.findings
        assert all(f.estimate is not None or f.why for f in found.findings)
        assert found.statement
    assert verdicts(DESIGN.conclude(Evidence((), partly)))["slope on near"] == "agrees"


def test_it_trains_nothing_and_asks_for_texts() -> None:
    bench = planted_bench(60.0)
    assert not DESIGN.plan(bench).jobs
    assert "--transfer" in DESIGN.plan(bench).left_out[0]
    assert not DESIGN.plan(replace(bench, others=(("wiki", "folder"),))).left_out


def test_pictures_are_those_of_the_paper(found: Conclusion) -> None:
    assert [picture.paper for picture in found.pictures] == ["figure 8, left", "figure 8, right"]
    for picture in found.pictures:
        for series in picture.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()

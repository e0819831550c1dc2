"""Transfer: planted lines and what departs from them are found, and units are not compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planted import chinchilla, ladder
from planted_bench import planted_bench
from scipy.stats import spearmanr

from scalelab.studies.analysis.other_texts import rank_correlation, scatter
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.transfer import DESIGN
from scalelab.studies.evidence import Evidence, Run, table

Other = Callable[[float, float], float]
"""(loss, tokens per parameter) -> loss on another text."""

DISTANCES = {"near": 0.1, "close": 0.4, "far": 1.0, "alien": 3.0}
SCATTER = "scatter about a line in the training loss"
EFFECT = "effect of ten times the tokens per parameter"
SLOPE = "slope on other texts"


@cache
def plain() -> list[Run]:
    return ladder(chinchilla())


def runs_on(others: Mapping[str, Other], noise: float = 0.001, seed: int = 3) -> list[Run]:
    generator = np.random.default_rng(seed)
    found = []
    for run in plain():
        result = dict(run.result or {})
        if result["loss"] is not None:
            ratio = result["tokens"] / result["params"]
            luck = np.exp(noise * generator.standard_normal(len(others)))
            for (name, other), by in zip(others.items(), luck, strict=True):
                result[f"loss.{name}"] = other(result["loss"], ratio) * float(by)
        found.append(replace(run, result=result))
    return found


def study(others: Mapping[str, Other], noise: float = 0.001, lengths: float = 1.0) -> Conclusion:
    """lengths: bytes of a token of the training text; 1 for bytes."""
    facts = {
        name: {"distance": DISTANCES.get(name, 2.0), "bytes_per_token": lengths} for name in others
    }
    if "alien" in facts:
        facts["alien"]["bytes_per_token"] = lengths / 1.7
    return DESIGN.conclude(
        Evidence((), runs_on(others, noise), others=facts, bytes_per_token=lengths)
    )


def line(k: float, slope: float = 1.0, specialises: float = 0.0) -> Other:
    """specialises: what ten times the tokens per parameter cost, a share."""
    return lambda loss, ratio: (k + slope * loss) * (1 + specialises) ** float(np.log10(ratio / 50))


FOUR = {name: line(0.3 * distance) for name, distance in DISTANCES.items()}


def verdicts(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


@pytest.fixture(scope="module")
def found() -> Conclusion:
    """Of four texts that each cost an offset."""
    return study(FOUR)


def test_a_constant_offset_agrees_and_is_found(found: Conclusion) -> None:
    assert verdicts(found) == {SCATTER: "agrees", EFFECT: "agrees"}
    assert found.statement.startswith("Agrees with the paper: on 4 other texts")
    for name, distance in DISTANCES.items():
        estimate = found.numbers[f"offset on {name}"].estimate
        assert estimate.value == pytest.approx(0.3 * distance, abs=0.003)
        assert estimate.low <= 0.3 * distance <= estimate.high
        assert found.numbers[f"scatter on {name}"].estimate.value < 0.002
    assert found.numbers["order_by_distance"].estimate.value == 1.0
    assert "probability 0.042" in found.numbers["order_by_distance"].meaning  # 1 of 24 orders


def test_slopes_per_byte_are_numbers_and_do_not_decide() -> None:
    """A text whose tokens are short has a slope above 1 in bytes, whatever the paper says."""
    found = study({"near": line(0.1), "slow": line(0.9, 0.5), "code": line(0.2, 1.6)})
    assert found.verdict == "agrees"
    assert found.numbers["slope on slow"].estimate.value == pytest.approx(0.5, abs=0.02)
    assert found.numbers["slope on code"].estimate.value == pytest.approx(1.6, abs=0.03)
    assert "nats per byte are not compared" in found.left_out[0]
    foreign = study({"near": line(0.1), "german": line(4.5, -0.6)})
    assert foreign.numbers["slope on german"].estimate.value == pytest.approx(-0.6, abs=0.02)
    assert "on german the loss rises" in foreign.statement
    assert "on near" not in foreign.statement.split("rises")[0].split(";")[-1]


def test_slopes_per_token_are_compared_where_tokens_are_as_long() -> None:
    alike = study(FOUR | {"alien": line(1.0, 1.7)}, lengths=4.0)
    assert verdicts(alike)[SLOPE] == "agrees"
    steep = study({"near": line(0.1, 1.4), "close": line(0.2, 1.5)}, lengths=4.0)
    assert verdicts(steep)[SLOPE] == "differs"
    assert steep.numbers[SLOPE].estimate.value == pytest.approx(1.45, abs=0.02)
    assert "another tokenizer" in steep.statement
    none = study({"alien": line(1.0, 1.7)}, lengths=4.0)
    assert verdicts(none)[SLOPE] == "cannot tell"
    assert not alike.left_out


def test_models_that_specialise_at_equal_loss_differ() -> None:
    found = study({name: line(0.3, 1.0, 0.06) for name in "abc"})
    effect = found.numbers[EFFECT].estimate
    assert effect.value == pytest.approx(0.06, abs=0.005)
    assert verdicts(found)[EFFECT] == "differs"
    assert "up on 3 of 3 texts" in found.statement
    assert "specialise" in found.statement
    # As large in figure 8 that nobody would see it.
    assert verdicts(study({"a": line(0.5, 1.0, 0.005)}))[EFFECT] == "agrees"


def test_losses_that_scatter_differ_and_a_noisy_few_cannot_tell() -> None:
    assert verdicts(study(FOUR, noise=0.06))[SCATTER] == "differs"
    runs = [run for run in runs_on({"near": line(0.2)}, 0.02) if run.params < 2e4]
    assert verdicts(DESIGN.conclude(Evidence((), runs)))[SCATTER] == "cannot tell"


def test_an_interval_of_the_scatter_holds_the_true_one() -> None:
    inside = 0
    for seed in range(40):
        runs = table(run for run in runs_on(FOUR, 0.01, seed) if run.spec.kind == "run")
        estimate = scatter(runs, [f"loss.{name}" for name in FOUR], 0.9)
        assert estimate is not None
        inside += estimate.low <= 0.01 <= estimate.high
    assert inside >= 32


def test_texts_that_do_not_order_by_distance_have_no_correlation() -> None:
    shuffled = dict(zip(DISTANCES, (0.6, 0.1, 0.9, 0.3), strict=True))
    found = study({name: line(k) for name, k in shuffled.items()})
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
    runs = runs_on({"near": line(0.1)})
    diverged = [
        replace(run, result={**(run.result or {}), "status": "diverged", "loss": None})
        for run in runs
    ]
    partly = [
        replace(run, result={**(run.result or {}), "loss.near": None}) if i % 3 == 0 else run
        for i, run in enumerate(runs)
    ]
    one_size = [run for run in runs if run.params == runs[0].params]
    for evidence in (
        Evidence(()),
        Evidence((), plain()),
        Evidence((), diverged),
        Evidence((), one_size),
        Evidence((), partly),
    ):
        found = DESIGN.conclude(evidence)
        assert found.findings
        assert all(f.estimate is not None or f.why for f in found.findings)
        assert found.statement
    assert DESIGN.conclude(Evidence((), partly)).verdict == "agrees"


def test_it_trains_nothing_and_asks_for_texts() -> None:
    bench = planted_bench(60.0)
    assert not DESIGN.plan(bench).jobs
    assert "--transfer" in DESIGN.plan(bench).left_out[0]
    assert not DESIGN.plan(replace(bench, others=(("wiki", "folder"),))).left_out


def test_pictures_are_those_of_the_paper(found: Conclusion) -> None:
    assert [picture.paper for picture in found.pictures] == ["figure 8, left", "figure 8, right"]
    assert "final losses" in found.pictures[1].caption
    for picture in found.pictures:
        for series in picture.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()

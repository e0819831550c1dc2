"""Conclusions from a folder of results with a planted law: what is fitted, checked, left out."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from scalelab.corpus import Corpus
from scalelab.counting import flops_per_token
from scalelab.fitting import Fit
from scalelab.studies.conclude import LEVEL, check, conclude, why
from scalelab.studies.decide import Decisions
from scalelab.studies.ladder import Ladder, LadderSpec, Rung, build
from scalelab.studies.result import SURFACES, StudyResult
from scalelab.studies.sizes import Family, rungs, size_of
from scalelab.training.records import JsonLines, write_json

FAMILY = Family(context=32, vocabulary=256)
NOISE = 0.002
"""Standard deviation of log loss between runs."""


def truth(params: float, tokens: float) -> float:
    """Chinchilla's form at exponents of a small ladder."""
    return 0.9 + 6.0 / params**0.2 + 60.0 / tokens**0.35


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    sizes = [Rung(shape, 1e5, 1e-2) for shape in rungs(96, FAMILY, 7, 60.0)]
    return build(sizes, 4000, LadderSpec("c", 10**9, 128, 4, 0, 2))


DECISIONS = Decisions(
    widths=(), speeds=(), rates=(), family=FAMILY, steps=4000, batch_tokens=128, data_sizes=4,
    corpus_tokens=10**9, seed=0, workers=2, choices=(), notices=(),
)  # fmt: skip


def write_study(study: Path, ladder: Ladder, **changes: dict[str, Any]) -> None:
    """result.json and curves as training leaves them. changes: by run, instead of the truth."""
    noise = random.Random(5)
    for job in ladder.jobs:
        spec = job.spec
        folder = study / spec.run
        folder.mkdir(parents=True)
        loss = truth(size_of(spec.shape), spec.tokens) * math.exp(noise.gauss(0, NOISE))
        change = changes.get(spec.run, {})
        if change.get("status") == "running":
            continue
        values = {
            "run": spec.run,
            "status": "finished",
            "family": "transformer",
            "params": size_of(spec.shape),
            "tokens": spec.tokens,
            "unique_tokens": spec.tokens,
            "flops": flops_per_token(spec.shape) * spec.tokens,
            "batch_tokens": spec.batch_tokens,
            "steps": spec.last_step,
            "lr": spec.lr,
            "seed": spec.seed,
            "trunk": spec.trunk or spec.run,
            "loss": None if spec.kind == "trunk" else loss,
            "bytes_per_token": 1.0,
            "tokenizer": "bytes",
        }
        write_json(folder / "result.json", values | change)
        curve = JsonLines(folder / "evals.jsonl")
        curve.append(step=spec.last_step, tokens=spec.tokens, loss=loss)
        curve.close()


def concluded(study: Path, ladder: Ladder, corpus: Corpus, **failures: str) -> StudyResult:
    return conclude(
        study,
        ladder,
        DECISIONS,
        corpus,
        failures=failures,
        settings={"budget": "10m"},
        machine={"device": "cpu"},
        command="scalelab run",
    )


@pytest.fixture(scope="module")
def found(ladder: Ladder, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """One run diverged, all others finished."""
    study = tmp_path_factory.mktemp("studies") / "planted"
    lost = fitted_runs(ladder)[4]
    write_study(study, ladder, **{lost: {"status": "diverged", "loss": 37.0}})
    return concluded(study, ladder, corpus)


def fitted_runs(ladder: Ladder) -> list[str]:
    runs = [job.spec.run for job in ladder.jobs if job.spec.kind == "run"]
    return [run for run in runs if run not in ladder.held_out]


def test_every_law_is_fitted_to_what_finished_and_is_not_held_out(
    found: StudyResult, ladder: Ladder
) -> None:
    assert set(found.fits) == {*SURFACES, "L(N)", "L(D)", "L(C)"}
    assert found.missing == {}
    for law in SURFACES:
        assert found.fits[law].runs == len(fitted_runs(ladder)) - 1
    assert found.runs.height == len(fitted_runs(ladder)) + len(ladder.held_out)


def test_the_planted_law_is_found(found: StudyResult) -> None:
    model = found.fits["chinchilla"]
    for name, value in {"alpha": 0.2, "beta": 0.35, "E": 0.9}.items():
        estimate = model.parameters[name]
        assert estimate.low <= value <= estimate.high
    for params, tokens in ((3e4, 2e5), (3e5, 1e6)):
        predicted = found.fits[SURFACES[0]].predict(params=params, tokens=tokens)
        assert predicted.value.item() == pytest.approx(truth(params, tokens), rel=5 * NOISE)


def test_the_held_out_size_is_predicted_and_covered(found: StudyResult, ladder: Ladder) -> None:
    assert {item.run for item in found.held_out} == ladder.held_out
    rows = {row["run"]: row for row in found.runs.iter_rows(named=True)}
    for item in found.held_out:
        assert item.measured == rows[item.run]["loss"]
        assert item.predicted.level == LEVEL
        assert abs(item.relative_error) < 5 * NOISE
        assert item.predicted.low < item.predicted.value < item.predicted.high
    assert sum(item.covered for item in found.held_out) >= len(found.held_out) - 1
    tokens = [item.tokens for item in found.held_out]
    assert tokens == sorted(tokens)


def test_a_diverged_run_is_named_and_not_fitted(found: StudyResult, ladder: Ladder) -> None:
    lost = fitted_runs(ladder)[4]
    notice = next(notice for notice in found.notices if notice.code == "diverged")
    assert lost in notice.message
    assert found.runs.filter(pl.col("run") == lost)["status"].item() == "diverged"
    # A loss of 37 among losses of 2 would have torn the fit away.
    assert found.fits["kaplan"].predict(params=5e4, tokens=1e6).value.item() < 4


def test_the_rest_is_told_as_it_was_decided(
    found: StudyResult, ladder: Ladder, corpus: Corpus
) -> None:
    assert found.name == "planted"
    assert [run.run for run in found.plan] == [job.spec.run for job in ladder.jobs]
    assert {run.why for run in found.plan} == {
        "stable trunk: its branches share it", "held out: checks the fit", "fitted",
    }  # fmt: skip
    assert found.savings["tokens_trained"] < found.savings["tokens_if_separate"]
    assert found.corpus == corpus.facts()
    assert set(found.conventions) == {"params", "tokens", "flops", "loss"}
    assert set(found.curves["run"]) == {*fitted_runs(ladder), *ladder.held_out}
    for job in ladder.jobs[:3]:
        assert why(job.spec.run, ladder.held_out, job.spec.kind)


@pytest.mark.slow
def test_held_out_losses_and_failures_leave_the_fits_alone(
    found: StudyResult, ladder: Ladder, corpus: Corpus, tmp_path: Path
) -> None:
    lost = fitted_runs(ladder)[4]
    absurd: dict[str, dict[str, Any]] = {run: {"loss": 99.0} for run in ladder.held_out}
    unfinished = sorted(ladder.held_out)[0]
    absurd[unfinished] = {"status": "running"}
    write_study(tmp_path / "absurd", ladder, **{lost: {"status": "diverged"}}, **absurd)
    other = concluded(tmp_path / "absurd", ladder, corpus, **{unfinished: "disk full"})
    for name, model in found.fits.items():
        assert other.fits[name].values == model.values
    assert {item.run for item in other.held_out} == ladder.held_out - {unfinished}
    assert not any(item.covered for item in other.held_out)
    assert all(item.relative_error < -0.9 for item in other.held_out)
    failed = next(notice for notice in other.notices if notice.code == "run-failed")
    assert unfinished in failed.message
    assert "disk full" in failed.message


@pytest.mark.parametrize("status", ["running", "diverged"])
def test_a_study_of_which_nothing_finished_says_so_and_fits_nothing(
    ladder: Ladder, corpus: Corpus, tmp_path: Path, status: str
) -> None:
    lost = {job.spec.run: {"status": status, "loss": None} for job in ladder.jobs}
    write_study(tmp_path / "lost", ladder, **lost)
    result = concluded(tmp_path / "lost", ladder, corpus)
    assert result.fits == {}
    assert result.held_out == ()
    assert set(result.missing) == {*SURFACES, "L(N)", "L(D)", "L(C)", "held_out"}
    assert all(result.missing.values())


def test_a_largest_size_that_did_not_finish_leaves_fits_without_a_check(
    ladder: Ladder, corpus: Corpus, tmp_path: Path
) -> None:
    lost: dict[str, dict[str, Any]] = {run: {"status": "running"} for run in ladder.held_out}
    write_study(tmp_path / "half", ladder, **lost)
    result = concluded(tmp_path / "half", ladder, corpus)
    assert SURFACES[0] in result.fits
    assert result.held_out == ()
    assert "no run of the largest size has finished" in result.missing["held_out"]


# --- the check alone, on a fit that is a formula --------------------------------------------------


def planted_fit(half_width: float, calls: list[dict[str, Any]]) -> Fit:
    def predict(**inputs: Any) -> SimpleNamespace:
        calls.append(inputs)
        value = np.array([truth(*pair) for pair in zip(inputs["params"], inputs["tokens"])])  # noqa: B905
        return SimpleNamespace(value=value, low=value - half_width, high=value + half_width)

    return cast(Fit, SimpleNamespace(predict=predict))


def table(*rows: tuple[str, float, float, bool, str]) -> pl.DataFrame:
    names = ("run", "tokens", "loss", "held_out", "status")
    return pl.DataFrame([dict(zip(names, row, strict=True)) | {"params": 1e5} for row in rows])


def test_only_finished_held_out_runs_are_checked_smallest_data_first() -> None:
    calls: list[dict[str, Any]] = []
    items = check(
        planted_fit(0.02, calls),
        table(
            ("big", 4e6, truth(1e5, 4e6) * 1.02, True, "finished"),
            ("small", 1e6, truth(1e5, 1e6) + 0.019, True, "finished"),
            ("lost", 2e6, 9.0, True, "diverged"),
            ("seen", 2e6, 2.0, False, "finished"),
        ),
    )
    assert [item.run for item in items] == ["small", "big"]
    assert [item.covered for item in items] == [True, False]
    assert items[1].relative_error == pytest.approx(1 / 1.02 - 1)
    assert [call["new_run"] for call in calls] == [True], "one run has luck of its own"
    assert calls[0]["level"] == LEVEL


def test_nothing_held_out_is_nothing_checked() -> None:
    assert check(planted_fit(1.0, []), table(("seen", 2e6, 2.0, False, "finished"))) == ()


def test_an_unbounded_end_covers() -> None:
    (item,) = check(planted_fit(math.inf, []), table(("big", 4e6, 2.0, True, "finished")))
    assert item.covered
    one_sided = dataclasses.replace(item.predicted, low=None, high=item.measured - 0.1)
    assert not dataclasses.replace(item, predicted=one_sided).covered
    one_sided = dataclasses.replace(item.predicted, low=item.measured - 0.1, high=None)
    assert dataclasses.replace(item, predicted=one_sided).covered

"""plan.json is read back as it was written, and what cannot be trained is refused by field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scalelab.corpus import Corpus
from scalelab.errors import Notice, RecordError
from scalelab.execution.execute import Job
from scalelab.studies.decide import Decisions, ladder_of
from scalelab.studies.divide import StudyPlan
from scalelab.studies.planned import make_plan
from scalelab.studies.record import Record, open_study, recall, write_plan
from scalelab.studies.result import Choice
from scalelab.studies.settings import RunSettings
from scalelab.studies.sizes import Family
from scalelab.training.records import CHECKSUM, read_json, write_json

DECISIONS = Decisions(
    widths=(12, 16, 24), speeds=(3e5, 2e5, 1e5), rates=(1e-2, 9e-3, 8e-3), family=Family(8, 256),
    steps=100, batch_tokens=64, data_sizes=3, corpus_tokens=10_000, seed=0, workers=2,
    choices=(Choice("batch", "64", "why", "measured"),), notices=(Notice("a", "b"),),
)  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study with a ladder, and a design with a trunk, a branch and a run of its own."""
    folder = tmp_path / "study"
    open_study(RunSettings(out=str(folder)))
    ladder = ladder_of(DECISIONS, "corpus")
    trunk, branch = (replace(job.spec, run=f"own-{i}") for i, job in enumerate(ladder.jobs[:2]))
    branch = replace(branch, trunk="own-0")
    alone = replace(trunk, run="own-2", kind="run", stop_step=None, fork_steps=())
    jobs = {spec.run: Job(spec, 1.5, "why") for spec in (trunk, branch, alone)}
    plan = StudyPlan(jobs, {"shape": tuple(jobs)}, {"shape": ("more",)}, {"shape": ()})
    write_plan(folder, Record(DECISIONS, plan, (("other", "/folder"),), "print"))
    return folder


def test_what_was_written_comes_back(study: Path) -> None:
    found = recall(study)
    assert found is not None
    assert found.decisions == DECISIONS
    assert found.others == (("other", "/folder"),)
    assert found.corpus == "print"
    assert list(found.plan.jobs) == ["own-0", "own-1", "own-2"]
    write_plan(study, found)
    assert recall(study) == found


def test_no_plan_is_none(tmp_path: Path) -> None:
    assert recall(tmp_path) is None


def spec_of(plan: dict[str, Any], i: int) -> dict[str, Any]:
    spec: dict[str, Any] = plan["designs"]["jobs"][i]["spec"]
    return spec


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda p: p.update(steps=-1), "steps is -1; a whole number of at least 1"),
    (lambda p: p.update(steps=10**19), r"steps is 10000000000000000000; .* at most 1,000,000,000,"),
    (lambda p: p.update(steps=157), "steps is 157; with batches of 64 tokens at most 156"),
    (lambda p: p.update(steps=1.5), "steps is 1.5; a whole number is expected"),
    (lambda p: p.update(steps=float("inf")), "steps is null"),
    (lambda p: p.update(batch_tokens=0), "batch_tokens is 0; a whole number of at least 1"),
    (lambda p: p.update(batch_tokens=63), "batch of 63 tokens is not a whole number of sequences"),
    (lambda p: p.update(widths=[12, 16]), "speeds has 3 values; 2 are expected"),
    (lambda p: p.update(widths=[12, 16, 10**9]), r"widths\[2\] is 1000000000; .* at most 65,536"),
    (lambda p: p.update(widths=[12, 16, 26]), "widths holds 26; multiples of 4"),
    (lambda p: p.update(widths=[16, 12, 24]), "rising widths are expected"),
    (lambda p: p.update(widths=[], speeds=[], rates=[]), "rising widths are expected"),
    (lambda p: p.update(rates=[1e-2, 9e-3, -1]), r"rates\[2\] is -1; a number above 0"),
    (lambda p: p.update(rates="fast"), "rates is 'fast'; a list is expected"),
    (lambda p: p.update(seed=2**63), "seed is 9223372036854775808"),
    (lambda p: p.update(workers=None), "workers is null; a whole number"),
    (lambda p: p.update(more=1), "unknown field 'more'"),
    (lambda p: p.pop("family"), "lacks the field 'family'"),
    (lambda p: p["family"].update(head_dim=0), "family.head_dim is 0"),
    (lambda p: p["family"].update(norm="none"), "family.norm is 'none'; one of layernorm, rmsnorm"),
    (lambda p: p["family"].update(n_layer=10**6), "n_layer is 1,000,000; at most 1,000"),
    (lambda p: p["choices"][0].update(source="guessed"), "one of measured, paper, assumed"),
    (lambda p: p.update(designs=[]), r"designs is \[\]; an object"),
    (lambda p: p["designs"].pop("others"), "designs.others is null; a list"),
    (lambda p: p["designs"]["jobs"][0].update(seconds=1e12), r"jobs\[0\].seconds is 1000000000000"),
    (lambda p: p["designs"]["jobs"].append(p["designs"]["jobs"][0]), r"jobs\[3\].spec.run is 'own"),
    (lambda p: spec_of(p, 2).update(run="n3.46k-s0"), "'n3.46k-s0' is planned twice"),
    (lambda p: spec_of(p, 2).update(run="../../x"), "letters, digits"),
    (lambda p: spec_of(p, 2).update(run=""), "an id that no other run has"),
    (lambda p: spec_of(p, 2).update(kind="walk"), r"jobs\[2\].spec.kind is 'walk'; one of run, tr"),
    (lambda p: spec_of(p, 2).update(lr=0), "lr is 0; a number above 0"),
    (lambda p: spec_of(p, 2)["shape"].update(d_model=10**6), "parameters; at most 1,000,000,000"),
    (lambda p: spec_of(p, 1).update(trunk="gone"), "the trunk of own-1, 'gone', is no run"),
    (lambda p: spec_of(p, 1).update(trunk="own-2"), "own-1 branches off own-2 at step"),
    (lambda p: spec_of(p, 1).update(fork_step=1), "own-1 branches off own-0 at step 1; that run"),
    (lambda p: spec_of(p, 1).update(fork_step=99), "own-1: it branches off at step 99"),
    (lambda p: p["designs"]["runs"].update(shape=["none"]), "designs.runs.shape names 'none'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "seen"), CHANGES, ids=[seen[:30] for _, seen in CHANGES])
def test_a_plan_that_cannot_be_trained_is_refused_by_field(
    study: Path, change: Callable[[dict[str, Any]], object], seen: str
) -> None:
    plan = read_json(study / "plan.json")
    plan.pop(CHECKSUM)
    change(plan)
    write_json(study / "plan.json", plan)
    with pytest.raises(RecordError, match=seen) as got:
        recall(study)
    assert str(got.value).startswith(f"{study / 'plan.json'} is damaged or of another version (")
    assert str(got.value).endswith(f"Choose another --out, or delete {study}.")


def test_a_plan_that_was_changed_is_refused_until_its_checksum_is_removed(study: Path) -> None:
    plan = read_json(study / "plan.json")
    write_json(study / "plan.json", plan | {"steps": 99})
    with pytest.raises(RecordError, match='delete its line "checksum"'):
        recall(study)
    plan.pop(CHECKSUM)
    write_json(study / "plan.json", plan | {"steps": 99})
    found = recall(study)
    assert found is not None
    assert found.decisions.steps == 99


def test_the_plan_of_another_study_is_refused(study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    open_study(RunSettings(out=str(other)))
    (other / "plan.json").write_text((study / "plan.json").read_text())
    with pytest.raises(RecordError, match="belongs to another study"):
        recall(other)


def test_runs_without_their_plan_are_not_planned_again(study: Path, corpus: Corpus) -> None:
    (study / "plan.json").unlink()
    (study / "own-0").mkdir()
    (study / "own-0" / "run.json").write_text("{}")
    unused: Any = None
    with pytest.raises(RecordError, match=r"holds the run own-0, but not the plan\.json"):
        make_plan(RunSettings(), study, corpus, unused, unused, unused, unused, dry=False)


def test_another_text_than_the_plan_is_for_is_refused(study: Path, corpus: Corpus) -> None:
    unused: Any = None
    with pytest.raises(RecordError, match=r"is for a text of 10,000 training tokens; .* has chang"):
        make_plan(RunSettings(), study, corpus, unused, unused, unused, unused, dry=False)

"""A study whose files are damaged ends with the same numbers, or says what to delete."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from tiny_runs import Memory, ScriptedPool, result_of, tree

from scalelab.corpus import Corpus
from scalelab.errors import RecordError
from scalelab.execution.execute import execute
from scalelab.execution.pool import Event, Pool
from scalelab.execution.study import metrics_notices
from scalelab.execution.worker import attempt
from scalelab.training.loop import Trainer
from scalelab.training.records import checkpoints
from scalelab.training.spec import read_spec

STEPS = 64


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def train(folder: Path, until: int = 10**9) -> list[Event]:
    """Train a run in this process, as a worker does; at step `until` it is interrupted."""
    notes: list[Event] = []

    def say(text: str) -> None:
        notes.append(Event("note", folder, error=text))

    def run() -> str:
        trainer = Trainer(read_spec(folder / "run.json"), folder, torch.device("cpu"), say)
        return trainer.train(lambda *_: None, lambda: trainer.step >= until)

    status, error = attempt(run)
    return [*notes, Event("end", folder, status=status, error=error)]


def trained(
    study: Path, corpus: Corpus, memory: Memory, play: Callable[[Path], list[Event]] = train
) -> dict[str, str]:
    jobs = tree(corpus, STEPS, noise_every=8, noise_parts=2)
    return execute(study, jobs, cast(Pool, ScriptedPool(1, play)), memory)


def numbers(study: Path) -> dict[str, Any]:
    """The final losses and the last steps of every run."""
    runs = [path.parent.name for path in study.glob("*/run.json")]
    found = {run: result_of(study, run) for run in runs}
    return {run: (values["loss"], values["steps"]) for run, values in found.items() if values}


@pytest.fixture(scope="module")
def halfway(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trunk has ended, its branches have not begun."""
    study = tmp_path_factory.mktemp("halfway")

    def play(folder: Path) -> list[Event]:
        if folder.name == "trunk":
            return train(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(study, corpus, Memory(), play)
    return study


@pytest.fixture(scope="module")
def whole(halfway: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study, which nothing has damaged, at its end."""
    study = tmp_path_factory.mktemp("whole") / "study"
    shutil.copytree(halfway, study)
    assert trained(study, corpus, Memory()) == {}
    return study


@pytest.mark.parametrize(
    ("which", "how"), [((0,), "cut"), ((1, 2), "gone"), ((0, 1, 2), "cut"), ((2,), "gone")]
)
def test_branches_do_not_depend_on_the_checkpoints_of_their_trunk(
    corpus: Corpus, halfway: Path, whole: Path, tmp_path: Path, which: tuple[int, ...], how: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(halfway, study)
    kept = sorted(checkpoints(study / "trunk" / "checkpoint"), key=lambda item: item[1])
    for i in which:
        path = kept[i][0]
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-100])
    memory = Memory()
    assert trained(study, corpus, memory) == {}
    assert numbers(study) == numbers(whole)
    told = " ".join(memory.notes)
    assert "trunk: its checkpoint at step" in told
    assert "it is trained again up to there" in (study / "trunk" / "notes.txt").read_text()
    assert ("is damaged" in told) == (how == "cut")
    assert not (study / "trunk" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("run", "content"),
    [("trunk", ""), ("branch16", '{"loss": 1.0'), ("branch16", '{"loss": "low"}')],
)
def test_a_damaged_result_is_put_aside_and_the_run_is_trained_again(
    corpus: Corpus, whole: Path, tmp_path: Path, run: str, content: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    (study / run / "result.json").write_text(content)
    memory = Memory()
    assert trained(study, corpus, memory) == {}
    assert numbers(study) == numbers(whole)
    assert (study / run / "result.json.damaged").read_text() == content
    assert f"{run}/result.json is damaged: " in memory.notes[0]
    assert "the run is trained again" in (study / run / "notes.txt").read_text()


@pytest.mark.parametrize("name", ["evals.jsonl", "noise.jsonl", "positions.json"])
def test_damaged_records_of_an_ended_run_are_refused_with_what_to_delete(
    corpus: Corpus, whole: Path, tmp_path: Path, name: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    path = study / "branch64" / name
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(RecordError, match=rf"{name}.*Delete \S*branch64 and run the same") as got:
        trained(study, corpus, Memory())
    assert "line 1 is damaged" in str(got.value) or name == "positions.json"
    shutil.rmtree(path.parent)
    assert trained(study, corpus, Memory()) == {}
    assert numbers(study) == numbers(whole)


def test_another_run_json_in_the_folder_of_an_ended_run_is_refused(
    corpus: Corpus, whole: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    shutil.copy(study / "branch64" / "run.json", study / "trunk" / "run.json")
    with pytest.raises(RecordError, match=r"trunk holds a run with other .*run 'branch64'"):
        trained(study, corpus, Memory())


def test_a_damaged_line_of_the_training_loss_is_said_and_costs_nothing(
    corpus: Corpus, whole: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    path = study / "branch64" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"loss": ', '"loss": -', 1))
    assert trained(study, corpus, Memory()) == {}
    specs = [job.spec for job in tree(corpus, STEPS, noise_every=8, noise_parts=2)]
    (notice,) = metrics_notices(study, specs)
    assert notice.code == "metrics-damaged"
    assert "metrics.jsonl line 1 is damaged: loss is -" in notice.message


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    """The benchmark of that name."""
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_study.py"
    spec = importlib.util.spec_from_file_location("fuzz_study", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_study"] = module
    spec.loader.exec_module(module)
    return module


def test_a_few_damages_at_random(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))
    bench = fuzzer.Bench(tmp_path, stops=())
    outcomes = Counter(bench.case(seed)[0] for seed in range(8))
    assert set(outcomes) <= set(fuzzer.ACCEPTED)
    assert {"equal", "refused"} <= set(outcomes)

"""What a run may be asked for beside the ladder: other texts, positions, less data, stopping early,
a branch with another batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scalelab.corpus import Corpus, CorpusSpec, prepare
from scalelab.counting import flops_per_token
from scalelab.errors import CorpusError, SpecError, TrainingError
from scalelab.models import LanguageModel
from scalelab.training.evaluate import Evaluator
from scalelab.training.loop import Trainer
from scalelab.training.records import EvalLine, read_lines
from scalelab.training.spec import TrainSpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def quick(spec: TrainSpec) -> TrainSpec:
    """Twenty-four steps without a look at the noise."""
    return replace(spec, steps=24, noise_every=0)


@pytest.fixture
def greedy(spec: TrainSpec) -> TrainSpec:
    """A run on 128 tokens at a high rate: its held-out loss soon rises."""
    return replace(
        spec, lr=3e-2, steps=200, schedule="constant", unique_tokens=128, curve_points=24,
        patience=3, noise_every=0,
    )  # fmt: skip


def train(spec: TrainSpec, folder: Path, stop_at: int | None = None) -> str:
    folder.mkdir(exist_ok=True)
    trainer = Trainer(spec, folder, CPU)
    return trainer.train(lambda *_: None, lambda: trainer.step == stop_at)


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def untimed(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in outcome(folder).items() if key != "seconds"}


# --- other texts and positions --------------------------------------------------------------------


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Text of other letters than the training text's."""
    folder = tmp_path_factory.mktemp("strange")
    generator = np.random.default_rng(0)
    for number in range(20):
        text = "".join(generator.choice(list("QXZJ?!0123"), 2000))
        (folder / f"{number}.txt").write_text(text)
    return prepare(CorpusSpec(paths=(str(folder),)), tmp_path_factory.mktemp("cache"))


def test_the_final_model_is_evaluated_on_other_texts(
    quick: TrainSpec, corpus: Corpus, strange: Corpus, folder: Path
) -> None:
    others = (("same", str(corpus.folder)), ("strange", str(strange.folder)))
    train(replace(quick, others=others, others_tokens=quick.eval_tokens), folder)
    values = outcome(folder)
    assert values["loss.same"] == values["loss"], "the same held-out tokens"
    assert values["loss.strange"] > values["loss.same"] + 1


def test_another_vocabulary_fails_before_any_training(
    quick: TrainSpec, language: Path, folder: Path, tmp_path: Path
) -> None:
    other = prepare(CorpusSpec(paths=(str(language),), tokenizer="bpe:260"), tmp_path / "bpe")
    with pytest.raises(CorpusError, match="Prepare words with the tokenizer of the training"):
        Trainer(replace(quick, others=(("words", str(other.folder)),)), folder, CPU)


def test_the_loss_at_each_position_lies_beside_the_result(quick: TrainSpec, folder: Path) -> None:
    train(quick, folder)
    positions = json.loads((folder / "positions.json").read_text())["loss"]
    assert len(positions) == quick.shape.context
    assert np.mean(positions) == outcome(folder)["loss"]
    assert positions[0] > np.mean(positions[8:]), "the first letters of a word are the hardest"


def test_a_trunk_has_no_positions_and_a_loss_at_its_last_step(
    quick: TrainSpec, folder: Path, corpus: Corpus
) -> None:
    others = (("same", str(corpus.folder)),)
    trunk = replace(quick, kind="trunk", stop_step=18, curve_points=0, others=others)
    assert train(trunk, folder) == "finished"
    assert not (folder / "positions.json").exists()
    assert "loss.same" not in outcome(folder)
    assert [line.step for line in read_lines(folder / "evals.jsonl", EvalLine).lines] == [18]


# --- less data ------------------------------------------------------------------------------------


def test_a_run_on_less_data_says_how_much_it_saw(quick: TrainSpec, tmp_path: Path) -> None:
    for tokens, seen in ((1000, 992), (10_000, 24 * 128)):
        folder = tmp_path / str(tokens)
        train(replace(quick, unique_tokens=tokens), folder)
        values = outcome(folder)
        assert (values["unique_tokens"], values["tokens"]) == (seen, 24 * 128)


def test_less_data_overfits_more(quick: TrainSpec, tmp_path: Path) -> None:
    losses = []
    for tokens in (64, 4096):
        train(replace(quick, steps=100, unique_tokens=tokens), tmp_path / str(tokens))
        losses.append(outcome(tmp_path / str(tokens))["loss"])
    assert losses[0] > losses[1] + 0.3


def test_more_data_than_there_is_is_refused(quick: TrainSpec, folder: Path) -> None:
    with pytest.raises(CorpusError, match="data set of 999999999 tokens is asked for"):
        Trainer(replace(quick, unique_tokens=999_999_999), folder, CPU)


# --- stopping early -------------------------------------------------------------------------------


def test_a_run_stops_when_its_loss_has_turned_and_is_its_best_model(
    greedy: TrainSpec, folder: Path
) -> None:
    assert train(greedy, folder) == "finished"
    values = outcome(folder)
    evals = list(read_lines(folder / "evals.jsonl", EvalLine).lines)
    best = min(evals, key=lambda line: line.loss)
    assert values["steps"] == best.step
    assert values["tokens"] == best.tokens
    assert values["flops"] == flops_per_token(greedy.shape) * best.tokens
    after = [line for line in evals if line.step > best.step]
    assert len(after) == greedy.patience
    assert values["stopped_at_step"] == evals[-1].step < greedy.steps
    assert values["loss"] < evals[-1].loss - 0.1
    assert values["loss"] == pytest.approx(best.loss, abs=0.2), "more of the held-out text"
    assert not (folder / "checkpoint").exists()


def test_its_loss_is_that_of_a_run_that_ends_where_it_was_best(
    greedy: TrainSpec, tmp_path: Path
) -> None:
    train(greedy, tmp_path / "early")
    values = outcome(tmp_path / "early")
    train(replace(greedy, patience=0, steps=values["steps"]), tmp_path / "short")
    assert outcome(tmp_path / "short")["loss"] == values["loss"]
    positions = [(tmp_path / f / "positions.json").read_text() for f in ("early", "short")]
    assert positions[0] == positions[1]


def test_killed_and_resumed_it_stops_where_it_would_have_bitwise(
    greedy: TrainSpec, tmp_path: Path
) -> None:
    train(greedy, tmp_path / "whole")
    values = outcome(tmp_path / "whole")
    best, end = values["steps"], values["stopped_at_step"]
    for stop_at in (best - 1, best, best + 1, end - 1):
        folder = tmp_path / f"cut{stop_at}"
        assert train(greedy, folder, stop_at) == "interrupted"
        # A kill leaves lines behind the checkpoint, which a resumed run writes again.
        with (folder / "evals.jsonl").open("a") as file:
            file.write(json.dumps({"step": stop_at + 1, "tokens": 1, "loss": 0.001}) + "\n")
        assert train(greedy, folder) == "finished"
        assert untimed(folder) == untimed(tmp_path / "whole")


def test_a_checkpoint_of_the_very_step_at_which_it_stops_is_the_end(
    greedy: TrainSpec, tmp_path: Path
) -> None:
    train(greedy, tmp_path / "whole")
    end = outcome(tmp_path / "whole")["stopped_at_step"]
    kept = replace(greedy, fork_steps=(end,))
    (tmp_path / "kept").mkdir()
    trainer = Trainer(kept, tmp_path / "kept", CPU)
    trainer._conclude = lambda _: "interrupted"  # type: ignore[method-assign] # killed right there
    trainer.train(lambda *_: None, lambda: False)
    assert not (tmp_path / "kept" / "result.json").exists()
    assert train(kept, tmp_path / "kept") == "finished"
    assert untimed(tmp_path / "kept") == untimed(tmp_path / "whole")


def test_a_run_that_never_turns_goes_to_its_last_step(quick: TrainSpec, folder: Path) -> None:
    assert train(replace(quick, patience=3, curve_points=4), folder) == "finished"
    values = outcome(folder)
    assert values["steps"] == values["stopped_at_step"] == 24


def test_evaluations_that_never_improve_end_it_with_the_first(
    quick: TrainSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(range(1, 100))
    monkeypatch.setattr(Evaluator, "by_position", lambda *_: np.full(32, float(next(losses))))
    train(replace(quick, patience=2, curve_points=24), folder)
    values = outcome(folder)
    first, _, third, *_ = (line.step for line in read_lines(folder / "evals.jsonl", EvalLine).lines)
    assert (values["steps"], values["stopped_at_step"]) == (first, third)


def test_evaluations_that_are_no_numbers_end_it_as_it_stands(
    quick: TrainSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Evaluator.by_position, iter(range(100))

    def no_number_twice(evaluator: Evaluator, model: LanguageModel) -> NDArray[np.float64]:
        return np.full(32, np.nan) if next(calls) < 2 else real(evaluator, model)

    monkeypatch.setattr(Evaluator, "by_position", no_number_twice)
    train(replace(quick, patience=2, curve_points=24), folder)
    values = outcome(folder)
    assert values["steps"] == values["stopped_at_step"] == 2
    assert values["loss"] > 0


# --- a branch with another batch ------------------------------------------------------------------


@pytest.fixture
def trunk(quick: TrainSpec, tmp_path: Path) -> TrainSpec:
    """Sixteen steps of 128 tokens, trained."""
    trunk = replace(
        quick, run="trunk", kind="trunk", steps=32, stop_step=16, fork_steps=(8, 16),
        schedule="constant",
    )  # fmt: skip
    train(trunk, tmp_path / "trunk")
    return trunk


def test_a_branch_with_another_batch_goes_on_from_the_same_tokens(
    trunk: TrainSpec, tmp_path: Path
) -> None:
    branch = replace(
        trunk, run="wide", kind="run", trunk="trunk", batch_tokens=256, stop_step=None, steps=8,
        fork_step=4, trunk_step=8, fork_steps=(), warmup_steps=0,
    )  # fmt: skip
    (tmp_path / "wide").mkdir()
    trainer = Trainer(branch, tmp_path / "wide", CPU)
    assert trainer.step == 4
    seen, going_on = trainer.batches(4)[0], Trainer(trunk, tmp_path / "trunk", CPU).batches(8)[0]
    assert torch.equal(seen[:4], going_on), "where the trunk stopped reading"
    assert trainer.train(lambda *_: None, lambda: False) == "finished"
    values = outcome(tmp_path / "wide")
    assert (values["steps"], values["tokens"], values["batch_tokens"]) == (8, 2048, 256)
    steps = [line.step for line in read_lines(tmp_path / "wide" / "evals.jsonl", EvalLine).lines]
    assert min(steps) > 4


def test_a_fork_at_another_number_of_tokens_is_refused_with_both(
    trunk: TrainSpec, tmp_path: Path
) -> None:
    branch = replace(
        trunk, run="wide", kind="run", trunk="trunk", batch_tokens=256, stop_step=None,
        fork_step=8, trunk_step=8, fork_steps=(),
    )  # fmt: skip
    seen = r"at its step 8, after 1024 tokens; 8 steps of 256 tokens are 2048"
    with pytest.raises(TrainingError, match=seen):
        Trainer(branch, tmp_path / "wide", CPU)


def test_a_missing_fork_names_the_trunks_step(trunk: TrainSpec, tmp_path: Path) -> None:
    branch = replace(
        trunk, run="wide", kind="run", trunk="trunk", batch_tokens=256, stop_step=None,
        fork_step=6, trunk_step=12, fork_steps=(),
    )  # fmt: skip
    with pytest.raises(TrainingError, match="branches off trunk at step 12"):
        Trainer(branch, tmp_path / "wide", CPU)


def test_a_branch_may_have_betas_and_decay_of_its_own(trunk: TrainSpec, tmp_path: Path) -> None:
    branch = replace(
        trunk, run="own", kind="run", trunk="trunk", stop_step=None, steps=10, fork_step=8,
        fork_steps=(), beta2=0.99, weight_decay=0.0,
    )  # fmt: skip
    groups = Trainer(branch, tmp_path / "own", CPU).optimizer.param_groups
    assert [group["betas"] for group in groups] == [(0.9, 0.99)] * 2
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]


def test_patience_of_a_trunk_is_refused(trunk: TrainSpec) -> None:
    with pytest.raises(SpecError, match="a trunk does not stop early"):
        replace(trunk, patience=1)

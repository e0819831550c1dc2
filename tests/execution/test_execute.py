"""Many runs: in which order they start, what happens to those that fail, and going on after a stop.

Order and failures are asked of a scripted pool, which tells exactly one thing at a time; what
processes do is asked of real ones.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tiny_runs import (
    Memory,
    ScriptedPool,
    alive,
    fake_checkpoint,
    fake_result,
    result_of,
    tiny,
    tree,
)

from scalelab.corpus import Corpus
from scalelab.errors import RecordError
from scalelab.execution.execute import ATTEMPTS, Job, Silent, execute
from scalelab.execution.pool import Event, Pool
from scalelab.training.records import checkpoints
from scalelab.training.spec import read_spec

# --- order, asked of a scripted pool --------------------------------------------------------------


def finish(folder: Path, status: str = "finished") -> Event:
    """What a worker leaves and says when a run has ended."""
    fake_result(folder.parent, read_spec(folder / "run.json"), status=status)
    return Event("end", folder, status=status)


def scripted(
    study: Path, jobs: Sequence[Job], size: int, play: Callable[[Path], list[Event]], memory: Memory
) -> tuple[dict[str, str], list[str]]:
    """Failures, and the runs in the order in which they were handed out."""
    pool = ScriptedPool(size, play)
    return execute(study, jobs, cast(Pool, pool), memory), pool.submitted


def alone(*seconds: float) -> list[Job]:
    return [Job(tiny(None, f"run{i}"), s) for i, s in enumerate(seconds)]


def test_the_longest_run_starts_first(tmp_path: Path) -> None:
    failures, order = scripted(
        tmp_path, alone(1, 5, 3), 1, lambda folder: [finish(folder)], Memory()
    )
    assert failures == {}
    assert order == ["run1", "run2", "run0"]


def test_a_trunk_weighs_what_hangs_on_it(tmp_path: Path) -> None:
    trunk, *branches = tree(None)
    jobs = [
        Job(tiny(None, "long"), 5.0),
        Job(trunk.spec, 3.0),
        *(Job(branch.spec, 4.0) for branch in branches),
    ]

    def play(folder: Path) -> list[Event]:
        if folder.name == "trunk":
            for step in trunk.spec.fork_steps:
                fake_checkpoint(tmp_path, "trunk", step)
        return [finish(folder)]

    _, order = scripted(tmp_path, jobs, 1, play, Memory())
    assert order[:2] == ["trunk", "long"], "3 + 4 seconds are more than 5"


def test_a_branch_starts_when_its_fork_is_there_not_when_its_trunk_has_ended(
    tmp_path: Path,
) -> None:
    jobs = tree(None)
    first, second, last = jobs[0].spec.fork_steps
    seen: list[tuple[str, bool]] = []

    class Steps(ScriptedPool):
        """The trunk reaches its forks one after another, and then its end."""

        def events(self, wait: float) -> Any:  # noqa: ARG002 - the signature of a pool
            for step in (first, second, last):
                if not any(at == step for _, at in checkpoints(tmp_path / "trunk" / "checkpoint")):
                    fake_checkpoint(tmp_path, "trunk", step)
                    yield Event("progress", tmp_path / "trunk", step=step, loss=1.0, speed=1.0)
                    return
            name = next(n for n in self.submitted if not (tmp_path / n / "result.json").exists())
            self.idle += 1
            yield finish(tmp_path / name)

    def note(job: Job) -> None:
        seen.append((job.spec.run, (tmp_path / "trunk" / "result.json").exists()))

    pool = Steps(4, lambda _: [])
    assert execute(tmp_path, jobs, cast(Pool, pool), Memory(at_start=note)) == {}
    assert seen == [(job.spec.run, False) for job in jobs]


def test_a_branch_with_a_checkpoint_of_its_own_needs_no_trunk(tmp_path: Path) -> None:
    trunk, branch, *_ = tree(None)
    fake_checkpoint(tmp_path, branch.spec.run, branch.spec.fork_step + 1)
    fake_result(tmp_path, trunk.spec)
    failures, order = scripted(
        tmp_path, [trunk, branch], 1, lambda folder: [finish(folder)], Memory()
    )
    assert failures == {}
    assert order == [branch.spec.run]


def test_a_branch_whose_fork_is_gone_says_what_to_delete(tmp_path: Path) -> None:
    trunk, branch, *_ = tree(None)
    fake_result(tmp_path, trunk.spec)
    failures, order = scripted(
        tmp_path, [trunk, branch], 1, lambda folder: [finish(folder)], Memory()
    )
    assert order == ["trunk"] * ATTEMPTS, "trained again, but this one leaves no checkpoint"
    assert f"Delete {tmp_path / 'trunk'} and run the same" in failures[branch.spec.run]


def test_a_branch_with_another_batch_waits_for_the_trunks_own_step(tmp_path: Path) -> None:
    trunk, branch, *_ = tree(None)
    fork = branch.spec.fork_step
    half = replace(
        branch.spec,
        run="half",
        batch_tokens=32,
        steps=4 * fork,
        fork_step=2 * fork,
        trunk_step=fork,
    )

    def play(folder: Path) -> list[Event]:
        if folder.name == "trunk":
            fake_checkpoint(tmp_path, "trunk", fork)
        return [finish(folder)]

    jobs = [trunk, Job(half, 1.0)]
    failures, order = scripted(tmp_path, jobs, 1, play, Memory())
    assert (failures, order) == ({}, ["trunk", "half"])

    (tmp_path / "half" / "result.json").unlink()
    memory = Memory()
    failures, order = scripted(tmp_path, jobs, 1, play, memory)
    assert (failures, order) == ({}, ["trunk", "half"]), "the checkpoint went with the branch"
    assert f"its checkpoint at step {fork}, from which half begins, is gone" in memory.notes[0]


def test_a_diverged_trunk_counts_in_the_branchs_steps(tmp_path: Path) -> None:
    trunk, branch, *_ = tree(None)
    fork = branch.spec.fork_step
    half = replace(branch.spec, run="half", batch_tokens=32, steps=4 * fork,
                   fork_step=2 * fork, trunk_step=fork)  # fmt: skip

    def play(folder: Path) -> list[Event]:
        fake_result(tmp_path, trunk.spec, status="diverged", steps=5)
        return [Event("end", folder, status="diverged")]

    scripted(tmp_path, [trunk, Job(half, 1.0)], 1, play, Memory())
    values = result_of(tmp_path, "half")
    assert values is not None
    assert (values["run"], values["steps"], values["batch_tokens"]) == ("half", 10, 32)


def test_what_has_ended_is_not_started_again(tmp_path: Path) -> None:
    jobs = alone(1, 2)
    scripted(tmp_path, jobs, 2, lambda folder: [finish(folder)], Memory())
    memory = Memory()
    failures, order = scripted(tmp_path, jobs, 2, lambda folder: [finish(folder)], memory)
    assert (failures, order, memory.told) == ({}, [], [])


def test_a_run_whose_process_dies_each_time_fails_and_its_branches_with_it(tmp_path: Path) -> None:
    jobs = [*tree(None), *alone(1)]

    def play(folder: Path) -> list[Event]:
        if folder.name == "run0":
            return [finish(folder)]
        return [Event("end", folder, status="crashed", error="killed (out of memory?)")]

    memory = Memory()
    failures, order = scripted(tmp_path, jobs, 1, play, memory)
    assert order.count("trunk") == ATTEMPTS
    assert order.count("run0") == 1, "the others go on"
    assert failures["trunk"] == "killed (out of memory?)"
    for job in jobs[1:4]:
        assert failures[job.spec.run] == "its trunk trunk did not get that far"
    assert set(failures) == {job.spec.run for job in jobs[:4]}
    assert memory.order("crashed") == ["trunk"] * ATTEMPTS


def test_a_crash_that_the_second_attempt_mends_is_no_failure(tmp_path: Path) -> None:
    def play(folder: Path) -> list[Event]:
        if not (folder / "once").exists():
            (folder / "once").touch()
            return [Event("end", folder, status="crashed", error="killed")]
        return [finish(folder)]

    memory = Memory()
    failures, _ = scripted(tmp_path, alone(1), 1, play, memory)
    assert failures == {}
    assert [status for _, status in memory.told] == ["started", "crashed", "started", "finished"]


def test_events_of_runs_that_nobody_started_are_passed_over(tmp_path: Path) -> None:
    stray = Event("progress", tmp_path / "stray", step=1)
    memory = Memory()
    scripted(tmp_path, alone(1), 1, lambda folder: [stray, finish(folder)], memory)
    assert memory.steps == []


def test_checkpoints_go_when_every_branch_has_ended_and_only_then(tmp_path: Path) -> None:
    jobs = tree(None)

    def play(folder: Path, fails: str = "") -> list[Event]:
        if folder.name == "trunk":
            for step in jobs[0].spec.fork_steps:
                fake_checkpoint(tmp_path, "trunk", step)
        if folder.name == fails:
            return [Event("end", folder, status="failed", error="disk full")]
        return [finish(folder)]

    failing = jobs[-1].spec.run
    failures, _ = scripted(tmp_path, jobs, 1, lambda folder: play(folder, failing), Memory())
    assert failures == {failing: "disk full"}
    assert len(checkpoints(tmp_path / "trunk" / "checkpoint")) == 3, "still needed"
    failures, order = scripted(tmp_path, jobs, 1, play, Memory())
    assert (failures, order) == ({}, [failing]), "the same call tries it again"
    assert not (tmp_path / "trunk" / "checkpoint").exists()


def test_a_damaged_run_json_stops_before_anything_is_trained(tmp_path: Path) -> None:
    jobs = alone(1, 2)
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "run.json").write_text("{")
    with pytest.raises(RecordError, match=r"run1/run\.json is damaged: .* Delete it and run"):
        scripted(tmp_path, jobs, 1, lambda folder: [finish(folder)], Memory())
    assert result_of(tmp_path, "run0") is None


# --- what processes do, asked of real ones --------------------------------------------------------

STEPS = 800
"""Long enough that a trunk is still at work at the look that follows its first checkpoint."""


def losses(study: Path) -> dict[str, Any]:
    """The final loss of every run that has ended, by run."""
    return {
        path.parent.name: json.loads(path.read_text())["loss"]
        for path in study.glob("*/result.json")
    }


def steps_logged(run: Path) -> list[int]:
    """The steps that training logged, in the order in which it did, repeats included."""
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(pool: Pool, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one trunk and three branches that nothing interrupted."""
    study = tmp_path_factory.mktemp("whole")
    memory = Memory()
    assert execute(study, tree(corpus, STEPS), pool, memory) == {}
    assert sorted(memory.order("finished")) == sorted(memory.order("started"))
    assert memory.steps, "progress is told along the way"
    return study


@pytest.mark.slow
def test_a_study_trains_every_run_and_keeps_no_checkpoint(whole: Path, corpus: Corpus) -> None:
    for job in tree(corpus, STEPS):
        values = result_of(whole, job.spec.run)
        assert values is not None
        assert values["status"] == "finished"
        assert values["steps"] == job.spec.last_step
        assert values["trunk"] == "trunk"
        if job.spec.kind == "trunk":
            assert values["loss"] is None
        else:
            assert 0.5 < values["loss"] < 3.0, "between knowing all words and guessing letters"
    branches = [values for run, values in sorted(losses(whole).items()) if run != "trunk"]
    assert len(set(branches)) == 3
    assert not list(whole.rglob("*.pt"))


@pytest.mark.slow
def test_stopped_and_called_again_equals_never_stopped_bitwise(
    whole: Path, pool: Pool, corpus: Corpus, tmp_path: Path
) -> None:
    jobs = tree(corpus, STEPS)
    trunk = tmp_path / "trunk"

    def stop_at_first_checkpoint() -> None:
        if checkpoints(trunk / "checkpoint"):
            raise KeyboardInterrupt

    own = Pool(1)
    own.threads = pool.threads  # sums over other numbers of threads round otherwise
    with pytest.raises(KeyboardInterrupt), own:  # noqa: PT012 - the processes must be seen first
        pids = [process.process.pid for process in own._processes]
        execute(tmp_path, jobs, own, Memory(at_tick=stop_at_first_checkpoint))
    assert not any(alive(pid) for pid in pids)
    assert result_of(tmp_path, "trunk") is None, "it was still at work"
    # Not always beyond a fork: a stop may come while the fork's own checkpoint is written.
    assert checkpoints(trunk / "checkpoint"), "it goes on from somewhere"

    memory = Memory()
    assert execute(tmp_path, jobs, pool, memory) == {}
    assert losses(tmp_path) == losses(whole)
    logged = steps_logged(trunk)
    assert logged == sorted(set(logged)), "nothing was trained twice"


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_its_run_goes_on(
    whole: Path, pool: Pool, corpus: Corpus, tmp_path: Path
) -> None:
    trunk, *_, longest = tree(corpus, STEPS)
    folder = tmp_path / "trunk"
    killed: list[int] = []

    def kill_once() -> None:
        if not killed and checkpoints(folder / "checkpoint"):
            killed.extend(p.process.pid for p in pool._processes if p.folder == folder)
            os.kill(killed[0], signal.SIGKILL)

    memory = Memory(at_tick=kill_once)
    assert execute(tmp_path, [trunk, longest], pool, memory) == {}
    assert [what for run, what in memory.told if run == "trunk"] == [
        "started", "crashed", "started", "finished",
    ]  # fmt: skip
    assert set(memory.errors) == {"trunk"}
    assert "killed (out of memory?)" in memory.errors["trunk"]
    assert pool.size == 2
    assert not alive(killed[0])
    assert losses(tmp_path)[longest.spec.run] == losses(whole)[longest.spec.run]
    logged = steps_logged(folder)
    before = [step for step in logged if step <= trunk.spec.fork_steps[0]]
    assert len(before) == len(set(before)), "what stood before the checkpoint was not done again"


def test_branches_of_a_diverged_trunk_are_diverged_not_failed(
    pool: Pool, corpus: Corpus, tmp_path: Path
) -> None:
    jobs = tree(corpus, lr=1e6, clip=0.0)
    memory = Memory()
    assert execute(tmp_path, jobs, pool, memory) == {}
    assert memory.order("started") == ["trunk"]
    assert sorted(memory.order("diverged")) == sorted(job.spec.run for job in jobs)
    trunk = result_of(tmp_path, "trunk")
    assert trunk is not None
    for job in jobs[1:]:
        values = result_of(tmp_path, job.spec.run)
        assert values is not None
        assert (values["run"], values["status"]) == (job.spec.run, "diverged")
        assert values["steps"] == trunk["steps"] < job.spec.fork_step
        assert f"with its trunk at step {trunk['steps']}" in memory.errors[job.spec.run]
    again = Memory()
    assert execute(tmp_path, jobs, pool, again) == {}
    assert again.told == [], "that is a result"


def test_damaged_folders_fail_by_name_and_the_others_go_on(
    pool: Pool, corpus: Corpus, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(corpus.folder, damaged)
    shard = damaged / "train.tokens"
    shard.write_bytes(shard.read_bytes()[:-7])
    good = tiny(corpus, "good")
    jobs = [
        Job(good, 5.0),
        Job(replace(good, run="no-corpus", corpus=str(damaged)), 4.0),
        Job(replace(good, run="no-spec"), 1.0),
        Job(replace(good, run="later"), 0.5),
    ]
    study = tmp_path / "study"

    def damage(_: Job) -> None:
        # The shortest runs wait while the first two train: what is there is what is read.
        (study / "no-spec" / "run.json").write_text('{"run": "no-s')

    failures = execute(study, jobs, pool, Memory(at_start=damage))
    assert set(failures) == {"no-corpus", "no-spec"}
    assert "train.tokens" in failures["no-corpus"]
    assert "damaged" in failures["no-corpus"]
    assert "run.json is damaged" in failures["no-spec"]
    assert set(losses(study)) == {"good", "later"}

    (study / "no-spec" / "run.json").unlink()
    shard.write_bytes((corpus.folder / "train.tokens").read_bytes())
    assert execute(study, jobs, pool, Silent()) == {}, "mended as the messages say"
    assert set(losses(study).values()) == {losses(study)["good"]}, "equal specs, equal losses"

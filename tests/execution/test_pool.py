"""Processes: handed runs, replaced when they die, none left behind.

Where only the protocol matters the process is a shell script that speaks it: it starts at once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from tiny_runs import alive, result_of, tiny

from scalelab.corpus import Corpus
from scalelab.errors import ScalelabError, TrainingError
from scalelab.execution import pool as pool_module
from scalelab.execution.pool import Event, Pool, available_cores
from scalelab.execution.study import register
from scalelab.training.records import checkpoints

READY = """echo '{"event": "ready", "device": "cpu", "name": "made of straw", "torch": "0.0"}'"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a pool start this shell script in place of the worker."""

    def use(text: str) -> None:
        path = tmp_path / "worker.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return use


def pids(pool: Pool) -> list[int]:
    return [process.process.pid for process in pool._processes]


def end_of(folder: Path, status: str = "finished") -> str:
    """What a worker says when the run of a folder has ended."""
    return json.dumps({"event": "end", "folder": str(folder), "status": status, "error": None})


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again; fails after a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def events_until_end(pool: Pool, count: int = 1) -> list[Event]:
    """Every event until `count` runs have ended; fails after a minute without."""
    seen: list[Event] = []
    deadline = time.monotonic() + 60
    while sum(event.kind == "end" for event in seen) < count:
        assert time.monotonic() < deadline, f"no end in sight, but {seen}"
        seen += pool.events(wait=0.5)
    return seen


def test_a_run_is_trained_in_another_process(pool: Pool, corpus: Corpus, tmp_path: Path) -> None:
    folder = register(tmp_path, tiny(corpus, "one"))
    pool.submit(folder)
    assert pool.idle == pool.size - 1 == 1
    end = events_until_end(pool)[-1]
    assert (end.folder, end.status, end.error) == (folder, "finished", None)
    assert pool.idle == 2
    values = result_of(tmp_path, "one")
    assert values is not None
    assert values["loss"] < 5.0
    assert pool.torch_version == version("torch")


def test_speed_is_measured_not_trained(pool: Pool, corpus: Corpus, tmp_path: Path) -> None:
    pool.submit(register(tmp_path, tiny(corpus, "speed", kind="speed", steps=10**6)), seconds=0.01)
    assert events_until_end(pool)[-1].status == "finished"
    values = result_of(tmp_path, "speed")
    assert values is not None
    assert values["tokens_per_second"] > 0
    assert set(values) == {"run", "tokens_per_second"}


def test_a_folder_without_a_run_fails_with_the_reason(pool: Pool, tmp_path: Path) -> None:
    pool.submit(tmp_path / "nothing")
    end = events_until_end(pool)[-1]
    assert end.status == "failed"
    assert "cannot read" in (end.error or "")
    assert "run.json" in (end.error or "")
    assert pool.idle == 2, "the process lives on"


def test_a_process_that_died_idle_costs_no_run(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    """A run handed to a process that is dead already is reported as crashed, never lost."""
    script(f"{READY}; read line; echo '{end_of(tmp_path)}'; read line")
    with Pool(1) as pool:
        process = pool._processes[0].process
        process.kill()
        process.wait()
        pool.submit(tmp_path)
        end = events_until_end(pool)[-1]
        assert (end.folder, end.status) == (tmp_path, "crashed")
        pool.submit(tmp_path)
        assert events_until_end(pool)[-1].status == "finished"


def test_a_process_that_does_not_start_says_why(script: Callable[[str], None]) -> None:
    script("echo 'no module named torch' >&2; exit 3")
    with pytest.raises(TrainingError, match="did not start: no module named torch"), Pool(2):
        pass


def test_a_graphics_card_is_used_by_one_process(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    script(f"echo $$ >> {noted}; {READY.replace('cpu', 'cuda')}; read line; exit 0")
    with Pool(3) as pool:
        assert pool.size == pool.idle == 1
        assert (pool.device, pool.device_name) == ("cuda", "made of straw")
        started = [int(line) for line in noted.read_text().split()]
        assert [pid for pid in started if alive(pid)] == pids(pool)
    assert not any(alive(pid) for pid in started)


@pytest.mark.parametrize(("device", "size", "most"), [("cuda", 1, 2), ("cpu", 5, 5)])
def test_few_processes_start_before_the_device_is_known(
    script: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    size: int,
    most: int,
) -> None:
    noted = tmp_path / "pids"
    script(f"echo $$ >> {noted}; {READY.replace('cpu', device)}; read line; exit 0")
    monkeypatch.setattr(pool_module, "FIRST", 2)
    with Pool(5) as pool:
        assert pool.size == pool.idle == size
        assert len(noted.read_text().split()) <= most


@pytest.mark.gpu
def test_a_gpu_trains_and_measures(cuda: torch.device, corpus: Corpus, tmp_path: Path) -> None:
    with Pool() as pool:
        assert (pool.size, pool.device) == (1, "cuda")
        assert pool.device_name == torch.cuda.get_device_name(cuda)
        pool.submit(register(tmp_path, tiny(corpus, "speed", kind="speed", steps=10**6)), 0.5)
        assert events_until_end(pool)[-1].status == "finished"
        pool.submit(register(tmp_path, tiny(corpus, "one")))
        assert events_until_end(pool)[-1].status == "finished"
    values = result_of(tmp_path, "one")
    assert values is not None
    assert values["loss"] < 5.0


def test_a_process_that_ignores_the_request_to_stop_is_killed(
    script: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "GRACE", 0.2)
    # Ten seconds at most, so that a pool that fails to kill it leaves nothing for ever.
    script(f"trap '' TERM; {READY}; for i in $(seq 200); do sleep 0.05; done")
    pool = Pool(2)
    with pool:
        started = pids(pool)
        assert all(alive(pid) for pid in started)
    assert not any(alive(pid) for pid in started)
    assert pool.size == 0


def test_an_error_inside_leaves_no_process(script: Callable[[str], None]) -> None:
    script(f"{READY}; read line; exit 0")
    pool = Pool(2)
    with pytest.raises(KeyboardInterrupt), pool:  # noqa: PT012 - the processes must be seen first
        started = pids(pool)
        raise KeyboardInterrupt
    assert not any(alive(pid) for pid in started)


def test_words_that_are_no_events_are_passed_over(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    noise = "echo 'a library greets you'; echo 7; echo '{}'; echo '[1'"
    script(f"{noise}; {READY}; read line; {noise}; echo '{end_of(tmp_path)}'; read line")
    with Pool(1) as pool:
        pool.submit(tmp_path)
        last = events_until_end(pool)[-1]
        assert (last.folder, last.status) == (tmp_path, "finished")


def test_what_a_dying_process_said_last_is_the_reason(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    script(f"{READY}; read line; echo 'the floor gave way' >&2; exit 7")
    with Pool(1) as pool:
        pool.submit(tmp_path)
        end = events_until_end(pool)[-1]
    assert end.status == "crashed"
    assert end.error == "the training process ended with exit code 7. the floor gave way"


def test_a_process_told_to_end_by_somebody_else_has_crashed_and_is_replaced(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    script(f"{READY}; read line; echo '{end_of(tmp_path, 'interrupted')}'; exit 0")
    with Pool(1) as pool:
        before = pids(pool)
        pool.submit(tmp_path)
        (end,) = events_until_end(pool)
        assert pids(pool) != before
    assert end.status == "crashed"
    assert "asked to end by another program" in (end.error or "")


def test_many_processes_that_talk_to_the_end_are_stopped_quietly(
    script: Callable[[str], None],
) -> None:
    """Whatever a process is in the middle of saying when it is stopped disturbs nobody."""
    script(f"{READY}; while :; do echo '{{}}'; echo noise >&2; done")
    for _ in range(5):
        with Pool(4) as pool:
            assert pool.size == 4


ORPHAN = """
import sys
from pathlib import Path
from scalelab.execution.pool import Pool
with Pool(1) as pool:
    pool.submit(Path(sys.argv[1]))
    print(pool._processes[0].process.pid, flush=True)
    while True:
        list(pool.events(wait=1.0))
"""


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps, which tells zombies, is absent")
def test_when_the_parent_is_killed_its_process_writes_a_checkpoint_and_ends(
    corpus: Corpus, tmp_path: Path
) -> None:
    # Of itself it would write the one checkpoint at step 5, and train for a minute.
    spec = tiny(corpus, "orphan", steps=50_000, fork_steps=(5,), checkpoint_seconds=1e9)
    folder = register(tmp_path, spec)
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = parent.stdout.readline().strip()
    wait_until(lambda: bool(checkpoints(folder / "checkpoint")))
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def ended() -> bool:
        shown = subprocess.run(["ps", "-o", "stat=", "-p", worker], capture_output=True, text=True)
        return shown.stdout.strip()[:1] in ("", "Z")

    wait_until(ended)
    assert max(step for _, step in checkpoints(folder / "checkpoint")) > 5
    assert result_of(tmp_path, "orphan") is None


def test_no_process_is_idle_for_a_third_run(pool: Pool, corpus: Corpus, tmp_path: Path) -> None:
    folders = [register(tmp_path, tiny(corpus, name)) for name in "ab"]
    for folder in folders:
        pool.submit(folder)
    with pytest.raises(ScalelabError, match="no idle"):
        pool.submit(tmp_path / "c")
    ends = [event for event in events_until_end(pool, 2) if event.kind == "end"]
    assert {event.folder for event in ends} == set(folders)


def test_threads_share_the_cores() -> None:
    cores = available_cores()
    assert cores >= 1
    assert Pool(1).threads == cores
    assert Pool(cores).threads == 1
    assert Pool(4 * cores).threads == 1
    assert Pool().wanted == cores

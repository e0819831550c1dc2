"""What a person sees: plain lines without a terminal, a live table on one. The clock is ours."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from scalelab.counting import TransformerShape
from scalelab.execution.execute import Job
from scalelab.execution.pool import Event
from scalelab.training.spec import TrainSpec
from scalelab.view import PLAIN_SECONDS, View


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A view on a pretended console, and what it wrote."""

    def __init__(self, *, terminal: bool, width: int = 80) -> None:
        self.file = io.StringIO()
        self.clock = Clock()
        console = Console(
            file=self.file, force_terminal=terminal, width=width, _environ={"TERM": "xterm"}
        )
        self.view = View(console, self.clock)

    @property
    def text(self) -> str:
        """Everything written, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.file.getvalue())

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def job(run: str, steps: int = 1000) -> Job:
    shape = TransformerShape(1, 8, 1, 8, 8, 8)
    return Job(TrainSpec(run=run, shape=shape, corpus="", batch_tokens=64, steps=steps, lr=1.0), 5)


def at(step: int, loss: float = 2.34567, speed: float = 12_800.0) -> Event:
    return Event("progress", Path("x"), step=step, loss=loss, speed=speed)


@pytest.fixture
def plain() -> Screen:
    return Screen(terminal=False)


def test_a_line_of_progress_can_be_grepped(plain: Screen) -> None:
    with plain.view as view:
        view.started(job("n6k-s0"))
        plain.clock.now += PLAIN_SECONDS + 1
        view.progress(job("n6k-s0"), at(200))
    (line,) = plain.lines
    # 800 steps of 64 tokens are left, at 12,800 tokens a second: 4 seconds.
    assert line == "[   11s] n6k-s0 step 200/1000 loss 2.346 12.8k tokens/s 4s left"


def test_lines_about_a_run_come_no_oftener_than_promised(plain: Screen) -> None:
    a, b = job("a"), job("b")
    with plain.view as view:
        view.started(a)
        plain.clock.now += PLAIN_SECONDS / 2
        view.started(b)
        for tick in range(1, 31):
            plain.clock.now += 1
            view.progress(a, at(tick))
            view.progress(b, at(tick))
    for run in "ab":
        times = [int(line[1:7].strip(" s")) for line in plain.lines if f"] {run} step" in line]
        assert len(times) >= 2, "and yet they come"
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps) >= PLAIN_SECONDS


def test_ends_are_counted_and_say_how_long_and_why(plain: Screen) -> None:
    with plain.view as view:
        view.stage("training", 2)
        view.started(job("a"))
        view.started(job("b"))
        plain.clock.now += 65
        view.ended(job("a"), "finished", None)
        view.ended(job("b"), "failed", "no space left on device [Errno 28]")
        view.ended(job("c"), "diverged", "with its trunk at step 9")
    assert [line.split("] ", 1)[1] for line in plain.lines] == [
        "training (2 runs)",
        "a finished in 1m05s [1/2]",
        "b failed in 1m05s [2/2]: no space left on device [Errno 28]",
        "c diverged [3/3]: with its trunk at step 9",
    ]


def test_a_new_stage_counts_from_nothing(plain: Screen) -> None:
    with plain.view as view:
        view.stage("probing", 1)
        view.started(job("a"))
        view.ended(job("a"), "finished", None)
        view.stage("training", 5)
        view.ended(job("b"), "finished", None)
        view.stage("fitting", 0)
    assert plain.lines[-2].endswith("b finished [1/5]")
    assert plain.lines[-1].endswith("] fitting")


def test_a_long_note_stays_one_line_and_brackets_stay(plain: Screen) -> None:
    note = "sizes: " + "very " * 60 + "[bold]long[/bold]"
    with plain.view as view:
        view.note(note)
    assert plain.lines == [f"[    0s] {note}"]


def test_events_of_a_run_that_is_not_running_are_passed_over(plain: Screen) -> None:
    with plain.view as view:
        view.progress(job("ghost"), at(5))
        view.tick()
    assert plain.lines == []


def test_preparing_text_is_told_now_and_then(plain: Screen) -> None:
    with plain.view as view:
        for done in range(40):
            plain.clock.now += 1
            view.encoding("reading text", done * 1000, 40_000)
    assert 2 <= len(plain.lines) <= 40 / PLAIN_SECONDS + 1
    assert all("preparing text: reading text" in line for line in plain.lines)


def test_plain_output_holds_no_escape_sequence(plain: Screen) -> None:
    with plain.view as view:
        view.stage("training", 1)
        view.started(job("a"))
        view.ended(job("a"), "finished", None)
    assert "\x1b" not in plain.file.getvalue()


# --- on a terminal --------------------------------------------------------------------------------


def test_the_live_table_shows_every_run_at_work() -> None:
    screen = Screen(terminal=True)
    with screen.view as view:
        view.stage("training", 3)
        for name in ("n3k-s0", "n37k-s0", "n197k-d2.4M-s0"):
            view.started(job(name))
        screen.clock.now += 30
        view.progress(job("n3k-s0"), at(200))
        view.progress(job("n37k-s0"), at(1000, loss=1.5))
        view.ended(job("n37k-s0"), "finished", None)
        view.tick()
        assert view.live is not None
        view.live.refresh()
        table = screen.text.rsplit("training  1/3", 1)[1]
        rows = {line.split()[1]: line.split() for line in table.splitlines() if "n" in line[:6]}
    for word in ("run", "step", "loss", "tokens/s", "left"):
        assert word in table
    assert [cell for cell in rows["n3k-s0"] if cell != "│"] == [
        "n3k-s0", "200/1000", "2.346", "12.8k", "4s",
    ]  # fmt: skip
    assert "0/1000" in rows["n197k-d2.4M-s0"], "at work, nothing heard of it yet"
    assert "n37k-s0" not in rows, "it has ended"
    assert "30s so far" in table.splitlines()[0]


def test_ended_runs_and_errors_stay_above_the_table() -> None:
    screen = Screen(terminal=True, width=120)
    with screen.view as view:
        view.stage("training", 1)
        view.started(job("a"))
        view.ended(job("a"), "failed", "the corpus is damaged")
    assert view.live is None
    assert "[    0s] a failed in 0s [1/1]: the corpus is damaged" in screen.text


def test_progress_writes_no_lines_on_a_terminal() -> None:
    screen = Screen(terminal=True)
    with screen.view as view:
        view.started(job("a"))
        screen.clock.now += 10 * PLAIN_SECONDS
        view.progress(job("a"), at(5))
    assert "a step 5/1000" not in screen.text


def test_the_table_is_closed_when_the_work_is_cut_off() -> None:
    screen = Screen(terminal=True)
    with pytest.raises(KeyboardInterrupt), screen.view:
        raise KeyboardInterrupt
    assert screen.view.live is None
    assert "\x1b[?25h" in screen.file.getvalue(), "the cursor is shown again"


def test_preparing_text_shows_its_share_in_the_table() -> None:
    screen = Screen(terminal=True)
    with screen.view as view:
        view.encoding("encoding", 1_500_000, 4_000_000)
        assert view.live is not None
        view.live.refresh()
    assert "preparing text: encoding 1.5M of 4M" in screen.text

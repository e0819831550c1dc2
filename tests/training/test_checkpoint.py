"""Checkpoints are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scalelab.errors import RecordError
from scalelab.training.checkpoint import load_checkpoint, save_checkpoint
from scalelab.training.records import WRITING, checkpoints, drop_checkpoints


def test_newest_is_loaded_and_all_but_the_one_before_go_unless_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save_checkpoint(tmp_path / "c", step, {"x": torch.tensor(step)}, keep=(10,))
    assert sorted(step for _, step in checkpoints(tmp_path / "c")) == [10, 30, 40]
    newest = load_checkpoint(tmp_path / "c")
    assert newest is not None
    assert int(newest["x"]) == 40
    forked = load_checkpoint(tmp_path / "c", 10)
    assert forked is not None
    assert int(forked["x"]) == 10


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_file_is_passed_over(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, 1, {"x": torch.ones(3)}, keep=(1,))
    path = save_checkpoint(tmp_path, 2, {"x": torch.ones(3)}, keep=(1,))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert torch.equal(state["x"], torch.ones(3))
    assert load_checkpoint(tmp_path, 2) is None


def test_what_a_kill_cut_off_goes_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    for drop in (False, True):
        folder.mkdir(exist_ok=True)
        (folder / WRITING).write_bytes(b"half a checkp")
        save_checkpoint(folder, 1, {"x": torch.ones(3)}, keep=())
        assert len(list(folder.iterdir())) == 1
        if drop:
            (folder / WRITING).write_bytes(b"half a checkp")
            drop_checkpoints(folder)
            assert not folder.exists()


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "absent") is None
    drop_checkpoints(tmp_path / "absent")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises((RecordError, OSError)):
        save_checkpoint(blocked, 1, {"x": torch.ones(1)}, keep=())

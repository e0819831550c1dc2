"""Paths that lead nowhere stay paths: whoever opens them says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalelab.paths import home_path, real_path


def test_home_and_links_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "books")
    assert home_path("~/books") == tmp_path / "books"
    assert real_path("~/link") == (tmp_path / "books").resolve()


def test_no_such_home_and_a_loop_of_links_stay(tmp_path: Path) -> None:
    assert home_path("~nobody-here/books") == Path("~nobody-here/books")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert real_path(str(tmp_path / "loop")).name == "loop"

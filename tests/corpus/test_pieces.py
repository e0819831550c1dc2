"""Cleaning and cutting of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scalelab.corpus.pieces import Tally, clean, cut, whole_characters


@given(st.binary(max_size=200))
def test_cleaned_text_is_utf8_without_nul(raw: bytes) -> None:
    text, _ = clean(raw)
    assert "\0" not in text.decode()
    assert b"\r\n" not in text


@given(st.text(max_size=200).filter(lambda text: "\0" not in text and "\r" not in text))
def test_clean_leaves_clean_text(text: str) -> None:
    assert clean(text.encode()) == (text.encode(), False)


@given(st.text(min_size=1, max_size=50), st.integers(0, 250))
def test_whole_characters_agrees_with_decoding(text: str, end: int) -> None:
    raw = text.encode()[:end]
    length = whole_characters(raw)
    assert raw[:length] == raw.decode(errors="ignore").encode()


def test_cut_prefers_blank_lines_then_lines_then_characters() -> None:
    assert cut(b"aaaaaaa\n\nb\nc") == 9
    assert cut(b"aaaaaaaa\nbbb") == 9
    assert cut("aaaé".encode()[:4]) == 3


def test_tally_counts_and_names_the_first() -> None:
    tally = Tally()
    tally.add("not-text", "a.bin")
    tally.add("not-text", "b.bin")
    (notice,) = tally.notices()
    assert notice.code == "not-text"
    assert notice.message.startswith("2 files")
    assert "a.bin" in notice.message

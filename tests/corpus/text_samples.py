"""Text made for tests: documents that differ, of words that a tokenizer can learn."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

SENTENCE = "the loss falls slowly with size and data when nothing else holds it back"
WORDS = SENTENCE.split()


def text(number: int, words: int = 400) -> str:
    """A document of lines and paragraphs, the same for the same number."""
    generator = random.Random(number)
    lines = []
    while words > 0:
        count = min(words, 9)
        lines.append(" ".join(generator.choice(WORDS) for _ in range(count)))
        if generator.random() < 0.2:
            lines.append("")
        words -= count
    return f"document {number}\n" + "\n".join(lines) + "\n"


def write_documents(folder: Path, numbers: range, words: int = 400) -> Path:
    """One file a document; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"doc{number:03d}.txt").write_text(text(number, words), encoding="utf-8")
    return folder


def write_joined(path: Path, numbers: range, words: int = 400) -> Path:
    """All documents in one gzipped file with separator lines; returns the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.write("<|doc|>\n".join(text(number, words) for number in numbers))
    return path

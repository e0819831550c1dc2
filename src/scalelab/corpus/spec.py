"""What text to read, how to split it, and how to cut it into tokens."""

from __future__ import annotations

from dataclasses import dataclass

from scalelab.errors import CorpusError

LEAST_BPE = 258
"""256 bytes, the document boundary, and one merge."""


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus asked for.

    paths: files and folders; empty: the text of the Python installation that runs this.
    hf: a data set of the Hugging Face hub instead, as ``NAME`` or ``NAME:CONFIG``.
    tokenizer: ``bytes``, ``bpe:SIZE`` (trained on the training split), or a tokenizer.json.
    text_field: where .jsonl, .parquet and hub records hold their text.
    separator: the line between documents of one file (default: ``<|doc|>`` or ``<|endoftext|>``).
    limit_bytes: of the training text (and of each held-out split that is given) read no more than
    this, from the beginning.
    valid_fraction, test_fraction: share of the bytes, where the text does not come split; more is
    taken from a small corpus (see `splits`). seed: which documents they are.
    """

    paths: tuple[str, ...] = ()
    hf: str | None = None
    tokenizer: str = "bytes"
    text_field: str = "text"
    separator: str | None = None
    limit_bytes: int | None = None
    valid_fraction: float = 0.04
    test_fraction: float = 0.04
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.paths and self.hf is not None:
            raise CorpusError("both paths and a hub data set are given; a corpus is one of them.")
        if self.hf is not None and not self.hf.strip(":"):
            raise CorpusError("the name of the hub data set is empty; give NAME or NAME:CONFIG.")
        if any(not path for path in self.paths):
            raise CorpusError("one of the paths is empty; give files and folders of text.")
        if self.separator is not None and not self.separator.strip():
            raise CorpusError(
                "the separator is blank; give the line that stands between documents."
            )
        if self.limit_bytes is not None and self.limit_bytes < 1:
            raise CorpusError(f"limit_bytes is {self.limit_bytes}; a positive number is expected.")
        for name in ("valid_fraction", "test_fraction"):
            share = getattr(self, name)
            if not 0 < share <= 0.25:
                raise CorpusError(f"{name} is {share}; more than 0 and at most 0.25 is expected.")
        if self.tokenizer.startswith("bpe:"):
            self.bpe_size()

    def bpe_size(self) -> int:
        """Vocabulary of ``bpe:SIZE``; CorpusError when SIZE is not a usable number."""
        size = self.tokenizer.removeprefix("bpe:")
        if not size.isdecimal() or not LEAST_BPE <= int(size) <= 1 << 20:
            raise CorpusError(
                f"tokenizer {self.tokenizer!r}: expected bpe:SIZE with a whole number from "
                f"{LEAST_BPE} to {1 << 20}, for example bpe:1024."
            )
        return int(size)

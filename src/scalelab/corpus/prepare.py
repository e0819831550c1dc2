"""From text to tokens on disk: read once, remove copies, split, encode; instant the second time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scalelab.corpus.corpus import Corpus
from scalelab.corpus.encoders import (
    BytesEncoder,
    Encoder,
    FileEncoder,
    dtype_for,
    load_tokenizer,
    train_bpe,
)
from scalelab.corpus.pieces import SPLITS, Piece, Split, cut, shown
from scalelab.corpus.shards import Shards, ShardWriter
from scalelab.corpus.sources import Source, open_source
from scalelab.corpus.spec import CorpusSpec
from scalelab.corpus.splits import Duplicates, split_documents, without_duplicates
from scalelab.corpus.spool import Documents, Spool
from scalelab.errors import CorpusError, Notice
from scalelab.paths import home_path
from scalelab.units import format_count

FORMAT = 1
"""Part of every key: raise it when the same text would give other tokens."""
TRAINED_ON = 16 << 20
"""Bytes of text, spread over the training split, that a tokenizer is trained on. (assumed)"""
CHUNK = 1 << 16
"""Bytes encoded as one text: longer documents are cut at blank lines, so that all cores work."""
BATCH = 4 << 20
"""Bytes encoded at a time. (assumed)"""
FEW_HELD_OUT = 100_000
"""Held-out bytes below which sampling them shows in the second decimal of a loss. (assumed)"""
READ_AGAIN = 1 << 28
"""Bytes of tokens up to which a corpus prepared before is compared with its hashes when it is
opened: part of a second; a larger one would no longer open at once. (assumed)"""
ABANDONED = 24 * 3600
"""Seconds without a write after which a half-made corpus is taken for a crashed one. (assumed)"""

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, bytes done, bytes in all or None)."""


def prepare(spec: CorpusSpec, cache: Path, progress: Progress | None = None) -> Corpus:
    """The corpus of a spec, as tokens on disk.

    cache: folder that keeps prepared corpora; the same spec on files unchanged in path, size and
    time is opened, not made again. Several processes may do this at once. Needs disk space of
    about twice the text, half of it for the time being.

    Raises CorpusError for text, a tokenizer or a cache that cannot be used.
    """
    source = open_source(spec)
    given = _given_tokenizer(spec)
    folder = cache / "corpora" / _folder_name(source, spec, given)
    work = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        if folder.exists():
            try:
                corpus = Corpus.load(folder)
                if sum(shards.path.stat().st_size for shards in corpus.shards) <= READ_AGAIN:
                    corpus.verify()
                return corpus
            except CorpusError:  # a failing disk, or tampering: made again from the text
                _discard(folder)
        _sweep(folder.parent)
        work.mkdir(parents=True)
        _make(source, spec, given, work, progress or (lambda *_: None))
        return _publish(work, folder)
    except OSError as error:  # reading text has its own errors: this is the cache
        raise CorpusError(
            f"cannot write the prepared corpus to {shown(cache)}: {error.strerror or error}. Make "
            "room (about twice the size of the text) or name another folder with SCALELAB_CACHE."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make(
    source: Source, spec: CorpusSpec, given: Encoder | None, work: Path, progress: Progress
) -> None:
    """Write the corpus into the folder `work`."""
    with closing(Spool(work / "text")) as spool:
        notices = [*_read(source, spec, spool, progress), *source.tally.notices()]
        documents, duplicates = without_duplicates(spool.documents())
        if not len(documents):
            passed_over = " ".join(notice.message for notice in notices)
            raise CorpusError(f"there is no text in {source.name}. {passed_over}".rstrip())
        documents, more = split_documents(documents, spool, spec)
        notices += [*_leaks(duplicates), *more]
        train = documents.take(documents.split == 0)
        encoder = given or _train(spec.bpe_size(), train, spool, progress)
        encoder.save(work)
        total = int(documents.length.sum())
        shards, done = [], 0
        for place, split in enumerate(SPLITS):
            part = documents.take(documents.split == place)
            path = work / f"{split}.tokens"
            shards.append(_encode(part, spool, encoder, path, progress, (done, total)))
            done += int(part.length.sum())
    (work / "text").unlink()
    Corpus(
        folder=work,
        name=source.name,
        tokenizer=encoder.name,
        vocabulary=encoder.vocabulary,
        boundary=encoder.boundary,
        duplicates=duplicates.documents,
        duplicate_bytes=duplicates.bytes,
        notices=(*notices, *_remarks(shards, encoder, spec)),
        train=shards[0],
        valid=shards[1],
        test=shards[2],
    ).save()


def _read(source: Source, spec: CorpusSpec, spool: Spool, progress: Progress) -> Iterator[Notice]:
    """Read the source into the spool, no more than the limit of each split."""
    limit = spec.limit_bytes
    if spec.hf is not None and limit is None:
        from scalelab.corpus.hub import HUB_LIMIT

        limit = HUB_LIMIT
    left: dict[Split | None, int] = {}
    stopped = False
    done = 0
    for stream in source.streams():
        # Unsplit text and text for training share a limit: both are trained on.
        share = stream.split if stream.split in ("valid", "test") else None
        for piece in stream.pieces():
            room = left.get(share, limit)
            if room is not None and len(piece.text) > room:
                stopped = True
                spool.add(
                    Piece(piece.text[: cut(piece.text[:room])], True, piece.source),
                    stream.split,
                    source.tally,
                )
                left[share] = 0
                break
            if room is not None:
                left[share] = room - len(piece.text)
            spool.add(piece, stream.split, source.tally)
            done += len(piece.text)
            progress("reading text", done, source.bytes)
    if stopped and limit is not None and spec.limit_bytes is None:
        yield Notice(
            "hub-limit",
            f"only the first {format_count(limit)} bytes of each split of {spec.hf} were read; "
            "name another limit_bytes to have more.",
        )


def _leaks(duplicates: Duplicates) -> Iterator[Notice]:
    if duplicates.leaked:
        yield Notice(
            "held-out-copies",
            f"{format_count(duplicates.leaked)} documents were also in a held-out split; only the "
            "held-out copy was kept, so that nothing of it is trained on.",
        )


def _remarks(shards: list[Shards], encoder: Encoder, spec: CorpusSpec) -> Iterator[Notice]:
    """Named warnings that are known once the tokens are there."""
    small = [s for s in shards[1:] if s.bytes < FEW_HELD_OUT]
    if small:
        sizes = " and ".join(f"{s.path.stem} {format_count(s.bytes)} bytes" for s in small)
        yield Notice(
            "small-held-out",
            f"little text is held out: {sizes}. Losses share the error of that sample: "
            "differences between runs hold better than the values. Give more text.",
        )
    if encoder.boundary is None:
        yield Notice(
            "no-boundary-token",
            f"the tokenizer {encoder.name} has no token that ends a text: documents follow each "
            "other without a mark.",
        )
    if encoder.unknown is not None:
        tokens = shards[1].array()
        share = float(np.mean(tokens == encoder.unknown))
        if share:
            yield Notice(
                "unknown-tokens",
                f"{share:.2%} of the validation tokens stand for text that the tokenizer cannot "
                "express: bits per byte flatter the model. Use bytes or a byte-level tokenizer.",
            )
    if spec.tokenizer.startswith("bpe:") and encoder.vocabulary < spec.bpe_size():
        yield Notice(
            "small-vocabulary",
            f"the training text gives only {encoder.vocabulary} of the {spec.bpe_size()} tokens "
            "asked for.",
        )


def _given_tokenizer(spec: CorpusSpec) -> Encoder | None:
    """The tokenizer of a spec, None where it is to be trained."""
    if spec.tokenizer == "bytes":
        return BytesEncoder()
    if spec.tokenizer.startswith("bpe:"):
        return None
    return load_tokenizer(home_path(spec.tokenizer))


def _train(size: int, train: Documents, spool: Spool, progress: Progress) -> FileEncoder:
    """A tokenizer trained on the training split, evenly sampled where that is large."""
    total = int(train.length.sum())
    share = min(1.0, TRAINED_ON / total)

    def sample() -> Iterator[bytes]:
        seen = taken = 0
        for chunk, _ in _chunks(train, spool):
            seen += len(chunk)
            if taken + len(chunk) <= share * seen or share == 1:
                taken += len(chunk)
                progress("training the tokenizer", seen, total)
                yield chunk

    return train_bpe(size, sample())


def _chunks(part: Documents, spool: Spool) -> Iterator[tuple[bytes, bool]]:
    """The text of a split, in chunks, each with whether a document ends with it.

    A block does not end a document when the text after it comes next.
    """
    ends = part.offset + part.length
    joined = np.zeros(len(part), dtype=np.bool_)
    joined[:-1] = part.continues[1:] & (part.offset[1:] == ends[:-1])
    for offset, length, goes_on in zip(
        part.offset.tolist(), part.length.tolist(), joined.tolist(), strict=True
    ):
        left = length
        for chunk in spool.blocks(offset, length, CHUNK):
            left -= len(chunk)
            yield chunk, left == 0 and not goes_on


def _encode(
    part: Documents,
    spool: Spool,
    encoder: Encoder,
    path: Path,
    progress: Progress,
    counts: tuple[int, int],
) -> Shards:
    """Write the tokens of a split. counts: bytes encoded before, and in all."""
    done, total = counts
    dtype = dtype_for(encoder.vocabulary)
    boundary = None if encoder.boundary is None else np.array([encoder.boundary], dtype=dtype)
    boundaries = 0
    with closing(ShardWriter(path, dtype)) as writer:
        for batch in _batches(_chunks(part, spool)):
            tokens = []
            for encoded, (_, ends) in zip(
                encoder.encode([text for text, _ in batch]), batch, strict=True
            ):
                tokens.append(encoded)
                if ends and boundary is not None:
                    tokens.append(boundary)
                    boundaries += 1
            writer.write(np.concatenate(tokens))
            done += sum(len(text) for text, _ in batch)
            progress("encoding", done, total)
        return writer.finish(
            encoder.name,
            encoder.vocabulary,
            boundaries=boundaries,
            documents=len(part),
            size=int(part.length.sum()),
        )


def _batches(chunks: Iterator[tuple[bytes, bool]]) -> Iterator[list[tuple[bytes, bool]]]:
    batch: list[tuple[bytes, bool]] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk[0])
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _folder_name(source: Source, spec: CorpusSpec, given: Encoder | None) -> str:
    """Readable, and different for whatever would give other tokens."""
    fields = asdict(spec) | {"paths": None, "tokenizer": given.name if given else spec.tokenizer}
    content = json.dumps([FORMAT, source.key, source.name, fields], sort_keys=True)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip("-.")[:40] or "text"
    return f"{readable}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _publish(work: Path, folder: Path) -> Corpus:
    """Give a finished corpus its name; when another process was first, take that one."""
    try:
        work.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    return Corpus.load(folder)


def _discard(folder: Path) -> None:
    """Remove a damaged corpus; another process may be doing the same."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what crashed processes left half-made."""
    for left in folder.glob(".*") if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another process is finishing it
            newest = max(path.stat().st_mtime for path in (left, *left.glob("*")))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)

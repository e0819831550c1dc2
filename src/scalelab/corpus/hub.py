"""A data set of the Hugging Face hub, streamed: only what is read is downloaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from scalelab.corpus.listing import split_of_name
from scalelab.corpus.pieces import SPLITS, Piece, Split, Tally
from scalelab.corpus.reading import piece_of
from scalelab.corpus.sources import Source, Stream
from scalelab.corpus.spec import CorpusSpec
from scalelab.errors import CorpusError

HUB_LIMIT = 1 << 30
"""Bytes read of each split where no limit is given: hub data sets run to terabytes. (assumed)"""


def hub_source(spec: CorpusSpec) -> Source:
    """The source of ``spec.hf``; nothing is loaded before its streams are asked for.

    What was prepared before is used again without asking the hub whether the data set changed.
    """
    tally = Tally()
    return Source(str(spec.hf), f"hf:{spec.hf}", partial(_streams, spec, tally), None, tally)


def _streams(spec: CorpusSpec, tally: Tally) -> Iterator[Stream]:
    splits = _load(str(spec.hf))
    named: list[tuple[str, Split | None]] = [(name, split_of_name(name)) for name in splits]
    if len(named) == 1:  # a data set in one part is not split, whatever the part is called
        named = [(named[0][0], None)]
    for split in (*SPLITS, None):
        for name, of_name in named:
            if of_name == split:
                yield Stream(split, partial(_records, splits[name], spec, name, tally))


def _load(asked: str) -> dict[str, Iterable[Any]]:
    try:
        datasets = import_module("datasets")
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"the data set {asked} is read with the package datasets: pip install 'scalelab[hf]'."
        ) from error
    name, config = asked, ""
    if ":" in asked and not Path(asked).exists():
        name, _, config = asked.rpartition(":")
    try:
        splits = datasets.load_dataset(name, config or None, streaming=True)
    except Exception as error:  # the hub's client raises many kinds; each means: not to be had
        raise CorpusError(
            f"the data set {asked} cannot be loaded: {error} (Expected is NAME or NAME:CONFIG as "
            "on huggingface.co/datasets, and a connection.)"
        ) from error
    return dict(splits)


def _records(records: Iterable[Any], spec: CorpusSpec, split: str, tally: Tally) -> Iterator[Piece]:
    number = -1
    try:
        for number, record in enumerate(records):
            where = f"{spec.hf} {split} record {number}"
            yield from piece_of(record, spec.text_field, where, tally)
    except CorpusError:
        raise
    except Exception as error:  # as above: connection, decoding, authorization
        raise CorpusError(
            f"the data set {spec.hf} broke off after record {number} of {split}: {error}. Run the "
            "same command again."
        ) from error

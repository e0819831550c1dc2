"""Published runs, texts and code that benchmarks read, in the folder that SCALELAB_SHARED names.

Default: ../shared, beside the repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

PORIAN_KEYS = ("dataset", "hparams", "warmup", "decay", "param_count", "split")
"""What one sweep of Porian et al. 2024 (arXiv 2406.19146) has in common."""


def shared(name: str) -> Path:
    """The folder of that name, which may be absent."""
    named = os.environ.get("SCALELAB_SHARED")
    return (Path(named) if named else Path(__file__).parents[2] / "shared") / name


def porian_sweeps(data: Path) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Values of PORIAN_KEYS, and the runs with params, tokens, flops and loss."""
    points = pl.read_csv(data / "porian" / "isoflop_points.csv")
    for values, group in points.group_by(PORIAN_KEYS, maintain_order=True):
        yield values, group.rename({"n": "params", "t": "tokens"})

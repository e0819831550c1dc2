"""One pool for all tests here: its processes import torch once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scalelab.execution.pool import Pool


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Two training processes."""
    with Pool(2) as pool:
        yield pool

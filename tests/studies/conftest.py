"""Makes the planted studies of this folder importable by the tests of designs."""

from __future__ import annotations

import pytest


@pytest.fixture
def few_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws over S_min are refitted under fewer draws of the critical batch's law: for speed."""
    monkeypatch.setattr("scalelab.studies.analysis.conversion.LAWS", 5)
    monkeypatch.setattr("scalelab.studies.analysis.curve_fits.LAWS", 3)

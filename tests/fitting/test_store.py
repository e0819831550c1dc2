"""Fits on disk: the same bits back, and anything else refused with its file named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ladders import ladder

from scalelab.errors import RecordError
from scalelab.fitting import Fit, fit
from scalelab.fitting.store import FORMAT
from scalelab.laws import LAWS, get_law


@pytest.fixture(scope="module")
def found() -> Fit:
    return fit("chinchilla", ladder(between=0.006), draws=100, conventions={"params": "6N"})


def rewritten(path: Path, **changes: Any) -> Path:
    """The saved fit with keys replaced; None takes a key away."""
    answer = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del answer[key]
        else:
            answer[key] = value
    path.write_text(json.dumps(answer))
    return path


def test_every_field_comes_back(found: Fit, tmp_path: Path) -> None:
    path = found.save(tmp_path / "fit.json")
    loaded = Fit.load(str(path))
    for name in vars(replace(found)):
        one, two = getattr(found, name), getattr(loaded, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            assert (one == two).all()
        else:
            assert one == two, name
    assert loaded.law is LAWS["chinchilla"]
    # And what is saved again is the same file.
    assert loaded.save(tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_file_holds_the_public_answer(found: Fit, tmp_path: Path) -> None:
    answer = json.loads(found.save(tmp_path / "fit.json").read_text())
    assert answer["format"] == FORMAT == "scalelab.fit/3"
    assert {key: answer[key] for key in found.to_dict()} == found.to_dict()


def test_nothing_is_left_beside_it(found: Fit, tmp_path: Path) -> None:
    found.save(tmp_path / "fit.json")
    found.save(tmp_path / "fit.json")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]


def test_an_infinite_condition_number_comes_back(found: Fit, tmp_path: Path) -> None:
    lost = replace(found, diagnosis=replace(found.diagnosis, condition_number=np.inf))
    loaded = Fit.load(lost.save(tmp_path / "fit.json"))
    assert loaded.diagnosis.condition_number == np.inf


def test_a_law_of_ones_own_is_passed(tmp_path: Path) -> None:
    mine = replace(LAWS["chinchilla"], name="mine")
    path = fit(mine, ladder(), draws=100).save(tmp_path / "fit.json")
    assert Fit.load(path, law=mine).law is mine
    with pytest.raises(RecordError, match=r"'mine' is not in the registry; pass it"):
        Fit.load(path)
    with pytest.raises(RecordError, match=r"law kaplan has parameters alpha_N, .* Fit again"):
        Fit.load(path, law=LAWS["kaplan"])
    with pytest.raises(RecordError, match="law power has parameters"):
        Fit.load(path, law=get_law("power"))


def test_another_column_is_another_law(tmp_path: Path) -> None:
    path = fit(get_law("power", "tokens"), ladder(data=6), draws=100).save(tmp_path / "fit.json")
    assert Fit.load(path).law.inputs == ("tokens",)
    with pytest.raises(RecordError, match="over params; the fit has E, A, alpha over tokens"):
        Fit.load(path, law=get_law("power", "params"))


@pytest.mark.parametrize(
    ("fixed", "tied", "bounds"),
    [
        ({"E": 1.05}, {}, {}),
        ({"A": 5.4, "alpha": 0.25}, {}, {}),
        ({}, {"beta": "alpha"}, {}),
        ({}, {}, {"alpha": (0.1, 0.5)}),
        ({}, {}, {"A": (1.0, np.inf), "E": (0.0, np.inf)}),  # JSON has no infinity
        ({"E": 1.05}, {"beta": "alpha"}, {"A": (0.1, 50.0)}),
    ],
)
def test_what_was_held_comes_back(
    tmp_path: Path,
    fixed: dict[str, float],
    tied: dict[str, str],
    bounds: dict[str, tuple[float, float]],
) -> None:
    law = LAWS["chinchilla"].restrict(fixed, tied, bounds)
    found = fit(law, ladder(), draws=100)
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert loaded.law.restrictions == law.restrictions
    assert loaded.law.names == law.names
    assert loaded.law.equation == law.equation
    for one, two in zip(loaded.law.bounds, law.bounds, strict=True):
        assert (one == two).all()
    assert loaded.to_dict() == found.to_dict()
    assert loaded.summary() == found.summary()
    assert loaded.derived == found.derived


def test_a_restricted_law_is_another_law(tmp_path: Path) -> None:
    law = LAWS["chinchilla"].restrict(fixed={"E": 1.05})
    path = fit(law, ladder(), draws=100).save(tmp_path / "fit.json")
    assert Fit.load(path, law=law).law is law
    with pytest.raises(RecordError, match=r"has parameters E, A.* the fit has A, B, alpha, beta"):
        Fit.load(path, law=LAWS["chinchilla"])


def test_how_runs_were_weighed_comes_back(tmp_path: Path) -> None:
    found = fit("chinchilla", ladder(), raw=True, above=2.0, weights="flops^0.5", draws=100)
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert loaded.estimator == found.estimator
    assert (loaded.estimator.raw, loaded.estimator.above) == (True, 2.0)
    assert loaded.estimator.weights == "flops^0.5"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1]", "format is 'list'; expected 'scalelab.fit/3'"),
        (b'{"law": "chinchilla"}', "format is None"),
        (b'{"format": "scalelab.fit/1"}', "format is 'scalelab.fit/1'"),
        (b'{"format": "scalelab.fit/3"}', r"is damaged \(KeyError"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "fit.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=words) as caught:
        Fit.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["law", "runs", "diagnosis", "conventions", "state"])
def test_a_missing_part_is_named(found: Fit, tmp_path: Path, key: str) -> None:
    path = rewritten(found.save(tmp_path / "fit.json"), **{key: None})
    with pytest.raises(RecordError, match=f"is damaged .*{key}.* save the fit again"):
        Fit.load(path)


def test_a_part_of_another_kind_is_damage(found: Fit, tmp_path: Path) -> None:
    path = found.save(tmp_path / "fit.json")
    state = json.loads(path.read_text())["state"]
    for broken in (
        {**state, "noise": [1.0]},
        {**state, "theta": "x"},
        {**state, "theta": state["theta"][:4]},
        {**state, "draw_theta": state["draw_theta"][1:]},
        {**state, "estimator": {"a": 1}},
        {**state, "restrictions": {"fixed": {"delta": 1.0}, "tied": {}, "bounds": {}}},
        {**state, "column": "params"},
        {**state, "text": "E + A / ("},
        3,
    ):
        with pytest.raises(RecordError, match="is damaged"):
            Fit.load(rewritten(path, state=broken))


def test_files_that_cannot_be(found: Fit, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        Fit.load(tmp_path / "none.json")
    with pytest.raises(RecordError, match="cannot be written"):
        found.save(tmp_path / "no folder" / "fit.json")

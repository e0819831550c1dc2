"""Values against dataclasses: every type, range and place is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.errors import SpecError
from scalelab.schema import (
    Count,
    Matching,
    MismatchError,
    NotNegative,
    Positive,
    Within,
    check_fields,
    read,
)


@dataclass(frozen=True)
class Round:
    radius: Positive


@dataclass(frozen=True)
class Square:
    side: Positive
    turned: bool = False

    def __post_init__(self) -> None:
        if self.side == 13:
            raise SpecError("thirteen brings bad luck.")


@dataclass(frozen=True)
class Box:
    name: Annotated[str, Matching("[a-z]+", "small letters")]
    count: Count
    mass: NotNegative | None
    kind: Literal["wood", "steel"]
    inside: Round | Square
    sizes: tuple[Annotated[int, Within(1, 10)], ...] = ()
    pair: tuple[str, float] = ("", 0.0)
    notes: Mapping[str, tuple[str, ...]] | None = None


BOX: dict[str, Any] = {
    "name": "box", "count": 2, "mass": None, "kind": "wood", "inside": {"side": 2},
    "sizes": [1, 10], "pair": ["a", 1], "notes": {"x": ["y"]},
}  # fmt: skip


def test_plain_values_become_the_record() -> None:
    box = read(Box, BOX)
    assert box.inside == Square(2)
    assert box.sizes == (1, 10)
    assert read(Box, json.loads(json.dumps(asdict(box)))) == box
    assert read(Box, BOX | {"inside": {"radius": 1.5}}).inside == Round(1.5)
    check_fields(box)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"name": "Box"}, "name is 'Box'; small letters is expected"),
        ({"name": None}, "name is null"),
        ({"count": True}, "count is True; a whole number is expected"),
        ({"count": 2.0}, "count is 2.0; a whole number is expected"),
        ({"count": -1}, "count is -1; a whole number of at least 0 is expected"),
        ({"count": 2**53 + 1}, "count is 9007199254740993"),
        ({"count": 10**5000}, "count is a long number; a finite number of at least 0"),
        ({"mass": float("nan")}, "mass is nan; a finite number"),
        ({"mass": float("inf")}, "mass is inf; a finite number"),
        ({"mass": 10**400}, "mass is a long number; a finite number"),
        ({"mass": "1"}, "mass is '1'; a number is expected"),
        ({"kind": "gold"}, "kind is 'gold'; one of wood, steel is expected"),
        ({"kind": []}, r"kind is \[\]; one of"),
        ({"inside": {"side": 0}}, "inside.side is 0; a number above 0 is expected"),
        ({"inside": {"side": 2, "turned": 1}}, "inside.turned is 1; true or false"),
        ({"inside": {"side": 13}}, "inside: thirteen brings bad luck"),
        ({"inside": 7}, "inside is 7; an object"),
        ({"sizes": [1, 11]}, r"sizes\[1\] is 11; a whole number of at least 1 and of at most 10"),
        ({"sizes": "12"}, "sizes is '12'; a list"),
        ({"pair": ["a"]}, "pair is .*; a list of 2"),
        ({"notes": {"x": [1]}}, r"notes.x\[0\] is 1; text is expected"),
        ({"notes": []}, r"notes is \[\]; an object"),
        ({"more": 1}, "the record has an unknown field 'more'"),
    ],
)
def test_what_is_not_expected_is_named_with_its_place(change: dict[str, Any], seen: str) -> None:
    with pytest.raises(MismatchError, match=seen):
        read(Box, BOX | change)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MismatchError, match="the record lacks the field 'count'"):
        read(Box, {name: value for name, value in BOX.items() if name != "count"})
    with pytest.raises(MismatchError, match=r"inside lacks the field 'side'"):
        read(Box, BOX | {"inside": {}} | {"inside": {"turned": True}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.sampled_from(sorted(BOX)), JSON)
def test_any_value_in_any_place_is_taken_or_refused(name: str, value: Any) -> None:
    with suppress(MismatchError):
        check_fields(read(Box, BOX | {name: value}))

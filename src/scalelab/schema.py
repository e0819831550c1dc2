"""Values from disk against dataclasses: the one checker of everything that a study's folder holds.

A record is a dataclass whose annotations say what may stand in it: types, and for numbers and names
the ranges below. `read` makes the dataclass from plain JSON values, `check_fields` checks one that
was made in Python; both raise `MismatchError`, which names the place, what was seen and what was
expected. An integer is at most 2^53, beyond which JSON is not exact; a number is finite.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from scalelab.errors import InputError

T = TypeVar("T")
Reader = Callable[[Any, str], Any]
"""Takes a value and the name of its place; returns what the dataclass holds."""

EXACT = 2**53
"""The largest integer up to which every JSON reader is exact."""


class MismatchError(ValueError):
    """A value that is not what its place expects: ``designs.jobs[3].spec.steps is -1; ...``."""


@dataclass(frozen=True)
class Within:
    """The range of a number: from `least` to `most`, both allowed.

    open: `least` itself is not allowed.
    """

    least: float = -EXACT
    most: float = EXACT
    open: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return value <= self.most and (value > self.least if self.open else value >= self.least)

    def __str__(self) -> str:
        """``of at least 1 and at most 10``."""
        words = []
        if self.least > -EXACT:
            words.append(f"{'above' if self.open else 'of at least'} {self.least:,}")
        if self.most < EXACT:
            words.append(f"of at most {self.most:,}")
        return " and ".join(words)


@dataclass(frozen=True)
class Matching:
    """The pattern of a name, and the pattern in words."""

    pattern: str
    words: str


Count = Annotated[int, Within(0)]
Whole = Annotated[int, Within(1)]
Positive = Annotated[float, Within(0, math.inf, open=True)]
NotNegative = Annotated[float, Within(0, math.inf)]
Share = Annotated[float, Within(0, 1)]


def read(kind: type[T], value: Any, at: str = "") -> T:
    """The dataclass `kind` from plain values (of JSON); raises MismatchError.

    at: name of the place, for the message; "" for the outermost.
    """
    rule: Any = kind
    made: T = _reader(rule)(value, at)
    return made


def check_fields(record: Any) -> None:
    """Check every field of a dataclass that was made in Python; raises MismatchError."""
    kind: Any = type(record)
    for name, reader in _fields(kind).items():
        reader(getattr(record, name), name)


def shown(value: Any) -> str:
    """A value for a message, cut to a length that a line bears."""
    text = "null" if value is None else repr(value) if not _too_long(value) else "a long number"
    return text if len(text) <= 60 else text[:57] + "..."


def _too_long(value: Any) -> bool:
    # Python refuses to print integers of more than 4,300 digits.
    return isinstance(value, int) and value.bit_length() > 1000


@cache
def _fields(kind: Any) -> dict[str, Reader]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}


@cache
def _reader(kind: Any) -> Reader:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _limited(args[0], *args[1:])
    if origin is Literal:
        return _literal(args)
    if origin in (Union, UnionType):
        return _union(args)
    if origin is tuple:
        return _many(args[0]) if args[1:] == (...,) else _several(args)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(args[1])
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if kind is Any:
        return lambda value, at: value  # noqa: ARG005 - whoever reads it checks it
    if kind is int:
        return _limited(int, Within())
    if kind is float:
        return _limited(float, Within(-math.inf, math.inf))
    if kind in (str, bool):
        return _plain(kind)
    raise TypeError(f"no rule for {kind!r}")  # a record's own annotation, not somebody's file


def _refuse(at: str, value: Any, expected: str) -> MismatchError:
    return MismatchError(f"{at or 'the record'} is {shown(value)}; {expected} is expected")


def _plain(kind: type) -> Reader:
    expected = "text" if kind is str else "true or false"

    def reader(value: Any, at: str) -> Any:
        if type(value) is not kind:
            raise _refuse(at, value, expected)
        return value

    return reader


def _limited(base: Any, limit: Within | Matching) -> Reader:
    if isinstance(limit, Matching):
        pattern = re.compile(limit.pattern)

        def name(value: Any, at: str) -> Any:
            if not (isinstance(value, str) and pattern.fullmatch(value)):
                raise _refuse(at, value, limit.words)
            return value

        return name
    noun, kinds = ("a whole number", int) if base is int else ("a number", int | float)
    expected = f"{noun} {limit}".strip()
    least, most = limit.least, limit.most

    def number(value: Any, at: str) -> Any:
        # The usual case first: plans make thousands of records while they search.
        if type(value) is base and least < value <= most and value != math.inf:
            return value
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise _refuse(at, value, noun)
        # Comparing a Python integer of any length with a float is exact.
        if value != value or abs(value) > sys.float_info.max:
            raise _refuse(at, value, f"a finite number {limit}".strip())
        if not limit.holds(value):
            raise _refuse(at, value, expected)
        return value

    return number


def _literal(options: tuple[Any, ...]) -> Reader:
    expected = f"one of {', '.join(map(str, options))}"

    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, str) or value not in options:
            raise _refuse(at, value, expected)
        return value

    return reader


def _union(kinds: tuple[Any, ...]) -> Reader:
    optional = NoneType in kinds
    rest = tuple(kind for kind in kinds if kind is not NoneType)
    readers = {kind: _reader(kind) for kind in rest}
    if len(rest) > 1 and not all(dataclasses.is_dataclass(kind) for kind in rest):
        raise TypeError(f"no rule for the union {kinds!r}")

    def reader(value: Any, at: str) -> Any:
        if value is None and optional:
            return None
        if isinstance(value, rest if len(rest) > 1 else ()):
            return value
        # Of several records the one that shares most names with what is there.
        names = set(value) if isinstance(value, dict) else set[str]()
        best = max(rest, key=lambda kind: len(names & set(_fields(kind)))) if rest[1:] else rest[0]
        return readers[best](value, at)

    return reader


def _many(kind: Any) -> Reader:
    inner = _reader(kind)

    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _refuse(at, value, "a list")
        return tuple(inner(item, f"{at}[{i}]") for i, item in enumerate(value))

    return reader


def _several(kinds: tuple[Any, ...]) -> Reader:
    readers = [_reader(kind) for kind in kinds]

    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise _refuse(at, value, f"a list of {len(readers)}")
        pairs = zip(readers, value, strict=True)
        return tuple(inner(item, f"{at}[{i}]") for i, (inner, item) in enumerate(pairs))

    return reader


def _mapping(kind: Any) -> Reader:
    inner = _reader(kind)

    def reader(value: Any, at: str) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _refuse(at, value, "an object")
        return {key: inner(item, f"{at}.{key}" if at else key) for key, item in value.items()}

    return reader


def _dataclass(kind: Any) -> Reader:
    fields = dataclasses.fields(kind)
    needed = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def reader(value: Any, at: str) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise _refuse(at, value, "an object")
        readers = _fields(kind)
        if unknown := sorted(str(name) for name in value if name not in readers):
            raise MismatchError(f"{at or 'the record'} has an unknown field {shown(unknown[0])}")
        if missing := sorted(needed - set(value)):
            raise MismatchError(f"{at or 'the record'} lacks the field {missing[0]!r}")
        made = {
            name: readers[name](item, f"{at}.{name}" if at else name)
            for name, item in value.items()
        }
        try:
            return kind(**made)
        except InputError as error:  # what the record itself refuses
            raise MismatchError(f"{at}: {error}".removeprefix(": ").rstrip(".")) from error

    return reader

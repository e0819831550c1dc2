"""What a column's title says: its name under a tool's prefix, and the unit beside it."""

from __future__ import annotations

import re

from scalelab.table.schema import NAMESPACES, Column, names_of, normalized
from scalelab.units import FLOP_PER_PF_DAY

_SCALES = {
    **dict.fromkeys(("k", "thousand", "thousands"), 1e3),
    **dict.fromkeys(("m", "mn", "million", "millions"), 1e6),
    **dict.fromkeys(("b", "bn", "g", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "tn", "trillion", "trillions"), 1e12),
}
_FLOP_SCALES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
_IN_UNITS = re.compile(r"(.+?)(?:_| )?[(\[]?(?:in )?([a-z]+)[)\]]?", re.IGNORECASE)
_POWER = re.compile(r"(.+?) ?[(\[](?:in |x|\u00d7)? ?(?:1e|10\^)([0-9]{1,2})[)\]]", re.IGNORECASE)
_FLOP = re.compile(r"(.*?)(?:(p(?:eta)?f(?:lops?)?s?days?)|([kmgtpez])flops?)")
_OWN_UNIT = re.compile(
    r"(.+?)[\s_]*(?:[(\[](?:in )?([^)\]]+)[)\]]|[_ ](nats|nats_per_token))", re.IGNORECASE
)
_OWN = {
    "parameters": ("parameters", "params", "count"),
    "tokens": ("tokens", "count"),
    "tokens/step": ("tokens",),
    "FLOP": ("flop", "flops"),
    "nats/token": ("nats", "natstoken", "natspertoken"),
}


def forms(title: str, unit: str = "") -> set[str]:
    """The names that a title may stand for, normalized.

    ``config.n_params`` is ``n_params`` too, ``loss (nats)`` in a column of that unit ``loss``.
    """
    plain = title.strip()
    found = {normalized(plain)}
    if (match := _OWN_UNIT.fullmatch(plain)) and normalized(match[2] or match[3]) in _OWN.get(
        unit, ()
    ):
        plain = match[1]
        found.add(normalized(plain))
    parts = [part for part in re.split(r"[./:]", plain) if part]
    if len(parts) > 1 and parts[-1].lower() == "value":  # as Weights & Biases keeps a setting
        parts.pop()
    while len(parts) > 1 and parts[0].strip(" _").lower() in NAMESPACES:
        parts.pop(0)
    found.add(normalized("".join(parts)))
    return found - {""}


def names(title: str, column: Column) -> bool:
    """Whether a title is a name of the column, in the column's own unit."""
    return not names_of(column).isdisjoint(forms(title, column.unit))


def factor(title: str, column: Column) -> float | None:
    """By what a count is multiplied whose title says another unit: ``tokens (B)``, ``pf_days``.

    None where the title is not the column's, or says no unit. Only units with a mark between name
    and unit are read: ``D_B`` is data in billions, ``DB`` is not. A bare ``tflops`` may be a rate.
    """
    known, title = names_of(column), title.strip()
    if column.unit not in ("parameters", "tokens", "FLOP"):
        return None
    if (match := _POWER.fullmatch(title)) and not known.isdisjoint(forms(match[1])):
        return 10.0 ** int(match[2])
    if column.unit == "FLOP":
        return _flop_factor(title, known, alone=column.name == "flops")
    match = _IN_UNITS.fullmatch(title)
    if match is None or match[2].lower() not in _SCALES:
        return None
    marked = len(match[0]) > len(match[1]) + len(match[2])
    if len(match[1]) == 1 and match[2].lower() == "t" and "(" not in title and "[" not in title:
        return None  # D_T is what papers call the data of transfer
    return _SCALES[match[2].lower()] if marked and not known.isdisjoint(forms(match[1])) else None


def _flop_factor(title: str, known: frozenset[str], *, alone: bool) -> float | None:
    """alone: whether the unit itself is a name of the column, as pf_days is of C."""
    for form in forms(title):
        match = _FLOP.fullmatch(form)
        if match is None:
            continue
        rest = match[1]
        if match[2] and ((alone and not rest) or rest in known or f"{rest}flops" in known):
            return FLOP_PER_PF_DAY
        if match[3] and rest and (rest in known or f"{rest}flops" in known):
            return _FLOP_SCALES[match[3]]
    return None

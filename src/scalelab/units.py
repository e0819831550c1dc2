"""Nats and bits, FLOP and PF-days, budgets, and numbers rounded by their own uncertainty.

Standard library only: every other part may import this for free.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from scalelab.errors import SpecError

FLOP_PER_PF_DAY = 8.64e19
"""1e15 FLOP per second for 86,400 seconds (Kaplan et al. 2020, section 1.3)."""

_NUMBER = r"[0-9]+(?:[0-9_]*)(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?"
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
_COUNT_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_BUDGET_HELP = "Give a time (90s, 10m, 1h30m, 2d) or compute (1e15flop, 3 TFLOP, 2.5 PF-days)."


# --- loss ---------------------------------------------------------------------------------------


def nats_to_bits(nats: float) -> float:
    """Bits for a loss in nats: nats / ln 2."""
    return nats / math.log(2)


def bits_to_nats(bits: float) -> float:
    """Nats for a loss in bits: bits x ln 2."""
    return bits * math.log(2)


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Loss in bits per byte of text, comparable between tokenizers.

    nats_per_token / (ln 2 x bytes_per_token), where bytes_per_token is the mean length of a token
    of the same text. Raises SpecError when bytes_per_token is not positive.
    """
    return nats_to_bits(nats_per_token) / _positive_ratio(bytes_per_token)


def nats_per_token(bits_per_byte: float, bytes_per_token: float) -> float:
    """Loss in nats per token from bits per byte: the inverse of `bits_per_byte`."""
    return bits_to_nats(bits_per_byte) * _positive_ratio(bytes_per_token)


def _positive_ratio(bytes_per_token: float) -> float:
    if not (math.isfinite(bytes_per_token) and bytes_per_token > 0):
        raise SpecError(
            f"bytes_per_token is {bytes_per_token}; it is the mean length of a token in bytes, "
            "a positive number. Measure it on the text that the loss was measured on."
        )
    return bytes_per_token


# --- compute ------------------------------------------------------------------------------------


def flop_to_pf_days(flop: float) -> float:
    """PF-days, the unit of Kaplan et al. 2020, for a number of FLOP."""
    return flop / FLOP_PER_PF_DAY


def pf_days_to_flop(pf_days: float) -> float:
    """FLOP for a number of PF-days."""
    return pf_days * FLOP_PER_PF_DAY


# --- reading what people type -------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """What a study may spend: an amount of wall time in seconds, or of compute in FLOP."""

    unit: Literal["seconds", "flop"]
    amount: float

    def __str__(self) -> str:
        """As a person would write it: ``10m`` or ``1.00e15 FLOP``."""
        if self.unit == "seconds":
            return format_duration(self.amount)
        return format_flop(self.amount)


def parse_budget(text: str) -> Budget:
    """Read ``10m``, ``1h30m``, ``1e15flop`` or ``2.5 PF-days``.

    Raises SpecError for anything else, a bare number included (it could be seconds or FLOP).
    """
    if re.search("pf|flop", text, re.IGNORECASE):
        return Budget("flop", parse_flop(text))
    return Budget("seconds", parse_seconds(text))


def parse_seconds(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``10m``, ``1h30m``, ``1.5 hours``, ``2d``.

    Raises SpecError when it cannot be read, is not positive, or has no unit.
    """
    compact = re.sub(r"\s+", "", text)
    part = re.compile(rf"({_NUMBER})([a-z]+)", re.IGNORECASE)
    position, total = 0, 0.0
    while position < len(compact):
        match = part.match(compact, position)
        if match is None or match[2] == "M" or match[2].lower() not in _SECONDS:
            raise SpecError(f"budget {text!r} is not understood. {_BUDGET_HELP}")
        total += float(match[1]) * _SECONDS[match[2].lower()]
        position = match.end()
    return _spendable(text, total)


def parse_flop(text: str) -> float:
    """FLOP of an amount such as ``1e15flop``, ``3 TFLOP``, ``2.5 PF-days``.

    Raises SpecError when it cannot be read, is not positive, or is a rate (FLOP/s).
    """
    compact = re.sub(r"[\s_]+", "", text).lower()
    if re.search(r"flops?/s$", compact):
        raise SpecError(f"budget {text!r} is a rate; a budget is an amount. {_BUDGET_HELP}")
    if match := re.fullmatch(rf"({_NUMBER})(?:pf|pflops?|pflops?/s|petaflops?/s)-?days?", compact):
        return _spendable(text, pf_days_to_flop(float(match[1])))
    if match := re.fullmatch(rf"({_NUMBER})([kmgtpez]?)flops?", compact):
        return _spendable(text, float(match[1]) * _PREFIXES[match[2]])
    raise SpecError(f"budget {text!r} is not understood. {_BUDGET_HELP}")


def _spendable(text: str, amount: float) -> float:
    if not (math.isfinite(amount) and amount > 0):
        raise SpecError(f"budget {text!r} is not a positive, finite amount. {_BUDGET_HELP}")
    return amount


def parse_count(text: str) -> float:
    """A count such as ``124M``, ``1.4B``, ``300k``, ``2e9``, ``1,000,000``.

    k, M, B (or G) and T stand for 1e3, 1e6, 1e9 and 1e12. Raises SpecError otherwise.
    """
    compact = re.sub(r"[\s_]", "", text).lower()
    # Commas are read as thousands only where they can be nothing else: 0,010B is a decimal comma.
    if re.fullmatch(r"[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?", compact):
        compact = compact.replace(",", "")
    match = re.fullmatch(rf"({_NUMBER})([kmbgt]?)", compact)
    if match is None:
        raise SpecError(f"{text!r} is not a count. Write it like 124M, 1.4B or 2e9.")
    return float(match[1]) * _COUNT_SUFFIXES[match[2]]


# --- writing for people and for JSON --------------------------------------------------------------


def finite(value: Any) -> Any:
    """The same value with every number that is not finite replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def format_count(value: float) -> str:
    """A count in three significant digits: ``197k``, ``1.2M``, ``6.4T``; exact below 1,000."""
    if not math.isfinite(value):
        return _not_finite(value)
    for exponent, suffix in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        # 999,600 reads 1M: the suffix is that of the rounded number.
        scaled = float(f"{value / 10**exponent:.3g}")
        if abs(scaled) >= 1:
            return (
                f"{scaled:.4g}{suffix}" if abs(scaled) < 1e4 else f"{value:.2e}".replace("e+", "e")
            )
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: ``0.4s``, ``45s``, ``1m30s``, ``2h05m``, ``3d04h``."""
    if not math.isfinite(seconds):
        return _not_finite(seconds)
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 9.95:
        return f"{seconds:.2g}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    for large, small, big_name, small_name in ((60, 1, "m", "s"), (3600, 60, "h", "m")):
        if whole < large * (60 if large == 60 else 24):
            rest = whole % large // small
            return f"{whole // large}{big_name}" + (f"{rest:02d}{small_name}" if rest else "")
    rest = whole % 86400 // 3600
    return f"{whole // 86400}d" + (f"{rest:02d}h" if rest else "")


def format_flop(flop: float) -> str:
    """Compute in FLOP, and in PF-days where that is the readable unit: ``1.00e15 FLOP``."""
    if not math.isfinite(flop):
        return _not_finite(flop)
    shown = f"{flop:.2e} FLOP".replace("e+", "e")
    if flop >= 0.01 * FLOP_PER_PF_DAY:
        return f"{shown} ({flop_to_pf_days(flop):.3g} PF-days)"
    return shown


def format_number(value: float, digits: int = 4) -> str:
    """A number in `digits` significant digits, trailing zeros kept, never ``1e+05``."""
    if not math.isfinite(value):
        return _not_finite(value)
    if value == 0:
        return "0"
    place = _leading_place(float(f"{value:.{digits - 1}e}")) - digits + 1
    return _at_place(value, place, scientific=not 1e-4 <= abs(value) < 1e7)


def format_estimate(value: float, low: float | None, high: float | None) -> str:
    """A value with its interval, rounded by the interval: ``0.342 [0.31, 0.38]``.

    The ends keep the first digit in which they differ from the value (two where that digit is a 1),
    the value one more. An end that is None or infinite is unbounded and printed as ``inf``.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    ends = [-math.inf if low is None else low, math.inf if high is None else high]
    distances = [abs(end - value) for end in ends if math.isfinite(end) and end != value]
    if not distances:
        place = _leading_place(value) - 3
    else:
        scale = min(distances)
        place = _leading_place(scale) - (1 if scale < 2 * 10.0 ** _leading_place(scale) else 0)
    largest = max([abs(value), *(abs(end) for end in ends if math.isfinite(end))])
    scientific = largest >= 1e7 or 0 < abs(value) < 1e-4
    shown = _at_place(value, place - 1, scientific=scientific)
    left, right = (_end(end, place, scientific=scientific) for end in ends)
    return (
        f"{shown} {'(' if left == '-inf' else '['}{left}, {right}{')' if right == 'inf' else ']'}"
    )


def _end(value: float, place: int, *, scientific: bool) -> str:
    if not math.isfinite(value):
        return _not_finite(value)
    # An end far smaller than the distance keeps its own first digit: 20, not 0.
    own = min(place, _leading_place(value)) if value else place
    return _at_place(value, own, scientific=scientific)


def _leading_place(value: float) -> int:
    """The power of ten of the first significant digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def _at_place(value: float, place: int, *, scientific: bool) -> str:
    """`value` rounded to a multiple of 10**place."""
    if scientific and value:
        digits = max(_leading_place(value) - place, 0)
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    rounded = round(value, -place)
    return f"{rounded:.{max(-place, 0)}f}"


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"

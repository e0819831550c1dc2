"""Units: conversions against their definitions, and what people type and read."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scalelab import units
from scalelab.errors import SpecError

positive = st.floats(1e-6, 1e6)


@given(positive)
def test_nats_and_bits_are_inverse(nats: float) -> None:
    assert units.bits_to_nats(units.nats_to_bits(nats)) == pytest.approx(nats, rel=1e-14)


@given(positive, st.floats(0.5, 10))
def test_bits_per_byte_is_inverse(nats: float, bytes_per_token: float) -> None:
    bits = units.bits_per_byte(nats, bytes_per_token)
    assert units.nats_per_token(bits, bytes_per_token) == pytest.approx(nats, rel=1e-14)


def test_bits_per_byte_of_uniform_bytes_is_eight() -> None:
    assert units.bits_per_byte(math.log(256), 1.0) == pytest.approx(8.0, rel=1e-15)


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan, math.inf])
def test_bits_per_byte_refuses_an_impossible_ratio(ratio: float) -> None:
    with pytest.raises(SpecError, match="bytes_per_token"):
        units.bits_per_byte(1.0, ratio)


def test_pf_day_is_a_petaflop_per_second_for_a_day() -> None:
    assert units.FLOP_PER_PF_DAY == 1e15 * 24 * 60 * 60
    assert units.flop_to_pf_days(units.pf_days_to_flop(3.5)) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("10m", "seconds", 600),
        ("90s", "seconds", 90),
        ("1h30m", "seconds", 5400),
        ("1.5 hours", "seconds", 5400),
        ("2 days", "seconds", 172800),
        ("2d", "seconds", 172800),
        (" 10 min ", "seconds", 600),
        ("1e15flop", "flop", 1e15),
        ("1E15 FLOPs", "flop", 1e15),
        ("3 TFLOP", "flop", 3e12),
        ("1 EFLOP", "flop", 1e18),
        ("2.5 PF-days", "flop", 2.5 * 8.64e19),
        ("2.5 petaflop/s-days", "flop", 2.5 * 8.64e19),
        ("1pfday", "flop", 8.64e19),
    ],
)
def test_budgets(text: str, unit: str, amount: float) -> None:
    budget = units.parse_budget(text)
    assert (budget.unit, budget.amount) == (unit, pytest.approx(amount, rel=1e-12))


@pytest.mark.parametrize(
    "text", ["", "10", "10M", "m", "-5m", "0s", "nan s", "1e400s", "5 PF", "1e15flop/s", "ten m"]
)
def test_bad_budgets_say_what_to_write(text: str) -> None:
    with pytest.raises(SpecError, match=r"1h30m.*PF-days") as caught:
        units.parse_budget(text)
    assert repr(text) in str(caught.value)


@given(st.floats(1, 1e7))
def test_a_printed_duration_reads_back(seconds: float) -> None:
    shown = units.format_duration(seconds)
    # Two units are shown: the error is at most half of the smaller (a minute's is a second).
    assert units.parse_seconds(shown) == pytest.approx(seconds, rel=0.051, abs=1.0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0.4s"),
        (45, "45s"),
        (59.6, "1m"),
        (90, "1m30s"),
        (3661, "1h01m"),
        (86399, "23h59m"),
        (1e5, "1d03h"),
        (-90, "-1m30s"),
        (math.inf, "inf"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert units.format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        (999, "999"),
        (197_123, "197k"),
        (999_600, "1M"),
        (1.2e6, "1.2M"),
        (1.36e9, "1.36B"),
        (6.4e13, "64T"),
        (3e16, "3.00e16"),
        (math.nan, "nan"),
    ],
)
def test_counts(value: float, shown: str) -> None:
    assert units.format_count(value) == shown


@given(st.floats(1, 1e14))
def test_a_printed_count_reads_back(value: float) -> None:
    assert units.parse_count(units.format_count(value)) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize("text", ["", "many", "-3", "1.2.3", "7Q", "1,00"])
def test_bad_counts(text: str) -> None:
    with pytest.raises(SpecError, match="not a count"):
        units.parse_count(text)


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        ((0.3421, 0.31, 0.38), "0.342 [0.31, 0.38]"),
        ((406.4, 300, 520), "406 [300, 520]"),
        ((1.5432, 1.5421, 1.5443), "1.54320 [1.5421, 1.5443]"),
        ((406, 20, 120000), "410 [20, 120000]"),
        ((6.4e13, 5.1e13, 8.3e13), "6.40e13 [5.1e13, 8.3e13]"),
        ((0.342, 0.31, None), "0.342 [0.31, inf)"),
        ((0.342, -math.inf, 0.38), "0.342 (-inf, 0.38]"),
        ((-0.05, -0.07, 0.01), "-0.050 [-0.07, 0.01]"),
        ((math.nan, 0, 1), "nan"),
    ],
)
def test_estimates(estimate: tuple[float, float | None, float | None], shown: str) -> None:
    assert units.format_estimate(*estimate) == shown


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e4), st.floats(1e-3, 1e4))
def test_rounding_moves_nothing_by_more_than_the_interval_allows(
    value: float, below: float, above: float
) -> None:
    assume(abs(value) > 1e-3)
    shown = units.format_estimate(value, value - below, value + above)
    read = [float(x) for x in re.findall(r"-?[0-9.]+(?:e-?[0-9]+)?", shown)]
    half = min(below, above)
    assert len(read) == 3
    assert abs(read[0] - value) <= 0.051 * half + 1e-9
    assert abs(read[1] - (value - below)) <= 0.5 * half
    assert abs(read[2] - (value + above)) <= 0.5 * half


def test_numbers() -> None:
    shown = [units.format_number(x) for x in (1.23456, 123456.0, 1e-6, 9.99999, 0.0, math.inf)]
    assert shown == ["1.235", "123500", "1.000e-6", "10.00", "0", "inf"]
    assert units.format_flop(1e15) == "1.00e15 FLOP"
    assert units.format_flop(8.64e19) == "8.64e19 FLOP (1 PF-days)"

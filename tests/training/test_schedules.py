"""Schedules against closed forms and torch's own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.counting import TransformerShape
from scalelab.training.schedules import SCHEDULES, lr_factor
from scalelab.training.spec import TrainSpec

SPEC = TrainSpec(
    run="r", shape=TransformerShape(1, 8, 1, 8, 8, 8), corpus="", batch_tokens=8, steps=100,
    lr=1.0, warmup_steps=10,
)  # fmt: skip


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, 99), st.floats(0, 1))
def test_every_factor_lies_between_the_final_rate_and_the_peak(
    name: str, step: int, final: float
) -> None:
    spec = replace(SPEC, schedule=name, final_lr=final)
    factor = lr_factor(step, spec)
    assert factor <= 1 + 1e-12
    assert step < spec.warmup_steps or factor >= final - 1e-12


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert [lr_factor(step, SPEC) for step in range(10)] == pytest.approx(
        [(step + 1) / 10 for step in range(10)]
    )
    assert lr_factor(10, SPEC) == 1.0


@pytest.mark.parametrize(
    ("name", "half"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0), ("wsd", 1.0)]
)
def test_half_way(name: str, half: float) -> None:
    assert lr_factor(55, replace(SPEC, schedule=name)) == pytest.approx(half)


def test_stable_then_one_minus_square_root() -> None:
    spec = replace(SPEC, schedule="wsd", decay_fraction=0.2)
    assert all(lr_factor(step, spec) == 1 for step in range(10, 81))
    assert lr_factor(85, spec) == pytest.approx(1 - math.sqrt(0.25))


def test_a_branch_decays_as_a_separate_run_of_its_length_would() -> None:
    separate = replace(SPEC, steps=40, decay_fraction=0.25)
    branch = replace(separate, trunk="t", fork_step=30)
    for step in range(30, 40):
        assert lr_factor(step, branch) == lr_factor(step, separate)


def test_a_trunk_stays_at_its_peak_until_it_stops() -> None:
    trunk = replace(SPEC, steps=100, decay_fraction=0.25, stop_step=75, fork_steps=(30, 75))
    assert all(lr_factor(step, trunk) == 1 for step in range(10, 75))

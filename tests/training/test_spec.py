"""What cannot be trained is refused with its numbers; every field survives the disk."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scalelab.counting import RecurrentShape, TransformerShape
from scalelab.errors import SpecError
from scalelab.training.spec import TrainSpec

SPEC = TrainSpec(
    run="r", shape=TransformerShape(1, 8, 1, 8, 8, 8), corpus="", batch_tokens=64, steps=9, lr=1.0
)
RECURRENT = replace(SPEC, shape=RecurrentShape("lstm", 1, 8, 8, 8))


@pytest.mark.parametrize("spec", [SPEC, RECURRENT])
def test_every_field_comes_back(spec: TrainSpec) -> None:
    full = replace(
        spec, trunk="t", fork_step=3, trunk_step=6, unique_tokens=99, patience=2,
        fork_steps=(1, 2), others=(("a", "/x"), ("b", "/y")), others_tokens=8,
        unroll=16 if spec is RECURRENT else 0,
    )  # fmt: skip
    assert TrainSpec.from_dict(json.loads(json.dumps(full.to_dict()))) == full


def test_rows_of_a_recurrent_batch_are_as_long_as_it_is_unrolled() -> None:
    assert (RECURRENT.sequences, RECURRENT.row_tokens) == (8, 8)
    long = replace(RECURRENT, unroll=32)
    assert (long.sequences, long.row_tokens) == (2, 32)
    assert replace(RECURRENT, unroll=4).sequences == 16, "shorter than the context"


def test_a_branch_forks_at_the_trunks_step() -> None:
    assert replace(SPEC, trunk="t", fork_step=6).forks_at == 6
    assert replace(SPEC, trunk="t", fork_step=6, trunk_step=24).forks_at == 24


@pytest.mark.parametrize(
    ("spec", "changes", "seen"),
    [
        (RECURRENT, {"unroll": 24}, "64 tokens is not .* 24 tokens; choose a multiple of the unr"),
        (RECURRENT, {"unroll": 32, "micro_tokens": 16}, r"multiple of the unroll \(32\)"),
        (SPEC, {"batch_tokens": 12}, "12 tokens is not .* 8 tokens; choose a multiple of the cont"),
        (SPEC, {"batch_tokens": 0}, "batch of 0 tokens"),
        (SPEC, {"unroll": 8}, "unroll is 8; .* 0 for a Transformer"),
        (RECURRENT, {"unroll": -8}, "unroll is -8"),
        (SPEC, {"unique_tokens": 7}, "unique_tokens is 7; one sequence has 8"),
        (SPEC, {"unique_tokens": -1}, "unique_tokens is -1"),
        (SPEC, {"patience": 2, "curve_points": 0}, "patience 2 with 0 evaluations"),
        (SPEC, {"patience": 2, "kind": "trunk"}, "a trunk does not stop early"),
        (SPEC, {"patience": -1}, "patience is -1"),
        (SPEC, {"others": (("a", "/x"), ("a", "/y"))}, "two other texts have one name"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    spec: TrainSpec, changes: dict[str, object], seen: str
) -> None:
    with pytest.raises(SpecError, match=seen):
        replace(spec, **changes)  # type: ignore[arg-type]

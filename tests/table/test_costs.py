"""The cost of a sample or token, or a rate, is no training compute."""

from __future__ import annotations

import pytest

from scalelab.errors import TableError
from scalelab.table import read_runs
from scalelab.table.costs import cost_of


@pytest.mark.parametrize(
    ("title", "cost"),
    [
        ("model_gflops", "sample"),
        ("modelGFLOPs", "sample"),
        ("GFLOPs", "sample"),
        ("config.mflops", "sample"),
        ("forward_flops", "sample"),
        ("flops_per_image", "sample"),
        ("model_flops", "sample"),
        ("inference flops", "sample"),
        ("flops_per_token", "token"),
        ("train_flops_per_token", "token"),
        ("flops_per_step", "step"),
        ("tflops", "second"),
        ("tflops_per_s", "second"),
        ("achieved_tflops", "second"),
        ("throughput/flops", "second"),
        ("flops", None),
        ("C", None),
        ("train_gflops", None),
        ("total_model_flops", None),
        ("total_gflops", None),
        ("flops (EFLOP)", None),
        ("compute (PF-days)", None),
        ("training FLOP", None),
        ("loss", None),
    ],
)
def test_what_a_title_says_the_cost_of(title: str, cost: str | None) -> None:
    assert cost_of(title) == cost


def test_a_cost_is_not_taken_for_compute() -> None:
    runs = {"model_gflops": [5.5, 9.7], "samples_seen": [3e6, 3e7], "val_loss": [5.1, 2.8]}
    with pytest.raises(TableError, match="'model_gflops' is the cost of a sample") as raised:
        read_runs(runs)
    assert "--column flops='model_gflops*samples_seen*3e9'" in str(raised.value)
    assert "flops=model_gflops." not in str(raised.value)
    made = read_runs(runs, columns={"flops": "model_gflops*samples_seen*3e9"})
    assert made.frame["flops"].to_list() == pytest.approx([5.5 * 3e6 * 3e9, 9.7 * 3e7 * 3e9])
    assert "not-training-compute" not in {notice.code for notice in made.notices}


def test_where_compute_is_not_needed_it_is_told() -> None:
    runs = {"N": [1e6, 2e6], "D": [2e7, 4e7], "flops_per_token": [6e6, 12e6], "loss": [3.0, 2.8]}
    table = read_runs(runs)
    assert table.frame["flops"].to_list() == [6 * 1e6 * 2e7, 6 * 2e6 * 4e7]
    assert table.frame["flops_per_token"].to_list() == [6e6, 12e6]
    (notice,) = [one for one in table.notices if one.code == "not-training-compute"]
    assert "column flops_per_token was not taken for flops" in notice.message
    assert "--column flops='flops_per_token*D*3'" in notice.message
    # What a user says, it is.
    said = read_runs(
        {**runs, "flops_per_token": [1.2e14, 4.8e14]}, columns={"flops": "flops_per_token"}
    )
    assert said.frame["flops"].to_list() == [1.2e14, 4.8e14]


def test_a_rate_beside_compute_is_no_matter() -> None:
    runs = {"N": [1e6, 2e6], "D": [2e7, 4e7], "tflops_per_s": [100.0, 90.0], "loss": [3.0, 2.8]}
    assert "not-training-compute" not in {notice.code for notice in read_runs(runs).notices}

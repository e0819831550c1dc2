"""What a law needs of a table: only that is asked for and checked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scalelab.errors import TableError
from scalelab.table import read_runs
from scalelab.table.names import near

CURVE = {"step": [1000, 2000, 4000], "loss": [3.5, 3.2, 3.0]}


def test_a_law_over_own_columns_needs_no_sizes() -> None:
    with pytest.raises(TableError, match="no column for N, D or C"):
        read_runs(CURVE)
    table = read_runs(CURVE, needs=["step", "loss"])
    assert table.frame["step"].to_list() == [1000.0, 2000.0, 4000.0]
    assert set(table.mapping) == {"loss"}


def test_what_is_not_needed_may_be_empty_or_impossible() -> None:
    runs = {**CURVE, "N": [1e6, None, 2e6], "lr": [0.0, 1e-3, 1e-3], "seed": ["0", "x1", "2"]}
    with pytest.raises(TableError, match="column N: the cell is empty"):
        read_runs(runs)
    table = read_runs(runs, needs=["step", "loss"])
    assert table.frame["params"].to_list() == [1e6, None, 2e6]
    assert table.frame["lr"].to_list() == [0.0, 1e-3, 1e-3]
    with pytest.raises(TableError, match="lr must be positive"):
        read_runs(runs, needs=["step", "lr", "loss"])


def test_cells_that_are_not_needed_and_not_read_are_told() -> None:
    runs = {"step": list(range(1, 9)), "loss": [3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.3]}
    runs |= {"N": ["1e6"] * 7 + ["#REF!"]}
    with pytest.raises(TableError, match="row 8, column N is '#REF!'"):
        read_runs(runs)
    table = read_runs(runs, needs=["step", "loss"])
    assert table.frame["params"].to_list()[-1] is None
    told = {notice.code: notice.message for notice in table.notices}
    assert "cells of column N were left empty" in told["cells-not-read"]
    assert "'#REF!'" in told["cells-not-read"]


def test_a_function_chooses_among_the_columns_of_numbers() -> None:
    seen: list[str] = []

    def chosen(names: Sequence[str]) -> Sequence[str]:
        seen.extend(names)
        return ["tokens", "experts", "loss"]

    runs = {"run": ["a", "b"], "steps": [100, 200], "batch_tokens": [1e5, 1e5], "N": [1e6, 2e6]}
    runs |= {"width": [64, 128], "experts": ["1", "2"], "val_loss": [3.5, 3.0], "word": ["u", "v"]}
    table = read_runs(runs, needs=chosen)
    assert set(seen) == {
        *("steps", "batch_tokens", "params", "tokens", "flops", "loss", "d_model"),
        *("experts", "width", "val_loss"),  # N is a letter of formulas, words are no numbers
    }
    assert table.frame["tokens"].to_list() == [1e7, 2e7]


def test_a_column_taken_for_the_schema_is_there_by_its_own_title_too() -> None:
    frame = read_runs({**CURVE, "width": [64, 128, 256]}, needs=["width", "loss"]).frame
    assert frame["d_model"].to_list() == [64, 128, 256]
    assert frame["width"].to_list() == [64.0, 128.0, 256.0]


def test_what_a_needed_column_is_derived_from_is_needed() -> None:
    runs = {"steps": [100, None], "batch_tokens": [1e5, 1e5], "loss": [3.5, 3.0]}
    with pytest.raises(TableError, match="row 2, column steps: the cell is empty"):
        read_runs(runs, needs=["tokens", "loss"])
    both = {"N": [1e6, 2e6], "C": [6e14, None], "loss": [3.5, 3.0]}
    with pytest.raises(TableError, match="row 2, column C: the cell is empty"):
        read_runs(both, needs=["tokens", "loss"])
    assert read_runs(both, needs=["params", "loss"]).frame["flops"].null_count() == 1


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (["lr", "loss"], r"no column for lr \(peak learning rate\); it has step, loss"),
        (["stp", "loss"], r"no column 'stp'; it has step, loss\."),
        (["Steps_", "loss"], "no column 'Steps_'; it has step, loss. Is it 'step'."),
        (["tokens", "loss"], "It also follows from params and flops, steps and batch_tokens"),
        (["params", "tokens"], "no column for params"),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(needs: list[str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_runs(CURVE, needs=needs)


def test_the_response_may_be_another_than_a_loss() -> None:
    runs = {"batch_size": [32, 64, 128], "steps_to_target": [60659, 32282, 17000]}
    table = read_runs(runs, needs=["batch_size", "steps_to_target"])
    assert "loss" not in table.frame.columns
    named = read_runs(runs, columns={"loss": "steps_to_target"}, needs=["batch_size", "loss"])
    assert named.frame["loss"].to_list() == [60659.0, 32282.0, 17000.0]
    assert "not-a-loss" in {notice.code for notice in named.notices}
    with pytest.raises(TableError, match="Is it a perplexity"):
        read_runs(
            {"N": [1e6, 2e6], "D": [2e7, 2e7], "val_ppl": [40.0, 30.0]}, columns={"loss": "val_ppl"}
        )


def test_columns_to_ignore_are_nothing() -> None:
    runs = {"N": [1e6, 2e6], "D": [2e7, 2e7], "C": [1.0, 2.0], "loss": [3.5, 3.0]}
    with pytest.raises(TableError, match="too few FLOP"):
        read_runs(runs)
    table = read_runs(runs, ignore=["C"])
    assert table.frame["flops"].to_list() == [6 * 1e6 * 2e7, 6 * 2e6 * 2e7]
    with pytest.raises(TableError, match="no column 'CC' to ignore; it has N, D, C, loss"):
        read_runs(runs, ignore=["CC"])


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("num_expert", ["num_experts", "loss"], "num_experts"),
        ("Batch_Size", ["batch_size"], "batch_size"),
        ("batchsize", ["config.batch_size"], "config.batch_size"),
        ("n_params", ["params", "tokens"], "params"),
        ("learning_rate", ["lr"], "lr"),
        ("num_experts", ["num_experts", "num_expert"], None),  # is a column
        ("alpha", ["params", "tokens", "loss"], None),
        ("beta", ["beta2", "lr"], None),
        ("E", ["e", "N"], None),
        ("Nc", ["N", "nc"], None),
    ],
)
def test_nearly_a_column(name: str, columns: list[str], expected: str | None) -> None:
    assert near(name, columns) == expected

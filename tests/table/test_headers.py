"""Titles under tools' prefixes and with units beside them; expressions for what they do not say."""

from __future__ import annotations

import math

import pytest

from scalelab.errors import TableError
from scalelab.table import RUN_COLUMNS, read_runs
from scalelab.table.expressions import parse
from scalelab.table.headers import factor, names

COLUMNS = {column.name: column for column in RUN_COLUMNS}


@pytest.mark.parametrize(
    ("title", "column"),
    [
        ("config.n_params", "params"),
        ("config/n_params", "params"),
        ("config.n_params.value", "params"),
        ("config.model.n_layer", "n_layer"),
        ("Summary.val_loss", "loss"),
        ("summary/val/loss", "loss"),
        ("summary.eval.loss", "loss"),
        ("metrics.val_loss", "loss"),
        ("throughput/total_tokens", "tokens"),
        ("loss (nats/token)", "loss"),
        ("val_loss_nats", "loss"),
        ("Training compute (FLOP)", "flops"),
        (" tokens ", "tokens"),
    ],
)
def test_titles_that_are_names(title: str, column: str) -> None:
    assert names(title, COLUMNS[column])


@pytest.mark.parametrize(
    ("title", "column"),
    [
        ("train/loss", "loss"),
        ("training/loss", "loss"),
        ("train_loss", "loss"),
        ("loss (bits/byte)", "loss"),
        ("params (M)", "params"),
        ("config.lr", "params"),
        ("optimizer.params", "params"),
    ],
)
def test_titles_that_are_not(title: str, column: str) -> None:
    assert not names(title, COLUMNS[column])


@pytest.mark.parametrize(
    ("title", "column", "by"),
    [
        ("compute (PF-days)", "flops", 8.64e19),
        ("pf_days", "flops", 8.64e19),
        ("pf_days", "flops_exact", None),
        ("total_gflops", "flops", 1e9),
        ("flops (EFLOP)", "flops", 1e18),
        ("tflops", "flops", None),  # may be a rate
        ("achieved_tflops", "flops", None),
        ("compute_flop", "flops", None),
        ("tokens (1e9)", "tokens", 1e9),
        ("config.params_M", "params", 1e6),
        ("DB", "tokens", None),
        ("loss (M)", "loss", None),
    ],
)
def test_units_in_titles(title: str, column: str, by: float | None) -> None:
    assert factor(title, COLUMNS[column]) == by


BASE = {"params": [1e6, 2e6], "tokens": [2e7, 4e7], "loss": [3.0, 2.8]}


@pytest.mark.parametrize(
    ("name", "source", "cells", "expected"),
    [
        ("loss", "ln(ppl)", {"ppl": [math.exp(3.0), math.exp(2.8)]}, BASE["loss"]),
        ("loss", "exp(x)", {"x": [math.log(3.0), math.log(2.8)]}, BASE["loss"]),
        ("params", "10^lg", {"lg": [6.0, math.log10(2e6)]}, BASE["params"]),
        ("loss", "bpb*0.5*bytes", {"bpb": [1.5, 1.4], "bytes": [4, 4]}, BASE["loss"]),
        ("params", "10^lg*2", {"lg": [math.log10(5e5), 6.0]}, BASE["params"]),
        ("params", "1e6*2^lg/2", {"lg": [1.0, 2.0]}, BASE["params"]),
        ("params", "10^a*2^b", {"a": [6.0, 6.0], "b": [0.0, 1.0]}, BASE["params"]),
        ("params", "10^lg*k", {"lg*k": [6.0, math.log10(2e6)]}, BASE["params"]),
        (
            "loss",
            "ln(a)*ln(b)",
            {"a": [math.e] * 2, "b": [math.exp(3), math.exp(2.8)]},
            BASE["loss"],
        ),
        (
            "loss",
            "ln(a*b)",
            {"a": [2.0] * 2, "b": [math.exp(3) / 2, math.exp(2.8) / 2]},
            BASE["loss"],
        ),
        ("loss", "a (b/c)*2", {"a (b/c)": [1.5, 1.4]}, BASE["loss"]),
        ("tokens", "kb/1e3", {"kb": ["2e10", "40,000,000,000"]}, BASE["tokens"]),
        ("loss", "val/x*2", {"val/x": [1.5, 1.4]}, BASE["loss"]),
    ],
)
def test_an_expression_brings_a_column_to_our_unit(
    name: str, source: str, cells: dict[str, list[object]], expected: list[float]
) -> None:
    rest = {key: value for key, value in BASE.items() if key != name}
    table = read_runs({**rest, **cells}, columns={name: source})
    assert table.frame[name].to_list() == pytest.approx(expected)
    assert f"{name} <- {source}" in table.summary()


@pytest.mark.parametrize(
    "text", ["x*y", "ln(y)", "y", "x*", "10^", "3*4", "y**2", "x y", "x > 1", "`y`", ""]
)
def test_expressions_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(TableError):
        parse("loss", text, ["x"], "runs.csv")


def test_a_column_is_an_expression_of_others() -> None:
    """Every operator of the language, over titles with signs in them."""
    runs = {
        "total-params": [5e7, 9e7],
        "emb": [3e7, 4e7],
        "gflops (fwd)": [5.5, 9.7],
        "samples": [3e6, 3e7],
        "acc": [0.25, 0.5],
    }
    chosen = {
        "params": "total-params-emb",
        "flops": "gflops (fwd) * samples * 3e9",
        "loss": "1 - acc",
    }
    table = read_runs(runs, columns=chosen)
    assert table.frame["params"].to_list() == [2e7, 5e7]
    assert table.frame["flops"].to_list() == pytest.approx([4.95e16, 8.73e17])
    assert table.frame["loss"].to_list() == [0.75, 0.5]
    assert "emb" in table.frame.columns  # what an expression takes stays a column of its own
    with pytest.raises(TableError, match=r"an operator is missing .* columns are total-"):
        read_runs(runs, columns={**chosen, "loss": "(2acc)"})


def test_a_column_of_that_very_name_is_that_column() -> None:
    cells = {"a": [5.0, 6.0], "b": [1.0, 2.0], "a-b": [3.0, 2.8]}
    rest = {key: BASE[key] for key in ("params", "tokens")}
    assert read_runs({**rest, **cells}, columns={"loss": "a-b"}).frame["loss"].to_list() == [3, 2.8]
    found = read_runs({**rest, **cells}, columns={"loss": "a - b"}).frame["loss"]
    assert found.to_list() == [4, 4]
    quoted = read_runs({**rest, **cells}, columns={"loss": "`a-b` + `a`"})
    assert quoted.frame["loss"].to_list() == pytest.approx([8, 8.8])


def test_one_number_is_every_runs() -> None:
    """All runs saw the same data: D is a number, and C follows."""
    runs = {"params": [1e6, 2e6], "loss": [3.0, 2.8]}
    table = read_runs(runs, columns={"tokens": "2e10"})
    assert table.frame["tokens"].to_list() == [2e10, 2e10]
    assert "tokens <- 2e10" in table.summary()
    assert table.frame["flops"].to_list() == pytest.approx([1.2e17, 2.4e17])
    with pytest.raises(TableError, match="column 7 is 7: too few"):
        read_runs(runs, columns={"params": "7", "tokens": "2e10"})
    with pytest.raises(TableError, match=r"loss=2\.5 is one number for all runs"):
        read_runs(runs, columns={"loss": "2.5", "tokens": "2e10"})


@pytest.mark.parametrize("name", ["run", "status", "family", "held_out", "tokenizer"])
def test_a_column_of_words_is_no_expression(name: str) -> None:
    with pytest.raises(TableError, match=f"{name} holds no numbers"):
        read_runs({**BASE, "x": [1, 2]}, columns={name: "2*x"})


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1e7", ""], r"row 2, column emb: the cell is empty"),
        (["1e7", None], r"row 2, column emb: the cell is empty"),
        (["1e7", "NA"], r"row 2, column emb: the cell is empty"),
        (["1e7", "much"], r"row 2, column emb is 'much': expected a number"),
        (["nan", "1e7"], r"row 1, column emb is 'nan': not a finite number"),
        (["1e7", "9e7"], r"row 2, column total-emb is -1e\+07: params must be positive"),
    ],
)
def test_a_fault_of_an_expression_is_that_of_its_cell(cells: list[object], words: str) -> None:
    runs = {"total": [5e7, 8e7], "emb": cells, "D": [1e9, 2e9], "loss": [3.0, 2.8]}
    with pytest.raises(TableError, match=words) as raised:
        read_runs(runs, columns={"params": "total-emb"})
    assert "column total-emb" not in str(raised.value) or "-1e+07" in str(raised.value)
    good = {**runs, "total": [5e7, 8e7, 9e7], "emb": [*cells, "1e7"]}
    good = {key: [*value, value[-1]][:3] for key, value in good.items()}
    kept = read_runs(good, columns={"params": "total-emb"}, drop_bad=True)
    assert kept.frame.height == 2
    # An unfinished run may have anything there, but words.
    if "much" not in cells:
        unfinished = {**runs, "status": ["finished" if c == "1e7" else "failed" for c in cells]}
        assert read_runs(unfinished, columns={"params": "total-emb"}).finished.height == 1


def test_units_in_the_cells_of_a_difference_are_read() -> None:
    runs = {"total": ["50M", "0.1B"], "emb": ["30M", "40M"], "D": [1e9, 2e9], "loss": [3.0, 2.8]}
    found = read_runs(runs, columns={"params": "total - emb"}).frame["params"]
    assert found.to_list() == [2e7, 6e7]
    with pytest.raises(TableError, match="its unit being told already"):
        read_runs(runs, columns={"params": "total*1e6 - emb"})


def test_a_whole_number_is_asked_of_an_expression_too() -> None:
    runs = {**BASE, "x": [4, 5]}
    assert read_runs(runs, columns={"n_layer": "x+1"}).frame["n_layer"].to_list() == [5, 6]
    with pytest.raises(TableError, match=r"row 2, column x/2 is 2.5: expected a whole number"):
        read_runs(runs, columns={"n_layer": "x/2"})


def test_advice_about_an_expression_keeps_it_together() -> None:
    runs = {"a": [50.0, 90.0], "b": [10.0, 20.0], "D": [1e9, 2e9], "loss": [3.0, 2.8]}
    with pytest.raises(TableError, match=r"--column params='\(a-b\)\*1e6'"):
        read_runs(runs, columns={"params": "a-b"})


def test_a_cell_with_a_unit_under_a_title_with_one_is_refused() -> None:
    with pytest.raises(TableError, match=r"Params \(M\) is '1M': .* its unit being told already"):
        read_runs({"Params (M)": ["1M", "2M"], "D": [2e7, 4e7], "loss": [3.0, 2.8]})


@pytest.mark.parametrize(
    ("title", "advice"),
    [
        ("val_ppl", "ln(val_ppl)"),
        ("loss_bpb", "loss_bpb*0.693147*BYTES"),
        ("loss (bits/byte)", "'loss (bits/byte)*0.693147*BYTES'"),
        ("log_loss", "exp(log_loss)"),
        ("loss_c4_val", "--column loss=loss_c4_val"),
        ("train_loss", "of training, not held out"),
    ],
)
def test_a_loss_that_is_not_taken_is_told_how_to_give(title: str, advice: str) -> None:
    with pytest.raises(TableError) as caught:
        read_runs({"N": [1e6, 2e6], "D": [2e7, 4e7], title: [3.0, 2.8]})
    assert advice in str(caught.value)


def test_ids_are_the_first_column_that_can_be() -> None:
    table = read_runs({**BASE, "name": ["s", "s"], "run_id": ["x", "y"]})
    assert table.mapping["run"] == "run_id"
    assert "run" not in read_runs({**BASE, "name": ["s", "s"]}).mapping
    with pytest.raises(TableError, match="ids are unique"):
        read_runs({**BASE, "run_id": ["x", "x"], "tokens": [2e7, 2e7]})


def test_active_and_total_parameters_are_two_things() -> None:
    with pytest.raises(TableError, match="active_params, total_params could each be params"):
        read_runs({**BASE, "active_params": [1e6, 2e6], "total_params": [4e6, 8e6]} | {
            "params": [None, None]})  # fmt: skip


def test_a_data_set_passed_over_several_times_is_not_d() -> None:
    runs = {"N": [1e6, 2e6], "dataset_tokens": [2e7, 4e7], "loss": [3.0, 2.8]}
    assert read_runs(runs).mapping["tokens"] == "dataset_tokens"
    table = read_runs({**runs, "epochs": [4, 1]})
    assert table.frame["tokens"].to_list() == [8e7, 4e7]
    assert table.frame["unique_tokens"].to_list() == [2e7, 4e7]
    assert "repeated-data" in {notice.code for notice in table.notices}


def test_data_of_transfer_is_no_unit() -> None:
    """D_T is Hernandez et al.'s data transferred; D_B is data in billions."""
    runs = {"N": [1e7, 2e7], "D_T": [3e9, 4e9], "loss": [3.0, 2.8]}
    assert "tokens" not in read_runs(runs).frame.columns
    runs = {"N": [1e7, 2e7], "D_B": [3.0, 4.0], "loss": [3.0, 2.8]}
    assert read_runs(runs).frame["tokens"].to_list() == [3e9, 4e9]


def test_steps_to_a_loss_may_lie_between_two_steps() -> None:
    runs = {"batch": [16, 32], "steps": [135276.85, 70123.5], "loss": [3.0, 3.0]}
    assert read_runs(runs, needs=["steps"]).frame["steps"].to_list() == [135276.85, 70123.5]

"""The verbs of the desk: fit, backtest, isoflop and laws, as a person types them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab import cli
from scalelab.counting import TransformerShape, count_parameters
from scalelab.fitting import Fit, fit
from scalelab.laws import LAWS, get_law

Answer = tuple[int, str, str]
Command = Callable[..., Answer]

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
EXPONENT = 0.28 / 0.62


def surface(sizes: int = 8, data: int = 6, noise: float = 0.002) -> pl.DataFrame:
    """Runs of Chinchilla's law, under the names of somebody's log."""
    generator = np.random.default_rng(0)
    N = np.repeat(np.geomspace(1e6, 1e9, sizes), data)
    D = np.tile(np.geomspace(1e8, 1e11, data), sizes)
    loss = get_law("chinchilla").loss(TRUTH, params=N, tokens=D)
    loss = loss * np.exp(noise * generator.normal(size=len(N)))
    ids = [f"r{i}" for i in range(len(N))]
    return pl.DataFrame({"name": ids, "n_params": N, "n_tokens": D, "val_loss": loss})


def sweeps() -> pl.DataFrame:
    """Sweeps of nine sizes at six budgets, about the best one."""
    C = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    best = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62) * (C / 6) ** EXPONENT
    N = best * np.tile(np.geomspace(0.2, 5, 9), 6)
    loss = get_law("chinchilla").loss(TRUTH, params=N, tokens=C / 6 / N)
    return pl.DataFrame({"N": N, "D": C / 6 / N, "C": C, "loss": loss})


def shaped() -> pl.DataFrame:
    """Runs that tell their shapes, counted by what Kaplan et al. count."""
    rows: list[dict[str, Any]] = []
    for layers in (4, 6, 8, 12, 16, 24):
        shape = TransformerShape(layers, 32 * layers, 4, 128 * layers, 64, 32_000)
        N = float(count_parameters(shape).non_embedding)
        for D in (5e7, 3e8, 2e9, 1e10):
            loss = float(get_law("chinchilla").loss(TRUTH, params=N, tokens=D))
            dimensions = {"n_layer": layers, "d_model": 32 * layers, "d_ff": 128 * layers}
            rows.append({"N": N, "D": D, "loss": loss, "n_head": 4, "context": 64} | dimensions)
    generator = np.random.default_rng(1)
    noise = pl.Series(np.exp(0.002 * generator.normal(size=len(rows))))
    return pl.DataFrame(rows).with_columns(pl.col("loss") * noise, vocabulary=pl.lit(32_000))


@pytest.fixture
def scalelab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command in a folder of tables -> exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    table = surface()
    table.write_csv("runs.csv")
    sweeps().write_csv("sweeps.csv")
    shaped().write_csv("shapes.csv")
    table.head(4).write_csv("few.csv")
    table.drop("val_loss").write_csv("lossless.csv")
    table.filter(pl.int_range(pl.len()) % 7 == 0).write_csv("optima.csv")
    table.drop("n_tokens").write_csv("sizes.csv")
    table.rename({"val_loss": "accuracy"}).write_csv("wrong.csv")
    Path("empty.csv").write_text("")
    Path("header.csv").write_text("params,tokens,loss\n")
    Path("folder").mkdir()
    Path("study").mkdir()
    table.write_csv("study/runs.csv")

    def command(*words: str | Path) -> Answer:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        shown = capsys.readouterr()
        return int(caught.value.code or 0), shown.out, shown.err

    return command


def strict(out: str) -> dict[str, Any]:
    """One JSON object without NaN and infinity, and nothing beside it."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    assert out.count("\n") == 1
    assert out.endswith("\n")
    answer = json.loads(out, parse_constant=refuse)
    assert isinstance(answer, dict)
    return answer


def answered(scalelab: Command, *words: str | Path) -> dict[str, Any]:
    code, out, err = scalelab(*words, "--json")
    assert code == 0, err
    assert "Traceback" not in err
    return strict(out)


QUICK = ("--draws", "100")


# --- fit --------------------------------------------------------------------------------------


def test_fit_answers_with_the_keys_of_the_contract(scalelab: Command) -> None:
    answer = answered(scalelab, "fit", "runs.csv", *QUICK)
    assert {"law", "parameters", "objective", "runs", "diagnosis", "derived", "conventions"} <= set(
        answer
    )
    assert answer["law"] == "chinchilla"
    assert answer["runs"] == 48
    for name, value in answer["parameters"].items():
        assert {"value", "low", "high", "level", "stderr"} <= set(value)
        assert value["value"] == pytest.approx(TRUTH[name], rel=0.2)
        assert value["low"] < value["value"] < value["high"]
    assert answer["derived"]["N_opt_exponent"]["value"] == pytest.approx(EXPONENT, abs=0.02)
    assert {"starts", "starts_agreeing", "condition_number", "warnings"} <= set(answer["diagnosis"])
    assert answer["conventions"] == {"params": "column n_params", "flops": "derived, 6ND"}
    record = answer["backtest"]["laws"]["chinchilla"]
    assert record["mean_abs_rel_error"] < 0.01
    assert record["held_out"] > 8


def test_fit_is_a_thin_call_of_the_function(scalelab: Command) -> None:
    answer = answered(scalelab, "fit", "runs.csv", *QUICK, "--seed", "3", "--level", "0.8")
    table = surface().rename({"n_params": "params", "n_tokens": "tokens", "val_loss": "loss"})
    found = fit("chinchilla", table.rename({"name": "run"}), draws=100, seed=3, level=0.8)
    for name, one in found.parameters.items():
        assert answer["parameters"][name] == one.to_dict()


def test_what_was_taken_for_what_is_told_beside_the_answer(scalelab: Command) -> None:
    code, out, err = scalelab("fit", "runs.csv", *QUICK)
    assert code == 0
    assert "params <- n_params" in err
    assert "flops was not given and was derived as C = 6 N D" in err
    assert "<-" not in out
    assert "L = E + A / N^alpha + B / D^beta" in out
    assert "back-test" in out


def test_options_reach_the_fit(scalelab: Command) -> None:
    table = surface().with_columns(
        sd=0.002 * pl.col("val_loss"), size=pl.lit(1.0), team=pl.int_range(pl.len()) % 24
    )
    table.write_csv("wide.csv")
    plain = answered(scalelab, "fit", "wide.csv", *QUICK)
    for words, shown in {
        "--estimator least-squares": "least squares of log-loss residuals",
        "--delta 0.01": "sum of Huber(delta=0.01) of log-loss residuals",
        "--raw": "sum of Huber(delta=0.001) of loss residuals",
        "--above 3": "3 times as much above the law as below",
        "--weights size^0.5": "weights size^0.5",
        "--weights frontier(0.05)": "weights frontier(0.05)",
        "--std sd": "weights 1/sd^2",
    }.items():
        assert shown in answered(scalelab, "fit", "wide.csv", *QUICK, *words.split())["estimator"]
    equal = answered(scalelab, "fit", "wide.csv", *QUICK, "--weights", "size")
    assert equal["parameters"] == plain["parameters"], "equal weights are none"
    by = answered(scalelab, "fit", "wide.csv", *QUICK, "--clusters", "team")
    assert "24 clusters by team, 100 draws" in by["intervals"]
    wild = answered(scalelab, "fit", "wide.csv", *QUICK, "--intervals", "wild")
    assert "wild" in wild["intervals"]
    profile = answered(scalelab, "fit", "wide.csv", *QUICK, "--profile")["parameters"]
    for name, value in profile.items():
        assert value["value"] == plain["parameters"][name]["value"]
        assert value["low"] != plain["parameters"][name]["low"]


def test_law_auto_chooses_and_says_what_it_tried(scalelab: Command) -> None:
    answer = answered(scalelab, "fit", "runs.csv", "--law", "auto", *QUICK)
    tried = answer["backtest"]["laws"]
    assert len(tried) > 2
    assert any(name.startswith(f"{answer['law']} weighted by frontier") for name in tried)
    assert "weights frontier" in answer["estimator"]


def test_law_auto_on_a_small_table_says_that_it_was_not_tested(scalelab: Command) -> None:
    surface(sizes=3, data=3).write_csv("small.csv")
    answer = answered(scalelab, "fit", "small.csv", "--law", "auto", *QUICK)
    codes = [warning["code"] for warning in answer["diagnosis"]["warnings"]]
    assert "not-backtested" in codes
    plain = answered(scalelab, "fit", "small.csv", *QUICK)
    assert "not-backtested" in [one["code"] for one in plain["diagnosis"]["warnings"]]


def test_a_formula_is_a_law(scalelab: Command) -> None:
    named = answered(scalelab, "fit", "runs.csv", *QUICK)
    words = ("fit", "runs.csv", *QUICK, "--law", "floor + a / N^x + b / D^y")
    answer = answered(scalelab, *words, "--out", "own.json")
    assert list(answer["parameters"]) == ["floor", "a", "x", "b", "y"]
    for own, known in {"floor": "E", "x": "alpha", "y": "beta"}.items():
        value = answer["parameters"][own]["value"]
        assert value == pytest.approx(named["parameters"][known]["value"], rel=1e-3)
    loaded = Fit.load("own.json")
    assert loaded.values["x"] == answer["parameters"]["x"]["value"]


def test_a_law_in_one_variable_is_over_the_column_named(scalelab: Command) -> None:
    for column in ("params", "tokens", "flops"):
        answer = answered(
            scalelab, "fit", "runs.csv", *QUICK, "--law", "power", "--over", column, "--out", "f"
        )
        assert answer["law"] == "power"
        assert Fit.load("f").law.inputs == (column,)
    table = surface().with_columns((0.3 + 1.5 * pl.col("val_loss")).alias("loss.code"))
    table.write_csv("code.csv")
    words = ("--law", "transfer-affine", "--over", "loss.code")
    answer = answered(scalelab, "fit", "code.csv", *QUICK, *words)
    values = {name: one["value"] for name, one in answer["parameters"].items()}
    assert values == pytest.approx({"K": 0.3, "k": 1.5}, rel=1e-6)
    (record,) = answer["backtest"]["laws"].values()
    assert record["mean_abs_rel_error"] < 1e-6, "judged by the loss that it describes"


def test_parameters_are_held_tied_and_bounded(scalelab: Command) -> None:
    def parameters(*words: str) -> dict[str, float]:
        answer = answered(scalelab, "fit", "runs.csv", *QUICK, *words)
        return {name: one["value"] for name, one in answer["parameters"].items()}

    held = parameters("--fix", "E=1.69", "alpha=0.34")
    assert set(held) == {"A", "B", "beta"}
    assert held["beta"] == pytest.approx(0.28, abs=0.01)
    assert set(parameters("--tie", "beta=alpha")) == {"E", "A", "B", "alpha"}
    assert parameters("--bound", "alpha=0.1:0.3")["alpha"] == pytest.approx(0.3)
    both = parameters("--fix", "E=1.69", "--bound", "beta=0.1:0.2")
    assert set(both) == {"A", "B", "alpha", "beta"}
    assert both["beta"] == pytest.approx(0.2)


def test_a_fit_is_written_and_read_back(scalelab: Command) -> None:
    code, out, _ = scalelab("fit", "runs.csv", *QUICK, "--out", "fit.json")
    assert code == 0
    assert out.endswith("written to fit.json\n")
    loaded = Fit.load("fit.json")
    assert answered(scalelab, "fit", "runs.csv", *QUICK) == loaded.to_dict()
    assert loaded.reach is not None, "it predicts as honestly as it was told to"
    told = loaded.predict(params=1e9, tokens=2e10)
    assert float(told.value) == pytest.approx(1.69 + 406.4 / 1e9**0.34 + 410.7 / 2e10**0.28, 0.01)


def test_the_same_runs_under_every_way_to_count(scalelab: Command) -> None:
    answer = answered(scalelab, "fit", "shapes.csv", *QUICK, "--conventions")
    fits = answer["conventions"]
    assert list(fits) == ["matrices", "with-norms", "with-output", "total"]
    exponents = [one["derived"]["N_opt_exponent"]["value"] for one in fits.values()]
    # The runs obey the law in the matrices alone, and every other way to count bends it.
    assert exponents[0] == pytest.approx(EXPONENT, abs=0.02)
    assert fits["matrices"]["objective"] < fits["total"]["objective"] / 2
    assert abs(exponents[3] - exponents[0]) > 0.03
    for name, one in fits.items():
        assert one["conventions"]["params"].startswith(f"{name}: ")
        assert one["conventions"]["flops"] == "6N"
    code, out, _ = scalelab("fit", "shapes.csv", *QUICK, "--conventions")
    assert code == 0
    for name in fits:
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert "[" in line
    one = answered(scalelab, "fit", "shapes.csv", *QUICK, "--params", "total", "--flops", "6N")
    assert one == fits["total"]


def test_sweeps_without_an_optimum_are_counted(scalelab: Command) -> None:
    rows = [
        (n, d, lr, 3 + (np.log(lr / 1e-3) - 0.1 * i) ** 2)
        for i, (n, d) in enumerate([(1e6, 1e8), (1e6, 1e9), (1e7, 1e8), (1e7, 1e9), (3e7, 1e10)])
        for lr in np.geomspace(1e-4, 1e-2, 7)
    ]
    rows += [(1e8, 1e10, lr, 3 - np.log(lr) / 10) for lr in (1e-4, 1e-3, 1e-2)]
    frame = pl.DataFrame(rows, schema=["params", "tokens", "lr", "loss"], orient="row")
    frame.write_csv("swept.csv")
    words = ("--law", "optimal-lr", "--sweep", "lr")
    code, out, err = scalelab("fit", "swept.csv", *QUICK, *words)
    assert code == 0, err
    assert "1 of 6 sweeps of lr left out: 1 of 6 are lowest at an end" in out
    answer = answered(scalelab, "fit", "swept.csv", *QUICK, *words)
    (left,) = [n for n in answer["diagnosis"]["warnings"] if n["code"] == "sweeps-left-out"]
    assert "params 1e+08, tokens 1e+10" in left["message"]


def test_rates_and_batches_are_told_apart(scalelab: Command) -> None:
    """Without --sweep that they differ is said; with it runs of one batch are a sweep."""
    frame = pl.DataFrame(
        [
            (n, 1e10, lr, batch, (n / 1e7) ** -0.07 * 3 * (1 + rise))
            for n in (1e7, 3e7, 1e8, 3e8)
            for lr in (1e-3, 2e-3, 4e-3)
            for batch in (1e5, 2e5)
            for rise in [0.01 * np.log(lr / 2e-3) ** 2 + (0.05 if batch > 1e5 else 0)]
        ],
        schema=["params", "tokens", "lr", "batch_tokens", "loss"],
        orient="row",
    )
    frame.write_csv("grid.csv")
    law = ("--law", "power-no-floor", "--over", "params")
    code, _, err = scalelab("fit", "grid.csv", *QUICK, *law)
    assert code == 0
    assert "settings-vary: lr (3 values), batch_tokens (2 values) differ" in err
    assert "--sweep lr" in err
    code, out, err = scalelab("fit", "grid.csv", *QUICK, *law, "--sweep", "lr")
    assert "settings-vary" not in err + out
    assert "! sweeps-apart: batch_tokens differs too" in out
    answer = answered(scalelab, "fit", "grid.csv", *QUICK, *law, "--sweep", "lr")
    assert answer["parameters"]["alpha"]["value"] == pytest.approx(0.07, abs=1e-6)
    assert "sweeps-apart" in {n["code"] for n in answer["diagnosis"]["warnings"]}
    # Both together: of two batches neither is inside.
    code, _, err = scalelab("fit", "grid.csv", *QUICK, *law, "--sweep", "lr", "batch_tokens")
    assert code == 2
    assert "no sweep of lr and batch_tokens has its lowest loss inside" in err
    code, _, err = scalelab("fit", "grid.csv", *QUICK, *law, "--sweep", "params")
    assert code == 2
    assert "name hyper-parameters such as lr" in err


def test_optima_too_few_for_a_law_are_explained(scalelab: Command) -> None:
    rows = [(n, 1e9, lr, 3.0 + lr / n * 1e6) for n in (1e6, 2e6) for lr in (0.1, 0.2, 0.3)]
    rows += [(4e6, 1e9, lr, 2.9 + (lr - 0.2) ** 2) for lr in (0.1, 0.2, 0.3)]
    frame = pl.DataFrame(rows, schema=["params", "tokens", "lr", "loss"], orient="row")
    frame.write_csv("swept.csv")
    code, _, err = scalelab(
        "fit", "swept.csv", "--law", "power", "--sweep", "lr", "--over", "params"
    )
    assert code == 2
    assert "sweeps-left-out: 2 of 3 sweeps of lr left out: 2 of 3 are lowest at an end" in err
    assert "needs 4 finished runs" in err


def test_ways_to_count_stand_side_by_side_for_any_law(scalelab: Command) -> None:
    for law, name in (("a + b / N^x + c / D^y", "x"), ("auto", "alpha")):
        code, out, err = scalelab("fit", "shapes.csv", *QUICK, "--conventions", "--law", law)
        assert code == 0, err
        (head,) = [line for line in out.splitlines() if line.startswith("N counted")]
        assert name in head.split()
        (row,) = [line for line in out.splitlines() if line.startswith("matrices")]
        assert "[" in row


def test_compute_is_counted_anew(scalelab: Command) -> None:
    over = ("--law", "power", "--over", "flops")
    six, exact = (
        answered(scalelab, "fit", "shapes.csv", *QUICK, *over, "--flops", flops)
        for flops in ("6N", "exact")
    )
    assert exact["conventions"]["flops"] == "exact"
    assert six["parameters"]["A"]["value"] != exact["parameters"]["A"]["value"]


def test_rows_and_columns_are_chosen(scalelab: Command) -> None:
    good, bad = surface(), surface().with_columns(pl.col("val_loss") * 3)
    labels = [pl.lit(label).alias("corpus") for label in ("a b", "c")]
    both = pl.concat([t.with_columns(one) for t, one in zip((good, bad), labels, strict=True)])
    both = both.drop("name").with_row_index("id").rename({"val_loss": "nats"})
    both.write_csv("both.csv")
    named = ("--column", "loss=nats")
    answer = answered(scalelab, "fit", "both.csv", *QUICK, *named, "--where", "corpus=a b")
    assert answer["runs"] == 48
    assert answer["parameters"]["alpha"]["value"] == pytest.approx(0.34, abs=0.02)
    one = ("--where", "corpus=a b", "n_tokens=1e8")
    single = answered(scalelab, "fit", "both.csv", *QUICK, *named, *one, "--law", "power")
    assert single["runs"] == 8


def test_bad_rows_are_left_out_only_when_asked_for(scalelab: Command) -> None:
    table = surface()
    table = table.with_columns(
        pl.when(pl.col("name") == "r3").then(-1.0).otherwise("val_loss").alias("val_loss")
    )
    table.write_csv("bad.csv")
    code, out, err = scalelab("fit", "bad.csv", *QUICK)
    assert (code, out) == (2, "")
    assert "bad.csv row 4" in err
    assert "--drop-bad" in err
    assert answered(scalelab, "fit", "bad.csv", *QUICK, "--drop-bad")["runs"] == 47


def test_a_study_folder_is_its_runs(scalelab: Command) -> None:
    assert answered(scalelab, "fit", "study", *QUICK) == answered(
        scalelab, "fit", "study/runs.csv", *QUICK
    )
    assert answered(scalelab, "backtest", "study", "--draws", "0")["laws"]


# --- isoflop ----------------------------------------------------------------------------------


def test_isoflop_answers_with_the_keys_of_the_contract(scalelab: Command) -> None:
    answer = answered(scalelab, "isoflop", "sweeps.csv")
    assert answer["method"] == "cubic"
    assert set(answer["methods"]) == {"parabola", "cubic", "surface"}
    assert len(answer["budgets"]) == 6
    for one in answer["budgets"]:
        assert 6 * one["N_opt"] * one["D_opt"] == pytest.approx(one["flops"], rel=0.01)
        assert one["loss"] > 1.69
    assert answer["N_opt_exponent"]["value"] == pytest.approx(EXPONENT, abs=0.003)
    assert answer["D_opt_exponent"]["value"] == pytest.approx(1 - EXPONENT, abs=0.003)
    assert answer["conventions"] == {"params": "column N", "flops": "column C"}
    surface = answered(scalelab, "isoflop", "sweeps.csv", "--method", "surface")
    assert surface["N_opt_exponent"]["value"] == pytest.approx(EXPONENT, abs=1e-6)
    assert surface["methods"] == answer["methods"]
    code, out, _ = scalelab("isoflop", "sweeps.csv")
    assert code == 0
    assert "(default)" in out


def test_isoflop_from_learning_curves(scalelab: Command) -> None:
    N = np.repeat(np.geomspace(2e7, 2e10, 25), 60)
    D = N * np.tile(np.geomspace(2, 2000, 60), 25)
    loss = get_law("chinchilla").loss(TRUTH, params=N, tokens=D)
    ids = [f"n{i // 60}" for i in range(len(N))]
    curves = {"run": ids, "N": N, "tokens": D, "flops": 6 * N * D, "loss": loss}
    pl.DataFrame(curves).write_csv("curves.csv")
    words = ("--curves", "curves.csv", "--method", "envelope")
    answer = answered(scalelab, "isoflop", "sweeps.csv", *words)
    assert answer["method"] == "envelope"
    assert answer["N_opt_exponent"]["value"] == pytest.approx(EXPONENT, abs=0.01)
    table = pl.read_csv("sweeps.csv")
    trunk = pl.Series("trunk", [f"n{i % 25}" for i in range(len(table))])
    state = pl.Series("state", ["crashed" if name == "n9" else "finished" for name in trunk])
    table.with_columns(trunk, state).write_csv("named.csv")
    answer = answered(scalelab, "isoflop", "named.csv", *words)
    assert "curves-left-out" in {warning["code"] for warning in answer["warnings"]}


def test_isoflop_from_optima(scalelab: Command) -> None:
    C = np.geomspace(1e18, 1e21, 6)
    N = 0.1 * C**0.5 * np.exp([0.0, 0.1, -0.1, 0.05, 0.0, 0.6])
    std = np.array([0.05, 0.1, 0.1, 0.05, 0.05, 5.0])
    table = pl.DataFrame({"C": C, "N": N, "D": C / 6 / N, "std": std})
    table.write_csv("optima.csv")
    plain = answered(scalelab, "isoflop", "optima.csv", "--optima")
    slope, _ = np.polyfit(np.log(C), np.log(N), 1)
    assert plain["N_opt_exponent"]["value"] == pytest.approx(slope, rel=1e-9)
    assert [one["loss"] for one in plain["budgets"]] == [None] * 6
    weighted = answered(scalelab, "isoflop", "optima.csv", "--optima", "--std", "std")
    slope, _ = np.polyfit(np.log(C), np.log(N), 1, w=1 / std)
    assert weighted["N_opt_exponent"]["value"] == pytest.approx(slope, rel=1e-9)
    narrow = answered(scalelab, "isoflop", "optima.csv", "--optima", "--level", "0.5")
    assert narrow["N_opt_exponent"]["high"] < plain["N_opt_exponent"]["high"]
    code, out, _ = scalelab("isoflop", "optima.csv", "--optima")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["N_opt", "D_opt"]


# --- backtest ---------------------------------------------------------------------------------


def test_backtest_answers_with_the_keys_of_the_contract(scalelab: Command) -> None:
    formula = "E + A / N^a + B / D^b"
    words = ("--law", "kaplan", "chinchilla", formula, *QUICK)
    answer = answered(scalelab, "backtest", "runs.csv", *words)
    assert list(answer["laws"])[-1] == "kaplan"
    assert set(answer["laws"]) == {"chinchilla", formula, "kaplan"}
    for score in answer["laws"].values():
        assert {"mean_abs_rel_error", "coverage", "level", "held_out"} <= set(score)
        assert 0 <= score["coverage"] <= 1
    same = (answer["laws"][name]["mean_abs_rel_error"] for name in ("chinchilla", formula))
    assert math.isclose(*same, rel_tol=0.05)


def test_backtest_takes_weights_cuts_ratio_and_draws(scalelab: Command) -> None:
    words = ("--law", "chinchilla", "--weights", "frontier(0.05)", "flops^0.5", "--draws", "0")
    answer = answered(
        scalelab, "backtest", "runs.csv", *words, "--cut", "1e19", "3e19", "--ratio", "4"
    )
    assert set(answer["laws"]) == {
        *("chinchilla", "chinchilla weighted by frontier(0.05)"),
        "chinchilla weighted by flops^0.5",
    }
    assert answer["cuts"] == [1e19, 3e19]
    assert all(score["coverage"] is None for score in answer["laws"].values())
    code, out, _ = scalelab("backtest", "runs.csv", *words)
    assert code == 0
    assert "mean error" in out


# --- laws -------------------------------------------------------------------------------------


def test_laws_lists_every_law(scalelab: Command) -> None:
    code, out, err = scalelab("laws")
    assert (code, err) == (0, "")
    for law in LAWS.values():
        assert any(line.split()[:1] == [law.name] for line in out.splitlines())
        assert law.equation in out
        assert all(preset.name in out for preset in law.presets)
    answer = answered(scalelab, "laws")
    assert list(answer["laws"]) == list(LAWS)


def test_laws_tells_one_law_in_full(scalelab: Command) -> None:
    law = LAWS["chinchilla"]
    code, out, _ = scalelab("laws", "chinchilla")
    assert code == 0
    for words in (law.equation, law.reference, *(p.meaning for p in law.parameters)):
        assert words in out
    answer = answered(scalelab, "laws", "chinchilla")
    assert list(answer["laws"]) == ["chinchilla"]
    one = answer["laws"]["chinchilla"]
    assert one["inputs"] == ["params", "tokens"]
    assert one["response"] == "loss"
    assert set(one["parameters"]) == set(law.names)
    values = one["presets"]["hoffmann2022"]["values"]
    assert values == dict(law.preset("hoffmann2022").values)


# --- bad input --------------------------------------------------------------------------------

AUTO = "--law auto chooses law and weights itself; leave out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # the table
        ("fit none.csv", "none.csv: cannot be read (No such file or directory)"),
        ("fit empty.csv", "empty.csv is empty"),
        ("fit header.csv", "header.csv has no rows"),
        ("fit folder", "folder is a folder without runs.csv"),
        ("fit wrong.csv", "wrong.csv: no column for held-out loss"),
        ("fit sizes.csv", "no column for tokens (D: tokens processed in training)"),
        ("fit few.csv", "needs 6 finished runs or more; the table has 4"),
        ("fit runs.csv --column loss", "--column 'loss' is not understood; write NAME=VALUE"),
        ("fit runs.csv --column loss=nats", "runs.csv has no column 'nats'"),
        ("fit runs.csv --column accuracy=val_loss", "'accuracy' is not a column of the run table"),
        ("fit runs.csv --where corpus=c4", "runs.csv has no column 'corpus' to select rows by"),
        ("fit runs.csv --where name=x", "no row has name = x"),
        ("fit runs.csv --where name", "--where 'name' is not understood"),
        ("fit runs.csv --params total", "needs parameters by part, or shapes"),
        ("fit shapes.csv --params all", "not 'all'"),
        ("fit shapes.csv --flops 8N", "not '8N'"),
        ("fit runs.csv --conventions", "the table has one way to count N"),
        ("fit shapes.csv --conventions --out fit.json", "leave out --out"),
        ("fit shapes.csv --conventions --params total", "leave out --params"),
        # the law
        ("fit runs.csv --law chinchila", "there is no law 'chinchila'; known are chinchilla"),
        ("fit runs.csv --law E+A/N^", "'E+A/N^' is not understood"),
        ("fit runs.csv --law E+A/Q^alpha", "has inputs none"),
        ("fit runs.csv --law E+A/N^alpha --over tokens", "a formula names its own columns"),
        ("fit runs.csv --law E+A/N^alpha+foo(D)", "foo"),
        ("fit runs.csv --over flops", "a column can be chosen only for power"),
        ("fit runs.csv --law power --over lr", "no column for lr (peak learning rate)"),
        ("fit runs.csv --fix E", "--fix 'E' is not understood"),
        ("fit runs.csv --fix E=low", "'low' is not a number"),
        ("fit runs.csv --fix E=-1", "E is -1"),
        ("fit runs.csv --fix gamma=1", "has no parameter 'gamma'; it has E, A, B, alpha, beta"),
        ("fit runs.csv --tie beta=gamma", "has no parameter 'gamma'"),
        ("fit runs.csv --tie E=alpha", "not of one kind"),
        ("fit runs.csv --bound alpha=0.1", "write LOW:HIGH"),
        ("fit runs.csv --bound alpha=0.5:0.1", "low below high"),
        ("fit runs.csv --law auto --weights flops", f"{AUTO} --weights"),
        ("fit runs.csv --law auto --std val_loss", f"{AUTO} --std"),
        ("fit runs.csv --law auto --fix E=1.7", f"{AUTO} --fix"),
        ("fit runs.csv --law auto --over flops", f"{AUTO} --over"),
        ("fit runs.csv --law auto --estimator shared-noise", "--law auto weighs runs, and"),
        ("fit few.csv --law auto", "finished runs or more; the table has 4"),
        # how it is fitted
        ("fit runs.csv --draws 10", "draws is 10"),
        ("fit runs.csv --level 90", "level is 90"),
        ("fit runs.csv --seed -1", "seed is -1"),
        ("fit runs.csv --delta 0", "delta of Huber's function is 0"),
        ("fit runs.csv --estimator least-squares --delta 0.1", "least-squares has no delta"),
        ("fit runs.csv --law auto --estimator least-squares --delta 0.1", "has no delta"),
        ("fit runs.csv --above -1", "above is -1"),
        ("fit runs.csv --weights quality", "no column 'quality' to weigh runs by"),
        ("fit runs.csv --weights frontier(0)", "the scale of the frontier must be positive"),
        ("fit runs.csv --weights flops^x", "there is no column 'x' to weigh runs by"),
        ("fit runs.csv --std sd", "no column 'sd' to weigh runs by"),
        ("fit runs.csv --std loss --weights flops", "both weights and std are given"),
        ("fit runs.csv --estimator shared-noise --raw", "shared-noise weighs log-loss residuals"),
        ("fit runs.csv --clusters team", "no column 'team' to cluster by"),
        ("fit runs.csv --draws 100 --out none/fit.json", "none/fit.json: cannot be written"),
        # isoflop
        ("isoflop none.csv", "cannot be read"),
        ("isoflop wrong.csv", "no column for held-out loss"),
        ("isoflop folder", "folder is a folder without runs.csv"),
        ("isoflop sizes.csv", "isoflop needs the columns params, tokens, flops, loss"),
        ("isoflop runs.csv", "budgets have a minimum inside their sweep; three are needed"),
        ("isoflop sweeps.csv --tolerance -1", "tolerance is -1"),
        ("isoflop sweeps.csv --level 0", "level is 0"),
        ("isoflop sweeps.csv --method envelope", "envelope"),
        ("isoflop sweeps.csv --curves none.csv", "none.csv: cannot be read"),
        ("isoflop sweeps.csv --curves wrong.csv", "curves need the columns run and loss"),
        ("isoflop sizes.csv --optima", "no column for flops"),
        ("isoflop lossless.csv --optima", "known optima are one row a budget"),
        ("isoflop optima.csv --std run", "give it with --optima"),
        ("isoflop optima.csv --optima --std sd", "there is no column 'sd'"),
        ("isoflop optima.csv --optima --std run", "run has values that are not positive"),
        ("isoflop optima.csv --optima --level 2", "level is 2"),
        ("isoflop optima.csv --optima --method surface", "leave out --method"),
        ("isoflop optima.csv --optima --curves sweeps.csv", "leave out --curves"),
        # backtest
        ("backtest none.csv", "cannot be read"),
        ("backtest few.csv", "leave too few below a 8th of that to fit"),
        ("backtest sizes.csv --law power", "no column for flops"),
        ("backtest runs.csv --law kaplann", "there is no law 'kaplann'"),
        ("backtest runs.csv --law E+A/N^", "is not understood"),
        ("backtest runs.csv --ratio 0", "ratio is 0"),
        ("backtest runs.csv --ratio 1e9", "choose a smaller ratio"),
        ("backtest runs.csv --draws 10", "draws is 10"),
        ("backtest runs.csv --level 2", "level is 2"),
        ("backtest runs.csv --seed -1", "seed is -1"),
        # laws
        ("laws chinchila", "there is no law 'chinchila'"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_clear_message_and_exit_code_2(
    scalelab: Command, words: str, message: str, as_json: bool
) -> None:
    code, out, err = scalelab(*words.split(), *(["--json"] if as_json else []))
    assert code == 2
    assert out == ""
    said = [line for line in err.splitlines() if line.startswith("scalelab: ")]
    assert len(said) == 1
    assert message in said[0]
    assert err.splitlines()[-1] == said[0], "the message comes last, after what was read"
    assert "Traceback" not in err


def test_a_fit_that_fails_writes_nothing(scalelab: Command) -> None:
    assert scalelab("fit", "few.csv", "--out", "fit.json")[0] == 2
    assert not Path("fit.json").exists()


@pytest.mark.parametrize("verb", ["fit", "isoflop", "backtest", "laws"])
def test_help_names_every_option(scalelab: Command, verb: str) -> None:
    command = {"fit": cli.Fit, "isoflop": cli.IsoFlop, "backtest": cli.Backtest, "laws": cli.Laws}
    code, out, _ = scalelab(verb, "--help")
    assert code == 0
    for name in command[verb].__dataclass_fields__:
        if name not in ("runs", "name"):
            assert f"--{name.replace('_', '-')}" in out

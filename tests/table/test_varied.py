"""What differs among runs of one size and amount of data, and when it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalelab.table import RunTable, read_runs
from scalelab.table.varied import Varied, alike, exact, varied


def runs(**columns: list[object]) -> pl.DataFrame:
    """Four sizes and amounts of data; at each, every combination of the columns' values."""
    table = pl.DataFrame({"params": [1e7, 4e7, 1e8, 4e8], "tokens": [1e9, 2e9, 4e9, 8e9]})
    for name, values in columns.items():
        table = table.join(pl.DataFrame({name: values}), how="cross")
    generator = np.random.default_rng(0)
    return table.with_columns(pl.Series("loss", generator.uniform(2.0, 3.0, len(table))))


def notices(table: RunTable) -> dict[str, str]:
    return {notice.code: notice.message for notice in table.notices}


AT = ("params", "tokens")
RATES: list[object] = [1e-3, 2e-3, 4e-3]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"lr": RATES}, Varied((), (), ())),
        ({"lr": RATES, "batch_tokens": [1e5, 2e5]}, Varied(("batch_tokens",), (), ())),
        ({"lr": RATES, "seed": [0, 1]}, Varied((), ("seed",), ())),
        ({"lr": RATES, "seed": [0, 1], "wd": [0.0, 0.1]}, Varied(("wd",), ("seed",), ())),
        ({"lr": RATES, "rope": ["yes", "no"]}, Varied(("rope",), (), ())),
        ({"lr": RATES, "test_acc": [0.25, 0.5]}, Varied((), (), ())),
        ({"lr": RATES, "init_std": [0.02, 0.01]}, Varied(("init_std",), (), ())),
    ],
)
def test_columns_by_name_and_by_crossing(
    columns: dict[str, list[object]], expected: Varied
) -> None:
    assert varied(runs(**columns), ["lr"], AT) == expected


def test_of_settings_that_go_together_one_parts() -> None:
    """Steps and the batch's name follow from the batch."""
    table = runs(lr=RATES, batch_tokens=[1e5, 2e5])
    table = table.with_columns(
        a_batch_label=pl.col("batch_tokens").cast(pl.String),
        warm=pl.when(pl.col("batch_tokens") > 1e5).then(10.0).otherwise(20.0),
    )
    assert len(varied(table, ["lr"], AT).settings) == 1


def test_what_is_the_same_at_each_size_is_no_setting() -> None:
    table = runs(lr=RATES).with_columns(depth=pl.col("params").log().round())
    assert varied(table, ["lr"], AT) == Varied((), (), ())


def test_values_within_half_a_percent_are_one_size() -> None:
    assert alike(pl.Series([1e9, 1.004e9, 1.006e9, 2e9, None])).to_list() == [1, 1, 2, 3, 0]
    assert alike(pl.Series(["1e9", "1.001e9", "2e9"])).to_list() == [1, 1, 2]
    assert alike(pl.Series(["b", "a", "b"])).to_list() == [2, 1, 2]
    # A fine grid is not one value however far it reaches.
    assert alike(pl.Series(np.geomspace(1, 1.02, 11))).n_unique() == 4
    assert exact(pl.Series([1e-3, 1.0000001e-3, 1.001e-3])).to_list() == [1, 1, 2]


# --- the notice ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"lr": RATES}, "lr (3 values) differs among runs of equal params and tokens, at 4 of 4"),
        (
            {"lr": RATES, "batch_tokens": [1e5, 2e5]},
            "lr (3 values), batch_tokens (2 values) differ",
        ),
        ({"batch_size": [64, 128]}, "--sweep batch_size fits the best of each sweep"),
        ({"optimizer": ["adam", "muon"]}, "--where optimizer=VALUE takes one"),
        ({"mup": [1, 2]}, "mup (2 values) differs"),
    ],
)
def test_settings_that_vary_are_said(
    columns: dict[str, list[object]], words: str, tmp_path: Path
) -> None:
    table = runs(**columns)
    table.write_csv(tmp_path / "runs.csv")
    for source in (table, tmp_path / "runs.csv"):
        found = notices(read_runs(source))
        assert words in found["settings-vary"]
        assert f"these {len(table)} runs as equally well trained" in found["settings-vary"]


@pytest.mark.parametrize(
    "columns",
    [{}, {"seed": [0, 1, 2]}, {"acc": [0.1, 0.2]}, {"val_acc": RATES}, {"gpu_hours": [1, 2]}],
)
def test_replicates_and_what_runs_end_with_are_no_settings(
    columns: dict[str, list[object]],
) -> None:
    assert "settings-vary" not in notices(read_runs(runs(**columns)))


def test_a_rate_for_each_size_does_not_vary() -> None:
    table = runs().with_columns(lr=1.0 / pl.col("params"), batch_tokens=pl.col("tokens") / 100)
    assert "settings-vary" not in notices(read_runs(table))


def test_two_runs_of_one_size_by_accident_are_not_said() -> None:
    table = pl.DataFrame(
        {"params": np.geomspace(1e6, 1e9, 60), "tokens": np.geomspace(1e8, 1e10, 60)}
    )
    table = table.with_columns(lr=1.0 / pl.col("params"), loss=3 - pl.col("params").log10() / 10)
    again = table.head(1).with_columns(lr=0.5, loss=2.9)
    assert "settings-vary" not in notices(read_runs(pl.concat([table, again])))


def test_runs_of_other_settings_are_no_copies_though_their_losses_agree() -> None:
    table = runs(lr=RATES).with_columns(loss=2.5 + pl.col("params") / 1e9)
    assert "repeated-rows" not in notices(read_runs(table))
    copies = pl.concat([table, table.head(2)])
    assert notices(read_runs(copies))["repeated-rows"].startswith("4 rows agree")

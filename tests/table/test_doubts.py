"""What a table is doubted for, and what it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalelab.errors import SpecError, TableError
from scalelab.table import RunTable, read_runs
from scalelab.units import parse_count


def grid(sizes: int = 6, data: int = 5) -> pl.DataFrame:
    """An honest grid of runs."""
    N, D = (
        axis.ravel()
        for axis in np.meshgrid(
            np.geomspace(1e6, 1e8, sizes), np.geomspace(1e8, 1e10, data), indexing="ij"
        )
    )
    loss = 1.7 + 400 / N**0.34 + 400 / D**0.28
    return pl.DataFrame({"N": N, "D": D, "loss": loss})


def codes(table: RunTable) -> set[str]:
    return {notice.code for notice in table.notices}


def test_an_honest_grid_is_not_doubted() -> None:
    assert codes(read_runs(grid())) == {"derived-column"}


@pytest.mark.parametrize("column", ["step", "_step", "global_step"])
def test_checkpoints_of_runs_are_not_runs(column: str) -> None:
    curves = grid(data=8).with_columns((pl.col("D") / 1e4).alias(column))
    (notice,) = (n for n in read_runs(curves).notices if n.code == "curves-as-runs")
    assert "48 rows of 6 sizes" in notice.message


def test_many_data_sizes_of_each_size_look_like_curves() -> None:
    assert "curves-as-runs" in codes(read_runs(grid(data=40)))


def test_steps_at_different_batches_are_runs() -> None:
    """Steps that do not go with the tokens: the batch varies, as it does between runs."""
    generator = np.random.default_rng(0)
    runs = grid().with_columns(pl.Series("step", generator.uniform(1e3, 1e5, 30)))
    assert "curves-as-runs" not in codes(read_runs(runs))


def test_families_taken_together_are_named_until_one_is_chosen() -> None:
    both = pl.concat([grid().with_columns(pl.lit(name).alias("arch")) for name in ("gpt", "rwkv")])
    both = both.with_columns(pl.col("loss") + pl.int_range(pl.len()) * 1e-6)
    (notice,) = (n for n in read_runs(both).notices if n.code == "mixed-groups")
    assert "gpt, rwkv" in notice.message
    assert "mixed-groups" not in codes(read_runs(both, where={"arch": "gpt"}))


def test_the_same_run_twice_is_named() -> None:
    twice = pl.concat([grid(), grid().head(3)])
    (notice,) = (n for n in read_runs(twice).notices if n.code == "repeated-rows")
    assert notice.message.startswith("6 rows agree")


def test_a_loss_that_rises_with_compute_is_doubted() -> None:
    accuracy = grid().with_columns((1 / pl.col("loss")).alias("loss"))
    assert "loss-rises" in codes(read_runs(accuracy))


def test_derived_tokens_are_checked_like_given_ones() -> None:
    runs = grid().select("N", (6 * pl.col("N") * pl.col("D") / 1e5).alias("flops"), "loss")
    with pytest.raises(TableError, match=r"tokens \(derived\)"):
        read_runs(runs)


def test_tokens_follow_from_steps_and_batch() -> None:
    runs = grid().with_columns(pl.lit(2.0**15).alias("batch_tokens"))
    runs = runs.with_columns((pl.col("D") / pl.col("batch_tokens")).round().alias("steps"))
    found = read_runs(runs.drop("D")).frame
    expected = found["steps"].cast(float) * 2.0**15
    assert (found["tokens"] == expected).all()


def test_a_column_in_another_unit_is_multiplied_when_asked() -> None:
    billions = grid().with_columns(pl.col("D") / 1e9).rename({"D": "tokens_B"})
    with pytest.raises(TableError):
        read_runs(billions, columns={"tokens": "tokens_B"})
    found = read_runs(billions, columns={"tokens": "tokens_B*1e9"})
    np.testing.assert_allclose(found.frame["tokens"], grid()["D"])
    with pytest.raises(TableError, match=r"no column 'much' \(in 'tokens_B\*much'\)"):
        read_runs(billions, columns={"tokens": "tokens_B*much"})


def test_one_column_is_not_two_things() -> None:
    with pytest.raises(TableError, match="given for two things"):
        read_runs(grid(), columns={"params": "N", "tokens": "N"})


def test_a_column_in_another_unit_is_not_mended_by_dropping_rows() -> None:
    some = grid().with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.col("loss").exp() + 20).otherwise("loss")
        .alias("loss")
    )  # fmt: skip
    with pytest.raises(TableError, match="not mended by leaving rows out"):
        read_runs(some, drop_bad=True)


def test_decimal_commas_are_not_thousands(tmp_path: Path) -> None:
    assert parse_count("1,000,000") == 1e6
    assert parse_count("12,500.5") == 12500.5
    for text in ("0,010B", "1,234M", "0,500", "12,34"):
        with pytest.raises(SpecError):
            parse_count(text)
    path = tmp_path / "europe.csv"
    path.write_text("N;D;loss\n" + "2000000;0,010B;3.9\n" * 4, encoding="utf-8")
    with pytest.raises(TableError, match="column D is '0,010B'"):
        read_runs(path)


@pytest.mark.parametrize(
    ("n", "d", "scale_n", "scale_d"),
    [
        ("params (M)", "tokens_B", 1e6, 1e9),
        ("N_M", "D (billions)", 1e6, 1e9),
        ("n_params [B]", "tokens in millions", 1e9, 1e6),
    ],
)
def test_units_in_a_header_are_read_and_said(
    n: str, d: str, scale_n: float, scale_d: float, tmp_path: Path
) -> None:
    runs = grid()
    named = runs.select((pl.col("N") / scale_n).alias(n), (pl.col("D") / scale_d).alias(d), "loss")
    path = tmp_path / "runs.csv"
    named.write_csv(path)
    for source in (named, path):  # numbers of a frame, text of a file
        np.testing.assert_allclose(read_runs(source).frame["params"], runs["N"])
    found = read_runs(named)
    np.testing.assert_allclose(found.frame["params"], runs["N"])
    np.testing.assert_allclose(found.frame["tokens"], runs["D"])
    assert f"params <- {n}*{scale_n:g}" in found.summary()


def test_a_letter_that_may_be_part_of_the_name_is_no_unit() -> None:
    assert "N" in read_runs(grid().with_columns(pl.lit(7.0).alias("DB"))).mapping.values()
    with pytest.raises(TableError):  # no params at all: NB is not N in billions
        read_runs(grid().rename({"N": "NB"}).drop("D"))


def test_numbers_that_a_file_gives_as_text_are_no_groups(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    grid().with_columns((pl.col("N") / 3).alias("params_of_layers")).write_csv(path)
    assert codes(read_runs(path)) == {"derived-column"}

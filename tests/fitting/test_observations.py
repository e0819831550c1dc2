"""Which rows are fitted, how they are centred and clustered, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from ladders import alone, ladder

from scalelab.errors import FitError
from scalelab.fitting.observations import observe, select
from scalelab.laws import LAWS

CHINCHILLA = LAWS["chinchilla"]


def spoilt() -> pl.DataFrame:
    """Twenty-one runs, of which six are not to be fitted and one is counted once for two faults."""
    table = ladder()
    status = ["finished"] * 21
    status[0], status[1], status[4], status[5] = "diverged", "diverged", "running", "failed"
    held_out = [False] * 21
    held_out[5], held_out[19], held_out[20] = True, True, True
    loss = table["loss"].to_list()
    loss[0], loss[1] = None, float("nan")  # what did not finish may have any loss
    return table.with_columns(
        status=pl.Series(status), held_out=pl.Series(held_out), loss=pl.Series(loss)
    )


def test_only_finished_rows_that_are_not_held_out_are_fitted() -> None:
    observed = observe(CHINCHILLA, spoilt())
    assert len(observed.target) == 15
    assert not {"n0-d0", "n0-d1", "n1-d1", "n1-d2", "n6-d1", "n6-d2"} & set(observed.names)
    assert observed.left_out == {"diverged": 2, "failed": 1, "running": 1, "held out": 2}
    kept, left_out = select(spoilt())
    assert sorted(kept["run"]) == sorted(observed.names)
    assert left_out == observed.left_out


def test_a_table_without_these_columns_is_fitted_whole() -> None:
    table = ladder().select("params", "tokens", "loss")
    observed = observe(CHINCHILLA, table)
    assert len(observed.target) == 21
    assert observed.left_out == {}
    assert observed.by == "run"


def test_an_empty_cell_is_not_held_out_and_no_status_is_not_finished() -> None:
    table = ladder().with_columns(
        held_out=pl.lit(None, dtype=pl.Boolean),
        status=pl.when(pl.int_range(pl.len()) > 2).then(pl.lit("finished")),
    )
    observed = observe(CHINCHILLA, table)
    assert len(observed.target) == 18
    assert observed.left_out == {"no status": 3}


def test_other_columns_of_any_name_are_in_nobodys_way() -> None:
    table = ladder()
    more = table.with_columns(position=1, row=2, index=3, literal=4, clusters=5, value=6)
    assert observe(CHINCHILLA, more).fingerprint == observe(CHINCHILLA, table).fingerprint


def test_what_is_fitted_is_centred_and_comes_back() -> None:
    table = ladder()
    observed = observe(CHINCHILLA, table)
    assert abs(observed.target.mean()) < 1e-12
    assert all(abs(values.mean()) < 1e-12 for values in observed.inputs)
    assert observed.ranges["params"] == (
        pytest.approx(6e3, rel=1e-12),
        pytest.approx(3e5, rel=1e-12),
        7,
    )
    theta = np.array([[0.9, 0.1, 0.2, 0.3, 0.4]])
    outside = (np.log(table["params"].to_numpy()), np.log(table["tokens"].to_numpy()))
    there = CHINCHILLA.formula(observed.outward(theta), outside)[0] - observed.loss_shift
    here = CHINCHILLA.formula(theta, observed.inputs)[0]
    np.testing.assert_allclose(np.sort(there), np.sort(here), atol=1e-12)


def test_clusters_are_trunks_where_there_are_any() -> None:
    observed = observe(CHINCHILLA, ladder())
    assert (observed.by, observed.cluster_count) == ("trunk", 7)
    trunks = dict(ladder().select("run", "trunk").iter_rows())
    pairs = {(trunks[n], int(g)) for n, g in zip(observed.names, observed.clusters, strict=True)}
    assert len(pairs) == len({trunk for trunk, _ in pairs}) == len({g for _, g in pairs}) == 7
    assert observe(CHINCHILLA, alone(ladder())).cluster_count == 21
    assert observe(CHINCHILLA, ladder(), "run").cluster_count == 21
    assert observe(CHINCHILLA, ladder(), "tokens").cluster_count == 3


def test_runs_without_a_trunk_stand_alone() -> None:
    own = pl.int_range(pl.len()) < 4
    table = ladder().with_columns(trunk=pl.when(~own).then("trunk"))
    # The last two runs of the second trunk and five whole trunks, and four runs alone.
    assert observe(CHINCHILLA, table).cluster_count == 6 + 4
    none = ladder().with_columns(trunk=pl.lit(None, dtype=pl.String))
    assert observe(CHINCHILLA, none).by == "run"
    # One trunk for all tells nothing apart.
    assert observe(CHINCHILLA, ladder().with_columns(trunk=pl.lit("one"))).by == "run"


def test_the_fingerprint_is_that_of_the_rows_fitted() -> None:
    table = ladder()
    first = observe(CHINCHILLA, table).fingerprint
    assert observe(CHINCHILLA, table.reverse()).fingerprint == first
    unseen = pl.concat([table, spoilt().head(1)]).with_columns(
        run=pl.int_range(pl.len()).cast(pl.String)
    )
    assert observe(CHINCHILLA, unseen).fingerprint == first
    nudged = table.with_columns(loss=pl.col("loss") * (1 + 1e-15))
    assert observe(CHINCHILLA, nudged).fingerprint != first
    assert observe(CHINCHILLA, table, "run").fingerprint != first


def test_too_few_runs_say_what_was_left_out() -> None:
    table = ladder().with_columns(status=pl.Series(["finished"] * 4 + ["diverged"] * 17))
    with pytest.raises(FitError, match="needs 6 finished runs or more; the table has 4, 17 left"):
        observe(CHINCHILLA, table)
    with pytest.raises(FitError, match="the table has 0"):
        observe(CHINCHILLA, table.clear())


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(FitError, match="run same stands in 21 rows"):
        observe(CHINCHILLA, ladder().with_columns(run=pl.lit("same")))


def test_words_are_not_numbers() -> None:
    with pytest.raises(FitError, match="column loss is String"):
        observe(CHINCHILLA, ladder().with_columns(pl.col("loss").cast(pl.String)))


def test_clusters_that_cannot_be_are_refused() -> None:
    with pytest.raises(FitError, match="no column 'seed' to cluster by; the table has run, ") as e:
        observe(CHINCHILLA, ladder(), "seed")
    assert str(e.value).isprintable()  # none of our own columns
    with pytest.raises(FitError, match="all 21 runs have the same status"):
        observe(CHINCHILLA, ladder(), "status")


def test_whole_numbers_are_read_as_they_stand() -> None:
    table = ladder().with_columns(pl.col("params", "tokens").cast(pl.Int64))
    observed = observe(CHINCHILLA, table)
    assert observed.ranges["tokens"][1] == 12_000_000

"""A fit as a picture: what stands in it is what the fit says."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.fitting import Fit, fit
from scalelab.laws import get_law

DIGITS = 1e-5
"""Numbers in a picture have six digits."""
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def table(sizes: int = 8, data: int = 4) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    N = np.repeat(np.geomspace(1e6, 1e9, sizes), data)
    D = np.tile(np.geomspace(1e8, 1e11, data), sizes)
    loss = get_law("chinchilla").loss(TRUTH, params=N, tokens=D)
    loss = loss * np.exp(0.01 * generator.normal(size=len(N)))
    ids = [f"r{i}" for i in range(len(N))]
    return pl.DataFrame({"run": ids, "params": N, "tokens": D, "loss": loss})


@pytest.fixture(scope="module")
def found() -> Fit:
    return fit("chinchilla", table(), draws=100)


def panels(found: Fit) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The two panels, and the rows of every data set by name."""
    spec = found.plot().to_dict()  # checked against the Vega-Lite schema by altair
    left, right = spec["hconcat"]
    for panel in (left, right):
        for layer in panel["layer"]:  # what all layers of a panel share stands above them
            layer.setdefault("data", panel.get("data") or spec.get("data"))
    return left, right, spec.get("datasets", {})


def rows_of(layer: dict[str, Any], datasets: dict[str, Any]) -> list[dict[str, Any]]:
    data = layer["data"]
    rows = data["values"] if "values" in data else datasets[data["name"]]
    assert isinstance(rows, list)
    return rows


def kind(layer: dict[str, Any]) -> str:
    mark = layer["mark"]
    return str(mark["type"] if isinstance(mark, dict) else mark)


def test_the_points_are_the_runs_and_what_is_left_of_them(found: Fit) -> None:
    left, right, datasets = panels(found)
    for panel in (left, right):
        (points,) = [layer for layer in panel["layer"] if kind(layer) == "point"]
        rows = {row["run"]: row for row in rows_of(points, datasets)}
        assert len(rows) == 32
        for run, N, D, loss in table().iter_rows():
            row = rows[run]
            shown = (row["params"], row["tokens"], row["value"])
            assert shown == pytest.approx((N, D, loss), rel=DIGITS)
            fitted = float(found.predict(params=N, tokens=D).value)
            assert row["residual"] == pytest.approx(loss / fitted - 1, rel=DIGITS)


def test_lines_and_bands_are_what_the_fit_predicts(found: Fit) -> None:
    left, _, datasets = panels(found)
    assert [kind(layer) for layer in left["layer"]] == ["area", "line", "point"]
    band, line, _ = left["layer"]
    rows = rows_of(line, datasets)
    assert rows_of(band, datasets) == rows
    levels = sorted({row["tokens"] for row in rows})
    assert levels == pytest.approx(np.geomspace(1e8, 1e11, 4), rel=DIGITS)
    for row in rows[:: len(rows) // 20]:
        told = found.predict(params=row["params"], tokens=row["tokens"])
        for name in ("value", "low", "high"):
            assert row[name] == pytest.approx(float(getattr(told, name)), rel=DIGITS)
        assert row["low"] <= row["value"] <= row["high"]
    sizes = [row["params"] for row in rows]
    assert (min(sizes), max(sizes)) == pytest.approx((1e6, 1e9))


def test_axes_are_logarithmic_hold_every_run_and_have_titles(found: Fit) -> None:
    left, right, _ = panels(found)
    assert left["title"] == found.law.equation
    points = left["layer"][-1]["encoding"]
    low, high = points["y"]["scale"]["domain"]
    losses = table()["loss"]
    assert low < losses.to_numpy().min()
    assert losses.to_numpy().max() < high
    assert points["y"]["scale"]["type"] == points["x"]["scale"]["type"] == "log"
    assert points["y"]["title"] == "loss"
    assert points["x"]["field"] == "params"
    assert points["color"]["field"] == "tokens"
    over = right["layer"][-1]["encoding"]
    assert over["y"]["field"] == "residual"
    assert over["y"]["title"] == "measured / fitted - 1"


def test_many_levels_become_a_few_lines() -> None:
    found = fit("chinchilla", table(sizes=4, data=12), draws=100)
    left, _, datasets = panels(found)
    levels = sorted({row["tokens"] for row in rows_of(left["layer"][1], datasets)})
    assert len(levels) == 6
    assert (levels[0], levels[-1]) == pytest.approx((1e8, 1e11))


def test_a_law_in_one_variable_is_one_line() -> None:
    single = table().group_by("params").agg(pl.col("loss").min())
    found = fit(get_law("power", "params"), single, draws=100)
    left, _, datasets = panels(found)
    rows = rows_of(left["layer"][1], datasets)
    sizes = [row["params"] for row in rows]
    assert sizes == sorted(sizes)
    told = found.predict(params=np.array(sizes)).value
    assert [row["value"] for row in rows] == pytest.approx(told.tolist(), rel=DIGITS)


def test_a_law_of_a_learning_rate_is_drawn_in_its_own_response() -> None:
    rates = table().with_columns(lr=2 * pl.col("params") ** -0.7 * pl.col("tokens") ** 0.3)
    found = fit("optimal-lr", rates, draws=100)
    left, _, datasets = panels(found)
    points = left["layer"][-1]
    assert points["encoding"]["y"]["title"] == "lr"
    values = {row["run"]: row["value"] for row in rows_of(points, datasets)}
    expected = dict(zip(rates["run"], rates["lr"], strict=True))
    assert values == pytest.approx(expected, rel=DIGITS)


def test_a_law_of_three_inputs_is_points_without_a_line() -> None:
    law = get_law("repeated-data")
    generator = np.random.default_rng(1)
    N, U = np.exp(generator.uniform(np.log([[1e7], [1e9]]), np.log([[1e9], [1e10]]), size=(2, 40)))
    inputs = {"params": N, "tokens": U * generator.uniform(1, 20, size=40), "unique_tokens": U}
    loss = law.loss(law.preset("muennighoff2023-repeated").values, **inputs)
    found = fit(law, pl.DataFrame({**inputs, "loss": loss * 1.0}), draws=100)
    left, right, datasets = panels(found)
    assert [kind(layer) for layer in left["layer"]] == ["point"]
    assert {"params", "tokens", "unique_tokens"} <= set(rows_of(left["layer"][0], datasets)[0])
    assert [kind(layer) for layer in right["layer"]] == ["rule", "point"]


def test_a_law_of_whole_schedules_is_drawn_with_its_residuals() -> None:
    """Some inputs are lists, of one length in no two runs: they are no axis."""
    law = get_law("multi-power")
    lists = [name for name in law.inputs if name in law.raw]
    assert lists
    generator = np.random.default_rng(2)
    count, longest = 14, 5
    values = {name: np.zeros((count, longest)) for name in lists}
    for i in range(count):
        for name in lists:
            values[name][i, : 1 + i % longest] = generator.uniform(1e-4, 1e-3, 1 + i % longest)
    flat = {name: np.geomspace(0.1, 3, count) for name in law.inputs if name not in lists}
    truth = {p.name: 0.5 for p in law.parameters}
    loss = law.loss(truth, **values, **flat) * np.exp(0.001 * generator.normal(size=count))
    ragged = {
        name: [row[: 1 + i % longest].tolist() for i, row in enumerate(cells)]
        for name, cells in values.items()
    }
    found = fit(law, pl.DataFrame({**flat, **ragged, "loss": loss}), draws=100)
    left, _, datasets = panels(found)
    rows = rows_of(left["layer"][0], datasets)
    assert len(rows) == count
    assert not set(lists) & set(rows[0])
    fitted = np.sort(found.predict(**flat, **values).value)
    shown = np.sort([row["value"] / (1 + row["residual"]) for row in rows])
    np.testing.assert_allclose(shown, fitted, rtol=DIGITS)


def test_a_fit_that_was_saved_draws_the_same_picture(found: Fit, tmp_path: Any) -> None:
    loaded = Fit.load(found.save(tmp_path / "fit.json"))
    assert panels(loaded)[2] == panels(found)[2]

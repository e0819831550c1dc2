"""Laws that users write: what is understood, what is found out about them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from law_cases import CASES, Case, runs

from scalelab.errors import RecordError, SpecError
from scalelab.fitting import Fit, fit
from scalelab.laws import Law, Parameter, custom_law, get_law

DRAWS = 100
CHINCHILLA = "E + A / N^alpha + B / D^beta"


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def noisy(name: str = "chinchilla") -> pl.DataFrame:
    """Runs none of which shares a trunk: a law of one's own has no prior on its exponents."""
    return runs(case_of(name), noise=0.003, seed=1).drop("trunk")


def same_fit(mine: Law, theirs: str, table: pl.DataFrame) -> None:
    """Both find the same parameters, to what is left of the search's tolerance."""
    one, two = (
        fit(law, table, estimator="least-squares", draws=DRAWS) for law in (mine, get_law(theirs))
    )
    assert one.values == pytest.approx(two.values, rel=1e-6)
    assert one.objective == pytest.approx(two.objective, rel=1e-9)
    assert one.diagnosis.starts_agreeing > one.diagnosis.starts / 2


# --- text ---------------------------------------------------------------------------------------


def test_a_formula_as_text_fits_as_the_law_of_the_registry() -> None:
    law = custom_law(CHINCHILLA)
    assert law.inputs == ("params", "tokens")
    assert set(law.names) == {"E", "A", "B", "alpha", "beta"}
    assert law.equation == f"L = {CHINCHILLA}"
    assert law.name == "custom"
    same_fit(law, "chinchilla", noisy())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A / N^alpha", "power-no-floor"),
        ("c * N^-p", None),
        ("((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D", None),
        ("E + exp(a - alpha * log(N))", None),
        ("E + A * exp(-alpha * log(params))", "power"),
        ("E + sqrt(A * A) / max(N, 1) ** alpha", None),
        ("-(-E) + +A / N^alpha * min(1, 2) + abs(0)", None),
        ("E + A * (tanh(0.5) + log1p(0.1) + expm1(1e-3)) / N^alpha", None),
    ],
)
def test_text_is_arithmetic(text: str, name: str | None) -> None:
    """Its value is Python's own of the same text."""
    law = custom_law(text)
    generator = np.random.default_rng(0)
    values = {n: float(generator.uniform(0.2, 0.9)) for n in law.names}
    N, D = np.array([3.0, 5.0]), np.array([7.0, 11.0])
    inputs = {"params": N, "tokens": D}
    known = {"N": N, "D": D, **inputs, "max": np.maximum, "min": np.minimum, "abs": np.abs}
    known |= {n: getattr(np, n) for n in ("exp", "log", "sqrt", "tanh", "log1p", "expm1")}
    expected = eval(text.replace("^", "**"), known, dict(values))
    found = law.loss(values, **{n: inputs[n] for n in law.inputs})
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if name is not None:
        one, two = (fit(each, noisy(name), draws=DRAWS) for each in (law, get_law(name)))
        expected = pytest.approx(two.predict(params=1e7).value, rel=1e-7)
        assert one.predict(params=1e7).value == expected


@pytest.mark.parametrize(
    "text",
    ["L = E + A / N^alpha", "L=E + A / N^alpha", "loss = E + A / N^alpha", " l = E+A/N**alpha "],
)
def test_the_left_side_may_be_written(text: str) -> None:
    assert custom_law(text).names == ("E", "A", "alpha")


def test_the_left_side_may_name_another_response() -> None:
    law = custom_law("accuracy = a + b * log(C)")
    assert (law.response, law.names, law.inputs) == ("accuracy", ("a", "b"), ("flops",))
    assert law.equation == "accuracy = a + b * log(C)"
    with pytest.raises(SpecError, match="describes accuracy and cannot contain it"):
        custom_law("accuracy = a + b * accuracy / N", inputs=["accuracy"])


def test_every_symbol_and_column_of_the_schema_is_known() -> None:
    law = custom_law("E + a / N^p + b / D^q + c / C^r + d / S^s + e / U^t")
    assert law.inputs == ("params", "tokens", "flops", "steps", "unique_tokens")
    law = custom_law("E + a / lr^p + b / batch_tokens^q + c / d_model^r + d / position^s")
    assert law.inputs == ("lr", "batch_tokens", "d_model", "position")
    # A symbol and its column are one input.
    assert custom_law("A / N^alpha + B / params^beta").inputs == ("params",)


def test_other_columns_are_named() -> None:
    with pytest.raises(SpecError, match="has inputs none and parameters E, A, width, alpha"):
        custom_law("E + A / width^alpha")
    law = custom_law("E + A / (N * width^gamma)^alpha", inputs=["width"])
    assert set(law.inputs) == {"params", "width"}
    assert set(law.names) == {"E", "A", "gamma", "alpha"}


def test_a_law_may_describe_another_column() -> None:
    law = custom_law("c * N^a * D^b", response="lr", name="my-lr", reference="me, yesterday")
    assert (law.response, law.name, law.reference) == ("lr", "my-lr", "me, yesterday")
    assert law.equation == "lr = c * N^a * D^b"
    table = noisy().with_columns(lr=1e-2 * pl.col("params") ** 0.2)
    law = custom_law("c * N^a", response="lr")
    found = fit(law, table, draws=DRAWS)
    assert found.values == pytest.approx({"c": 1e-2, "a": 0.2}, rel=1e-6)


# --- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "linear"),
    [
        (CHINCHILLA, {"E", "A", "B"}),
        ("A / N^alpha", {"A"}),
        ("E", None),
        ("A * B / N^alpha", {"A"}),  # linear in each alone, in both together not
        ("A * (E + B / N^alpha)", {"A"}),
        ("(E + A / N^alpha) * (1 + B / D^beta)", {"E", "A"}),
        ("E + (A / N)^alpha", {"E"}),
        ("E + exp(a) / N^alpha", {"E"}),
        ("E + A^2 / N^alpha", {"E"}),
        ("a + b * log(N) + c * log(N)^2", {"a", "b", "c"}),
        ("E + A / N^alpha - B * D^beta", {"E", "A", "B"}),
        ("E - A * N^alpha", {"E", "A"}),
        ("E + max(A, B) / N^alpha", {"E"}),
        ("E + A / (N + K)^alpha", {"E", "A"}),
        ("E + A / N^0.5", {"E", "A"}),
    ],
)
def test_what_a_formula_is_linear_in_is_found_out(text: str, linear: set[str] | None) -> None:
    if linear is None:
        with pytest.raises(SpecError):
            custom_law(text)
        return
    law = custom_law(text)
    assert set(law.linear) == linear
    # Whether it is: in these, three points on a line are on a line, for all at once.
    generator = np.random.default_rng(2)
    values = {name: float(generator.uniform(0.3, 0.9)) for name in law.names}
    inputs = {name: np.array([2.0, 3.0]) for name in law.inputs}
    plain = [custom_value(text, {**values, **dict.fromkeys(linear, t)}, inputs) for t in (1, 2, 3)]
    np.testing.assert_allclose(plain[2] - plain[1], plain[1] - plain[0], rtol=1e-9)


def custom_value(text: str, values: dict[str, float], inputs: dict[str, Any]) -> Any:
    known = {"N": inputs.get("params"), "D": inputs.get("tokens"), "max": max}
    known |= {"log": np.log, "exp": np.exp}
    return eval(text.replace("^", "**"), known, dict(values))


def test_a_fit_describes_each_parameter_by_where_it_stands() -> None:
    law = custom_law("E + (X / N)^alpha + B / D^beta")
    assert all((p.low, p.high) == (-np.inf, np.inf) for p in law.parameters)
    found = fit(law, noisy(), draws=DRAWS)
    parameters = {p.name: p for p in found.law.parameters}
    meanings = {name: p.meaning for name, p in parameters.items()}
    assert meanings == {
        "E": "constant term",
        "X": "scale",
        "alpha": "exponent",
        "B": "coefficient",
        "beta": "exponent",
    }
    # A floor may be zero; a scale and a coefficient of a power are known by their logarithm.
    assert [n for n, p in parameters.items() if p.log] == ["X", "B"]
    assert [n for n, p in parameters.items() if p.low == 0] == ["E", "X", "B"]
    assert [n for n, p in parameters.items() if p.exponent] == ["alpha", "beta"]


def test_what_is_subtracted_is_fitted_as_what_is_added() -> None:
    """The law of annealing, in the user's words."""
    table = noisy("annealing")
    table = table.filter(pl.col("annealing") > 0)  # an input of one's own has a logarithm
    law = custom_law("E + A / lr_sum^alpha - C * annealing", ["C"], inputs=["lr_sum", "annealing"])
    assert set(law.linear) == {"E", "A", "C"}
    one = fit(law, table, estimator="least-squares", draws=DRAWS)
    two = fit("annealing", table, estimator="least-squares", draws=DRAWS)
    for mine, theirs in (("E", "L_0"), ("A", "A"), ("alpha", "alpha"), ("C", "C")):
        assert one.values[mine] == pytest.approx(two.values[theirs], rel=1e-6)


def test_parameters_of_ones_own_are_taken_as_they_are() -> None:
    alpha = Parameter("alpha", "mine", 0.1, 0.9, log=True, grid=(np.log(0.2), np.log(0.5)))
    floor = Parameter("E", "known well", 1.7, 1.9)
    law = custom_law(CHINCHILLA, [alpha, floor])
    parameters = {p.name: p for p in law.parameters}
    assert parameters["alpha"] is alpha
    assert parameters["E"] is floor
    same_fit(law, "chinchilla", noisy())


@pytest.mark.parametrize("log", [False, True])
def test_bounds_of_ones_own_limit_the_search(log: bool) -> None:
    alpha = Parameter("alpha", "mine", 0.1, 0.9, log=log)
    law = custom_law(CHINCHILLA, [alpha])
    same_fit(law, "chinchilla", noisy())
    narrow = custom_law(CHINCHILLA, [Parameter("alpha", "mine", 0.1, 0.2, log=log)])
    found = fit(narrow, noisy(), draws=DRAWS)
    assert found.values["alpha"] == pytest.approx(0.2)
    assert {"at-bound"} <= {notice.code for notice in found.diagnosis.warnings}


def test_a_name_given_is_a_parameter_whatever_else_it_means() -> None:
    table = noisy("power")
    assert custom_law("E + C / N^alpha").inputs == ("flops", "params")
    law = custom_law("E + C / N^alpha", ["C"])
    assert law.inputs == ("params",)
    assert law.names == ("E", "C", "alpha")
    one, two = fit(law, table, draws=DRAWS), fit("power", table, draws=DRAWS)
    assert one.values["C"] == pytest.approx(two.values["A"], rel=1e-6)
    objects = custom_law("S + U / N^alpha", [Parameter("U", "", 0.0, np.inf, log=True), "S"])
    assert objects.names == ("S", "U", "alpha")


# --- functions ----------------------------------------------------------------------------------


def chinchilla_of_ones_own(p: SimpleNamespace, x: SimpleNamespace) -> Any:
    return p.E + p.A / x.params**p.alpha + p.B / x.tokens**p.beta


def test_a_function_fits_as_its_text() -> None:
    law = custom_law(
        chinchilla_of_ones_own, ["E", "A", "B", "alpha", "beta"], inputs=("params", "tokens")
    )
    assert law.equation == "L = chinchilla_of_ones_own"
    assert set(law.linear) == {"E", "A", "B"}
    assert law.text == ""
    same_fit(law, "chinchilla", noisy())


def test_a_function_may_use_numpy_and_parameters_of_any_kind() -> None:
    law = custom_law(
        lambda p, x: p.E + np.exp(p.a - p.alpha * np.log(x.params)),
        ["E", Parameter("a", "log of the scale", -5.0, 20.0, grid=(0.0, 3.0)), "alpha"],
        inputs=["params"],
        name="mine",
    )
    table = noisy("power")
    one, two = fit(law, table, draws=DRAWS), fit("power", table, draws=DRAWS)
    assert np.exp(one.values["a"]) == pytest.approx(two.values["A"], rel=1e-5)


# --- restricted, saved and loaded ---------------------------------------------------------------


def test_a_law_of_ones_own_may_be_restricted() -> None:
    table = noisy()
    law = custom_law(CHINCHILLA)
    one = fit(law.restrict(tied={"beta": "alpha"}), table, draws=DRAWS)
    two = fit("chinchilla-tied", table, draws=DRAWS)
    assert one.values == pytest.approx(two.values, rel=1e-6)
    fixed = fit(law.restrict(fixed={"A": 480.0, "alpha": 0.35}), table, draws=DRAWS)
    assert set(fixed.values) == {"E", "B", "beta"}


def saved_and_loaded(law: Law, table: pl.DataFrame, folder: Path) -> tuple[Fit, Fit]:
    found = fit(law, table, draws=DRAWS)
    return found, Fit.load(found.save(folder / "fit.json"))


@pytest.mark.parametrize(
    "law",
    [
        custom_law(CHINCHILLA),
        custom_law("E + A / N^alpha", name="mine"),
        custom_law("E + A / N^alpha", name="power"),  # named as one of the registry
        custom_law("C + U / N^alpha", ["C", "U"]),
        custom_law("E + A / N^alpha + B / steps_min^beta", inputs=["steps_min"]),
        custom_law("c * N^a", response="loss", name="my-loss"),
        custom_law(CHINCHILLA, [Parameter("alpha", "mine", 0.01, 3.0, log=True, open=True)]),
        custom_law(CHINCHILLA, [Parameter("B", "mine", -np.inf, np.inf)]),
        custom_law(CHINCHILLA).restrict(fixed={"A": 480.0}, tied={"beta": "alpha"}),
        custom_law(CHINCHILLA).restrict(bounds={"alpha": (0.2, 0.4), "E": (1.0, np.inf)}),
        custom_law("C + U / N^alpha", ["C", "U"]).restrict(fixed={"C": 1.5}),
        custom_law(
            CHINCHILLA, [Parameter(n, n, 0.01, 3.0, log=True) for n in ("alpha", "beta")]
        ).restrict(tied={"beta": "alpha"}),
    ],
    ids=lambda law: law.equation,
)
def test_a_fit_of_text_is_saved_and_loaded(law: Law, tmp_path: Path) -> None:
    found, loaded = saved_and_loaded(law, noisy(), tmp_path)
    assert loaded.values == found.values
    assert (loaded.draws == found.draws).all()
    assert loaded.to_dict() == found.to_dict()
    assert loaded.summary() == found.summary()
    assert loaded.law.restrictions == found.law.restrictions
    asked = {"params": 1e7, "tokens": 1e9, "steps_min": 1e5}
    asked = {name: asked[name] for name in law.inputs}
    assert loaded.predict(**asked).high == found.predict(**asked).high


def test_a_fit_of_a_function_is_loaded_with_the_law(tmp_path: Path) -> None:
    law = custom_law(
        chinchilla_of_ones_own, ["E", "A", "B", "alpha", "beta"], inputs=("params", "tokens")
    )
    path = fit(law, noisy(), draws=DRAWS).save(tmp_path / "fit.json")
    with pytest.raises(RecordError, match="law 'custom' is not in the registry; pass it"):
        Fit.load(path)
    assert Fit.load(path, law=law).law is law


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("E + sin(N)", "there is no function sin; .* and exp, log, ln"),
        ("E + open(N)", "there is no function open"),
        ("E + __import__('os').system('true') / N", "there is no function __import__"),
        ("E + N.real", "there is no column N.real"),
        ("E + N.__class__", "there is no column N.__class__"),
        ("E + (lambda: N)()", "':' is no operator"),
        ("E + [N][0]", r"a number, a name or \( is missing before '\['"),
        ("E + (N, D)", "a comma stands only between a function's arguments"),
        ("E + A if N else D", "an operator is missing between 'A' and 'if'"),
        ("E + (N > 3)", "there are no comparisons"),
        ("E + (N and D)", "an operator is missing between 'N' and 'and'"),
        ("E + N % 3", "'%' is no operator"),
        ("E + N // 3", "is missing before '/'"),
        ("E + ~N", "is missing before '~'"),
        ("E + 'A' / N", 'is missing before "\'"'),
        ("E + 1j * N", "an operator is missing between '1' and 'j'"),
        ("E + exp(*N)", r"is missing before '\*'"),
        ("E + exp(x=N)", "there are no comparisons"),
        ("E + exp() / N", "exp takes 1 in its parentheses and has 0"),
        ("E + exp(N, D)", "exp takes 1 in its parentheses and has 2"),
        ("E + A / max(N)^alpha", "max takes 2 in its parentheses and has 1"),
        ("E + A / min(N, D, 3)^alpha", "min takes 2 in its parentheses and has 3"),
        ("E + log / N", "log is a function and takes parentheses"),
        ("E + A / N^", "is not understood"),
        ("E + A / (N^alpha", "is not understood"),
        ("E == A / N^alpha", "is not understood|Compare"),
        ("E; N", "is not understood"),
        ("", "is not understood"),
        ("L =", "is not understood"),
        ("E + A", "has inputs none and parameters E, A; at least one of each is needed"),
        ("2 * N^3", "has inputs params and parameters none"),
        ("1.5", "has inputs none and parameters none"),
    ],
)
def test_text_that_is_no_law_is_refused(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        custom_law(text)


def test_what_is_not_in_the_formula_is_refused() -> None:
    with pytest.raises(SpecError, match="'gamma' is not in the formula"):
        custom_law(CHINCHILLA, ["E", "gamma"])


def test_a_function_needs_inputs_and_parameters() -> None:
    with pytest.raises(SpecError, match="has inputs none and parameters E"):
        custom_law(chinchilla_of_ones_own, ["E"])
    with pytest.raises(SpecError, match="has inputs params and parameters none"):
        custom_law(chinchilla_of_ones_own, inputs=["params"])


# --- formulas that hold somewhere ---------------------------------------------------------------


def test_a_formula_may_hold_for_large_inputs_alone() -> None:
    """Its coefficients are found linear, and its planted values come back."""
    law = custom_law("E + A / (N - 1e8)^alpha")
    assert law.linear == ("E", "A")
    N = np.geomspace(2e8, 1e11, 20)
    table = pl.DataFrame({"params": N, "loss": 1.7 + 400 / (N - 1e8) ** 0.34})
    found = fit(law, table, draws=DRAWS)
    assert found.values == pytest.approx({"E": 1.7, "A": 400, "alpha": 0.34}, rel=1e-6)


@pytest.mark.parametrize(
    ("formula", "count"),
    [("E + A / N^alpha + log(D - 1e15)", "30 of 30"), ("E + A * sqrt(1e7 - N)", "10 of 30")],
)
def test_a_formula_that_is_no_number_at_the_runs_names_one(formula: str, count: str) -> None:
    with pytest.raises(SpecError, match=f"not a positive number at {count} runs") as raised:
        fit(custom_law(formula), noisy(), draws=DRAWS)
    assert "one has params = " in str(raised.value)


def test_a_formula_that_is_a_number_nowhere_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match="nowhere finite"):
        custom_law("log(-N) * A")

"""The language of laws, columns and weights: what it means, and what it refuses."""

from __future__ import annotations

import ast
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.errors import SpecError
from scalelab.expressions import FUNCTIONS, parse
from scalelab.laws.dual import Dual, jacobian, variables

NODES = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.Call)


def value(text: str, **scope: float) -> float:
    return float(parse(text, tuple(scope)).evaluate(scope))


# --- what it means ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3^2", 19.0),
        ("(1 + 2) * 3", 9.0),
        ("2 - 3 - 4", -5.0),
        ("8 / 4 / 2", 1.0),
        ("2^3^2", 512.0),
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("2 - -3", 5.0),
        ("+2 * -3", -6.0),
        ("10^x*2", 2000.0),  # twice 10^x
        ("2 ** x", 8.0),
        ("6e9 * .5e-3 + 1_000", 3001000.0),
        ("x\u00d72 \u2212 1\u00b72 \u00f7 4", 5.5),  # as papers print
        ("L = x + 1", 4.0),
        ("Loss=x + 1", 4.0),
        ("ln(10) / log(10) + LOG10(1000)", 4.0),
        ("log2(8) + sqrt(16) + abs(-1) + max(1, x) + min(1, x)", 12.0),
        ("exp(log1p(x)) + expm1(0) + tanh(0) + sigmoid(0)", 4.5),
        ("(\n 1 +\t2 )", 3.0),
    ],
)
def test_arithmetic(text: str, expected: float) -> None:
    assert value(text, x=3.0) == pytest.approx(expected, rel=1e-14)


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "2", "0.5", "3e-1"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", "*", " / ", "**"]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "+", ""]), inner).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["np.exp", "np.tanh", "np.abs"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.floats(0.5, 2), st.floats(0.5, 2))
def test_the_value_is_pythons_own_of_the_same_text(text: str, x: float, y: float) -> None:
    x, y = np.float64(x), np.float64(y)
    with np.errstate(all="ignore"):
        expected = eval(text, {"np": np}, {"x": x, "y": y})
        found = parse(text.replace("np.", "").replace("**", "^")).evaluate({"x": x, "y": y})
    if np.isrealobj(expected):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(EXPRESSIONS)
def test_the_tree_holds_arithmetic_alone(text: str) -> None:
    expression = parse(text.replace("np.", ""))
    for node in ast.walk(expression.tree):
        assert isinstance(node, (*NODES, ast.operator, ast.unaryop, ast.expr_context))
    order = [name for name in ("x", "y") if name in expression.names]
    assert sorted(expression.names) == order
    first = {name: text.replace("np.exp", "").find(name) for name in expression.names}
    assert list(expression.names) == sorted(expression.names, key=lambda name: first[name])


def test_names_come_in_order_of_appearance_and_once() -> None:
    expression = parse("E + A/N^alpha + A*exp(E)")
    assert expression.names == ("E", "A", "N", "alpha")
    assert expression.text == "E + A/N^alpha + A*exp(E)"
    assert parse("x + 1") == parse("x + 1")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_its_derivative(name: str) -> None:
    """By dual numbers, against differences of the function's own values."""
    takes = FUNCTIONS[name]
    expression = parse(f"{name}({', '.join('xy'[:takes])})")
    theta = np.array([[0.3, 0.7], [2.5, 1.2]])
    result = expression.evaluate(dict(zip("xy", variables(theta), strict=True)))
    assert isinstance(result, Dual)
    found, slopes = jacobian(result, 2, 1)
    plain = dict(zip("xy", theta.T, strict=True))
    np.testing.assert_allclose(found[:, 0], expression.evaluate(plain), rtol=1e-15)
    for j in range(takes):
        step = 1e-6 * np.eye(2)[j][:, None]
        high, low = (
            expression.evaluate(dict(zip("xy", theta.T + s, strict=True))) for s in (step, -step)
        )
        np.testing.assert_allclose(slopes[:, j, 0], (high - low) / 2e-6, rtol=1e-6)


def test_the_tails_of_a_sigmoid_keep_their_digits() -> None:
    found = parse("sigmoid(x)").evaluate({"x": np.array([-700.0, -40.0, 0.0, 40.0, 800.0])})
    np.testing.assert_allclose(found, [math.exp(-700), math.exp(-40), 0.5, 1.0, 1.0], rtol=1e-12)


@pytest.mark.parametrize("text", ["2*x - 10^x", "max(x, 2) + log10(x)", "sigmoid(x)/x", "1 - x"])
def test_a_series_keeps_its_empty_cells(text: str) -> None:
    cells = pl.Series([1.0, None, 3.0])
    found = parse(text).evaluate({"x": cells})
    assert isinstance(found, pl.Series)
    expected = parse(text).evaluate({"x": np.array([1.0, 3.0])})
    assert found.is_null().to_list() == [False, True, False]
    np.testing.assert_allclose(found.drop_nulls(), expected)


# --- names with other characters ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns", "names"),
    [
        ("val/loss*2", ["val/loss"], ("val/loss",)),
        ("2*Model Size - emb", ["Model Size", "Model", "emb"], ("Model Size", "emb")),
        ("config.n_params*1e6", ["config.n_params"], ("config.n_params",)),
        ("1-val-loss", ["val-loss", "val", "loss"], ("val-loss",)),
        ("1 - `val-loss`", ["val-loss"], ("val-loss",)),
        ("loss.c4+loss", ["loss", "loss.c4"], ("loss.c4", "loss")),
        # Where both can be meant, the column of that very name; spaces make a difference of it.
        ("a-b", ["a", "b", "a-b"], ("a-b",)),
        ("a - b", ["a", "b", "a-b"], ("a", "b")),
        ("`a`-b", ["a", "b", "a-b"], ("a", "b")),
        ("x/a-b", ["x", "a", "b", "a-b"], ("x", "a-b")),
        ("a-bc", ["a", "bc", "a-b"], ("a", "bc")),  # a-b is not the beginning of another word
        ("a (b/c)*2", ["a (b/c)"], ("a (b/c)",)),
        ("acc%/100", ["acc%"], ("acc%",)),
        ("log(N)", ["log(N)"], ("log(N)",)),
        ("log(N)", ["log", "N"], ("N",)),
        ("log*N", ["log", "N"], ("log", "N")),
        ("1e18", ["1e18"], ("1e18",)),
        ("1e18*2", ["1e18"], ()),
        ("`1e18`*2", ["1e18"], ("1e18",)),
        ("\u03b1*\u0394", [], ("\u03b1", "\u0394")),
        ("`Model Size` * 2", [], ("Model Size",)),
    ],
)
def test_names_of_columns(text: str, columns: list[str], names: tuple[str, ...]) -> None:
    assert parse(text, columns).names == names


@given(
    st.lists(st.text(st.sampled_from("ab1 -+/*.^()"), min_size=1), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_any_known_name_is_understood_alone_and_in_backticks(columns: list[str], at: int) -> None:
    name = columns[at % len(columns)]
    assert parse(name, columns).names == (name,)
    quoted = parse(f"2 * `{name}` + 1", columns)
    assert quoted.names == (name,)
    assert quoted.evaluate({name: 3.0}) == 7.0


def test_further_functions_are_those_of_the_caller() -> None:
    expression = parse("twice(x) + 1", functions={"twice": 1})
    assert expression.evaluate({"x": 2.0, "twice": lambda v: 2 * v}) == 5.0
    with pytest.raises(SpecError, match="there is no function twice"):
        parse("twice(x) + 1")


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2N", r"an operator is missing between '2' and 'N'; a product is 2\*N \(character 2\)"),
        ("6 N D", "between '6' and 'N'"),
        ("N 2", "between 'N' and '2'"),
        ("(a)(b)", r"between '\)' and '\('"),
        ("2(a + b)", r"between '2' and '\('"),
        ("Model Size*2", "between 'Model' and 'Size'"),
        ("A(N + D)", r"there is no function A; a product is A\*"),
        ("sin(x)", "there is no function sin"),
        ("log * 2", r"log is a function and takes parentheses: log\(\.\.\.\)"),
        ("loss^", r"a number, a name or \( is missing at the end"),
        ("* 2", r"is missing before '\*' \(character 1\)"),
        ("a + / b", "is missing before '/'"),
        ("N\u00b2", "write a power with"),
        ("0,5*N", "write 0.5 for 0,5"),
        ("max(0,5, N)", "max takes 2 in its parentheses and has 3"),
        ("a == b", "there are no comparisons"),
        ("a <= b", "there are no comparisons"),
        ("y = a*N", "only 'L =' or 'loss ='"),
        ("(a", r"a \) is missing at the end"),
        ("exp(a", r"a \) is missing at the end"),
        ("a)", r"one \) too many"),
        ("`a", "a backtick is open"),
        ("a % 2", "'%' is no operator"),
        ("a \u2013 b", "is no operator"),
        ("1e999", "too large for a number"),
        ("1__0", "is not a number"),
        ("1.2.3", "operator is missing|no column"),
        ("", "missing at the end"),
        ("  L = ", "missing at the end"),
        ("a; b", "';' is no operator"),
    ],
)
def test_a_refusal_says_what_is_missing_and_what_there_is(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as raised:
        parse(text)
    assert str(raised.value).startswith(repr(text))
    assert "+ - * / ^ ( ), and exp, log, ln, log10" in str(raised.value)


def test_a_name_in_backticks_is_one_of_those_known() -> None:
    with pytest.raises(SpecError, match="there is no column `c`"):
        parse("`c` * 2", ["a"])
    with pytest.raises(SpecError, match=r"there is no column loss\.c5"):
        parse("loss.c5 * 2", ["loss", "loss.c4"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(" * 100_000 + "x", "it has 100001 characters"),
        ("(" * 1000 + "x" + ")" * 900, "more than 50 parentheses"),
        ("-" * 1900 + "x", "more than 50 parentheses"),
        ("x" + "^x" * 900, "more than 50 parentheses"),
        ("exp(" * 400 + "x", "more than 50 parentheses"),
        ("x" + "+x" * 900, "more than 200 operators"),
    ],
    ids=["long", "brackets", "signs", "powers", "calls", "sums"],
)
def test_a_hostile_text_is_one_short_error(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as raised:
        parse(text)
    assert len(str(raised.value)) < 500


@given(st.text(st.sampled_from("ab12.eE+-*/^()`, =<x\u03b1\u00b2\n\\'"), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expression = parse(text)
    except SpecError:
        return
    with np.errstate(all="ignore"):
        expression.evaluate(dict.fromkeys(expression.names, 2.0))

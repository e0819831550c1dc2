"""The one language of arithmetic: of laws, of columns and of weights.

    E + A / N^alpha + B / D^beta        a law: names that are no columns are parameters
    1 - `top-1 acc`                     a column made of others
    frontier(0.05) * flops^0.5          how much runs count

Numbers, names, + - * / ^ (or **), parentheses and the functions of `FUNCTIONS`. Powers come before
products and products before sums; a^b^c is a^(b^c), and -a^b is -(a^b).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from scalelab.errors import SpecError

FUNCTIONS: Mapping[str, int] = {
    **dict.fromkeys(("exp", "log", "ln", "log10", "log2", "sqrt", "abs", "tanh", "sigmoid"), 1),
    **dict.fromkeys(("log1p", "expm1"), 1),
    **dict.fromkeys(("min", "max"), 2),
}
"""Of each function: how many arguments it takes."""


@cache
def _functions() -> Mapping[str, Callable[..., Any]]:
    """The functions, made of ufuncs that dual numbers know, so that each has its derivative."""
    import numpy as np

    return {
        **{name: getattr(np, name) for name in ("exp", "log", "sqrt", "tanh", "log1p", "expm1")},
        "ln": np.log,
        "log10": lambda x: np.log(x) / np.log(10.0),
        "log2": lambda x: np.log(x) / np.log(2.0),
        "abs": np.abs,
        # Of 1 / (1 + exp(-x)), the form whose tails neither overflow nor lose their digits.
        "sigmoid": lambda x: np.exp(-np.logaddexp(0.0, -x)),
        "min": np.minimum,
        "max": np.maximum,
    }


SYMBOLS = {"N": "params", "D": "tokens", "C": "flops", "S": "steps", "U": "unique_tokens"}
"""How papers write columns of the run table, where a table has no column of that very name."""
_SIGNS = {"**": "^", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-"}
"""Other ways to write an operator, as papers do."""
_OPERATOR = re.compile(r"\*\*|[-+*/^\u00d7\u00b7\u22c5\u00f7\u2212]")
_NODES: Mapping[str, type[ast.operator]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
    "^": ast.Pow,
}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}
_NUMBER = re.compile(r"(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_NAME = re.compile(r"[^\W\d]\w*")
_LEFT_SIDE = re.compile(r"\s*(?:l|loss)\s*=(?!=)", re.IGNORECASE)
_LONGEST, _MOST_OPERATIONS, _DEEPEST = 2000, 200, 50
"""Of a text: characters, operators, parentheses inside each other (assumed, generous)."""


@dataclass(frozen=True)
class Expression:
    """What a text means.

    text: as it was written. tree: of Python's syntax tree only Constant, Name, BinOp (Add, Sub,
    Mult, Div, Pow), UnaryOp (UAdd, USub) and Call of a Name; a Name may hold any characters.
    names: of what is not a function, in order of appearance.
    """

    text: str
    tree: ast.expr = field(compare=False, repr=False)
    names: tuple[str, ...]

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value where every name has that of `scope`: arrays, dual numbers or polars series.

        scope also holds the functions that `parse` was told of. What is not defined is nan or
        infinite, without a warning.
        """
        import numpy as np

        with np.errstate(all="ignore"):  # also of the empty cells of a series
            return evaluate(self.tree, scope)

    @property
    def is_name(self) -> bool:
        """Whether the whole is one name."""
        return isinstance(self.tree, ast.Name)

    @property
    def constants(self) -> tuple[float, ...]:
        """The numbers in it."""
        return tuple(n.value for n in ast.walk(self.tree) if isinstance(n, ast.Constant))  # type: ignore[misc]


def parse(
    text: str, names: Collection[str] = (), functions: Mapping[str, int] | None = None
) -> Expression:
    """Read a text such as ``(total - embedding) * 1e9``.

    names: known names, such as the columns of a table. They may hold any characters, and the
    longest that fits is taken: where there is a column ``a-b``, the text ``a-b`` is that column and
    ``a - b`` a difference. A name that is not known has letters, digits and ``_``; in backticks any
    known name is understood, also one that is a number. functions: further functions -> how many
    arguments they take. ``L =`` or ``loss =`` may stand before the whole.

    Raises SpecError with what is missing, the place of it, and what there is.
    """
    for name in (text, text.strip()):
        if name in names:
            return named(name, text)
    known = dict(FUNCTIONS)
    reader = _Reader(text, names, {**known, **(functions or {})})
    return Expression(text, reader.whole(), tuple(reader.found))


def named(name: str, text: str | None = None) -> Expression:
    """The expression that is one name, whatever its characters."""
    return Expression(name if text is None else text, ast.Name(name, ast.Load()), (name,))


def evaluate(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    """The value of a tree of `parse`, or of a part of one: see `Expression.evaluate`."""
    match node:
        case ast.Constant(value=value):
            import numpy as np

            return np.float64(value)  # type: ignore[arg-type]  # numpy's: 1/0 is infinite
        case ast.Name(id=name):
            return scope[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](evaluate(left, scope), evaluate(right, scope))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -evaluate(operand, scope)
        case ast.UnaryOp(operand=operand):
            return evaluate(operand, scope)
        case ast.Call(func=ast.Name(id=name), args=args):
            function = _functions()[name] if name in FUNCTIONS else scope[name]
            return function(*(evaluate(argument, scope) for argument in args))
    raise AssertionError(ast.dump(node))


class _Reader:
    """Reads one text from left to right, one method for each rank of operators."""

    def __init__(self, text: str, names: Collection[str], functions: Mapping[str, int]) -> None:
        self.text, self.at = text, 0
        self.names, self.functions = names, functions
        # A number is a number: a column of that name is written in backticks.
        self.known = sorted(
            (n for n in names if n.strip() and not _NUMBER.fullmatch(n)), key=len, reverse=True
        )
        self.found: dict[str, None] = {}
        self.last = ""  # number, name or ) read last, for messages
        self.depth = self.operations = 0

    def whole(self) -> ast.expr:
        if len(self.text) > _LONGEST:
            self.refuse(f"it has {len(self.text)} characters, and {_LONGEST} are the most")
        if left := _LEFT_SIDE.match(self.text):
            self.at = left.end()
        tree = self.sum()
        if self.rest():
            self.refuse_next()
        return tree

    def sum(self) -> ast.expr:
        left = self.product()
        while sign := self.operator("+-"):
            left = self.binary(left, sign, self.product())
        return left

    def product(self) -> ast.expr:
        left = self.signed()
        while sign := self.operator("*/"):
            left = self.binary(left, sign, self.signed())
        return left

    def signed(self) -> ast.expr:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.refuse(f"more than {_DEEPEST} parentheses, signs or powers are inside each other")
        if sign := self.operator("+-"):
            tree: ast.expr = ast.UnaryOp(ast.USub() if sign == "-" else ast.UAdd(), self.signed())
        else:
            tree = self.power()
        self.depth -= 1
        return tree

    def power(self) -> ast.expr:
        base = self.operand()
        return self.binary(base, "^", self.signed()) if self.operator("^") else base

    def operand(self) -> ast.expr:
        rest = self.rest()
        if rest.startswith("("):
            self.at += 1
            inside = self.sum()
            self.close()
            return inside
        if rest.startswith("`"):
            return self.quoted(rest)
        for name in self.known:
            plain = name.strip()
            if rest.startswith(plain) and self.ends(rest, plain):
                return self.name(name, len(plain))
        if number := _NUMBER.match(rest):
            return self.number(number[0])
        if word := _NAME.match(rest):
            return self.word(word[0])
        what = f"before {rest[0]!r}" if rest else "at the end"
        return self.refuse(f"a number, a name or ( is missing {what}")

    def ends(self, rest: str, name: str) -> bool:
        """Whether a known name ends there, and is not the beginning of a longer word."""
        after = rest[len(name) : len(name) + 2]
        if re.match(r"\w", name[-1]) and re.match(r"\w|\.\w", after):
            return False
        # A name of a function and a parenthesis are a call.
        return name.lower() not in self.functions or not rest[len(name) :].lstrip().startswith("(")

    def quoted(self, rest: str) -> ast.expr:
        name, mark, _ = rest[1:].partition("`")
        if not mark:
            return self.refuse("a backtick is open")
        if self.names and name not in self.names:
            return self.refuse(f"there is no column `{name}`")
        return self.name(name, len(name) + 2)

    def name(self, name: str, length: int) -> ast.Name:
        self.at += length
        self.last = name
        self.found[name] = None
        return ast.Name(name, ast.Load())

    def number(self, text: str) -> ast.expr:
        try:
            value = float(text)
        except ValueError:
            return self.refuse(f"{text!r} is not a number")
        if not math.isfinite(value):
            return self.refuse(f"{text!r} is too large for a number")
        self.at += len(text)
        self.last = text
        return ast.Constant(value)

    def word(self, word: str) -> ast.expr:
        called = self.rest()[len(word) :].lstrip().startswith("(")
        if not called:
            if not word.isidentifier():
                return self.refuse(f"{word!r} is no name; write a power with ^")
            if word in self.functions:
                return self.refuse(f"{word} is a function and takes parentheses: {word}(...)")
            return self.name(word, len(word))
        function = word if word in self.functions else word.lower()
        if function not in self.functions:
            return self.refuse(f"there is no function {word}; a product is {word}*(...)")
        self.at += len(word)
        self.rest()
        self.at += 1
        arguments = [] if self.rest().startswith(")") else [self.sum()]
        while self.rest().startswith(","):
            self.at += 1
            arguments.append(self.sum())
        takes = self.functions[function]
        if len(arguments) != takes and self.rest().startswith(")"):
            return self.refuse(
                f"{function} takes {takes} in its parentheses and has {len(arguments)} (the "
                "decimal mark is a point)"
            )
        self.close()
        return ast.Call(ast.Name(function, ast.Load()), arguments, [])

    def binary(self, left: ast.expr, sign: str, right: ast.expr) -> ast.expr:
        self.operations += 1
        if self.operations > _MOST_OPERATIONS:
            return self.refuse(f"it has more than {_MOST_OPERATIONS} operators")
        return ast.BinOp(left, _NODES[sign](), right)

    def rest(self) -> str:
        """What is left, without the spaces before it."""
        self.at += len(self.text) - self.at - len(self.text[self.at :].lstrip())
        return self.text[self.at :]

    def operator(self, signs: str) -> str:
        """The next operator where it is one of `signs`, else nothing."""
        match = _OPERATOR.match(self.rest())
        sign = _SIGNS.get(match[0], match[0]) if match else ""
        if not match or sign not in signs:
            return ""
        self.at += len(match[0])
        return sign

    def close(self) -> None:
        if not (rest := self.rest()):
            self.refuse("a ) is missing at the end")
        if not rest.startswith(")"):
            self.refuse_next()
        self.at += 1
        self.last = ")"

    def refuse_next(self) -> NoReturn:
        """Say what is wrong with what comes after a number, a name or a )."""
        rest = self.rest()
        word = re.match(r"[\w.]+|.", rest, re.DOTALL)
        after = word[0] if word else ""
        match rest[0]:
            case ")":
                self.refuse("there is one ) too many")
            case ",":
                self.refuse("a comma stands only between a function's arguments; write 0.5 for 0,5")
            case "<" | ">" | "=" | "!":
                self.refuse(
                    f"{rest[0]} compares, and there are no comparisons; only 'L =' or 'loss =' may "
                    "stand before the whole"
                )
            case "." if len(after) > 1:
                self.refuse(f"there is no column {self.last}{after}")
            case "(" | "`":
                self.refuse(
                    f"an operator is missing between {self.last!r} and {after!r}; a product has *"
                )
            case _ if len(after) > 1 or after.isalnum() or after == "_":
                self.refuse(
                    f"an operator is missing between {self.last!r} and {after!r}; a product is "
                    f"{self.last}*{after}"
                )
            case _:
                self.refuse(f"{after!r} is no operator")

    def refuse(self, what: str) -> NoReturn:
        shown = self.text if len(self.text) <= 100 else f"{self.text[:100]}..."
        place = f" (character {self.at + 1})" if self.at < len(self.text) else ""
        raise SpecError(
            f"{shown!r} is not understood: {what}{place}. There are numbers such as 6e9, names, "
            f"+ - * / ^ ( ), and {', '.join(self.functions)}; a column whose name has other "
            "characters stands in backticks."
        )

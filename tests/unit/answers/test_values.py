r"""Expressions are worth what they say: beside mpmath, from trees of our own and of sympy's, in
their own writing."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mpmath
import pytest
import sympy

from benchmarks.equivalence import formulas, judged
from ttrl_server.answers import Asked
from ttrl_server.answers.expressions import Unreadable, parse
from ttrl_server.answers.keys import key
from ttrl_server.answers.values import _place, equation, expression


def test_random_formulas_have_the_value_of_the_tree_that_wrote_them() -> None:
    outcomes = [(made.text, judged(made)) for made in formulas(1500, seed=11)]
    assert [text for text, outcome in outcomes if outcome == "wrong"] == []
    assert sum(outcome == "refused" for _, outcome in outcomes) <= 0.01 * len(outcomes)


X, Y = sympy.symbols("x y")


def tree(draw: random.Random, depth: int) -> Any:
    """A random expression of sympy's."""
    if depth == 0 or draw.random() < 0.15:
        whole = sympy.Integer(draw.randint(-9, 12))
        part = sympy.Rational(draw.randint(-9, 9), draw.randint(2, 9))
        root = sympy.sqrt(draw.randint(2, 8))
        return draw.choice([whole, part, X, Y, X, Y, sympy.pi, sympy.E, root])
    one, kind = tree(draw, depth - 1), draw.choice("smrprfal")
    if kind == "s":
        return one + tree(draw, depth - 1)
    if kind == "m":
        return one * tree(draw, depth - 1)
    if kind == "r":
        below = tree(draw, depth - 1)
        return one / below if below != 0 else one
    if kind == "p":
        return one ** draw.choice([2, 3, -1, sympy.Rational(1, 2), sympy.Rational(2, 3), -2])
    if kind == "f":
        return draw.choice([sympy.sin, sympy.cos, sympy.atan, sympy.tan, sympy.exp])(one)
    return sympy.Abs(one) if kind == "a" else sympy.log(one**2 + 2)


def test_what_sympy_writes_in_latex_has_sympys_value() -> None:
    draw, seen, wrong = random.Random(3), 0, []
    while seen < 400:
        made = tree(draw, draw.choice([1, 2, 3]))
        points = [{s: mpmath.mpf(_place(str(s), point)) for s in (X, Y)} for point in range(3)]
        values = [complex(made.evalf(20, subs=at)) for at in points if made.is_finite is not False]
        if len(values) < 3 or any(abs(v.imag) > 1e-12 or not 1e-9 < abs(v) < 1e12 for v in values):
            continue
        text, seen = sympy.latex(made, ln_notation=True), seen + 1
        found = key(text, Asked())
        assert found
        head, _, rest = found.full.partition(":")
        shown = (rest or head).split("|")[0].split(";")
        read = [float(mpmath.mpf(value)) for value in shown]
        if any(abs(a - b.real) > 1e-9 * (1 + abs(b)) for a, b in zip(read, values, strict=False)):
            wrong.append(text)
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["x/2y", r"\sin x/2", "1 2", "2 3x", r"5\frac{9}{2}", "x!!", "|x", "hello", r"\foo{x}", ""],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


def test_an_equation_is_what_it_says_up_to_a_factor_and_nothing_where_it_is_always_true() -> None:
    assert equation("2x+4y-3", "0") == equation("y", r"-\frac{1}{2}x+\frac{3}{4}")
    assert equation("x^2+y^2", "25") != equation("x^2+y^2", "5")
    assert equation("x+x", "2x") is None
    assert equation("2+2", "4") is None


def test_threads_do_not_spoil_each_others_precision() -> None:
    texts = [rf"\sqrt{{{n}}} + \pi^{{{n % 5}}} \sin {n}" for n in range(2, 90)]
    expression.cache_clear()
    alone = [expression(text) for text in texts]
    expression.cache_clear()
    start = threading.Barrier(4)

    def at_once(_: int) -> list[str | None]:
        start.wait()
        return [expression(text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(at_once, range(4))) == [alone] * 4

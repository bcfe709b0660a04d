r"""Which answers are the same, and which only look alike."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttrl_server.voting.equivalence import canonical, equivalent

SAME = [
    ("0.5", "1/2"),
    ("1/2", r"\frac12"),
    (r"\frac12", r"\frac{1}{2}"),
    (r"\dfrac{1}{2}", r"\tfrac{2}{4}"),
    (r"\frac 34", "0.75"),
    (r"\frac9{19}", "9/19"),
    (r"-\frac{1}{2}", "-0.5"),
    (r"\frac{-1}{2}", r"\frac{1}{-2}"),
    ("025", "25"),
    ("142.0", "142"),
    ("5.", "5"),
    (".5", "0.5"),
    ("+3", "3"),
    ("-0", "0"),
    ("1,234", "1234"),
    (r"10,\!080", "10080"),
    ("1{,}000{,}000", "1000000"),
    ("1,234.50", "1234.5"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    ("$42$", "42"),
    (r"\(42\)", "42"),
    (r"\$5", "5 dollars"),
    (r"50\%", "50"),
    ("50%", "50 percent"),
    (r"30^\circ", "30"),
    ("30°", r"30^{\circ}"),
    ("30 degrees", "30"),
    ("5 cm", "5"),
    ("5cm", "5"),
    (r"15\mbox{ cm}^2", "15"),
    (r"864 \mbox{ inches}^2", "864"),
    (r"12\text{ square units}", "12"),
    ("5 apples", "5"),
    ("60 km/h", "60"),
    (r"3\sqrt{2}\text{ cm}", r"3\sqrt2"),
    (r"\frac{3}{2} hours", "1.5"),
    ("x = 5", "5"),
    ("x=5", "$x = 5.0$"),
    ("y = -2x", "-2x"),
    ("2 * 8 = 16", "16"),
    ("Area = 25", "25"),
    (r"x \approx 3.14", "3.14"),
    (r"x \in [-2,7]", "[-2, 7]"),
    ("1 1/2", "3/2"),
    (r"137 \frac{1}{2}", "137.5"),
    (r"2\frac{1}{3}", "7/3"),
    ("1.5e3", "1500"),
    (r"1.5 \times 10^{3}", "1500"),
    ("2^{10}", "1024"),
    ("Paris", "paris"),
    (r"\text{Evelyn}", "Evelyn"),
    ("(B)", "B"),
    (r"\text{(E)}", "E"),
    (r"\textbf{(C)}", "c"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
    ("(0.5, 2)", r"(\frac12,2.0)"),
    ("3, 5, 7", "7,5,3"),
    (r"\{1, 2\}", "2, 1"),
    (r"\sqrt{3}/3", r"\frac{\sqrt{3}}{3}"),
    ("√3", r"\sqrt{3}"),
    ("sqrt(3)", r"\sqrt3"),
    ("x^2 + 1", "x^{2}+1"),
    ("x²", "x^2"),
    ("2*x", "2x"),
    (r"2 \cdot \pi", r"2\pi"),
    ("2π", r"2\pi"),
    (r"\frac{x}{2}", "x/2"),
    ("4210_{5}", "4210_5"),
    ("\N{MINUS SIGN}7", "-7"),
    ("(5)", "5"),
    ("New  York", "new york"),
]

DIFFERENT = [
    ("50%", "1/2"),
    (".5", "5"),
    ("1/2", "2"),
    ("-3", "3"),
    ("0.333", "1/3"),
    ("12", "21"),
    ("1, 2", "12"),
    ("1 2", "12"),
    ("(1, 2)", "(2, 1)"),
    ("(1,234)", "1234"),
    ("[0, 1]", "(0, 1)"),
    ("5x", "5"),
    ("5 n", "5"),
    ("5 million", "5"),
    ("5 sqrt 2", "5"),
    ("3x + 2", "3"),
    ("x + y = 5", "5"),
    ("x = 1, y = 2", "2"),
    (r"\frac{1}{2x}", r"\frac{1}{2}x"),
    (r"\frac{a+b}{2}", "a+b/2"),
    (r"\frac{1}{2}3", "1/23"),
    (r"x^{2}3", "x^{23}"),
    (r"\binom{5}{23}", r"\binom{52}{3}"),
    (r"\sqrt{2}3", r"\sqrt{23}"),
    (r"\sqrt[3]{8}", r"\sqrt{8}"),
    ("204_5", "204"),
    ("(x)+2", "(x)2"),
    ("(3)(4)", "34"),
    ("A", "B"),
    ("Paris", "London"),
    ("New York", "York"),
    ("3 am", "3 pm"),
    ("10:30", "10"),
    ("1/0", "0"),
    ("5!", "5"),
    ("2^{10}", "210"),
    (r"\pi", "3.14"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_two_spellings_of_one_answer_are_equivalent(a: str, b: str) -> None:
    assert equivalent(a, b), (canonical(a), canonical(b))


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_answers_that_only_look_alike_are_not_equivalent(a: str, b: str) -> None:
    assert not equivalent(a, b), canonical(a)


@pytest.mark.parametrize("text", sorted({text for pair in SAME + DIFFERENT for text in pair}))
def test_a_canonical_form_is_its_own_canonical_form(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@given(st.fractions(max_denominator=10**6))
def test_every_spelling_of_a_rational_is_one_answer(value: object) -> None:
    above, _, below = str(value).partition("/")
    assert equivalent(rf"\frac{{{above}}}{{{below or 1}}}", str(value))


@given(st.text(alphabet="0123456789.,-+/^_*=(){}[]\\ abfcrx%$e√!", max_size=60))
def test_no_text_makes_it_raise(text: str) -> None:
    assert isinstance(canonical(text), str)


def test_model_text_is_never_evaluated() -> None:
    attack = "__import__('os').abort()"
    assert "abort" in canonical(attack)
    assert canonical("2+2") == "2+2"


HOSTILE = {
    "power": "10^{999999}",
    "tower": "9^{9^{9^{9}}}",
    "exponent": "1e999999999",
    "many digits": "7" * 999,
    "too long": "7" * 200_000,
    "braces": "{" * 500 + "}" * 500,
    "open braces": "{" * 1_000,
    "fractions": r"\frac{" * 160 + "}" * 40,
    "roots": r"\sqrt{" * 160,
    "texts": r"\text{" * 160,
    "brackets": "(" * 500 + "1" + ")" * 499,
    "commas": "," * 1_000,
    "equals": "x=" * 500,
    "spaces": "5" + " " * 998 + "x",
    "words": "5" + " of" * 333,
    "scripts": "x^" * 500,
    "circles": " ^" * 500,
    "groups": "1" + ",111" * 249,
    "NUL": "\x00" * 1_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_answers_are_compared_fast_and_make_no_large_number(text: str) -> None:
    started = time.process_time()
    assert len(canonical(text)) <= 3 * len(text) + 1_000
    assert time.process_time() - started < 0.25

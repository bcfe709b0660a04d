r"""Which answers are the same, and which only look alike."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.answers.cases import cases, each
from ttrl_server.answers import Asked, asked, keys, read, same
from ttrl_server.answers.keys import key

UNKNOWN = Asked()


@each("same", "a", "b")
def test_two_spellings_of_one_answer_are_the_same(a: str, b: str) -> None:
    assert same(a, b, UNKNOWN), keys({a, b}, UNKNOWN)
    assert same(b, a, UNKNOWN)


@each("different", "a", "b")
def test_answers_that_only_look_alike_are_not_the_same(a: str, b: str) -> None:
    assert not same(a, b, UNKNOWN), keys({a, b}, UNKNOWN)
    assert not same(b, a, UNKNOWN)


def test_no_answer_is_the_same_as_nothing_not_even_as_another_none() -> None:
    assert not same(None, None, UNKNOWN)
    assert not same(None, "1", UNKNOWN)


@given(st.fractions(max_denominator=10**6))
def test_every_spelling_of_a_rational_is_one_answer(value: Fraction) -> None:
    above, _, below = str(value).partition("/")
    assert same(rf"\frac{{{above}}}{{{below or 1}}}", str(value), UNKNOWN)


@each("same_by_question", "question", "a", "b", "equal")
def test_the_question_says_what_is_the_same(question: str, a: str, b: str, equal: bool) -> None:
    assert same(a, b, asked(question)) is equal


# ---------------------------------------------------------------- units among others


def test_a_value_without_a_unit_joins_the_only_unit_that_others_gave_it() -> None:
    found = keys({"5 cm", "5", "6"}, UNKNOWN)
    assert found["5 cm"] == found["5"] != found["6"]


def test_a_value_without_a_unit_stays_alone_where_others_disagree_on_the_unit() -> None:
    found = keys({"5 cm", "5 m", "5"}, UNKNOWN)
    assert len(set(found.values())) == 3


def test_25_cm_are_a_quarter_of_a_metre_but_25_is_no_quarter() -> None:
    found = keys({"25 cm", "0.25 m", "25", "0.25"}, UNKNOWN)
    assert found["25 cm"] == found["0.25 m"]
    assert found["25"] != found["0.25"]


TEXTS = [pair[side] for pair in cases("same")[::3] + cases("different")[::5] for side in "ab"]


@settings(max_examples=60)
@given(
    samples=st.lists(st.sampled_from(TEXTS), min_size=2, max_size=24),
    random=st.randoms(use_true_random=False),
)
def test_what_is_the_same_does_not_depend_on_the_order_of_the_samples(
    samples: list[str], random: Any
) -> None:
    shuffled = random.sample(samples, len(samples))
    assert keys(samples, UNKNOWN) == keys(shuffled, UNKNOWN)


# ---------------------------------------------------------------- what is meant to harm


@given(
    st.text(alphabet="0123456789.,-+/^_*=(){}[]\\ abfcrx%$e√!|<>:;≤", max_size=60)
    | st.text(max_size=60)
)
def test_no_text_makes_it_raise_and_every_key_is_stable(text: str) -> None:
    assert key(text, UNKNOWN) == key(text, UNKNOWN)


COMMANDS = [r"\frac", r"\sqrt", r"\text{cm}", r"\boxed{", r"\pm", r"\in", r"\equiv", r"\le"]
CLOSED = [r"\pmod{3}", r"\overline{n}", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\"]
WORDS = ["yes", "no", " and ", "or", "to", "2.5", "0.", "12,345", "log2|", "log_3|", "ln2("]
MARKS = "‹⟦⦃{}()[]|^_'xAB1½π&=<≈~!%$:;,-+*/\n"
PIECES = [*COMMANDS, *CLOSED, *WORDS, *MARKS]
PROMPTS: list[str | None] = [
    None,
    "Which?\nA) 1\nB) 2",
    "List the roots in order.",
    "What is the ratio?",
    "Give the equation of the line.",
    "¿Cuántos son?",
    "Is 57 odd or even?",
    "Name the capital.",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.sampled_from(PROMPTS))
def test_no_broken_notation_makes_it_raise(text: str, question: str | None) -> None:
    key(text, asked(question))
    read(text, "stop", asked(question))


def test_model_text_is_never_evaluated() -> None:
    attack = "__import__('os').abort()"
    found = key(attack, UNKNOWN)
    assert found
    assert "abort" in found.full


MONSTERS = {
    "power": "10^{999999}",
    "tower": "9^{9^{9^{9}}}",
    "tower of e": "e^{e^{e^{e^{e}}}}",
    "factorial": "(10^9)!",
    "factorials": "9!!!!!!!!!",
    "gamma": "(x!)!",
    "binomial": r"\binom{10^9}{5 \cdot 10^8}",
    "sine": r"\sin(10^{300})",
    "root": r"\sqrt[99999]{2}",
    "small root": r"2^{0.0000000001}",
    "exponent": "1e999999999",
    "many digits": "7" * 999,
    "digits of a fraction": "0." + "1" * 390,
    "too long": "7" * 200_000,
    "braces": "{" * 500 + "}" * 500,
    "open braces": "{" * 1_000,
    "fractions": r"\frac{" * 160 + "}" * 40,
    "roots": r"\sqrt{" * 160,
    "texts": r"\text{" * 160,
    "brackets": "(" * 500 + "1" + ")" * 499,
    "commas": "," * 1_000,
    "values": "1," * 500,
    "equals": "x=" * 500,
    "relations": "x<" * 500,
    "spaces": "5" + " " * 998 + "x",
    "words": "5" + " of" * 333,
    "scripts": "x^" * 500,
    "circles": " ^" * 500,
    "groups": "1" + ",111" * 249,
    "NUL": "\x00" * 1_000,
    "powers of a sum": "(x+1)^{9999}" * 30,
    "functions": r"\sin" * 100 + "x",
    "names": "+".join("abcdfghjklmnopqrstuvwxyz" * 3),
    "plus and minus": r"\pm" * 300,
    "units": "5 " + "m/s " * 240,
    "numerals": "one hundred and " * 60,
    "matrix": r"\begin{pmatrix}" + "1 & " * 200 + r"1\end{pmatrix}",
    "bars": "|" * 300 + "x" + "|" * 300,
}


@pytest.mark.timeout(30)  # about 100 times what it takes
@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS.keys())
def test_hostile_answers_are_compared_in_no_time_and_make_no_large_number(text: str) -> None:
    for one in (text, f"x = {text}", f"{text}, {text}", f"\\boxed{{{text}}} cm"):
        found = key(one, UNKNOWN)
        assert found is None or len(found.full) <= 4 * len(one) + 1_000

r"""Which answers are the same, and which only look alike."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.voting.equivalence_pairs import DIFFERENT, SAME, SAME_BY_TEXT, flat
from ttrl_server.voting.equivalence import canonical, equivalent
from ttrl_server.voting.structure import text_key

UNLIKE = flat(DIFFERENT)


@pytest.mark.parametrize(("a", "b"), flat(SAME_BY_TEXT))
def test_two_spellings_of_one_answer_are_equivalent(a: str, b: str) -> None:
    assert text_key(a) == text_key(b)


@pytest.mark.parametrize(("a", "b"), UNLIKE)
def test_answers_that_only_look_alike_are_not_equivalent(a: str, b: str) -> None:
    assert not equivalent(a, b), canonical(a)


@pytest.mark.parametrize("text", sorted({text for pair in SAME + UNLIKE for text in pair}))
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

from __future__ import annotations

import time

import pytest
from ttrl_client.scoring import canonical, equivalent, final_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("56", "56"),
        ("7 * 8 = 56", "56"),
        ("The answer is 54.", "54"),
        ("The answer is 7 * 8 = 56.", "56"),
        ("The answer is **56** because 7 eights are 56, not 54.", "56"),
        ("The final answer is: $\\frac{3}{4}$. Check 12.", "\\frac{3}{4}"),
        ("The answer is B because 3 is odd.", "B"),
        ("The answer is (C).", "C"),
        ("Answer: x^2 + y", "x^2 + y"),
        ("The answer is:\n\n42", "42"),
        ("The answer is 3.14 and nothing else.", "3.14"),
        (r"so \boxed{12} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed{} hence 9", "9"),
        ("5-3 leaves 2, and 3-5 leaves -2", "-2"),
        ("from 5 to 7-8", "8"),
        ("- 56", "56"),
        ("about 1,234,567 people", "1,234,567"),
        ("one of 1, 2, 3", "3"),
        ("half of it: 1/2", "1/2"),
        (r"it is \frac12", r"\frac12"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_final_answer_of_a_finished_sample(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_a_sample_cut_at_its_limit_has_no_answer_unless_it_boxed_one() -> None:
    assert final_answer("The answer is 56. In other words, 7 times", "length") is None
    assert final_answer(r"\boxed{56} because 7 times", "length") == "56"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("142.0", "142"),
        ("025", "25"),
        ("1/2", "0.5"),
        (r"\frac12", "0.5"),
        (r"\dfrac{1}{2}", "1/2"),
        (r"-\frac{1}{2}", "-0.5"),
        (r"\frac{-1}{2}", r"-\frac{1}{2}"),
        ("$1,234$", "1234"),
        ("1{,}234", "1234"),
        (".5", "1/2"),
        ("50\\%", "50"),
        (r"\text{Monday}", "monday"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        ("90^\\circ", "90"),
        ("0.1", "1/10"),
    ],
)
def test_equal_answers_in_different_writing(a: str, b: str) -> None:
    assert equivalent(a, b)
    assert equivalent(b, a)


@pytest.mark.parametrize(
    ("a", "b"), [("56", "54"), ("0.333", "1/3"), ("1/0", "0"), ("(1,234)", "1234"), ("x", "y"), ("1e3", "1000")]
)
def test_different_answers_stay_different(a: str, b: str) -> None:
    assert not equivalent(a, b)


def test_no_answer_is_equal_to_nothing_not_even_to_another_none() -> None:
    assert not equivalent(None, None)
    assert not equivalent(None, "1")


@pytest.mark.parametrize("text", ["9" * 100_000, "1/" * 50_000, r"\boxed{" * 2_000, "-" * 100_000, "1," * 50_000])
def test_hostile_text_costs_no_time(text: str) -> None:
    started = time.monotonic()
    answer = final_answer(text)
    if answer is not None:
        canonical(answer)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) 42 m", "B"),
        ("The correct choice is B.", "B"),
        ("The correct option is (C).", "C"),
        ("The answer is option B.", "B"),
        ("The answer is B because it is a stronger acid than A.", "B"),
        (r"So it is \boxed{(B)}", "B"),
        (r"\boxed{B) blue}", "B"),
        (r"\boxed{\text{C}}", "C"),
        ("**Final Answer:**\nB", "B"),
        ("<think>The answer is A?</think>\nD", "D"),
        ("A stronger acid gives its proton away, and 42 is its number", None),
        ("The answer is E", None),
        ("I would say 42", None),
    ],
)
def test_only_a_letter_answers_a_question_with_choices(text: str, answer: str | None) -> None:
    assert final_answer(text, "stop", "ABCD") == answer


def test_a_minus_may_be_written_as_one() -> None:
    assert equivalent(final_answer("The answer is \u22125."), "-5")

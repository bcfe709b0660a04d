"""What a scorer reads, and when it is right. The truth says what to look for."""

from __future__ import annotations

import pytest
from ttrl_client.scoring import expecting, read, same


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("Paris", "Paris"),
        ("**Paris.**", "Paris"),
        ("The capital of France is Paris.", "Paris"),
        ("The day before yesterday was a Friday.", "Friday"),
        ("Sure! god", "god"),
        ("The answer is mother-in-law.", "mother-in-law"),
        (r"\boxed{odd}", "odd"),
        ("It's Paris.", "Paris"),
        ("Yes.", "Yes"),
        ("No, 91 is 7 * 13.", "No"),
        ("91 = 7 * 13.\n\n**No**", "No"),
        ("The statement is false.", "False"),
        ("56", "56"),
        ("7 * 8 makes 56.", "56"),
        ("half of it: 1/2", "0.5"),
        ("100, Full, floats, taking", "100, Full, floats, taking"),
        ("A Tale of Two Cities", "A Tale of Two Cities"),
    ],
)
def test_a_truth_says_what_to_look_for_where_the_question_does_not(text: str, truth: str) -> None:
    asked = expecting("Tell me.", truth)
    assert same(read(text, "stop", asked).answer, truth, asked)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("It has 2 parts, of which the first one is by far the longer.\nParis", "Paris"),
        ("None of this is true.", "True"),
        ("No one knows.", "No"),
        ("I do not know.", "56"),
        ("", "56"),
        ("The answer is 56. In other words, 7 times", "54"),
    ],
)
def test_what_does_not_say_the_truth_is_not_right(text: str, truth: str) -> None:
    asked = expecting("Tell me.", truth)
    assert not same(read(text, "stop", asked).answer, truth, asked)


@pytest.mark.parametrize(
    ("truth", "kind"),
    [
        ("Yes", "verdict"),
        ("False", "verdict"),
        ("Paris", "words"),
        ("mother-in-law", "words"),
        ("J. K. Rowling", "words"),
        ("100, Full, floats", "words"),
        ("2, 3, 5", "number"),
        ("x", "number"),
        ("56", "number"),
        ("x^2 + y", "number"),
    ],
)
def test_the_kind_of_a_true_answer(truth: str, kind: str) -> None:
    assert expecting("Go on.", truth).kind == kind


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"),
        ("**B**", "B"),
        ("B) 42 m", "B"),
        ("The correct option is (C).", "C"),
        (r"\boxed{\text{C}}", "C"),
        ("<think>The answer is A?</think>\nD", "D"),
        ("A stronger acid gives its proton away, and 42 is its number", None),
        ("I would say 42", None),
        ("Answer: A total of four, so D", "D"),
    ],
)
def test_a_question_with_choices_is_answered_by_a_letter(text: str, answer: str | None) -> None:
    question = (
        "Which one?\n\nA) green\nB) blue\nC) red\nD) black\n\nAnswer with the letter of the right "
        "choice."
    )
    assert read(text, "stop", expecting(question, "B")).answer == answer

r"""What each sample answers, from texts as models write them."""

from __future__ import annotations

import pytest

from tests.unit.answers.cases import each
from ttrl_server.answers import Strength, asked, read, same

CHOICES = "Which acid is the strongest?\n(A) acetic\n(B) nitric\n(C) carbonic\n(D) boric"


def found(text: str, finish_reason: str, question: str | None = None) -> str | None:
    return read(text, finish_reason, asked(question)).answer


@each("samples", "text", "question", "answer")
def test_a_finished_sample_is_read_as_a_careful_reader_does(
    text: str, question: str | None, answer: str | None
) -> None:
    said = found(text, "stop", question)
    assert said == answer or same(said, answer, asked(question))


@each("samples_to_the_letter", "text", "question", "answer")
def test_a_finished_sample_answers_what_it_says_last_in_the_strongest_form(
    text: str, question: str | None, answer: str | None
) -> None:
    assert found(text, "stop", question) == answer


@pytest.mark.parametrize("finish_reason", ["length", "abort"])
@each("cut_samples", "text", "question", "answer")
def test_a_cut_sample_answers_only_what_a_complete_box_holds(
    text: str, question: str | None, answer: str | None, finish_reason: str
) -> None:
    said = found(text, finish_reason, question)
    assert said == answer or same(said, answer, asked(question))


HOSTILE = {
    "nested braces": "{" * 10_000 + "}" * 10_000,
    "nested boxes": r"\boxed{" * 10_000 + "1" + "}" * 10_000,
    "open boxes": r"\boxed{" * 15_000,
    "open fractions": r"\boxed{" + r"\frac{" * 10_000 + "}",
    "digits": "9" * 100_000,
    "grouped digits": "1" + ",111" * 25_000,
    "signs": "-" * 100_000 + "1",
    "spaces": "answer" + " " * 100_000 + "is 5",
    "phrases": "the answer is " * 7_000,
    "phrases to something": "answer to " * 10_000,
    "headings": "#### " * 20_000,
    "fillers": "the answer is " + "therefore " * 10_000,
    "stars": "**" * 50_000,
    "letters": "(A) **B** " * 10_000,
    "lines": "\n(B)." * 25_000,
    "think tags": "<think></think>" * 7_000,
    "backslashes": "\\" * 100_000,
    "words": "the answer is 5 " + "apple " * 20_000,
    "NUL": "\x00" * 100_000 + "7",
    "direction marks": "\u202e\u200f" * 50_000 + "7",
    "commas": r"\boxed{" + "," * 19_000 + "}",
    "scripts": r"\boxed{" + "x^{" * 6_000 + "}" * 6_000 + "}",
    "numbers": "give an integer: " + "0.5, " * 20_000,
    "open formulas": r"\(" * 50_000 + "1",
    "open prices": "$1 " * 30_000,
    "open matrices": r"the answer is \begin{a}" * 4_000,
    "open lists": "(1," * 30_000,
    "dates": "1 January " * 10_000,
    "pictures": "the answer is " + "\U0001f389" * 100_000,
    "listed choices": "(A) the acid\n(B) the base\nthe answer is not the acid. " * 1_500,
    "questions": ". is a" * 16_000 + "?",
    "questions after empty lines": "\n\nis a" * 16_000 + "?",
    "one long word": "x" * 100_000,
    "a sentence": "The " + "is " * 30_000,
    "questions of choice": "is it? or " * 10_000 + "?",
    "requests": "answer with " * 8_000 + "only",
    "verdicts": "yes " * 25_000 + "or no",
    "an enormous power": r"\boxed{10^{999999}}",
    "an enormous exponent": "the answer is 1e999999999",
}


@pytest.mark.timeout(30)  # about 100 times what it takes; work that grows faster takes longer
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_read_with_work_that_grows_with_its_length(text: str) -> None:
    found(text, "stop", text)
    found(text, "stop", "Is it? Return just the word, or a comma-separated list")


def test_nested_boxes_hold_what_the_innermost_holds() -> None:
    assert found(r"\boxed{" * 1_000 + "1" + "}" * 1_000, "stop") == "1"


STRENGTHS: list[tuple[str, str | None, str | None, Strength | None]] = [
    (r"It is \boxed{5}.", None, "5", "boxed"),
    ("The answer is 5.\n\nI used 2 steps.", None, "5", "stated"),
    ("Option B is correct.", CHOICES, "B", "stated"),
    ("It is the stronger one.\n\n**(B)**", CHOICES, "B", "choice"),
    ("nitric", CHOICES, "B", "choice"),
    ("3 + 4\nmakes 7.\n\n", None, "7", "closing"),
    ("\\[\n3 + 4 = 7\n\\]\n", None, "7", "closing"),
    ("So 3 + 4 = 7.\n\nI hope this helps!", None, "7", "number"),
    ("I do not know.", None, None, None),
    ("Yes, it is.", "Is 7 prime?", "Yes", "choice"),
    ("Lima", "Which city? Answer in one word.", "Lima", "closing"),
]


@pytest.mark.parametrize(("text", "question", "answer", "strength"), STRENGTHS)
def test_a_reading_says_how_clearly_its_answer_is_stated(
    text: str, question: str | None, answer: str | None, strength: Strength | None
) -> None:
    reading = read(text, "stop", asked(question))
    assert (reading.answer, reading.strength) == (answer, strength)


QUESTIONS = [
    (CHOICES, {"A": "acetic", "B": "nitric", "C": "carbonic", "D": "boric"}),
    ("Pick one: (A) 3, (B) 4, or (C) 5.", {"A": "3", "B": "4", "C": "5"}),
    (r"$\textbf{(A)}\ \frac{1}{2} \qquad \textbf{(B)}\ 2\pi$", {"A": r"\frac{1}{2}", "B": r"2\pi"}),
    ("**A.** red\n**B.** green", {"A": "red", "B": "green"}),
    (
        "First example:\nA) old\nB) older\nC) oldest\n\nNow:\nA) new\nB) newer",
        {"A": "new", "B": "newer"},
    ),
    ("Options:\n(a) it rains. Often.\n(b) it snows", {"A": "it rains. Often", "B": "it snows"}),
    ("Q: What is 2 + 2?\nA: ", {}),
    ("Triangle ABC has a right angle at B. Find AC.", {}),
    ("", {}),
    (None, {}),
]


@pytest.mark.parametrize(("question", "choices"), QUESTIONS)
def test_the_choices_of_a_question_are_its_last_run_of_markers(
    question: str | None, choices: dict[str, str]
) -> None:
    assert asked(question).choices == choices


@pytest.mark.parametrize(
    ("question", "integer"),
    [
        ("How many? Give an integer.", True),
        ("Express your answer as an integer.", True),
        ("Your answer should be an integer from 0 to 999.", True),
        ("Round to the nearest whole number.", True),
        ("Please respond with a single integer", True),
        ("Let n be an integer. What is n/2?", False),
        ("How many integers lie between 1 and 5?", False),
        ("What is 1/2 + 1/3?", False),
    ],
)
def test_an_integer_is_expected_where_the_question_asks_for_one(
    question: str, integer: bool
) -> None:
    assert asked(question).integer is integer

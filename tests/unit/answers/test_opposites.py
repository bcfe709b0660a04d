"""The opposite of a question that compares."""

from __future__ import annotations

import pytest

from ttrl_server.answers.opposites import OPPOSITE, opposite


@pytest.mark.parametrize(
    ("question", "turned"),
    [
        ("Which number is larger, 84 or 37?", "Which number is smaller, 84 or 37?"),
        ("Which is the shortest: a mile or a yard?", "Which is the longest: a mile or a yard?"),
        ("What is the MAXIMUM of 3, 9 and 4?", "What is the Minimum of 3, 9 and 4?"),
        ("Who was born later, Bach or Liszt?", "Who was born earlier, Bach or Liszt?"),
        ("Which is older?\nA) Rome\nB) Bonn", "Which is younger?\nA) Rome\nB) Bonn"),
        ("Largest of 1, 2? The largest!", "Smallest of 1, 2? The smallest!"),
    ],
)
def test_the_word_that_compares_is_turned_round(question: str, turned: str) -> None:
    assert opposite(question) == turned


@pytest.mark.parametrize(
    "question",
    [
        None,
        "",
        "What is the capital of Chile?",
        "What is the largest city?",  # offers nothing
        "Is 7 larger or smaller than 9?",  # both words
        "Is the larger of 3 or 4 the older one?",  # two words
        "Which is the best answer, A or B?",
        "Which comes first, 3 or 4?",
        "Name at least 3 or 4 of them.",
        "Is 5 even or odd?",
        "Was the bestseller of 1990 or 1991 good?",
    ],
)
def test_a_question_that_does_not_compare_has_no_opposite(question: str | None) -> None:
    assert opposite(question) is None


def test_twice_turned_is_as_before() -> None:
    for word in OPPOSITE:
        again = opposite(opposite(f"Which is {word}, 3 or 4?"))
        assert again
        assert OPPOSITE[OPPOSITE[word]] in again.casefold()


def test_a_long_question_is_turned_at_its_end() -> None:
    text = "larger 1 or 2. " * 10_000
    assert opposite(text + "Which is smaller, 3 or 4?") is None
    long = "x " * 10_000
    assert opposite(long + "Which is smaller, 3 or 4?") == long + "Which is larger, 3 or 4?"

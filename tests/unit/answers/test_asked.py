"""What a question asks for, and that what asks for nothing comparable is open."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks.data import DATA
from benchmarks.votable import outcome
from tests.unit.answers.cases import cases, each, questions
from ttrl_server.answers import Kind, asked, by_chance, form
from ttrl_server.answers.kinds import housekeeping


@pytest.mark.parametrize("question", questions("comparable"))
def test_a_question_with_one_answer_is_not_open(question: str) -> None:
    assert asked(question).kind != "open"


@pytest.mark.parametrize("question", questions("open"))
def test_a_request_for_work_talk_or_advice_is_open(question: str) -> None:
    assert asked(question).kind == "open"


@each("kinds", "question", "kind")
def test_a_question_of_a_person_is_of_the_kind_of_its_answer_and_no_housekeeping(
    question: str, kind: Kind
) -> None:
    assert asked(question).kind == kind
    assert not housekeeping(question)


@each("housekeeping", "question")
def test_what_front_ends_ask_of_their_own_accord_is_known(question: str) -> None:
    assert housekeeping(question)
    assert asked(question).kind == "open"


def test_nothing_is_known_of_no_question() -> None:
    assert asked(None) == asked("") == asked(" \n")
    assert asked(None).kind == "unknown"


# ------------------------------------------------------------ real requests, where they are at hand

with_data = pytest.mark.skipif(
    not (DATA / "chat.jsonl").is_file(), reason=f"no requests in {DATA} (TTRL_TEST_DATA)"
)


@with_data
def test_of_open_requests_hardly_any_is_voted_on_and_of_answers_most() -> None:
    labels = json.loads((DATA / "chat_labels.json").read_text(encoding="utf-8"))
    found: dict[str, list[tuple[bool, bool]]] = {"open": [], "answer": [], "unclear": []}
    for row in cases("chat", DATA):
        found[labels[row["id"]]].append(outcome(row["question"], row["responses"]))
    assert sum(votable for votable, _ in found["open"]) <= 0.02 * len(found["open"])
    assert sum(trained for _, trained in found["open"]) <= 0.005 * len(found["open"])
    assert sum(votable for votable, _ in found["answer"]) >= 0.7 * len(found["answer"])


@with_data
def test_every_question_of_mathematics_is_voted_on() -> None:
    rows = cases("math_samples", DATA)
    assert all(outcome(row["question"], row["responses"])[0] for row in rows)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 18 - 1?", "What is 1,200.5 - 7?"),
        ("What is the capital of Chile?", "What is the capital of Mongolia?"),
        ("How do you spell 'cat'?", 'How do you spell "elephant"?'),
        ("What is the capital of Chile?", "What is the capital of New Zealand?"),
        ("What comes next: 1, 2, 3?", "What comes next: 5, 8, 11, 14?"),
        ("Who met Anna in Rome?", "Who met Bert in Paris?"),
    ],
)
def test_questions_of_one_form_differ_in_numbers_names_and_quoted_words(
    one: str, other: str
) -> None:
    assert form(one) == form(other)


@pytest.mark.parametrize("piece", ["«", '"', "… ", "1.", "Anna ", "a A"])
def test_the_form_of_a_hostile_question_is_found_at_once(piece: str) -> None:
    begun = time.process_time()
    assert len(form(piece * 2**20)) <= 4000
    assert time.process_time() - begun < 5


def test_questions_of_two_forms_stay_apart() -> None:
    assert form("What is 7 + 8?") != form("What is 7 * 8?")


@pytest.mark.parametrize(
    ("answer", "question", "chance"),
    [
        ("odd", "Is 38 even or odd? Answer with just the word.", 1 / 2),
        ("yes", "Is 7 prime? Answer yes or no.", 1 / 2),
        ("B", "Which is right?\nA) cats\nB) dogs\nC) birds\nAnswer with the letter.", 1 / 3),
        ("38", "Which number is larger, 38 or 71?", 1 / 2),
        ("18", "What is 18 - 1?", 1 / 2),
        ("12", "What is half of 12?", 1 / 2),
        ("3", "What is the second of 1, 3, 5, 9?", 1 / 4),
        ("Chile", "What is the capital of Chile?", 0),
        ("17", "What is 18 - 1?", 0),
        ("8", "Which number is larger, 84 or 37?", 0),
        (None, "Is 38 even or odd?", 0),
        ("odd", None, 0),
    ],
)
def test_what_an_answer_of_the_question_itself_wins_by_chance(
    answer: str | None, question: str | None, chance: float
) -> None:
    assert by_chance(answer, question) == chance

"""What a question asks for, and that what asks for nothing comparable is open."""

from __future__ import annotations

import json

import pytest

from benchmarks.data import DATA
from benchmarks.votable import outcome
from tests.unit.answers.cases import cases, each, questions
from ttrl_server.answers import Kind, asked
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

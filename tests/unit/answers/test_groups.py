"""Whole groups: which replies to a question are counted together, from reading to clusters."""

from __future__ import annotations

import json

import pytest

from benchmarks.data import CASES as FOLDER
from tests.unit.answers.groups import GROUPS
from tests.unit.answers.reported import REPORTED
from ttrl_server.types import Rollout
from ttrl_server.voting import vote_over

CASES = [
    (kind, *group) for kind, groups in (*GROUPS.items(), *REPORTED.items()) for group in groups
]
SHARED = FOLDER / "votes.jsonl"


def counted(question: str, responses: list[str]) -> list[tuple[int, ...]]:
    vote = vote_over(
        [Rollout(i, (), (), text, "stop") for i, text in enumerate(responses)], question
    )
    return sorted(cluster.members for cluster in vote.clusters)


def wanted(letters: str) -> list[tuple[int, ...]]:
    return sorted(
        tuple(i for i, c in enumerate(letters) if c == letter) for letter in set(letters) - {"-"}
    )


@pytest.mark.parametrize(("kind", "question", "responses", "letters"), CASES)
def test_replies_with_the_same_answer_are_counted_together(
    kind: str, question: str, responses: list[str], letters: str
) -> None:
    assert len(responses) == len(letters), kind
    assert counted(question, responses) == wanted(letters)


@pytest.mark.skipif(not SHARED.is_file(), reason=f"no cases in {SHARED.parent} (TTRL_TEST_DATA)")
def test_the_cases_of_other_peoples_graders_are_counted_right() -> None:
    wrong = []
    for line in SHARED.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if counted(case["question"], case["responses"]) != sorted(map(tuple, case["clusters"])):
            wrong.append(case["id"])
    assert wrong == []

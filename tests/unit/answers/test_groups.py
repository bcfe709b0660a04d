"""Whole groups: which replies to a question are counted together, from reading to clusters."""

from __future__ import annotations

import pytest

from benchmarks.data import CASES as SHARED
from tests.unit.answers.cases import cases, each
from ttrl_server.types import Rollout
from ttrl_server.voting import vote_over


def counted(question: str, responses: list[str]) -> list[list[int]]:
    rollouts = [Rollout(i, (), (), text, "stop") for i, text in enumerate(responses)]
    return sorted(list(cluster.members) for cluster in vote_over(rollouts, question).clusters)


@each("groups", "question", "responses", "clusters")
def test_replies_with_the_same_answer_are_counted_together(
    question: str, responses: list[str], clusters: list[list[int]]
) -> None:
    assert counted(question, responses) == clusters


@pytest.mark.skipif(
    not (SHARED / "votes.jsonl").is_file(), reason=f"no cases in {SHARED} (TTRL_TEST_DATA)"
)
def test_the_cases_of_other_peoples_graders_are_counted_right() -> None:
    shared = cases("votes", SHARED)
    wrong = [
        case["id"]
        for case in shared
        if counted(case["question"], case["responses"]) != sorted(case["clusters"])
    ]
    assert wrong == []

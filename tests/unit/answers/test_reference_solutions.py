"""The worked solutions of MATH, read and checked as samples would be. The data lies beside the
project, not in it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from benchmarks.data import DATA
from ttrl_server.answers import Asked, asked, keys, read, same

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no benchmark data in {DATA} (TTRL_TEST_DATA)"
)


def records(name: str = "math_l1_l4") -> list[dict[str, str]]:
    return [
        json.loads(line)
        for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_what_is_read_from_a_solution_is_its_answer() -> None:
    wrong = []
    for record in records():
        question = asked(record["prompt"])
        found = read(record["solution"], "stop", question).answer
        if not same(found, record["answer"], question):
            wrong.append((record["id"], found, record["answer"]))
    assert wrong == []


def test_an_answer_stated_in_a_sentence_is_read_as_the_one_that_stands_in_a_box() -> None:
    wrong = []
    for record in records():
        question = asked(record["prompt"])
        found = read(f"So the answer is ${record['answer']}$.", "stop", question).answer
        if not same(found, record["answer"], question):
            wrong.append((record["id"], found, record["answer"]))
    assert wrong == []


def test_no_two_different_answers_of_neighbouring_questions_are_called_equal() -> None:
    answers = [record["answer"] for record in records()]
    found = keys(set(answers), Asked())
    met = {(a, b) for a, b in pairwise(answers) if a != b and found[a] == found[b]}
    assert met == set()


INTEGERS = [
    "The answer is {}.",
    "Thus $m+n = {}$.",
    "**Answer:** {}",
    r"\[ m+n = \boxed{{{}}} \]",
    r"So $\boxed{{{:03}}}$ it is.",
    r"\boxed{{{:,}}}",
    r"\boxed{{x = {}}}",
]


@pytest.mark.parametrize("name", ["aime24", "amc"])
@pytest.mark.parametrize("said", INTEGERS)
def test_integers_are_read_boxed_and_stated(name: str, said: str) -> None:
    for record in records(name):
        question = asked(record["prompt"])
        found = read(said.format(int(float(record["answer"]))), "stop", question).answer
        assert same(found, record["answer"], question), record["id"]

"""The worked solutions of MATH, read and checked as samples would be. The data lies beside the
project, not in it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.data import DATA
from tests.unit.answers.cases import cases
from ttrl_server.answers import Asked, asked, keys, read, same

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no benchmark data in {DATA} (TTRL_TEST_DATA)"
)


@pytest.mark.parametrize("said", ["{solution}", "So the answer is ${answer}$."])
def test_an_answer_is_read_from_a_worked_solution_and_from_a_sentence(said: str) -> None:
    wrong = []
    for record in cases("math_l1_l4", DATA):
        question = asked(record["prompt"])
        found = read(said.format_map(record), "stop", question).answer
        if not same(found, record["answer"], question):
            wrong.append((record["id"], found, record["answer"]))
    assert wrong == []


def test_no_two_different_answers_of_neighbouring_questions_are_called_equal() -> None:
    answers = [record["answer"] for record in cases("math_l1_l4", DATA)]
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
    for record in cases(name, DATA):
        question = asked(record["prompt"])
        found = read(said.format(int(float(record["answer"]))), "stop", question).answer
        assert same(found, record["answer"], question), record["id"]

"""The worked solutions of MATH, read and checked as samples would be. The data lies beside the project, not in it."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from ttrl_server.voting.extract import expected, read
from ttrl_server.voting.pool import Pool

DATA = Path(os.environ.get("TTRL_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
MATH = DATA / "math_l1_l4.jsonl"
pytestmark = pytest.mark.skipif(not MATH.is_file(), reason=f"no benchmark data in {DATA} (TTRL_TEST_DATA)")


def records() -> list[dict[str, str]]:
    return [json.loads(line) for line in MATH.read_text(encoding="utf-8").splitlines()]


def test_what_is_read_from_a_solution_is_its_answer_in_99_of_100() -> None:
    wrong = []
    with Pool() as pool:
        for record in records():
            found = read(record["solution"], "stop", expected(record["prompt"])).answer
            keys = pool.keys({found or "", record["answer"]}, budget_s=10).of
            if found is None or keys[found] != keys[record["answer"]]:
                wrong.append((record["id"], found, record["answer"]))
    print(f"{len(wrong)} of {len(records())} differ: {wrong}")
    assert len(wrong) <= 0.01 * len(records())


def test_no_two_different_answers_of_neighbouring_questions_are_called_equal() -> None:
    answers = [record["answer"] for record in records()]
    with Pool() as pool:
        keys = pool.keys(set(answers), budget_s=60)
    assert keys.complete
    met = {(a, b) for a, b in pairwise(answers) if a != b and keys.of[a] == keys.of[b]}
    assert met == set()

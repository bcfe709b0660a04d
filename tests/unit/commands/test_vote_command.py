"""``ttrl-vote``: a line in, a row out, in the server's own words."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import python

CHOICES = "Which acid is the strongest? (A) acetic (B) nitric (C) boric"
HALF = {"id": "half", "responses": [r"\boxed{\frac12}", "The answer is 0.5.", "It is 3"]}
CHOICE = {"id": 2, "question": CHOICES, "responses": ["The answer is (B).", "B) nitric", "It is C"]}
ROOTS = [r"\boxed{\frac{1}{\sqrt2}}", r"\boxed{\frac{\sqrt2}{2}}", r"\boxed{2}"]
LINES: list[Any] = [
    HALF | {"answer": "1/2"},
    CHOICE | {"answer": "C"},
    {"id": "root", "responses": ROOTS},
    {"id": "prose", "responses": ["Hello.", "Hi."], "answer": 7},
]


run = functools.partial(python, "-m", "ttrl_server.commands.vote")


def text_of(*lines: Any) -> str:
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_every_line_gets_its_row_in_order(jobs: str) -> None:
    done = run("--jobs", jobs, given=text_of(*LINES))
    assert done.returncode == 0
    half, choice, root, prose = (json.loads(line) for line in done.stdout.splitlines())
    assert half == {
        "id": "half",
        "answer": r"\frac12",
        "counts": {r"\frac12": 2, "3": 1},
        "majority_ratio": 2 / 3,
        "clusters": [{"answer": r"\frac12", "members": [0, 1]}, {"answer": "3", "members": [2]}],
        "stopped": "full",
        "correct": True,
    }
    assert (choice["id"], choice["answer"], choice["correct"]) == (2, "B", False)
    assert (root["counts"], "correct" in root) == ({r"\frac{1}{\sqrt2}": 2, "2": 1}, False)
    assert (prose["answer"], prose["majority_ratio"], prose["correct"]) == (None, None, False)


def test_a_file_is_read_and_another_written(tmp_path: Path) -> None:
    source, sink = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    many = [{"id": i, "responses": [str(i), str(i), "0.5"]} for i in range(300)]
    source.write_text(text_of(*many))
    done = run(str(source), "--output", str(sink), "--jobs", "2")
    assert (done.returncode, done.stdout) == (0, "")
    rows = [json.loads(line) for line in sink.read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(300))
    assert all(row["answer"] == str(row["id"]) for row in rows)


def test_a_line_that_is_no_record_is_a_row_with_its_error_and_the_rest_goes_on() -> None:
    no_list, nothing = {"id": "y", "responses": "7"}, {"id": "z", "responses": []}
    wrong = ["{not json", [1, 2], {"id": "x"}, no_list, nothing]
    done = run("--quiet", "--jobs", "1", given=text_of(*wrong, LINES[0]))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "5 lines" in done.stderr
    assert [row.get("line") for row in rows] == [1, 2, 3, 4, 5, None]
    assert all(row["error"] for row in rows[:5])
    assert [row["id"] for row in rows] == [None, None, "x", "y", "z", "half"]


def test_a_response_that_speaks_of_an_error_is_not_one() -> None:
    line = text_of({"id": 1, "responses": [r'The answer is "error":']})
    assert run("--jobs", "1", "--quiet", given=line).returncode == 0


def test_a_missing_file_is_one_line() -> None:
    done = run("/nowhere/at/all.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert "/nowhere/at/all.jsonl" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_neither_torch_nor_an_engine_is_needed() -> None:
    heavy = ("torch", "vllm", "sympy", "transformers")
    code = f"import sys, ttrl_server.commands.vote; print([m for m in {heavy} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_hostile_lines_are_answered_and_the_rest_goes_on() -> None:
    monsters = [rf"\boxed{{{i}^{{5^{{5^{{5^{{5^5}}}}}}}}}}" for i in range(2, 8)]
    monsters.append(r"\boxed{__import__('os').getpid()}")
    done = run("--jobs", "1", given=text_of({"id": "hostile", "responses": monsters}, LINES[0]))
    hostile, half = (json.loads(line) for line in done.stdout.splitlines())
    assert sum(hostile["counts"].values()) == len(monsters)
    assert half["correct"]

from __future__ import annotations

from pathlib import Path

import pytest
from ttrl_client.datasets import load, load_joined
from ttrl_client.sources import DatasetError

GOOD = '{"id": "a", "prompt": "What is 1 + 1?", "answer": 2}\n'


def test_a_set_is_named_after_its_file_and_numbers_become_text(tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text(GOOD + "\n", encoding="utf-8")
    questions = load(path)
    assert questions.name == "held_out"
    assert questions.items[0].answer == "2"


def test_files_are_joined_in_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(GOOD.replace('"a"', f'"{name}"'), encoding="utf-8")
    joined = load_joined([tmp_path / "two", tmp_path / "one"], "trained")
    assert [item.id for item in joined.items] == ["two", "one"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no questions"),
        (GOOD + "{", ":2: not JSON"),
        (GOOD + "[1]", ":2: expected an object"),
        (GOOD + '{"id": "b", "prompt": "?"}', ":2: 'answer' must be"),
        (GOOD + '{"id": "b", "prompt": " ", "answer": "1"}', ":2: 'prompt' must be"),
        (GOOD + GOOD, "id 'a' appears twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.jsonl"):
        load(tmp_path / "gone.jsonl")

"""Question sets from files of every kind, presets, hubs out of reach, and a generator."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from ttrl_client import Unusable
from ttrl_client.choices import lettered
from ttrl_client.datasets import Fields, QuestionSet, load, load_joined
from ttrl_client.presets import PRESETS

GOOD = '{"id": "a", "prompt": "What is 1 + 1?", "answer": 2}'
ROWS = [
    {"id": "a", "problem": "2 + 2?", "answer": 4, "level": 0},
    {"id": "b", "problem": "3 + 3?", "answer": 6, "level": 2},
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(
    *lines: str | dict[str, Any], name: str = "q.jsonl", fields: Fields | None = None
) -> QuestionSet:
    """The questions of a file with these lines."""
    text = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines)
    Path(name).write_text("\n".join(text), encoding="utf-8")
    return load(name, fields)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (".jsonl", "\n".join(map(json.dumps, ROWS)) + "\n"),
        (".json", json.dumps({"data": ROWS})),
        (".csv", "\ufeffid,problem,answer,level\na,2 + 2?,4,0\nb,3 + 3?,6,2"),
        (".parquet", None),
    ],
)
def test_the_same_questions_come_out_of_every_kind_of_file(kind: str, text: str | None) -> None:
    if text is None:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), f"sums{kind}")
    found = load(f"sums{kind}") if text is None else loaded(text, name=f"sums{kind}")
    assert found.name == "sums"
    items = [(item.id, item.prompt, item.answer, item.group) for item in found.items]
    assert items == [("a", "2 + 2?", "4", "0"), ("b", "3 + 3?", "6", "2")]


def test_a_column_without_a_name_is_no_level() -> None:
    found = loaded(",prompt,answer", "0,2 + 2?,4", "1,3 + 3?,6", name="of_pandas.csv")
    assert [item.group for item in found.items] == [None, None]


def test_fields_may_be_named_and_a_suffix_added() -> None:
    record = {"q": "2 + 2?", "gold": "4", "topic": "sums"}
    (item,) = loaded(record, fields=Fields("q", "gold", "topic", " Think.")).items
    assert (item.id, item.prompt, item.answer, item.group) == ("0", "2 + 2? Think.", "4", "sums")


def test_a_line_may_hold_other_ends_of_lines() -> None:
    assert loaded({"prompt": "a\u2028b", "answer": "1"}).items[0].prompt == "a\u2028b"


def test_the_answer_of_worked_solutions_is_what_follows_the_hashes() -> None:
    assert loaded({"question": "?", "answer": "2 + 2 = 4\n#### 4"}).items[0].answer == "4"


def test_files_are_joined_in_order() -> None:
    for name in ("one", "two"):
        loaded(GOOD.replace('"a"', f'"{name}"'), name=f"{name}.jsonl")
    joined = load_joined(["two.jsonl", "one.jsonl"], "trained")
    assert [item.id for item in joined.items] == ["two", "one"]


def test_files_that_number_their_questions_can_be_joined() -> None:
    for name in ("a", "b"):
        loaded("prompt,answer", f"What is {name}?,{name}", name=f"{name}.csv")
    joined = load_joined(["a.csv", "b.csv"], "trained")
    assert [item.id for item in joined.items] == ["1-a-0", "2-b-0"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.jsonl", "", "holds no questions"),
        ("q.jsonl", GOOD + "\n{", ":2: not JSON"),
        ("q.jsonl", GOOD + "\n[1]", ":2: expected an object"),
        ("q.jsonl", GOOD + '\n{"id": "b", "prompt": "?"}', ":2: 'answer' must be"),
        ("q.jsonl", GOOD + '\n{"id": "b", "prompt": " ", "answer": 1}', ":2: 'prompt' must be"),
        ("q.jsonl", GOOD + "\n" + GOOD, "id 'a' appears twice"),
        ("q.jsonl", '{"prompt": "?", "choices": ["x", "y"], "answer": "z"}', "of its 2 choices"),
        ("q.csv", "id,prompt,answer\n1,What is 1,000 + 2?,1002\n", "quote commas"),
        ("q.jsonl", '{"prompt": "\\ud835", "answer": "1"}', "surrogate"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(name: str, text: str, message: str) -> None:
    with pytest.raises(Unusable, match=message) as caught:
        loaded(text, name=name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(Unusable, match=r"gone\.jsonl"):
        load("gone.jsonl")


# ---------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("record", "right"),
    [
        ({"choices": ["red", "blue"], "answer": 1}, "B"),
        ({"choices": ["red", "blue"], "answer": "A"}, "A"),
        ({"options": ["red", "blue"], "answer": "blue"}, "B"),
        ({"choices": {"text": ["red", "blue"], "label": ["A", "B"]}, "answer": "B"}, "B"),
        ({"choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answerKey": "2"}, "B"),
        ({"options": {"A": "red", "B": "blue"}, "answer": "A"}, "A"),
    ],
)
def test_choices_are_laid_out_with_letters(record: dict[str, Any], right: str) -> None:
    (item,) = loaded({"question": "Which?"} | record).items
    assert "A) red\nB) blue" in item.prompt
    assert item.answer == right


@pytest.mark.parametrize(("answer", "right"), [(2, "C"), ("2", "B"), (24, "C"), (0, "A")])
def test_a_number_is_a_place_also_among_choices_that_are_numbers(answer: Any, right: str) -> None:
    record = {"question": "What is 4!?", "choices": ["8", "2", "24", "120"], "answer": answer}
    assert loaded(record).items[0].answer == right


def test_right_and_wrong_answers_in_their_own_fields_are_shuffled_the_same_way_each_time() -> None:
    record = {"Question": "Which?", "Correct Answer": "x"}
    record |= {"Incorrect Answer 1": "y", "Incorrect Answer 2": "z"}
    items = loaded(*(record | {"id": str(n)} for n in range(20))).items
    assert [item.answer for item in items] == [item.answer for item in load("q.jsonl").items]
    assert len({item.answer for item in items}) == 3
    assert all(f"{item.answer}) x" in item.prompt.splitlines() for item in items)


def test_letters_go_with_their_options() -> None:
    asked = "Which?\n\nA) x\nB) y\n\nAnswer with the letter of the right choice."
    assert lettered("Which?", ["x", "y"], 1) == (asked, "B")


# ---------------------------------------------------------------- from elsewhere


def test_an_unknown_name_is_refused_with_the_presets() -> None:
    known = "none of the presets aime24, amc, gpqa-diamond, gsm8k, math500"
    with pytest.raises(Unusable, match=known):
        load("aime25")


class Hub(types.ModuleType):
    """Stands in for the ``datasets`` library."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> None:
        super().__init__("datasets")
        self.rows = rows
        self.asked: list[tuple[str, str | None, str]] = []
        monkeypatch.setitem(sys.modules, "datasets", self)

    def load_dataset(
        self, repository: str, config: str | None, split: str
    ) -> tuple[dict[str, Any], ...]:
        self.asked.append((repository, config, split))
        if not self.rows:
            raise ConnectionError("no route to the hub")
        return self.rows


def test_a_preset_brings_its_fields_and_the_papers_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub(monkeypatch, {"problem": "2 + 2?", "answer": "4"})
    found = load("math500")
    assert hub.asked == [("HuggingFaceH4/MATH-500", None, "test")]
    assert found.items[0].prompt.endswith("put your final answer within \\boxed{}.")
    assert found.preset == PRESETS["math500"]
    episodes = [PRESETS[name].episodes for name in ("aime24", "amc", "math500")]
    assert episodes == [80, 30, 10]


def test_a_hub_id_names_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, {"question": "2 + 2?", "answer": "4"})
    assert load("openai/gsm8k/main:train").name == "main"
    assert hub.asked == [("openai/gsm8k", "main", "train")]


def test_a_hub_out_of_reach_says_what_to_pass_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch)
    said = r"could not be loaded from the hub \(ConnectionError\).*aime24\.jsonl"
    with pytest.raises(Unusable, match=said):
        load("aime24")


def test_tasks_are_generated_the_same_for_the_same_seed() -> None:
    pytest.importorskip("reasoning_gym")
    one = load("reasoning-gym:basic_arithmetic?size=5&seed=3")
    assert (one.name, len(one.items)) == ("basic_arithmetic", 5)
    assert one == load("reasoning-gym:basic_arithmetic?size=5&seed=3")
    assert one != load("reasoning-gym:basic_arithmetic?size=5&seed=4")
    with pytest.raises(Unusable, match="no_such_task"):
        load("reasoning-gym:no_such_task?size=2")

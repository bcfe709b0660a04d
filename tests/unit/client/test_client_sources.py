"""Question sets from files of every kind, presets, hubs out of reach, and a generator."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from ttrl_client.choices import lettered
from ttrl_client.datasets import Fields, load, load_joined
from ttrl_client.presets import PRESETS
from ttrl_client.sources import DatasetError

ROWS = [
    {"id": "a", "problem": "2 + 2?", "answer": 4, "level": 0},
    {"id": "b", "problem": "3 + 3?", "answer": 6, "level": 2},
]


def parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def comma_separated(path: Path) -> None:
    lines = [
        "id,problem,answer,level",
        *(f"{r['id']},{r['problem']},{r['answer']},{r['level']}" for r in ROWS),
    ]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")


WRITERS = {
    ".jsonl": lambda path: path.write_text("\n".join(map(json.dumps, ROWS))),
    ".json": lambda path: path.write_text(json.dumps({"data": ROWS})),
    ".csv": comma_separated,
    ".parquet": parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_questions_come_out_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"sums{kind}"
    WRITERS[kind](path)
    found = load(path)
    assert found.name == "sums"
    assert [(i.id, i.prompt, i.answer, i.group) for i in found.items] == [
        ("a", "2 + 2?", "4", "0"),
        ("b", "3 + 3?", "6", "2"),
    ]


def test_a_column_without_a_name_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"  # as pandas writes one
    path.write_text(",prompt,answer\n0,2 + 2?,4\n1,3 + 3?,6\n", encoding="utf-8")
    assert [item.group for item in load(path).items] == [None, None]


def test_fields_may_be_named_and_a_suffix_added(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text('{"q": "2 + 2?", "gold": "4", "topic": "sums"}\n')
    (item,) = load(path, fields=Fields("q", "gold", "topic", " Think.")).items
    assert (item.id, item.prompt, item.answer, item.group) == ("0", "2 + 2? Think.", "4", "sums")


@pytest.mark.parametrize(
    ("record", "right"),
    [
        ({"question": "Which?", "choices": ["red", "blue"], "answer": 1}, "B"),
        ({"question": "Which?", "choices": ["red", "blue"], "answer": "A"}, "A"),
        ({"question": "Which?", "options": ["red", "blue"], "answer": "blue"}, "B"),
        (
            {
                "question": "Which?",
                "choices": {"text": ["red", "blue"], "label": ["A", "B"]},
                "answer": "B",
            },
            "B",
        ),
        (
            {
                "question": "Which?",
                "choices": {"text": ["red", "blue"], "label": ["1", "2"]},
                "answerKey": "2",
            },
            "B",
        ),
        ({"question": "Which?", "options": {"A": "red", "B": "blue"}, "answer": "A"}, "A"),
    ],
)
def test_choices_are_laid_out_with_letters(
    tmp_path: Path, record: dict[str, Any], right: str
) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text(json.dumps(record))
    (item,) = load(path).items
    assert "A) red\nB) blue" in item.prompt
    assert item.answer == right


@pytest.mark.parametrize(("answer", "right"), [(2, "C"), ("2", "B"), (24, "C"), (0, "A")])
def test_a_number_is_a_place_also_among_choices_that_are_numbers(
    tmp_path: Path, answer: Any, right: str
) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_text(
        json.dumps(
            {"question": "What is 4!?", "choices": ["8", "2", "24", "120"], "answer": answer}
        )
    )
    assert load(path).items[0].answer == right


def test_right_and_wrong_answers_in_their_own_fields_are_shuffled_the_same_way_each_time(
    tmp_path: Path,
) -> None:
    record = {
        "Question": "Which?",
        "Correct Answer": "x",
        "Incorrect Answer 1": "y",
        "Incorrect Answer 2": "z",
    }
    path = tmp_path / "gpqa.jsonl"
    path.write_text("\n".join(json.dumps(record | {"id": n}) for n in range(20)))
    items = load(path).items
    assert [i.answer for i in items] == [i.answer for i in load(path).items]
    assert len({i.answer for i in items}) == 3
    for item in items:
        line = next(line for line in item.prompt.splitlines() if line.startswith(f"{item.answer})"))
        assert line.endswith(") x")


def test_the_answer_of_worked_solutions_is_what_follows_the_hashes(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    path.write_text(json.dumps({"question": "?", "answer": "2 + 2 = 4\n#### 4"}))
    assert load(path).items[0].answer == "4"


def test_letters_go_with_their_options() -> None:
    assert lettered("Which?", ["x", "y"], 1) == (
        "Which?\n\nA) x\nB) y\n\nAnswer with the letter of the right choice.",
        "B",
    )


def test_an_unknown_name_is_refused_with_the_presets() -> None:
    with pytest.raises(
        DatasetError, match="none of the presets aime24, amc, gpqa-diamond, gsm8k, math500"
    ):
        load("aime25")


class Hub(types.ModuleType):
    """Stands in for the ``datasets`` library."""

    def __init__(self, rows: list[dict[str, Any]] | None) -> None:
        super().__init__("datasets")
        self.rows, self.asked = rows, []  # type: ignore[var-annotated]

    def load_dataset(self, repository: str, config: str | None, split: str) -> list[dict[str, Any]]:
        self.asked.append((repository, config, split))
        if self.rows is None:
            raise ConnectionError("no route to the hub")
        return self.rows


def test_a_preset_brings_its_fields_and_the_papers_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub([{"problem": "2 + 2?", "answer": "4"}])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    found = load("math500")
    assert hub.asked == [("HuggingFaceH4/MATH-500", None, "test")]
    assert found.items[0].prompt.endswith("put your final answer within \\boxed{}.")
    assert found.preset == PRESETS["math500"]
    assert (PRESETS["aime24"].episodes, PRESETS["amc"].episodes, PRESETS["math500"].episodes) == (
        80,
        30,
        10,
    )


def test_a_hub_id_names_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub([{"question": "2 + 2?", "answer": "4"}])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert load("openai/gsm8k/main:train").name == "main"
    assert hub.asked == [("openai/gsm8k", "main", "train")]


def test_a_hub_out_of_reach_says_what_to_pass_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", Hub(None))
    with pytest.raises(
        DatasetError, match=r"could not be loaded from the hub \(ConnectionError\).*aime24\.jsonl"
    ):
        load("aime24")


def test_tasks_are_generated_the_same_for_the_same_seed() -> None:
    pytest.importorskip("reasoning_gym")
    one = load("reasoning-gym:basic_arithmetic?size=5&seed=3")
    assert (one.name, len(one.items)) == ("basic_arithmetic", 5)
    assert one == load("reasoning-gym:basic_arithmetic?size=5&seed=3")
    assert one != load("reasoning-gym:basic_arithmetic?size=5&seed=4")
    with pytest.raises(DatasetError, match="no_such_task"):
        load("reasoning-gym:no_such_task?size=2")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "c.jsonl",
            '{"question": "Which?", "choices": ["x", "y"], "answer": "z"}',
            "none of its 2 choices",
        ),
        ("c.csv", "id,prompt,answer\n1,What is 1,000 + 2?,1002\n", "quote commas"),
        ("c.jsonl", '{"prompt": "\\ud835", "answer": "1"}', "surrogate"),
    ],
)
def test_what_cannot_be_asked_as_it_stands_is_refused(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=says):
        load(tmp_path / name)


def test_files_that_number_their_questions_can_be_joined(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"prompt,answer\nWhat is {name}?,{name}\n")
    joined = load_joined([tmp_path / "a.csv", tmp_path / "b.csv"], "trained")
    assert [item.id for item in joined.items] == ["1-a-0", "2-b-0"]


def test_a_line_may_hold_other_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(
        json.dumps({"prompt": "a\u2028b", "answer": "1"}, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    assert load(path).items[0].prompt == "a\u2028b"

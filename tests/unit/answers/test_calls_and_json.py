"""When two samples do the same."""

from __future__ import annotations

import pytest

from ttrl_server.answers.actions import (
    agreement,
    call_key,
    calls_in,
    fields,
    json_key,
    json_value,
    majority,
    written,
)

TOOLS = {"weather", "add", "now"}


def key(*calls: tuple[str, str], ignored: tuple[str, ...] = ()) -> str | None:
    return call_key(calls, TOOLS, ignored)


def of(text: str) -> str | None:
    return json_key(json_value(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('{"a": 1}', '{"a": 1.0}'),
        ('{"a": 100}', '{"a": 1e2}'),
        ('{"a": 0}', '{"a": -0.00}'),
        ('{"a": "\\u00e9"}', '{"a": "é"}'),
        ('[{"x": [1, 2]}]', '[ {"x": [1.0, 20e-1]} ]'),
        ('{"a": 1, "a": 2}', '{"a": 2}'),  # as every JSON parser reads it
        ("1" + "0" * 5000, "1e5000"),
        ('{"big": 1e999999999}', '{"big": 10e999999998}'),
    ],
)
def test_the_same_json(one: str, other: str) -> None:
    assert of(one) == of(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": null}', "{}"),
        ('{"a": "Paris"}', '{"a": "paris"}'),
        ("[1, 2]", "[2, 1]"),
        ('{"a": {"b": 1}}', '{"a": 1, "b": 1}'),
        ('{"number": "1e0"}', "1"),
        ('{"a": 10}', '{"a": 1}'),
        ('{"a": 0.1}', '{"a": 0.10000000000000000001}'),
        ("{}", "[]"),
    ],
)
def test_other_json(one: str, other: str) -> None:
    assert None not in (of(one), of(other))
    assert of(one) != of(other)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": Infinity}', "null", "Sure: {}", "[" * 100_000],
)
def test_what_is_no_json_is_no_action(text: str) -> None:
    assert of(text) is None


def test_json_of_two_million_characters_is_not_read() -> None:
    assert of('"' + "x" * 2**21 + '"') is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("add", '{"a": 1, "b": 2}')], [("add", '{"b": 2.0, "a": 1}')]),
        ([("now", "")], [("now", "{}")]),
        (
            [("weather", '{"city": "Oslo"}'), ("add", '{"a": 1}')],
            [("add", '{"a": 1}'), ("weather", '{"city": "Oslo"}')],
        ),
    ],
)
def test_the_same_calls(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    assert key(*one) == key(*other) is not None


def test_other_calls() -> None:
    keys = [
        key(("add", '{"a": 1}')),
        key(("add", '{"a": 2}')),
        key(("weather", '{"a": 1}')),
        key(("add", '{"a": 1}'), ("add", '{"a": 1}')),  # twice is not once
        key(("add", '{"a": 1}'), ("now", "{}")),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "call", [("sing", "{}"), ("add", '{"a": 1'), ("add", "[1]"), ("add", "1"), ("ADD", "{}")]
)
def test_an_unknown_tool_or_broken_arguments_are_no_action(call: tuple[str, str]) -> None:
    assert key(call) is None
    assert key(("add", '{"a": 1}'), call) is None


def test_no_call_is_no_action() -> None:
    assert key() is None


def test_arguments_that_do_not_count() -> None:
    one, other = ("add", '{"a": 1, "note": "x"}'), ("add", '{"a": 1, "note": "y"}')
    assert key(one) != key(other)
    assert key(one, ignored=("note",)) == key(other, ignored=("note",))


def test_each_field_votes() -> None:
    texts = [
        '{"name": "Ada", "born": {"year": 1815, "month": 12}, "tags": ["x", "y"]}',
        '{"name": "Ada", "born": {"year": 1816}, "tags": ["x", "y"]}',
        '{"name": "Bob", "born": {"year": 1815.0}, "tags": ["y", "x"], "extra": 1}',
    ]
    samples = [fields(json_value(text)) for text in texts]
    wanted = majority(samples)
    assert wanted == fields(json_value('{"name":"Ada","born":{"year":1815},"tags":["x","y"]}'))
    assert [agreement(sample, wanted) for sample in samples] == [3 / 4, 2 / 3, 1 / 4]


def test_fields_of_a_bare_value_and_of_nothing() -> None:
    assert fields(json_value("3")) == fields(json_value("3.0"))
    assert fields({}) == {(): '{"object": {}}'}
    assert majority([]) == {}
    assert agreement({}, {}) == 0


def test_calls_can_be_written_as_an_answer_and_read_back() -> None:
    calls = [("add", '{"a": 1.0, "b": [2]}'), ("now", "")]
    assert call_key(calls_in(written(calls)), TOOLS) == call_key(calls, TOOLS)
    assert calls_in('{"name": "now", "arguments": {}}') == [("now", "{}")]


@pytest.mark.parametrize("text", ["7", "[1, 2]", '[{"name": "now"}]', "{", "[[", "(a)"])
def test_other_answers_are_no_calls(text: str) -> None:
    assert calls_in(text) == []

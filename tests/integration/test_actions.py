"""Votes on what a sample does: it calls a tool, or gives JSON; and thinks before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.integration.conftest import Gateway, Start, problem
from tests.integration.fake_vllm import Rendering


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


TOOLS = [tool("weather"), tool("add")]
OSLO, ROME = 'call weather {"city": "Oslo", "days": 1}', 'call weather {"city": "Rome"}'
OSLO_AGAIN = 'call weather {"days": 1.0, "city": "Oslo"}'


def saying(*texts: str) -> Callable[[int], str]:
    return lambda i: texts[i % len(texts)]


def acting(start: Start, *texts: str, **sections: Any) -> Gateway:
    return start(Rendering(text=saying(*texts)), **sections)


def asked(gateway: Gateway, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choice of the reply, and the evidence."""
    reply = gateway.ask("What is the weather in Oslo?", **({"tools": TOOLS} | more)).json()
    return reply["choices"][0], reply["ttrl"]


def rewarded(gateway: Gateway) -> list[tuple[str, float]]:
    """What each sample that is learned from said, and its reward."""
    (whole,) = gateway.lease().experiences
    texts = ["".join(map(chr, rollout.token_ids[:-1])) for rollout in whole.group.rollouts]
    return list(zip(texts, whole.rewards, strict=False))


def test_the_most_common_call_is_returned_whole_and_learned_from(start: Start) -> None:
    gateway = acting(start, OSLO, ROME, OSLO_AGAIN, "It rains.", OSLO, "call sing {}", OSLO, ROME)
    choice, evidence = asked(gateway)
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("c0", "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo", "days": 1}
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert evidence["majority_ratio"] == 4 / 8
    assert json.loads(evidence["answer"]) == [
        {"name": "weather", "arguments": {"city": "Oslo", "days": 1}}
    ]
    assert evidence["train"] == "queued"
    rewards = rewarded(gateway)
    assert rewards
    assert all(reward == ("Oslo" in said) for said, reward in rewards)


@pytest.mark.parametrize(
    ("said", "winner", "finish"),
    [
        ((OSLO, OSLO, ROME, ROME, 'call add {"a": 1}', "7", "7", "7"), OSLO, "tool_calls"),
        ((OSLO, OSLO, OSLO, "7", "7", "8", "9", "9.0"), "7", "stop"),
    ],
)
def test_it_is_voted_first_whether_to_call(
    start: Start, said: tuple[str, ...], winner: str, finish: str
) -> None:
    choice, evidence = asked(acting(start, *said))
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls", ())]
    told = [f"call {call['name']} {call['arguments']}" for call in calls] or [message["content"]]
    assert (told, choice["finish_reason"]) == ([winner], finish)
    assert evidence["majority_ratio"] == 2 / 8


def test_where_most_only_talk_one_of_them_is_returned(start: Start) -> None:
    gateway = acting(start, OSLO, "I cannot know.", "Hello!", "Look outside, I would say.")
    choice, evidence = asked(gateway)
    assert choice["message"]["content"][:5] in ("I can", "Hello", "Look ")
    assert (evidence["answer"], evidence["train"]) == (None, "unvotable")


def test_parallel_calls_have_no_order(start: Start) -> None:
    one, two = 'call add {"a": 1}', 'call weather {"city": "Oslo"}'
    gateway = acting(start, f"{one}\n{two}", f"{two}\n{one}", one, two)
    choice, evidence = asked(gateway)
    assert len(choice["message"]["tool_calls"]) == 2
    assert evidence["majority_ratio"] == 4 / 8


def test_a_given_label_may_be_a_call(start: Start) -> None:
    gateway = acting(start, OSLO, ROME)
    label = '{"name": "weather", "arguments": {"city": "Rome"}}'
    assert asked(gateway, ttrl={"label": label})[1]["train"] == "queued"
    rewards = rewarded(gateway)
    assert {reward for _, reward in rewards} == {0, 1}
    assert all(reward == (said == ROME) for said, reward in rewards)


def test_json_is_compared_by_value(start: Start) -> None:
    one, same, other = '{"a": 1, "b": "x"}', '{"b": "x", "a": 1.0}', '{"a": 2, "b": "x"}'
    gateway = acting(start, one, other, same, "no json")
    reply = gateway.ask("Give JSON", response_format={"type": "json_object"}).json()
    assert reply["choices"][0]["message"]["content"] in (one, same)
    assert reply["ttrl"]["majority_ratio"] == 4 / 8


@pytest.mark.parametrize(
    ("train", "kept"),
    [({}, "queued"), ({"algorithm": "gspo"}, "grammar"), ({"importance": "off"}, "grammar")],
)
def test_what_a_grammar_shaped_is_recorded_and_trained_on_where_each_token_is_weighed(
    start: Start, train: dict[str, Any], kept: str
) -> None:
    gateway = acting(start, '{"a": 1}', '{"a": 2}', '{"a": 1}', train=train)
    asked: dict[str, Any] = {"response_format": {"type": "json_object"}, "stop": ["\n"]}
    assert gateway.evidence("Give JSON", **asked)["train"] == kept
    if kept == "queued":
        (whole,) = gateway.lease().experiences
        assert whole.group.bent == {"grammar": {"json_object": True}, "stop": ["\n"]}


def test_fields_of_json_may_vote_each_for_itself(start: Start) -> None:
    """No reply has a majority, and every field has one."""
    said = ('{"a": 1, "b": 2, "c": 9}', '{"a": 1, "b": 8, "c": 3}', '{"a": 7, "b": 2, "c": 3}')
    gateway = acting(start, *said, '{"a": 1, "b": 2, "c": 3.0}', vote={"json": "fields"})
    reply = gateway.ask("Give JSON", response_format={"type": "json_object"}).json()
    assert reply["choices"][0]["message"]["content"] == '{"a": 1, "b": 2, "c": 3.0}'
    assert reply["ttrl"]["majority_ratio"] == 3 / 4
    rewards = rewarded(gateway)
    assert {text: round(reward, 2) for text, reward in rewards} == {
        said[0]: 0.67,
        said[1]: 0.67,
        said[2]: 0.67,
        '{"a": 1, "b": 2, "c": 3.0}': 1,
    }


def test_nothing_is_voted_from_the_thinking(start: Start) -> None:
    gateway = acting(start, "Is it 9? 9!</think>7", "9 it is</think>8", "9</think>7", "9")
    reply = gateway.ask("What is 3 + 4? Answer with just the number.").json()
    message = reply["choices"][0]["message"]
    assert (message["content"], reply["ttrl"]["answer"]) == ("7", "7")
    assert message["reasoning"] in ("Is it 9? 9!", "9")
    assert reply["ttrl"]["counts"] == {"7": 4, "8": 2, "9": 2}


def test_a_stream_gives_the_call_and_the_thinking(start: Start) -> None:
    gateway = acting(start, f"Rain?</think>{OSLO}", f"Rain?</think>{ROME}", f"Hm</think>{OSLO}")
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
    tools: Any = TOOLS
    messages: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
    stream = client.chat.completions.create(
        model="tiny", messages=messages, tools=tools, stream=True
    )
    deltas = [chunk.choices[0] for chunk in stream]
    (call,) = [c for d in deltas for c in d.delta.tool_calls or ()]
    assert call.function
    assert (call.index, call.function.name) == (0, "weather")
    assert json.loads(call.function.arguments or "") == {"city": "Oslo", "days": 1}
    thought = "".join(getattr(d.delta, "reasoning", None) or "" for d in deltas)
    assert thought in ("Rain?", "Hm")
    assert deltas[-1].finish_reason == "tool_calls"


def test_n_choices_are_the_winners_first(start: Start) -> None:
    gateway = acting(start, "7", "8", "7", "9", "7", "8", "7", "none")
    reply = gateway.ask("What is 3 + 4?", n=6).json()
    said = [choice["message"]["content"] for choice in reply["choices"]]
    assert said == ["7", "7", "7", "7", "8", "8"]
    assert [choice["index"] for choice in reply["choices"]] == list(range(6))
    assert reply["usage"]["completion_tokens"] == 6 * 2
    assert reply["ttrl"]["majority_ratio"] == 4 / 8


def test_n_choices_are_all_drawn(start: Start) -> None:
    """However soon the vote is decided, and however many votes the server takes by itself."""
    gateway = acting(start, "7", vote={"samples": 8, "wave": 2})
    for count in (7, 8, 11):
        reply = gateway.ask(f"What is {count} - 3?", n=count).json()
        assert len(reply["choices"]) == count
    # An open question, where the first wave is not votable.
    gateway.engine.text = lambda i: f"Once upon a time there was a king, {i} years old, who …"
    assert len(gateway.ask("Tell me a story", n=5).json()["choices"]) == 5
    assert problem(gateway.ask(n=9, ttrl={"samples": 8}), "param") == (400, "ttrl.samples")


def test_a_stream_of_n_choices_keeps_them_apart(start: Start) -> None:
    gateway = acting(start, "7", "8", "7", "7", "7", "7", "7", "8")
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "What is 3 + 4?"}]
    stream = client.chat.completions.create(model="tiny", messages=messages, n=7, stream=True)
    said: dict[int, str] = {}
    ended = []
    for chunk in stream:
        for choice in chunk.choices:
            said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
            ended += [choice.index] * (choice.finish_reason == "stop")
    assert (list(said.values()), ended) == (["7"] * 6 + ["8"], list(range(7)))


def test_a_stream_may_begin_with_the_first_sample_as_reasoning(start: Start) -> None:
    gateway = acting(start, "8", *["7"] * 7, vote={"stream": "first"})
    shown: list[bool] = []
    gateway.engine.held = lambda i: i > 3 and not shown
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "What is 3 + 4?"}]
    stream = client.chat.completions.create(model="tiny", messages=messages, stream=True)
    thought = said = ""
    for chunk in stream:
        delta = chunk.choices[0].delta
        thought += getattr(delta, "reasoning", None) or ""
        said += delta.content or ""
        if thought.strip():
            shown.append(True)  # only now the other samples come
    assert (thought.strip()[0] in "78", said) == (True, "7")


@pytest.mark.parametrize("most", [None, 0, 3])
def test_the_chosen_samples_log_probabilities(start: Start, most: int | None) -> None:
    gateway = acting(start, "12", "13", "12", "12")
    reply = gateway.ask("What is 3 * 4?", logprobs=True, top_logprobs=most).json()
    (choice,) = reply["choices"]
    content = choice["logprobs"]["content"]
    assert ["".join(token["token"] for token in content)] == [choice["message"]["content"]]
    assert [len(token["top_logprobs"]) for token in content] == [most or 0] * 3
    plain = gateway.ask("What is 3 * 5?").json()["choices"][0]
    assert plain["logprobs"] is None


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": 3}, "tools"),
        ({"tools": [3]}, "tools[0]"),
        ({"tools": [TOOLS[0], "weather"]}, "tools[1]"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_what_is_no_tool_is_refused(start: Start, given: dict[str, Any], param: str) -> None:
    gateway = acting(start, "7")
    assert problem(gateway.ask(**given), "param") == (400, param)
    assert "/v1/chat/completions/render" not in gateway.engine.paths()[1:]

"""Votes in the dialects of Messages and Responses, as their own clients see them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import Rendering
from tests.integration.test_actions import OSLO, OSLO_AGAIN, ROME, TOOLS, saying

WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
SUM, RAIN = "What is 3 + 4? Answer with just the number.", "What is the weather in Oslo?"
THOUGHTS = "Three and four.</think>"


def answering(start: Start, *texts: str, **sections: Any) -> Gateway:
    return start(Rendering(text=saying(*texts)), **sections)


def messages_client(gateway: Gateway) -> Any:
    return anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0)


def openai_client(gateway: Gateway) -> Any:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


# ---------------------------------------------------------------- Messages


@pytest.mark.parametrize("streaming", [False, True])
def test_a_message_is_voted_on(start: Start, streaming: bool) -> None:
    gateway = answering(start, f"{THOUGHTS}7", "8", f"{THOUGHTS}7", f"{THOUGHTS}7")
    client = messages_client(gateway)
    if streaming:
        with client.messages.stream(**asking(SUM)) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asking(SUM))
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.content[0].thinking, message.content[1].text) == ("Three and four.", "7")
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "tiny")
    assert message.usage.output_tokens == len(f"{THOUGHTS}7") + 1
    assert message.id.startswith("msg_")
    if not streaming:
        assert (message.ttrl["answer"], message.ttrl["majority_ratio"]) == ("7", 6 / 8)
    assert gateway.status()["groups"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_is_used_by_vote(start: Start, streaming: bool) -> None:
    gateway = answering(start, OSLO, ROME, OSLO_AGAIN, OSLO)
    client, given = messages_client(gateway), asking(RAIN, tools=[WEATHER])
    if streaming:
        with client.messages.stream(**given) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**given)
    (block,) = message.content
    assert (block.type, block.name, block.id) == ("tool_use", "weather", "c0")
    assert block.input == {"city": "Oslo", "days": 1}
    assert message.stop_reason == "tool_use"


def test_the_turn_after_a_tool_is_a_question_of_its_own(start: Start) -> None:
    gateway = answering(start, "It is 7 degrees.", "It is 9 degrees.", "7 degrees", "7")
    asked = asking("How many degrees are there in Oslo? Answer with just the number.")
    use = {"type": "tool_use", "id": "c0", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "c0", "content": "7 C, dry"}
    asked["messages"] += [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    said = gateway.http.post("/v1/messages", json=asked | {"tools": [WEATHER]}).json()
    assert said["ttrl"]["majority_ratio"] == 6 / 8
    *_, body = (each for path, each in gateway.engine.seen if path == "/v1/messages/render")
    assert body["messages"] == asked["messages"]
    drawn = [each for path, each in gateway.engine.seen if path == "/inference/v1/generate"]
    assert {each["sampling_params"]["max_tokens"] for each in drawn[1:]} == {64}


def test_more_tokens_than_fit_are_as_many_as_fit(start: Start) -> None:
    """Claude Code asks for 32,000, whatever the model's context."""
    gateway = answering(start, "7")
    asked = asking(SUM) | {"max_tokens": 32_000}
    assert gateway.http.post("/v1/messages", json=asked).json()["ttrl"]["answer"] == "7"
    *_, drawn = (each for path, each in gateway.engine.seen if path == "/inference/v1/generate")
    assert 100 < drawn["sampling_params"]["max_tokens"] < 128


def test_errors_of_messages_have_their_own_form(start: Start) -> None:
    gateway = answering(start, "7", api={"keys": ["sk-one"]})
    client = anthropic.Anthropic(base_url=gateway.url, api_key="sk-two", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.messages.create(**asking(SUM))
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "authentication_error"
    client = anthropic.Anthropic(base_url=gateway.url, api_key="sk-one", max_retries=0)
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(**asking(SUM), extra_body={"temperature": 7})
    body: Any = wrong.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**asking(SUM) | {"model": "gpt-9"})


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tools": [{"type": "web_search_20260101", "name": "web_search"}]}, "tools"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}
                ]
            },
            "messages",
        ),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_messages_that_cannot_be_voted_on_pass_through(
    start: Start, more: dict[str, Any], why: str
) -> None:
    gateway = answering(start, "7")
    reply = gateway.http.post("/v1/messages", json=asking(SUM) | more)
    assert reply.headers.get("x-ttrl-unvoted") == why
    assert gateway.engine.paths()[-1] == "/v1/messages"


def test_without_render_routes_messages_pass_through(gateway: Gateway) -> None:
    reply = gateway.http.post("/v1/messages", json=asking(SUM))
    assert reply.headers["x-ttrl-unvoted"] == "messages"


# ---------------------------------------------------------------- Responses


@pytest.mark.parametrize("streaming", [False, True])
def test_a_response_is_voted_on(start: Start, streaming: bool) -> None:
    gateway = answering(start, f"{THOUGHTS}7", "8", f"{THOUGHTS}7", f"{THOUGHTS}7")
    client = openai_client(gateway)
    if streaming:
        with client.responses.stream(model="tiny", input=SUM) as stream:
            response = stream.get_final_response()
    else:
        response = client.responses.create(model="tiny", input=SUM, instructions="Be short.")
        assert response.instructions == "Be short."
    assert response.output_text == "7"
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "Three and four."
    assert (response.status, response.model, response.object) == ("completed", "tiny", "response")
    assert response.usage.output_tokens == len(f"{THOUGHTS}7") + 1
    assert response.ttrl["majority_ratio"] == 6 / 8


@pytest.mark.parametrize("streaming", [False, True])
def test_a_function_is_called_by_vote(start: Start, streaming: bool) -> None:
    gateway = answering(start, OSLO, ROME, OSLO_AGAIN, OSLO)
    client = openai_client(gateway)
    given: dict[str, Any] = {"model": "tiny", "input": RAIN, "tools": [FUNCTION]}
    if streaming:
        with client.responses.stream(**given) as stream:
            response = stream.get_final_response()
    else:
        response = client.responses.create(**given)
    (call,) = response.output
    assert (call.type, call.name, call.call_id) == ("function_call", "weather", "c0")
    assert json.loads(call.arguments) == {"city": "Oslo", "days": 1}


def test_the_events_of_a_response_are_numbered(start: Start) -> None:
    gateway = answering(start, "7")
    stream = openai_client(gateway).responses.create(model="tiny", input=SUM, stream=True)
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]


def test_a_response_with_a_format_is_json(start: Start) -> None:
    gateway = answering(start, '{"a": 7}', '{"a": 7.0}', '{"a": 8}', "seven")
    text = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    response = openai_client(gateway).responses.create(model="tiny", input=SUM, text=text)
    assert json.loads(response.output_text) == {"a": 7}
    assert response.ttrl["majority_ratio"] == 4 / 8


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
    ],
)
def test_responses_that_cannot_be_voted_on_pass_through(
    start: Start, more: dict[str, Any], why: str
) -> None:
    gateway = answering(start, "7")
    reply = gateway.http.post("/v1/responses", json={"model": "tiny", "input": SUM} | more)
    assert reply.headers.get("x-ttrl-unvoted") == why
    assert gateway.engine.paths()[-1] == "/v1/responses"


# ---------------------------------------------------------------- all


def test_feedback_takes_the_ids_of_every_dialect(start: Start) -> None:
    gateway = answering(start, "7", "8", "7", "7", vote={"samples": 8})
    routes = {
        "/v1/messages": asking(SUM),
        "/v1/responses": {"model": "tiny", "input": f"Now: {SUM}"},
        "/v1/chat/completions": asking(f"And now, {SUM}", tools=TOOLS),
    }
    for path, given in routes.items():
        said = gateway.http.post(path, json=given).json()
        praised = gateway.http.post("/v1/feedback", json={"id": said["id"], "score": 1})
        assert praised.status_code == 200, path

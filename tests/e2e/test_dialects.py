"""What a client gets for a voted request and for one that plain vLLM answers, field by field."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import NAME, ROOT, Server

TEMPLATE = ROOT / "experiments" / "tools.jinja"
PARSERS = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
PARSERS += ["--reasoning-parser", "qwen3", "--chat-template", str(TEMPLATE)]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
OURS = {"ttrl", "id", "created", "created_at", "system_fingerprint", "call_id", "signature"}
OURS |= {"temperature", "top_k", "usage"}
"""Fields that two requests do not share."""
OURS |= {"logprob", "top_logprobs"}
"""Log-probabilities are under the sampling distribution here, which has one token at top_k 1."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("dialects")
    server = Server(folder, {"--train.enabled": False, "--engine.extra-args": json.dumps(PARSERS)})
    server.start()
    yield server
    assert server.stop() in (0, -signal.SIGTERM)


def plain(value: Any) -> Any:
    """The value without what two requests never share, and without fields that are null."""
    if isinstance(value, dict):
        left = {name: plain(each) for name, each in value.items() if name not in OURS}
        return {name: each for name, each in left.items() if each is not None}
    return [plain(each) for each in value] if isinstance(value, list) else value


WEATHER = "The weather in a city"
STRICT = {"strict": True}
"""Else vLLM's grammar takes any JSON for arguments, and a weak model never ends it."""
CHAT_TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": WEATHER, "parameters": SCHEMA} | STRICT,
    }
]
NAMED = {"type": "function", "function": {"name": "weather"}}
TOOLS = [{"name": "weather", "description": WEATHER, "input_schema": SCHEMA} | STRICT]
FUNCTIONS = [{"type": "function", "name": "weather", "parameters": SCHEMA} | STRICT]
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TEXT = {"chat_template_kwargs": {"enable_thinking": False}}
ASKED = [{"role": "user", "content": "What is the weather in Oslo?"}]
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CASES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": ASKED, "max_tokens": 24} | TEXT),
    (CHAT, {"messages": ASKED, "max_tokens": 24}),  # all of it is thought
    (CHAT, {"messages": ASKED, "max_tokens": 48, "tools": CHAT_TOOLS} | TEXT),
    (CHAT, {"messages": ASKED, "max_tokens": 48, "tools": CHAT_TOOLS, "tool_choice": NAMED} | TEXT),
    (
        CHAT,
        {"messages": ASKED, "max_tokens": 64, "tools": CHAT_TOOLS, "tool_choice": "required"}
        | TEXT,
    ),
    (CHAT, {"messages": ASKED, "max_tokens": 48, "response_format": FORMAT} | TEXT),
    (CHAT, {"messages": ASKED, "max_tokens": 8, "logprobs": True, "top_logprobs": 2} | TEXT),
    (CHAT, {"messages": ASKED, "max_tokens": 24, "stop": ["weather"]} | TEXT),
    (MESSAGES, {"messages": ASKED, "max_tokens": 24} | TEXT),
    (MESSAGES, {"messages": ASKED, "max_tokens": 24}),
    (
        MESSAGES,
        {"messages": ASKED, "max_tokens": 64, "tools": TOOLS, "tool_choice": {"type": "any"}}
        | TEXT,
    ),
    (MESSAGES, {"messages": ASKED, "max_tokens": 24, "stop_sequences": ["weather"]} | TEXT),
    (RESPONSES, {"input": ASKED, "max_output_tokens": 24} | TEXT),
    (RESPONSES, {"input": "What is the weather in Oslo?", "max_output_tokens": 24}),
    (
        RESPONSES,
        {"input": ASKED, "max_output_tokens": 64, "tools": FUNCTIONS, "tool_choice": "required"}
        | TEXT,
    ),
]


@pytest.mark.parametrize(("route", "given"), CASES, ids=lambda value: str(value)[:40])
def test_a_voted_reply_has_the_form_of_vllms(
    server: Server, route: str, given: dict[str, Any]
) -> None:
    """At top_k 1 every sample says what a greedy one does."""
    base = {"model": f"{NAME}@base"} | given
    passed = server.http.post(route, json=base | {"temperature": 0})
    voted = server.http.post(route, json=base | {"top_k": 1, "ttrl": {"samples": 4}})
    assert passed.status_code == voted.status_code == 200, (passed.text, voted.text)
    assert "ttrl" in voted.json()
    assert "ttrl" not in passed.json()
    assert plain(voted.json()) == plain(passed.json())


def events(body: str) -> list[dict[str, Any]]:
    lines = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def said(route: str, told: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client puts together from the events of a stream."""
    found: dict[str, Any] = {"types": {each["type"] for each in told if "type" in each}}
    for each in told:
        for choice in each.get("choices", ()):
            delta = choice["delta"]
            for name in ("content", "reasoning"):
                found[name] = found.get(name, "") + (delta.get(name) or "")
            for call in delta.get("tool_calls") or ():
                function = call["function"]
                at = found.setdefault(call["index"], {"name": None, "arguments": ""})
                at["name"] = function.get("name") or at["name"]
                at["arguments"] += function.get("arguments") or ""
            found["finish"] = choice["finish_reason"] or found.get("finish")
        if route != CHAT and isinstance(delta := each.get("delta"), str):
            found[each["type"]] = found.get(each["type"], "") + delta
        elif route != CHAT and isinstance(delta, dict):
            for name, text in delta.items():
                if isinstance(text, str) and name not in ("type", "signature"):
                    found[name] = found.get(name, "") + text
    return {name: valued(value) for name, value in found.items()}


def valued(value: Any) -> Any:
    """Arguments as their value: vLLM writes them anew where it does not stream."""
    if isinstance(value, dict) and "arguments" in value:
        return value | {"arguments": valued(value["arguments"])}
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


# A call that is cut off: vLLM streams what there is of it, and in one piece calls it text.
STREAMED = [case for case in CASES if case[1].get("tool_choice") != NAMED]


@pytest.mark.parametrize(("route", "given"), STREAMED, ids=lambda value: str(value)[:40])
def test_a_voted_stream_says_what_vllms_does(
    server: Server, route: str, given: dict[str, Any]
) -> None:
    base = {"model": f"{NAME}@base", "stream": True} | given
    passed = server.http.post(route, json=base | {"temperature": 0})
    voted = server.http.post(route, json=base | {"top_k": 1, "ttrl": {"samples": 4}})
    assert said(route, events(voted.text)) == said(route, events(passed.text))


def test_a_tool_is_called_and_learned_of(server: Server) -> None:
    body = {"model": NAME, "messages": ASKED, "tools": CHAT_TOOLS, "tool_choice": "required"}
    reply = server.http.post(CHAT, json=body | TEXT | {"max_tokens": 64}).json()
    (choice,) = reply["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "weather")
    assert json.loads(reply["ttrl"]["answer"])[0]["name"] == "weather"


def test_messages_are_counted(server: Server) -> None:
    body = {"model": NAME, "messages": ASKED}
    reply = server.http.post("/v1/messages/count_tokens", json=body)
    assert reply.json()["input_tokens"] > 0


def test_bad_tools_are_refused_as_vllm_refuses_them(server: Server, tmp_path: Path) -> None:
    body = {"model": NAME, "messages": ASKED, "tools": CHAT_TOOLS, "tool_choice": "sing"}
    reply = server.http.post(CHAT, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]

"""The Responses dialect (``/v1/responses``): its requests in the words of a chat request, its
replies and its events, in the form that vLLM gives them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ttrl_server.answering.pipeline import Answer
from ttrl_server.api import body, shapes
from ttrl_server.api.sse import Event
from ttrl_server.types import Question

ECHOED: dict[str, Any] = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_tool_calls": None,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the request that are in its response too, and what stands there without them."""


def as_chat(data: dict[str, Any]) -> dict[str, Any]:
    """The request with a chat request's names for its tools, format and length; whatever else it
    has is left as it is."""
    chat = {name: value for name, value in data.items() if name not in ("text", "reasoning")}
    chat["max_tokens"] = chat.pop("max_output_tokens", None)
    if tools := body.array(data, "tools"):
        chat["tools"] = [_function(tool) for tool in tools]
    choice = data.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    text = data.get("text")
    if isinstance(text, dict):
        chat["verbosity"] = text.get("verbosity")
        if isinstance(text.get("format"), dict):
            chat["response_format"] = text["format"]
    reasoning = data.get("reasoning")
    if isinstance(reasoning, dict):
        chat["reasoning_effort"] = reasoning.get("effort")
    return chat


def _function(tool: Any) -> Any:
    """A function as a chat has it; a tool of the provider's own is none, and stays what it is."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    about = {name: tool.get(name) for name in ("name", "description", "parameters")}
    return {"type": "function", "function": about}


def response(q: Question, answer: Answer) -> dict[str, Any]:
    """The whole ``response``, with the ``ttrl`` object."""
    cut = answer.chosen.finish_reason == "length"
    reason = {"reason": "max_output_tokens"} if cut else None
    ended = {"status": "incomplete" if cut else "completed", "incomplete_details": reason}
    tokens = shapes.usage(answer, 1)
    usage = {
        "input_tokens": tokens["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens["total_tokens"],
    }
    more = {"output": _items(answer), "usage": usage, "ttrl": shapes.evidence(answer)}
    return _begun(q, answer) | ended | more


def events(q: Question, answer: Answer) -> Iterator[Event]:
    """The events of a stream, in order and numbered; the last has the whole response."""
    for number, (name, data) in enumerate(_events(q, answer)):
        yield name, data | {"sequence_number": number}


def _events(q: Question, answer: Answer) -> Iterator[Event]:
    begun = _begun(q, answer)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    whole = response(q, answer)
    for index, item in enumerate(whole["output"]):
        at = {"output_index": index}
        called = item["type"] == "function_call"
        empty: dict[str, Any] = {"arguments": ""} if called else {"content": []}
        running = item | empty | {"status": "in_progress"}
        yield "response.output_item.added", at | {"item": running}
        yield from _inside(item, at | {"item_id": item["id"]})
        yield "response.output_item.done", at | {"item": item}
    yield "response.completed", {"response": whole}  # also one cut off, as vLLM has it


def _inside(item: dict[str, Any], at: dict[str, Any]) -> Iterator[Event]:
    """The events between an item's first and last."""
    if item["type"] == "function_call":
        for piece in shapes.pieces(item["arguments"]):
            yield "response.function_call_arguments.delta", at | {"delta": piece}
        given = {"name": item["name"], "arguments": item["arguments"]}
        yield "response.function_call_arguments.done", at | given
        return
    (part,), inside = item["content"], at | {"content_index": 0}
    kind, text = part["type"], part["text"]
    more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
    yield "response.content_part.added", inside | {"part": part | {"text": ""}}
    for piece in shapes.pieces(text):
        yield f"response.{kind}.delta", inside | {"delta": piece} | more
    yield f"response.{kind}.done", inside | {"text": text} | more
    yield "response.content_part.done", inside | {"part": part}


def _begun(q: Question, answer: Answer) -> dict[str, Any]:
    """The response before it has an output."""
    repeated = ("metadata", "user", "service_tier")
    given = q.request | {name: q.chat[name] for name in repeated if name in q.chat}
    about: dict[str, Any] = {"id": f"resp_{answer.group.question_id}", "object": "response"}
    about |= {"created_at": int(time.time()), "model": q.model, "status": "in_progress"}
    about |= {name: given.get(name, value) for name, value in ECHOED.items()}
    if not given.get("tools"):
        about["tool_choice"] = "none"
    about["temperature"] = q.sampling.temperature
    about["max_output_tokens"] = q.sampling.max_tokens
    return about | {"incomplete_details": None, "output": [], "usage": None, "top_logprobs": None}


def _items(answer: Answer) -> list[dict[str, Any]]:
    message, own = shapes.message(answer.chosen), answer.group.question_id
    items: list[dict[str, Any]] = []
    about: dict[str, Any]
    if thought := message.get("reasoning"):
        content = [{"type": "reasoning_text", "text": thought}]
        about = {"summary": [], "content": content, "encrypted_content": None}
        items.append({"id": f"rs_{own}", "type": "reasoning", "status": None} | about)
    calls = message.get("tool_calls") or ()
    if message.get("content") or not (calls or items):
        text = message.get("content") or ""
        said: dict[str, Any] = {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": None,
        }
        about = {"role": "assistant", "content": [said]}
        items.append({"id": f"msg_{own}", "type": "message", "status": "completed"} | about)
    for number, call in enumerate(calls):
        about = {"call_id": call["id"], "status": "completed", "namespace": None}
        about |= {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        items.append({"id": f"fc_{own}{number}", "type": "function_call"} | about)
    return items

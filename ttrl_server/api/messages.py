"""The Messages dialect (``/v1/messages``): its requests in the words of a chat request, its replies
and its events, in the form that vLLM gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ttrl_server.answering.pipeline import Answer
from ttrl_server.api import body, shapes
from ttrl_server.api.sse import Event
from ttrl_server.types import Question, Rollout

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
"""Values of tool_choice, in a chat's words."""


def as_chat(data: dict[str, Any]) -> dict[str, Any]:
    """The request with a chat request's names for its tools, format and stop strings; whatever else
    it has is left as it is."""
    chat = {name: value for name, value in data.items() if name != "stop_sequences"}
    if data.get("stop_sequences"):
        chat["stop"] = data["stop_sequences"]
    if tools := body.array(data, "tools"):
        chat["tools"] = [_function(tool) for tool in tools]
    choice = data.get("tool_choice")
    if isinstance(choice, dict):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        chat["tool_choice"] = CHOICES.get(str(choice.get("type")), named)
        if choice.get("disable_parallel_tool_use") is True:
            chat["parallel_tool_calls"] = False
    config = data.get("output_config")
    if isinstance(config, dict) and isinstance(config.get("format"), dict):
        chat["response_format"] = config["format"]
    return chat


def _function(tool: Any) -> Any:
    """A tool as a chat's function; a tool of the provider's own is none, and stays what it is."""
    if not isinstance(tool, dict) or "input_schema" not in tool:
        return tool
    about = {"name": tool.get("name"), "description": tool.get("description")}
    return {"type": "function", "function": about | {"parameters": tool["input_schema"]}}


def response(q: Question, answer: Answer) -> dict[str, Any]:
    """The whole ``message``, with the ``ttrl`` object."""
    reason, sequence = _stopped(answer.chosen)
    whole = _head(q, answer) | {"content": _blocks(answer), "stop_reason": reason}
    whole |= {"stop_sequence": sequence} if sequence else {}
    return whole | {"usage": _usage(answer), "ttrl": shapes.evidence(answer)}


def events(q: Question, answer: Answer) -> Iterator[Event]:
    """The events of a stream, in order; ``message_delta`` has the ``ttrl`` object."""
    begun = _head(q, answer) | {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = _usage(answer)
    yield "message_start", {"message": begun | {"usage": usage | {"output_tokens": 0}}}
    for index, block in enumerate(_blocks(answer)):
        kind, at = block["type"], {"index": index}
        name = {"tool_use": "input"}.get(kind, kind)
        empty: Any = {} if kind == "tool_use" else ""
        first = {key: value for key, value in block.items() if key != "signature"}
        yield "content_block_start", at | {"content_block": first | {name: empty}}
        delta, field = {
            "tool_use": ("input_json_delta", "partial_json"),
            "thinking": ("thinking_delta", "thinking"),
        }.get(kind, ("text_delta", "text"))
        said = json.dumps(block[name]) if kind == "tool_use" else block[name]
        for piece in shapes.pieces(said):
            yield "content_block_delta", at | {"delta": {"type": delta, field: piece}}
        if kind == "thinking":
            signed = {"type": "signature_delta", "signature": block["signature"]}
            yield "content_block_delta", at | {"delta": signed}
        yield "content_block_stop", at
    reason, sequence = _stopped(answer.chosen)
    ended = {"stop_reason": reason, "stop_sequence": sequence}
    yield "message_delta", {"delta": ended, "usage": usage, "ttrl": shapes.evidence(answer)}
    yield "message_stop", {}


def _head(q: Question, answer: Answer) -> dict[str, Any]:
    own = {"id": f"msg_{answer.group.question_id}", "type": "message", "role": "assistant"}
    return own | {"model": q.model}


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    message, blocks = shapes.message(answer.chosen), []
    if thought := message.get("reasoning"):
        signature = answer.group.question_id  # opaque to clients; they send it back
        blocks.append({"type": "thinking", "thinking": thought, "signature": signature})
    if message.get("content"):
        blocks.append({"type": "text", "text": message["content"]})
    for call in message.get("tool_calls") or ():
        given = {"name": call["function"]["name"], "input": _input(call["function"]["arguments"])}
        blocks.append({"type": "tool_use", "id": call["id"]} | given)
    return blocks or [{"type": "text", "text": ""}]


def _input(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:  # the vote's winner is whole; another sample may be cut
        return {}


def _stopped(rollout: Rollout) -> tuple[str, str | None]:
    if rollout.finish_reason == "length":
        return "max_tokens", None
    if rollout.calls:
        return "tool_use", None
    string = rollout.stop_reason
    return ("stop_sequence", string) if isinstance(string, str) else ("end_turn", None)


def _usage(answer: Answer) -> dict[str, int]:
    tokens = shapes.usage(answer, 1)
    return {"input_tokens": tokens["prompt_tokens"], "output_tokens": tokens["completion_tokens"]}

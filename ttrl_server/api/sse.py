"""Streams a voted answer: comments while the vote runs, then the chosen response in chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ttrl_server.answering.flights import Progress
from ttrl_server.answering.pipeline import Answer
from ttrl_server.api import shapes
from ttrl_server.api.envelope import describe
from ttrl_server.types import Question

PIECE = 48
"""Characters of text in one chunk."""
HEARTBEAT_S = 1.0


class Closing(StreamingResponse):
    """A stream that always calls ``close`` at its end, even when nobody reads its first byte."""

    def __init__(self, *args: Any, close: Callable[[], Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


async def voted(
    question: Question, task: asyncio.Task[Answer], progress: Progress, *, include_usage: bool
) -> AsyncIterator[bytes]:
    """The events of one voted answer. The caller cancels ``task``."""
    while not task.done():
        leader = "" if progress.leader is None else f", leader {progress.leader:.2f}"
        yield f": {progress.drawn}/{progress.samples} samples{leader}\n\n".encode()
        await asyncio.wait({task}, timeout=HEARTBEAT_S)
    try:
        answer = task.result()
    except Exception as error:
        yield _event(describe(error)[0])
        return
    for chunk in chunks(question, answer, include_usage=include_usage):
        yield _event(chunk)
    yield b"data: [DONE]\n\n"


def chunks(question: Question, answer: Answer, *, include_usage: bool) -> list[dict[str, Any]]:
    """The chosen response as OpenAI's chunks; the last content chunk has ``ttrl``."""
    chat = question.kind == "chat"
    head = shapes.head(question, "chat.completion.chunk" if chat else "text_completion")

    def chunk(text: str | None, finish: str | None, **more: Any) -> dict[str, Any]:
        delta: dict[str, Any] = {} if text is None else {"content": text}
        choice: dict[str, Any] = {"delta": delta} if chat else {"text": text or ""}
        choice |= {"index": 0, "logprobs": None, "finish_reason": finish}
        return head | {"choices": [choice]} | more

    text = answer.chosen.text
    events = [chunk(text[i : i + PIECE], None) for i in range(0, len(text), PIECE)]
    if chat:
        first = chunk("", None)
        first["choices"][0]["delta"]["role"] = "assistant"
        events.insert(0, first)
    events.append(chunk(None, shapes.finish(answer), ttrl=shapes.evidence(answer)))
    if include_usage:
        events.append(head | {"choices": [], "usage": shapes.usage(answer)})
    return events


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"

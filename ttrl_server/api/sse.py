"""Streams a voted answer: comments while the vote runs, then the chosen response in events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ttrl_server.answering.flights import Progress
from ttrl_server.answering.pipeline import Answer
from ttrl_server.api.envelope import describe
from ttrl_server.types import Rollout

Event = tuple[str, dict[str, Any]]
"""Name and data of an event; OpenAI's chunks have no name."""
DONE: Event = ("", {})
"""The end of a stream in OpenAI's form."""
UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of every stream: nginx would keep it back."""
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
    task: asyncio.Task[Answer],
    progress: Progress,
    events: Callable[[Answer, bool], Iterable[Event]],
    problem: Callable[[dict[str, Any]], Iterable[Event]],
    preview: Callable[[Rollout], Iterable[Event]] | None = None,
) -> AsyncIterator[bytes]:
    """The stream of one voted answer, in a dialect's ``events``, which are told whether there was a
    ``preview`` of the first sample; a late failure is an event too, as ``problem`` has it. The
    caller cancels ``task``.

    A comment ends with its line: a blank line after it is an empty event to some parsers
    (openai-go)."""
    begun = False
    while not task.done():
        if preview and progress.first and not begun:
            begun = True
            for name, data in preview(progress.first):
                yield _written(name, data)
        leader = "" if progress.leader is None else f", leader {progress.leader:.2f}"
        yield f": {progress.drawn}/{progress.samples} samples{leader}\n".encode()
        await asyncio.wait({task}, timeout=HEARTBEAT_S)
    try:
        answer = task.result()
    except Exception as error:
        for name, data in problem(describe(error)[0]):
            yield _written(name, data)
        return
    for name, data in events(answer, begun):
        yield _written(name, data)


def _written(name: str, data: dict[str, Any]) -> bytes:
    """The event in the form of server-sent events."""
    if (name, data) == DONE:
        return b"data: [DONE]\n\n"
    text = json.dumps({"type": name} | data if name else data, ensure_ascii=False)
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {text}\n\n".encode("utf-8", "replace")

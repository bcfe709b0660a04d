"""Passes unvoted requests to vLLM on a held version, and the response back byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ttrl_server.answering.room import Room
from ttrl_server.api.sse import UNBUFFERED
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import EngineError

ALLOWED = (
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/score",
    "/v1/rerank",
    "/v1/classify",
    "/pooling",
    "/tokenize",
    "/detokenize",
)
"""vLLM's routes for clients, all POST with a ``model`` (docs/design.md, rule 10)."""

NOT_FORWARDED = ("ttrl", "store", "priority")
"""Our own fields, and ``priority``, with which a client could overtake every vote."""

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

ONE_PIECE = 2**20
"""A response of at most so many bytes is read completely before it is sent on."""

UNHEARD_S = 0.2
"""Only after this time a second task listens whether the client disconnects."""

_A_NAME = re.compile(r"[a-z_]{1,64}")
"""Field names that may be sent back in a header."""

_SENT_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_RETURNED_HEADERS = ("content-type", "retry-after")


@dataclass
class Relay(Response):
    """The engine's response. Room and hold end at its last byte, or when the client disconnects."""

    data: dict[str, Any]
    fleet: Fleet
    room: Room
    version: int | None
    samples: int = 1
    unvoted: str = ""
    """Why a completion was not voted on; the header ``x-ttrl-unvoted`` tells the client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with while_there(receive), self.room.admit(self.samples):
            with self.fleet.hold(self.version) as hold:
                ours = {"x-ttrl-adapter": hold.model}
                if self.unvoted:
                    named = _A_NAME.fullmatch(self.unvoted)
                    ours["x-ttrl-unvoted"] = self.unvoted if named else "a field"
                data = _fitting(self.data, hold.replica.client.context)
                sent = _encode(data, hold.model), _SENT_HEADERS
                reply = await hold.replica.client.stream(scope["method"], scope["path"], *sent)
                try:
                    await _send_on(reply, ours, send)
                finally:
                    # After the last byte the connection goes back to the pool; before that it
                    # is closed, and vLLM aborts the request.
                    if reply.content.at_eof():
                        reply.release()
                    else:
                        reply.close()


async def _send_on(reply: aiohttp.ClientResponse, ours: dict[str, str], send: Send) -> None:
    """Sends a short response in one piece, so that a failure is an error; else piece by piece."""
    given = {name: reply.headers[name] for name in _RETURNED_HEADERS if name in reply.headers}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (given | ours).items()]
    length, whole = reply.content_length, b""
    events = given.get("content-type", "").startswith("text/event-stream")
    in_pieces = length is None or length > ONE_PIECE or events
    if not in_pieces:
        try:
            whole = await reply.content.read()
        except (aiohttp.ClientError, OSError) as error:
            broken = f"the engine broke off its answer ({type(error).__name__})"
            raise EngineError(broken) from error
        headers.append((b"content-length", b"%d" % len(whole)))
    if events:
        headers += [(name.encode(), value.encode()) for name, value in UNBUFFERED.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if in_pieces:
        async for piece in reply.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": whole})


@asynccontextmanager
async def while_there(receive: Receive) -> AsyncIterator[None]:
    """Cancels its block when the client disconnects; raises nothing then."""
    loop = asyncio.get_running_loop()
    listening: list[asyncio.Task[None]] = []

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        block.reschedule(loop.time())

    timer = loop.call_later(UNHEARD_S, lambda: listening.append(loop.create_task(listen())))
    try:
        async with asyncio.timeout(None) as block:
            try:
                yield
            finally:
                timer.cancel()
                for task in listening:
                    task.cancel()
    except TimeoutError:
        if not block.expired():
            raise


def _fitting(data: dict[str, Any], context: int | None) -> dict[str, Any]:
    """The request with limits that fit: vLLM refuses more tokens than the context has, and takes
    what is left of it for anything less."""
    given = {name: data.get(name) for name in TOKEN_LIMITS}
    large = {n: v for n, v in given.items() if context and isinstance(v, int) and v > context}
    return data | dict.fromkeys(large, context)


def _encode(data: dict[str, Any], model: str) -> bytes:
    """The same request for the held version."""
    sent = {name: value for name, value in data.items() if name not in NOT_FORWARDED}
    return json.dumps(sent | {"model": model}).encode()

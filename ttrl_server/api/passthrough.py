"""Passes unvoted requests to vLLM on a held version, and the response back byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ttrl_server.answering.room import Room
from ttrl_server.api import extension
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import EngineError, RequestError
from ttrl_server.settings.config import Config

ALLOWED = (
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
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

ONE_PIECE = 2**20
"""A response of at most so many bytes is read completely before it is sent on."""

UNHEARD_S = 0.2
"""Only after this time a second task listens whether the client disconnects."""

_A_NAME = re.compile(r"[a-z_]{1,64}")
"""Field names that may be sent back in a header."""

_strict = json.JSONEncoder(allow_nan=False)
_SENT_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
_RETURNED_HEADERS = ("content-type", "retry-after")


class Relay(Response):
    """The engine's response. Room and hold end at its last byte, or when the client disconnects.

    ``unvoted``: why a completion was not voted on; the header ``x-ttrl-unvoted`` tells the client.
    """

    def __init__(
        self,
        data: dict[str, Any],
        config: Config,
        fleet: Fleet,
        room: Room,
        *,
        version: int | None,
        samples: int,
        chat: bool,
        unvoted: str = "",
    ) -> None:
        self._data, self._config, self._fleet, self._room = data, config, fleet, room
        self._version, self._samples, self._chat = version, samples, chat
        named = unvoted if _A_NAME.fullmatch(unvoted) else "a field"
        self._said = {"x-ttrl-unvoted": named} if unvoted else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._room.admit(self._samples), self._fleet.hold(self._version) as hold:
            content = _encode(self._data, hold.model, self._config, chat=self._chat)
            client = hold.replica.client
            async with _while_there(receive):
                reply = await client.stream(
                    scope["method"], scope["path"], body=content, headers=_SENT_HEADERS
                )
                try:
                    await _send_on(reply, {"x-ttrl-adapter": hold.model} | self._said, send)
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
    in_pieces = (
        length is None
        or length > ONE_PIECE
        or given.get("content-type", "").startswith("text/event-stream")
    )
    if not in_pieces:
        try:
            whole = await reply.content.read()
        except (aiohttp.ClientError, OSError) as error:
            broken = f"the engine broke off its answer ({type(error).__name__})"
            raise EngineError(broken) from error
        headers.append((b"content-length", b"%d" % len(whole)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if in_pieces:
        async for piece in reply.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": whole})


@asynccontextmanager
async def _while_there(receive: Receive) -> AsyncIterator[None]:
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


def _encode(data: dict[str, Any], model: str, config: Config, *, chat: bool) -> bytes:
    """The same request for the held version, with the template arguments of the settings."""
    data = {name: value for name, value in data.items() if name not in NOT_FORWARDED} | {
        "model": model
    }
    if chat and config.chat_template_kwargs:
        data["chat_template_kwargs"] = config.chat_template_kwargs | (
            data.get("chat_template_kwargs") or {}
        )
    try:
        return _strict.encode(data).encode()
    except ValueError:
        raise RequestError(
            f"{_not_finite(data)} is not a finite number.",
            param=_not_finite(data),
            code="invalid_value",
        ) from None


def _not_finite(data: dict[str, Any]) -> str:
    for name, value in data.items():
        try:
            _strict.encode(value)
        except ValueError:
            return name
    return "body"


def pinned(data: dict[str, Any], config: Config) -> int | None:
    """The version in ``model`` or ``ttrl.adapter`` of a passed-through request; else None."""
    asked = extension.read(data, config).version
    named = extension.resolve_model(data, config)
    return named if asked is None else asked

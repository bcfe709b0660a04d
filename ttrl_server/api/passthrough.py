"""What is not voted on goes to vLLM as it came, on a leased version, and streams back byte for byte."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import Response

from ttrl_server.api import shapes
from ttrl_server.api.sse import Closing
from ttrl_server.batching import Admission
from ttrl_server.config import Config
from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RequestError

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
"""vLLM's routes that a client may reach, all of them POST with a ``model`` (design.md, rule 10)."""

NOT_FORWARDED = ("ttrl", "store", "priority")
"""Ours, and what would let a client overtake every vote."""

_RETURNED_HEADERS = ("content-type", "retry-after")


async def forward(
    request: Request,
    data: dict[str, Any],
    config: Config,
    fleet: Fleet,
    admission: Admission,
    *,
    version: int | None,
    samples: int,
    chat: bool,
) -> Response:
    """The engine's own answer; room and lease are held until its last byte has been sent or the client has gone."""
    leases = ExitStack()
    try:
        leases.enter_context(admission.admit(samples))
        lease = leases.enter_context(fleet.lease(version))
        content = _encode(data, lease.model, config, chat=chat)
        reply = await lease.replica.client.stream(
            request.method, request.url.path, body=content, headers={"content-type": "application/json"}
        )
    except BaseException:
        leases.close()
        raise
    headers = {name: reply.headers[name] for name in _RETURNED_HEADERS if name in reply.headers}
    headers["x-ttrl-adapter"] = lease.model
    leases.callback(_let_go, reply)
    return Closing(reply.content.iter_any(), reply.status, headers, close=leases.close)


def _let_go(reply: aiohttp.ClientResponse) -> None:
    """A connection that was read to its end goes back to the pool; a broken one is closed, so that vLLM aborts."""
    if not reply.content.at_eof():
        reply.close()
    else:
        reply.release()


def _encode(data: dict[str, Any], model: str, config: Config, *, chat: bool) -> bytes:
    """The same request for the leased version, with the model's own template arguments."""
    data = {name: value for name, value in data.items() if name not in NOT_FORWARDED} | {"model": model}
    if chat and config.chat_template_kwargs:
        data["chat_template_kwargs"] = config.chat_template_kwargs | (data.get("chat_template_kwargs") or {})
    try:
        return json.dumps(data, allow_nan=False).encode()
    except ValueError:
        raise RequestError(
            f"{_not_finite(data)} is not a finite number.", param=_not_finite(data), code="invalid_value"
        ) from None


def _not_finite(data: dict[str, Any]) -> str:
    for name, value in data.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            return name
    return "body"


def pinned(data: dict[str, Any], config: Config) -> int | None:
    """The version a passed-through request names, from ``model`` or ``ttrl.adapter``."""
    asked = shapes.extension(data, config).version
    named = shapes.resolve_model(data, config)
    return named if asked is None else asked

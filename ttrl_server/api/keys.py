"""Checks the key of every request, and adds a request id to every response. Pure ASGI."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ttrl_server.api.envelope import envelope, for_path

OPEN_ROUTES = frozenset({"/health", "/ready"})
"""The only routes that need no key; a test compares this list with all routes."""

ADMIN_PREFIXES = ("/ttrl/v1/train/", "/ttrl/v1/learning/", "/ttrl/v1/adapters")


class KeyCheck:
    """Checks the key, and puts the tenant and the request id into the scope."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str], admin_key: str) -> None:
        self._app, self._keys, self._admin_key = app, tuple(keys), admin_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)  # the first of repeated headers counts
        asked_id = given.get("x-request-id", "")
        fit = len(asked_id) <= 128 and asked_id.isascii() and asked_id.isprintable()
        request_id = (fit and asked_id) or f"req_{secrets.token_hex(16)}"
        scope["ttrl.id"] = request_id
        name = (b"x-request-id", request_id.encode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], name]
            await send(message)

        bearer = given.get("authorization", "").removeprefix("Bearer ").strip()
        key = bearer or given.get("x-api-key", "")
        if self._may(scope["path"], key):
            scope["ttrl.tenant"] = tenant(key) if self._keys else "local"
            await self._app(scope, receive, named)
            return
        missing = "This server needs a key: Authorization: Bearer <key>."
        says = "The API key is not one of this server's." if key else missing
        refusal = for_path(envelope(says, 401, code="invalid_api_key"), scope["path"])
        await JSONResponse(refusal, 401, {"www-authenticate": "Bearer"})(scope, receive, named)

    def _may(self, path: str, key: str) -> bool:
        if path in OPEN_ROUTES:
            return True
        if path.startswith(ADMIN_PREFIXES):
            return _same(key, self._admin_key)
        return not self._keys or any(_same(key, ours) for ours in (*self._keys, self._admin_key))


@lru_cache
def tenant(key: str) -> str:
    """The tenant's name: a digest of the key, which does not reveal the key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _same(given: str, ours: str) -> bool:
    return bool(ours) and hmac.compare_digest(given.encode(), ours.encode())

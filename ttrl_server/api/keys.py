"""Who may call what. Pure ASGI: it adds a request id to every answer and lets nobody past without the right key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ttrl_server.api.envelope import envelope

OPEN_ROUTES = frozenset({"/health", "/ready"})
"""The only routes that need no key; a test holds this list against the routes there are."""

_READ_HERE = frozenset({b"x-request-id", b"authorization", b"x-api-key"})

ADMIN_PREFIXES = ("/ttrl/v1/train/", "/ttrl/v1/learning/", "/ttrl/v1/adapters")


class KeyCheck:
    """Checks the key, notes the tenant, names the request."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str], admin_key: str) -> None:
        self._app, self._keys, self._admin_key = app, tuple(keys), admin_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _first_of_each(scope["headers"])
        request_id = _clean(given.get(b"x-request-id", "")) or f"req_{secrets.token_hex(16)}"
        scope["ttrl.id"] = request_id
        name = (b"x-request-id", request_id.encode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], name]
            await send(message)

        key = given.get(b"authorization", "").removeprefix("Bearer ").strip() or given.get(b"x-api-key", "")
        if not self._may(scope["path"], key):
            await _refuse(key)(scope, receive, named)
            return
        scope["ttrl.tenant"] = tenant(key) if self._keys else "local"
        await self._app(scope, receive, named)

    def _may(self, path: str, key: str) -> bool:
        if path in OPEN_ROUTES:
            return True
        if path.startswith(ADMIN_PREFIXES):
            return _same(key, self._admin_key)
        return not self._keys or any(_same(key, ours) for ours in (*self._keys, self._admin_key))


@lru_cache
def tenant(key: str) -> str:
    """A name for the holder of a key that does not give the key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _same(given: str, ours: str) -> bool:
    return bool(ours) and hmac.compare_digest(given.encode(), ours.encode())


def _refuse(key: str) -> JSONResponse:
    message = (
        "The API key is not one of this server's." if key else "This server needs a key: Authorization: Bearer <key>."
    )
    return JSONResponse(envelope(message, 401, code="invalid_api_key"), 401, {"www-authenticate": "Bearer"})


def _first_of_each(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """The headers that are read here, in one pass; of one that is repeated the first counts."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _READ_HERE and name not in found:
            found[name] = value.decode("latin-1")
    return found


def _clean(given: str) -> str:
    """A client's own request id, if it is fit for a header and a log line."""
    return given if len(given) <= 128 and given.isascii() and given.isprintable() else ""

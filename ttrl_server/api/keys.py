"""Checks who may call: the key, or, on a server without keys, that no foreign web page does. Adds a
request id to every response. Pure ASGI.

A browser lets any page send requests to this machine. A page that made its own name point here (DNS
rebinding) gives itself away by the Host, any other page by its Origin.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ttrl_server.api.envelope import envelope, for_path
from ttrl_server.settings.sections import ApiConfig

OPEN_ROUTES = frozenset({"/health", "/live", "/ready"})
"""The only routes that need no key; a test compares this list with all routes."""

ADMIN_PREFIXES = ("/ttrl/v1/train/", "/ttrl/v1/learning/", "/ttrl/v1/adapters")


LOCAL = r"localhost|[a-z0-9-]+\.localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\]"
LOCAL_ORIGIN = rf"https?://({LOCAL})(:[0-9]+)?"
"""Origins of pages that this machine serves itself."""
_LOCAL_HOST = re.compile(rf"({LOCAL}|0\.0\.0\.0|host\.(docker|containers)\.internal)(:[0-9]+)?")


class KeyCheck:
    """Checks the key, and puts the tenant and the request id into the scope."""

    def __init__(self, app: ASGIApp, *, config: ApiConfig, admin_key: str) -> None:
        self._app, self._keys, self._admin_key = app, tuple(config.keys), admin_key
        self._hosts = {config.host.lower(), *config.hosts}
        self._origins = frozenset(config.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A redirect to the path without its slash would lose a body, or https behind a proxy.
        scope["path"] = scope["path"].rstrip("/") or "/"
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

        scheme, _, bearer = given.get("authorization", "").strip().partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""  # RFC 9110, section 11.1
        key = bearer or given.get("x-api-key") or given.get("api-key", "")
        if not self._keys and (odd := self._foreign(given)):
            refusal = for_path(envelope(odd, 403, code="foreign_page"), scope["path"])
            await JSONResponse(refusal, 403)(scope, receive, named)
            return
        if self._may(scope["path"], key):
            scope["ttrl.tenant"] = tenant(key) if self._keys else "local"
            await self._app(scope, receive, named)
            return
        missing = "This server needs a key: Authorization: Bearer <key>."
        says = "The API key is not one of this server's." if key else missing
        refusal = for_path(envelope(says, 401, code="invalid_api_key"), scope["path"])
        await JSONResponse(refusal, 401, {"www-authenticate": "Bearer"})(scope, receive, named)

    def _foreign(self, given: Headers) -> str | None:
        """What shows that a page from elsewhere makes a browser send this; None where nothing."""
        host, origin = given.get("host", "").lower(), given.get("origin", "")
        named_here = re.sub(r":[0-9]+$", "", host).strip("[]") in self._hosts
        if host and not named_here and not _LOCAL_HOST.fullmatch(host):
            named = "is not a name of this machine: give it in api.hosts, or set api.keys."
            return f"The Host {host[:80]!r} {named}"
        site = origin == "null" or origin.startswith(("http:", "https:"))  # not a program's own
        known = re.fullmatch(LOCAL_ORIGIN, origin) or self._origins & {origin, "*"}
        if site and not known:
            return f"Pages of {origin[:80]!r} may not call this server: see api.origins, api.keys."
        return None

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

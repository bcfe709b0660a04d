"""Turns every error into OpenAI's envelope: ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.errors import (
    EngineError,
    LeaseLost,
    Overloaded,
    RejectedVersion,
    RequestError,
    StoreError,
    TtrlError,
    VersionRefused,
)

log = structlog.get_logger()

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ROUTING = {
    404: ("There is no such route here.", "unknown_route"),
    405: ("This route does not take that method.", "method_not_allowed"),
}


def envelope(
    message: str, status: int, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The JSON body of an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def describe(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers for any exception of a handler."""
    match error:
        case RequestError():
            return (
                envelope(error.message, error.status, param=error.param, code=error.code),
                error.status,
                {},
            )
        case Overloaded():
            body = envelope(error.message, error.status, code=error.code)
            return body, error.status, {"retry-after": str(error.retry_after_s)}
        case EngineError(status=int(status)) if 400 <= status < 500:
            return envelope(error.message, status, code="engine_refused"), status, {}
        case EngineError():
            message = (
                "The engine failed while it worked on this request; nothing was kept. Try again "
                "shortly."
            )
            return envelope(message, 503, code="engine_lost"), 503, {"retry-after": "5"}
        case LeaseLost():
            return envelope(str(error), 409, code="lease_lost"), 409, {}
        case VersionRefused(unknown=True):
            return envelope(str(error), 404, param="version", code="version_not_found"), 404, {}
        case VersionRefused() | RejectedVersion():
            return envelope(str(error), 409, code="version_conflict"), 409, {}
        case StoreError():
            return envelope(str(error), 503, code="store_failed"), 503, {"retry-after": "5"}
        case HTTPException():
            text, code = _ROUTING.get(error.status_code, (str(error.detail), None))
            status = error.status_code
            return envelope(text, status, code=code), status, dict(error.headers or {})
    return (
        envelope("The server failed; its log has the request id.", 500, code="internal_error"),
        500,
        {},
    )


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for all errors."""
    body, status, headers = describe(error)
    if status >= 500:
        known = isinstance(error, TtrlError)  # other errors may contain the client's text
        reason = str(error) if known else type(error).__name__
        log.error(
            "request.failed", id=request.scope.get("ttrl.id"), path=request.url.path, reason=reason
        )
    return JSONResponse(body, status, headers)

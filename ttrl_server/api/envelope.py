"""Turns every error into OpenAI's envelope, ``{"error": {message, type, param, code}}``; or, for
``/v1/messages``, into that of Messages, ``{"type": "error", "error": {type, message}}``."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server import errors

log = structlog.get_logger()

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_ENDED = {504: {"x-should-retry": "false"}}
"""The client's own time is up: an SDK would ask, and pay, again."""
_TOO_LONG = "maximum context length"
"""In vLLM's words; agents shorten their history on the code."""
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


def for_messages(error: dict[str, Any]) -> dict[str, Any]:
    """An envelope in the form of Messages."""
    about = {name: error["error"][name] for name in ("type", "message")}
    return {"type": "error", "error": about}


def for_path(error: dict[str, Any], path: str) -> dict[str, Any]:
    """An envelope in the form that clients of a route expect."""
    return for_messages(error) if path.startswith("/v1/messages") else error


def describe(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers for any exception of a handler."""
    text, param, headers = str(error), None, {}
    match error:
        case errors.RequestError():
            status, code, param = error.status, error.code, error.param
            headers = dict(_ENDED.get(status, {}))
        case errors.Overloaded():
            status, code, headers = error.status, error.code, _again(error.retry_after_s)
        case errors.EngineError(status=int(status)) if 400 <= status < 500:
            code = "context_length_exceeded" if _TOO_LONG in text else "engine_refused"
        case errors.EngineError():
            text = "The engine failed while it worked on this request; nothing was kept. "
            text += "Try again shortly."
            status, code, headers = 503, "engine_lost", _again(5)
        case errors.LeaseLost():
            status, code = 409, "lease_lost"
        case errors.VersionRefused(unknown=True):
            status, code, param = 404, "version_not_found", "version"
        case errors.VersionRefused() | errors.RejectedVersion():
            status, code = 409, "version_conflict"
        case errors.StoreError():
            status, code, headers = 503, "store_failed", _again(5)
        case HTTPException():
            status, headers = error.status_code, dict(error.headers or {})
            text, code = _ROUTING.get(status, (str(error.detail), None))
        case _:
            text = "The server failed; its log has the request id."
            status, code = 500, "internal_error"
    return envelope(text, status, param=param, code=code), status, headers


def _again(seconds: int) -> dict[str, str]:
    return {"retry-after": str(seconds)}


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for all errors."""
    body, status, headers = describe(error)
    if status >= 500:
        known = isinstance(error, errors.TtrlError)  # other errors may contain the client's text
        reason = str(error) if known else type(error).__name__
        request_id, path = request.scope.get("ttrl.id"), request.url.path
        log.error("request.failed", id=request_id, path=path, reason=reason)
    return JSONResponse(for_path(body, request.url.path), status, headers)

"""Reads and checks a client's request: size, valid JSON, an object, values of the right type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ttrl_server.errors import RequestError

Shape = TypeVar("Shape", bound=msgspec.Struct)


async def read(request: Request, limit: int) -> bytes:
    """The body; raises RequestError (413) as soon as it is longer than ``limit`` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise _too_large(limit)
    except ClientDisconnect:
        raise RequestError(
            "The client went away.", status=499, code="client_closed_request"
        ) from None
    return bytes(content)


async def typed(request: Request, shape: type[Shape], limit: int, *, empty: bytes = b"") -> Shape:
    """The body as ``shape``; ``empty`` replaces an empty body. Raises RequestError."""
    try:
        return msgspec.json.decode(await read(request, limit) or empty, type=shape)
    except msgspec.DecodeError as error:
        raise RequestError(str(error), code="invalid_value") from None


def _too_large(limit: int) -> RequestError:
    return RequestError(
        f"The body is larger than {limit / 2**20:g} MiB (api.max_body_mib).",
        status=413,
        code="request_too_large",
    )


def parse(content: bytes) -> dict[str, Any]:
    """Decodes a JSON object. Raises RequestError."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"The body is not valid JSON: {str(error)[:200]}", code="invalid_json"
        ) from None
    if b"\\u" in content:
        _refuse_half_characters(data)
    if not isinstance(data, dict):
        raise RequestError(
            f"The body must be a JSON object, not {_kind(data)}.", code="invalid_type"
        )
    return data


def _refuse_half_characters(data: Any) -> None:
    """Raises RequestError for half of a surrogate pair: JSON allows it, but UTF-8 does not."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RequestError(
            "The body holds half of a surrogate pair (\\\\ud800 …).", code="invalid_json"
        ) from None


def number(
    data: Mapping[str, Any],
    name: str,
    low: float,
    high: float,
    *,
    above: bool = False,
    prefix: str = "",
) -> float | None:
    """A finite number in [low, high], with ``above`` in (low, high]; None when absent or null."""
    value = data.get(name)
    if value is None:
        return None
    param = prefix + name
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RequestError(
            f"{param} must be a number, not {_kind(value)}.", param=param, code="invalid_type"
        )
    if not ((low < value if above else low <= value) and value <= high):  # NaN is in no range
        raise RequestError(
            f"{param} is {_short(value)}; it must be {'above' if above else 'at least'} {low:g} "
            f"and at most {high:g}.",
            param=param,
            code="invalid_value",
        )
    return float(value)


def whole(
    data: Mapping[str, Any], name: str, low: int, high: int, *, prefix: str = ""
) -> int | None:
    """A whole number in [low, high], None when absent or null."""
    value = data.get(name)
    if value is None:
        return None
    param = prefix + name
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(
            f"{param} must be a whole number, not {_short(value)}.",
            param=param,
            code="invalid_type",
        )
    if not low <= value <= high:
        raise RequestError(
            f"{param} is {_short(value)}; it must be at least {low} and at most {high}.",
            param=param,
            code="invalid_value",
        )
    return value


def flag(data: Mapping[str, Any], name: str, *, prefix: str = "") -> bool | None:
    """true or false, None when absent or null."""
    value = data.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise RequestError(
        f"{prefix + name} must be true or false, not {_short(value)}.",
        param=prefix + name,
        code="invalid_type",
    )


def text(data: Mapping[str, Any], name: str, limit: int, *, prefix: str = "") -> str | None:
    """A string of 1 to ``limit`` characters, None when absent or null."""
    value, param = data.get(name), prefix + name
    if value is None:
        return None
    if not isinstance(value, str):
        raise RequestError(
            f"{param} must be a string, not {_kind(value)}.", param=param, code="invalid_type"
        )
    if not value.strip() or len(value) > limit:
        raise RequestError(
            f"{param} has {len(value)} characters; it must say something in at most {limit}.",
            param=param,
            code="invalid_value",
        )
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    names = {
        list: "an array",
        dict: "an object",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")

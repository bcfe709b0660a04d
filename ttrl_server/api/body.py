"""Reads and checks a client's request: size, valid JSON, an object, values of the right type.

The readers of one field raise RequestError; they return None when the field is absent or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ttrl_server.errors import RequestError

Shape = TypeVar("Shape", bound=msgspec.Struct)


def wrong(param: str, problem: str, *, code: str = "invalid_value") -> RequestError:
    """The error for the value of one field."""
    return RequestError(f"{param} {problem}", param=param, code=code)


def gone() -> RequestError:
    return RequestError("The client went away.", status=499, code="client_closed_request")


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises RequestError: 413 as soon as it is longer than ``limit`` bytes, 415 where it
    is not JSON as it is. A page of another server may send other types without being asked for."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    message = f"The body is larger than {limit / 2**20:g} MiB (api.max_body_mib)."
    too_large = RequestError(message, status=413, code="request_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise too_large
    except ClientDisconnect:
        raise gone() from None
    odd = f"content-encoding {encoding[:40]!r}" if encoding != "identity" else ""
    if odd or (content and kind != "application/json"):
        odd = odd or f"content-type {kind[:40]!r}"
        message = f"The body has {odd}; it must be application/json, not encoded."
        raise RequestError(message, status=415, code="unsupported_media_type")
    return bytes(content)


async def typed(request: Request, shape: type[Shape], limit: int, *, empty: bytes = b"") -> Shape:
    """The body as ``shape``; ``empty`` replaces an empty body. Raises RequestError."""
    try:
        return msgspec.json.decode(await read(request, limit) or empty, type=shape)
    except msgspec.DecodeError as error:
        raise RequestError(str(error), code="invalid_value") from None


def parse(content: bytes) -> dict[str, Any]:
    """Decodes a JSON object, whose numbers are finite. Raises RequestError."""
    infinite: list[float] = []

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            infinite.append(value)
        return value

    try:
        text = content.decode(json.detect_encoding(content))
        data = json.loads(text, parse_float=real, parse_constant=real)
        if b"\\u" in content:  # JSON allows half of a surrogate pair, but UTF-8 does not
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        half = "The body holds half of a surrogate pair (\\\\ud800 …)."
        raise RequestError(half, code="invalid_json") from None
    except (ValueError, RecursionError) as error:
        invalid = f"The body is not valid JSON: {str(error)[:200]}"
        raise RequestError(invalid, code="invalid_json") from None
    if not isinstance(data, dict):
        message = f"The body must be a JSON object, not {_kind(data)}."
        raise RequestError(message, code="invalid_type")
    for name in data if infinite else ():
        try:
            json.dumps(data[name], allow_nan=False)
        except ValueError:
            raise wrong(name, "is not a finite number.") from None
    return data


def number(
    data: Mapping[str, Any], name: str, low: float, high: float, *, above: bool = False
) -> float | None:
    """A finite number in [low, high], with ``above`` in (low, high]."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(name, f"must be a number, not {_kind(value)}.", code="invalid_type")
    if not ((low < value if above else low <= value) and value <= high):  # NaN is in no range
        least = f"{'above' if above else 'at least'} {low:g}"
        raise wrong(name, f"is {_short(value)}; it must be {least} and at most {high:g}.")
    return float(value)


def whole(data: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """A whole number in [low, high]."""
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise wrong(name, f"must be a whole number, not {_short(value)}.", code="invalid_type")
    if value is not None and not low <= value <= high:
        raise wrong(name, f"is {_short(value)}; it must be at least {low} and at most {high}.")
    return value


def flag(data: Mapping[str, Any], name: str) -> bool | None:
    """true or false."""
    value = data.get(name)
    if not isinstance(value, bool | None):
        raise wrong(name, f"must be true or false, not {_short(value)}.", code="invalid_type")
    return value


def array(data: Mapping[str, Any], name: str) -> list[Any]:
    """An array; empty when the field is absent or null."""
    value = data.get(name)
    if not isinstance(value, list | None):
        raise wrong(name, f"must be an array, not {_kind(value)}.", code="invalid_type")
    return value or []


def text(data: Mapping[str, Any], name: str, limit: int) -> str | None:
    """A string of 1 to ``limit`` characters."""
    value = data.get(name)
    if not isinstance(value, str | None):
        raise wrong(name, f"must be a string, not {_kind(value)}.", code="invalid_type")
    if value is not None and not (value.strip() and len(value) <= limit):
        problem = f"has {len(value)} characters; it must say something in at most {limit}."
        raise wrong(name, problem)
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {list: "an array", dict: "an object", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")

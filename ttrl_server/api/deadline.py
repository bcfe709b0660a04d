"""Reads from a request's headers how long the client waits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ttrl_server.errors import RequestError

HEADER = "x-ttrl-timeout"
"""Our header, in seconds; any client may send it."""
SDK_HEADER = "x-stainless-read-timeout"
"""OpenAI's SDKs send this with every request: the seconds they wait between two bytes."""

RESERVE = 0.1
"""Share of the client's time that is reserved for counting votes and for the response."""
MOST_RESERVE_S = 1.0


def of(headers: Mapping[str, str], *, streaming: bool) -> float | None:
    """Seconds that sampling may take before the client gives up; None when it sets no limit.

    Raises RequestError when our own header is not a positive number. The SDK's header does not
    apply to a stream, which always has bytes to read, and may be "None" for no limit.
    """
    given = headers.get(HEADER)
    if given is not None:
        seconds = _seconds(given)
        if seconds is None:
            message = (
                f"The header {HEADER} is {given[:60]!r}; it must be a number of seconds above 0."
            )
            raise RequestError(message, param=HEADER, code="invalid_value")
    else:
        seconds = None if streaming else _seconds(headers.get(SDK_HEADER, ""))
    return None if seconds is None else seconds - min(RESERVE * seconds, MOST_RESERVE_S)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None

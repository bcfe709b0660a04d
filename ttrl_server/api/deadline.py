"""How long a client will wait, from what it says in its headers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ttrl_server.errors import RequestError

HEADER = "x-ttrl-timeout"
"""Seconds, from anybody."""
SDK_HEADER = "x-stainless-read-timeout"
"""Seconds the official SDKs wait between two bytes, sent with every request."""

RESERVE = 0.1
"""Share of the client's time kept for counting the votes and for the way back."""
MOST_RESERVE_S = 1.0


def of(headers: Mapping[str, str], *, streaming: bool) -> float | None:
    """Seconds that sampling may take so that the answer still arrives, or None where the client
    sets no limit.

    A stream has bytes to read all the time, so that the SDK's limit says nothing about its length.
    Raises RequestError for a limit of ours that is no positive number; what an SDK writes ("None"
    for no limit) is taken or left.
    """
    given = headers.get(HEADER)
    if given is not None:
        seconds = _seconds(given)
        if seconds is None:
            raise RequestError(
                f"The header {HEADER} is {given[:60]!r}; it must be a number of seconds above 0.",
                param=HEADER,
                code="invalid_value",
            )
        return _usable(seconds)
    seconds = None if streaming else _seconds(headers.get(SDK_HEADER, ""))
    return None if seconds is None else _usable(seconds)


def _usable(seconds: float) -> float:
    return seconds - min(RESERVE * seconds, MOST_RESERVE_S)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None

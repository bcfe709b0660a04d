"""The named boundaries at which a failure is classified, once.

| boundary           | raised as       | caught by                       | the caller sees         |
|--------------------|-----------------|---------------------------------|-------------------------|
| the command line   | ConfigError     | commands, training.worker       | a line on stderr, 2     |
| a client's request | RequestError    | api.envelope                    | OpenAI's envelope, 4xx  |
| our capacity       | Overloaded      | api.envelope                    | 429 or 503, Retry-After |
| the engine         | EngineError     | api.envelope, engine.supervisor | 503, or vLLM's own 4xx  |
| an adapter version | RejectedVersion | promotion.promotions            | ``rejected``, a reason  |
| a person's wish    | VersionRefused  | api.envelope, commands.adapters | 404 or 409, what may be |
| the learning loop  | LeaseLost       | training.loop, api.envelope     | the step is lost        |
| the store          | StoreError      | answering.pipeline, envelope    | "not stored", or 503    |

A bad rollout is data (an answer that is None), never an exception.
"""

from __future__ import annotations


class TtrlError(Exception):
    """Base of everything this project raises on purpose."""


class ConfigError(TtrlError):
    """A setting that cannot work: names the setting, its value and what to write instead."""


class RequestError(TtrlError):
    """A request that is wrong in itself; becomes OpenAI's envelope.

    ``param`` is the offending field, ``code`` a stable machine-readable name.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


class Overloaded(TtrlError):
    """No room now: 429 when the client's load is the cause, 503 when the service is not ready."""

    def __init__(self, message: str, *, status: int, retry_after_s: int, code: str) -> None:
        super().__init__(message)
        self.message, self.status, self.retry_after_s, self.code = (
            message,
            status,
            retry_after_s,
            code,
        )


class EngineError(TtrlError):
    """vLLM could not be reached, or refused. ``status`` is None when no answer came at all,
    ``late`` when not in time."""

    def __init__(
        self, message: str, *, status: int | None = None, body: bytes = b"", late: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.body, self.late = message, status, body, late


class RejectedVersion(TtrlError):
    """An adapter that must not be served. ``stage`` is where it failed (docs/design.md lists
    them)."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason = stage, reason


class VersionRefused(TtrlError):
    """What a person asked of a version is against the rules (registry/rules.py). ``unknown``:
    there is no such version."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class LeaseLost(TtrlError):
    """The gateway no longer holds this batch for this trainer."""


class StoreError(TtrlError):
    """The database refused (disk full, unreachable). Nothing of the call was kept; what was
    acknowledged is safe."""

"""The errors of this project: each belongs to one boundary, where it is raised and named.

| boundary           | raised as       | caught by                       | the caller sees         |
|--------------------|-----------------|---------------------------------|-------------------------|
| the command line   | ConfigError     | commands, training.worker       | a line on stderr, 2     |
| a client's request | RequestError    | api.envelope                    | OpenAI's envelope, 4xx  |
| our capacity       | Overloaded      | api.envelope                    | 429 or 503, Retry-After |
| the engine         | EngineError     | api.envelope, engine.supervisor | 503, or vLLM's own 4xx  |
| an adapter version | RejectedVersion | promotion.promotions            | ``rejected``, a reason  |
| operator's request | VersionRefused  | api.envelope, commands.adapters | 404 or 409, a reason    |
| the learning loop  | LeaseLost       | training.loop, api.envelope     | the step is lost        |
| the store          | StoreError      | answering.pipeline, envelope    | "not stored", or 503    |

A bad rollout is data (an answer that is None), never an exception.
"""

from __future__ import annotations


class TtrlError(Exception):
    """Base class of all errors that this project raises on purpose."""


class ConfigError(TtrlError):
    """A setting is wrong. The message names the setting, its value and what to write instead."""


class RequestError(TtrlError):
    """A client's request is wrong; becomes OpenAI's envelope.

    ``param`` is the offending field, ``code`` a stable machine-readable name.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


class Overloaded(TtrlError):
    """No room now: 429 when the clients' load is the cause, 503 when no engine is ready."""

    def __init__(self, message: str, *, status: int, retry_after_s: int, code: str) -> None:
        super().__init__(message)
        self.message, self.status = message, status
        self.retry_after_s, self.code = retry_after_s, code


class EngineError(TtrlError):
    """vLLM refused, or did not answer (``status`` is None; ``late``: not in time)."""

    def __init__(self, message: str, *, status: int | None = None, late: bool = False) -> None:
        super().__init__(message)
        self.message, self.status, self.late = message, status, late


class RejectedVersion(TtrlError):
    """An adapter must not be served. ``stage`` is where it failed (docs/design.md has a list)."""

    def __init__(self, stage: str, reason: str, *, fallen: str = "") -> None:
        """``fallen``: why what is served must not be served either."""
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason, self.fallen = stage, reason, fallen


class VersionRefused(TtrlError):
    """A rule (registry/rules.py) forbids an operator's action. ``unknown``: no such version."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class LeaseLost(TtrlError):
    """The trainer's lease on a batch has ended."""


class StoreError(TtrlError):
    """The database refused (disk full, unreachable). The failed call wrote nothing."""

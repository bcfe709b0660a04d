"""The four messages from trainer to gateway, and the reply to the last: ``POST /ttrl/v1/train/…``.

    lease → Batch (204 where nothing waits) · renew → 204 · skip → 204 · propose → Outcome

Gateway and trainer both use the classes of this file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ttrl_server.types import Parent


class Lease(msgspec.Struct, frozen=True):
    """Asks for a batch. The reply is a ``types.Batch`` in MessagePack."""

    worker: str


class Renew(msgspec.Struct, frozen=True):
    """Asks the gateway to extend the lease of a batch."""

    batch: str


class Skip(msgspec.Struct, frozen=True):
    """Says that the trainer is done with the batch and made no version from it."""

    batch: str
    reason: str
    metrics: dict[str, float] = {}


class Propose(msgspec.Struct, frozen=True):
    """Proposes a published version."""

    batch: str
    folder: str
    metrics: dict[str, float] = {}


class Outcome(msgspec.Struct, frozen=True):
    """The gate's judgement on a proposed version, and the parent of the next step."""

    state: Literal["promoted", "rejected"]
    reason: str
    parent: Parent | None

"""The four messages between gateway and trainer, ``POST /ttrl/v1/train/…``, and the answer to the
last one.

    lease → Batch (204 where nothing waits) · renew → 204 · skip → 204 · propose → Outcome

Both sides read and write them by this file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ttrl_server.types import Parent


class Lease(msgspec.Struct, frozen=True):
    """Asks for a batch; answered by a ``types.Batch`` in MessagePack."""

    worker: str


class Renew(msgspec.Struct, frozen=True):
    """Asks for more time with a batch."""

    batch: str


class Skip(msgspec.Struct, frozen=True):
    """The batch is used up and made no version."""

    batch: str
    reason: str
    metrics: dict[str, float] = {}


class Propose(msgspec.Struct, frozen=True):
    """Hands in a published version."""

    batch: str
    folder: str
    metrics: dict[str, float] = {}


class Outcome(msgspec.Struct, frozen=True):
    """What became of a proposed version, and which one to learn from next."""

    state: Literal["promoted", "rejected"]
    reason: str
    parent: Parent | None

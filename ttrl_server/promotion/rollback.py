"""Rollback: chooses the version to serve instead of a doubtful one, and retries on a full disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog

from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RejectedVersion, VersionRefused
from ttrl_server.promotion.bands import Pair, is_sound, outside
from ttrl_server.promotion.promotions import Promotions
from ttrl_server.registry.past import By
from ttrl_server.settings.config import Config

log = structlog.get_logger()

AGAIN_S = 10.0

Target = Literal["good", "sound", "sound or serving"] | int
"""The newest version that fits; else the base model. A number: none that is newer.
good: an earlier version with its signals inside the bands. sound: an earlier sound version.
sound or serving: the served version if it is sound, else as ``sound``."""
Paired = Callable[[int], Awaitable[Pair | None]]
"""Gives the ``Pair`` of a version; None when too little is known."""


class Rollback:
    """Serves an earlier version, or the base model, instead of the served version."""

    def __init__(self, config: Config, fleet: Fleet, promotions: Promotions, pairs: Paired) -> None:
        self._config, self._fleet = config, fleet
        self._promotions, self._paired = promotions, pairs
        self._again: asyncio.Task[None] | None = None

    async def go(self, target: Target, reason: str, *, by: By) -> None:
        """Serves the target. After an OSError (full disk) it tries again in the background."""
        leaving, number = self._fleet.serving, await self._choose(target)

        async def leave() -> None:
            try:
                await self._promotions.roll_back(number, reason, by=by, leaving=leaving)
            except (RejectedVersion, VersionRefused) as error:
                log.error("version.unservable", version=number, reason=str(error))
                await self._promotions.roll_back(0, reason, by=by, leaving=leaving)

        async def until_left() -> None:
            while True:
                await asyncio.sleep(AGAIN_S)
                with contextlib.suppress(OSError):
                    return await leave()

        try:
            await leave()
        except OSError as error:
            log.error("rollback.failed", to=number, reason=str(error))
            self._again = asyncio.create_task(until_left())

    def close(self) -> None:
        if self._again:
            self._again.cancel()

    async def _choose(self, target: Target) -> int:
        ledger, serving = self._promotions.ledger, self._fleet.serving
        base, guard = self._config.base_model, self._config.guard
        fit = ledger.before(base, serving + 1)
        if target == "good":
            for number in fit:
                pair = await self._paired(number) if number != serving else None
                if pair and pair[0].groups >= guard.watch_groups and outside(pair, guard) is None:
                    return number
            return 0
        if isinstance(target, int):
            fit = [number for number in fit if number <= target]
        proved = (n for n in fit if n not in ledger.forced(base) and is_sound(ledger.figures(n)))
        return next((n for n in proved if n != serving or target == "sound or serving"), 0)

"""The operator's actions on versions. The ledger and the log record every change."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import structlog

from ttrl_server.engine.fleet import Fleet
from ttrl_server.errors import RejectedVersion, RequestError, VersionRefused
from ttrl_server.promotion.promotions import Promotions
from ttrl_server.registry import catalogue, rules
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config

log = structlog.get_logger()


class Operator:
    """Acts on the versions of one served model."""

    def __init__(self, config: Config, fleet: Fleet, promotions: Promotions) -> None:
        self._name, self._base = config.name, config.base_model
        self._fleet, self._promotions = fleet, promotions

    def list(self) -> dict[str, Any]:
        """All versions of the served model's lineage, newest first."""
        rows = catalogue.rows(self._promotions.ledger, self._base)
        served = version_name(self._name, self._fleet.serving)
        return {"served": served, "versions": [self._in_engine(row) for row in rows]}

    def show(self, number: int) -> dict[str, Any]:
        """One version: its manifest, the gate's figures and its events."""
        folder = rules.folder_of(self._promotions.ledger, self._base, number)
        about = catalogue.about(self._promotions.ledger, self._base, number, folder)
        return self._in_engine(about)

    def _in_engine(self, row: dict[str, Any]) -> dict[str, Any]:
        name, loaded = version_name(self._name, row["number"]), self._fleet.living()
        return row | {"name": name, "loaded": row["number"] in loaded}

    async def promote(self, number: int, *, force: bool, reason: str, by: str) -> None:
        """Serves a version. ``force`` allows a version that the gate refused for its answers."""
        promoting = self._promotions.promote(number, reason, force=force)
        await self._audited("promote", number, by, promoting)

    async def roll_back(self, number: int | None, *, reason: str, by: str) -> None:
        """Serves ``number`` (0: the base model); None means the last good version."""
        to = self._promotions.ledger.last_good(self._base) if number is None else number
        await self._audited("rollback", to, by, self._promotions.roll_back(to, reason))

    async def pin(self, number: int, *, by: str) -> None:
        await self._audited("pin", number, by, self._promotions.pin(number))

    async def unpin(self, number: int, *, by: str) -> None:
        await self._audited("unpin", number, by, self._promotions.unpin(number))

    async def retire(self, number: int, *, reason: str, by: str) -> None:
        await self._audited("retire", number, by, self._promotions.retire(number, reason))

    async def _audited(self, action: str, number: int, by: str, doing: Awaitable[None]) -> None:
        try:
            await doing
        except (RejectedVersion, VersionRefused, RequestError) as refusal:
            log.warning("audit", action=action, version=number, by=by, refused=str(refusal))
            raise
        log.warning("audit", action=action, version=number, by=by)

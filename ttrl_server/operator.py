"""What a person may do with versions: look, promote, roll back, pin, retire. All of it is in the ledger and the log."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import structlog

from ttrl_server.config import Config
from ttrl_server.engine.command import version_name
from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.swap import Swap
from ttrl_server.errors import RejectedVersion, RequestError
from ttrl_server.registry import catalogue
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.past import JUDGEMENTS

log = structlog.get_logger()


class Operator:
    """Acts on the versions of one served model."""

    def __init__(self, config: Config, fleet: Fleet, swap: Swap) -> None:
        self._config, self._fleet, self._swap = config, fleet, swap

    @property
    def _ledger(self) -> Ledger:
        return self._swap.ledger

    @property
    def _base(self) -> str:
        return self._config.base_model

    # ------------------------------------------------------------ looking

    def list(self) -> dict[str, Any]:
        """All versions of the served model's lineage, newest first."""
        loaded = self._fleet.living()
        rows = catalogue.rows(self._ledger, self._base)
        return {
            "served": version_name(self._config, self._fleet.serving),
            "versions": [
                row | {"name": version_name(self._config, row["number"]), "loaded": row["number"] in loaded}
                for row in rows
            ],
        }

    def show(self, number: int) -> dict[str, Any]:
        """One version: its manifest, and what happened to it."""
        folder = self._folder(number)
        about = catalogue.about(self._ledger, self._base, number, folder)
        return about | {"name": version_name(self._config, number), "loaded": number in self._fleet.living()}

    # ------------------------------------------------------------ acting

    async def promote(self, number: int, *, force: bool, reason: str, by: str) -> None:
        """Serves a version from now on. ``force`` serves one that was refused for its answers.

        Raises RequestError: it is unknown or retired (404), it fell, or it may not be served (409).
        """
        folder, state = self._folder(number), self._ledger.verdict(number)
        if number in self._ledger.fallen(self._base):
            raise _conflict(f"v{number} fell when it was served, and is not served again.")
        if state == "promoted":
            await self._audited("promote", number, by, self._swap.roll_back(number, reason))
            return
        refusal = self._ledger.refusal(number)
        if refusal is None or refusal.stage not in JUDGEMENTS:
            stage = refusal.stage if refusal else "no verdict yet"
            raise _conflict(f"v{number} was not refused for its answers ({stage}).")
        if not force:
            raise _conflict(f"v{number} was refused ({refusal.stage}); force serves it all the same.")
        await self._audited("override", number, by, self._swap.override(number, folder, reason))

    async def roll_back(self, number: int | None, *, reason: str, by: str) -> None:
        """Serves ``number`` (0: the base model) from now on, by default the last good version."""
        to = self._ledger.last_good(self._base) if number is None else number
        await self._audited("rollback", to, by, self._swap.roll_back(to, reason))

    async def pin(self, number: int, *, by: str) -> None:
        folder = self._folder(number)
        if self._ledger.verdict(number) != "promoted":
            raise _conflict(f"{folder} was not promoted: only promoted versions are pinned.")
        await self._audited("pin", number, by, self._swap.pin(number))

    async def unpin(self, number: int, *, by: str) -> None:
        if number not in self._ledger.pinned(self._base):
            raise _conflict(f"v{number} is not pinned.")
        await self._audited("unpin", number, by, self._swap.unpin(number))

    async def retire(self, number: int, *, reason: str, by: str) -> None:
        folder = self._folder(number)
        await self._audited("retire", number, by, self._swap.retire(number, folder, reason))

    async def _audited(self, action: str, number: int, by: str, doing: Awaitable[None]) -> None:
        try:
            await doing
        except RejectedVersion as refusal:
            log.warning("audit", action=action, version=number, by=by, refused=str(refusal))
            raise _conflict(refusal.reason) from refusal
        except RequestError as refusal:
            log.warning("audit", action=action, version=number, by=by, refused=str(refusal))
            raise
        log.warning("audit", action=action, version=number, by=by)

    def _folder(self, number: int) -> str:
        """The folder of a version that is there."""
        folder = catalogue.folder_of(self._ledger, self._base, number)
        if folder is None:
            there = [row["number"] for row in catalogue.rows(self._ledger, self._base) if row["state"] != "retired"]
            nearest = min(there, key=lambda n: (abs(n - number), -n), default=0)
            raise RequestError(
                f"There is no version {version_name(self._config, number)}; the nearest is "
                f"{version_name(self._config, nearest)}.",
                status=404,
                param="version",
                code="version_not_found",
            )
        return folder


def _conflict(message: str) -> RequestError:
    return RequestError(message, status=409, code="version_conflict")

"""Which version is loaded where: brought to a replica and proved there, unloaded when nobody leases it any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from pathlib import Path

import msgspec
import structlog

from ttrl_server.config import Config
from ttrl_server.engine.command import base_name, version_name
from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.engine.probe import prove
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.registry import preflight, versions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.retention import doomed
from ttrl_server.types import Probe

log = structlog.get_logger()

DAY_S = 86_400.0


class Placement:
    """Loads and unloads. ``lock`` is held while what is loaded changes, never while waiting for a lease."""

    def __init__(self, config: Config, fleet: Fleet, ledger: Ledger, root: Path) -> None:
        self._config, self._fleet, self._ledger, self._root = config, fleet, ledger, root
        self.lock = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ in

    def preflight(self, folder: str) -> None:
        """Raises RejectedVersion when the engine must not hear of this version; reads every byte of it."""
        version = versions.read(self._root, folder)
        preflight.check(
            self._root,
            version,
            base_model=self._config.base_model,
            max_rank=self._config.train.rank,
            base_shapes=preflight.shapes_of(self._config.model),
        )

    async def everywhere(self, number: int, folder: str) -> dict[str, float]:
        """Loads and proves a version on every ready replica; the worst figures of all.

        Raises RejectedVersion when a living engine refuses, EngineError when one is going or gone.
        """
        ready = [replica for replica in self._fleet.replicas if replica.ready]
        found = await asyncio.gather(
            *(self.bring(replica, number, folder) for replica in ready), return_exceptions=True
        )
        for kind in (RejectedVersion, EngineError, BaseException):  # what the adapter is to blame for comes first
            for error in found:
                if isinstance(error, kind):
                    raise error
        figures = [each for each in found if isinstance(each, dict)]
        return {key: max(f[key] for f in figures) for key in figures[0]} if figures else {}

    async def bring(self, replica: Replica, number: int, folder: str) -> dict[str, float]:
        """The same on one replica. One that does not answer is taken out of routing and started again."""
        try:
            if number not in replica.loaded:
                await self._load(replica, number, folder)
            if number not in replica.proved:
                replica.proved[number] = await self._proof(replica, number, folder)
            return replica.proved[number]
        except EngineError as error:
            # vLLM answers 500 both for an adapter it cannot load and while its engine core dies.
            silent = error.status is None
            if (silent or error.status >= 500) and not await replica.client.healthy():  # type: ignore[operator]
                self._fleet.take_out(replica)
                silent = True
            if silent:
                raise EngineError(error.message) from error
            raise RejectedVersion("load", error.message) from error

    async def _load(self, replica: Replica, number: int, folder: str) -> None:
        """One that is given up comes to its end in the engine nevertheless, and is undone there."""
        name = version_name(self._config, number)
        loading = asyncio.create_task(replica.client.load(name, str(self._root / folder)))
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            self._soon(self._undo(loading, replica, number))
            raise
        replica.loaded.add(number)

    async def _undo(self, loading: asyncio.Task[None], replica: Replica, number: int) -> None:
        with contextlib.suppress(EngineError):
            await loading
        async with self.lock:
            if number not in replica.loaded:  # nobody has brought it back meanwhile
                await self.unload(replica, number)

    async def _proof(self, replica: Replica, number: int, folder: str) -> dict[str, float]:
        if self._config.gate.mode == "off":
            return {}
        probe = await asyncio.to_thread(self._probe, folder)
        names = version_name(self._config, number), base_name(self._config)
        return await prove(replica.client, probe, *names, tolerance=self._config.gate.probe_tolerance)

    def _probe(self, folder: str) -> Probe:
        return msgspec.json.decode((self._root / folder / "probe.json").read_bytes(), type=Probe)

    # ------------------------------------------------------------ out

    def retire_soon(self, number: int) -> None:
        """Unloads a version once nobody needs it."""
        self._soon(self._retire(number))

    def thin_out_soon(self) -> None:
        """Folders that the retention rule lets go, go."""
        self._soon(self._thin_out())

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _retire(self, number: int) -> None:
        """Unloads a version nobody leases any more, then thins out the folder by the retention rule."""
        while not self._stays(number):
            await self._fleet.drained(number)
            async with self.lock:  # not between a rollback's probe and its flip
                if not self._stays(number) and not self._fleet.leased(number):
                    await self.forget(number)
                    break
        await self._thin_out()

    async def _thin_out(self) -> None:
        async with self.lock:  # a version that is being gone back to must not lose its files
            try:
                await asyncio.to_thread(self._remove_doomed)
            except OSError as error:
                log.error("retention.failed", reason=str(error))

    def _stays(self, number: int) -> bool:
        return number == self._fleet.serving or number in self._ledger.pinned(self._config.base_model)

    async def forget(self, number: int) -> None:
        """Unloads a version everywhere. No new lease from here on."""
        holders = [r for r in self._fleet.replicas if number in r.loaded]
        for replica in holders:  # all at once, before anything is awaited
            replica.loaded.discard(number)
            replica.proved.pop(number, None)
        for replica in holders:
            await self.unload(replica, number)
        await self._fleet.announce()

    async def unload(self, replica: Replica, number: int) -> None:
        replica.loaded.discard(number)
        replica.proved.pop(number, None)
        try:
            await replica.client.unload(version_name(self._config, number))
        except EngineError as error:
            log.warning("version.unload_failed", version=number, replica=replica.index, reason=error.message)

    def _remove_doomed(self) -> None:
        """Keeps what ``adapters.keep`` and ``adapters.keep_days`` say; files outlive a swap."""
        base, rule = self._config.base_model, self._config.adapters
        oldest = time.time() - rule.keep_days * DAY_S if rule.keep_days else None
        loaded = set().union(*(r.loaded for r in self._fleet.replicas))
        promoted, rejected = doomed(self._ledger, base, keep=rule.keep, older_than=oldest, in_use=loaded)
        for number, folder in promoted:
            self._ledger.retire(number, folder, base, "retention", by="retention")
        for number, folder in rejected:
            self._ledger.remove(number, folder, base, "retention")
            versions.remove(self._root, folder)
        for number, folder in self._ledger.retired(base):
            if number not in loaded:
                versions.remove(self._root, folder)

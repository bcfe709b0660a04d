"""Loads and proves versions on all replicas, serves one of them, and unloads old ones.

    preflight ─▶ load on every ready replica ─▶ prove ─▶ serve ─▶ the old one drains and is unloaded

All changes to a replica's state, to the pointer and to the folder happen here, under one lock. No
task waits for a hold while it has the lock. An engine that starts is loaded without the lock, as
it gets no questions yet: if it hangs in a load, it blocks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import msgspec
import structlog

from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.engine.probe import prove
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.registry import folders, names, preflight
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.names import numbers_among, version_name
from ttrl_server.registry.retention import doomed
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Probe

log = structlog.get_logger()

DAY_S = 86_400.0
AGAIN_S = 1.0
SWAP_ROOM = 3
"""Adapters that a swap needs: served, draining, candidate. The other places are for pins."""

Figures = dict[str, float]


class Placement:
    """Owns the loaded versions of each replica and the pointer to the served version."""

    def __init__(self, config: Config, fleet: Fleet, ledger: Ledger, root: Path) -> None:
        self._config, self._fleet, self._ledger, self._root = config, fleet, ledger, root
        self._changing = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        if served := ledger.served(config.base_model):
            fleet.serving = served[0]
        metrics.VERSION.set(fleet.serving)

    # ------------------------------------------------------------ in

    @contextlib.asynccontextmanager
    async def candidate(self, number: int, folder: str) -> AsyncIterator[None]:
        """Runs preflight, then a block in which no client may name the version.

        If the block fails, the version is unloaded. Raises RejectedVersion when preflight fails.
        """
        await asyncio.to_thread(self._preflight, folder)
        new = number not in self._fleet.living()
        self._fleet.candidate = number if new else None
        try:
            yield
        except BaseException:  # also OSError from the ledger (full disk)
            if new:
                await self._forget(number)
            raise
        finally:
            self._fleet.candidate = None

    async def load(
        self, number: int, folder: str, then: Callable[[Figures], None] | None = None
    ) -> Figures:
        """Loads and proves a version on every ready replica; returns the worst figures.

        Waits for an engine and for room, and tries again when an engine fails meanwhile. ``then``
        gets the figures before any other change. Raises RejectedVersion if a sound engine refuses.
        """
        while True:
            await self._fleet.until(lambda: self._fleet.ready and self._fleet.room(number))
            async with self._changing:
                ready = [replica for replica in self._fleet.replicas if replica.ready]
                if not ready or not self._fleet.room(number):
                    continue
                bringing = (self._bring(replica, number, folder) for replica in ready)
                found = await asyncio.gather(*bringing, return_exceptions=True)
                figures = [each for each in found if isinstance(each, dict)]
                if len(figures) == len(ready):
                    worst = {key: max(f[key] for f in figures) for key in figures[0]}
                    if then:
                        then(worst)
                    return worst
                # A failure of an engine says nothing about the adapter: it is tried again.
                errors = [each for each in found if isinstance(each, BaseException)]
                errors.sort(key=lambda error: not isinstance(error, RejectedVersion))
                if not isinstance(errors[0], EngineError):
                    raise errors[0]
            await asyncio.sleep(AGAIN_S)

    async def _bring(self, replica: Replica, number: int, folder: str) -> Figures:
        """Loads and proves on one replica; a silent, dying or wedged one is restarted."""
        started = time.monotonic()
        try:
            if number not in replica.loaded:
                await self._load(replica, number, folder)
            if number not in replica.proved:
                replica.proved[number] = await self._prove(replica, number, folder)
            return replica.proved[number]
        except EngineError as error:
            silent, broken = error.status is None, (error.status or 0) >= 500
            if error.late:  # it may be wedged: /health alone proves nothing
                lost = number not in replica.loaded or replica.client.answered < started
            else:  # 500: it cannot load the adapter, or its core is dying
                lost = (silent or broken) and not await replica.client.healthy()
            if lost and error.late and replica.ready and self._config.engine.url:
                # We cannot restart an attached engine, and it still answers questions.
                raise RejectedVersion("busy", error.message) from error
            if lost:
                log.error("engine.lost", replica=replica.index, reason=error.message)
                self._fleet.take_out(replica)
            if lost or silent:
                raise EngineError(error.message) from error
            raise RejectedVersion("load", error.message) from error

    async def _load(self, replica: Replica, number: int, folder: str) -> None:
        """Loads a version. If this is cancelled, the engine finishes the load; ``undo`` unloads."""
        name = version_name(self._config.name, number)
        loading = asyncio.create_task(replica.client.load(name, str(self._root / folder)))

        async def undo() -> None:
            with contextlib.suppress(EngineError):
                await loading
            async with self._changing:
                if number not in replica.loaded:  # no other task has loaded it again meanwhile
                    await self._unload(replica, number)

        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            self._soon(undo())
            raise
        replica.loaded.add(number)

    async def _prove(self, replica: Replica, number: int, folder: str) -> Figures:
        if self._config.gate.mode == "off":
            return {}
        content = await asyncio.to_thread((self._root / folder / names.PROBE).read_bytes)
        called = (version_name(self._config.name, n) for n in (number, 0))
        probe = msgspec.json.decode(content, type=Probe)
        tolerance = self._config.gate.probe_tolerance
        return await prove(replica.client, probe, *called, tolerance=tolerance)

    def _preflight(self, folder: str) -> None:
        """Reads every byte of a version. Raises RejectedVersion."""
        preflight.check(
            self._root,
            folders.read(self._root, folder),
            base_model=self._config.base_model,
            max_rank=self._config.train.rank,
            base_shapes=preflight.shapes_of(self._config.model),
        )

    # ------------------------------------------------------------ what is served

    def serve(self, number: int) -> None:
        """Serves a version that every ready replica has; unloads the old one once it is drained."""
        old, self._fleet.serving = self._fleet.serving, number
        metrics.VERSION.set(number)
        if old not in (0, number):
            self.unload_soon(old)

    async def change(self, act: Callable[[], None]) -> None:
        """Calls ``act`` while no version is loaded or unloaded."""
        async with self._changing:
            act()

    # ------------------------------------------------------------ engines that start

    async def bring_up(self, replica: Replica) -> None:
        """Loads and proves the needed versions on an engine that has just started.

        They may change meanwhile: only with all of them it gets questions. Raises EngineError.
        """
        self._fleet.forget(replica)
        await replica.client.find_routes(version_name(self._config.name, 0))
        # An attached engine may still have versions from before a restart of the gateway.
        replica.loaded = numbers_among(await replica.client.models(), self._config.name)
        refused: set[int] = set()
        while not replica.ready:
            for number, folder in self._needed().items():
                decided = number in replica.proved or number in refused
                if not decided and not await self._bring_needed(replica, number, folder):
                    refused.add(number)
            async with self._changing:
                replica.ready = self._needed().keys() <= replica.proved.keys() | refused
        for left_over in replica.loaded - self._needed().keys():
            self.unload_soon(left_over)
        self._fleet.announce()

    def _needed(self) -> dict[int, str]:
        """Number → folder of what every engine must have: the served version, and pins that fit."""
        base = self._config.base_model
        served = self._ledger.served(base)
        pins = list(self._ledger.pinned(base).items())[: self._config.engine.max_loras - SWAP_ROOM]
        return dict([served] if served else []) | dict(pins)

    async def _bring_needed(self, replica: Replica, number: int, folder: str) -> bool:
        """Loads and proves a needed version; False when it is refused: then an earlier version is
        served, if it was the served one."""
        try:
            await asyncio.to_thread(self._preflight, folder)
            await self._bring(replica, number, folder)
            return True
        except RejectedVersion as refusal:
            await self._unload(replica, number)
            elsewhere = any(r.ready and number in r.loaded for r in self._fleet.replicas)
            if number == self._fleet.serving and elsewhere:
                odd = f"this replica refuses a version that others hold: {refusal}"
                raise EngineError(odd) from refusal
            stage, reason = refusal.stage, refusal.reason
            log.error("version.unservable", version=number, stage=stage, reason=reason)
            async with self._changing:
                if number == self._fleet.serving:
                    base, root = self._config.base_model, self._root
                    there = {n for n, name in self._ledger.promoted(base) if (root / name).is_dir()}
                    back_to = next((n for n in self._ledger.before(base, number) if n in there), 0)
                    self._ledger.roll_back(back_to, base, str(refusal), by="restart")
                    self._fleet.serving = back_to
                    metrics.VERSION.set(back_to)
            return False

    # ------------------------------------------------------------ out

    def unload_soon(self, number: int) -> None:
        """Unloads a version once nobody needs it, then applies the retention rule."""
        self._soon(self._retire(number))

    def thin_out_soon(self) -> None:
        """Removes, in the background, the folders that the retention rule does not keep."""
        self._soon(self._thin_out())

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _retire(self, number: int) -> None:
        while number not in self._needed():
            await self._fleet.until(lambda: not self._fleet.held(number))
            async with self._changing:  # a rollback may be about to serve the version
                if number not in self._needed() and not self._fleet.held(number):
                    await self._forget(number)
                    break
        await self._thin_out()

    async def _forget(self, number: int) -> None:
        """Unloads a version from all ready replicas; ``bring_up`` unloads it from starting ones."""
        holders = [r for r in self._fleet.replicas if r.ready and number in r.loaded]
        for replica in holders:  # before the first await: from here on nobody can hold the version
            replica.loaded.discard(number)
        await asyncio.gather(*(self._unload(replica, number) for replica in holders))
        self._fleet.announce()

    async def _unload(self, replica: Replica, number: int) -> None:
        replica.loaded.discard(number)
        replica.proved.pop(number, None)
        try:
            await replica.client.unload(version_name(self._config.name, number))
        except EngineError as error:
            where, reason = replica.index, error.message
            log.warning("version.unload_failed", version=number, replica=where, reason=reason)
            if error.late and replica.ready and not self._config.engine.url:
                self._fleet.take_out(replica)

    async def _thin_out(self) -> None:
        async with self._changing:  # a rollback may be loading one of these versions
            try:
                await asyncio.to_thread(self._remove_doomed)
            except OSError as error:
                log.error("retention.failed", reason=str(error))

    def _remove_doomed(self) -> None:
        """Applies ``adapters.keep`` and ``keep_days``; loaded versions keep their folders."""
        base, rule, ledger = self._config.base_model, self._config.adapters, self._ledger
        oldest = time.time() - rule.keep_days * DAY_S if rule.keep_days else None
        loaded = set().union(*(r.loaded for r in self._fleet.replicas))
        promoted, rejected = doomed(ledger, base, keep=rule.keep, older_than=oldest, in_use=loaded)
        for number, folder in promoted:
            ledger.retire(number, folder, base, "retention", by="retention")
        for number, folder in rejected:
            ledger.remove(number, folder, base, "retention")
            folders.remove(self._root, folder)
        for number, folder in ledger.retired(base):
            if number not in loaded:
                folders.remove(self._root, folder)

"""Hot swap: load on every replica → prove → flip the pointer → drain → unload. Nothing waits, nothing is dropped.

candidate ─preflight─▶ load everywhere ─▶ prove everywhere ─▶ ledger: promoted ─▶ flip ─▶ old one drains, unloads
               └──────────────┴──────────────────┴──▶ ledger: rejected, with stage and reason
"""

from __future__ import annotations

import asyncio
import contextlib
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
from ttrl_server.telemetry import metrics
from ttrl_server.types import Probe

log = structlog.get_logger()


class Swap:
    """Decides which version is served, and makes the engines serve it."""

    def __init__(self, config: Config, fleet: Fleet, ledger: Ledger, root: Path) -> None:
        self._config, self._fleet, self.ledger, self._root = config, fleet, ledger, root
        self._one_at_a_time = asyncio.Lock()
        self._folders: dict[int, str] = {}
        self._background: set[asyncio.Task[None]] = set()
        if served := ledger.served(config.base_model):
            fleet.serving, self._folders[served[0]] = served[0], served[1]
        metrics.VERSION.set(fleet.serving)

    # ------------------------------------------------------------ promotion

    async def judge(self, number: int, folder: str) -> tuple[str, str]:
        """Runs a candidate through the gate; returns its state, promoted or rejected, and the reason."""
        async with self._one_at_a_time:
            self.ledger.propose(number, folder, self._config.base_model)
            try:
                figures = await self._introduce(number, folder)
            except RejectedVersion as refusal:
                return self._reject(number, folder, refusal)
            self.ledger.promote(number, folder, self._config.base_model)
            self._flip(number)
            metrics.VERSIONS.labels("promoted").inc()
            log.info("version.promoted", version=number, **{k: round(v, 5) for k, v in figures.items()})
            return "promoted", ""

    async def roll_back(self, number: int, reason: str) -> None:
        """Serves an earlier promoted version, or the base model (0), from now on and after a restart."""
        async with self._one_at_a_time:
            folder = dict(self.ledger.promoted(self._config.base_model)).get(number, "")
            if number:
                await self._introduce(number, folder)
            self.ledger.roll_back(number, self._config.base_model, reason)
            self._flip(number)
            log.warning("version.rolled_back", to=number, reason=reason)

    def _reject(self, number: int, folder: str, refusal: RejectedVersion) -> tuple[str, str]:
        self.ledger.reject(number, folder, self._config.base_model, refusal.stage, refusal.reason)
        with contextlib.suppress(RejectedVersion):  # it may be rejected for not being there
            versions.strip_trainer_state(self._root, folder)
        metrics.VERSIONS.labels("rejected").inc()
        log.error("version.rejected", version=number, stage=refusal.stage, reason=refusal.reason)
        return "rejected", str(refusal)

    async def _introduce(self, number: int, folder: str) -> dict[str, float]:
        """Preflight, then two phases: loaded on every ready replica, proved on every one."""
        await asyncio.to_thread(self._preflight, folder)
        self._folders[number] = folder
        while True:
            await self._fleet.until_ready()
            await self._fleet.until_room()
            replicas = [r for r in self._fleet.replicas if r.ready]
            try:
                figures = [await self._bring(replica, number, folder) for replica in replicas]
                return {key: max(f[key] for f in figures) for key in figures[0]} if figures else {}
            except EngineError as error:
                if error.status is not None:
                    await self._forget(number)
                    raise RejectedVersion("load", error.message) from error
                # The engine went away, which says nothing about the adapter: once more when it is back.
                await asyncio.sleep(1)
            except RejectedVersion:
                await self._forget(number)
                raise

    async def _bring(self, replica: Replica, number: int, folder: str) -> dict[str, float]:
        name = version_name(self._config, number)
        if number not in replica.loaded:
            await replica.client.load(name, str(self._root / folder))
            replica.loaded.add(number)
        if self._config.gate.mode == "off":
            return {}
        probe = await asyncio.to_thread(self._probe, folder)
        return await prove(
            replica.client, probe, name, base_name(self._config), tolerance=self._config.gate.probe_tolerance
        )

    def _preflight(self, folder: str) -> None:
        version = versions.read(self._root, folder)
        preflight.check(self._root, version, base_model=self._config.base_model, max_rank=self._config.train.rank)

    def _probe(self, folder: str) -> Probe:
        return msgspec.json.decode((self._root / folder / "probe.json").read_bytes(), type=Probe)

    # ------------------------------------------------------------ the pointer and what it leaves behind

    def _flip(self, number: int) -> None:
        old, self._fleet.serving = self._fleet.serving, number
        metrics.VERSION.set(number)
        if old not in (0, number):
            task = asyncio.get_running_loop().create_task(self._retire(old))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _retire(self, number: int) -> None:
        """Unloads a version nobody leases any more, then thins out the folder by the retention rule."""
        await self._fleet.drained(number)
        if self._fleet.serving != number:
            await self._forget(number)
        await asyncio.to_thread(self._thin_out)

    async def _forget(self, number: int) -> None:
        holders = [r for r in self._fleet.replicas if number in r.loaded]
        for replica in holders:  # all at once, before anything is awaited: no new lease from here on
            replica.loaded.discard(number)
        for replica in holders:
            try:
                await replica.client.unload(version_name(self._config, number))
            except EngineError as error:
                log.warning("version.unload_failed", version=number, replica=replica.index, reason=error.message)
        await self._fleet.announce()

    def _thin_out(self) -> None:
        """Keeps the newest ``adapters.keep`` promoted versions, always the served one; files outlive a swap."""
        promoted = self.ledger.promoted(self._config.base_model)
        loaded = set().union(*(r.loaded for r in self._fleet.replicas))
        for number, folder in promoted[: -self._config.adapters.keep]:
            if number != self._fleet.serving and number not in loaded:
                self.ledger.retire(number, folder, self._config.base_model, "retention")
                versions.remove(self._root, folder)

    # ------------------------------------------------------------ engines that come (back) up

    async def bring_up(self, replica: Replica) -> None:
        """Loads and proves the served version on an engine that has just started, before it is routed to."""
        async with self._one_at_a_time:
            replica.loaded.clear()
            while self._fleet.serving:
                number, folder = self._fleet.serving, self._folders[self._fleet.serving]
                try:
                    await asyncio.to_thread(self._preflight, folder)
                    await self._bring(replica, number, folder)
                    break
                except RejectedVersion as refusal:
                    self._fall_back(number, refusal)
            replica.ready = True
        await self._fleet.announce()

    def _fall_back(self, number: int, refusal: RejectedVersion) -> None:
        """The served version cannot be served: the promoted one before it, or the base model, takes over."""
        log.error("version.unservable", version=number, stage=refusal.stage, reason=refusal.reason)
        earlier = [
            (n, f) for n, f in self.ledger.promoted(self._config.base_model) if n < number and (self._root / f).is_dir()
        ]
        back_to, folder = earlier[-1] if earlier else (0, "")
        self.ledger.roll_back(back_to, self._config.base_model, str(refusal))
        if back_to:
            self._folders[back_to] = folder
        self._fleet.serving = back_to
        metrics.VERSION.set(back_to)

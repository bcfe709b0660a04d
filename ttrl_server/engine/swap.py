"""Hot swap: load on every replica → prove → flip the pointer → drain → unload. Nothing waits, nothing is dropped.

candidate ─preflight─▶ load, prove everywhere ─▶ ask held-back questions ─▶ ledger: promoted ─▶ flip ─▶ old one unloads
               └──────────────┴───────────────────────────┴──▶ ledger: rejected, with stage and reason
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from ttrl_server.config import Config
from ttrl_server.engine.command import base_name, numbers_in, version_name
from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.engine.probe import prove
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.registry import preflight, versions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.telemetry import metrics
from ttrl_server.types import Probe

log = structlog.get_logger()


CHECK_S = 300.0
"""Within the trainer's patience for a verdict."""

Decide = Callable[[dict[str, float]], None]
"""Writes down what is served from now on, with the figures it is owed to."""
Check = Callable[[Replica, int, int], Awaitable[dict[str, float]]]
"""Examines a loaded candidate beside the version that is served; raises RejectedVersion."""


class Swap:
    """Decides which version is served, and makes the engines serve it."""

    def __init__(self, config: Config, fleet: Fleet, ledger: Ledger, root: Path, check: Check | None = None) -> None:
        self._config, self._fleet, self.ledger, self._root, self._check = config, fleet, ledger, root, check
        self._deciding = asyncio.Lock()
        """One candidate or rollback at a time; held while it waits for an engine or for room."""
        self._placing = asyncio.Lock()
        """What is loaded where; never held while waiting for an engine or a lease."""
        self._folders: dict[int, str] = {}
        self._checking: asyncio.Task[dict[str, float]] | None = None
        self._background: set[asyncio.Task[None]] = set()
        if served := ledger.served(config.base_model):
            fleet.serving, self._folders[served[0]] = served[0], served[1]
        metrics.VERSION.set(fleet.serving)

    # ------------------------------------------------------------ promotion

    async def judge(self, number: int, folder: str) -> tuple[str, str]:
        """Runs a candidate through the gate; returns its state, promoted or rejected, and the reason."""
        async with self._deciding:
            if before := self.judged(number):  # asked twice, and the first asking had to wait
                return before
            self.ledger.propose(number, folder, self._config.base_model)
            try:
                check = None if self._config.gate.mode == "off" else self._check
                promote = functools.partial(self.ledger.promote, number, folder, self._config.base_model)
                figures = await self._introduce(number, folder, promote, check)
            except RejectedVersion as refusal:
                return self._reject(number, folder, refusal)
            metrics.VERSIONS.labels("promoted").inc()
            log.info("version.promoted", version=number, **{k: round(v, 5) for k, v in figures.items()})
            return "promoted", ""

    def judged(self, number: int) -> tuple[str, str] | None:
        """What ``judge`` said of a version before; None for one that it has not decided."""
        verdict = self.ledger.verdict(number)
        return ("rejected" if verdict == "rejected" else "promoted", "judged before") if verdict else None

    async def roll_back(self, number: int, reason: str) -> None:
        """Serves an earlier promoted version, or the base model (0), from now on and after a restart."""
        if self._checking:
            self._checking.cancel()  # a candidate that is being asked questions must not hold this up
        async with self._deciding:
            if number == self._fleet.serving:
                return
            folder = dict(self.ledger.promoted(self._config.base_model)).get(number, "")
            if number:
                await self._introduce(number, folder, lambda _: self._go_back(number, reason))
            else:
                async with self._placing:
                    self._go_back(0, reason)
                    self._flip(0)
            log.warning("version.rolled_back", to=number, reason=reason)

    def _go_back(self, number: int, reason: str) -> None:
        self.ledger.roll_back(number, self._config.base_model, reason)

    def _reject(self, number: int, folder: str, refusal: RejectedVersion) -> tuple[str, str]:
        self.ledger.reject(number, folder, self._config.base_model, refusal.stage, refusal.reason)
        with contextlib.suppress(RejectedVersion):  # it may be rejected for not being there
            versions.strip_trainer_state(self._root, folder)
        metrics.VERSIONS.labels("rejected").inc()
        log.error("version.rejected", version=number, stage=refusal.stage, reason=refusal.reason)
        return "rejected", str(refusal)

    async def _introduce(
        self, number: int, folder: str, decide: Decide, check: Check | None = None
    ) -> dict[str, float]:
        """Preflight; loaded and proved on every ready replica; checked; ``decide`` writes it down; the pointer flips.

        ``check`` asks the loaded candidate what is asked before a first promotion only.
        """
        await asyncio.to_thread(self._preflight, folder)
        self._folders[number] = folder
        new = number not in self._fleet.living()
        self._fleet.candidate = number if new else None
        try:
            return await self._install(number, folder, decide, check)
        except BaseException:  # also a full disk under ``decide``: the version must not keep its place
            if new:
                await self._forget(number)
            raise
        finally:
            self._fleet.candidate = None

    async def _install(self, number: int, folder: str, decide: Decide, check: Check | None) -> dict[str, float]:
        checked: dict[str, float] | None = None if check else {}
        while True:
            await self._fleet.until_ready()
            await self._fleet.until_room(number)
            async with self._placing:
                replicas = [r for r in self._fleet.replicas if r.ready]
                if not replicas or not self._fleet.room(number):
                    continue
                with contextlib.suppress(EngineError):  # it went away, which says nothing about the adapter
                    figures = [await self._bring(replica, number, folder) for replica in replicas]
                    if checked is not None:
                        found = {key: max(f[key] for f in figures) for key in figures[0]} | checked
                        decide(found)
                        self._flip(number)
                        return found
            if check and checked is None and number in replicas[0].loaded:
                with contextlib.suppress(EngineError):
                    checked = await self._ask(check, replicas[0], number)
                    continue
            await asyncio.sleep(1)

    async def _ask(self, check: Check, replica: Replica, number: int) -> dict[str, float]:
        """Takes as long as its samples; nothing else waits for it. An engine too busy for it sheds the candidate."""
        self._checking = asyncio.create_task(asyncio.wait_for(check(replica, number, self._fleet.serving), CHECK_S))
        try:
            return await self._checking
        except TimeoutError:
            raise RejectedVersion("gate", f"held-back questions were not answered within {CHECK_S:g} s") from None
        except asyncio.CancelledError:
            if not self._checking.cancelled() or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            raise RejectedVersion("gate", "given up for a rollback") from None
        finally:
            self._checking.cancel()
            self._checking = None

    async def _bring(self, replica: Replica, number: int, folder: str) -> dict[str, float]:
        """Raises RejectedVersion when a living engine refuses, EngineError when the engine is going or gone."""
        name = version_name(self._config, number)
        try:
            if number not in replica.loaded:
                await replica.client.load(name, str(self._root / folder))
                replica.loaded.add(number)
            if self._config.gate.mode == "off":
                return {}
            probe = await asyncio.to_thread(self._probe, folder)
            return await prove(
                replica.client, probe, name, base_name(self._config), tolerance=self._config.gate.probe_tolerance
            )
        except EngineError as error:
            # vLLM answers 500 both for an adapter it cannot load and while its engine core dies.
            if error.status is None or (error.status >= 500 and not await replica.client.healthy()):
                raise EngineError(error.message) from error
            raise RejectedVersion("load", error.message) from error

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
            self._retire_soon(old)

    def _retire_soon(self, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._retire(number))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _retire(self, number: int) -> None:
        """Unloads a version nobody leases any more, then thins out the folder by the retention rule."""
        while number != self._fleet.serving:
            await self._fleet.drained(number)
            async with self._placing:  # not between a rollback's probe and its flip
                if number != self._fleet.serving and not self._fleet.leased(number):
                    await self._forget(number)
                    break
        await asyncio.to_thread(self._thin_out)

    async def _forget(self, number: int) -> None:
        holders = [r for r in self._fleet.replicas if number in r.loaded]
        for replica in holders:  # all at once, before anything is awaited: no new lease from here on
            replica.loaded.discard(number)
        for replica in holders:
            await self._unload(replica, number)
        await self._fleet.announce()

    async def _unload(self, replica: Replica, number: int) -> None:
        replica.loaded.discard(number)
        try:
            await replica.client.unload(version_name(self._config, number))
        except EngineError as error:
            log.warning("version.unload_failed", version=number, replica=replica.index, reason=error.message)

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
        """Loads and proves the served version on an engine that has just come up, before it is routed to."""
        async with self._placing:
            # An attached engine may have outlived a gateway, or our belief that it was lost.
            replica.loaded = numbers_in(self._config, await replica.client.models())
            while self._fleet.serving:
                number, folder = self._fleet.serving, self._folders[self._fleet.serving]
                try:
                    await asyncio.to_thread(self._preflight, folder)
                    await self._bring(replica, number, folder)
                    break
                except RejectedVersion as refusal:
                    await self._unload(replica, number)
                    if any(r.ready and number in r.loaded for r in self._fleet.replicas):
                        raise EngineError(f"this replica refuses a version that others serve: {refusal}") from refusal
                    self._fall_back(number, refusal)
            replica.ready = True
            for left_over in replica.loaded - {self._fleet.serving}:
                self._retire_soon(left_over)
        await self._fleet.announce()

    def _fall_back(self, number: int, refusal: RejectedVersion) -> None:
        """The served version cannot be served: the promoted one before it, or the base model, takes over."""
        log.error("version.unservable", version=number, stage=refusal.stage, reason=refusal.reason)
        promoted, left = self.ledger.promoted(self._config.base_model), self.ledger.left(self._config.base_model)
        earlier = [(n, f) for n, f in promoted if n < number and n not in left and (self._root / f).is_dir()]
        back_to, folder = earlier[-1] if earlier else (0, "")
        self.ledger.roll_back(back_to, self._config.base_model, str(refusal))
        if back_to:
            self._folders[back_to] = folder
        self._fleet.serving = back_to
        metrics.VERSION.set(back_to)

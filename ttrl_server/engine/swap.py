"""Hot swap: load on every replica → prove → flip the pointer → drain → unload. Nothing waits, nothing is dropped.

candidate ─preflight─▶ load, prove everywhere ─▶ ask it questions ─▶ ledger: promoted ─▶ flip ─▶ old one unloads
               └──────────────┴────────────────────────┴──▶ ledger: rejected, with stage and reason
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import structlog

from ttrl_server.config import Config
from ttrl_server.engine.command import numbers_in
from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.engine.placement import Placement
from ttrl_server.errors import EngineError, RejectedVersion, RequestError
from ttrl_server.registry import versions
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.past import JUDGEMENTS, By
from ttrl_server.telemetry import metrics

log = structlog.get_logger()

CHECK_S = 300.0
"""Within the trainer's patience for a verdict."""
SWAP_ROOM = 3
"""Adapters a swap needs room for: served, draining, candidate. The rest may be pinned."""

Decide = Callable[[dict[str, float]], None]
"""Writes down what is served from now on, with the figures it is owed to."""
Check = Callable[[Replica, int, int], Awaitable[dict[str, float]]]
"""Examines a loaded candidate beside the version that is served; raises RejectedVersion."""


class Swap:
    """Decides which version is served, and makes the engines serve it."""

    def __init__(self, config: Config, fleet: Fleet, ledger: Ledger, root: Path, check: Check | None = None) -> None:
        self._config, self._fleet, self.ledger, self._root, self._check = config, fleet, ledger, root, check
        self._place = Placement(config, fleet, ledger, root)
        self._deciding = asyncio.Lock()
        """One candidate or rollback at a time; held while it waits for an engine or for room."""
        self._trying: asyncio.Task[dict[str, float]] | None = None
        """A candidate on its way; what a person or an alarm wants goes before it."""
        if served := ledger.served(config.base_model):
            fleet.serving = served[0]
        metrics.VERSION.set(fleet.serving)

    @property
    def _base(self) -> str:
        return self._config.base_model

    # ------------------------------------------------------------ promotion

    async def judge(self, number: int, folder: str) -> tuple[str, str]:
        """Runs a candidate through the gate; returns its state, promoted or rejected, and the reason."""
        async with self._deciding:
            if before := self.judged(number):  # asked twice, and the first asking had to wait
                return before
            self.ledger.propose(number, folder, self._base)
            try:
                figures = await self._try(number, folder)
            except RejectedVersion as refusal:
                return self._reject(number, folder, refusal)
            metrics.VERSIONS.labels("promoted").inc()
            metrics.GATE_SECONDS.observe(figures.get("gate_seconds", 0.0))
            metrics.GATE_TOKENS.inc(figures.get("gate_tokens", 0.0))
            log.info("version.promoted", version=number, **{k: round(v, 5) for k, v in figures.items()})
            return "promoted", ""

    async def _try(self, number: int, folder: str) -> dict[str, float]:
        """Brings a candidate in, unless something more urgent has it given up before it is served."""
        parent = versions.read(self._root, folder).parent
        if parent != self._fleet.serving:  # gone back from while the step was under way: it must not come back with it
            raise RejectedVersion("stale", f"made from v{parent}, which is not served any more")
        check = None if self._config.gate.mode == "off" else self._check
        promote = functools.partial(self.ledger.promote, number, folder, self._base, by="gate")
        self._trying = asyncio.create_task(self._introduce(number, folder, promote, check))
        try:
            return await self._trying
        except asyncio.CancelledError:
            if not self._trying.cancelled() or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            raise RejectedVersion("given_up", "what a person or an alarm wanted came first") from None
        finally:
            self._trying.cancel()
            self._trying = None

    def judged(self, number: int) -> tuple[str, str] | None:
        """What ``judge`` said of a version before; None for one that it has not decided."""
        verdict = self.ledger.verdict(number)
        return ("rejected" if verdict == "rejected" else "promoted", "judged before") if verdict else None

    async def roll_back(self, number: int, reason: str, *, by: By = "operator", leaving: int | None = None) -> None:
        """Serves an earlier promoted version, or the base model (0), from now on and after a restart.

        Does nothing when ``leaving`` is named and is not what is served by then.
        """
        self._give_up_candidate()
        async with self._deciding:
            if number == self._fleet.serving or leaving not in (None, self._fleet.serving):
                return
            write = functools.partial(self.ledger.roll_back, number, self._base, reason, by=by)
            if folder := self.ledger.servable(number, self._base):
                await self._introduce(number, folder, lambda _: write())
            else:
                async with self._place.lock:
                    write()
                    self._flip(0)
            log.warning("version.rolled_back", to=number, reason=reason, by=by)

    async def override(self, number: int, folder: str, reason: str) -> None:
        """The operator serves a version that the gate refused; preflight and proof stand above the operator."""
        self._give_up_candidate()
        async with self._deciding:
            promote = functools.partial(self.ledger.promote, number, folder, self._base, by="operator", reason=reason)
            await self._introduce(number, folder, promote)
            log.warning("version.overridden", version=number, reason=reason)

    def _give_up_candidate(self) -> None:
        """A candidate that waits for an engine or for room, or is asked questions, must not hold anybody up."""
        if self._trying:
            self._trying.cancel()

    def _reject(self, number: int, folder: str, refusal: RejectedVersion) -> tuple[str, str]:
        self.ledger.reject(number, folder, self._base, refusal.stage, refusal.reason, by="gate")
        if refusal.stage not in JUDGEMENTS:  # no operator can have it served, no step will start from it
            with contextlib.suppress(RejectedVersion):  # it may be rejected for not being there
                versions.strip_trainer_state(self._root, folder)
        metrics.VERSIONS.labels("rejected").inc()
        metrics.REJECTIONS.labels(refusal.stage).inc()
        self._place.thin_out_soon()
        log.error("version.rejected", version=number, stage=refusal.stage, reason=refusal.reason)
        return "rejected", str(refusal)

    async def _introduce(
        self, number: int, folder: str, decide: Decide, check: Check | None = None
    ) -> dict[str, float]:
        """Preflight; loaded and proved on every ready replica; checked; ``decide`` writes it down; the pointer flips.

        ``check`` asks the loaded candidate what is asked before a first promotion only.
        """
        return await self._bring_in(number, folder, self._install(number, folder, decide, check))

    async def _bring_in(
        self, number: int, folder: str, bringing: Coroutine[None, None, dict[str, float]]
    ) -> dict[str, float]:
        """Runs ``bringing``; nobody may name the version before it is proved, and a failure leaves nothing loaded."""
        try:
            await asyncio.to_thread(self._place.preflight, folder)
        except BaseException:
            bringing.close()
            raise
        new = number not in self._fleet.living()
        self._fleet.candidate = number if new else None
        try:
            return await bringing
        except BaseException:  # also a full disk under ``decide``: the version must not keep its place
            if new:
                await self._place.forget(number)
            raise
        finally:
            self._fleet.candidate = None

    async def _install(self, number: int, folder: str, decide: Decide, check: Check | None) -> dict[str, float]:
        checked: dict[str, float] | None = None if check else {}
        while True:
            await self._fleet.until_ready()
            await self._fleet.until_room(number)
            async with self._place.lock:
                if not self._fleet.ready or not self._fleet.room(number):
                    continue
                with contextlib.suppress(EngineError):  # it went away, which says nothing about the adapter
                    figures = await self._place.everywhere(number, folder)
                    if checked is not None and self._fleet.ready:
                        decide(figures | checked)
                        self._flip(number)
                        return figures | checked
            holder = next((r for r in self._fleet.replicas if r.ready and number in r.loaded), None)
            if check and checked is None and holder:
                with contextlib.suppress(EngineError):
                    checked = await self._ask(check, holder, number)
                    continue
            await asyncio.sleep(1)

    async def _ask(self, check: Check, replica: Replica, number: int) -> dict[str, float]:
        """Takes as long as its samples; nothing else waits for it. An engine too busy for it sheds the candidate."""
        try:
            return await asyncio.wait_for(check(replica, number, self._fleet.serving), CHECK_S)
        except TimeoutError:
            raise RejectedVersion("busy", f"questions were not answered within {CHECK_S:g} s") from None

    def _flip(self, number: int) -> None:
        old, self._fleet.serving = self._fleet.serving, number
        metrics.VERSION.set(number)
        if old not in (0, number):
            self._place.retire_soon(old)

    # ------------------------------------------------------------ what stays, what goes

    async def pin(self, number: int) -> None:
        """Keeps a version in the engine, so that ``<model>@v7`` is answered whatever is served.

        Raises RequestError when there is no room beside what a swap needs, RejectedVersion when it cannot be loaded.
        """
        self._give_up_candidate()
        async with self._deciding:
            pins, most = self.ledger.pinned(self._base), self._config.engine.max_loras - SWAP_ROOM
            if number not in pins and (len(pins) >= most or not self._fleet.room(number)):
                raise RequestError(
                    f"engine.max_loras {self._config.engine.max_loras} leaves room for {most} pinned versions beside "
                    "what a swap needs: unpin one, wait for one to drain, or start with a larger engine.max_loras.",
                    status=409,
                    code="no_room",
                )
            folder = self.ledger.servable(number, self._base) or ""
            await self._bring_in(number, folder, self._keep_pinned(number, folder))

    async def _keep_pinned(self, number: int, folder: str) -> dict[str, float]:
        async with self._place.lock:
            figures = await self._place.everywhere(number, folder)
            self.ledger.pin(number, folder, self._base, by="operator")
            return figures

    async def unpin(self, number: int) -> None:
        self._give_up_candidate()
        async with self._deciding:
            self.ledger.unpin(number, self._base, by="operator")
            if number != self._fleet.serving:
                self._place.retire_soon(number)

    async def retire(self, number: int, folder: str, reason: str) -> None:
        """It can never be served again; its files go one swap later. Raises RejectedVersion for the served one."""
        self._give_up_candidate()
        async with self._deciding:
            self.ledger.retire(number, folder, self._base, reason, by="operator")
            self._place.retire_soon(number)

    # ------------------------------------------------------------ engines that come (back) up

    async def bring_up(self, replica: Replica) -> None:
        """Loads and proves the served version on an engine that has just come up, before it is routed to."""
        async with self._place.lock:
            # An attached engine may have outlived a gateway, or our belief that it was lost.
            self._fleet.forget(replica)
            replica.loaded = numbers_in(self._config, await replica.client.models())
            while number := self._fleet.serving:
                served = self.ledger.served(self._base)
                folder = served[1] if served else ""
                try:
                    await self._load_kept(replica, number, folder)
                    break
                except RejectedVersion as refusal:
                    await self._place.unload(replica, number)
                    if any(r.ready and number in r.loaded for r in self._fleet.replicas):
                        raise EngineError(f"this replica refuses a version that others serve: {refusal}") from refusal
                    self._fall_back(number, refusal)
            pins = dict(list(self.ledger.pinned(self._base).items())[: self._config.engine.max_loras - SWAP_ROOM])
            for pinned, folder in pins.items():
                try:
                    await self._load_kept(replica, pinned, folder)
                except RejectedVersion as refusal:
                    await self._place.unload(replica, pinned)
                    log.error("version.unservable", version=pinned, stage=refusal.stage, reason=refusal.reason)
            replica.ready = True
            for left_over in replica.loaded - {self._fleet.serving, *pins}:
                self._place.retire_soon(left_over)
        await self._fleet.announce()

    async def _load_kept(self, replica: Replica, number: int, folder: str) -> None:
        await asyncio.to_thread(self._place.preflight, folder)
        await self._place.bring(replica, number, folder)

    def _fall_back(self, number: int, refusal: RejectedVersion) -> None:
        """The served version cannot be served: the promoted one before it, or the base model, takes over."""
        log.error("version.unservable", version=number, stage=refusal.stage, reason=refusal.reason)
        left = self.ledger.left(self._base)
        earlier = [
            n
            for n, folder in self.ledger.promoted(self._base)
            if n < number and n not in left and (self._root / folder).is_dir()
        ]
        back_to = max(earlier, default=0)
        self.ledger.roll_back(back_to, self._base, str(refusal), by="restart")
        self._fleet.serving = back_to
        metrics.VERSION.set(back_to)

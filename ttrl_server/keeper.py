"""What keeps learning and serving from going wrong: alarms after each step, and a watch over what is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import structlog

from ttrl_server.config import Config
from ttrl_server.engine.fleet import Fleet
from ttrl_server.engine.swap import CHECK_S, Swap
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.guards.alarms import (
    LAST_GOOD,
    LAST_SOUND,
    LAST_SOUND_BEFORE,
    Alarm,
    Alarms,
    Pair,
    is_sound,
    outside,
)
from ttrl_server.guards.gate import Gate
from ttrl_server.guards.watch import Watch
from ttrl_server.registry.past import By
from ttrl_server.telemetry import metrics
from ttrl_server.types import Group, Vote

log = structlog.get_logger()

AGAIN_S = 10.0
Paired = Callable[[int], Awaitable[Pair | None]]
"""What a version's questions looked like when they were first asked, and as it answers them."""


class Keeper:
    """Ends learning on an alarm, and goes back from a version that fell. ``stopped`` names why learning has ended."""

    def __init__(self, config: Config, fleet: Fleet, swap: Swap, gate: Gate, paired: Paired) -> None:
        self._config, self._fleet, self._swap, self._gate, self._paired = config, fleet, swap, gate, paired
        self._ledger = swap.ledger
        self._alarms = Alarms(config.guard)
        self._watch = Watch(config.guard, critics=min(2, max(1, len(config.api.keys))))
        self._looking: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self.stopped: str | None = None

    def close(self) -> None:
        for task in (self._looking, self._returning):
            if task:
                task.cancel()

    # ------------------------------------------------------------ after a step

    async def after_verdict(self, state: str, reason: str, figures: Mapping[str, float], parent: int) -> None:
        """A version was promoted or rejected."""
        pair = await self._paired(parent)
        await self.raise_alarm(self._alarms.after_verdict(state, reason, figures, parent=parent, pair=pair))

    async def after_skip(self, figures: Mapping[str, float]) -> None:
        """A batch made no version."""
        await self.raise_alarm(self._alarms.after_skip(figures))

    async def raise_alarm(self, alarm: Alarm | None) -> None:
        """Learning ends, serving goes on: with the version named, where what is served is in doubt."""
        if alarm is None or self.stopped:
            return
        self.stopped = f"{alarm.name}: {alarm.reason}"
        metrics.ALARMS.labels(alarm.name).inc()
        log.error("learning.stopped", alarm=alarm.name, reason=alarm.reason, return_to=alarm.return_to)
        if alarm.return_to is not None:
            await self._return_to(alarm.return_to, self.stopped, by="alarm")

    async def _return_to(self, wanted: int, reason: str, *, by: By) -> None:
        """The version itself if it can still be served, or the newest that is fit to be; else the base model."""
        base, serving = self._config.base_model, self._fleet.serving
        shunned = self._ledger.left(base) | self._ledger.fallen(base)
        kept = [n for n, _ in self._ledger.promoted(base) if n <= serving and n not in shunned]
        sound = [n for n in kept if n not in self._ledger.forced(base) and is_sound(self._ledger.figures(n))]
        if wanted in (LAST_SOUND, LAST_SOUND_BEFORE):
            last = serving if wanted == LAST_SOUND else serving - 1
            wanted = max((n for n in sound if n <= last), default=0)
        elif wanted == LAST_GOOD:
            wanted = max([n for n in kept if n < serving and await self._is_good(n)], default=0)
        number = wanted if wanted in kept else 0
        try:
            await self._go_back(number, reason, by, serving)
        except OSError as error:  # a full disk: what is in doubt goes as soon as it can be written down
            log.error("rollback.failed", to=number, reason=str(error))
            self._returning = asyncio.create_task(self._until_back(number, reason, by, serving))

    async def _go_back(self, number: int, reason: str, by: By, leaving: int) -> None:
        try:
            await self._swap.roll_back(number, reason, by=by, leaving=leaving)
        except RejectedVersion as error:
            log.error("version.unservable", version=number, reason=str(error))
            await self._swap.roll_back(0, reason, by=by, leaving=leaving)

    async def _until_back(self, number: int, reason: str, by: By, leaving: int) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                await self._go_back(number, reason, by, leaving)
                return

    async def _is_good(self, number: int) -> bool:
        """Whether enough is known of a version, and all of it keeps to its bands."""
        pair = await self._paired(number)
        guard = self._config.guard
        return pair is not None and pair[0].groups >= guard.watch_groups and outside(pair, guard) is None

    # ------------------------------------------------------------ what is served, watched

    def see(self, group: Group, vote: Vote, text: str | None) -> None:
        """A question that followed the served version."""
        if group.version == self._fleet.serving:  # what ran through a swap says nothing of it
            self._watch.see(group, vote, text)
            self._look_back()

    def hear(self, group: Group, tenant: str, praise: bool) -> None:
        """A person's verdict on an answer."""
        self._watch.hear(group, tenant, praise)
        self._look_back()

    def _look_back(self) -> None:
        """Looks into the served version where its live signals have got worse; one look at a time."""
        served = self._fleet.serving
        if served and served == self._watch.version and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_into(served))

    async def _look_into(self, served: int) -> None:
        found, reason = self._watch.suspicion(), self._watch.complaint()
        if not (found or reason):
            return
        if reason is None and found:
            suspicion, questions = found
            replica = next((r for r in self._fleet.replicas if r.ready and served in r.loaded), None)
            if replica is None:
                return
            try:
                reason = await asyncio.wait_for(self._gate.confirm(replica, served, questions), CHECK_S)
            except (EngineError, TimeoutError):
                return
            log.warning("watch.suspicion", version=served, change=suspicion, confirmed=reason)
            if reason is None:
                self._watch.traffic_changed()
                return
        if served != self._fleet.serving:
            return
        metrics.ALARMS.labels("fallen").inc()
        await self._return_to(LAST_SOUND_BEFORE, f"v{served} fell: {reason}", by="watch")
        self._watch.turned_back(self._fleet.serving)

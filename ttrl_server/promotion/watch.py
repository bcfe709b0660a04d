"""Watches the signals of the served version, and rolls back a version that falls.

The clients' questions may change too. So a significant change of the signals is only a suspicion.
The gate then asks the base model and the version the same questions again (``Gate.confirm``). The
version has fallen only if it is worse than the base model there. Feedback needs no confirmation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from ttrl_server.engine.fleet import Fleet, Replica
from ttrl_server.errors import EngineError
from ttrl_server.promotion.attractors import Attractors, Suspicion
from ttrl_server.promotion.bands import drift
from ttrl_server.promotion.canaries import Canary, Sheet
from ttrl_server.promotion.gate import Gate
from ttrl_server.promotion.promotions import EXAMINE_S
from ttrl_server.promotion.rollback import Rollback
from ttrl_server.promotion.trials import contrast, mean
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.telemetry import metrics
from ttrl_server.types import Group, Prompt, Sampling, Signals, Vote
from ttrl_server.voting import signals

log = structlog.get_logger()

SUSPICIOUS_Z = 3.0
"""A fall of more standard errors than this is a suspicion; in feedback it is a fall."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One group of the served version."""

    canary: Canary
    signals: Signals
    flipped: float
    """1 for a flip of the question's majority, else 0."""


class Watch:
    """The latest ``guard.watch_window`` groups of the served version, and as many before it."""

    def __init__(self, guard: GuardConfig, *, critics: int = 1) -> None:
        """``critics``: number of tenants with negative feedback that a complaint needs."""
        self._guard, self._critics = guard, critics
        self.version = 0
        """The version that these signals belong to."""
        self._before: deque[Seen] = deque(maxlen=guard.watch_window)
        self._now: deque[Seen] = deque(maxlen=guard.watch_window)
        self._praise_before: deque[float] = deque(maxlen=guard.watch_window)
        self._praise: dict[str, tuple[str, float]] = {}
        """By answer: tenant and praise (1 or 0), the newest last."""
        self._majorities: dict[str, str | None] = {}

    def see(self, group: Group, vote: Vote, prompt: Prompt) -> None:
        """Notes a question that the served version answered."""
        if not group.rollouts:
            return
        if group.version != self.version:
            self.version = group.version
            self._before.extend(self._now)
            self._praise_before.extend(self._praises())
            self._now.clear()
            self._praise.clear()
        key, said = prompt.key, vote.pseudo_label
        longest = max(len(rollout.token_ids) for rollout in group.rollouts)
        asked = Canary(prompt, Sampling(group.temperature, 2 * longest))
        asked.said[group.version] = Sheet.of(group.rollouts, vote.answers)
        flipped = key in self._majorities and self._majorities[key] != said
        self._majorities[key] = said
        while len(self._majorities) > 4 * self._guard.watch_window:
            del self._majorities[next(iter(self._majorities))]
        self._now.append(Seen(asked, signals.of_group(group, vote), float(flipped)))

    def hear(self, group: Group, tenant: str, praise: bool) -> None:
        """Notes feedback on an answer; the latest feedback on it counts."""
        if group.version == self.version:
            self._praise.pop(group.question_id, None)
            self._praise[group.question_id] = (tenant, float(praise))
            while len(self._praise) > self._guard.watch_window:
                del self._praise[next(iter(self._praise))]

    def turned_back(self, version: int) -> None:
        """Clears the signals of a version that was rolled back; ``version`` is served now."""
        self.version = version
        self._now.clear()
        self._praise.clear()

    def traffic_changed(self) -> None:
        """After a suspicion that was not confirmed: compares with the current groups instead."""
        self._before.clear()
        self._before.extend(self._now)
        self._now.clear()

    def complaint(self) -> str | None:
        """Says how far the feedback on the served version fell; None when it did not."""
        if len({tenant for tenant, praise in self._praise.values() if not praise}) < self._critics:
            return None
        fall = _fall(self._praise_before, self._praises(), self._guard.watch_groups)
        return f"praise fell: {fall}" if fall else None

    def suspicion(self) -> tuple[str, list[Canary]] | None:
        """What became worse, and the questions to check; None when nothing became worse."""
        before, now, least = self._before, self._now, self._guard.watch_groups
        asked = [seen.canary for seen in now]
        if min(len(before), len(now)) < least:
            return None
        for name in ("majority", "extractable"):
            if fall := _fall(_of(before, name), _of(now, name), least):
                return f"{name} fell: {fall}", asked
        flips = [-seen.flipped for seen in before], [-seen.flipped for seen in now]
        if rise := _fall(*flips, least):
            return f"more questions flip: {rise}", asked
        for name, lowest, highest in (
            ("entropy", self._guard.min_entropy, self._guard.max_entropy),
            ("length", self._guard.min_length, self._guard.max_length),
        ):
            then = mean(_of(before, name))
            share = mean(_of(now, name)) / then if then else 1.0
            if moved := drift(name, share, lowest, highest):
                return moved, asked
        return None

    def _praises(self) -> list[float]:
        return [praise for _, praise in self._praise.values()]


def _of(seen: Iterable[Seen], name: str) -> list[float]:
    return [float(getattr(each.signals, name)) for each in seen]


def _fall(before: Iterable[float], now: Iterable[float], least: int) -> str | None:
    """Describes a significant fall of the mean; None when there is none."""
    old, new = list(before), list(now)
    if min(len(old), len(new)) < least:
        return None
    found = contrast([old], [new])
    said = f"{found.ours:.2f} → {found.theirs:.2f} (z = {found.z:.1f})"
    return said if found.z < -SUSPICIOUS_Z else None


class Watcher:
    """Checks the served version when its signals become worse, and rolls back a fallen one."""

    def __init__(
        self,
        fleet: Fleet,
        gate: Gate,
        rollback: Rollback,
        watch: Watch,
        attractors: Attractors,
        withdraw: Callable[[Suspicion], Awaitable[None]],
    ) -> None:
        """``withdraw``: the labels of an attractor must not be trained on, from now on nor after
        all."""
        self._fleet, self._watch, self._gate, self._rollback = fleet, watch, gate, rollback
        self._attractors, self._withdraw = attractors, withdraw
        self._looking: asyncio.Task[None] | None = None

    def see(self, group: Group, vote: Vote, prompt: Prompt) -> None:
        """Notes a question that was asked without a pinned version."""
        if group.version == self._fleet.serving:  # not a group drawn before the last swap
            self._watch.see(group, vote, prompt)
            self._look()

    def hear(self, group: Group, tenant: str, praise: bool) -> None:
        """Notes feedback on an answer."""
        self._watch.hear(group, tenant, praise)
        self._look()

    @property
    def looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    def close(self) -> None:
        if self._looking:
            self._looking.cancel()

    def _look(self) -> None:
        """Starts a check of the served version, unless one is running."""
        served = self._fleet.serving
        if served and served == self._watch.version and not self.looking:
            self._looking = asyncio.create_task(self._look_into(served))

    async def _look_for_attractors(self, served: int) -> str | None:
        """Says which form is won by its own words, or by one answer, and withholds its labels."""
        found = self._attractors.suspicion(served)
        replica = self._able(served)
        if found is None or replica is None:
            return None
        try:
            asking = self._gate.winners(replica, served, found.asked)
            base, now = await asyncio.wait_for(asking, EXAMINE_S)
        except (EngineError, TimeoutError):
            return None
        confirmed = await asyncio.to_thread(found.is_of, base, now)
        if served != self._fleet.serving:
            return None
        log.warning("watch.attractor", version=served, found=str(found), confirmed=confirmed)
        if not confirmed:
            self._attractors.clear(found)
            return None
        self._attractors.withhold(found)
        metrics.ALARMS.labels("attractor").inc()
        await self._rollback.go(found.before, f"v{served}: {found}", by="watch")
        self._watch.turned_back(self._fleet.serving)
        await self._withdraw(found)
        return str(found)

    def _able(self, served: int) -> Replica | None:
        return next((r for r in self._fleet.replicas if r.ready and served in r.loaded), None)

    async def _look_into(self, served: int) -> None:
        if await self._look_for_attractors(served) or served != self._fleet.serving:
            return
        reason, found = self._watch.complaint(), self._watch.suspicion()
        if reason is None and found:
            suspicion, questions = found
            replica = self._able(served)
            if replica is None:
                return
            try:
                confirming = self._gate.confirm(replica, served, questions)
                reason = await asyncio.wait_for(confirming, EXAMINE_S)
            except (EngineError, TimeoutError):
                return
            log.warning("watch.suspicion", version=served, change=suspicion, confirmed=reason)
            if reason is None:
                self._watch.traffic_changed()
        if reason is None or served != self._fleet.serving:
            return
        metrics.ALARMS.labels("fallen").inc()
        await self._rollback.go("sound", f"v{served} fell: {reason}", by="watch")
        self._watch.turned_back(self._fleet.serving)

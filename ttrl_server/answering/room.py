"""Room limits the samples in flight; a cohort starts several questions on one version."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from ttrl_server.engine.fleet import Fleet, Hold
from ttrl_server.errors import Overloaded, RequestError
from ttrl_server.settings.sections import BatchConfig, LimitsConfig
from ttrl_server.telemetry import metrics


class Room:
    """Limits the samples that are admitted and not yet done. Others wait, first come first.

    It refuses questions before anything is sampled: an admitted one is never dropped for load.
    """

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits, self._admitted, self._queued = limits, 0, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def admit(self, samples: int, until: float | None = None) -> AsyncIterator[None]:
        """Waits until ``samples`` more fit. Raises Overloaded (429) when too many wait, or after
        ``limits.wait_s``, or at ``until`` (the loop's clock); RequestError when they never fit."""
        most = self._limits.samples_in_flight
        if samples > most:
            message = f"{samples} samples are more than this server ever draws at once"
            message += f" (limits.samples_in_flight {most}). Ask for fewer votes."
            raise RequestError(message, param="ttrl.samples", code="too_many_samples")
        if self._waiting or self._admitted + samples > most:
            if self._queued + samples > self._limits.waiting:
                raise self._full(f"{self._queued} wait already (limits.waiting)")
            await self._turn(samples, until)
        else:
            self._change(samples)
        try:
            yield
        finally:
            self._change(-samples)

    async def _turn(self, samples: int, until: float | None) -> None:
        """Returns with the room taken."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        mine = samples, turn
        self._waiting.append(mine)
        self._queued += samples
        patience = loop.time() + self._limits.wait_s
        try:
            async with asyncio.timeout_at(min(patience, until or patience)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._change(-samples)
            elif mine in self._waiting:
                self._waiting.remove(mine)
                self._queued -= samples
                self._change(0)
            if isinstance(error, TimeoutError):
                raise self._full("the wait was too long (limits.wait_s)") from None
            raise

    def _change(self, by: int) -> None:
        """Takes or gives back room; the next in turn take what there is."""
        self._admitted += by
        most = self._limits.samples_in_flight
        while self._waiting and self._admitted + self._waiting[0][0] <= most:
            samples, turn = self._waiting.popleft()
            self._queued -= samples
            if not turn.done():
                self._admitted += samples
                turn.set_result(None)
        metrics.IN_FLIGHT.set(self._admitted)
        metrics.WAITING.set(self._queued)

    def _full(self, why: str) -> Overloaded:
        message = (
            f"{self._admitted} samples are in flight, of {self._limits.samples_in_flight} "
            f"(limits.samples_in_flight), and {why}. Try again shortly, or ask for fewer votes."
        )
        return Overloaded(message, status=429, retry_after_s=2, code="too_many_samples")


class Cohorts:
    """Collects questions for a short time or up to a number; all of them hold one version."""

    def __init__(self, fleet: Fleet, settings: BatchConfig) -> None:
        self._fleet, self._settings = fleet, settings
        self._waiting: list[asyncio.Future[tuple[Hold, ExitStack]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def hold(self, version: int | None) -> AsyncIterator[Hold]:
        """The question's hold. A question for a pinned version does not wait for a cohort."""
        if version is not None:
            with self._fleet.hold(version) as hold:
                yield hold
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[tuple[Hold, ExitStack]] = loop.create_future()
        self._waiting.append(waiting)
        wait_s = self._settings.max_wait_ms / 1000
        if len(self._waiting) >= self._settings.max_questions or not wait_s:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(wait_s, self._start)
        try:
            hold, stack = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and not waiting.exception():
                waiting.result()[1].close()
            raise
        with stack:
            yield hold

    def _start(self) -> None:
        """Takes all holds without an await: no promotion can come between them."""
        cohort, self._waiting = self._waiting, []
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for waiting in cohort:
            if waiting.cancelled():
                continue
            stack = ExitStack()
            try:
                waiting.set_result((stack.enter_context(self._fleet.hold()), stack))
            except Exception as error:  # passed to the waiting question
                waiting.set_exception(error)

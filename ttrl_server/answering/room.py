"""Room limits the samples in flight; a cohort starts several questions on one version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from ttrl_server.engine.fleet import Fleet, Hold
from ttrl_server.errors import Overloaded
from ttrl_server.settings.sections import BatchConfig
from ttrl_server.telemetry import metrics


class Room:
    """Limits the samples that are admitted and not yet done.

    It refuses questions before anything is sampled: an admitted one is never dropped for load.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._admitted = limit, 0

    @contextmanager
    def admit(self, samples: int) -> Iterator[None]:
        """Raises Overloaded (429) when ``samples`` more do not fit."""
        if self._admitted + samples > self._limit:
            message = (
                f"{self._admitted} samples are in flight and {samples} more would pass the limit "
                f"of {self._limit} (limits.samples_in_flight). Try again shortly, or ask for "
                "fewer votes."
            )
            raise Overloaded(message, status=429, retry_after_s=2, code="too_many_samples")
        self._change(samples)
        try:
            yield
        finally:
            self._change(-samples)

    def _change(self, by: int) -> None:
        self._admitted += by
        metrics.IN_FLIGHT.set(self._admitted)


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

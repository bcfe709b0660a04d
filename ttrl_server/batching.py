"""Room at the door, and questions grouped so that a batch starts on one adapter version.

Overload is refused here, before anything is sampled; a question that was let in is never dropped for load.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ttrl_server.engine.fleet import Fleet, Lease
from ttrl_server.errors import Overloaded
from ttrl_server.telemetry import metrics

T = TypeVar("T")


class Admission:
    """Bounds the samples admitted and not yet done."""

    def __init__(self, limit: int) -> None:
        self._limit, self._admitted = limit, 0

    @contextmanager
    def admit(self, samples: int) -> Iterator[None]:
        """Raises Overloaded (429) when ``samples`` more do not fit."""
        if self._admitted + samples > self._limit:
            raise Overloaded(
                f"{self._admitted} samples are in flight and {samples} more would pass the limit of {self._limit} "
                "(limits.samples_in_flight). Try again shortly, or ask for fewer votes.",
                status=429,
                retry_after_s=2,
                code="too_many_samples",
            )
        self._change(samples)
        try:
            yield
        finally:
            self._change(-samples)

    def _change(self, by: int) -> None:
        self._admitted += by
        metrics.IN_FLIGHT.set(self._admitted)


@dataclass
class _Batch:
    leases: list[asyncio.Future[tuple[Lease, ExitStack]]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Collects questions for ``max_wait_s`` or until ``max_questions``, then leases one version for all of them."""

    def __init__(self, fleet: Fleet, *, max_questions: int, max_wait_s: float) -> None:
        self._fleet, self._max_questions, self._max_wait_s = fleet, max_questions, max_wait_s
        self._open = _Batch()

    @asynccontextmanager
    async def lease(self, version: int | None) -> AsyncIterator[Lease]:
        """The question's lease; a pinned version does not wait for a batch."""
        if version is not None:
            with self._fleet.lease(version) as lease:
                yield lease
            return
        waiting: asyncio.Future[tuple[Lease, ExitStack]] = asyncio.get_running_loop().create_future()
        self._join(waiting)
        try:
            lease, stack = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and not waiting.exception():
                waiting.result()[1].close()
            raise
        with stack:
            yield lease

    def _join(self, waiting: asyncio.Future[tuple[Lease, ExitStack]]) -> None:
        batch = self._open
        batch.leases.append(waiting)
        if len(batch.leases) >= self._max_questions or not self._max_wait_s:
            self._close()
        elif batch.timer is None:
            batch.timer = asyncio.get_running_loop().call_later(self._max_wait_s, self._close)

    def _close(self) -> None:
        """All leases are taken in one go, so no promotion can come between them."""
        batch, self._open = self._open, _Batch()
        if batch.timer:
            batch.timer.cancel()
        for waiting in batch.leases:
            if waiting.cancelled():
                continue
            stack = ExitStack()
            try:
                waiting.set_result((stack.enter_context(self._fleet.lease()), stack))
            except Exception as error:  # handed to the question that waits for it
                waiting.set_exception(error)


@dataclass
class Progress:
    """How far a vote is; shared by everybody who waits for it."""

    samples: int
    drawn: int = 0
    leader: float | None = None
    """Share of the leading answer when it was last counted."""
    model: str = ""
    """The engine's name of the version, once there is a lease."""


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    progress: Progress
    waiters: int = 0


class Flights(Generic[T]):
    """Identical questions in flight share one computation, which is cancelled only when nobody waits any more."""

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[T]] = {}

    async def join(
        self,
        key: bytes,
        progress: Progress,
        compute: Callable[[Progress], Coroutine[Any, Any, T]],
        watch: Callable[[Progress], None] | None = None,
    ) -> T:
        """The result of ``compute``, run once for all who join with the same key while it runs."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.get_running_loop().create_task(compute(progress)), progress)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        if watch:
            watch(flight.progress)
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._flights.pop(key, None)
                flight.task.cancel()

    def _forget(self, key: bytes, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:  # not its successor
            del self._flights[key]

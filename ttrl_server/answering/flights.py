"""Equal requests that say they are one, and are open at the same time, share one vote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ttrl_server.types import Rollout

T = TypeVar("T")


@dataclass
class Progress:
    """The progress of a vote; all waiting requests share it."""

    id: str
    """Of the question that was asked first."""
    samples: int
    drawn: int = 0
    leader: float | None = None
    """The leading answer's share of the samples at the last count."""
    model: str = ""
    """The engine's name of the version, once there is a hold."""
    first: Rollout | None = None
    """The sample that came first."""


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    progress: Progress
    waiters: int = 0


class Flights(Generic[T]):
    """Runs one computation for identical questions; cancels it when no request waits for it."""

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[T]] = {}

    async def join(
        self,
        key: bytes,
        progress: Progress,
        compute: Callable[[Progress], Coroutine[Any, Any, T]],
        watch: Callable[[Progress], None] | None = None,
    ) -> T:
        """The result of ``compute``; calls with the same key share one run while it lasts."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.get_running_loop().create_task(compute(progress)), progress)
            self._flights[key] = flight

            def forget(_: object) -> None:
                if self._flights.get(key) is flight:  # not a later flight of the same key
                    del self._flights[key]

            flight.task.add_done_callback(forget)
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

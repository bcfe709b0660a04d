"""Identical questions in flight share one vote, and whoever waits for it sees how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass
class Progress:
    """How far a vote is; shared by everybody who waits for it."""

    samples: int
    drawn: int = 0
    leader: float | None = None
    """Share of the leading answer when it was last counted."""
    model: str = ""
    """The engine's name of the version, once there is a hold."""


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    progress: Progress
    waiters: int = 0


class Flights(Generic[T]):
    """Identical questions in flight share one computation, which is cancelled only when nobody
    waits any more."""

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

            def forget(_: object) -> None:
                if self._flights.get(key) is flight:  # not its successor
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

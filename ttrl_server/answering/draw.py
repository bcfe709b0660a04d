"""Draws the samples of one question in waves, until the vote is decided or the time is over.

    launch what the rule could need ─▶ wait ─▶ all in: ask it ─▶ it fires, or all M drawn: done
       ▲                                │              └─ not yet ─┐
       │                                ├─ exact fires: cancel what cannot train, await the rest
       └────────────────────────────────┼──────────────────────────┘
                                        └─ deadline: cancel everything

Rollouts 0 … G−1 may train: this is fixed before they are drawn. A wave with some of them always
runs to its end. The samples that finish first are short, and to train only on them would teach
short answers (docs/method.md, sections 4.7, 7).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from ttrl_server.answering.flights import Progress
from ttrl_server.types import Rollout, Stopped, VoteOptions
from ttrl_server.voting import Ballot

DrawOne = Callable[[int], Coroutine[Any, Any, Rollout]]


@dataclass(frozen=True, slots=True)
class Waves:
    """Divides M samples into waves."""

    samples: int
    """M."""
    eligible: int
    """G: rollouts 0 … G−1 may train; 0 for a question that must not train."""
    wave: int

    @property
    def ends(self) -> tuple[int, ...]:
        """The end index of each wave. One wave ends at G: no wave has both kinds of samples."""
        first = range(self.wave, self.eligible, self.wave)
        rest = range(self.eligible + self.wave, self.samples, self.wave)
        middle = [self.eligible] if 0 < self.eligible < self.samples else []
        return (*first, *middle, *rest, self.samples)

    def at_least(self, samples: int) -> int:
        """The first end of a wave at or after ``samples``."""
        return next(end for end in self.ends if end >= min(samples, self.samples))

    def trainable(self, drawn: Iterable[int]) -> int:
        """Number of rollouts, from 0, that may train and are in completely drawn waves."""
        indices = set(drawn)
        held = next(index for index in range(self.samples + 1) if index not in indices)
        return max((end for end in self.ends if end <= min(held, self.eligible)), default=0)


class Draw:
    """The sampling of one question. After ``run`` the engine has none of its samples left."""

    def __init__(
        self,
        one: DrawOne,
        ballot: Ballot,
        options: VoteOptions,
        waves: Waves,
        progress: Progress,
        deadline_at: float = math.inf,
    ) -> None:
        self._one, self._ballot, self._options, self._waves = one, ballot, options, waves
        self._progress, self._deadline_at = progress, deadline_at
        self._drawing: dict[asyncio.Task[Rollout], int] = {}
        self._counted = 0

    async def run(self) -> Stopped:
        """Draws rollouts into the ballot; returns why sampling ended.

        Raises the errors of a draw.
        """
        options, total = self._options, self._waves.samples
        launched, probing = 0, options.probe
        try:
            while launched < total:
                end = self._waves.ends[0]
                if not probing:
                    needed = await asyncio.to_thread(
                        self._ballot.needed, options.stop, options.level, total
                    )
                    end = self._waves.at_least(launched + needed)
                for index in range(launched, end):
                    self._drawing[asyncio.create_task(self._one(index))] = index
                launched = end
                if stopped := await self._until_in():
                    return stopped
                if probing and not await asyncio.to_thread(self._ballot.votable):
                    return "unvotable"
                probing = False
                if launched < total and options.stop != "none" and await self._decided():
                    return options.stop
            return "full"
        finally:
            await self._cancel(self._drawing)

    async def _until_in(self) -> Stopped | None:
        """Waits for all launched samples; returns a reason if sampling must end, else None."""
        exact, total = False, self._waves.samples
        while self._drawing:
            left = self._deadline_at - asyncio.get_running_loop().time()
            timeout = None if math.isinf(left) else max(left, 0)
            done, _ = await asyncio.wait(
                self._drawing, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return "deadline"
            for task in done:
                del self._drawing[task]
                self._ballot.add(task.result())
                self._progress.drawn += 1
            if exact:
                continue
            if self._options.stop == "exact" and total / 2 < self._progress.drawn < total:
                # Only "exact" may be asked within a wave: missing samples cannot change its result.
                if exact := await self._decided():
                    late = {t: i for t, i in self._drawing.items() if i >= self._waves.eligible}
                    await self._cancel(late)
            elif self._progress.drawn - self._counted >= self._waves.wave:
                await asyncio.to_thread(self._count)
        return "exact" if exact else None

    async def _decided(self) -> bool:
        """Whether the stop rule fires on the samples so far."""
        options = self._options

        def ask() -> bool:
            self._count()
            return self._ballot.decided(options.stop, options.level, self._waves.samples)

        return await asyncio.to_thread(ask)

    def _count(self) -> None:
        self._counted = self._progress.drawn
        self._progress.leader = self._ballot.count().majority_ratio

    async def _cancel(self, drawing: dict[asyncio.Task[Rollout], int]) -> None:
        """Cancels samples. This closes their connections, and vLLM aborts them."""
        tasks = list(drawing)
        for task in tasks:
            task.cancel()
            self._drawing.pop(task, None)
        await asyncio.gather(*tasks, return_exceptions=True)

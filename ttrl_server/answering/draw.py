"""Draws the samples of one question in waves, until the vote is decided or the time is over.

    launch what the rule could need ─▶ wait ─▶ all in: ask it ─▶ it fires, or all M drawn: done
       ▲                                │              └─ not yet ─┐
       │                                ├─ exact fires: cancel what cannot train, await the rest
       └────────────────────────────────┼──────────────────────────┘
                                        └─ deadline: cancel everything

Rollouts 0 … G−1 may train, and a wave with some of them always runs to its end: the samples that
finish first are short, and would teach short answers (docs/method.md, sections 4.7, 7).
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED, to_thread
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from ttrl_server.answering.flights import Progress
from ttrl_server.errors import RequestError
from ttrl_server.types import SAID, Prompt, Question, Rollout, Stopped, VoteOptions
from ttrl_server.voting import Ballot


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


@dataclass
class Draw:
    """The sampling of one question. After ``run`` the engine has none of its samples left."""

    one: Callable[[int], Coroutine[Any, Any, Rollout]]
    """Draws the sample with the given index."""
    ballot: Ballot
    options: VoteOptions
    waves: Waves
    progress: Progress
    deadline_at: float
    """On the event loop's clock (s)."""
    drawing: dict[asyncio.Task[Rollout], int] = field(default_factory=dict)
    counted: int = 0

    async def run(self) -> Stopped:
        """Draws rollouts into the ballot; returns why sampling ended. Raises a draw's errors."""
        options, total = self.options, self.waves.samples
        launched, probing = 0, options.probe
        try:
            while launched < total:
                end = self.waves.at_least(launched + 1)
                if not probing:
                    needed = await to_thread(self.ballot.needed, options.stop, options.level, total)
                    end = self.waves.at_least(launched + needed)
                for index in range(launched, end):
                    self.drawing[asyncio.create_task(self.one(index))] = index
                launched = end
                if stopped := await self._until_in():
                    return stopped
                if launched < options.choices:
                    continue
                if probing and not await to_thread(self.ballot.votable):
                    return "unvotable"
                probing = False
                if launched < total and options.stop != "none" and await to_thread(self._decided):
                    return options.stop
            return "full"
        finally:
            await self._cancel(list(self.drawing))

    async def _until_in(self) -> Stopped | None:
        """Waits for all launched samples; returns a reason if sampling must end, else None."""
        exact, total = False, self.waves.samples
        while self.drawing:
            left = max(self.deadline_at - asyncio.get_running_loop().time(), 0)
            done, _ = await asyncio.wait(self.drawing, timeout=left, return_when=FIRST_COMPLETED)
            if not done:
                return "deadline"
            for task in done:
                del self.drawing[task]
                self.ballot.add(task.result())
                self.progress.drawn += 1
                self.progress.first = self.progress.first or task.result()
            if exact:
                continue
            least = max(total // 2, self.options.choices - 1)
            if self.options.stop == "exact" and least < self.progress.drawn < total:
                # Only "exact" may be asked within a wave: missing samples cannot change its result.
                if exact := await to_thread(self._decided):
                    eligible = self.waves.eligible
                    await self._cancel([t for t, i in self.drawing.items() if i >= eligible])
            elif self.progress.drawn - self.counted >= self.waves.wave:
                await to_thread(self._count)
        return "exact" if exact else None

    def _decided(self) -> bool:
        """Counts; whether the stop rule fires on the samples so far."""
        self._count()
        return self.ballot.decided(self.options.stop, self.options.level, self.waves.samples)

    def _count(self) -> None:
        self.counted = self.progress.drawn
        self.progress.leader = self.ballot.count().majority_ratio

    async def _cancel(self, tasks: list[asyncio.Task[Rollout]]) -> None:
        """Cancels samples. This closes their connections, and vLLM aborts them."""
        for task in tasks:
            task.cancel()
            del self.drawing[task]
        await asyncio.gather(*tasks, return_exceptions=True)


def longest(question: Question, prompt: Prompt) -> int:
    """Most tokens of a sample; RequestError when the prompt fills the context."""
    room, wanted = prompt.longest, question.sampling.max_tokens
    if room < 1:
        used = len(prompt.token_ids)
        message = (
            f"The prompt has {used} tokens; this model's context is {used + room}, of which at "
            "least one must be left for the answer. Shorten the prompt."
        )
        param = SAID[question.kind]
        raise RequestError(message, param=param, code="context_length_exceeded")
    return min(wanted, room) if wanted else room

"""What the base model answers to the same questions: the anchor of an answer's confidence."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from ttrl_server.engine.fleet import Hold
from ttrl_server.errors import EngineError
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Question, Sampling, last_text, question_key
from ttrl_server.voting import Ballot

log = structlog.get_logger()

REMEMBERED = 4096
"""Most questions whose answers of the base model are kept."""
Answers = tuple[str | None, ...]
Until = Callable[[float], Awaitable[Answers | None]]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A question as the base model is asked it."""

    question: Question
    prompt: tuple[int, ...]
    sampling: Sampling

    @property
    def key(self) -> str:
        """Equal where the base model's samples come from the same distribution, for one tenant."""
        s = self.sampling
        how = s.temperature, s.max_tokens, sorted(s.extra.items()), self.question.tenant
        return f"{question_key(self.prompt)} {how}"


class Anchors:
    """Asks the base model, once for each question while it is remembered."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: OrderedDict[str, Answers] = OrderedDict()

    def samples(self, votes: int) -> int:
        """Samples of the base model beside ``votes``: at most half as many."""
        return min(self._config.vote.anchor, votes // 2)

    def remember(self, anchor: Anchor, answers: Answers) -> None:
        """Keeps what the base model answered; more samples replace fewer."""
        if not self._config.vote.anchor:
            return
        key = anchor.key
        if len(answers) >= len(self._known.get(key, ())):
            self._known[key] = answers
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    @asynccontextmanager
    async def asking(self, anchor: Anchor, hold: Hold, votes: int) -> AsyncIterator[Until]:
        """Asks the base model while an adapter's vote is drawn: what is yielded waits for its
        answers [K], until a time of the event loop's clock. None: it has not answered by then, is
        not asked (``votes`` are its own, or vote.anchor is 0), or the engine failed. Afterwards the
        engine has none of these samples left."""
        asking = asyncio.create_task(self._ask(anchor, hold, self.samples(votes)))

        async def until(deadline_at: float) -> Answers | None:
            left = deadline_at - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait({asking}, timeout=max(0, left))
            return asking.result() if done else None

        try:
            yield until
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, anchor: Anchor, hold: Hold, wanted: int) -> Answers | None:
        if not hold.version or not self._config.vote.anchor:
            return None
        known = self._known.get(anchor.key)
        if known or not wanted:
            return known
        client, ballot = hold.replica.client, Ballot(last_text(anchor.question))
        base = version_name(self._config.name, 0)

        async def one(index: int) -> None:
            async with hold.replica.slots:
                ballot.add(await client.sample(anchor.prompt, base, anchor.sampling, index))

        try:
            async with asyncio.TaskGroup() as group:
                for index in range(wanted):
                    group.create_task(one(index))
        except* EngineError as errors:
            log.warning("anchor.failed", reason=str(errors.exceptions[0]))
        if len(ballot.rollouts) < wanted:
            return None
        metrics.ANCHOR_TOKENS.inc(sum(len(rollout.token_ids) for rollout in ballot.rollouts))
        answers = (await asyncio.to_thread(ballot.count)).answers
        self.remember(anchor, answers)
        return answers

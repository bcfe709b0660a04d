"""What is asked beside a vote: the base model, which anchors the confidence in the answer; and
questions that test a label: the opposite one, which it must lose, and the same in other words."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from ttrl_server.answering.draw import longest
from ttrl_server.answers import opposite
from ttrl_server.engine.fleet import Hold
from ttrl_server.errors import EngineError, RequestError
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.telemetry import metrics
from ttrl_server.types import Prompt, Question, Sampling, last_text, text_in
from ttrl_server.voting import Ballot

log = structlog.get_logger()

REMEMBERED = 4096
"""Most questions whose answers of the base model are kept."""
Answers = tuple[str | None, ...]
Beside = Mapping[str, Answers | None]
"""Answers by what was asked: ``base``, or a test. None: there are none, or they came too late."""
Until = Callable[[float], Awaitable[Beside]]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A question as the base model is asked it."""

    question: Question
    prompt: Prompt
    sampling: Sampling

    @property
    def key(self) -> str:
        """Equal where the base model's samples come from the same distribution, for one tenant."""
        s = self.sampling
        how = s.temperature, s.max_tokens, sorted(s.extra.items()), self.question.tenant
        return f"{self.prompt.key} {how}"


class Anchors:
    """Asks the base model, once for each question while it is remembered."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: OrderedDict[str, Answers] = OrderedDict()

    def samples(self, votes: int) -> int:
        """Samples of the base model beside ``votes``: at most half as many."""
        return self._config.vote.beside(votes)

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

    def tests(self, question: Question) -> tuple[str, ...]:
        """Which questions test a label of this one: it must lose the opposite question, where there
        is one, and win the same in other words."""
        guard, asks = self._config.guard, self._config.vote.anchor > 0
        if not isinstance(question.wanted, str):  # calls and JSON have no opposite
            return ()
        opposed = guard.opposite and asks and opposite(last_text(question)) is not None
        return ("opposed",) * opposed + ("reworded",) * bool(guard.wording)

    @asynccontextmanager
    async def asked(
        self, tests: Sequence[str], anchor: Anchor, hold: Hold, votes: int
    ) -> AsyncIterator[Until]:
        """Asks the base model and the tests while a vote is drawn. What is yielded waits for their
        answers, until a time of the event loop's clock. Afterwards the engine has none of these
        samples left."""
        asks = {"base": self._base, "opposed": self._opposed, "reworded": self._reworded}
        asking = {
            name: asyncio.create_task(asks[name](anchor, hold, votes)) for name in ("base", *tests)
        }

        async def until(deadline_at: float) -> Beside:
            left = deadline_at - asyncio.get_running_loop().time()
            await asyncio.wait(asking.values(), timeout=max(0, left))
            return {name: task.result() if task.done() else None for name, task in asking.items()}

        try:
            yield until
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _base(self, anchor: Anchor, hold: Hold, votes: int) -> Answers | None:
        """What the base model answers [K]. None: it is not asked (``votes`` are its own, or
        vote.anchor is 0), or the engine failed."""
        if not hold.version or not self._config.vote.anchor:
            return None
        return await self._of_base(anchor, hold, votes)

    async def _opposed(self, anchor: Anchor, hold: Hold, votes: int) -> Answers | None:
        """What the base model answers to the opposite question [K], or None."""
        turned = opposite(last_text(anchor.question))
        other = await self._instead(anchor, hold, turned or "")
        return await self._of_base(other, hold, votes) if other else None

    async def _reworded(self, anchor: Anchor, hold: Hold, votes: int) -> Answers | None:
        """What the version of ``hold`` answers to the question in the words of guard.wording [K];
        None where it does not fit, or the engine failed."""
        text = last_text(anchor.question) or ""
        in_words = self._config.guard.wording.replace("{question}", text)
        other = await self._instead(anchor, hold, in_words)
        return await self._drawn(other, hold, hold.model, votes) if other else None

    async def _of_base(self, anchor: Anchor, hold: Hold, votes: int) -> Answers | None:
        known = self._known.get(anchor.key)
        if known or not self.samples(votes):
            return known
        answers = await self._drawn(anchor, hold, version_name(self._config.name, 0), votes)
        if answers is not None:
            self.remember(anchor, answers)
        return answers

    async def _instead(self, anchor: Anchor, hold: Hold, text: str) -> Anchor | None:
        """The same with another text, where that can be asked."""
        question, sampling = with_text(anchor.question, text), anchor.sampling
        question = replace(question, sampling=sampling)
        try:
            prompt = await hold.replica.client.prompt(question, hold.model)
            length = longest(question, prompt)
        except (EngineError, RequestError) as error:
            log.warning("anchor.failed", reason=str(error))
            return None
        return Anchor(question, prompt, replace(sampling, max_tokens=length))

    async def _drawn(self, anchor: Anchor, hold: Hold, model: str, votes: int) -> Answers | None:
        client, ballot = hold.replica.client, Ballot(anchor.question.wanted)
        wanted = self.samples(votes)

        async def one(index: int) -> None:
            async with hold.replica.slots:
                ballot.add(await client.sample(anchor.prompt, model, anchor.sampling, index))

        try:
            async with asyncio.TaskGroup() as group:
                for index in range(wanted):
                    group.create_task(one(index))
        except* EngineError as errors:
            log.warning("anchor.failed", reason=str(errors.exceptions[0]))
        if len(ballot.rollouts) < wanted:
            return None
        metrics.ANCHOR_TOKENS.inc(sum(len(rollout.token_ids) for rollout in ballot.rollouts))
        return (await asyncio.to_thread(ballot.count)).answers


def with_text(question: Question, text: str) -> Question:
    """The question with another text where the user said its own last."""
    said = question.prompt
    if isinstance(said, str):
        return replace(question, prompt=text)
    asked = last_text(question)
    own = [place for place, each in enumerate(said) if text_in([each]) == asked]
    place = own[-1] if own else len(said) - 1
    turned = {**said[place], "content": text}
    return replace(question, prompt=[*said[:place], turned, *said[place + 1 :]])

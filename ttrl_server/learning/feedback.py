"""Feedback: a person's score or label replaces the rewards that the vote gave a group."""

from __future__ import annotations

import asyncio

from ttrl_server.answers import asked
from ttrl_server.errors import Overloaded, RequestError
from ttrl_server.learning.admission import QUEUED, UNSOUND
from ttrl_server.learning.leases import Learning
from ttrl_server.promotion.canaries import is_held_back
from ttrl_server.settings.config import Config
from ttrl_server.types import Admission, question_key
from ttrl_server.voting import feedback, labelled

NO_SUCH = "There is no such answer here: only voted answers that may be trained on are kept."
WAITING = 16
"""Most feedback that may wait. Labels are compared one at a time: votes need the processor."""


class Feedback:
    """Takes feedback on an answer, until the group is leased for training."""

    def __init__(self, config: Config, learning: Learning) -> None:
        self._config, self._learning = config, learning
        self._turn, self._waiting = asyncio.Lock(), 0

    async def give(self, answer: str, tenant: str, *, score: int | None, label: str | None) -> str:
        """The group's new admission: ``queued``, or the reason why it is not trained on.

        Raises RequestError: no such answer of this tenant (404), or its group is leased or
        consumed (409). Raises Overloaded when too much feedback waits.
        """
        if self._waiting >= WAITING:
            said = "Too much feedback at once; give yours again shortly."
            raise Overloaded(said, status=429, retry_after_s=1, code="rate_limit_exceeded")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._decide(answer, tenant, score, label)
        finally:
            self._waiting -= 1

    async def _decide(self, answer: str, tenant: str, score: int | None, label: str | None) -> str:
        kept, train = await self._learning.find(answer), self._config.train
        if kept is None or kept.tenant != tenant:
            raise RequestError(NO_SUCH, status=404, param="id", code="not_found")
        if score is not None:
            self._learning.watcher.hear(kept.group, tenant, score > 0)
        if kept.admission.reason in UNSOUND:  # feedback cannot change these reasons
            return kept.admission.reason
        if is_held_back(question_key(kept.group.prompt_token_ids), self._config.gate):
            return "held_back"
        samples = len(kept.rewards)
        if samples < min(train.min_group, train.samples):
            return "too_few_samples"
        if label is not None:
            kind = asked(kept.group.wanted)
            rewards = await asyncio.to_thread(labelled, kept.vote, label, samples, kind)
        else:
            rewards = feedback(kept.vote, score or 0, samples)
        admission = QUEUED if len(set(rewards)) > 1 else Admission(False, "unanimous")
        if not await self._learning.reward_anew(answer, rewards, admission):
            said = "This answer is being learned from, or was already."
            raise RequestError(said, status=409, param="id", code="already_learned")
        return admission.reason

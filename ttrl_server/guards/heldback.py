"""Questions that are never trained on, asked of every candidate before it may be served.

There are no labels, so the base model's own votes are the measure (after RESTRAIN, arXiv 2510.02172, which weighs
questions by a frozen base): the *support* of an answer is the share of the base model's samples that gave it.
Sharpening moves samples to answers the base model gave often, and raises it; collapse moves them to answers it hardly
ever gave.

A share of the traffic's own questions is held back; a few sentinels stand for all that the traffic does not ask.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ttrl_server.config import Config
from ttrl_server.engine.command import base_name
from ttrl_server.engine.fleet import Replica
from ttrl_server.errors import EngineError, RejectedVersion
from ttrl_server.guards.history import question_key
from ttrl_server.types import Group, Question, Sampling, VoteOptions
from ttrl_server.voting import Ballot, Checker

Answers = Sequence[str | None]
PRIORITY = 1
"""Behind every client's sample."""
SENTINELS = (
    "What is 4 + 5?",
    "What is 10 - 4?",
    "How many days are in a week?",
    "What is 10 + 10?",
    "What is 3 * 10?",
    "How many months are in a year?",
    "What is half of 16?",
    "What number comes after 19?",
    "How many hours are in a day?",
    "What is 100 - 30?",
)
"""What any model knows something of, and no answer is a number of its question: what traffic that is beyond the model
would ruin unseen."""
SENTINEL_TEMPERATURE, SENTINEL_TOKENS = 0.6, 48


@dataclass(slots=True)
class Canary:
    """One question that is held back."""

    prompt: tuple[int, ...]
    sampling: Sampling
    text: str | None
    """The words of the question, for what kind of answer it wants."""
    base: list[str | None] = field(default_factory=list)
    """Answers of the base model."""


class HeldBack:
    """The newest ``gate.canary_questions`` questions that were held back, and what the base model says to them."""

    def __init__(self, config: Config, checker: Checker) -> None:
        self._config, self._checker = config, checker
        self._canaries: OrderedDict[str, Canary] = OrderedDict()
        self._sentinels: list[Canary] = []

    def offer(self, group: Group, text: str | None) -> None:
        """Keeps a question for later; one that is known already keeps its answers.

        Its samples may become half as long again as the longest that was drawn for it.
        """
        key = question_key(group.prompt_token_ids)
        if key not in self._canaries:
            longest = max((len(rollout.token_ids) for rollout in group.rollouts), default=1)
            sampling = Sampling(group.temperature, max_tokens=longest + longest // 2)
            self._canaries[key] = Canary(group.prompt_token_ids, sampling, text)
        self._canaries.move_to_end(key)
        while len(self._canaries) > self._config.gate.canary_questions:
            self._canaries.popitem(last=False)

    async def check(self, replica: Replica, model: str) -> dict[str, float]:
        """What the candidate ``model`` makes of the held-back questions, where there are enough, and of the sentinels.

        Raises RejectedVersion when the base model supports its answers significantly less than its own, EngineError
        when the engine goes away.
        """
        if self._config.gate.sentinels and not self._sentinels:
            self._sentinels = await self._tokenized(replica)
        held_back = await self._compared(list(self._canaries.values()), replica, model, "held-back questions")
        sentinels = await self._compared(self._sentinels, replica, model, "sentinel questions")
        return held_back | {f"sentinel_{name}": value for name, value in sentinels.items()}

    async def _compared(self, canaries: list[Canary], replica: Replica, model: str, what: str) -> dict[str, float]:
        gate = self._config.gate
        if len(canaries) < gate.canary_least:
            return {}
        new = [canary for canary in canaries if not canary.base]
        drawn = await asyncio.gather(*(self._answers(canary, replica, base_name(self._config)) for canary in new))
        for canary, answers in zip(new, drawn, strict=True):
            canary.base = answers
        asked = [canary for canary in canaries if canary.base]
        theirs = await asyncio.gather(*(self._answers(canary, replica, model) for canary in asked))
        pairs = [(canary.base, answers) for canary, answers in zip(asked, theirs, strict=True) if answers]
        if len(pairs) < gate.canary_least:
            return {}
        figures = compare(*await asyncio.to_thread(self._keyed, pairs))
        support, own, z = figures["support"], figures["base"], figures["z"]
        if z < -gate.canary_z:
            raise RejectedVersion(
                "canary",
                f"on {len(pairs)} {what} the base model supports its answers less than its own "
                f"({support:.3f} against {own:.3f}, z = {z:.1f})",
            )
        return figures

    async def _tokenized(self, replica: Replica) -> list[Canary]:
        """The sentinels as prompts; none for a model that has no chat template."""
        found = []
        for text in SENTINELS:
            asked = Question(
                id="sentinel",
                tenant="",
                prompt=[{"role": "user", "content": f"{text} Answer with just the number."}],
                kind="chat",
                model=self._config.name,
                version=0,
                sampling=Sampling(SENTINEL_TEMPERATURE, max_tokens=SENTINEL_TOKENS),
                vote=VoteOptions(self._config.gate.canary_samples, train=False),
                template={"chat_template_kwargs": self._config.chat_template_kwargs},
            )
            try:
                prompt, _ = await replica.client.tokenize(asked, base_name(self._config))
            except EngineError as error:
                if error.status is None or error.status >= 500:
                    raise
                return []
            found.append(Canary(prompt, asked.sampling, text))
        return found

    async def _answers(self, canary: Canary, replica: Replica, model: str) -> list[str | None]:
        """Answers of ``model``; none where the engine will not take the question as it is kept."""
        ballot = Ballot(canary.text, self._checker, budget_s=self._config.vote.check_budget_s)
        try:
            await asyncio.gather(
                *(self._draw(canary, replica, model, ballot, i) for i in range(self._config.gate.canary_samples))
            )
        except EngineError as error:
            if error.status is None or error.status >= 500 or error.status == 404:
                raise
            return []
        return list((await asyncio.to_thread(ballot.count)).answers)

    async def _draw(self, canary: Canary, replica: Replica, model: str, ballot: Ballot, index: int) -> None:
        async with replica.slots:
            sample = replica.client.sample
            ballot.add(await sample(canary.prompt, model, self._room(canary), index, priority=PRIORITY))

    def _room(self, canary: Canary) -> Sampling:
        """The sampling within the context, where that is known here."""
        context, wanted = self._config.max_model_len, canary.sampling.max_tokens or 1
        left = max(1, context - len(canary.prompt)) if context else wanted
        return replace(canary.sampling, max_tokens=min(wanted, left))

    def _keyed(self, pairs: Sequence[tuple[Answers, Answers]]) -> tuple[list[Answers], list[Answers]]:
        """Both sides' answers as keys, equal where they are equivalent."""
        base: list[Answers] = []
        theirs: list[Answers] = []
        for pair in pairs:
            said = {answer for answers in pair for answer in answers if answer is not None}
            keys = self._checker.keys(said, self._config.vote.check_budget_s).of
            for side, answers in zip((base, theirs), pair, strict=True):
                side.append([None if answer is None else keys[answer] for answer in answers])
        return base, theirs


def compare(base: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, float]:
    """Mean support of the candidate's answers and of the base model's own, and their difference in standard errors.

    Support of the base model's own answers leaves the answer itself out. The questions are the same for both, so only
    the samples are random; the errors of the questions add up.
    """
    pairs = [_supports(*pair) for pair in zip(base, theirs, strict=True)]
    own = math.fsum(_mean(b) for b, _ in pairs) / len(pairs)
    support = math.fsum(_mean(t) for _, t in pairs) / len(pairs)
    error = math.sqrt(math.fsum(_squared_error(b) + _squared_error(t) for b, t in pairs)) / len(pairs)
    z = (support - own) / error if error else 0.0
    return {"support": support, "base": own, "z": z}


def _supports(base: Answers, theirs: Answers) -> tuple[list[float], list[float]]:
    counts = Counter(answer for answer in base if answer is not None)
    own = [(counts[a] - 1) / max(1, len(base) - 1) if a is not None else 0.0 for a in base]
    return own, [counts[a] / len(base) if a is not None else 0.0 for a in theirs]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _squared_error(values: Sequence[float]) -> float:
    """Of the mean; by Bessel's correction, and never quite zero: a few equal samples do not make a certainty."""
    centre, n = _mean(values), len(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / max(1, n - 1)
    return (variance + 1 / n**2) / n

"""Questions that are never trained on, asked of every candidate before it may be served.

There are no labels, so the base model's own votes are the measure (after RESTRAIN, arXiv 2510.02172, which weighs
questions by a frozen base): the *support* of an answer is the share of the base model's samples that gave it.
Sharpening moves samples to answers the base model gave often, and raises it; collapse moves them to answers it hardly
ever gave.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ttrl_server.config import Config
from ttrl_server.engine.command import base_name
from ttrl_server.engine.fleet import Replica
from ttrl_server.errors import RejectedVersion
from ttrl_server.guards.history import question_key
from ttrl_server.types import Group, Sampling
from ttrl_server.voting import Ballot, Checker, text_key

PRIORITY = 1
"""Behind every client's sample."""


@dataclass(slots=True)
class Canary:
    """One question that is held back."""

    prompt: tuple[int, ...]
    sampling: Sampling
    text: str | None
    """The words of the question, for what kind of answer it wants."""
    base: list[str | None] = field(default_factory=list)
    """Answers of the base model, as keys."""


class HeldBack:
    """The newest ``gate.canary_questions`` questions that were held back, and what the base model says to them."""

    def __init__(self, config: Config, checker: Checker) -> None:
        self._config, self._checker = config, checker
        self._canaries: OrderedDict[str, Canary] = OrderedDict()

    def offer(self, group: Group, sampling: Sampling, text: str | None) -> None:
        """Keeps a question for later; one that is known already keeps its answers."""
        key = question_key(group.prompt_token_ids)
        if key not in self._canaries:
            self._canaries[key] = Canary(group.prompt_token_ids, sampling, text)
        self._canaries.move_to_end(key)
        while len(self._canaries) > self._config.gate.canary_questions:
            self._canaries.popitem(last=False)

    async def check(self, replica: Replica, model: str) -> dict[str, float]:
        """What the candidate ``model`` makes of the held-back questions; empty while there are too few.

        Raises RejectedVersion when the base model supports its answers significantly less than its own, EngineError
        when the engine goes away.
        """
        canaries = list(self._canaries.values())
        gate = self._config.gate
        if len(canaries) < gate.canary_least:
            return {}
        base = base_name(self._config)
        for canary in canaries:
            if not canary.base:
                canary.base = await self._answers(canary, replica, base)
        theirs = await asyncio.gather(*(self._answers(canary, replica, model) for canary in canaries))
        figures = compare([canary.base for canary in canaries], theirs)
        support, own, z = (figures[name] for name in ("canary_support", "canary_base", "canary_z"))
        if z < -gate.canary_z:
            raise RejectedVersion(
                "canary",
                f"on {len(canaries)} held-back questions the base model supports its answers less than its own "
                f"({support:.3f} against {own:.3f}, z = {z:.1f})",
            )
        return figures

    async def _answers(self, canary: Canary, replica: Replica, model: str) -> list[str | None]:
        ballot = Ballot(canary.text, self._checker, budget_s=self._config.vote.check_budget_s)

        async def draw(index: int) -> None:
            async with replica.slots:
                ballot.add(await replica.client.sample(canary.prompt, model, canary.sampling, index, priority=PRIORITY))

        await asyncio.gather(*(draw(index) for index in range(self._config.gate.canary_samples)))
        vote = await asyncio.to_thread(ballot.count)
        return [None if answer is None else text_key(answer) for answer in vote.answers]


def compare(base: Sequence[Sequence[str | None]], theirs: Sequence[Sequence[str | None]]) -> dict[str, float]:
    """Mean support of the candidate's answers and of the base model's own, and their difference in standard errors.

    Support of the base model's own answers leaves the answer itself out. The questions are the same for both, so only
    the samples are random; the errors of the questions add up.
    """
    pairs = [_supports(*pair) for pair in zip(base, theirs, strict=True)]
    own = math.fsum(_mean(b) for b, _ in pairs) / len(pairs)
    support = math.fsum(_mean(t) for _, t in pairs) / len(pairs)
    error = math.sqrt(math.fsum(_squared_error(b) + _squared_error(t) for b, t in pairs)) / len(pairs)
    z = (support - own) / error if error else 0.0
    return {"canary_support": support, "canary_base": own, "canary_z": z}


def _supports(base: Sequence[str | None], theirs: Sequence[str | None]) -> tuple[list[float], list[float]]:
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

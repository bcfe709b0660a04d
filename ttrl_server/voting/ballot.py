"""The votes of one question while its samples come in: read once, keyed once, counted as often as asked."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

from ttrl_server.types import Rollout, Stopped, StopRule, Vote, Weighting
from ttrl_server.voting import stopping
from ttrl_server.voting.extract import Reading, expected, read
from ttrl_server.voting.pool import Keys
from ttrl_server.voting.structure import text_key
from ttrl_server.voting.tally import confidence, vote, weight

DECIDED: tuple[Stopped, ...] = ("full", "exact", "beta", "certificate")
VOTABLE_SHARE = 0.5
"""Of the finished samples of the first wave: fewer with an answer, and there is nothing to vote on."""


class Checker(Protocol):
    """Who says which answers are the same."""

    def keys(self, answers: Collection[str], budget_s: float) -> Keys: ...


class TextOnly:
    """Equivalence by text and exact rationals alone, without worker processes."""

    def keys(self, answers: Collection[str], budget_s: float) -> Keys:
        return Keys({answer: text_key(answer) for answer in answers}, complete=True)


class Ballot:
    """Samples are added in any order; every figure is over those added, in index order.

    ``question`` is the text asked, read only for what kind of answer it wants; ``budget_s`` is the time that deciding
    which answers are the same may take in all. Not thread-safe: one call at a time.
    """

    def __init__(
        self,
        question: str | None = None,
        checker: Checker | None = None,
        *,
        budget_s: float = 2.0,
        weighting: Weighting = "uniform",
    ) -> None:
        self._expected, self._checker = expected(question), checker or TextOnly()
        self._left_s, self._weighting = budget_s, weighting
        self._rollouts: dict[int, Rollout] = {}
        self._readings: dict[int, Reading] = {}
        self._keys: dict[str, str] = {}
        self._complete = True

    def add(self, rollout: Rollout) -> None:
        self._rollouts[rollout.index] = rollout

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """Those added, ascending by index."""
        return tuple(self._rollouts[index] for index in sorted(self._rollouts))

    def count(self, stopped: Stopped = "full") -> Vote:
        """The vote so far; a decided one becomes ``budget`` when some of its answers could not be checked in time."""
        answers, keys = self._labels()
        reason: Stopped = "budget" if stopped in DECIDED and not self._complete else stopped
        confidences = [confidence(rollout) for rollout in self.rollouts]
        return vote(answers, confidences, reason, keys=keys, weighting=self._weighting)

    def decided(self, rule: StopRule, level: float, total: int) -> bool:
        """Whether ``rule`` ends this vote of ``total`` samples; the votes are weighted as they will be counted."""
        _, keys = self._labels()
        if rule == "exact" and self._weighting == "confidence":
            return stopping.settled([weight(confidence(r)) for r in self.rollouts], keys, total)
        return stopping.decided(rule, level, keys, total)

    def needed(self, rule: StopRule, level: float, total: int) -> int:
        """How many samples more before ``rule`` can fire at all."""
        return stopping.needed(rule, level, self._labels()[1], total)

    def votable(self) -> bool:
        """Whether the samples answer something that can be compared, or at least may yet.

        A number somewhere in a longer text counts only where several samples agree on it: prose has numbers too.
        """
        _, keys = self._labels()
        readings = [self._readings[rollout.index] for rollout in self.rollouts]
        agreed = {key for key in keys if keys.count(key) > 1}
        answers = sum(
            reading.answer is not None and (reading.strength != "number" or key in agreed)
            for reading, key in zip(readings, keys, strict=True)
        )
        finished = sum(rollout.finish_reason == "stop" for rollout in self.rollouts)
        return answers > 0 and answers >= VOTABLE_SHARE * finished

    def _labels(self) -> tuple[list[str | None], list[str | None]]:
        """Answers and keys by index; new rollouts are read, and new answers keyed, on the way."""
        for index in self._rollouts.keys() - self._readings.keys():
            rollout = self._rollouts[index]
            self._readings[index] = read(rollout.text, rollout.finish_reason, self._expected)
        answers = [self._readings[index].answer for index in sorted(self._rollouts)]
        self._find_keys({answer for answer in answers if answer is not None})
        return answers, [None if answer is None else self._keys[answer] for answer in answers]

    def _find_keys(self, answers: set[str]) -> None:
        """Asks for the keys of all answers at once: which of them need a worker depends on the others."""
        if answers <= self._keys.keys():
            return
        started = time.monotonic()
        found = self._checker.keys(answers, max(self._left_s, 0.0))
        self._left_s -= time.monotonic() - started
        self._keys, self._complete = dict(found.of), found.complete


def judge(
    rollouts: Sequence[Rollout],
    question: str | None = None,
    stopped: Stopped = "full",
    *,
    checker: Checker | None = None,
    budget_s: float = 2.0,
    weighting: Weighting = "uniform",
) -> Vote:
    """The vote over finished rollouts, in whatever order they come."""
    ballot = Ballot(question, checker, budget_s=budget_s, weighting=weighting)
    for rollout in rollouts:
        ballot.add(rollout)
    return replace(ballot.count(stopped), requested=len(rollouts))

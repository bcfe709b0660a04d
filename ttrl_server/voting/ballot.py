"""The votes of one question while its samples come in: read once, keyed once, counted as often
as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ttrl_server.answers import Asked, Reading, asked, read
from ttrl_server.answers.keys import Key, key, shared
from ttrl_server.types import Rollout, Stopped, StopRule, Vote, Weighting
from ttrl_server.voting import stopping
from ttrl_server.voting.tally import confidence, vote, weight

VOTABLE_SHARE = 0.5
"""Of the finished samples of the first wave: fewer with an answer, and there is nothing to vote
on."""

Labels = list[str | None]
"""[M] the key of each sample's answer, equal where the answers are the same; None without one."""


class Ballot:
    """Samples are added in any order; every figure is over those added, in index order.

    ``question`` is the text asked, read only for what kind of answer it wants. Not thread-safe: one
    call at a time.
    """

    def __init__(self, question: str | None = None, *, weighting: Weighting = "uniform") -> None:
        self.asked: Asked = asked(question)
        self._weighting = weighting
        self._rollouts: dict[int, Rollout] = {}
        self._readings: dict[int, Reading] = {}
        self._keys: dict[str, Key | None] = {}

    def add(self, rollout: Rollout) -> None:
        self._rollouts[rollout.index] = rollout

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """Those added, ascending by index."""
        return tuple(self._rollouts[index] for index in sorted(self._rollouts))

    def count(self, stopped: Stopped = "full") -> Vote:
        """The vote so far."""
        labels, _ = self._labels()
        confidences = [confidence(rollout) for rollout in self.rollouts]
        return vote(self._answers(), confidences, stopped, keys=labels, weighting=self._weighting)

    def decided(self, rule: StopRule, level: float, total: int) -> bool:
        """Whether ``rule`` ends this vote of ``total`` samples; the votes are weighted as they will
        be counted.

        A value without a unit counts with one that others gave it, but a sample still to come may
        give it another. So the same answer must be ahead either way.
        """
        labels, strict = self._labels()
        if labels != strict and self._leaders(labels).isdisjoint(self._leaders(strict)):
            return False
        if rule == "exact" and self._weighting == "confidence":
            weights = [weight(confidence(rollout)) for rollout in self.rollouts]
            return all(stopping.settled(weights, found, total) for found in (labels, strict))
        return all(stopping.decided(rule, level, found, total) for found in (labels, strict))

    @staticmethod
    def _leaders(labels: Labels) -> set[int]:
        """The samples with the commonest answer."""
        found = [label for label in labels if label is not None]
        most = max(map(found.count, found), default=0)
        return {
            place
            for place, label in enumerate(labels)
            if label is not None and found.count(label) == most
        }

    def needed(self, rule: StopRule, level: float, total: int) -> int:
        """How many samples more before ``rule`` can fire at all."""
        return stopping.needed(rule, level, self._labels()[0], total)

    def votable(self) -> bool:
        """Whether the samples answer something that can be compared, or at least may yet.

        A number somewhere in a longer text counts only where several samples agree on it: prose has
        numbers too.
        """
        labels, _ = self._labels()
        readings = [self._readings[rollout.index] for rollout in self.rollouts]
        agreed = {label for label in labels if labels.count(label) > 1}
        answers = sum(
            label is not None and (reading.strength != "number" or label in agreed)
            for reading, label in zip(readings, labels, strict=True)
        )
        finished = sum(rollout.finish_reason == "stop" for rollout in self.rollouts)
        return answers > 0 and answers >= VOTABLE_SHARE * finished

    def _answers(self) -> Labels:
        """What each sample answers, by index; new rollouts are read on the way."""
        for index in self._rollouts.keys() - self._readings.keys():
            rollout = self._rollouts[index]
            self._readings[index] = read(rollout.text, rollout.finish_reason, self.asked)
        return [self._readings[index].answer for index in sorted(self._rollouts)]

    def _labels(self) -> tuple[Labels, Labels]:
        """The keys by index: as they are counted, and before values without a unit take that of
        others."""
        answers = self._answers()
        for answer in answers:
            if answer is not None and answer not in self._keys:
                self._keys[answer] = key(answer, self.asked)
        counted = shared(self._keys)
        strict = {answer: found and found.full for answer, found in self._keys.items()}
        return [a and counted[a] for a in answers], [a and strict[a] for a in answers]


def vote_over(
    rollouts: Sequence[Rollout],
    question: str | None = None,
    stopped: Stopped = "full",
    *,
    weighting: Weighting = "uniform",
) -> Vote:
    """The vote over finished rollouts, in whatever order they come."""
    ballot = Ballot(question, weighting=weighting)
    for rollout in rollouts:
        ballot.add(rollout)
    return replace(ballot.count(stopped), requested=len(rollouts))

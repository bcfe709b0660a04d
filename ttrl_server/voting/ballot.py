"""Counts the votes of one question while samples arrive. Each sample is read once, and each answer
gets its key once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ttrl_server.answers import Asked, Reading, asked, read
from ttrl_server.answers.keys import Key, key, shared
from ttrl_server.types import Rollout, Stopped, StopRule, Vote, Weighting
from ttrl_server.voting import stopping
from ttrl_server.voting.tally import confidence, vote, weight

VOTABLE_SHARE = 0.5
"""Of the finished samples of the first wave, at least this share must have an answer; otherwise the
question is unvotable."""

Labels = list[str | None]
"""[M] the key of each sample's answer, equal for equal answers; None for a sample without one."""


class Ballot:
    """The votes of one question. Samples may be added in any order; results use index order.

    ``question`` is the question's text; it is read only for the kind of answer it asks for. Not
    thread-safe: make one call at a time.
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
        """The rollouts added so far, ascending by index."""
        return tuple(self._rollouts[index] for index in sorted(self._rollouts))

    def count(self, stopped: Stopped = "full") -> Vote:
        """The vote over the samples added so far."""
        labels, _ = self._labels()
        confidences = [confidence(rollout) for rollout in self.rollouts]
        return vote(self._answers(), confidences, stopped, keys=labels, weighting=self._weighting)

    def decided(self, rule: StopRule, level: float, total: int) -> bool:
        """Whether ``rule`` ends this vote of ``total`` samples. ``exact`` uses the weights of the
        final count.

        A value without a unit takes the unit that other samples give. A later sample may give
        another unit. So the same answer must lead with these units and without them.
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
        """Indices of the samples with the most frequent answer; several answers may tie."""
        found = [label for label in labels if label is not None]
        most = max(map(found.count, found), default=0)
        return {
            place
            for place, label in enumerate(labels)
            if label is not None and found.count(label) == most
        }

    def needed(self, rule: StopRule, level: float, total: int) -> int:
        """The smallest number of further samples after which ``rule`` can end the vote."""
        return stopping.needed(rule, level, self._labels()[0], total)

    def votable(self) -> bool:
        """Whether enough finished samples have an answer that can be compared.

        A number inside a longer text counts only if several samples agree on it, because prose
        contains numbers too.
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
        """The answer of each sample, by index. Reads rollouts that are not read yet."""
        for index in self._rollouts.keys() - self._readings.keys():
            rollout = self._rollouts[index]
            self._readings[index] = read(rollout.text, rollout.finish_reason, self.asked)
        return [self._readings[index].answer for index in sorted(self._rollouts)]

    def _labels(self) -> tuple[Labels, Labels]:
        """The keys by index: first as they are counted, where a value without a unit takes the unit
        of other samples; then without this."""
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
    """The vote over finished rollouts, which may be in any order."""
    ballot = Ballot(question, weighting=weighting)
    for rollout in rollouts:
        ballot.add(rollout)
    return replace(ballot.count(stopped), requested=len(rollouts))
